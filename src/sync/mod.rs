//! What can be built on one durable channel: requests with replies, streams of bytes, and tutorials that are followed.
//!
//! Each layer is a pure machine (`wire.rs` and its tables) under a thin handle, and knows nothing of
//! a connection but its [`DurableChannel`](crate::DurableChannel). What it says on the channel is in
//! `docs/PROTOCOL.md`, Part III.

mod request;
mod stream;
#[cfg(feature = "tutorial")]
pub mod tutorial;

pub use self::request::{Request, RequestError, RequestProtocolError, Requester, Responder, ResponderError};
pub use self::stream::{DurableReadHalf, DurableStream, DurableWriteHalf, StreamError};

/// The version of both formats, in the upper half of the first byte of each of their messages.
const VERSION: u8 = 1;
