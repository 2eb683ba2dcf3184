//! The receiving half of one channel: what arrived, and how far the application has come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};

use super::outbox::{INITIAL_WINDOW, cost};
use super::wire;
use crate::error::Misbehaviour;
use crate::message::Message;

/// The largest window a half-channel grows to.
const MAX_WINDOW: u64 = 8 << 20;
/// Of a window, this part at most is kept back by what was consumed and the peer does not know …
const KEPT_BACK: u64 = 4;
/// … and never more than this.
const MOST_KEPT_BACK: u64 = 512 << 10;

/// A message and its number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Delivery {
    pub seq: u64,
    pub message: Message,
}

/// How far the application has come, told without the lock: the reader marks, the core reads.
#[derive(Debug, Default)]
pub(crate) struct Consumed {
    seq: AtomicU64,
    bytes: AtomicU64,
    /// The core has told the peer everything it knew and sleeps; further progress must wake it.
    asleep: AtomicBool,
}

impl Consumed {
    /// Marks a message as consumed. Returns whether the core has to hear of it now.
    pub(crate) fn mark(&self, delivery: (u64, u64)) -> bool {
        let (seq, cost) = delivery;
        self.bytes.fetch_add(cost, Ordering::Relaxed);
        self.seq.store(seq, Ordering::Release);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel)
    }
}

#[derive(Debug)]
struct Partial {
    seq: u64,
    text: bool,
    total: u64,
    data: BytesMut,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    /// The peer's number of the half-channel.
    pub(super) half: u32,
    /// Received or skipped up to here.
    received: u64,
    /// The newest message among them.
    last_message: u64,
    /// Where the cursor was when it last had everything: a gap at the end counts as consumed, and
    /// still does when a message follows.
    floor: u64,
    received_bytes: u64,
    queue: VecDeque<Delivery>,
    partial: Option<Partial>,
    consumed: Arc<Consumed>,
    window: u64,
    /// Bytes consumed when the window last grew.
    grown_at: u64,
    /// The last cursor and window that the peer was told on this link.
    told: (u64, u64),
    /// Bytes consumed by then.
    told_bytes: u64,
    ended: bool,
    /// The application is gone: what arrives is dropped.
    discard: bool,
    /// How far the core has looked at the reader's progress.
    seen: u64,
    /// With a store: what of the reader's progress is written there, and what is on its way.
    saved: Option<Saved>,
}

/// How far a store knows the reader to be: cursors, and the bytes consumed up to them.
#[derive(Clone, Copy, Debug)]
struct Saved {
    stored: u64,
    stored_bytes: u64,
    submitted: u64,
    submitted_bytes: u64,
    submitted_end: bool,
}

/// What a frame of the peer led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    New,
    Duplicate,
}

impl Inbox {
    pub(crate) fn new(half: u32, first_seq: u64) -> Self {
        let consumed = Consumed { seq: AtomicU64::new(first_seq - 1), ..Consumed::default() };
        Self {
            half,
            received: first_seq - 1,
            last_message: first_seq - 1,
            floor: 0,
            received_bytes: 0,
            queue: VecDeque::new(),
            partial: None,
            consumed: Arc::new(consumed),
            window: INITIAL_WINDOW,
            grown_at: 0,
            told: (first_seq - 1, INITIAL_WINDOW),
            told_bytes: 0,
            ended: false,
            discard: false,
            seen: first_seq - 1,
            saved: None,
        }
    }

    /// From now on the peer hears only of progress that is in a store.
    pub(crate) fn keep(&mut self) {
        let at = self.cursor();
        self.saved = Some(Saved {
            stored: at,
            stored_bytes: self.consumed.bytes.load(Ordering::Relaxed),
            submitted: 0,
            submitted_bytes: 0,
            submitted_end: false,
        });
    }

    /// The store is given up: the peer hears of progress at once again.
    pub(crate) fn keep_no_more(&mut self) {
        self.saved = None;
    }

    /// As a store had it: everything up to `consumed` was.
    pub(crate) fn restored(half: u32, consumed: u64, ended: bool) -> Self {
        let mut inbox = Self::new(half, consumed + 1);
        inbox.ended = ended;
        inbox.keep();
        if let Some(saved) = &mut inbox.saved {
            (saved.submitted, saved.submitted_end) = (consumed, ended);
        }
        inbox
    }

