//! Onto the link: whole messages that share packets, large ones in pieces, gaps and the end.

use bytes::BytesMut;

use super::super::wire::{self, DataFrame, Lossy};
use super::{Entry, OVERHEAD, Outbox, cost};
use crate::message::Message;

impl Outbox {
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
