// A room in memory with the rules that matter to the extension: one holder, offers, requests, roles that are kept for whoever
// comes back. For unit tests, and to look at the extension without a network.
import { UserError } from '../../src/errors.js';
import type {
    Content, Control, FileContent, Guest, Joined, Member, OfferOutcome, Outline, Phase, Room, StepPage, Sync, TreeEntry, TutorialEvent,
    TutorialSyncState,
} from '../../src/sync.js';

export class Refusal extends Error {
    constructor(readonly code: string, message = code) {
        super(message);
    }
}

interface Offer {
    id: number;
    from: string;
    to: string | undefined;
    settle: (outcome: OfferOutcome) => void;
}

interface Request {
    id: number;
    from: string;
    reason: string | undefined;
    settle: (granted: boolean, reason?: string) => void;
}

export class FakeRoom {
    members: FakeSync[] = [];
    holder: string | null = null;
    state: TutorialSyncState | null = null;
    offer: Offer | undefined;
    requests: Request[] = [];
    /** What joining fails with, one after another. */
    failures: unknown[] = [];
    #number = 0;

    constructor(readonly content: Content) {}

    /** As the extension joins. */
    join = async (_: Room, guest: Guest): Promise<Joined> => {
        guest.signal.throwIfAborted();
        const failure = this.failures.shift();
        if (failure) throw failure;
        const sync = this.enter(Buffer.from(guest.secret).toString('hex').slice(0, 12), guest.name);
        return { sync, leave: () => sync.leave() };
    };

    /** As anybody else does. */
    enter(me: string, name?: string): FakeSync {
        const old = this.members.find((member) => member.me === me);
        old?.end('displaced');
        const sync = new FakeSync(this, me, name);
        this.members.push(sync);
        if (this.holder !== null) sync.phase = this.holder === me ? 'active' : 'passive';
        this.tell({ type: 'other' });
        return sync;
    }

    give(to: string | null, others: Phase = 'passive'): void {
        this.holder = to;
        this.requests = this.requests.filter((request) => (request.from === to ? (request.settle(true), false) : true));
        for (const member of this.members) member.phase = member.me === to ? 'active' : to === null ? 'connected_idle' : others;
        this.tell({ type: 'other' });
    }

    number(): number {
        return ++this.#number;
    }

    tell(event: TutorialEvent): void {
        for (const member of this.members) member.tell(event);
    }
}

export class FakeSync implements Sync {
    phase: Phase = 'connected_idle';
    healing = false;
    kept: TutorialSyncState | undefined;
    #queue: TutorialEvent[] = [];
    #wake: (() => void) | undefined;
    #ended = false;

    constructor(readonly room: FakeRoom, readonly me: string, readonly name: string | undefined) {}

    get state(): TutorialSyncState | null {
        return this.room.state;
    }

    get content(): Content {
        return this.room.content;
    }

    get members(): readonly Member[] {
        return this.room.members.map((member) => ({
            id: member.me,
            name: member.name ?? null,
            role: member.me === this.room.holder ? 'leader' : 'follower',
            moderator: false,
            presence: member.healing ? 'healing' : 'here',
        }));
    }

    get control(): Control {
        const { holder, offer, requests } = this.room;
        const mine = offer && (offer.from === this.me || offer.to === undefined || offer.to === this.me);
        return {
            holder,
            offer: mine ? { offer: offer.id, from: offer.from, to: offer.to ?? null } : null,
            requests: holder === this.me ? requests.map(({ id, from, reason }) => ({ request: id, from, reason: reason ?? null })) : [],
        };
    }

    async lead(): Promise<void> {
        if (this.phase !== 'connected_idle') throw new Refusal('wrong-phase');
        if (this.room.holder !== null) throw new Refusal('held');
        this.room.give(this.me);
    }

    async follow(): Promise<void> {
        if (this.phase !== 'connected_idle') throw new Refusal('wrong-phase');
        this.phase = 'passive';
        this.tell({ type: 'other' });
    }

    sendState(state: TutorialSyncState): void {
        if (this.room.holder !== this.me) throw new Refusal('not-active');
        this.room.state = state;
        this.room.tell({ type: 'other' });
    }

    keepState(state: TutorialSyncState): void {
        this.kept = state;
    }

    offerControl(to?: string): Promise<OfferOutcome> {
        if (this.room.holder !== this.me) return Promise.reject(new Refusal('not-holder'));
        return new Promise((resolve) => {
            const settle = (outcome: OfferOutcome): void => {
                this.room.offer = undefined;
                resolve(outcome);
            };
            this.room.offer = { id: this.room.number(), from: this.me, to, settle };
            this.room.tell({ type: 'other' });
        });
    }

    async withdrawOffer(): Promise<void> {
        this.room.offer?.settle({ outcome: 'withdrawn' });
        this.room.tell({ type: 'other' });
    }

    async acceptControl(id: number): Promise<void> {
        const { offer } = this.room;
        if (offer?.id !== id) throw new Refusal('late');
        offer.settle({ outcome: 'accepted', by: this.me });
        this.room.give(this.me);
    }

    async declineControl(id: number, reason?: string): Promise<void> {
        const { offer } = this.room;
        if (offer?.id !== id) throw new Refusal('late');
        offer.settle({ outcome: 'declined', by: this.me, ...(reason && { reason }) });
        this.room.tell({ type: 'other' });
    }

    requestControl(reason?: string): Promise<void> {
        if (this.room.holder === null) {
            this.room.give(this.me);
            return Promise.resolve();
        }
        return new Promise((resolve, reject) => {
            const settle = (granted: boolean, why?: string): void => (granted ? resolve() : reject(new Refusal('denied', `denied by the leader: ${why}`)));
            this.room.requests.push({ id: this.room.number(), from: this.me, reason, settle });
            this.room.tell({ type: 'other' });
        });
    }