    /// Progress to be written: the cursor, and whether that is the end. Counts as on its way.
    pub(crate) fn submit(&mut self) -> Option<(u64, bool)> {
        let cursor = self.look();
        let bytes = self.consumed.bytes.load(Ordering::Relaxed);
        let ended = self.ended && cursor == self.received;
        let saved = self.saved.as_mut()?;
        if (cursor, ended) == (saved.submitted, saved.submitted_end) {
            return None;
        }
        (saved.submitted, saved.submitted_bytes, saved.submitted_end) = (cursor, bytes, ended);
        Some((cursor, ended))
    }

    /// What was on its way to the store is there. Returns whether the peer may hear of more.
    pub(crate) fn handle_stored(&mut self) -> bool {
        let Some(saved) = &mut self.saved else { return false };
        let more = saved.submitted > saved.stored;
        saved.stored = saved.stored.max(saved.submitted);
        saved.stored_bytes = saved.stored_bytes.max(saved.submitted_bytes);
        more
    }

    /// Whether there is progress that is not on its way to the store yet.
    pub(crate) fn is_unsaved(&self) -> bool {
        self.saved.as_ref().is_some_and(|saved| self.cursor() > saved.submitted)
    }

    /// How far the peer may be told that the application has come.
    pub(crate) fn durable(&self) -> u64 {
        let cursor = self.cursor();
        self.saved.as_ref().map_or(cursor, |saved| saved.stored.min(cursor))
    }

    /// The cursor, which the core has seen now.
    fn look(&mut self) -> u64 {
        self.seen = self.cursor();
        self.seen
    }

