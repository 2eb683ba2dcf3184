//! everlink: durable WebRTC peer-to-peer connections.

#![deny(missing_docs, clippy::disallowed_methods)]

mod client;
mod config;
mod durable;
mod error;
mod identity;
pub mod link;
mod message;
mod retry;
mod runtime;
pub mod signaling;

pub use client::{Client, ClientBuilder, Target};
pub use config::*;
pub use durable::*;
pub use error::*;
pub use identity::{Identity, ParseKeyError, PublicKey, Signature};
pub use message::{Message, Utf8Bytes};
