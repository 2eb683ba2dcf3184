/**
 * Tutorials in step: one leads, the others follow, and the lead is handed over safely. With everything of `everlink`,
 * from a module of its own: import all of it from here, or none.
 *
 * @packageDocumentation
 */
export * from '../index.js';
export { ContentError, ControlError, JoinError, RoomError, StateError } from './errors.js';
export type { Left, RoomEvent, TutorialEvent } from './events.js';
export { parseLink, type TutorialLink } from './link.js';
export { TutorialRoom, type ConflictStrategy, type RoomInfo, type RoomOptions } from './room.js';
export { Content, TutorialSync, type Control, type JoinOptions } from './sync.js';
export type * from './types.js';
