//! Messages of a session: taken from who sends, handed to who receives.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};

use super::channel::{Channel, ChannelId};
use super::inbox::{Consumed, Delivery};
use super::outbox::{Count, Fate, Outbox, Queued, cost};
use super::session::{Output, Session};
use super::wire::GapCause;
use crate::config::WhenFull;
use crate::durable::events::ChannelEvent;
use crate::durable::options::SendTerms;
use crate::error::{CloseReason, SendError};
use crate::message::Message;
use crate::runtime::Instant;

impl Session {
    /// Takes a message into the queue, or says why not. `Ok(Err(_))` gives it back: no room now.
    pub(crate) fn send(
        &mut self,
        id: ChannelId,
        message: Message,
        terms: &SendTerms,
        now: Instant,
    ) -> Result<Result<u64, Message>, (Message, SendError)> {
        let connected = self.is_connected();
        let max = self.peer_max_message.min(self.config.max_message as u64) as usize;
        if let Some(reason) = self.closed.clone().or_else(|| self.leaving()) {
            return Err((message, SendError::Closed(reason)));
        }
        if let Some(error) = self.store_failure() {
            return Err((message, error));
        }
        let Some(channel) = self.channels.get_mut(&id).filter(|channel| !channel.is_over()) else {
            return Err((message, SendError::ChannelClosed));
        };
        if terms.deadline.is_some_and(|deadline| deadline <= now) {
            return Err((message, SendError::Expired));
        }
        if message.len() > max {
            let len = message.len();
            return Err((message, SendError::TooLarge { len, max }));
        }
        let queue = &channel.queue;
        let mut waiting = if connected { channel.outbox.waiting() } else { channel.outbox.fresh() };
        // What it replaces makes room for it.
        let replaced = channel.outbox.replaces(terms.key.as_ref());
        waiting.messages -= replaced.messages;
        waiting.bytes -= replaced.bytes;
        // With a link the queue only smooths; a deep one would add delay and memory, not speed.
        let smoothing = if self.saving.is_some() { SMOOTHING_STORED } else { SMOOTHING };
        let max_bytes = if connected { queue.max_bytes.min(smoothing) } else { queue.max_bytes } as u64;
        let max_messages =
            if connected { queue.max_messages.max(SMOOTHING_MESSAGES) } else { queue.max_messages };
        let full = |waiting: Count| {
            waiting.messages > 0
                && (waiting.messages >= max_messages || waiting.bytes + cost(&message) > max_bytes)
        };
        let is_full = full(waiting);
        if is_full {
            if connected || queue.when_full == WhenFull::Wait {
                channel.was_high = true;
                return Ok(Err(message));
            }
            if queue.when_full == WhenFull::Reject {
                return Err((message, SendError::QueueFull));
            }
        }
        if let Some(key) = &terms.key {
            let superseded = channel.outbox.supersede(key);
            if superseded > 0 {
                self.counters.superseded += superseded;
                channel.signals.events.publish(ChannelEvent::Superseded { count: superseded });
                channel.signals.settled.notify_waiters();
            }
        }
        if is_full {
            let mut dropped = 0;
            while full(channel.outbox.fresh()) && channel.outbox.drop_oldest() {
                dropped += 1;
            }
            self.counters.overflowed += dropped;
            channel.signals.events.publish(ChannelEvent::Overflow { dropped });
            channel.signals.settled.notify_waiters();
        }
        let seq = channel.outbox.push(Queued::new(message, now, terms.clone()));
        self.changed = true;
        self.touch();
        Ok(Ok(seq))
    }

