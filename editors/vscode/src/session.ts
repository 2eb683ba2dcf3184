import { UserError, codeOf, isAbort } from './errors.js';
import type {
    Content, Control, Guest, Join, Joined, Member, Outline, Phase, Room, StepSummary, Sync, TutorialEvent, TutorialSyncState,
} from './sync.js';
import { neighbour, showsSolution, solutionOf, stateAt, stopOf } from './walk.js';

/** What this member is, in the words of the editor. */
export type Role = 'leading' | 'following' | 'idle';

/** An offer of control to us, or somebody's request for ours. */
export interface Ask {
    readonly kind: 'offer' | 'request';
    readonly id: number;
    readonly from: string;
    readonly reason?: string;
}

/** Everything that is shown; a new one at each change. */
export interface View {
    readonly status: 'out' | 'joining' | 'in';
    readonly room?: Room;
    readonly phase: Phase;
    readonly role: Role;
    readonly healing: boolean;
    readonly me?: string;
    readonly members: readonly Member[];
    readonly holder?: string;
    readonly state?: TutorialSyncState;
    readonly outline?: Outline;
    /** Whether the outline is still asked for. */
    readonly outlinePending: boolean;
    readonly asks: readonly Ask[];
    /** An offer of ours waits for its answer. */
    readonly offering: boolean;
    /** A request of ours does. */
    readonly requesting: boolean;
}

/** What the user should be told once. */
export type Notice =
    | { readonly type: 'asked'; readonly ask: Ask; readonly name: string }
    | { readonly type: 'leading' }
    | { readonly type: 'following'; readonly name: string }
    | { readonly type: 'holder_lost'; readonly name: string }
    | { readonly type: 'ended'; readonly reason: string; readonly room: Room };

/** What is remembered of a room over a reload. */
export interface Remembered {
    readonly room: Room;
    readonly role: Role;
    readonly state?: TutorialSyncState;
}

/** Waiting, which tests make short. */
export type Sleep = (ms: number, signal: AbortSignal) => Promise<void>;

const OUT: View = {
    status: 'out',
    phase: 'disconnected',
    role: 'idle',
    healing: false,
    members: [],
    outlinePending: false,
    asks: [],
    offering: false,
    requesting: false,
};

/**
 * The one room that a window is in. Knows nothing of the editor: it turns commands into calls of the package, and what the
 * package tells into {@link View}s and {@link Notice}s.
 */
export class Session {
    #join: Join;
    #sleep: Sleep;
    #joined: Joined | undefined;
    #attempt: AbortController | undefined;
    #view: View = OUT;
    /** The name that was known of a member who has left meanwhile. */
    #names = new Map<string, string>();
    #settled: (() => void)[] = [];

    /** Called with each new view. */
    onChange: (view: View, before: View) => void = () => {};
    /** Called for what should be told. */
    onNotice: (notice: Notice) => void = () => {};
    /** Called with what is to be remembered; `undefined` when there is nothing to go back to. */
    onRemember: (what: Remembered | undefined) => void = () => {};
    /** Called with lines for the log. */
    onLog: (line: string) => void = () => {};

    constructor(join: Join, sleep: Sleep) {
        this.#join = join;
        this.#sleep = sleep;
    }

    get view(): View {
        return this.#view;
    }

    /** Whether the steps can be moved from here. */
    get canNavigate(): boolean {
        return this.#view.role === 'leading' && this.#view.outline !== undefined;
    }

