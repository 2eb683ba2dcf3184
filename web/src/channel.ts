import * as check from './check.js';
import { ArgumentError, ReceiveError, guard, run } from './errors.js';
import type { RawChannel, RawEvents } from './glue.js';
import type { Abortable, SendOptions } from './options.js';
import type { Buffered, ChannelEvent } from './state.js';

/** What a channel carries: text, or bytes of any kind. */
export type Data = string | ArrayBuffer | ArrayBufferView;

/** Proof that a message was taken, and a way to learn what becomes of it. */
export class Receipt {
    readonly #channel: RawChannel;
    /** The message's number in its channel, from 1; 0 on a lossy channel. */
    readonly seq: number;

    /** @internal */
    constructor(channel: RawChannel, seq: number) {
        this.#channel = channel;
        this.seq = seq;
    }

    /**
     * Resolves when the message is in the store, from where it survives a killed tab; at once without a store.
     * @throws {@link SendError} if it was dropped, or the connection closed, before.
     */
    async stored({ signal }: Abortable = {}): Promise<void> {
        await run((cancelled) => this.#channel.stored(this.seq, cancelled), signal);
    }

    /**
     * Resolves when the peer's application has received the message, shown by its asking for the next.
     * @throws {@link SendError} that says why it will not be delivered.
     */
    async acked({ signal }: Abortable = {}): Promise<void> {
        await run((cancelled) => this.#channel.acked(this.seq, cancelled), signal);
    }
}

/**
 * An ordered stream of messages, both ways, that survives the links beneath it. Opened under the same label at both
 * ends, or by one and accepted by the other.
 *
 * ```js
 * const channel = connection.openChannel('notes');
 * await channel.send('hello');
 * for await (const message of channel) console.log(message);
 * ```
 */
export class DurableChannel implements AsyncIterable<string | Uint8Array> {
    readonly #raw: RawChannel;
    /** Resolves when every send before has had its turn; there only while one waits. */
    #turn: Promise<unknown> | undefined;

    /** @internal */
    constructor(raw: RawChannel) {
        this.#raw = raw;
    }

    /** The channel's name at both ends. */
    get label(): string {
        return this.#raw.label;
    }

    /** Whether messages may be lost or reordered, as the channel was opened. */
    get lossy(): boolean {
        return this.#raw.lossy;
    }

    /**
     * Takes a message; waits for room first. While connected nothing is ever dropped; without a link the
     * channel's {@link Queue} says what happens at the bound. Messages are taken in the order of the calls. An aborted call took nothing.
     * @throws {@link SendError}: closed, too large, or refused by a full queue.
     */
    async send(data: Data, options: SendOptions = {}): Promise<Receipt> {
        const { signal, ...terms } = options;
        signal?.throwIfAborted();
        const message = checked(data);
        if (!this.#turn) {
            const receipt = this.#take(message, terms);
            if (receipt) return receipt;
        }
        const turn = this.#turn;
        // A view may be changed by its owner while it waits for its turn; the module takes a copy at once.
        const kept = typeof message === 'string' || !turn ? message : message.slice();
        const sent = run<number>(async (cancelled) => {
            if (turn) await (cancelled ? Promise.race([turn, cancelled]) : turn);
            signal?.throwIfAborted();
            return this.#raw.send(kept, check.message(terms), terms.supersede, cancelled);
        }, signal);
        const next: Promise<unknown> = Promise.allSettled([turn, sent]).then(() => {
            if (this.#turn === next) this.#turn = undefined;
        });
        this.#turn = next;
        return new Receipt(this.#raw, await sent);
    }

    /**
     * Takes a message if there is room now; otherwise `undefined`.
     * @throws {@link SendError}
     */
    trySend(data: Data, options: Omit<SendOptions, 'signal'> = {}): Receipt | undefined {
        const message = checked(data);
        return this.#turn ? undefined : this.#take(message, options);
    }

    #take(message: string | Uint8Array, terms: SendOptions): Receipt | undefined {
        const deadline = check.message(terms);
        const seq = guard(() => this.#raw.trySend(message, deadline, terms.supersede));
        return seq === undefined ? undefined : new Receipt(this.#raw, seq);
    }

    /**
     * The next message: text as a string, bytes as a `Uint8Array` of its own. Asking for it acknowledges the one
     * before. An aborted call loses nothing.
     * @throws {@link ReceiveError} when nothing more will come; what arrived before the end is delivered first.
     */
    async receive({ signal }: Abortable = {}): Promise<string | Uint8Array> {
        signal?.throwIfAborted();
        const there = this.#raw.tryRecv();
        return there ?? (await run((cancelled) => this.#raw.recv(cancelled), signal));
    }

    /**
     * The messages, until the channel or the connection is closed by either side. Leaving the loop leaves the channel open.
     * @throws {@link ReceiveError} when the connection ended otherwise, and the signal's reason when it aborts.
     */
    async *messages({ signal }: Abortable = {}): AsyncIterableIterator<string | Uint8Array> {
        while (true) {
            let message;
            try {
                message = await this.receive({ signal });
            } catch (error) {
                if (error instanceof ReceiveError && wanted(error)) return;
                throw error;
            }
            yield message;
        }
    }

    /** As {@link messages}. */
    [Symbol.asyncIterator](): AsyncIterableIterator<string | Uint8Array> {
        return this.messages();
    }

    /**
     * Acknowledges the message last received at once, and resolves when a reload can no longer bring it back. For
     * work that must not be done twice: commit, then do it.
     * @throws {@link ReceiveError} if the connection ended before.
     */
    async commit({ signal }: Abortable = {}): Promise<void> {
        await run((cancelled) => this.#raw.commit(cancelled), signal);
    }

    /** What happens to the channel from now on. */
    events({ signal }: Abortable = {}): AsyncIterableIterator<ChannelEvent> {
        return events(this.#raw.events(), signal);
    }

    /** What was taken and is not acknowledged yet. */
    get buffered(): Buffered {
        return this.#raw.buffered() as Buffered;
    }

    /** Closes the channel, both ways: what this side queued still arrives, nothing more is received. */
    close(): void {
        this.#raw.close();
    }

    /** As {@link close}. */
    [Symbol.dispose](): void {
        this.close();
    }
}

/** Whether the end is one that somebody asked for. */
function wanted(error: ReceiveError): boolean {
    return error.code === 'channel-closed' || /^(local|peer|detached|shutdown)$/.test(error.reason?.code ?? '');
}

function checked(data: Data): string | Uint8Array {
    if (typeof data === 'string' || data instanceof Uint8Array) return data;
    if (data instanceof ArrayBuffer) return new Uint8Array(data);
    if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const message = 'a message is a string, an ArrayBuffer or a view of one';
    throw new ArgumentError({ code: 'bad-data', message });
}

/** @internal A subscription, which begins with the call and not with the first `next`. */
export async function* events<T>(raw: RawEvents, signal?: AbortSignal): AsyncIterableIterator<T> {
    while (true) {
        const event = await run<T | undefined>((cancelled) => raw.next(cancelled), signal);
        if (event === undefined) return;
        yield event;
    }
}
