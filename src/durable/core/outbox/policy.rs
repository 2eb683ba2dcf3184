//! Deadlines and keys of single messages.

use super::{Count, Entry, GapCause, Key, Outbox, Queued, cost};
use crate::runtime::Instant;

impl Outbox {
    /// What a new message of this key would replace of what was never transmitted.
    pub(crate) fn replaces(&self, key: Option<&Key>) -> Count {
        let found = key.and_then(|key| self.keys.get(key)).filter(|seq| **seq > self.transmitted);
        match found.and_then(|seq| self.entries.get(self.find(*seq)?)) {
            Some(Entry::Message { queued, .. }) => Count { messages: 1, bytes: cost(&queued.message) },
            _ => Count::default(),
        }
    }

    /// Drops the waiting message of this key to make room for a newer one. Returns how many: 0 or 1.
    pub(crate) fn supersede(&mut self, key: &Key) -> u64 {
        match self.keys.get(key).and_then(|seq| self.find(*seq)) {
            Some(index) if self.is_ours(index) => {
                self.drop_at(index, GapCause::Superseded);
                1
            }
            _ => 0,
        }
    }

    /// Drops what has passed its deadline, connected or not. Returns how many.
    pub(crate) fn expire_due(&mut self, now: Instant) -> u64 {
        let mut expired = 0;
        while let Some(&(deadline, seq)) = self.deadlines.first().filter(|(deadline, _)| *deadline <= now) {
            self.deadlines.remove(&(deadline, seq));
            if let Some(index) = self.find(seq).filter(|index| self.is_ours(*index)) {
                self.drop_at(index, GapCause::Expired);
                expired += 1;
            }
        }
        expired
    }

    /// When the first message that may be dropped passes its deadline.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// The peer has said where it stopped, so that what waits is known not to have arrived, even
    /// if it was transmitted on an earlier link: the rules for what waits hold for it again.
    /// Returns how many messages were superseded by newer ones meanwhile.
    pub(crate) fn settle(&mut self) -> u64 {
        self.settled = true;
        let mut superseded = 0;
        let mut index = self.next;
        while let Some(entry) = self.entries.get(index).filter(|entry| entry.first_seq() <= self.transmitted)
        {
            let Entry::Message { seq, queued } = entry else {
                index += 1;
                continue;
            };
            if let Some(deadline) = queued.deadline {
                self.deadlines.insert((deadline, *seq));
            }
            let newest = queued.key.as_ref().and_then(|key| self.keys.get(key));
            if newest.is_some_and(|newest| newest != seq) {
                index = self.drop_at(index, GapCause::Superseded);
                superseded += 1;
            } else {
                index += 1;
            }
        }
        superseded
    }

    /// Whether the peer surely has nothing of the message, and nothing of it is on its way.
    fn is_ours(&self, index: usize) -> bool {
        let begun = index == self.next && self.offset > 0;
        match self.entries.get(index) {
            Some(Entry::Message { seq, .. }) => {
                *seq > self.transmitted || (self.settled && index >= self.next && !begun)
            }
            _ => false,
        }
    }

    /// Notes what a new message asks for.
    pub(super) fn note_terms(&mut self, seq: u64, queued: &Queued) {
        if let Some(deadline) = queued.deadline {
            self.deadlines.insert((deadline, seq));
        }
        if let Some(key) = &queued.key {
            self.keys.insert(key.clone(), seq);
        }
    }

    /// Forgets what was asked for a message that is no longer held.
    pub(super) fn forget_terms(&mut self, seq: u64, queued: &Queued) {
        if let Some(deadline) = queued.deadline {
            self.deadlines.remove(&(deadline, seq));
        }
        if let Some(key) = &queued.key
            && self.keys.get(key) == Some(&seq)
        {
            self.keys.remove(key);
        }
    }

    /// Where the entry of a number is.
    pub(super) fn find(&self, seq: u64) -> Option<usize> {
        let index = self.entries.partition_point(|entry| entry.last_seq() < seq);
        self.entries.get(index).filter(|entry| entry.first_seq() <= seq).map(|_| index)
    }
}

#[cfg(test)]
impl Outbox {
    /// Messages, gaps and the end, and what is remembered of keys and deadlines, as held in memory.
    pub(crate) fn sizes(&self) -> [usize; 4] {
        [self.entries.len(), self.dropped.len(), self.keys.len(), self.deadlines.len()]
    }
}