    /**
     * Joins a room. `again` is what was remembered of it: then the role is taken up again, and a network that is not there yet is
     * waited for.
     * @throws {UserError}, or what the package throws
     */
    async join(room: Room, guest: Omit<Guest, 'signal'>, follow: boolean, again?: Remembered): Promise<void> {
        if (this.#view.status !== 'out') throw new UserError('already-in', 'You are in a tutorial already: leave it first.');
        const attempt = (this.#attempt = new AbortController());
        this.#names.clear();
        const { state } = again ?? {};
        this.#set({ ...OUT, status: 'joining', phase: 'connecting', room, ...(state && { state }), role: again?.role ?? 'idle' });
        try {
            const joined = await this.#connect(room, { ...guest, signal: attempt.signal }, again !== undefined);
            if (attempt.signal.aborted) {
                await joined.leave();
                throw attempt.signal.reason;
            }
            this.#joined = joined;
            void this.#listen(joined, attempt.signal);
            this.#set({ ...this.#view, status: 'in', outlinePending: true });
            this.#refresh();
            void this.#loadOutline(joined, attempt.signal);
            await this.#takeUp(joined.sync, follow, again);
        } catch (thrown) {
            // Left meanwhile: whoever left has said all.
            if (attempt.signal.aborted) throw new UserError('left', 'You left the tutorial.');
            if (this.#joined === undefined) {
                this.#out();
                if (!again) this.onRemember(undefined);
            }
            throw thrown;
        }
    }

    /** Leaves for good, or gives up joining. */
    async leave(): Promise<void> {
        const joined = this.#joined;
        this.#joined = undefined;
        this.#attempt?.abort(new UserError('left', 'You left the tutorial.'));
        this.#out();
        this.onRemember(undefined);
        await joined?.leave();
    }

    /** Resolves when it is known whether there is a room: at once, unless one is being joined. */
    async settled(): Promise<void> {
        if (this.#view.status === 'joining') await new Promise<void>((resolve) => this.#settled.push(resolve));
    }

    async follow(): Promise<void> {
        await this.#sync().follow();
        this.#refresh();
    }

    /** Leads: at once if nobody does, else after whoever leads has agreed. */
    async lead(): Promise<void> {
        const sync = this.#sync();
        if (this.#view.role === 'leading') return;
        if (this.#view.holder !== undefined && this.#view.holder !== sync.me) return this.request();
        if (sync.phase === 'passive') await sync.requestControl();
        else await sync.lead();
        this.#refresh();
    }

    /** Shows a step to everybody. */
    goTo(step: StepSummary, solution = false): void {
        const { outline, sync } = this.#navigation();
        const id = this.#view.state?.tutorialId ?? this.#view.room!.uuid;
        const state = stateAt(outline, step, solution, id);
        sync.sendState(state);
        sync.keepState(state);
        this.#set({ ...this.#view, state });
        this.#remember();
    }

    /** The step before or after; nothing at the ends. */
    move(direction: -1 | 1): void {
        const { outline } = this.#navigation();
        const state = this.#view.state;
        const step = state ? neighbour(outline, state.stepContent.index, direction) : outline.steps[0];
        if (!step) {
            const end = direction > 0 ? 'This is the last step.' : 'This is the first step.';
            throw new UserError('no-step', end);
        }
        this.goTo(step);
    }

    /** Shows the solution of the step, or the step itself again. */
    solution(show: boolean): void {
        const { outline } = this.#navigation();
        const state = this.#view.state;
        const at = state && stopOf(outline, state.stepContent.index);
        const step = at === undefined ? undefined : outline.steps[at];
        if (!step || (show && !solutionOf(outline, step.index))) {
            throw new UserError('no-solution', 'This step has no solution.');
        }
        if (state && showsSolution(state) === show) return;
        this.goTo(step, show);
    }

    /** Offers control, to one member or to whoever takes it first. */
    async offer(to?: string): Promise<{ outcome: string; name: string; reason?: string }> {
        const sync = this.#sync();
        if (this.#view.role !== 'leading') throw new UserError('not-leading', 'You can offer control only while you lead.');
        if (this.#view.offering) throw new UserError('offering', 'You have offered control already: wait for the answer.');
        this.#set({ ...this.#view, offering: true });
        try {
            const { outcome, by, reason } = await sync.offerControl(to);
            const name = this.name(by ?? to);
            return { outcome, name, ...(reason && { reason }) };
        } finally {
            this.#set({ ...this.#view, offering: false });
            this.#refresh();
        }
    }

    async withdraw(): Promise<void> {
        await this.#sync().withdrawOffer();
    }

    /** Asks whoever leads for control; resolves when we have it. */
    async request(reason?: string): Promise<void> {
        const sync = this.#sync();
        if (this.#view.requesting) throw new UserError('requesting', 'You have asked for control already: wait for the answer.');
        this.#set({ ...this.#view, requesting: true });
        try {
            await sync.requestControl(reason);
        } finally {
            this.#set({ ...this.#view, requesting: false });
            this.#refresh();
        }
    }

    /** Says yes to an offer or a request. */
    async accept(ask: Ask): Promise<void> {
        const sync = this.#pending(ask);
        if (ask.kind === 'offer') await sync.acceptControl(ask.id);
        else await sync.grantRequest(ask.id);
        this.#refresh();
    }

    /** Says no. */
    async decline(ask: Ask, reason?: string): Promise<void> {
        const sync = this.#pending(ask);
        if (ask.kind === 'offer') await sync.declineControl(ask.id, reason);
        else await sync.denyRequest(ask.id, reason);
        this.#refresh();
    }

    async release(): Promise<void> {
        await this.#sync().releaseControl({ to: 'idle' });
        this.#refresh();
    }

    /** What the host has; waits for a room that is being joined. */
    async content(): Promise<Content> {
        await this.settled();
        return this.#sync().content;
    }

    /** How a member is called. */
    name(id: string | null | undefined): string {
        if (!id) return 'somebody';
        if (id === this.#view.me) return 'you';
        return this.#names.get(id) ?? `${id.slice(0, 8)}…`;
    }

    async #connect(room: Room, guest: Guest, patient: boolean): Promise<Joined> {
        for (let wait = 1000; ; wait = Math.min(wait * 2, 15_000)) {
            try {
                return await this.#join(room, guest);
            } catch (thrown) {
                guest.signal.throwIfAborted();
                if (!patient || final.has(codeOf(thrown) ?? '')) throw thrown;
                this.onLog(`cannot join yet, again in ${wait / 1000} s: ${String(thrown)}`);
                await this.#sleep(wait, guest.signal);
            }
        }
    }

    /** The role of before the reload, or the one that the settings say. */
    async #takeUp(sync: Sync, follow: boolean, again: Remembered | undefined): Promise<void> {
        if (again?.state && sync.state === null) sync.keepState(again.state);
        if (sync.phase !== 'connected_idle') return;
        if (again?.role === 'leading' && sync.control.holder === null) {
            // The room let go of it: it may still be had, and if another was faster, that one leads.
            await sync.lead().catch((thrown: unknown) => this.onLog(`lead: ${String(thrown)}`));
            if ((sync.phase as Phase) === 'active' && again.state) sync.sendState(again.state);
        } else if (again ? again.role !== 'idle' : follow) {
            await sync.follow();
        }
        this.#refresh();
    }

    async #listen(joined: Joined, signal: AbortSignal): Promise<void> {
        let reason: unknown;
        try {
            for await (const event of joined.sync.events()) {
                if (signal.aborted) return;
                if (event.type === 'left') reason = event.reason;
                else this.#on(event);
                this.#refresh();
                if (event.type === 'left') break;
            }
        } catch (thrown) {
            reason = thrown;
        }
        if (signal.aborted || this.#joined !== joined) return;
        const room = this.#view.room!;
        this.#joined = undefined;
        this.#attempt?.abort(new UserError('ended', 'The tutorial has ended.'));
        this.#out();
        this.onNotice({ type: 'ended', reason: why(reason), room });
        this.onRemember(undefined);
        await joined.leave().catch(() => {});
    }

    #on(event: TutorialEvent): void {
        if (event.type === 'rejected') this.onLog(`refused: ${event.what ?? ''}`);
        if (event.type === 'holder_lost' && event.holder !== this.#view.me) {
            this.onNotice({ type: 'holder_lost', name: this.name(event.holder) });
        }
    }

    /** Takes over what the membership is now. */
    #refresh(): void {
        const sync = this.#joined?.sync;
        if (!sync) return;
        const before = this.#view;
        const role = sync.phase === 'active' ? 'leading' : sync.phase === 'passive' ? 'following' : 'idle';
        for (const member of sync.members) {
            this.#names.set(member.id, member.name?.trim() || `${member.id.slice(0, 8)}…`);
        }
        const { control } = sync;
        const asks = asksOf(control, sync.me);
        const { holder: _holder, state: shown, ...rest } = before;
        const state = sync.state ?? shown;
        this.#set({
            ...rest,
            me: sync.me,
            phase: sync.phase,
            role,
            healing: sync.healing,
            members: sync.members,
            asks,
            ...(control.holder && { holder: control.holder }),
            ...(state && { state }),
        });
        if (before.status === 'in' && before.role !== role) {
            if (role === 'leading') this.onNotice({ type: 'leading' });
            else if (before.role === 'leading' && role === 'following') {
                this.onNotice({ type: 'following', name: this.name(control.holder) });
            }
        }
        for (const ask of asks) {
            if (before.asks.some((other) => same(other, ask))) continue;
            this.onNotice({ type: 'asked', ask, name: this.name(ask.from) });
        }
        this.#remember();
        this.#showFirst();
    }

    /** Who leads shows something: the first step, if nothing is shown yet. */
    #showFirst(): void {
        const first = this.#view.outline?.steps[0];
        if (this.#view.role === 'leading' && !this.#view.state && first) this.goTo(first);
    }

    async #loadOutline(joined: Joined, signal: AbortSignal): Promise<void> {
        for (let wait = 500; !signal.aborted; wait = Math.min(wait * 2, 15_000)) {
            try {
                const outline = await joined.sync.content.outline();
                if (signal.aborted) return;
                this.#set({ ...this.#view, outline, outlinePending: false });
                this.#showFirst();
                return;
            } catch (thrown) {
                if (signal.aborted) return;
                this.onLog(`the steps cannot be had: ${String(thrown)}`);
                // A room without content stays so; what failed on the way is worth another try.
                if (codeOf(thrown) === 'unavailable' || codeOf(thrown) === 'closed') break;
                await this.#sleep(wait, signal).catch(() => {});
            }
        }
        if (!signal.aborted) this.#set({ ...this.#view, outlinePending: false });
    }

    #navigation(): { outline: Outline; sync: Sync } {
        const sync = this.#sync();
        if (this.#view.role !== 'leading') throw new UserError('locked', this.lock());
        const outline = this.#view.outline;
        if (!outline) throw new UserError('no-steps', 'Whoever hosts this tutorial has not told its steps.');
        return { outline, sync };
    }

    /** Why the steps cannot be moved from here. */
    lock(): string {
        const { holder, role } = this.#view;
        if (role === 'leading') return 'You lead: the others see the step that you choose.';
        if (holder) return `${this.name(holder)} leads and chooses the step. Ask for control to choose it yourself.`;
        return 'Nobody leads. Lead, to choose the step for everybody.';
    }

    #pending(ask: Ask): Sync {
        const sync = this.#sync();
        if (!this.#view.asks.some((other) => same(other, ask))) {
            const what = ask.kind === 'offer' ? 'This offer has ended.' : 'This request has ended.';
            throw new UserError('ended', what);
        }
        return sync;
    }

    #sync(): Sync {
        if (!this.#joined) throw new UserError('not-in', 'You are in no tutorial: join one first.');
        return this.#joined.sync;
    }

    #remember(): void {
        const { room, role, state, status } = this.#view;
        if (room && status === 'in') this.onRemember({ room, role, ...(state && { state }) });
    }

