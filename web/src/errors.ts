/** What went wrong, as data: part of events, states and causes. */
export interface ErrorInfo {
    /** Which operation it belongs to. */
    readonly kind: string;
    /** Why, for programs. See the classes of errors for the codes of each. */
    readonly code: string;
    /** Why, for people, and what to do about it. */
    readonly message: string;
    /** What to do about it, as the signaling server says. */
    readonly hint?: string;
    /** When to try again, in milliseconds, if the signaling server said so. */
    readonly retryAfter?: number;
}

/** Why a connection ended for good. */
export interface CloseReason extends ErrorInfo {
    /**
     * - `local`, `peer`: closed by this side, by the peer
     * - `detached`, `shutdown`: left by this side; with a store it goes on when it is resumed
     * - `unreachable`: the attempts of the backoff are spent
     * - `refused`: it can never be made, as `cause` says
     * - `session-lost`: the host no longer knows the session
     * - `displaced`: another page or process with the same identity and store took it over
     * - `expired`: at a host, the peer did not come back in time
     * - `store`: the session cannot be read or saved
     */
    readonly code:
        | 'local' | 'peer' | 'detached' | 'shutdown' | 'unreachable' | 'refused' | 'session-lost' | 'displaced'
        | 'expired' | 'store' | 'other';
    /** `unreachable`: how many attempts were made. */
    readonly attempts?: number;
    /** `session-lost`: messages whose arrival is unknown. */
    readonly unacked?: number;
    /** Why, in more detail. */
    readonly cause?: ErrorInfo;
}

/** What every error of this package is. One of this very class has the code `internal`, and is a bug of everlink. */
export class EverlinkError extends Error {
    // Written out in each class: minifiers rename classes.
    override name = 'EverlinkError';
    /** Why, for programs. */
    readonly code: string;
    /** Why the connection ended, if that is what was in the way. */
    readonly reason?: CloseReason;
    /** What to do about it, as the signaling server says. */
    readonly hint?: string;
    /** When to try again, in milliseconds, if the signaling server said so. */
    readonly retryAfter?: number;

    /** @internal */
    constructor(info: { code: string; message: string; reason?: CloseReason; hint?: string; retryAfter?: number }) {
        super(info.message);
        this.code = info.code;
        if (info.reason) this.reason = info.reason;
        if (info.hint !== undefined) this.hint = info.hint;
        if (info.retryAfter !== undefined) this.retryAfter = info.retryAfter;
    }
}

/**
 * An argument or option that cannot be: `bad-option`, `bad-name`, `bad-url`, `bad-secret`, `bad-data`.
 */
export class ArgumentError extends EverlinkError {
    override name = 'ArgumentError';
}

/**
 * Something that this place does not have: `no-webrtc` (a worker, or Node without a polyfill), `no-indexeddb`
 * (private windows of some browsers).
 */
export class UnsupportedError extends EverlinkError {
    override name = 'UnsupportedError';
}

/**
 * No connection came about: `service-not-found`, `bad-name`, `unreachable` or another {@link CloseReason} (in `reason`),
 * `impersonation` (somebody answered who is not the owner: do not trust this signaling server), `version`,
 * `no-path`, `link`, `timed-out`, `host-full`, `misbehaviour`, `shutdown`.
 */
export class ConnectError extends EverlinkError {
    override name = 'ConnectError';
}

/**
 * The signaling server refused, or could not be reached: `unreachable`, `not-a-server`, or the code that it gave,
 * such as `username-taken`, `token-needed` or `rate-limited`.
 */
export class SignalingError extends EverlinkError {
    override name = 'SignalingError';
}

/** A service could not be exposed, or ended: `displaced`, `link`, `bad-config`, `shutdown`. */
export class ServiceError extends EverlinkError {
    override name = 'ServiceError';
}

/** A channel could not be opened: `already-open`, `bad-label`, `too-many`, `other-kind`, `closed`. */
export class ChannelError extends EverlinkError {
    override name = 'ChannelError';
}

/**
 * A message was not, or will not be, delivered: `closed`, `channel-closed`, `too-large`, `too-large-for-peer`,
 * `queue-full`, `overflow`, `expired`, `superseded`, `bad-key`, `session-lost`, `not-stored`, `forgotten`.
 */
export class SendError extends EverlinkError {
    override name = 'SendError';
}

/** There is no further message: `closed`, `channel-closed`. */
export class ReceiveError extends EverlinkError {
    override name = 'ReceiveError';
}

/** Sessions cannot be read or written: `full` (the disk, what the browser allows the site, or `maxBytes`), `locked`, `not-accessible`, `corrupt`, `newer`, `failed`. */
export class StoreError extends EverlinkError {
    override name = 'StoreError';
}

/**
 * A file of this package cannot be used: `not-loaded` (as `cause` says; calling again tries again), or `other-build` than
 * the files that are loaded already.
 */
export class LoadError extends EverlinkError {
    override name = 'LoadError';
}

/** @internal By the kind that the module tells. */
export const classes: Record<string, typeof EverlinkError> = {
    argument: ArgumentError,
    unsupported: UnsupportedError,
    connect: ConnectError,
    signaling: SignalingError,
    service: ServiceError,
    channel: ChannelError,
    send: SendError,
    receive: ReceiveError,
    store: StoreError,
};

/** Makes an error of what the module threw. */
export function toError(thrown: unknown): unknown {
    if (thrown instanceof WebAssembly.RuntimeError) {
        const message =
            'everlink had an internal error and cannot go on in this page. That is a bug: please report it, best with what a package built by `web/build.sh --quick` prints to the console';
        return Object.assign(new EverlinkError({ code: 'internal', message }), { cause: thrown });
    }
    if (typeof thrown !== 'object' || thrown === null || thrown instanceof Error) return thrown;
    const info = thrown as ErrorInfo;
    return new (classes[info.kind] ?? EverlinkError)(info);
}

/** Calls into the module, with errors as classes. */
export function guard<T>(call: () => T): T {
    try {
        return call();
    } catch (thrown) {
        throw toError(thrown);
    }
}

/**
 * Awaits the module's promise. When `signal` aborts first, the work is dropped and the promise rejects with the
 * signal's reason.
 */
export async function run<T>(
    work: (cancelled?: Promise<void>) => Promise<unknown>,
    signal?: AbortSignal,
): Promise<T> {
    if (!signal) {
        try {
            return (await work()) as T;
        } catch (thrown) {
            throw toError(thrown);
        }
    }
    signal.throwIfAborted();
    let release!: () => void;
    const cancelled = new Promise<void>((resolve) => (release = resolve));
    signal.addEventListener('abort', release, { once: true });
    try {
        return (await work(cancelled)) as T;
    } catch (thrown) {
        if (thrown === undefined) signal.throwIfAborted();
        throw toError(thrown);
    } finally {
        signal.removeEventListener('abort', release);
        // So that the module lets go of it.
        release();
    }
}
