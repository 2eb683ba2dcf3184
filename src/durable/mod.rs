//! Durable connections.

mod core;
pub(crate) mod dialer;
mod events;
pub(crate) mod service;

pub use self::core::{GapCause, SessionId};
pub use self::events::{
    ChannelEvent, ConnectionEvent, ConnectionState, DisconnectCause, Events, ServiceEvent,
};