    #out(): void {
        this.#set(OUT);
    }

    #set(view: View): void {
        const before = this.#view;
        this.#view = view;
        this.onChange(view, before);
        if (view.status !== 'joining') for (const settled of this.#settled.splice(0)) settled();
    }
}

/** Codes of errors that waiting does not mend. */
const final = new Set([
    'service-not-found', 'bad-name', 'impersonation', 'version', 'no-webrtc', 'bad-option', 'bad-url', 'not-a-server', 'full', 'host-full', 'removed', 'closed', 'refused',
]);

/** Questions to this member that wait for its answer. */
function asksOf({ offer, requests, holder }: Control, me: string): readonly Ask[] {
    const offers: Ask[] = offer && offer.from !== me ? [{ kind: 'offer', id: offer.offer, from: offer.from }] : [];
    if (holder !== me) return offers;
    return [...offers, ...requests.map(({ request, from, reason }): Ask => ({ kind: 'request', id: request, from, ...(reason && { reason }) }))];
}

function same(one: Ask, other: Ask): boolean {
    return one.kind === other.kind && one.id === other.id;
}

function why(reason: unknown): string {
    if (isAbort(reason)) return 'left';
    if (typeof reason === 'string') return reason;
    const { message, code } = (reason ?? {}) as { message?: unknown; code?: unknown };
    if (typeof message === 'string') return message;
    return typeof code === 'string' ? code : 'the connection ended';
}
