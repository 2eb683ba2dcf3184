/** For whatever waits. */
export interface Abortable {
    /** Gives up waiting; nothing is left half done. */
    signal?: AbortSignal | undefined;
}

/** Which service to connect to. */
export type Target =
    /** The service with this uuid, and nobody who is not its owner. */
    | { readonly uuid: string }
    /** A user's service by name and version: `chat@1.2.3` exactly, `chat@^1.2` or `chat@1` the highest that fits. */
    | { readonly user: string; readonly service: string };

/** When to try again: the first attempt at once, then after `min(base · 2ⁿ, max)`, less up to `jitter`. */
export interface Backoff {
    /** Milliseconds after the first failure. Default 1,000. */
    base?: number;
    /** The longest wait in milliseconds. Default 30,000. */
    max?: number;
    /** The random part of each wait, 0 to 1. Default 0.2. */
    jitter?: number;
    /** Attempts in a row without a working link before it is given up; default 10, `null` never gives up. */
    maxAttempts?: number | null;
}

/** How a dead path is noticed. Milliseconds. */
export interface Liveness {
    /** A probe this often while nothing else is under way. Default 20,000. */
    idleProbe?: number;
    /** A probe this often while something sent is unacknowledged. Default 250. */
    busyProbe?: number;
    /** Without any acknowledgement for this long a new link is dialed beside the old one. Default 1,200. */
    suspectAfter?: number;
}

/**
 * What may wait in a channel while there is no link; with one, `send` waits for room and nothing is ever dropped.
 * `'lossless'` never drops: no age limit, and `send` waits when it is full.
 */
export type Queue =
    | 'lossless'
    | {
          /** Default 1,000. */
          maxMessages?: number;
          /** Default 16 MiB. */
          maxBytes?: number;
          /** Milliseconds until a waiting message is dropped and reported. Default 60,000; `null` keeps it. */
          maxAge?: number | null;
          /** What happens at the bound. Default `drop-oldest`. */
          whenFull?: 'wait' | 'drop-oldest' | 'reject';
      };

/** How a connection behaves. Times are milliseconds. */
export interface ConnectionOptions {
    /** How long one attempt may take. Default 30,000. */
    connectTimeout?: number;
    backoff?: Backoff;
    liveness?: Liveness;
    queue?: Queue;
    /** When the host has forgotten the session: close (`fail`, the default), or begin a new one. */
    onSessionLost?: 'fail' | 'start-fresh';
    /** When the store takes nothing: accept no message until it does (`stop`, the default), or go on without. */
    onStoreFailure?: 'stop' | 'go-on-in-memory';
    /** At a host: how long the session of a peer that is away is kept. Default 300,000. */
    parkFor?: number;
    /** How long `close` may take to hand over what is queued. Default 5,000. */
    closeTimeout?: number;
    /** The largest message in bytes. Default 16 MiB. */
    maxMessage?: number;
    /** The most channels that the peer may have open. Default 256. */
    maxChannels?: number;
    /** The only key to accept at the other end. A uuid commits to one by itself; a name does not. */
    expectPeer?: string;
    /** The access token of a private service that asks for one when it is found by name. */
    token?: string;
}

/** How to connect. */
export interface ConnectOptions extends ConnectionOptions, Abortable {}

/** How one channel behaves. */
export interface ChannelOptions {
    /** What waits while there is no link. Default: the connection's. */
    queue?: Queue;
    /** Which channels go first when more waits than a packet takes. Default `normal`. */
    priority?: 'control' | 'normal' | 'bulk';
    /**
     * Makes it a lossy channel: a data channel of its own on each link, without queue, replay or acknowledgement.
     * A message has at most 60 KiB.
     */
    lossy?: {
        /** Default false. */
        ordered?: boolean;
        /** Default 0. */
        maxRetransmits?: number;
    };
}

/** What to ask for one message. */
export interface SendOptions extends Abortable {
    /** Drops the message if it was not transmitted within so many milliseconds. */
    deadline?: number;
    /** Takes the place of a waiting message of the same key, 1 to 64 bytes. */
    supersede?: string;
}

/** What to expose, and how its connections behave. */
export interface ServiceOptions extends ConnectionOptions, Abortable {
    /** The owner's name; claimed if it is free. */
    user: string;
    /** Name and version, such as `chat@1.0.0`. */
    service: string;
    /** Whether it is listed. Default false: found by uuid or exact name only. */
    public?: boolean;
    /** Whoever looks a private service up by name must know this. */
    token?: string;
    /** Facts listed with a public service, at most 4 KiB of JSON. */
    metadata?: Record<string, unknown>;
    /** Milliseconds that the directory keeps the service without hearing of us. Default 300,000. */
    ttl?: number;
    /** The part of that time that is left when it is refreshed. Default 0.2. */
    refreshMargin?: number;
    /** Offers kept ready at the server. Default 1. */
    poolSize?: number;
}
