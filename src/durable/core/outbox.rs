//! The sending half of one channel: what waits, what is on its way, what was dropped.
//!
//! A message leaves the outbox when the peer acknowledges that it was consumed, or when the queue
//! policy drops it; what was dropped stays as a gap, so that the peer hears of it.

mod policy;
mod saved;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;

use self::saved::Saved;
use super::wire::{self, DataFrame, GapCause, Lossy};
use crate::durable::options::{Key, SendTerms};
use crate::error::Misbehaviour;
use crate::message::Message;
use crate::runtime::Instant;

/// What each message counts in windows and queues beyond its bytes, so that empty ones count too.
pub(crate) const OVERHEAD: usize = 32;
/// Dropped ranges that are remembered for the receipts of their messages.
const MAX_DROPPED: usize = 4096;
/// Gaps side by side that are kept apart for their causes. Beyond, neighbours are told to the peer
/// as one, with the newest cause, so that memory stays bounded whatever is dropped meanwhile.
const MAX_GAPS: usize = 1024;

/// What a message costs in windows and queues.
pub(crate) fn cost(message: &Message) -> u64 {
    (message.len() + OVERHEAD) as u64
}

/// A message and all that is known of it on this side.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Queued {
    pub message: Message,
    pub queued_at: Instant,
    /// Dropped from here on, unless it was transmitted.
    pub deadline: Option<Instant>,
    /// A newer message of the same key replaces it.
    pub key: Option<Key>,
}

impl Queued {
    pub(crate) fn new(message: Message, queued_at: Instant, terms: SendTerms) -> Self {
        Self { message, queued_at, deadline: terms.deadline, key: terms.key }
    }
}

#[derive(Debug)]
enum Entry {
    Message { seq: u64, queued: Queued },
    Gap { from: u64, to: u64, cause: GapCause },
    End { seq: u64 },
}

impl Entry {
    fn last_seq(&self) -> u64 {
        match self {
            Self::Message { seq, .. } | Self::End { seq } => *seq,
            Self::Gap { to, .. } => *to,
        }
    }

    fn first_seq(&self) -> u64 {
        match self {
            Self::Message { seq, .. } | Self::End { seq } => *seq,
            Self::Gap { from, .. } => *from,
        }
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Pending,
    Acked,
    Dropped(GapCause),
    Forgotten,
}

/// How many messages of how many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub messages: usize,
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: u64) {
        self.messages += 1;
        self.bytes += bytes;
    }

    fn sub(&mut self, bytes: u64) {
        self.messages -= 1;
        self.bytes -= bytes;
    }
}

/// What a resume led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resumed {
    /// Messages that go out again.
    pub replayed: u64,
    /// Messages that did not arrive and need not, since a newer one of their key waits.
    pub superseded: u64,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    /// Our number of the half-channel.
    pub(super) half: u32,
    /// In order of sequence numbers, without holes, from the oldest that is not acknowledged.
    entries: VecDeque<Entry>,
    /// The next entry to transmit on the current link.
    next: usize,
    /// Bytes of the next entry's message already transmitted on the current link.
    offset: usize,
    /// The highest number transmitted (or begun) on any link.
    transmitted: u64,
    /// The number of the next message.
    next_seq: u64,
    /// Consumed by the peer up to here.
    acked: u64,
    /// OPEN went out on the current link, or the peer knows the half-channel already.
    announced: bool,
    /// OPEN went out on any link.
    ever_announced: bool,
    /// The peer's window beyond its cursor.
    window: u64,
    /// Cost of what is beyond the peer's cursor and transmitted on the current link.
    in_flight: u64,
    /// Not transmitted on the current link.
    waiting: Count,
    /// Never transmitted on any link: what the queue policy may drop.
    fresh: Count,
    /// Everything held.
    held: Count,
    dropped: BTreeMap<u64, (u64, GapCause)>,
    forgotten: u64,
    ended: bool,
    /// With a store: what of all this is written there.
    saved: Option<Saved>,
    /// The peer has said on the current link where it stopped.
    settled: bool,
    /// The newest message held of each key.
    keys: HashMap<Key, u64>,
    /// Deadlines of what waits and is known not to have arrived.
    deadlines: BTreeSet<(Instant, u64)>,
}

