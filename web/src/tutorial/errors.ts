import { EverlinkError, classes } from '../errors.js';

/**
 * A room could not be joined: `not-found`, `full`, `version`, `refused`, or what kept the connection from coming about
 * (see {@link ConnectError}).
 */
export class JoinError extends EverlinkError {
    override name = 'JoinError';
}

/** Control was not to be had, or not one's own to give: `not-allowed`, `denied`, `expired`, `wrong-phase`, `left`. */
export class ControlError extends EverlinkError {
    override name = 'ControlError';
}

/** A state was not sent: `not-active`, `too-large`, `left`. */
export class StateError extends EverlinkError {
    override name = 'StateError';
}

/** Content cannot be had: `not-found`, `too-large`, `binary`, `bad-path`, `bad-request`, `unavailable`, `closed`. */
export class ContentError extends EverlinkError {
    override name = 'ContentError';
}

/** A room could not be opened. */
export class RoomError extends EverlinkError {
    override name = 'RoomError';
}

Object.assign(classes, { join: JoinError, control: ControlError, state: StateError, content: ContentError, room: RoomError });
