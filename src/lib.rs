//! everlink: durable WebRTC peer-to-peer connections.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod identity;
pub mod link;
mod runtime;
pub mod signaling;

pub use identity::{Identity, ParseKeyError, PublicKey, Signature};