    /// What became of a message.
    pub(crate) fn fate(&self, id: ChannelId, seq: u64) -> Option<Result<(), SendError>> {
        let closed = || match &self.closed {
            Some(reason) => SendError::Closed(reason.clone()),
            None => SendError::ChannelClosed,
        };
        let Some(channel) = self.channels.get(&id) else {
            return Some(Err(closed()));
        };
        match channel.outbox.fate(seq) {
            Fate::Acked => Some(Ok(())),
            Fate::Forgotten => Some(Err(SendError::Forgotten)),
            Fate::Dropped(GapCause::Overflow) => Some(Err(SendError::Overflow)),
            Fate::Dropped(GapCause::Expired) => Some(Err(SendError::Expired)),
            Fate::Dropped(GapCause::Closed) => Some(Err(SendError::ChannelClosed)),
            Fate::Dropped(GapCause::SessionLost) => Some(Err(SendError::SessionLost)),
            Fate::Dropped(GapCause::TooLarge) => Some(Err(SendError::TooLargeForPeer)),
            Fate::Dropped(GapCause::Superseded) => Some(Err(SendError::Superseded)),
            Fate::Pending => self.closed.is_some().then(|| Err(closed())),
        }
    }

    /// The newest message of each channel, to wait for.
    pub(crate) fn newest(&self) -> Vec<(ChannelId, u64)> {
        let queued = self.channels.iter().filter(|(_, channel)| !channel.outbox.is_drained());
        queued.map(|(id, channel)| (*id, channel.outbox.last_seq())).collect()
    }

    /// The number of the newest message that a channel has taken.
    #[cfg(test)]
    pub(crate) fn last_seq(&self, id: ChannelId) -> u64 {
        self.channels.get(&id).map_or(0, |channel| channel.outbox.last_seq())
    }

    /// What one channel holds: counts, and since when.
    pub(crate) fn buffered(&self, id: ChannelId) -> (Count, Option<Instant>) {
        let outbox = self.channels.get(&id).map(|channel| &channel.outbox);
        (outbox.map_or(Count::default(), Outbox::held), outbox.and_then(Outbox::oldest))
    }

    /// When the oldest message that is not acknowledged was sent, over all channels.
    pub(crate) fn oldest_unacknowledged(&self) -> Option<Instant> {
        self.channels.values().filter_map(|channel| channel.outbox.oldest()).min()
    }

    /// Sends on a lossy channel, now or never.
    pub(crate) fn send_lossy(&mut self, id: ChannelId, message: &Message) -> Result<(), SendError> {
        if let Some(reason) = self.closed.clone().or_else(|| self.leaving()) {
            return Err(SendError::Closed(reason));
        }
        if self.channels.get(&id).is_none_or(Channel::is_over) {
            return Err(SendError::ChannelClosed);
        }
        if message.len() > MAX_LOSSY {
            return Err(SendError::TooLarge { len: message.len(), max: MAX_LOSSY });
        }
        if let Some(path) = self.path.as_ref().filter(|path| path.is_live()) {
            let mut data = BytesMut::with_capacity(message.len() + 1);
            data.put_u8(u8::from(message.is_text()));
            data.extend_from_slice(message.as_bytes());
            let (link, stream) = (path.id, self.stream(id.0, true));
            self.outputs.push_back(Output::SendLossy { link, stream, data });
            self.changed = true;
        }
        Ok(())
    }

    /// Moves what arrived into `into`; with nothing to move says whether the end has come.
    pub(crate) fn take(&mut self, id: ChannelId, into: &mut VecDeque<Delivery>) -> Option<Ended> {
        let Some(channel) = self.channels.get_mut(&id) else {
            return Some(Ended::Channel);
        };
        channel.take(into);
        if !into.is_empty() {
            return None;
        }
        if channel.is_over() {
            return Some(Ended::Channel);
        }
        self.closed.clone().map(Ended::Connection)
    }

    /// Where the reader of a channel marks how far it came; absent until the peer has opened it.
    pub(crate) fn consumed(&self, id: ChannelId) -> Option<Arc<Consumed>> {
        self.channels.get(&id)?.inbox.as_ref().map(|inbox| inbox.consumed().clone())
    }
}

/// Why nothing more can be received.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ended {
    Channel,
    Connection(CloseReason),
}

/// The largest message of a lossy channel: one data channel message that every browser takes.
pub(crate) const MAX_LOSSY: usize = 60 << 10;
/// While connected, this many bytes may wait for the link.
pub(super) const SMOOTHING: usize = 1 << 20;
/// … and with a store, which takes its time and then much at once.
const SMOOTHING_STORED: usize = 4 << 20;
/// While connected, at least this many messages may wait: they share packets.
const SMOOTHING_MESSAGES: usize = 16 << 10;
