/**
 * Durable peer-to-peer connections over WebRTC: messages that are neither lost nor doubled when the link is.
 *
 * @packageDocumentation
 */
export { DurableChannel, Receipt } from './channel.js';
export { Client, type ClientOptions, type IndexedDbOptions } from './client.js';
export { DurableConnection } from './connection.js';
export {
    ArgumentError, ChannelError, ConnectError, EverlinkError, LoadError, ReceiveError, SendError, ServiceError, SignalingError,
    StoreError, UnsupportedError, type CloseReason, type ErrorInfo,
} from './errors.js';
export { Identity } from './identity.js';
export { load, type ModuleSource, type Parts } from './load.js';
export type * from './options.js';
export { DurableService } from './service.js';
export type * from './state.js';
