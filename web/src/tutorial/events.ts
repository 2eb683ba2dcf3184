import type { Lagged } from '../state.js';
import type { Member, Phase, TutorialSyncState } from './types.js';

/** What happens to a member of a room: one event for each change, in their order. Members are named by their keys. */
export type TutorialEvent<S = TutorialSyncState> =
    | { readonly type: 'phase_changed'; readonly from: Phase; readonly to: Phase; readonly reason: string }
    /** The newest state. Older ones may have been skipped; `steps()` has them all. */
    | { readonly type: 'state_updated'; readonly state: S }
    /** The leader offers control. Answer with `acceptControl(offer)` or `declineControl(offer)`. */
    | { readonly type: 'control_offered'; readonly offer: number; readonly from: string; readonly state: S | null }
    | { readonly type: 'offer_ended'; readonly offer: number; readonly why: string }
    /** To the leader: somebody wants control. Answer with `grantRequest(request)` or `denyRequest(request)`. */
    | { readonly type: 'control_requested'; readonly request: number; readonly from: string; readonly reason?: string | null }
    | { readonly type: 'request_ended'; readonly request: number; readonly why: string }
    /** Who leads now: `null` is nobody. */
    | { readonly type: 'control_changed'; readonly epoch: number; readonly holder: string | null; readonly why: string }
    /** The leader did not come back in time. */
    | { readonly type: 'holder_lost'; readonly holder: string }
    | { readonly type: 'member_joined'; readonly member: Member }
    | { readonly type: 'member_healing'; readonly member: string }
    | { readonly type: 'member_healed'; readonly member: string }
    | { readonly type: 'member_left'; readonly member: string }
    /** The own link was lost; role and place are kept. */
    | { readonly type: 'healing' }
    | { readonly type: 'healed' }
    /** Something of somebody's was refused. */
    | { readonly type: 'rejected'; readonly what: string; readonly from?: string | null }
    /** The end; nothing follows. */
    | { readonly type: 'left'; readonly reason: string }
    | Lagged;

/** What happens to a room. */
export type RoomEvent =
    | { readonly type: 'member_joined'; readonly member: Member }
    | { readonly type: 'member_left' | 'member_healing' | 'member_healed'; readonly member: string }
    | { readonly type: 'role_changed'; readonly member: string; readonly role: string }
    | { readonly type: 'control_changed'; readonly epoch: number; readonly holder: string | null; readonly why: string }
    | { readonly type: 'closed'; readonly reason: string }
    | Lagged;
