// Who is here.
import type { Member } from '../../src/tutorial/types.js';
import { toast } from './announce.js';
import type { App } from './app.js';
import { $, avatar, h, icon, table, type Child } from './dom.js';

const ORDER = table({ leader: 0, moderator: 1, follower: 2, observer: 3 });

export function people(app: App, members: readonly Member[], link: string | undefined): Child[] {
    const { me, holder } = app.room;
    const mine = members.find((member) => member.id === me);
    const rank = (member: Member) => (member.id === holder ? -1 : (ORDER[member.role] ?? 2)) + (member.id === me ? 0 : 0.5);
    const sorted = [...members].sort((one, two) => rank(one) - rank(two));
    const count = $('people-count');
    count.textContent = String(members.length);
    const list = h('ul', { class: 'members' }, ...sorted.map((member) => {
        const leads = member.id === holder;
        const healing = member.presence === 'healing';
        const own = member.id === me;
        const name = own ? (mine?.name?.trim() || 'You') : app.name(member.id);
        const is = [leads ? 'leads' : member.role === 'observer' ? 'watches' : holder ? 'follows' : 'is here', member.moderator && 'moderator', healing && 'reconnecting'].filter(Boolean).join(', ');
        const act = leads && !own && mine?.moderator
            ? h('button', { type: 'button', class: 'small', 'data-key': `revoke-${member.id}`, text: 'Take the lead', title: `Take the lead from ${name}`, on: { click: () => void app.revoke(me) } })
            : app.leads && !own && member.role !== 'observer'
                ? h('button', { type: 'button', class: 'small', 'data-key': `offer-${member.id}`, 'aria-label': `Hand over to ${name}`, text: 'Hand over', on: { click: () => void app.offer(member.id) } })
                : null;
        return h('li', { class: `${leads ? 'leads' : ''}${healing ? ' pale' : ''}`, 'data-member': member.id },
            avatar(member.id, name, healing ? 'pale' : ''),
            h('p', {}, h('b', {}, name, own && name !== 'You' && h('span', { class: 'you', text: 'you' })), h('span', { text: is })),
            act);
    }));
    const invite = link && h('div', { class: 'invite' },
        h('p', { text: 'Whoever has this link can join.' }),
        h('div', { class: 'copy' },
            h('input', { readonly: true, value: link, 'aria-label': 'Link to this room', 'data-key': 'link', on: { focus: (event: Event) => (event.target as HTMLInputElement).select() } }),
            h('button', { type: 'button', 'data-key': 'copy', title: 'Copy the link', 'aria-label': 'Copy the link', on: { click: () => void copy(link) } }, icon('copy'))));
    return [list, invite, h('button', { type: 'button', class: 'quiet-button', 'data-key': 'leave', on: { click: () => void app.leave() } }, icon('leave'), 'Leave the room')];
}

async function copy(link: string): Promise<void> {
    try {
        await navigator.clipboard.writeText(link);
        toast('The link is copied.');
    } catch {
        document.querySelector<HTMLInputElement>('.invite input')?.select();
        toast('The link is selected: copy it with your keyboard.');
    }
}
