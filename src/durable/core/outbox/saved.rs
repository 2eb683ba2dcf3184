//! What of an outbox is in a store, and what has to go there.
//!
//! Messages are written in chunks, in their order, before they are transmitted. A chunk goes when
//! the peer has consumed all of it, or when all of it was dropped; what was dropped from a chunk
//! that stays is a record of its own.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::super::records::{self, BadRecord, Kind, SavedEntry, key};
use super::super::saving::WallClock;
use super::{Count, Entry, Key, Outbox, Queued, cost};
use crate::collections::{BTreeMap, BTreeSet};
use crate::message::Message;
use crate::store::Batch;

/// A chunk is closed when it has this many bytes: a little less than a page of the store, whose
/// pages come in powers of two.
const CHUNK: usize = (256 << 10) - 1024;

#[derive(Debug, Default)]
pub(super) struct Saved {
    /// The record that names the channel is on its way to the store, or there.
    open_submitted: bool,
    open: bool,
    /// The last number that is on its way to the store, or there.
    submitted: u64,
    stored: u64,
    /// What is on its way, or there.
    chunks: VecDeque<Chunk>,
    /// Dropped after they were submitted.
    dropped: BTreeSet<u64>,
    /// Chunks of which nothing is left.
    doomed: Vec<(u64, u64)>,
    /// How far the peer has come, as it is written.
    base: u64,
    /// What may have been transmitted by earlier processes.
    before: u64,
}

#[derive(Debug)]
struct Chunk {
    first: u64,
    last: u64,
    /// Messages, and the end, that were not dropped.
    live: usize,
}

impl Saved {
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    pub(super) fn note_dropped(&mut self, seq: u64) {
        if seq > self.submitted {
            return;
        }
        self.dropped.insert(seq);
        let at = self.chunks.partition_point(|chunk| chunk.last < seq);
        if let Some(chunk) = self.chunks.get_mut(at).filter(|chunk| chunk.first <= seq) {
            chunk.live = chunk.live.saturating_sub(1);
            if chunk.live == 0
                && let Some(chunk) = self.chunks.remove(at)
            {
                self.doomed.push((chunk.first, chunk.last));
            }
        }
    }
}

impl Outbox {
    /// From now on nothing is transmitted that is not in a store.
    pub(crate) fn keep(&mut self) {
        self.saved = Some(Saved { submitted: self.acked, stored: self.acked, base: 0, ..Saved::default() });
    }

    /// The store is given up.
    pub(crate) fn keep_no_more(&mut self) {
        self.saved = None;
    }

    /// Whether a message is in the store; without one, it is as safe as it gets.
    pub(crate) fn is_stored(&self, seq: u64) -> bool {
        self.saved.as_ref().is_none_or(|saved| seq <= saved.stored)
    }

    /// The record that names the channel is on its way to the store.
    pub(crate) fn note_named(&mut self) {
        if let Some(saved) = &mut self.saved {
            saved.open_submitted = true;
        }
    }

    /// Everything on its way to the store is there. Returns whether there is news.
    pub(crate) fn handle_stored(&mut self) -> bool {
        let Some(saved) = &mut self.saved else { return false };
        let news = saved.stored < saved.submitted || saved.open != saved.open_submitted;
        saved.stored = saved.submitted;
        saved.open = saved.open_submitted;
        news
    }

