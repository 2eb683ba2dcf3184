//! The ways between a member and its room: a durable channel, or within the host's process a mailbox.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::core::Outgoing;
use crate::config::{ChannelConfig, Priority, QueueConfig, WhenFull};
use crate::durable::{ChannelSender, SendOptions};
use crate::error::{SendError, TrySendError};
use crate::message::Utf8Bytes;
use crate::runtime::sync::Notify;

/// The channel of members and their room.
pub(super) const LABEL: &str = "everlink.tutorial/1";

/// Nothing is dropped but what is superseded; whoever falls behind by as much is out.
pub(super) fn channel_config() -> ChannelConfig {
    let mut queue = QueueConfig::lossless();
    queue.max_messages = 4096;
    queue.when_full = WhenFull::Reject;
    ChannelConfig { queue: Some(queue), ..ChannelConfig::priority(Priority::Control) }
}

/// There is no room for what is to be said, or nobody to hear it.
pub(super) struct Blocked;

/// Sends frames of a durable channel.
pub(super) fn send(sender: &ChannelSender, frame: Outgoing) -> Result<(), Blocked> {
    let options = match frame.key {
        Some(key) => SendOptions::new().supersede(key),
        None => SendOptions::new(),
    };
    match sender.try_send_with(frame.text, options) {
        Err(TrySendError::Full(_) | TrySendError::Failed(_, SendError::QueueFull)) => Err(Blocked),
        // Whoever receives on the channel learns that it is closed.
        Ok(_) | Err(TrySendError::Failed(..)) => Ok(()),
    }
}

/// What a room says to its host's own membership.
#[derive(Clone, Default)]
pub(super) struct Mailbox {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    /// `None` behind the last.
    waiting: Mutex<VecDeque<Option<Outgoing>>>,
    arrived: Notify,
}

/// As many as a channel keeps.
const KEPT: usize = 4096;

impl Mailbox {
    pub(super) fn send(&self, frame: Outgoing) -> Result<(), Blocked> {
        let mut waiting = self.inner.waiting.lock().expect("no panic while locked");
        if frame.key.is_some() {
            waiting.retain(|waiting| waiting.as_ref().is_none_or(|waiting| waiting.key != frame.key));
        }
        if waiting.len() >= KEPT {
            return Err(Blocked);
        }
        waiting.push_back(Some(frame));
        self.inner.arrived.notify_one();
        Ok(())
    }

    /// Nothing more will come.
    pub(super) fn close(&self) {
        self.inner.waiting.lock().expect("no panic while locked").push_back(None);
        self.inner.arrived.notify_one();
    }

    /// The next, or `None` when nothing more will come. Cancel-safe.
    pub(super) async fn recv(&self) -> Option<Utf8Bytes> {
        loop {
            {
                let mut waiting = self.inner.waiting.lock().expect("no panic while locked");
                match waiting.front() {
                    Some(Some(_)) => return waiting.pop_front().flatten().map(|frame| frame.text),
                    Some(None) => return None,
                    None => {}
                }
            }
            self.inner.arrived.notified().await;
        }
    }
}
