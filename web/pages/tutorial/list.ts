// The list of steps, with its chapters.
import type { App } from './app.js';
import { $, avatar, h, type Child } from './dom.js';
import { same, type Steps } from './steps.js';

export function stepList(app: App, steps: Steps): Child[] {
    const [place, led] = [app.place, app.led];
    const kinds = ['section', 'template', 'solution', 'action'];
    const list = h('ol', { class: 'steps' });
    for (const step of steps.outline.steps) {
        const here = steps.place(step.index);
        const solution = step.type === 'solution';
        const shown = same(here, place) || (solution && same({ ...here, solution: true }, place));
        const leads = same(here, led);
        const title = step.title || 'Untitled';
        list.append(h('li', { class: `${kinds.includes(step.type) ? step.type : ''}${shown ? ' shown' : ''}${leads ? ' led' : ''}` },
            h('button', { type: 'button', 'data-key': `step-${step.index}`, 'aria-current': shown ? 'step' : null, on: { click: () => {
                app.go(here);
                document.dispatchEvent(new Event('panel-done'));
                $('article').focus({ preventScroll: true });
            } } },
                h('span', { class: 'number', text: step.index + 1 }),
                h('span', { class: 'title', text: solution ? 'Solution' : title }),
                leads && app.room.holder !== null && h('span', { class: 'leader' }, avatar(app.room.holder, app.fullName(app.room.holder)),
                    h('span', { class: 'hidden', text: app.leads ? ', you are here with everybody' : `, ${app.name(app.room.holder)} is here` })))));
    }
    return [list];
}
