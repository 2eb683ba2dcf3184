//! The sending half of one channel: what waits, what is on its way, what was dropped.
//!
//! A message leaves the outbox when the peer acknowledges that it was consumed, or when the queue
//! policy drops it; what was dropped stays as a gap, so that the peer hears of it.

mod dropping;
mod policy;
mod saved;
mod transmit;

use std::collections::VecDeque;

use self::saved::Saved;
use super::wire::GapCause;
use crate::collections::HashMap;
use crate::collections::{BTreeMap, BTreeSet};
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
            keys: HashMap::default(),
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

    /// The peer has consumed everything up to here, by its own word.
    pub(crate) fn acked(&self) -> u64 {
        self.acked
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
}
