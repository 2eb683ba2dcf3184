import type { CloseReason, ErrorInfo } from './errors.js';

/** What a connection is now. */
export type ConnectionState =
    /** No link yet; which attempt is under way, from 1. */
    | { readonly type: 'connecting'; readonly attempt: number }
    /** A link is live. */
    | { readonly type: 'connected' }
    /**
     * The link was lost, and messages queue. Which attempt comes next (0 at a host, which waits for its peer), and in
     * how many milliseconds from when the state was asked for; at a host, when it stops waiting.
     */
    | { readonly type: 'reconnecting'; readonly attempt: number; readonly retryIn: number }
    /** The end. */
    | { readonly type: 'closed'; readonly reason: CloseReason };

/** Why a link was lost. */
export type DisconnectCause =
    | 'link-down' | 'path-dead' | 'network-change' | 'wake' | 'requested' | 'misbehaviour' | 'replaced' | 'restart';

/** How a connection found its way back. */
export interface Recovery {
    /** Why it had to. */
    readonly cause: DisconnectCause;
    /** What brought it back, the cheapest way first. */
    readonly rung: 'probe' | 'ice-restart' | 'fresh-link' | 'resumed';
    /** Milliseconds from when the trouble was noticed. */
    readonly after: number;
    /** How many messages of this side were sent again. */
    readonly replayed: number;
}

/** A subscriber fell 256 events behind, and the oldest were dropped. */
export interface Lagged {
    readonly type: 'lagged';
    /** How many. */
    readonly missed: number;
}

/** What happened to a connection: one event for each transition. Times are milliseconds. */
export type ConnectionEvent =
    | { readonly type: 'connected'; readonly resumed: boolean; readonly replayed: number; readonly after: number }
    | { readonly type: 'disconnected'; readonly cause: DisconnectCause; readonly message?: string }
    | { readonly type: 'reconnecting'; readonly attempt: number; readonly delay: number }
    | { readonly type: 'attempt-failed'; readonly attempt: number; readonly error: ErrorInfo }
    | { readonly type: 'recovered'; readonly recovery: Recovery }
    /** The session was taken over from another page or process with the same identity and store. */
    | { readonly type: 'took-over' }
    /** The host had forgotten the session, and a new one begins. */
    | { readonly type: 'session-lost'; readonly unacked: number }
    | { readonly type: 'store-failed'; readonly error: ErrorInfo; readonly goesOn: boolean }
    | { readonly type: 'store-recovered' }
    /** The end; nothing follows. */
    | { readonly type: 'closed'; readonly reason: CloseReason }
    | Lagged;

/** What happened to a channel. */
export type ChannelEvent =
    /** The peer has the channel, too. */
    | { readonly type: 'open' }
    /** Messages of this side were dropped from a full queue while there was no link. */
    | { readonly type: 'overflow'; readonly count: number }
    /** Messages of this side waited for too long. */
    | { readonly type: 'expired'; readonly count: number }
    /** Newer messages took the place of messages of this side. */
    | { readonly type: 'superseded'; readonly count: number }
    /** Messages of the peer, by their numbers, that will never come. */
    | {
          readonly type: 'gap';
          readonly from: number;
          readonly to: number;
          readonly cause: 'overflow' | 'expired' | 'closed' | 'session-lost' | 'too-large' | 'superseded' | 'other';
      }
    /** What waits fell below half of what may wait. */
    | { readonly type: 'buffered-low' }
    /** The end; nothing follows. */
    | { readonly type: 'closed' }
    | Lagged;

/** What happened to a service. */
export type ServiceEvent =
    | { readonly type: 'published'; readonly uuid: string; readonly expiresAt: number }
    /** A new session, to be had from `accept`. */
    | { readonly type: 'connection'; readonly id: string }
    | { readonly type: 'disconnection'; readonly id: string }
    /** A peer, by its key, was refused for good: it speaks another version of the protocol (`version`). It is told the same. */
    | { readonly type: 'refused'; readonly peer: string; readonly error: ErrorInfo }
    | { readonly type: 'ttl-refreshed'; readonly expiresAt: number }
    /** Something failed; it is retried unless `closed` follows. */
    | { readonly type: 'error'; readonly context: string; readonly message: string }
    | { readonly type: 'took-over' }
    /** Another running host with the same identity took the service over. */
    | { readonly type: 'displaced' }
    /** The end; nothing follows. */
    | { readonly type: 'closed' }
    | Lagged;

/** Figures of a connection so far. */
export interface ConnectionStats {
    readonly state: ConnectionState;
    /** Whether there is a link, and whether it answers. */
    readonly rung: 'none' | 'live' | 'suspect';
    /** Milliseconds until the peer acknowledges a packet, smoothed. */
    readonly rtt?: number;
    readonly bytesSent: number;
    readonly bytesReceived: number;
    readonly packetsSent: number;
    readonly messagesReceived: number;
    /** Messages sent again after a link was lost. */
    readonly replayed: number;
    /** Messages of the peer that came twice and were delivered once. */
    readonly deduplicated: number;
    readonly expired: number;
    readonly overflowed: number;
    readonly superseded: number;
    /** How often the connection came back. */
    readonly reconnects: number;
    readonly probes: number;
    readonly lastRecovery?: Recovery;
}

/** What waits in a channel on this side. */
export interface Buffered {
    /** Messages taken and not acknowledged. */
    readonly messages: number;
    /** Their bytes, plus 32 for each. */
    readonly bytes: number;
    /** How long the oldest has waited, in milliseconds. */
    readonly oldest?: number;
}

/** A message that was taken and not acknowledged when its connection ended. */
export interface Undelivered {
    /** The channel's label. */
    readonly label: string;
    readonly data: string | Uint8Array;
    /** It was on its way at some time, so the peer may have it all the same. */
    readonly mayHaveArrived: boolean;
}

/** What a service is known by. */
export interface ServiceInfo {
    /** `user/name@version`. */
    readonly service: string;
    /** Derived from the owner's key and the name, so it stays the same. */
    readonly uuid: string;
    /** When the lease ends, in milliseconds since 1970 by the server's clock. */
    readonly expiresAt: number;
}

/** A public service in the directory. */
export interface ServiceRecord {
    readonly uuid: string;
    /** The owner's key. */
    readonly owner: string;
    readonly user: string;
    readonly service: string;
    readonly metadata: Record<string, unknown>;
    readonly expiresAt: number;
}

/** A username that is this identity's. */
export interface Claim {
    readonly username: string;
    readonly owner: string;
    readonly claimedAt: number;
    readonly expiresAt: number;
}
