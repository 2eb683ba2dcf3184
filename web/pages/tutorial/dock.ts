// The bar at the bottom: who leads, and what can be done.
import type { App } from './app.js';
import { avatar, h, icon, type Child, type Icon } from './dom.js';
import type { Place } from './steps.js';

export interface Dock {
    readonly role: 'leading' | 'following' | 'idle';
    readonly holder: string | null;
    readonly leader: string;
    /** Its name, this page's own, too. */
    readonly holderName: string;
    readonly holderHealing: boolean;
    readonly followers: number;
    readonly observer: boolean;
    readonly pending: { readonly what: 'lead' | 'request' | 'offer'; readonly of?: string } | undefined;
    readonly healing: boolean;
    readonly mayReturn: boolean;
    readonly place: Place | undefined;
    readonly led: Place | undefined;
    readonly away: boolean;
    readonly count: number;
    readonly hasSolution: boolean;
    readonly previous: boolean;
    readonly next: boolean;
}

function button(key: string, name: Icon | undefined, text: string, click: () => unknown, more: Record<string, unknown> = {}): HTMLElement {
    const { class: kind = '', ...rest } = more;
    return h('button', { type: 'button', 'data-key': key, class: String(kind), ...rest, on: { click: () => void click() } }, name && icon(name), h('span', { text }));
}

/** What people call somebody. */
const first = (name: string) => name.split(/\s/)[0]!.slice(0, 16);

export function dock(view: Dock, app: App): Child[] {
    const { role, pending } = view;
    const step = (place: Place | undefined) => (place ? `step ${place.index + 1}${place.solution ? ', solution' : ''}` : 'the start');
    const who = {
        leading: () => [h('b', { text: 'You lead' }), h('span', { text: view.followers === 0 ? 'Nobody else is here yet' : view.followers === 1 ? 'One other is here' : `${view.followers} others are here` })],
        following: () => [
            h('b', { text: `${view.away ? first(view.leader) : view.leader} leads` }),
            h('span', { text: view.holderHealing ? 'Connection lost, the lead is kept for a while' : view.away ? `At ${step(view.led)}` : view.observer ? 'You are watching' : 'You follow' }),
        ],
        idle: () => [h('b', { text: 'Nobody leads' }), h('span', { text: view.observer ? 'You are watching' : 'Look around, or take the lead' })],
    }[role]();
    const person = role === 'idle' ? h('span', { class: 'avatar none', 'aria-hidden': 'true' }, icon('people')) : avatar(view.holder ?? '', view.holderName, view.holderHealing ? 'pale' : '');
    const turn = [
        button('previous', 'previous', 'Previous', () => app.beside(-1), { class: 'turn', disabled: !view.previous, title: 'Previous step (←)' }),
        view.hasSolution && button('solution', 'solution', 'Solution', () => app.toggleSolution(), { class: 'turn', 'aria-pressed': String(view.place?.solution ?? false), title: 'The solution (S)' }),
        button('next', 'next', 'Next', () => app.beside(1), { class: role === 'leading' ? 'turn primary after' : 'turn after', disabled: !view.next, title: 'Next step (→)' }),
    ];
    const control: Child[] = [];
    if (pending) {
        const text = { lead: 'Taking the lead…', request: `Asked ${pending.of}…`, offer: `Offered to ${pending.of}…` }[pending.what];
        control.push(h('span', { class: 'waiting', text }), pending.what !== 'lead' && button('cancel', undefined, 'Cancel', () => app.cancel()));
    } else if (role === 'leading') {
        if (view.mayReturn) control.push(button('return', 'back', 'Give back', () => app.giveBack(), { title: 'Give the lead back to whom you have it from' }));
        control.push(button('hand', 'hand', 'Hand over', () => app.handOver(), { disabled: view.followers === 0, title: 'Offer the lead to somebody (H)' }));
        control.push(button('stop', 'stop', 'Stop', () => app.release(), { title: 'Stop leading' }));
    } else {
        if (view.away && role === 'following') control.push(button('back', 'back', `Back to ${first(view.leader)}`, () => app.back(), { class: 'primary', title: 'Where the leader is (B)' }));
        if (!view.observer) {
            const idle = role === 'idle';
            control.push(button('lead', 'lead', idle ? (view.away ? 'Lead from here' : 'Lead') : 'Ask to lead', () => app.lead(), { class: idle ? 'primary' : '', title: idle ? 'Take the lead (L)' : 'Ask for the lead (L)' }));
        }
    }
    const progress = h('progress', { class: 'progress', max: Math.max(1, view.count), value: view.place ? view.place.index + 1 : 0, 'aria-label': 'Progress' });
    return [
        progress,
        h('div', { class: 'who' }, person, h('p', {}, ...who)),
        h('div', { class: 'turns', role: 'group', 'aria-label': role === 'leading' ? 'Steps, for everybody' : 'Steps, on this page' }, ...turn),
        h('div', { class: 'control', role: 'group', 'aria-label': 'Lead' }, ...control),
    ];
}
