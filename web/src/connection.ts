import * as check from './check.js';
import { DurableChannel, events } from './channel.js';
import { guard, run, type CloseReason } from './errors.js';
import type { RawChannel, RawConnection } from './glue.js';
import type { Abortable, ChannelOptions } from './options.js';
import type { ConnectionEvent, ConnectionState, ConnectionStats, Undelivered } from './state.js';

/**
 * A connection to a peer that outlives its links: cut, moved or put to sleep, it finds the peer again and goes on
 * where it stopped, with the same channels and nothing lost or doubled.
 *
 * Close it, {@link detach} it, or use `await using`. One that nothing refers to any more is closed some time
 * later, or with a store detached.
 */
export class DurableConnection {
    readonly #raw: RawConnection;

    /** @internal */
    constructor(raw: RawConnection) {
        this.#raw = raw;
    }

    /** The session's name, the same at both ends and over all links. */
    get id(): string {
        return this.#raw.id;
    }

    /** The peer's key; `undefined` until a {@link Client.connectLazy | lazy} connection has found its peer. */
    get peer(): string | undefined {
        return this.#raw.peer;
    }

    /** What the connection is now. */
    get state(): ConnectionState {
        return this.#raw.state() as ConnectionState;
    }

    /** The state now and each new one, up to `closed`. States in between may be skipped; `events` has them all. */
    states({ signal }: Abortable = {}): AsyncIterableIterator<ConnectionState> {
        return events(this.#raw.states(), signal);
    }

    /** What happens to the connection from now on. */
    events({ signal }: Abortable = {}): AsyncIterableIterator<ConnectionEvent> {
        return events(this.#raw.events(), signal);
    }

    /**
     * Opens the channel of this label, or takes the one that the peer opened under it. Works without a link, too.
     * @throws {@link ChannelError}
     */
    openChannel(label: string, options: ChannelOptions = {}): DurableChannel {
        return new DurableChannel(guard(() => this.#raw.openChannel(label, check.channel(options))));
    }

    /** The next channel that the peer opened and this side has not; `undefined` when the connection is closed. */
    async acceptChannel({ signal }: Abortable = {}): Promise<DurableChannel | undefined> {
        const raw = await run<RawChannel | undefined>((cancelled) => this.#raw.acceptChannel(cancelled), signal);
        return raw && new DurableChannel(raw);
    }

    /** The channels that the peer opens, until the connection is closed. */
    async *channels({ signal }: Abortable = {}): AsyncIterableIterator<DurableChannel> {
        for (let channel; (channel = await this.acceptChannel({ signal })); ) yield channel;
    }

    /** Looks for a new link at once. Nothing is lost by it; at a host it does nothing. */
    reconnectNow(): void {
        this.#raw.reconnectNow();
    }

    /**
     * Resolves when everything queued so far, in every channel, was received by the peer's application.
     * @throws {@link SendError} of the first message that was dropped meanwhile, or why the connection closed.
     */
    async flush({ signal }: Abortable = {}): Promise<void> {
        await run((cancelled) => this.#raw.flush(cancelled), signal);
    }

    /** Closes the connection for good, on both sides: what is queued still goes out, and neither side reconnects. */
    async close(): Promise<CloseReason> {
        return run(() => this.#raw.close());
    }

    /**
     * Leaves without closing: resolves when everything is in the store. {@link Client.connectLazy} to the
     * same target goes on with the same session, here or after a reload.
     */
    async detach(): Promise<CloseReason> {
        return run(() => this.#raw.detach());
    }

    /** Resolves when the connection is closed, by whomever. */
    async closed({ signal }: Abortable = {}): Promise<CloseReason> {
        return run((cancelled) => this.#raw.closed(cancelled), signal);
    }

    /** Figures so far. */
    get stats(): ConnectionStats {
        return this.#raw.stats() as ConnectionStats;
    }

    /** Once it has ended for good: the messages that were taken and not acknowledged. Empty when asked again. */
    takeUndelivered(): Undelivered[] {
        return this.#raw.takeUndelivered() as Undelivered[];
    }

    /** As {@link close}. */
    async [Symbol.asyncDispose](): Promise<void> {
        await this.close();
    }
}