/// The window that a half-channel begins with, until the peer's first ACK says otherwise.
pub(crate) const INITIAL_WINDOW: u64 = 512 << 10;

impl Outbox {
    pub(crate) fn new(half: u32) -> Self {
        Self {
            half,
            entries: VecDeque::new(),
            next: 0,
            offset: 0,
            transmitted: 0,
            next_seq: 1,
            acked: 0,
            announced: false,
            ever_announced: false,
            window: INITIAL_WINDOW,
            in_flight: 0,
            waiting: Count::default(),
            fresh: Count::default(),
            held: Count::default(),
            dropped: BTreeMap::new(),
            forgotten: 0,
            ended: false,
            saved: None,
            settled: false,
            keys: HashMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// Takes a message and returns its number.
    pub(crate) fn push(&mut self, queued: Queued) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        let cost = cost(&queued.message);
        self.waiting.add(cost);
        self.fresh.add(cost);
        self.held.add(cost);
        self.note_terms(seq, &queued);
        self.entries.push_back(Entry::Message { seq, queued });
        seq
    }

    /// No message follows those taken so far.
    pub(crate) fn end(&mut self) {
        if !self.ended {
            self.ended = true;
            self.entries.push_back(Entry::End { seq: self.next_seq });
            self.next_seq += 1;
        }
    }

    /// What is not transmitted yet on the current link.
    pub(crate) fn waiting(&self) -> Count {
        self.waiting
    }

    /// What was never transmitted: its fate is in our hands alone.
    pub(crate) fn fresh(&self) -> Count {
        self.fresh
    }

    /// Everything not acknowledged.
    pub(crate) fn held(&self) -> Count {
        self.held
    }

    /// Messages that went out once and whose arrival is unknown.
    pub(crate) fn unacked(&self) -> u64 {
        let sent = |entry: &&Entry| entry.first_seq() <= self.transmitted;
        self.entries.iter().take_while(sent).filter(|entry| matches!(entry, Entry::Message { .. })).count()
            as u64
    }

    /// The number of the newest message taken.
    pub(crate) fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.entries.iter().find_map(|entry| match entry {
            Entry::Message { queued, .. } => Some(queued.queued_at),
            _ => None,
        })
    }

    pub(crate) fn fate(&self, seq: u64) -> Fate {
        if let Some((_, &(to, cause))) = self.dropped.range(..=seq).next_back()
            && seq <= to
        {
            return Fate::Dropped(cause);
        }
        // Neighbours of it may be forgotten while it waits.
        match self.find(seq).and_then(|index| self.entries.get(index)) {
            Some(Entry::Message { .. }) => return Fate::Pending,
            Some(Entry::Gap { cause, .. }) => return Fate::Dropped(*cause),
            _ => {}
        }
        if seq <= self.forgotten {
            Fate::Forgotten
        } else if seq <= self.acked {
            Fate::Acked
        } else {
            Fate::Pending
        }
    }

