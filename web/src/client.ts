import { DurableConnection } from './connection.js';
import { ArgumentError, EverlinkError, UnsupportedError, guard, run } from './errors.js';
import { RawClient, RawStore, type RawConnection, type RawService } from './glue.js';
import { Identity } from './identity.js';
import { load, loadWith } from './load.js';
import type { Abortable, ConnectOptions, ConnectionOptions, ServiceOptions, Target } from './options.js';
import { DurableService } from './service.js';
import type { Claim, ServiceRecord } from './state.js';

/** What a client is made of. */
export interface ClientOptions {
    /** The signaling server: `https://HOST`, with a path if it is below one. */
    signaling: string | URL;
    /** Whose client it is. Default: the one that this site keeps beside its IndexedDB store, or a new one. */
    identity?: Identity;
    /** STUN and TURN servers. Default: none, which reaches peers on the same machine or network only. */
    iceServers?: RTCIceServer[];
    /**
     * Where sessions live on. Default: nowhere, and a page that is reloaded loses them. `memory` is for sessions that
     * are detached and taken up again by the same client.
     */
    store?: 'memory' | IndexedDbOptions;
}

/** Sessions that survive a reload and a killed tab. One page at a time has a store. */
export interface IndexedDbOptions {
    /** The name of the store, and of the identity beside it unless another is given. */
    indexedDb: string;
    /** The most bytes of records, which take as much memory. Default 64 MiB. */
    maxBytes?: number;
    /**
     * What to do where IndexedDB is not to be had: in private windows of some browsers, or on a full disk. Default: an
     * error. What an earlier page left in the store then waits there.
     */
    otherwise?: 'memory';
}

/**
 * Exposes services and connects to them, in the name of one identity.
 *
 * ```js
 * const client = await Client.create({ signaling: 'https://signal.example.org' });
 * const connection = await client.connectByUuid(uuid);
 * ```
 *
 * {@link shutdown} ends everything it started, and so does `await using`.
 */
export class Client {
    /** @internal */
    readonly raw: RawClient;

    /** The identity. */
    readonly identity: Identity;

    private constructor(raw: RawClient, identity: Identity) {
        this.raw = raw;
        this.identity = identity;
    }

    /**
     * A client; loads the WebAssembly module first.
     * @throws {@link UnsupportedError} `no-webrtc`, {@link ArgumentError}, {@link StoreError}
     */
    static async create(options: ClientOptions): Promise<Client> {
        if (typeof RTCPeerConnection === 'undefined') {
            const message =
                'there is no RTCPeerConnection here: in a worker install the bridge of `everlink/bridge`, in Node a polyfill such as `node-datachannel/polyfill`';
            throw new UnsupportedError({ code: 'no-webrtc', message });
        }
        if (!options?.signaling) {
            throw new ArgumentError({ code: 'bad-option', message: 'a client needs the option `signaling`' });
        }
        await (options.store === undefined ? load() : loadWith('store'));
        const [store, identity] = await opened(options);
        const signaling = String(options.signaling);
        const raw = guard(() => new RawClient(identity.raw, signaling, options.iceServers ?? [], store));
        return new Client(raw, identity);
    }

    /** The public key of its identity. */
    get publicKey(): string {
        return this.identity.publicKey;
    }

    /**
     * Connects to a user's service by name and version. Resolves once the first link is live; from then on the
     * connection heals itself. Whose service a name stands for is the signaling server's word: see `expectPeer`.
     * @throws {@link ConnectError}, {@link SignalingError}
     */
    async connect(user: string, service: string, options: ConnectOptions = {}): Promise<DurableConnection> {
        return this.#connect({ user, service }, options);
    }

    /**
     * Connects to the service with this uuid, and to nobody who is not its owner.
     * @throws {@link ConnectError}, {@link SignalingError}
     */
    async connectByUuid(uuid: string, options: ConnectOptions = {}): Promise<DurableConnection> {
        return this.#connect({ uuid }, options);
    }

    async #connect(target: Target, { signal, ...options }: ConnectOptions): Promise<DurableConnection> {
        const connected = run<RawConnection>((cancelled) => this.raw.connect(target, options, cancelled), signal);
        return new DurableConnection(await connected);
    }

    /**
     * Returns at once; sends queue until there is a link. With a store, a session to the same target that was not
     * closed goes on where it stopped, in this and the other ways to connect.
     * @throws {@link ArgumentError}
     */
    connectLazy(target: Target, options: ConnectionOptions = {}): DurableConnection {
        return new DurableConnection(guard(() => this.raw.connectLazy(target, options)));
    }

    /**
     * Publishes a service, claiming the username if it is free. Resolves once it is published.
     * @throws {@link ServiceError}, {@link SignalingError}, {@link StoreError}, {@link ArgumentError}
     */
    async exposeService({ signal, ...options }: ServiceOptions): Promise<DurableService> {
        await loadWith('host');
        const exposed = run<RawService>((cancelled) => this.raw.exposeService(options, cancelled), signal);
        return new DurableService(await exposed);
    }

    /**
     * Takes or renews a username for this identity, for 365 days.
     * @throws {@link SignalingError} `username-taken` if it is another key's.
     */
    async claimUsername(username: string, { signal }: Abortable = {}): Promise<Claim> {
        await loadWith('host');
        return run((cancelled) => this.raw.claimUsername(username, cancelled), signal);
    }

    /** The public services of a user. */
    async services(username: string, { signal }: Abortable = {}): Promise<ServiceRecord[]> {
        await loadWith('host');
        return run((cancelled) => this.raw.services(username, cancelled), signal);
    }

    /** Says that the network changed, for pages that learn it before the browser does. */
    networkChanged(): void {
        this.raw.networkChanged();
    }

    /** Withdraws services, closes connections (with a store: detaches them), and waits for that. */
    async shutdown(): Promise<void> {
        await run(() => this.raw.shutdown());
    }

    /** As {@link shutdown}. */
    async [Symbol.asyncDispose](): Promise<void> {
        await this.shutdown();
    }
}

/** The store, and whose sessions are in it. */
async function opened({ store, identity }: ClientOptions): Promise<[RawStore | undefined, Identity]> {
    const other = async () => identity ?? (await Identity.generate());
    if (store === undefined) return [undefined, await other()];
    if (store === 'memory') return [RawStore.memory(), await other()];
    if (typeof store?.indexedDb !== 'string') {
        const message = "the option `store` must be 'memory' or { indexedDb: NAME }";
        throw new ArgumentError({ code: 'bad-option', message });
    }
    let raw: RawStore | undefined;
    try {
        raw = await run<RawStore>(() => RawStore.indexedDb(store.indexedDb, store.maxBytes));
        return [raw, identity ?? (await Identity.load(store.indexedDb))];
    } catch (error) {
        // Whoever tries again shall find it free.
        raw?.free();
        const absent = error instanceof EverlinkError && /^(no-indexeddb|not-accessible|full|failed)$/.test(error.code);
        if (store.otherwise === 'memory' && absent) return [RawStore.memory(), await other()];
        throw error;
    }
}
