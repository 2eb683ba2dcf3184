import { events } from '../channel.js';
import type { Client } from '../client.js';
import { ArgumentError, guard, run } from '../errors.js';
import * as glue from '../glue.js';
import type { RawEvents } from '../glue.js';
import type { Abortable } from '../options.js';
import { enroll } from './errors.js';
import type { Left, TutorialEvent } from './events.js';
import { roomOf } from './link.js';
import type { RawTutorial, TutorialGlue } from './raw.js';
import type {
    ControlCause, FileContent, Member, OfferOutcome, Outline, Phase, StepPage, TreeEntry, TutorialSyncState,
} from './types.js';

/** How to join a room. */
export interface JoinOptions extends Abortable {
    /** What the others see. */
    name?: string;
    /** Only watch: an observer never has control. Default false. */
    observer?: boolean;
    /** Have each state that the leader sends, by {@link TutorialSync.steps}, and not only the newest. Default false. */
    everyStep?: boolean;
}

/** Who leads, and which questions wait for an answer. */
export interface Control {
    /** How often control has changed hands. */
    readonly epoch: number;
    /** Who leads: a key, or `null`. */
    readonly holder: string | null;
    /** Why it is so. */
    readonly cause: ControlCause;
    /** The open offer that concerns this member: its own, or one that it may accept. `to` is whom it is for; without it, everybody. */
    readonly offer: { readonly offer: number; readonly from: string; readonly to?: string | null } | null;
    /** To the leader: requests that wait for an answer. */
    readonly requests: readonly { readonly request: number; readonly from: string; readonly reason?: string | null }[];
}

/** What the steps are. What comes from here was written by whoever made the tutorial: never show it as markup unchecked. */
export class Content {
    readonly #raw: RawTutorial;

    /** @internal */
    constructor(raw: RawTutorial) {
        this.#raw = raw;
    }

