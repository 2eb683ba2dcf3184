// What the module gives: values as JSON text.
import type { RawClient, RawEvents } from '../glue.js';

type Cancelled = Promise<unknown> | undefined;

/** @internal */
export interface RawTutorial {
    readonly me: string;
    readonly phase: string;
    readonly healing: boolean;
    readonly state: string | undefined;
    readonly members: string;
    readonly control: string;
    lead(cancelled: Cancelled): Promise<unknown>;
    follow(cancelled: Cancelled): Promise<unknown>;
    pullStateFromPeer(cancelled: Cancelled): Promise<unknown>;
    pushStateToPeer(state: string, cancelled: Cancelled): Promise<unknown>;
    sendState(state: string): void;
    keepState(state: string): void;
    requestState(cancelled: Cancelled): Promise<unknown>;
    offerControl(to: string | undefined, cancelled: Cancelled): Promise<unknown>;
    withdrawOffer(cancelled: Cancelled): Promise<unknown>;
    acceptControl(offer: number, cancelled: Cancelled): Promise<unknown>;
    declineControl(offer: number, reason: string | undefined, cancelled: Cancelled): Promise<unknown>;
    requestControl(reason: string | undefined, cancelled: Cancelled): Promise<unknown>;
    grantRequest(request: number, cancelled: Cancelled): Promise<unknown>;
    denyRequest(request: number, reason: string | undefined, cancelled: Cancelled): Promise<unknown>;
    releaseControl(to: string, cancelled: Cancelled): Promise<unknown>;
    returnControl(cancelled: Cancelled): Promise<unknown>;
    revokeControl(to: string | undefined, cancelled: Cancelled): Promise<unknown>;
    events(): RawEvents;
    steps(): RawEvents;
    outline(cancelled: Cancelled): Promise<unknown>;
    step(index: number, solution: boolean, cancelled: Cancelled): Promise<unknown>;
    tree(index: number, cancelled: Cancelled): Promise<unknown>;
    file(index: number, path: string, cancelled: Cancelled): Promise<unknown>;
    leave(): Promise<unknown>;
    left(cancelled: Cancelled): Promise<unknown>;
}

/** @internal */
export interface RawRoom {
    readonly id: string;
    link(server: string): string;
    info(): string;
    members(): string;
    sync(options: string, cancelled: Cancelled): Promise<RawTutorial>;
    setRole(member: string, role: string): void;
    remove(member: string): void;
    events(): RawEvents;
    close(): Promise<unknown>;
}

/** @internal */
export interface TutorialGlue {
    RawTutorial: { connect(client: RawClient, room: string, options: string, cancelled: Cancelled): Promise<RawTutorial> };
    RawRoom: { open(client: RawClient, options: string, cancelled: Cancelled): Promise<RawRoom> };
}
