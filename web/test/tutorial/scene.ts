// The page over a room that is not there, as `?scene` says. For looking at it, and for tests of what it does.
import { App } from '../../pages/tutorial/app.js';
import type { Member } from '../../src/tutorial/types.js';
import { Fake } from './fake.js';
import { hostile } from './hostile.js';

const scene = new URLSearchParams(location.search).get('scene') ?? 'following';
const fake = new Fake();
const member = (id: string, name: string | undefined, role: Member['role'] = 'follower', more: Partial<Member> = {}): Member =>
    ({ id, ...(name === undefined ? {} : { name }), role, moderator: false, presence: 'here', ...more });
const me = fake.me;
fake.members = [member('kAda7', 'Ada Lovelace', 'leader'), member(me, 'Grace'), member('kLinus3', 'Linus'), member('kX91fa', undefined, 'observer'), member('kEdsger', 'Edsger W. Dijkstra', 'follower')];
fake.holder = 'kAda7';
fake.phase = 'passive';
fake.at(1);
const lead = () => {
    fake.holder = me;
    fake.phase = 'active';
    fake.members = fake.members.map((member) => ({ ...member, role: member.id === me ? 'leader' : member.id === 'kAda7' ? 'follower' : member.role }));
};
const scenes: Record<string, () => void> = {
    following() {},
    leading: lead,
    offering() { lead(); },
    solution() { fake.at(1, true); },
    healing() { fake.healing = true; },
    'leader-healing'() { fake.members = fake.members.map((member) => (member.id === 'kAda7' ? { ...member, presence: 'healing' } : member)); },
    idle() {
        fake.holder = null;
        fake.phase = 'connected_idle';
        fake.members = fake.members.map((member) => ({ ...member, role: member.role === 'leader' ? 'follower' : member.role }));
    },
    offered() { fake.offer = { offer: 7, from: 'kAda7' }; },
    asked() { lead(); fake.requests = [{ request: 3, from: 'kLinus3', reason: 'I have a question about step 4' }]; },
    observer() {},
    moderator() { fake.members = fake.members.map((each) => (each.id === me ? { ...each, moderator: true } : each)); },
    first() { fake.at(0); },
    hostile() { fake.content = hostile; fake.members = [...fake.members, member('kEvil', '<img src=x onerror="globalThis.hacked=20">\u202e')]; fake.requests = []; fake.at(0); },
    empty() { fake.state = null; fake.holder = null; fake.phase = 'connected_idle'; fake.members = [member(me, undefined)]; },
};
scenes[scene]?.();
const app = new App({ room: fake, id: 'a3f1c9de-0000-4000-8000-1234567890ab', link: 'https://signal.example.org/tutorial#a3f1c9de-0000-4000-8000-1234567890ab', observer: scene === 'observer', onLeave: () => {} });
Object.assign(globalThis, { app, fake });
void app.run().then((reason) => (document.body.dataset['left'] = reason.code));
if (scene === 'offering') void app.offer('kLinus3');