    pub(crate) fn consumed(&self) -> &Arc<Consumed> {
        &self.consumed
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn has_messages(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// Moves everything that waits into `into`.
    pub(crate) fn take(&mut self, into: &mut VecDeque<Delivery>) {
        if into.is_empty() {
            std::mem::swap(&mut self.queue, into);
        } else {
            into.append(&mut self.queue);
        }
    }

    /// Everything up to here is consumed.
    pub(crate) fn cursor(&self) -> u64 {
        let consumed = self.consumed.seq.load(Ordering::Acquire);
        // Messages that nobody will read are not acknowledged until the peer, too, has ended.
        let all = if self.discard { self.ended } else { consumed >= self.last_message };
        if all { self.received } else { consumed.max(self.floor) }
    }

    /// How many bytes the peer may have under way beyond the cursor. A message in pieces must fit
    /// whatever its size, so what arrived of it is added.
    pub(crate) fn window(&self) -> u64 {
        // What was consumed and waits for the store takes no memory here, so it takes no credit:
        // the peer shall not have to wait for a disk.
        let consumed = self.consumed.bytes.load(Ordering::Relaxed);
        let storing = self.saved.as_ref().map_or(0, |saved| consumed.saturating_sub(saved.stored_bytes));
        self.window
            + storing.min(MAX_WINDOW)
            + self.partial.as_ref().map_or(0, |partial| partial.data.len() as u64)
    }

    /// Opens the window for a reader that keeps up, as long as `budget` allows. Returns by how much.
    pub(crate) fn grow(&mut self, budget: u64) -> u64 {
        let consumed = self.consumed.bytes.load(Ordering::Relaxed);
        let keeps_up = self.received_bytes - consumed <= self.window / 2;
        if consumed - self.grown_at < self.window
            || !keeps_up
            || self.window >= MAX_WINDOW
            || self.window > budget
        {
            return 0;
        }
        self.grown_at = consumed;
        self.window *= 2;
        self.window / 2
    }

    /// The cursor and window, if the peer does not know them yet.
    pub(crate) fn news(&mut self) -> Option<(u64, u64)> {
        self.look();
        let news = (self.durable(), self.window());
        (news != self.told).then(|| {
            self.told = news;
            self.told_bytes = self.consumed.bytes.load(Ordering::Relaxed);
            news
        })
    }

    /// Whether the reader has consumed so much that the peer, which does not know it, may have to wait.
    pub(crate) fn keeps_much_back(&self) -> bool {
        let consumed = self.consumed.bytes.load(Ordering::Relaxed);
        consumed - self.told_bytes >= (self.window / KEPT_BACK).min(MOST_KEPT_BACK)
    }

    /// Whether the peer was told the cursor, on this link.
    pub(crate) fn is_told(&self) -> bool {
        self.told.0 >= self.cursor()
    }

    /// Notes that the core will not look again until the reader wakes it. Returns false if the
    /// reader moved meanwhile.
    pub(crate) fn fall_asleep(&self) -> bool {
        if self.cursor() >= self.received {
            return true; // nothing left to consume
        }
        self.consumed.asleep.store(true, Ordering::Release);
        self.cursor() == self.seen
    }

    /// From now on the reader tells of its progress by itself.
    pub(crate) fn watch(&mut self) {
        loop {
            self.look();
            if self.fall_asleep() {
                return;
            }
        }
    }

    /// The link is gone: half a message will come again whole, and nothing told is remembered.
    pub(crate) fn rewind(&mut self) {
        self.partial = None;
        self.told = (0, 0);
    }

    /// The application is gone.
    pub(crate) fn discard(&mut self) {
        self.discard = true;
        self.queue.clear();
        self.partial = None;
    }

    pub(crate) fn handle_message(
        &mut self,
        seq: u64,
        message: Message,
        bounds: Bounds,
    ) -> Result<Received, Misbehaviour> {
        if self.is_duplicate(seq)? {
            return Ok(Received::Duplicate);
        }
        if self.partial.is_some() {
            return Err(Misbehaviour::BadFragment);
        }
        self.accept(seq, message, bounds)?;
        Ok(Received::New)
    }

    pub(crate) fn handle_fragment(
        &mut self,
        (seq, text, total, offset): (u64, bool, u64, u64),
        data: Bytes,
        bounds: Bounds,
    ) -> Result<Received, Misbehaviour> {
        if self.is_duplicate(seq)? {
            return Ok(Received::Duplicate);
        }
        if total > bounds.max_message {
            return Err(Misbehaviour::TooLarge(total));
        }
        // An announced size is no reason to reserve it: memory follows what really arrives.
        let fresh =
            || Partial { seq, text, total, data: BytesMut::with_capacity(total.min(1 << 20) as usize) };
        let partial = match &mut self.partial {
            Some(partial) => partial,
            none => none.insert(fresh()),
        };
        let here = partial.data.len() as u64;
        let continues = (partial.seq, partial.text, partial.total, here) == (seq, text, total, offset);
        if !continues || data.is_empty() || offset + data.len() as u64 > total {
            return Err(Misbehaviour::BadFragment);
        }
        if !self.discard {
            partial.data.extend_from_slice(&data);
        } else {
            partial.data.resize(partial.data.len() + data.len(), 0);
        }
        if partial.data.len() as u64 == total
            && let Some(partial) = self.partial.take()
        {
            let message = if self.discard {
                Message::Binary(Bytes::new())
            } else {
                wire::to_message(partial.data.freeze(), text)?
            };
            self.accept(seq, message, bounds)?;
        }
        Ok(Received::New)
    }

    pub(crate) fn handle_skip(&mut self, from: u64, to: u64) -> Result<Option<(u64, u64)>, Misbehaviour> {
        if to <= self.received {
            return Ok(None);
        }
        let from = from.max(self.received + 1);
        self.is_duplicate(from)?;
        self.partial = None;
        self.received = to;
        Ok(Some((from, to)))
    }

    pub(crate) fn handle_end(&mut self, seq: u64) -> Result<Received, Misbehaviour> {
        if self.is_duplicate(seq)? {
            return Ok(Received::Duplicate);
        }
        self.partial = None;
        self.received = seq;
        self.ended = true;
        Ok(Received::New)
    }

    fn is_duplicate(&self, seq: u64) -> Result<bool, Misbehaviour> {
        let expected = self.received + 1;
        if seq > expected || (self.ended && seq >= expected) {
            return Err(Misbehaviour::OutOfOrder { expected, got: seq });
        }
        Ok(seq < expected)
    }

    fn accept(&mut self, seq: u64, message: Message, bounds: Bounds) -> Result<(), Misbehaviour> {
        if message.len() as u64 > bounds.max_message {
            return Err(Misbehaviour::TooLarge(message.len() as u64));
        }
        if self.consumed.seq.load(Ordering::Acquire) >= self.last_message {
            self.floor = self.received;
        }
        self.received = seq;
        if self.discard {
            return Ok(());
        }
        self.received_bytes += cost(&message);
        let unconsumed = self.received_bytes - self.consumed.bytes.load(Ordering::Relaxed);
        // The peer may always have one message, and one packet beyond its window, under way.
        if unconsumed > self.window.max(INITIAL_WINDOW) + bounds.max_message + bounds.max_packet {
            return Err(Misbehaviour::CreditExceeded);
        }
        self.last_message = seq;
        self.queue.push_back(Delivery { seq, message });
        Ok(())
    }
}

/// What a peer may send at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub max_message: u64,
    pub max_packet: u64,
}