    /**
     * The list of all steps.
     * @throws {@link ContentError}
     */
    async outline({ signal }: Abortable = {}): Promise<Outline> {
        return value(run((cancelled) => this.#raw.outline(cancelled), signal));
    }

    /**
     * A step's text and changes; of a template with `solution` those of its solution.
     * @throws {@link ContentError}
     */
    async step(index: number, solution = false, { signal }: Abortable = {}): Promise<StepPage> {
        return value(run((cancelled) => this.#raw.step(index, solution, cancelled), signal));
    }

    /**
     * The files of a step.
     * @throws {@link ContentError}
     */
    async tree(index: number, { signal }: Abortable = {}): Promise<TreeEntry[]> {
        return value(run((cancelled) => this.#raw.tree(index, cancelled), signal));
    }

    /**
     * A file as it is at a step.
     * @throws {@link ContentError}
     */
    async file(index: number, path: string, { signal }: Abortable = {}): Promise<FileContent> {
        return value(run((cancelled) => this.#raw.file(index, path, cancelled), signal));
    }
}

/**
 * A member of a room. One leads and sends where the tutorial stands, the others follow and receive it.
 *
 * ```js
 * const sync = await TutorialSync.connect(client, link, { name: 'Ada' });
 * for await (const event of sync.events()) {
 *     if (event.type === 'state_updated') show(event.state.stepContent);
 * }
 * ```
 *
 * A lost link heals by itself, and the role outlives it. {@link leave} ends it, and so does `await using`.
 */
export class TutorialSync<S = TutorialSyncState> {
    readonly #raw: RawTutorial;
    /** Text and value of the state last read, so that it is the same object until it changes. */
    #state: [string, S] | undefined;

    /** What the steps are. */
    readonly content: Content;

    /** @internal */
    constructor(raw: RawTutorial) {
        this.#raw = raw;
        this.content = new Content(raw);
    }

    /**
     * Joins a room, by its uuid or a link to it. Resolves when this member is in the room. With a
     * {@link IndexedDbOptions | store}, a member that was there before the reload is so again, with the role it had.
     * @throws {@link JoinError}, {@link ConnectError}, {@link SignalingError}, {@link ArgumentError} `bad-link`
     */
    static async connect<S = TutorialSyncState>(client: Client, room: string, options: JoinOptions = {}): Promise<TutorialSync<S>> {
        enroll();
        const { signal, ...rest } = options;
        const uuid = roomOf(room);
        const { RawTutorial } = glue as unknown as TutorialGlue;
        return new TutorialSync<S>(await run((cancelled) => RawTutorial.connect(client.raw, uuid, JSON.stringify(rest), cancelled), signal));
    }

    /** This member's key. */
    get me(): string {
        return this.#raw.me;
    }

    /** Where this member stands. */
    get phase(): Phase {
        return this.#raw.phase as Phase;
    }

    /** Whether the link is lost and being healed. The phase stays what it was. */
    get healing(): boolean {
        return this.#raw.healing;
    }

    /** The newest state; `null` before the first. */
    get state(): S | null {
        const text = this.#raw.state;
        if (text === undefined) return null;
        if (this.#state?.[0] !== text) this.#state = [text, JSON.parse(text) as S];
        return this.#state![1];
    }

    /** Who is in the room, this member included. */
    get members(): Member[] {
        return JSON.parse(this.#raw.members) as Member[];
    }

    /** Who leads: a key, or `null`. */
    get holder(): string | null {
        return this.control.holder;
    }

    /** How often control has changed hands. */
    get epoch(): number {
        return this.control.epoch;
    }

    /** Who leads, and which questions wait for an answer of this member's. */
    get control(): Control {
        return { holder: null, offer: null, ...(JSON.parse(this.#raw.control) as Omit<Control, 'holder' | 'offer'>) };
    }

    /**
     * Takes the lead while nobody has it.
     * @throws {@link ControlError}
     */
    async lead({ signal }: Abortable = {}): Promise<void> {
        await run((cancelled) => this.#raw.lead(cancelled), signal);
    }

    /**
     * Follows: says that another may lead.
     * @throws {@link ControlError}
     */
    async follow({ signal }: Abortable = {}): Promise<void> {
        await run((cancelled) => this.#raw.follow(cancelled), signal);
    }

    /**
     * Takes a peer's state once, then leads. Resolves with that state.
     * @throws {@link ControlError}
     */
    async pullStateFromPeer({ signal }: Abortable = {}): Promise<S | null> {
        return value(run((cancelled) => this.#raw.pullStateFromPeer(cancelled), signal));
    }

    /**
     * Hands the own state over once, then follows.
     * @throws {@link ControlError}
     */
    async pushStateToPeer(state: S, { signal }: Abortable = {}): Promise<void> {
        await run((cancelled) => this.#raw.pushStateToPeer(text(state), cancelled), signal);
    }

    /**
     * Sends a state to everybody. While the link is lost, only the newest is kept, and goes out when it is back.
     * @throws {@link StateError} `not-active` unless this member leads; `too-large`
     */
    sendState(state: S): void {
        guard(() => this.#raw.sendState(text(state)));
    }

    /** Says what a peer's {@link pullStateFromPeer} gets from this member while nobody leads. */
    keepState(state: S): void {
        guard(() => this.#raw.keepState(text(state)));
    }

    /**
     * Asks for the newest state.
     * @throws {@link ControlError}
     */
    async requestState({ signal }: Abortable = {}): Promise<S | null> {
        return value(run((cancelled) => this.#raw.requestState(cancelled), signal));
    }

    /**
     * Offers the lead to one member, or to whoever takes it first. Resolves with what became of it.
     * @throws {@link ControlError}
     */
    async offerControl(to?: string, { signal }: Abortable = {}): Promise<OfferOutcome> {
        return value(run((cancelled) => this.#raw.offerControl(to, cancelled), signal));
    }

    /** Takes the own offer back; the promise of {@link offerControl} resolves as `withdrawn`. */
    async withdrawOffer(): Promise<void> {
        await run((cancelled) => this.#raw.withdrawOffer(cancelled));
    }

    /**
     * Takes the lead that was offered. Resolves when this member leads.
     * @throws {@link ControlError}
     */
    async acceptControl(offer: number): Promise<void> {
        await run((cancelled) => this.#raw.acceptControl(offer, cancelled));
    }

    /**
     * Declines an offer; whoever made it is told why.
     * @throws {@link ControlError}
     */
    async declineControl(offer: number, reason?: string): Promise<void> {
        await run((cancelled) => this.#raw.declineControl(offer, reason, cancelled));
    }

    /**
     * Asks for the lead. Resolves when this member leads.
     * @throws {@link ControlError} `denied`, `unanswered`, `held` by the room's strategy, or another of its codes
     */
    async requestControl(reason?: string, { signal }: Abortable = {}): Promise<void> {
        await run((cancelled) => this.#raw.requestControl(reason, cancelled), signal);
    }

    /**
     * Gives the lead to whoever asked for it.
     * @throws {@link ControlError}
     */
    async grantRequest(request: number): Promise<void> {
        await run((cancelled) => this.#raw.grantRequest(request, cancelled));
    }

    /**
     * Keeps the lead; whoever asked is told why.
     * @throws {@link ControlError}
     */
    async denyRequest(request: number, reason?: string): Promise<void> {
        await run((cancelled) => this.#raw.denyRequest(request, reason, cancelled));
    }

    /**
     * Lets go of the lead: nobody has it then. By `idle` everybody may choose anew, by `passive` everybody follows, and
     * whoever asks gets it.
     * @throws {@link ControlError}
     */
    async releaseControl({ to = 'idle' }: { to?: 'idle' | 'passive' } = {}): Promise<void> {
        await run((cancelled) => this.#raw.releaseControl(to, cancelled));
    }

    /**
     * Gives the lead back to whom it came from.
     * @throws {@link ControlError}
     */
    async returnControl(): Promise<void> {
        await run((cancelled) => this.#raw.returnControl(cancelled));
    }

    /**
     * As a moderator: takes the lead from whoever has it, and gives it to `to`, or to nobody.
     * @throws {@link ControlError}
     */
    async revokeControl(to?: string): Promise<void> {
        await run((cancelled) => this.#raw.revokeControl(to, cancelled));
    }

    /** What happens from now on. */
    events({ signal }: Abortable = {}): AsyncIterableIterator<TutorialEvent<S>> {
        return parsed(this.#raw.events(), signal);
    }

    /** Each state from now on, none superseded; needs `everyStep`. */
    steps({ signal }: Abortable = {}): AsyncIterableIterator<S> {
        return parsed(this.#raw.steps(), signal);
    }

    /** Leaves the room. A leader's control is free at once. */
    async leave(): Promise<void> {
        await run(() => this.#raw.leave());
    }

    /** Resolves when this member has left, with why. */
    async left({ signal }: Abortable = {}): Promise<Left> {
        return value(run((cancelled) => this.#raw.left(cancelled), signal));
    }

    /** As {@link leave}. */
    async [Symbol.asyncDispose](): Promise<void> {
        await this.leave();
    }
}

/** @internal */
export async function* parsed<T>(raw: RawEvents, signal?: AbortSignal): AsyncIterableIterator<T> {
    for await (const text of events<string>(raw, signal)) yield JSON.parse(text) as T;
}

async function value<T>(told: Promise<unknown>): Promise<T> {
    const text = (await told) as string | undefined;
    return (text === undefined ? null : JSON.parse(text)) as T;
}

function text(state: unknown): string {
    const text = JSON.stringify(state) as string | undefined;
    if (text === undefined) throw new ArgumentError({ code: 'bad-data', message: 'a state is something that JSON can say' });
    return text;
}