    /// Whether everything taken so far, and the end if there is one, was acknowledged.
    pub(crate) fn is_drained(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the peer has acknowledged the end.
    pub(crate) fn is_finished(&self) -> bool {
        self.ended && self.entries.is_empty()
    }

    /// Whether everything was handed to the current link.
    pub(crate) fn is_transmitted(&self) -> bool {
        self.next == self.entries.len()
    }

    /// Whether the peer can have heard of this half-channel.
    pub(crate) fn was_announced(&self) -> bool {
        self.ever_announced
    }

    // ------------------------------------------------------------- dropping

    /// Drops the oldest message that was never transmitted. One that was may have arrived, and to
    /// report it as dropped might be a lie.
    pub(crate) fn drop_oldest(&mut self) -> bool {
        let fresh = self.first_fresh();
        let mut waiting = self.entries.range(fresh..);
        match waiting.position(|entry| matches!(entry, Entry::Message { .. })) {
            Some(at) => {
                self.drop_at(fresh + at, GapCause::Overflow);
                true
            }
            None => false,
        }
    }

    /// Drops what has waited for `max_age` of the time since `since`, when the link was lost, and
    /// was never transmitted. What was transmitted may have arrived: its fate is settled when the
    /// peer says where it stopped (`resumed`). Returns how many.
    pub(crate) fn expire(&mut self, now: Instant, max_age: Duration, since: Instant, resumed: bool) -> u64 {
        let mut index = if resumed { self.next } else { self.first_fresh() };
        let mut expired = 0;
        while let Some(entry) = self.entries.get(index) {
            match entry {
                Entry::Message { queued, .. } => {
                    if now.saturating_duration_since(queued.queued_at.max(since)) < max_age {
                        break;
                    }
                    index = self.drop_at(index, GapCause::Expired);
                    expired += 1;
                }
                _ => index += 1,
            }
        }
        expired
    }

    /// When the oldest message that was never transmitted expires.
    pub(crate) fn expires_at(&self, max_age: Duration, since: Instant) -> Option<Instant> {
        self.entries.range(self.first_fresh()..).find_map(|entry| match entry {
            Entry::Message { queued, .. } => queued.queued_at.max(since).checked_add(max_age),
            _ => None,
        })
    }

    /// The first entry that was never transmitted on any link.
    fn first_fresh(&self) -> usize {
        self.entries.partition_point(|entry| entry.last_seq() <= self.transmitted)
    }

    /// Drops every message.
    pub(crate) fn drop_all(&mut self, cause: GapCause) {
        self.drop_if(cause, |_, _| true);
    }

    /// Drops what the peer does not take.
    pub(crate) fn drop_larger(&mut self, max_message: u64) {
        self.drop_if(GapCause::TooLarge, |_, message| message.len() as u64 > max_message);
    }

    fn drop_if(&mut self, cause: GapCause, doomed: impl Fn(u64, &Message) -> bool) {
        let mut index = 0;
        while let Some(entry) = self.entries.get(index) {
            index = match entry {
                Entry::Message { seq, queued } if doomed(*seq, &queued.message) => self.drop_at(index, cause),
                _ => index + 1,
            };
        }
    }

    /// Turns the message at `index` into a gap, joined with its neighbours of the same cause.
    /// Returns where to look next.
    fn drop_at(&mut self, index: usize, cause: GapCause) -> usize {
        let Some(Entry::Message { seq, .. }) = self.entries.get(index) else { return index + 1 };
        let seq = *seq;
        let gap = Entry::Gap { from: seq, to: seq, cause };
        let Entry::Message { queued, .. } = std::mem::replace(&mut self.entries[index], gap) else {
            return index + 1;
        };
        self.forget_terms(seq, &queued);
        let cost = cost(&queued.message);
        self.held.sub(cost);
        if seq > self.transmitted {
            self.fresh.sub(cost);
        }
        if index < self.next {
            // A retransmission is no longer needed for it; the gap goes out instead.
            self.in_flight -= cost + self.offset as u64;
            self.next -= 1;
            let requeued = self.next - index;
            for at in index + 1..index + 1 + requeued {
                if let Entry::Message { queued, .. } = &self.entries[at] {
                    let cost = (queued.message.len() + OVERHEAD) as u64;
                    self.in_flight -= cost;
                    self.waiting.add(cost);
                }
            }
            self.next = index;
            self.offset = 0;
        } else {
            self.waiting.sub(cost);
            if index == self.next && self.offset > 0 {
                self.in_flight -= self.offset as u64;
                self.offset = 0;
            }
        }
        if let Some(saved) = &mut self.saved {
            saved.note_dropped(seq);
        }
        self.remember_dropped(seq, cause);
        if let Some(Entry::Gap { cause: other, .. }) = self.entries.get(index + 1)
            && self.joins(*other, cause)
            && let Some(Entry::Gap { to: end, .. }) = self.entries.remove(index + 1)
        {
            self.entries[index] = Entry::Gap { from: seq, to: end, cause };
        }
        if index > self.next && self.join_with_previous(index) { index } else { index + 1 }
    }

    /// Whether neighbouring gaps of these causes are one.
    fn joins(&self, one: GapCause, other: GapCause) -> bool {
        // Between messages there is one gap at least, and never more of the same cause.
        let entries = self.entries.len();
        one == other || entries.saturating_sub(2 * self.held.messages) > MAX_GAPS
    }

    /// Joins the gap at `index` with the one before it, if there is one of its kind.
    fn join_with_previous(&mut self, index: usize) -> bool {
        let Some(before) = index.checked_sub(1) else { return false };
        let (Entry::Gap { from, cause: one, .. }, Entry::Gap { to, cause, .. }) =
            (&self.entries[before], &self.entries[index])
        else {
            return false;
        };
        if !self.joins(*one, *cause) {
            return false;
        }
        self.entries[before] = Entry::Gap { from: *from, to: *to, cause: *cause };
        self.entries.remove(index);
        true
    }

    fn remember_dropped(&mut self, seq: u64, cause: GapCause) {
        if let Some((_, (to, other))) = self.dropped.range_mut(..seq).next_back()
            && *to + 1 == seq
            && *other == cause
        {
            *to = seq;
        } else {
            self.dropped.insert(seq, (seq, cause));
        }
        if self.dropped.len() > MAX_DROPPED
            && let Some((_, (to, _))) = self.dropped.pop_first()
        {
            self.forgotten = self.forgotten.max(to);
        }
    }

    // ---------------------------------------------------------- the link

    /// The link is gone: what was on its way waits again.
    pub(crate) fn rewind(&mut self) {
        self.next = 0;
        self.offset = 0;
        self.in_flight = 0;
        self.announced = false;
        self.settled = false;
        self.waiting = self.held;
    }

    /// The session is lost: what was on its way may or may not have arrived and is given up; the
    /// rest waits for the next session, whose half-channel begins where the peer must hear of it.
    /// Returns what was given up.
    pub(crate) fn restart(&mut self) -> Vec<Message> {
        self.rewind();
        let transmitted = self.transmitted;
        let sent = |entry: &Entry| match entry {
            Entry::Message { seq, queued } if *seq <= transmitted => Some(queued.message.clone()),
            _ => None,
        };
        let given_up = self.entries.iter().filter_map(sent).collect();
        self.drop_if(GapCause::SessionLost, |seq, _| seq <= transmitted);
        self.ever_announced = false;
        self.window = INITIAL_WINDOW;
        self.acked = self.entries.front().map_or(self.next_seq, Entry::first_seq) - 1;
        self.transmitted = self.acked;
        given_up
    }

    /// A link is back and the peer says where it stopped.
    pub(crate) fn resume(
        &mut self,
        consumed: u64,
        received: u64,
        window: u64,
    ) -> Result<Resumed, Misbehaviour> {
        if consumed < self.acked {
            return Err(Misbehaviour::Rewound { told: self.acked, now: consumed });
        }
        self.rewind();
        self.announced = true;
        self.handle_ack(consumed, window)?;
        if received > self.transmitted.max(self.acked) {
            return Err(Misbehaviour::AckOfUnsent(received));
        }
        // What the peer holds, but has not consumed, is kept and not sent again.
        while self.next < self.entries.len() && self.entries[self.next].last_seq() <= received {
            if let Entry::Message { queued, .. } = &self.entries[self.next] {
                let cost = cost(&queued.message);
                self.in_flight += cost;
                self.waiting.sub(cost);
            }
            self.next += 1;
        }
        let superseded = self.settle();
        let again = |entry: &&Entry| entry.first_seq() <= self.transmitted;
        let replayed = self.entries.range(self.next..).take_while(again);
        let replayed = replayed.filter(|entry| matches!(entry, Entry::Message { .. })).count() as u64;
        Ok(Resumed { replayed, superseded })
    }

    /// Whether the store, if there is one, has it.
    fn is_saved(&self, entry: &Entry) -> bool {
        self.saved.as_ref().is_none_or(|saved| entry.last_seq() <= saved.stored())
    }

    /// The peer knows this half-channel no more because it ended there.
    pub(crate) fn forget_all(&mut self) {
        self.acked = self.last_seq();
        self.entries.clear();
        self.keys.clear();
        self.deadlines.clear();
        self.waiting = Count::default();
        self.fresh = Count::default();
        self.held = Count::default();
        self.in_flight = 0;
        self.next = 0;
        self.offset = 0;
    }

    /// The peer consumed everything up to `cursor`. Returns whether that is news.
    pub(crate) fn handle_ack(&mut self, cursor: u64, window: u64) -> Result<bool, Misbehaviour> {
        if cursor > self.transmitted.max(self.acked) {
            return Err(Misbehaviour::AckOfUnsent(cursor));
        }
        if cursor < self.acked {
            return Ok(false); // an old one
        }
        self.window = window;
        if cursor == self.acked {
            return Ok(true);
        }
        self.acked = cursor;
        while self.entries.front().is_some_and(|entry| entry.last_seq() <= cursor) {
            let front = self.entries.pop_front();
            let sent = self.next > 0;
            self.next = self.next.saturating_sub(1);
            if let Some(Entry::Message { seq, queued }) = front {
                self.forget_terms(seq, &queued);
                let cost = cost(&queued.message);
                self.held.sub(cost);
                if sent {
                    self.in_flight -= cost;
                } else {
                    // Acknowledged late: it waits to be sent again, and need not be.
                    self.waiting.sub(cost);
                    self.in_flight -= self.offset as u64;
                    self.offset = 0;
                }
            }
        }
        Ok(true)
    }

    /// Whether there is something to transmit now, inside the peer's window.
    pub(crate) fn wants_to_transmit(&self) -> bool {
        if self.saved.as_ref().is_some_and(|saved| !saved.is_open()) {
            return false;
        }
        match self.entries.get(self.next) {
            None => !self.announced && !self.ended,
            Some(entry) if !self.is_saved(entry) => false,
            Some(Entry::Message { queued, .. }) => self.has_window(&queued.message),
            // A gap goes out with the message that follows it, so that gaps before one that waits
            // for the peer's window grow together instead of costing a packet each.
            Some(Entry::Gap { .. }) => {
                let mut rest = self.entries.range(self.next..);
                match rest.find(|entry| !matches!(entry, Entry::Gap { .. })) {
                    Some(Entry::Message { queued, .. }) => self.has_window(&queued.message),
                    _ => true,
                }
            }
            Some(Entry::End { .. }) => true,
        }
    }

    /// Whether the peer's window lets the next message go on.
    fn has_window(&self, message: &Message) -> bool {
        self.in_flight == 0
            || self.offset > 0 && self.in_flight < self.window
            || self.in_flight + cost(message).min(MIN_PIECE) <= self.window
    }

    /// Names the half-channel to the peer, if it does not know it. Returns whether it fitted.
    pub(crate) fn announce(
        &mut self,
        out: &mut BytesMut,
        limit: usize,
        label: &str,
        lossy: Option<Lossy>,
    ) -> bool {
        if self.saved.as_ref().is_some_and(|saved| !saved.is_open()) {
            return true;
        }
        // With nothing left after its end there is nothing to name.
        if !self.announced && !self.is_finished() {
            if out.len() + wire::open_len(label) > limit {
                return false;
            }
            let first = self.entries.front().map_or(self.next_seq, Entry::first_seq);
            wire::put_open(out, self.half, first, lossy, label);
            self.announced = true;
            self.ever_announced = true;
        }
        true
    }

    /// Writes as much as fits into `out`, whose length shall not pass `limit` and whose messages
    /// begin at `start`. Returns whether the packet is full for this half-channel.
    pub(crate) fn transmit(&mut self, out: &mut BytesMut, start: usize, limit: usize) -> bool {
        while let Some(entry) = self.entries.get(self.next) {
            if !self.wants_to_transmit() {
                return false;
            }
            match entry {
                Entry::Gap { from, to, cause } => {
                    if out.len() + wire::SKIP_LEN > limit {
                        return true;
                    }
                    wire::put_skip(out, self.half, *from, *to, *cause);
                    self.transmitted = self.transmitted.max(*to);
                    // Until the peer's reader moves on, this may happen any number of times.
                    if !self.join_with_previous(self.next) {
                        self.next += 1;
                    }
                }
                Entry::End { seq } => {
                    if out.len() + wire::SKIP_LEN > limit {
                        return true;
                    }
                    wire::put_end(out, self.half, *seq);
                    self.transmitted = self.transmitted.max(*seq);
                    self.next += 1;
                }
                Entry::Message { queued, .. } => {
                    let whole = wire::DATA_HEADER + wire::message_len(queued.message.len());
                    let room = limit.saturating_sub(out.len());
                    // A message that fits into no packet, or just not into one that it would have
                    // to itself but for other frames, goes in pieces.
                    let alone = out.len() == start;
                    if self.offset > 0 || whole > limit || (alone && whole > room) {
                        if self.fragment(out, room, alone) {
                            return true;
                        }
                    } else if whole > room {
                        return true;
                    } else {
                        self.whole_messages(out, limit);
                    }
                }
            }
        }
        false
    }

    /// As many whole messages as fit, at least one.
    fn whole_messages(&mut self, out: &mut BytesMut, limit: usize) {
        let mut frame = None;
        while let Some(Entry::Message { seq, queued }) = self.entries.get(self.next) {
            let message = &queued.message;
            let fits = out.len() + wire::message_len(message.len()) <= limit;
            if frame.as_ref().is_some_and(|frame: &DataFrame| frame.is_full() || !fits)
                || !self.wants_to_transmit()
            {
                break;
            }
            let frame = frame.get_or_insert_with(|| DataFrame::begin(out, self.half, *seq));
            frame.put(out, message);
            let cost = cost(message);
            if let Some(deadline) = queued.deadline {
                self.deadlines.remove(&(deadline, *seq));
            }
            if *seq > self.transmitted {
                self.transmitted = *seq;
                self.fresh.sub(cost);
            }
            self.in_flight += cost;
            self.waiting.sub(cost);
            self.next += 1;
        }
        if let Some(frame) = frame {
            frame.end(out);
        }
    }

    /// The next piece of a large message. Returns whether there was no room for one.
    fn fragment(&mut self, out: &mut BytesMut, room: usize, alone: bool) -> bool {
        let Some(Entry::Message { seq, queued }) = self.entries.get(self.next) else { return false };
        let message = &queued.message;
        let left = message.len() - self.offset;
        let length = left.min(room.saturating_sub(wire::DATA_HEADER));
        if length == 0 || (length < left && length < MIN_PIECE as usize && !alone) {
            return true;
        }
        wire::put_fragment(out, self.half, *seq, message, self.offset, length);
        if let Some(deadline) = queued.deadline {
            self.deadlines.remove(&(deadline, *seq));
        }
        if *seq > self.transmitted {
            self.transmitted = *seq;
            self.fresh.sub(cost(message));
        }
        self.in_flight += length as u64;
        self.offset += length;
        if self.offset == message.len() {
            self.in_flight += OVERHEAD as u64;
            self.waiting.sub(cost(message));
            self.next += 1;
            self.offset = 0;
        }
        false
    }
}

/// Pieces smaller than this are not worth a packet of their own.
const MIN_PIECE: u64 = 1024;
