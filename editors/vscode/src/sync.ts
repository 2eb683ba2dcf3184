/**
 * What the extension needs of `everlink/tutorial`, as types: {@link ./everlink.ts} gives it the real one, tests give it a
 * room in memory. The shapes are those of the package.
 */

/** Where a member stands. */
export type Phase =
    | 'disconnected' | 'connecting' | 'connected_idle' | 'initializing_pull' | 'initializing_push' | 'active' | 'passive';

/** What a step is for. */
export type StepType = 'section' | 'template' | 'solution' | 'action';

/** Which step is shown. */
export interface StepContent {
    readonly id: string;
    readonly title: string;
    readonly commitHash: string;
    readonly type: StepType;
    readonly index: number;
}

/** What is shown, as it travels. */
export interface TutorialSyncState {
    readonly tutorialId: string;
    readonly tutorialTitle: string;
    readonly totalSteps: number;
    readonly isShowingSolution: boolean;
    readonly stepContent: StepContent;
    readonly repoUrl?: string;
}

/** Somebody in the room. */
export interface Member {
    readonly id: string;
    readonly name?: string | null;
    readonly role: 'leader' | 'follower' | 'observer' | 'moderator';
    readonly moderator: boolean;
    readonly presence: 'here' | 'healing';
}

export interface StepSummary {
    readonly index: number;
    readonly id: string;
    readonly title: string;
    readonly type: StepType;
    readonly commitHash: string;
    readonly section?: string | null;
}

export interface Outline {
    readonly title: string;
    readonly repoUrl?: string | null;
    readonly steps: readonly StepSummary[];
}

export interface FileChange {
    readonly path: string;
    readonly oldPath?: string | null;
    readonly status: 'added' | 'modified' | 'deleted' | 'renamed';
    readonly binary?: boolean;
    readonly tooLarge?: boolean;
    readonly additions?: number;
    readonly deletions?: number;
    readonly diff?: string | null;
}

export interface StepPage {
    readonly index: number;
    readonly id: string;
    readonly title: string;
    readonly type: StepType;
    readonly commitHash: string;
    readonly markdown: string;
    readonly files: readonly FileChange[];
}

export interface TreeEntry {
    readonly path: string;
    readonly size: number;
    readonly executable?: boolean;
    readonly hash: string;
}

export interface FileContent {
    readonly path: string;
    readonly text?: string | null;
    readonly base64?: string | null;
}

/** What the host has of a tutorial. */
export interface Content {
    outline(): Promise<Outline>;
    step(index: number, solution?: boolean): Promise<StepPage>;
    tree(index: number): Promise<readonly TreeEntry[]>;
    file(index: number, path: string): Promise<FileContent>;
}

/** What happened, as far as it cannot be read of the membership itself, which is done at any event. */
export interface TutorialEvent {
    readonly type: string;
    /** `holder_lost`: who. */
    readonly holder?: string | null;
    /** `rejected`: what, as a code. */
    readonly what?: string;
    /** `left`: why. */
    readonly reason?: unknown;
}

/** Who leads, and which questions wait for an answer. */
export interface Control {
    readonly holder: string | null;
    readonly offer: { readonly offer: number; readonly from: string; readonly to?: string | null } | null;
    readonly requests: readonly { readonly request: number; readonly from: string; readonly reason?: string | null }[];
}

/** How an offer of control ended: `accepted`, `declined`, `expired` or `withdrawn`. */
export interface OfferOutcome {
    readonly outcome: string;
    readonly by?: string | null;
    readonly reason?: string | null;
}

/** A membership of a room. */
export interface Sync {
    readonly me: string;
    readonly phase: Phase;
    readonly healing: boolean;
    readonly state: TutorialSyncState | null;
    readonly members: readonly Member[];
    readonly control: Control;
    readonly content: Content;
    lead(): Promise<unknown>;
    follow(): Promise<unknown>;
    sendState(state: TutorialSyncState): void;
    keepState(state: TutorialSyncState): void;
    offerControl(to?: string): Promise<OfferOutcome>;
    withdrawOffer(): Promise<void>;
    acceptControl(offer: number): Promise<void>;
    declineControl(offer: number, reason?: string): Promise<void>;
    requestControl(reason?: string): Promise<void>;
    grantRequest(request: number): Promise<void>;
    denyRequest(request: number, reason?: string): Promise<void>;
    releaseControl(options: { to: 'idle' | 'passive' }): Promise<void>;
    events(): AsyncIterable<TutorialEvent>;
    leave(): Promise<void>;
}

/** Where to. */
export interface Room {
    readonly server: string;
    readonly uuid: string;
}

/** Who comes, and how. */
export interface Guest {
    readonly name?: string;
    /** 32 bytes, by which the room knows this member again. */
    readonly secret: Uint8Array;
    readonly iceServers: readonly unknown[];
    readonly signal: AbortSignal;
}

/** A membership that can be ended. */
export interface Joined {
    readonly sync: Sync;
    /** Leaves the room for good. */
    leave(): Promise<void>;
}

/** How a room is joined. */
export type Join = (room: Room, guest: Guest) => Promise<Joined>;
