import type { Client } from '../client.js';
import { guard, run } from '../errors.js';
import { loadWith } from '../load.js';
import * as glue from '../glue.js';
import type { Abortable } from '../options.js';
import { enroll } from './errors.js';
import type { RoomEvent } from './events.js';
import type { RawRoom, RawTutorial, TutorialGlue } from './raw.js';
import { TutorialSync, parsed, type JoinOptions } from './sync.js';
import type { Member, Role, TutorialSyncState } from './types.js';

/** What happens when somebody asks for the lead while another has it. */
export type ConflictStrategy = 'first_come_first_served' | 'deny_both' | 'user_choice' | 'active_wins' | 'timestamp_wins';

/** What kind of room to open. */
export interface RoomOptions extends Abortable {
    /** The owner's name at the server; claimed if it is free. */
    user: string;
    /**
     * The room's service, such as `class@1.0.0`. Default: one that nobody can guess. The same one again, by a client with the same
     * store, goes on with the room of before.
     */
    service?: string;
    /** Facts listed with a public room. */
    metadata?: Record<string, unknown>;
    /** Whether it is listed. Default false: who has the link finds it. */
    public?: boolean;
    /** The most members, the host included. Default 2. */
    maxMembers?: number;
    /** Default `first_come_first_served`. */
    conflicts?: ConflictStrategy;
    /** How long a leader whose link is lost stays the leader, in milliseconds. Default 30,000. */
    leaseMs?: number;
    /** The room ends after so long without anybody doing anything, in milliseconds. Default 30 minutes. */
    expiresAfterMs?: number;
    /** The keys of those who may take the lead from whoever has it. */
    moderators?: string[];
}

/** Facts about a room. */
export interface RoomInfo {
    readonly id: string;
    /** Milliseconds since 1970, as the others. */
    readonly createdAt: number;
    /** When it closes if nobody does anything. */
    readonly expiresAt: number;
    readonly lastActivity: number;
    /** How many. */
    readonly members: number;
    /** Who leads. */
    readonly active: string | null;
    /** How often control has changed hands. */
    readonly epoch: number;
    /** How many states were shown. */
    readonly states: number;
    readonly metadata: Record<string, unknown>;
    /** Why it is closed, if it is: `by_host`, `expired`, `host_gone`. */
    readonly closed: string | null;
}

/**
 * A room that this client hosts. It exists for as long as its host does.
 *
 * ```js
 * const room = await TutorialRoom.open(client, { user: 'ada', maxMembers: 10 });
 * console.log(room.link('https://signal.example.org'));
 * const me = await room.sync({ name: 'Ada' });
 * await me.lead();
 * ```
 */
export class TutorialRoom<S = TutorialSyncState> {
    readonly #raw: RawRoom;

    private constructor(raw: RawRoom) {
        this.#raw = raw;
    }

    /**
     * Opens a room. Resolves once it can be found.
     * @throws {@link RoomError}, {@link ServiceError}, {@link SignalingError}, {@link StoreError}, {@link ArgumentError}
     */
    static async open<S = TutorialSyncState>(client: Client, options: RoomOptions): Promise<TutorialRoom<S>> {
        enroll();
        await loadWith('host');
        const { signal, ...rest } = options;
        const { RawRoom } = glue as unknown as TutorialGlue;
        return new TutorialRoom<S>(await run((cancelled) => RawRoom.open(client.raw, JSON.stringify(rest), cancelled), signal));
    }

    /** Its uuid, by which it is joined. */
    get id(): string {
        return this.#raw.id;
    }

    /** A link to share: `everlink://UUID?server=SERVER`. Programs and the page `/tutorial` take it. */
    link(server: string | URL): string {
        return this.#raw.link(String(server));
    }

    /** Facts about it now. */
    get info(): RoomInfo {
        return JSON.parse(this.#raw.info()) as RoomInfo;
    }

    /** Who is in it. */
    get members(): Member[] {
        return JSON.parse(this.#raw.members()) as Member[];
    }

    /**
     * The host's own membership. Once.
     * @throws {@link RoomError} `already-joined`
     */
    async sync({ signal, ...options }: JoinOptions = {}): Promise<TutorialSync<S>> {
        const joined = run<RawTutorial>((cancelled) => this.#raw.sync(JSON.stringify(options), cancelled), signal);
        return new TutorialSync<S>(await joined);
    }

    /** Makes a member an observer, a follower or a moderator. */
    setRole(member: string, role: Role): void {
        guard(() => this.#raw.setRole(member, role));
    }

    /** Sends a member away. */
    remove(member: string): void {
        guard(() => this.#raw.remove(member));
    }

    /** What happens to it from now on. */
    events({ signal }: Abortable = {}): AsyncIterableIterator<RoomEvent> {
        return parsed(this.#raw.events(), signal);
    }

    /** Ends it for everybody. */
    async close(): Promise<void> {
        await run(() => this.#raw.close());
    }

    /** As {@link close}. */
    async [Symbol.asyncDispose](): Promise<void> {
        await this.close();
    }
}
