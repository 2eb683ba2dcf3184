// What the page needs of a room: TutorialSync of `everlink/tutorial` has it, and so has the tests' stand-in.
import type { TutorialSync } from '../../src/tutorial/sync.js';

export type Content = Pick<TutorialSync['content'], 'outline' | 'step' | 'file'>;

export type Room = Pick<
    TutorialSync,
    | 'me' | 'phase' | 'healing' | 'state' | 'members' | 'holder' | 'control'
    | 'lead' | 'sendState' | 'offerControl' | 'withdrawOffer' | 'acceptControl' | 'declineControl' | 'requestControl' | 'grantRequest' | 'denyRequest'
    | 'releaseControl' | 'returnControl' | 'revokeControl' | 'events' | 'leave'
> & { readonly content: Content };
