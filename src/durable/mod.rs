//! Durable connections.

mod core;
mod events;

pub use self::core::{GapCause, SessionId};
pub use self::events::{ChannelEvent, ConnectionEvent, ConnectionState, DisconnectCause, Events, ServiceEvent};
