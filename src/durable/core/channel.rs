//! One channel as the session sees it: a label, a half to send on, and a half to receive from.
//!
//! A channel is named by its label. Whichever side opens it first, the other finds it by
//! `accept_channel` or by opening the same label; both halves then belong together.

use std::collections::VecDeque;

use super::inbox::{Delivery, Inbox};
use super::outbox::Outbox;
use super::wire::Lossy;
use crate::config::{Priority, QueueConfig};
use crate::durable::events::{ChannelEvent, EventSource};
use crate::message::{Message, Utf8Bytes};
use crate::runtime::sync::{AtomicWaker, Notify};

/// Names a channel within its session, on this side: the number of the half it sends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChannelId(pub u32);

/// How the core tells the handles of a channel that something changed.
pub(crate) struct Signals {
    /// Messages arrived, or the channel ended. One reader waits at most.
    pub readable: AtomicWaker,
    /// There may be room, or the connection's state changed.
    pub writable: Notify,
    /// The peer acknowledged messages, or some were dropped.
    pub settled: Notify,
    pub events: EventSource<ChannelEvent>,
}

impl Signals {
    pub(crate) fn new() -> Self {
        Self {
            readable: AtomicWaker::new(),
            writable: Notify::new(),
            settled: Notify::new(),
            events: EventSource::new(),
        }
    }

    /// Wakes everybody: the channel or the connection has ended.
    pub(crate) fn wake_all(&self) {
        self.readable.wake();
        self.writable.notify_waiters();
        self.settled.notify_waiters();
    }
}

/// Lossy messages that wait for a reader; the oldest go when there are more.
const LOSSY_QUEUE: usize = 256;

pub(crate) struct Channel {
    pub label: Utf8Bytes,
    pub lossy: Option<Lossy>,
    pub queue: QueueConfig,
    /// Its lane among the channels that have something to send.
    pub priority: Priority,
    pub outbox: Outbox,
    /// Absent until the peer has named its half.
    pub inbox: Option<Inbox>,
    /// The peer's half and the number it began with.
    pub peer_half: Option<(u32, u64)>,
    pub signals: std::sync::Arc<Signals>,
    /// The application has a handle; otherwise the channel waits to be accepted.
    pub claimed: bool,
    /// The application closed it.
    pub closed: bool,
    /// The peer ended it in a session that was lost since.
    ended: bool,
    /// It fell to the low mark since it was last above it.
    pub was_high: bool,
    /// Messages that need no acknowledgement: lossy ones, and those of a lost session.
    loose: VecDeque<Delivery>,
}

impl Channel {
    pub(crate) fn new(id: ChannelId, label: Utf8Bytes, lossy: Option<Lossy>, queue: QueueConfig) -> Self {
        Self {
            label,
            lossy,
            queue,
            priority: Priority::default(),
            outbox: Outbox::new(id.0),
            inbox: None,
            peer_half: None,
            signals: std::sync::Arc::new(Signals::new()),
            claimed: false,
            closed: false,
            ended: false,
            was_high: false,
            loose: VecDeque::new(),
        }
    }

    /// Whether nothing more can arrive or be sent.
    pub(crate) fn is_over(&self) -> bool {
        self.closed || self.ended || self.inbox.as_ref().is_some_and(Inbox::is_ended)
    }

    /// Whether both sides agree that it has ended.
    pub(crate) fn is_finished(&self) -> bool {
        let received =
            self.inbox.as_ref().is_none_or(|inbox| inbox.is_ended() && inbox.cursor() == inbox.received());
        self.outbox.is_finished() && received
    }

    pub(crate) fn push_lossy(&mut self, message: Message) {
        if self.loose.len() == LOSSY_QUEUE {
            self.loose.pop_front();
        }
        self.loose.push_back(Delivery { seq: 0, message });
        self.signals.readable.wake();
    }

    /// The session is lost: what was received stays readable, the rest comes from a new half.
    pub(crate) fn restart(&mut self) {
        self.peer_half = None;
        if let Some(mut inbox) = self.inbox.take() {
            self.ended |= inbox.is_ended();
            if self.ended {
                self.outbox.forget_all();
            }
            let mut unread = VecDeque::new();
            inbox.take(&mut unread);
            self.loose.extend(unread.into_iter().map(|delivery| Delivery { seq: 0, ..delivery }));
        }
    }

    /// Moves what arrived into `into`.
    pub(crate) fn take(&mut self, into: &mut VecDeque<Delivery>) {
        into.append(&mut self.loose);
        if let Some(inbox) = &mut self.inbox {
            inbox.take(into);
        }
    }
}