    /// Adds to `batch` what is not on its way yet. What is done with is removed on such an
    /// occasion, or to `tidy`; returns whether some of that is left.
    pub(crate) fn submit(&mut self, batch: &mut Batch, session: &[u8], clock: WallClock, tidy: bool) -> bool {
        let Some(saved) = &mut self.saved else { return false };
        let news = self.entries.back().is_some_and(|last| last.last_seq() > saved.submitted);
        if !news && !tidy && saved.dropped.is_empty() {
            return !saved.doomed.is_empty()
                || saved.chunks.front().is_some_and(|chunk| chunk.last <= self.acked);
        }
        let half = self.half;
        let front = self.front();
        self.tidy(batch, session);
        let Some(saved) = &mut self.saved else { return false };
        for (first, last) in std::mem::take(&mut saved.doomed) {
            batch.remove(key(session, Kind::Chunk, half, first), key(session, Kind::Chunk, half, last + 1));
            // Its own gaps must not be lost with it.
            let at = self.entries.partition_point(|entry| entry.last_seq() < first);
            let inside = self.entries.range(at..).take_while(|entry| entry.first_seq() <= last);
            saved.dropped.extend(inside.map(Entry::first_seq));
        }
        let mut written = 0;
        for seq in std::mem::take(&mut saved.dropped) {
            if seq < front || seq <= written {
                continue;
            }
            let at = self.entries.partition_point(|entry| entry.last_seq() < seq);
            let Some(Entry::Gap { from, to, cause }) = self.entries.get(at) else { continue };
            batch.remove(key(session, Kind::Gap, half, *from), key(session, Kind::Gap, half, to + 1));
            batch.put(key(session, Kind::Gap, half, *from), records::put_gap(*to, *cause));
            written = *to;
        }
        let mut at = self.entries.partition_point(|entry| entry.last_seq() <= saved.submitted);
        while at < self.entries.len() {
            let first = saved.submitted + 1;
            let mut out = BytesMut::new();
            let mut live = 0;
            while let Some(entry) = self.entries.get(at) {
                match entry {
                    Entry::Gap { to, cause, .. } => records::put_entry_gap(&mut out, *to, *cause),
                    Entry::End { .. } => {
                        records::put_entry_end(&mut out);
                        live += 1;
                    }
                    Entry::Message { queued, .. } => {
                        let length = records::saved_len(&queued.message);
                        if !out.is_empty() && out.len() + length > CHUNK {
                            break;
                        }
                        if out.is_empty() {
                            let rest = self.waiting.bytes as usize + 64;
                            out.reserve(length.max(rest.min(CHUNK)));
                        }
                        let deadline = queued.deadline.map(|deadline| clock.millis(deadline));
                        let key = queued.key.as_ref().map_or(&[][..], |key| &key.0);
                        let queued_at = clock.millis(queued.queued_at);
                        records::put_message(&mut out, &queued.message, queued_at, deadline, key);
                        live += 1;
                    }
                }
                saved.submitted = entry.last_seq();
                at += 1;
            }
            saved.chunks.push_back(Chunk { first, last: saved.submitted, live });
            batch.put(key(session, Kind::Chunk, half, first), out.freeze());
        }
        false
    }

    /// Adds to `batch` the removal of what the peer has consumed.
    pub(crate) fn tidy(&mut self, batch: &mut Batch, session: &[u8]) {
        let (half, front) = (self.half, self.front());
        let Some(saved) = &mut self.saved else { return };
        // Whole chunks only, and gaps that end before what is left.
        let done = saved.chunks.partition_point(|chunk| chunk.last <= self.acked);
        if let Some(last) = saved.chunks.drain(..done).next_back() {
            batch.remove(key(session, Kind::Chunk, half, 0), key(session, Kind::Chunk, half, last.last + 1));
            batch.remove(key(session, Kind::Gap, half, 0), key(session, Kind::Gap, half, front));
        }
        if saved.base != self.acked {
            saved.base = self.acked;
            batch.put(key(session, Kind::Base, half, 0), records::put_base(self.acked));
        }
    }

    /// The first number that is held.
    fn front(&self) -> u64 {
        self.entries.front().map_or(self.acked + 1, Entry::first_seq)
    }

    /// The messages, and whether each may have arrived; the outbox is empty then.
    pub(crate) fn give_back(&mut self) -> Vec<(Message, bool)> {
        let transmitted = self.transmitted;
        let messages = self.entries.iter().filter_map(|entry| match entry {
            Entry::Message { seq, queued } => Some((queued.message.clone(), *seq <= transmitted)),
            _ => None,
        });
        let messages = messages.collect();
        self.forget_all();
        messages
    }

    /// What may have been transmitted when it was taken from the store.
    pub(crate) fn transmitted_before(&self) -> u64 {
        self.saved.as_ref().map_or(0, |saved| saved.before)
    }

