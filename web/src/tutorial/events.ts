import type { Lagged } from '../state.js';
import type { ControlCause, Member, OfferOutcome, Phase, Role, TutorialSyncState } from './types.js';

/** What happens to a member of a room: one event for each change, in their order. Members are named by their keys. */
export type TutorialEvent<S = TutorialSyncState> =
    | { readonly type: 'phase_changed'; readonly from: Phase; readonly to: Phase; readonly cause: ControlCause }
    /** A new state of the leader's, or that of the room at joining. Older ones may have been skipped; `steps()` has them all. */
    | { readonly type: 'state_updated'; readonly state: S }
    /** Who leads now: `null` is nobody. */
    | { readonly type: 'control_changed'; readonly epoch: number; readonly holder: string | null; readonly cause: ControlCause }
    /** The leader left, or did not come back in time. */
    | { readonly type: 'holder_lost'; readonly holder: string }
    /** This member may lead. Answer with `acceptControl(offer)` or `declineControl(offer)`. */
    | { readonly type: 'control_offered'; readonly offer: number; readonly from: string; readonly state?: S | null }
    /** An offer to this member is no longer open, for another reason than its answer. */
    | { readonly type: 'offer_ended'; readonly offer: number }
    /** To the leader: somebody wants to lead. Answer with `grantRequest(request)` or `denyRequest(request)`. */
    | { readonly type: 'control_requested'; readonly request: number; readonly from: string; readonly reason?: string | null }
    /** A request to this member is no longer open, for another reason than its answer. */
    | { readonly type: 'request_ended'; readonly request: number }
    /** What became of the own offer. */
    | { readonly type: 'offer_settled'; readonly outcome: OfferOutcome }
    | { readonly type: 'member_joined'; readonly member: Member }
    | { readonly type: 'role_changed'; readonly member: string; readonly role: Role }
    | { readonly type: 'member_healing'; readonly member: string }
    | { readonly type: 'member_healed'; readonly member: string }
    | { readonly type: 'member_left'; readonly member: string }
    /** The own link was lost; role and place are kept. */
    | { readonly type: 'healing' }
    | { readonly type: 'healed' }
    /** Something arrived that is void or not understood, and changed nothing: `what` is a code. */
    | { readonly type: 'rejected'; readonly what: string }
    /** The end; nothing follows. */
    | { readonly type: 'left'; readonly reason: Left }
    | Lagged;

/** Why a member is no longer in its room. */
export interface Left {
    /** `by_itself`, `full`, `removed`, `displaced`, `closed`, `expired`, `host_gone`, `version`, `too_slow`, `connection_lost`, `no_room`. */
    readonly code: string;
    /** The same for people. */
    readonly message: string;
}

/** What happens to a room. */
export type RoomEvent =
    | { readonly type: 'member_joined'; readonly member: Member }
    | { readonly type: 'member_healing' | 'member_healed' | 'member_left'; readonly member: string }
    | { readonly type: 'role_changed'; readonly member: string; readonly role: Role }
    | { readonly type: 'control_transferred'; readonly epoch: number; readonly from: string | null; readonly to: string | null; readonly cause: ControlCause }
    | { readonly type: 'rejected'; readonly from: string; readonly what: string }
    /** The end; nothing follows: `by_host`, `expired` or `host_gone`. */
    | { readonly type: 'closed'; readonly reason: string }
    | Lagged;