    async grantRequest(id: number): Promise<void> {
        const request = this.room.requests.find((one) => one.id === id);
        if (!request) throw new Refusal('late');
        this.room.give(request.from);
    }

    async denyRequest(id: number, reason?: string): Promise<void> {
        const request = this.room.requests.find((one) => one.id === id);
        if (!request) throw new Refusal('late');
        this.room.requests = this.room.requests.filter((one) => one !== request);
        request.settle(false, reason);
        this.room.tell({ type: 'other' });
    }

    async releaseControl(): Promise<void> {
        if (this.room.holder !== this.me) throw new Refusal('not-holder');
        this.room.give(null);
    }

    async *events(): AsyncIterable<TutorialEvent> {
        for (;;) {
            const event = this.#queue.shift();
            if (event) {
                yield event;
                if (event.type === 'left') return;
            } else {
                await new Promise<void>((resolve) => (this.#wake = resolve));
            }
        }
    }

    async leave(): Promise<void> {
        if (this.#ended) return;
        this.end('by_itself');
        if (this.room.holder === this.me) this.room.give(null);
        this.room.tell({ type: 'other' });
    }

    /** Is gone, and may come back. */
    vanish(): void {
        this.healing = true;
        this.room.tell({ type: 'other' });
    }

    end(code: string, message = code): void {
        if (this.#ended) return;
        this.#ended = true;
        this.room.members = this.room.members.filter((member) => member !== this);
        this.tell({ type: 'left', reason: { code, message } });
    }

    tell(event: TutorialEvent): void {
        this.#queue.push(event);
        this.#wake?.();
    }
}

const lesson = `# Say hello

Complete the function, so that the program **greets** whoever runs it:

\`\`\`rust
fn main() {
    // Print a line.
    println!("Hello, {}!", name());
}
\`\`\`

- [x] read the lesson
- [ ] write the line

> What is printed ends with a line break. See [the book](https://doc.rust-lang.org/book/) for more.

<script>alert('no')</script> ![a diagram](diagram.png) [bad](javascript:alert(1))
`;

const before = 'mod name;\n\nfn main() {}\n';
const template = 'mod name;\n\nfn main() {\n    // TODO: greet\n}\n';
const solved = 'mod name;\n\nfn main() {\n    println!("Hello, {}!", name::name());\n}\n';

const steps = [
    ['section', 'A greeting'], ['action', 'Set up the project'], ['template', 'Say hello'], ['solution', 'Say hello'],
    ['section', 'Names'], ['template', 'Ask for a name'], ['solution', 'Ask for a name'], ['section', 'The end'],
] as const;

/** A tutorial of eight steps. */
export class FakeContent implements Content {
    asked: string[] = [];
    more: TreeEntry[] = [];

    async outline(): Promise<Outline> {
        let section: string | undefined;
        return {
            title: 'Hello, Rust',
            steps: steps.map(([type, title], index) => {
                if (type === 'section') section = title;
                return { index, id: `step-${index}`, title, type, commitHash: `${index}`.repeat(40), section: section ?? null };
            }),
        };
    }

    async step(index: number, solution = false): Promise<StepPage> {
        this.asked.push(`step ${index}`);
        const at = solution && steps[index]?.[0] === 'template' ? index + 1 : index;
        const step = steps[at];
        if (!step) throw new Refusal('not-found', `there is no step ${index + 1}`);
        const [type, title] = step;
        const [old, now] = type === 'template' ? [before, template] : type === 'solution' ? [template, solved] : [before, before];
        const changed = { path: 'src/main.rs', status: 'modified', additions: 1, deletions: 1, diff: diff(old, now) } as const;
        const files = type === 'section' ? [] : [changed, { path: 'src/name.rs', status: 'added', additions: 3, deletions: 0, diff: '@@ -0,0 +1,3 @@\n+pub fn name() -> &\'static str {\n+    "Ada"\n+}\n' } as const];
        return { index: at, id: `step-${at}`, title, type, commitHash: `${at}`.repeat(40), markdown: type === 'section' ? `# ${title}\n\nA chapter.` : lesson, files };
    }

    async tree(index: number): Promise<readonly TreeEntry[]> {
        return [
            { path: 'README.md', size: 10, executable: false, hash: `r${index}` },
            { path: 'run.sh', size: 20, executable: true, hash: 'run' },
            { path: 'src/main.rs', size: 100, executable: false, hash: `m${index}` },
            ...this.more,
        ];
    }

    async file(index: number, path: string): Promise<FileContent> {
        this.asked.push(`file ${index} ${path}`);
        const type = steps[index]?.[0];
        if (path === 'README.md') return { path, text: lesson };
        if (path === 'run.sh') return { path, text: '#!/bin/sh\ncargo run\n' };
        if (path === 'src/main.rs') return { path, text: type === 'solution' ? solved : type === 'template' ? template : before };
        if (path === 'src/name.rs') return { path, text: 'pub fn name() -> &\'static str {\n    "Ada"\n}\n' };
        throw new UserError('not-found', `there is no file ${path}`);
    }
}

function diff(old: string, now: string): string {
    const lines = (text: string, sign: string): string => text.trimEnd().split('\n').map((line) => `${sign}${line}\n`).join('');
    const count = (text: string): number => text.trimEnd().split('\n').length;
    return `@@ -1,${count(old)} +1,${count(now)} @@\n${lines(old, '-')}${lines(now, '+')}`;
}
