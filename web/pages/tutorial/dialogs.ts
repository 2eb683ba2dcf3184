// Whatever opens above the page.
import { $, avatar, h } from './dom.js';

/** Asks who shall lead: a key, `null` for whoever takes it, `undefined` if it was cancelled. */
export function chooseSuccessor(others: readonly { id: string; name: string; away: boolean }[]): Promise<string | null | undefined> {
    const dialog = $<HTMLDialogElement>('successor');
    const choice = (value: string, ...children: Node[]) => h('button', { type: 'submit', value, class: 'choice' }, ...children);
    $('successor-list').replaceChildren(
        ...others.map(({ id, name, away }) => choice(id, avatar(id, name, away ? 'pale' : ''), h('span', { text: away ? `${name} (reconnecting)` : name }))),
        ...(others.length > 1 ? [choice('*', h('span', { class: 'avatar none', 'aria-hidden': 'true', text: '?' }), h('span', { text: 'Whoever takes it first' }))] : []),
    );
    dialog.returnValue = '';
    dialog.showModal();
    return new Promise((resolve) => {
        dialog.addEventListener('close', () => {
            const { returnValue } = dialog;
            resolve(returnValue === '*' ? null : returnValue && others.some(({ id }) => id === returnValue) ? returnValue : undefined);
        }, { once: true });
    });
}

/** Where there is no room beside the text, the lists open above it. */
export function panels(signal: AbortSignal): void {
    for (const name of ['steps', 'people']) {
        const [panel, sheet, home] = [$(`${name}-panel`), $<HTMLDialogElement>(`${name}-sheet`), $(`${name}-home`)];
        const close = () => sheet.close();
        $(`${name}-open`).addEventListener('click', () => {
            sheet.append(panel);
            sheet.showModal();
            panel.querySelector('[aria-current]')?.scrollIntoView({ block: 'center' });
        }, { signal });
        sheet.addEventListener('close', () => home.append(panel), { signal });
        sheet.addEventListener('click', (event) => event.target === sheet && close(), { signal });
        document.addEventListener('panel-done', close, { signal });
        // With room again, or the end of it all, it goes back to its place.
        matchMedia('(min-width: 1080px)').addEventListener('change', close, { signal });
        signal.addEventListener('abort', close);
    }
}
