/** Where a member stands. `active` leads and sends, `passive` follows and receives; a link that heals changes none of it. */
export type Phase =
    | 'disconnected' | 'connecting' | 'connected_idle' | 'initializing_pull' | 'initializing_push' | 'active' | 'passive';

/** What a step is, as its commit says. */
export type StepType = 'section' | 'template' | 'solution' | 'action';

/** A step, as it travels in the state. */
export interface StepContent {
    readonly id: string;
    readonly title: string;
    readonly commitHash: string;
    readonly type: StepType;
    /** From 0. */
    readonly index: number;
}

/** Where a tutorial stands: what the leader sends, and everybody has the newest of. */
export interface TutorialSyncState {
    readonly tutorialId: string;
    readonly tutorialTitle: string;
    readonly totalSteps: number;
    readonly isShowingSolution: boolean;
    readonly stepContent: StepContent;
    readonly repoUrl?: string;
}

/** What a member is in the room. */
export type Role = 'leader' | 'follower' | 'observer' | 'moderator';

/** Somebody in the room. */
export interface Member {
    /** The public key, which the connection has proved. */
    readonly id: string;
    /** What this member calls itself. Not proved: two can have the same. */
    readonly name?: string | null;
    readonly role: Role;
    /** Whether this member may take control from whoever has it. */
    readonly moderator: boolean;
    /** `healing`: its link is lost, and its place is kept. */
    readonly presence: 'here' | 'healing';
}

/** Why control is where it is. */
export type ControlCause =
    | 'opened' | 'led' | 'followed' | 'offered' | 'requested' | 'returned' | 'released' | 'revoked' | 'lease_ended'
    | 'holder_left' | 'denied' | 'restored';

/** What became of an offer of control. */
export interface OfferOutcome {
    readonly outcome: 'accepted' | 'declined' | 'expired' | 'withdrawn';
    /** Who accepted or declined it. */
    readonly by?: string;
    /** What the one who declined it said. */
    readonly reason?: string;
}

/** A step in the list of all. */
export interface StepSummary {
    readonly index: number;
    readonly id: string;
    readonly title: string;
    readonly type: StepType;
    readonly commitHash: string;
    /** The title of the section that it is part of. */
    readonly section?: string | null;
}

/** What the tutorial consists of. */
export interface Outline {
    readonly title: string;
    readonly repoUrl?: string | null;
    readonly steps: readonly StepSummary[];
}

/** How one file differs from the step before. */
export interface FileChange {
    readonly path: string;
    /** Where it was, if it was renamed. */
    readonly oldPath?: string | null;
    readonly status: 'added' | 'modified' | 'deleted' | 'renamed';
    readonly binary: boolean;
    /** Whether it is too large to be sent. */
    readonly tooLarge: boolean;
    readonly additions: number;
    readonly deletions: number;
    /** A unified diff. Absent for what is binary or too large. */
    readonly diff?: string | null;
}

/** A step to read. Whoever wrote the tutorial wrote this: treat it as untrusted input. */
export interface StepPage {
    readonly index: number;
    readonly id: string;
    readonly title: string;
    readonly type: StepType;
    readonly commitHash: string;
    readonly markdown: string;
    readonly files: readonly FileChange[];
}

/** A file of a step. */
export interface TreeEntry {
    readonly path: string;
    /** In bytes. */
    readonly size: number;
    readonly executable: boolean;
    readonly hash: string;
}

/** A file's content: text, or bytes if it is not UTF-8. */
export interface FileContent {
    readonly path: string;
    readonly text?: string | null;
    readonly base64?: string | null;
}