    /// An outbox as a store had it. What is in it may have been transmitted, up to `transmitted` if
    /// that is known: a peer that has seen more knows a later state than the store.
    pub(crate) fn restored(
        half: u32,
        base: u64,
        chunks: BTreeMap<u64, Bytes>,
        gaps: BTreeMap<u64, Bytes>,
        transmitted: Option<u64>,
        clock: WallClock,
    ) -> Result<Self, BadRecord> {
        let mut found: BTreeMap<u64, Entry> = BTreeMap::new();
        let mut outbox = Self::new(half);
        let mut saved = Saved { open_submitted: true, open: true, base, ..Saved::default() };
        for (first, value) in &chunks {
            let mut seq = *first;
            let mut live = 0;
            for entry in records::entries(value)? {
                let last = match entry {
                    SavedEntry::Message(saved) => {
                        let queued = Queued {
                            message: saved.message,
                            queued_at: clock.instant(saved.queued_at),
                            deadline: saved.deadline.map(|deadline| clock.instant(deadline)),
                            key: (!saved.key.is_empty()).then(|| Key(saved.key[..].into())),
                        };
                        found.insert(seq, Entry::Message { seq, queued });
                        live += 1;
                        seq
                    }
                    SavedEntry::Gap { to, cause } if to >= seq => {
                        found.insert(seq, Entry::Gap { from: seq, to, cause });
                        to
                    }
                    SavedEntry::Gap { .. } => return Err(BadRecord("a gap that ends before it begins")),
                    SavedEntry::End => {
                        found.insert(seq, Entry::End { seq });
                        live += 1;
                        seq
                    }
                };
                seq = last.checked_add(1).ok_or(BadRecord("a number that cannot be"))?;
            }
            if seq == *first {
                return Err(BadRecord("an empty chunk"));
            }
            saved.chunks.push_back(Chunk { first: *first, last: seq - 1, live });
        }
        let mut dropped = Vec::new();
        for (from, value) in &gaps {
            let (to, cause) = records::gap(value)?;
            if to < *from {
                return Err(BadRecord("a gap that ends before it begins"));
            }
            let inside: Vec<u64> = found.range(*from..=to).map(|(seq, _)| *seq).collect();
            for seq in inside {
                if let Some(Entry::Message { seq, .. } | Entry::End { seq }) = found.remove(&seq) {
                    dropped.push(seq);
                }
            }
            found.insert(*from, Entry::Gap { from: *from, to, cause });
        }
        outbox.acked = base;
        let mut expected = base + 1;
        for (_, mut entry) in found {
            if entry.last_seq() < expected {
                continue; // consumed
            }
            if let Entry::Gap { from, .. } = &mut entry {
                *from = expected.max(*from);
            }
            if entry.first_seq() > expected {
                return Err(BadRecord("messages are missing"));
            }
            expected = entry.last_seq().checked_add(1).ok_or(BadRecord("a number that cannot be"))?;
            outbox.restore(entry);
        }
        outbox.next_seq = expected;
        outbox.transmitted = transmitted.map_or(expected - 1, |known| known.clamp(base, expected - 1));
        saved.before = outbox.transmitted;
        for entry in &outbox.entries {
            if let Entry::Message { seq, queued } = entry
                && *seq > outbox.transmitted
            {
                outbox.fresh.add(cost(&queued.message));
            }
        }
        outbox.ever_announced = true;
        outbox.waiting = outbox.held;
        for seq in dropped {
            // The chunk counts it no more, and need not be told again.
            saved.submitted = u64::MAX;
            saved.note_dropped(seq);
        }
        saved.dropped.clear();
        (saved.submitted, saved.stored) = (expected - 1, expected - 1);
        outbox.saved = Some(saved);
        Ok(outbox)
    }

    fn restore(&mut self, entry: Entry) {
        match &entry {
            Entry::Message { seq, queued } => {
                let cost = cost(&queued.message);
                let Count { messages, bytes } = &mut self.held;
                (*messages, *bytes) = (*messages + 1, *bytes + cost);
                self.note_terms(*seq, queued);
            }
            Entry::Gap { from, to, cause } => _ = self.dropped.insert(*from, (*to, *cause)),
            Entry::End { .. } => self.ended = true,
        }
        self.entries.push_back(entry);
    }
}
