//! One test for each rule of the protocol, in virtual time.

mod channels;
mod closing;
mod delivery;
mod displaced;
mod links;
mod liveness;
mod network;
mod policies;

use std::time::Duration;

use super::pair::{Acceptor, Dialer, Pair, Side};
use crate::config::{ConnectionConfig, QueueConfig};
use crate::durable::options::SendTerms;
use crate::message::Message;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn lossless() -> ConnectionConfig {
    let mut config = ConnectionConfig { queue: QueueConfig::lossless(), ..ConnectionConfig::default() };
    config.backoff.max_attempts = None;
    config
}

/// A connected pair of the default configuration.
fn pair() -> Pair {
    Pair::connected(1, ConnectionConfig::default())
}

fn text(number: usize) -> Message {
    Message::from(number.to_string())
}

fn bytes(length: usize) -> Message {
    Message::from(vec![7_u8; length])
}
