import { EverlinkError, classes } from '../errors.js';

/**
 * A room could not be joined: `full`, `removed`, `version`, `closed`, `timed-out`, `no-room`, `bad-name`. What kept the
 * connection itself from coming about is a {@link ConnectError}.
 */
export class JoinError extends EverlinkError {
    override name = 'JoinError';
}

/**
 * Control did not change as asked: `wrong-phase`, `held`, `denied`, `unanswered`, `both-denied`, `busy`, `not-holder`,
 * `not-moderator`, `observer`, `gone`, `nobody`, `pending`, `late`, `timed-out`, `interrupted`, `left`.
 */
export class ControlError extends EverlinkError {
    override name = 'ControlError';
}

/** A state was not sent: `not-active`, `too-large`, `not-json`, `left`. */
export class StateError extends EverlinkError {
    override name = 'StateError';
}

/** Content cannot be had: `not-found`, `too-large`, `binary`, `bad-path`, `bad-request`, `unavailable`, `closed`. */
export class ContentError extends EverlinkError {
    override name = 'ContentError';
}

/** A room could not be opened, or joined by its host: `bad-config`, `already-joined`, `closed`. */
export class RoomError extends EverlinkError {
    override name = 'RoomError';
}

/** @internal Makes these the classes of their errors. Called, and not done by importing: bundlers leave imports for effects out. */
export function enroll(): void {
    Object.assign(classes, { join: JoinError, control: ControlError, state: StateError, content: ContentError, room: RoomError });
}
