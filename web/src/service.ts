import { events } from './channel.js';
import { DurableConnection } from './connection.js';
import { run } from './errors.js';
import type { RawConnection, RawService } from './glue.js';
import type { Abortable } from './options.js';
import type { ServiceEvent, ServiceInfo } from './state.js';

/**
 * A service that is being exposed: published, refreshed before its lease ends, with an offer always ready, until it
 * is stopped. It is an iterable of its new sessions:
 *
 * ```js
 * for await (const connection of service) handle(connection);
 * ```
 */
export class DurableService implements AsyncIterable<DurableConnection> {
    readonly #raw: RawService;
    #info: ServiceInfo;

    /** @internal */
    constructor(raw: RawService) {
        this.#raw = raw;
        this.#info = raw.info() as ServiceInfo;
    }

    /** What the service is known by. */
    get info(): ServiceInfo {
        return (this.#info = (this.#raw.info() as ServiceInfo | undefined) ?? this.#info);
    }

    /** Its uuid, by which peers connect to it. */
    get uuid(): string {
        return this.#info.uuid;
    }

    /**
     * The next *new* session; `undefined` when the service has stopped. A peer that reconnects resumes its old one and
     * never shows up here. With a store, the sessions of before a reload come first.
     */
    async accept({ signal }: Abortable = {}): Promise<DurableConnection | undefined> {
        const raw = await run<RawConnection | undefined>((cancelled) => this.#raw.accept(cancelled), signal);
        return raw && new DurableConnection(raw);
    }

    /** The new sessions, until the service has stopped. */
    async *[Symbol.asyncIterator](): AsyncIterableIterator<DurableConnection> {
        for (let connection; (connection = await this.accept()); ) yield connection;
    }

    /** The names of the sessions that are alive, connected or waiting for their peer. */
    get connections(): string[] {
        return this.#raw.connections() as string[];
    }

    /** What happens to the service from now on. */
    async *events({ signal }: Abortable = {}): AsyncIterableIterator<ServiceEvent> {
        const raw = this.#raw.events();
        if (raw) yield* events<ServiceEvent>(raw, signal);
    }

    /**
     * Stops for good: withdraws the service, closes its connections, and waits for both, for some seconds at most.
     * @throws {@link ServiceError}, {@link SignalingError}: it is stopped here all the same.
     */
    async stop(): Promise<void> {
        await run(() => this.#raw.stop());
    }

    /** As {@link stop}. */
    async [Symbol.asyncDispose](): Promise<void> {
        await this.stop();
    }
}
