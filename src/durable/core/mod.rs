//! The delivery protocol as a pure machine: no clock, no socket, no task.

mod accept;
mod backoff;
mod channel;
mod channels;
mod closing;
mod dialing;
mod expiry;
mod frames;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod handshake;
mod inbox;
mod liveness;
mod loss;
mod messages;
mod network;
mod outbox;
mod path;
mod records;
mod recovery;
mod resume;
mod saved;
mod saving;
mod session;
mod timers;
mod wire;

#[cfg(any(test, fuzzing))]
mod tests;

pub(crate) use accept::{Decision, Known, decide};
pub(crate) use channel::{ChannelId, Signals};
pub use handshake::SessionId;
pub(crate) use handshake::{Hello, Refuse, RefuseCode, SessionSecret};
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(test), allow(unused_imports))]
pub(crate) use handshake::{Incarnation, Terms};
pub(crate) use inbox::{Consumed, Delivery};
pub(crate) use messages::Ended;
pub(crate) use network::NetworkChange;
pub(crate) use outbox::cost;
pub(crate) use path::{LinkId, LinkInfo};
pub(crate) use records::{BadRecord, after, identity_prefix, session_prefix};
pub(crate) use saved::SavedSession;
pub use saving::Undelivered;
pub(crate) use saving::WallClock;
pub(crate) use session::{Counters, DialId, Output, Role, Session};
pub use wire::GapCause;
pub(crate) use wire::{Decoder, Frame, VERSION};
