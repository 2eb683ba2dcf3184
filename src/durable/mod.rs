//! Durable connections: what they promise is in `docs/PROTOCOL.md` and the README.
//!
//! [`core`] decides, one [`driver`] task per connection carries it out, handles lock the core for
//! a moment. Nothing here knows that signaling exists: links come from a [`dialer`], or, at a
//! host, from a [`service`].

mod channel;
mod connection;
pub(crate) mod core;
pub(crate) mod dialer;
mod driver;
mod events;
mod options;
mod resuming;
pub(crate) mod service;
mod shared;

pub use self::channel::{Buffered, ChannelReceiver, ChannelSender, DurableChannel, Receipt};
pub use self::connection::{ConnectionStats, DurableConnection, Rung};
pub(crate) use self::core::WallClock;
pub use self::core::{GapCause, SessionId, Undelivered};
pub use self::events::{
    ChannelEvent, ConnectionEvent, ConnectionState, DisconnectCause, Events, Recovery, RecoveryCause,
    RecoveryRung, ServiceEvent,
};
#[cfg(feature = "tutorial")]
pub(crate) use self::events::{EventSource, Laggable};
pub use self::options::SendOptions;
pub(crate) use self::resuming::{InStore, Resuming};
pub use self::service::{DurableService, ServiceInfo};
