//! What is dropped by age, size and number, and the gaps that tell of it.

use std::time::Duration;

use super::{Entry, GapCause, MAX_DROPPED, MAX_GAPS, OVERHEAD, Outbox, cost};
use crate::message::Message;
use crate::runtime::Instant;

impl Outbox {
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

    pub(super) fn drop_if(&mut self, cause: GapCause, doomed: impl Fn(u64, &Message) -> bool) {
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
    pub(super) fn drop_at(&mut self, index: usize, cause: GapCause) -> usize {
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
    pub(super) fn join_with_previous(&mut self, index: usize) -> bool {
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
}
