// Everything by the keyboard, too.
import type { App } from './app.js';
import { $ } from './dom.js';

const KEPT = 'everlink-tutorial-keys';

export function keys(app: App, signal: AbortSignal): void {
    const help = $<HTMLDialogElement>('help');
    const single = $<HTMLInputElement>('single-keys');
    try {
        single.checked = localStorage.getItem(KEPT) !== 'off';
    } catch {
        // Storage is forbidden here: it holds for this page then.
    }
    single.addEventListener('change', () => {
        try {
            localStorage.setItem(KEPT, single.checked ? 'on' : 'off');
        } catch {
            // As above.
        }
    }, { signal });
    const show = () => help.showModal();
    $('help-open').addEventListener('click', show, { signal });
    const acts: Record<string, () => unknown> = {
        ArrowLeft: () => app.beside(-1), ArrowRight: () => app.beside(1), k: () => app.beside(-1), j: () => app.beside(1), p: () => app.beside(-1), n: () => app.beside(1),
        s: () => app.toggleSolution(), b: () => app.back(), l: () => app.lead(), h: () => app.handOver(),
        Home: () => app.go({ index: 0, solution: false }), End: () => app.steps && app.go(app.steps.last()),
        '?': show,
    };
    document.addEventListener('keydown', (event) => {
        if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
        if (document.querySelector('dialog[open]')) return;
        const target = event.target instanceof Element ? event.target : null;
        if (target?.closest('input, textarea, select, [contenteditable]')) return;
        const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
        const moves = /^(Arrow|Home|End)/.test(key);
        // Code that is wider than the page is moved by the same keys.
        if (moves && target?.closest('[role="region"][tabindex]') && target.scrollWidth > target.clientWidth) return;
        if (!moves && !single.checked) return;
        // Home and End are for the text unless a list has the focus.
        if ((key === 'Home' || key === 'End') && !target?.closest('#steps-panel')) return;
        const act = acts[key];
        if (!act) return;
        event.preventDefault();
        void act();
    }, { signal });
}
