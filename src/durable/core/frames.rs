//! Packets in and packets out.

use bytes::{Bytes, BytesMut};

use super::channel::ChannelId;
use super::inbox::{Inbox, Received};
use super::path::{LinkId, Whose};
use super::session::{Output, Session};
use super::wire::{self, Ack, Decoder, Frame, HalfAck};
use crate::durable::events::ChannelEvent;
use crate::error::Misbehaviour;
use crate::link::LossyConfig;
use crate::message::{Message, Utf8Bytes};
use crate::runtime::Instant;

/// All windows of a session together grow to this at most.
const WINDOW_BUDGET: u64 = 64 << 20;

impl Session {
    // ------------------------------------------------------------------- in

    /// One packet of the link. Whatever the peer did wrong ends its link and nothing else.
    pub(crate) fn handle_packet(&mut self, now: Instant, link: LinkId, packet: Bytes) -> Whose {
        if self.path.as_ref().is_none_or(|path| path.id != link) {
            return Whose::NotOurs;
        }
        self.counters.bytes_received += packet.len() as u64;
        if let Err(misbehaviour) = self.receive(now, packet) {
            self.handle_misbehaviour(now, misbehaviour);
        }
        self.touch();
        Whose::Ours
    }

    fn receive(&mut self, now: Instant, packet: Bytes) -> Result<(), Misbehaviour> {
        let length = packet.len();
        if length as u64 > self.bounds().max_packet {
            return Err(Misbehaviour::TooLarge(length as u64));
        }
        let mut decoder = Decoder::new(packet);
        let mut elicits = false;
        while let Some(frame) = decoder.frame()? {
            // A frame may have ended the link, or the session.
            let Some(path) = &self.path else { return Ok(()) };
            if path.is_lingering() {
                return Ok(());
            }
            if !path.is_live() && !matches!(frame, Frame::Welcome(_) | Frame::Refuse(_)) {
                return Err(Misbehaviour::OutOfPlace);
            }
            elicits |= !matches!(frame, Frame::Ack(_) | Frame::Pong(_) | Frame::Close);
            self.handle_frame(now, frame, &mut decoder)?;
        }
        if let Some(path) = &mut self.path {
            path.note_received(length, elicits, now);
        }
        Ok(())
    }

    fn handle_frame(
        &mut self,
        now: Instant,
        frame: Frame,
        decoder: &mut Decoder,
    ) -> Result<(), Misbehaviour> {
        match frame {
            Frame::Hello(_) => return Err(Misbehaviour::OutOfPlace),
            Frame::Welcome(body) => self.handle_welcome(now, &body)?,
            Frame::Refuse(body) => self.handle_refuse(now, &body)?,
            Frame::Open { half, first_seq, lossy, label } => {
                self.handle_open(half, first_seq, lossy, &label)?
            }
            Frame::Data { half, seq, count } => {
                for seq in seq..seq + u64::from(count) {
                    let message = decoder.message()?;
                    self.deliver(half, |inbox, bounds| inbox.handle_message(seq, message, bounds))?;
                }
                self.wake_reader(half);
            }
            Frame::Fragment { half, seq, text, total, offset, data } => {
                self.deliver(half, |inbox, bounds| {
                    inbox.handle_fragment((seq, text, total, offset), data, bounds)
                })?;
                self.wake_reader(half);
            }
            Frame::Ack(ack) => self.handle_ack(now, &ack)?,
            Frame::Skip { half, from, to, cause } => {
                let Some(id) = self.receiver(half)? else { return Ok(()) };
                let Some(channel) = self.channels.get_mut(&id) else { return Ok(()) };
                let Some(inbox) = &mut channel.inbox else { return Ok(()) };
                if let Some((from, to)) = inbox.handle_skip(from, to)? {
                    channel.signals.events.publish(ChannelEvent::Gap { from, to, cause });
                }
            }
            Frame::End { half, seq } => {
                let Some(id) = self.receiver(half)? else { return Ok(()) };
                let ended = self.channels.get_mut(&id).and_then(|channel| channel.inbox.as_mut());
                if let Some(inbox) = ended
                    && inbox.handle_end(seq)? == Received::New
                {
                    self.handle_ended(id);
                }
            }
            Frame::Ping(number) => {
                if let Some(path) = &mut self.path {
                    path.pong = Some(number);
                    path.ack_now = true;
                }
            }
            // The acknowledgement that travels with it says everything.
            Frame::Pong(_) => {}
            Frame::Close => self.handle_close(now),
        }
        Ok(())
    }

    fn handle_open(
        &mut self,
        half: u32,
        first_seq: u64,
        lossy: Option<LossyConfig>,
        label: &Utf8Bytes,
    ) -> Result<(), Misbehaviour> {
        if half == 0 {
            return Err(Misbehaviour::UnknownChannel(0));
        }
        if half <= self.last_peer_half {
            return Ok(()); // known, or ended meanwhile
        }
        let id = self.bind(label, lossy)?;
        self.last_peer_half = half;
        self.by_half.insert(half, id);
        let Some(channel) = self.channels.get_mut(&id) else { return Ok(()) };
        let mut inbox = Inbox::new(half, first_seq);
        if channel.closed {
            inbox.discard();
        }
        if self.saving.is_some() {
            inbox.keep();
        }
        channel.peer_half = Some((half, first_seq));
        channel.inbox = Some(inbox);
        channel.signals.events.publish(ChannelEvent::Open);
        self.open_lossy(id);
        Ok(())
    }

    /// The channel that receives on `half`; `None` if it has ended.
    fn receiver(&self, half: u32) -> Result<Option<ChannelId>, Misbehaviour> {
        match self.by_half.get(&half) {
            Some(id) => Ok(Some(*id)),
            None if (1..=self.last_peer_half).contains(&half) => Ok(None),
            None => Err(Misbehaviour::UnknownChannel(half)),
        }
    }

    fn deliver(
        &mut self,
        half: u32,
        put: impl FnOnce(&mut Inbox, super::inbox::Bounds) -> Result<Received, Misbehaviour>,
    ) -> Result<(), Misbehaviour> {
        let bounds = self.bounds();
        let Some(id) = self.receiver(half)? else { return Ok(()) };
        let Some(inbox) = self.channels.get_mut(&id).and_then(|channel| channel.inbox.as_mut()) else {
            return Ok(());
        };
        match put(inbox, bounds)? {
            Received::New => {
                self.counters.messages_received += 1;
                if let Some(path) = &mut self.path {
                    path.carried = true;
                }
            }
            Received::Duplicate => self.counters.deduplicated += 1,
        }
        Ok(())
    }

    fn wake_reader(&mut self, half: u32) {
        let channel = self.by_half.get(&half).and_then(|id| self.channels.get(id));
        if let Some(channel) = channel
            && channel.inbox.as_ref().is_some_and(Inbox::has_messages)
        {
            channel.signals.readable.wake();
        }
    }

    fn handle_ack(&mut self, now: Instant, ack: &Ack) -> Result<(), Misbehaviour> {
        self.handle_link_ack(now, ack.received)?;
        for HalfAck { half, cursor, window } in &ack.halves {
            let id = ChannelId(*half);
            let Some(channel) = self.channels.get_mut(&id) else {
                if *half == 0 || *half > self.last_half {
                    return Err(Misbehaviour::UnknownChannel(*half));
                }
                continue; // it ended meanwhile
            };
            let held = channel.outbox.held().messages;
            let news = channel.outbox.handle_ack(*cursor, *window)?;
            if channel.outbox.held().messages < held
                && let Some(path) = &mut self.path
            {
                path.carried = true;
            }
            if news {
                channel.signals.settled.notify_waiters();
                self.wake_writers(id);
                self.reap(id);
            }
        }
        Ok(())
    }

    /// One message of a lossy stream.
    pub(crate) fn handle_lossy(&mut self, link: LinkId, stream: u16, data: &Bytes) -> Whose {
        if self.path.as_ref().is_none_or(|path| path.id != link) {
            return Whose::NotOurs;
        }
        let half = self.by_half.keys().copied().find(|half| self.stream(*half, false) == stream);
        let channel = half.and_then(|half| self.by_half.get(&half)).and_then(|id| self.channels.get_mut(id));
        // A stream nobody has opened, or a message that is no message: lost, as it may be.
        let Some(channel) = channel.filter(|channel| channel.lossy.is_some() && !channel.closed) else {
            return Whose::Ours;
        };
        let message = match data.split_first() {
            Some((1, _)) => data.slice(1..).try_into().ok().map(Message::Text),
            Some((0, _)) => Some(Message::Binary(data.slice(1..))),
            _ => None,
        };
        if let Some(message) = message {
            channel.push_lossy(message);
        }
        Whose::Ours
    }

    // ------------------------------------------------------------------ out

    /// The link took the packet: the next may follow.
    pub(crate) fn handle_sent(&mut self, link: LinkId) -> Whose {
        match &mut self.path {
            Some(path) if path.id == link => {
                path.transmitting = false;
                Whose::Ours
            }
            _ => Whose::NotOurs,
        }
    }

    /// The reader of a channel has moved on, so the peer's window opens.
    pub(crate) fn handle_progress(&mut self, now: Instant, id: ChannelId) {
        let inbox = self.channels.get(&id).and_then(|channel| channel.inbox.as_ref());
        let much = inbox.is_some_and(Inbox::keeps_much_back);
        self.handle_consumed(now, much);
    }

    /// Something was consumed: the peer hears of it soon, or at once.
    pub(crate) fn handle_consumed(&mut self, now: Instant, at_once: bool) {
        if let Some(path) = &mut self.path {
            path.ack_at.get_or_insert(now + super::path::ACK_DELAY);
            path.ack_now |= at_once;
            self.changed = true;
        }
        self.changed |= self.saving.is_some();
        self.touch();
    }

    /// What is to be done next.
    pub(crate) fn poll_output(&mut self, now: Instant) -> Output {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        if let Some(output) = self.poll_saving(now) {
            return output;
        }
        if let Some(packet) = self.packet(now)
            && let Some(path) = &self.path
        {
            return Output::Transmit { link: path.id, packet };
        }
        // Building a packet may have told of something, or shown something to be saved.
        let more = self.outputs.pop_front().or_else(|| self.poll_saving(now));
        more.unwrap_or_else(|| Output::Timeout(self.deadline()))
    }

    /// The next packet for the link, if it takes one and there is something to say.
    fn packet(&mut self, now: Instant) -> Option<BytesMut> {
        if self.is_held() {
            return None;
        }
        // A timer may come late; what has passed its deadline must not go out all the same.
        if self.path.as_ref().is_some_and(|path| !path.transmitting) && self.is_expiry_due(now) {
            self.expire(now);
        }
        let path = self.path.as_mut().filter(|path| !path.transmitting)?;
        let mut out = std::mem::take(&mut path.control);
        let mut elicits = !out.is_empty();
        if path.is_live() {
            if let Some(number) = path.pong.take() {
                wire::put_pong(&mut out, number);
            }
            let limit = path.packet_limit();
            let room = path.has_room();
            let wants = |channel: &super::channel::Channel| channel.outbox.wants_to_transmit();
            let data = room && self.channels.values().any(wants);
            let (ack_now, ack_soon) = (path.ack_now, path.ack_at.is_some());
            // Before the end the peer hears of all that was consumed: its last messages arrived.
            let closes = self.is_ready_to_close() && self.path.as_ref().is_some_and(|path| !path.close_sent);
            if data || ack_now || closes || (!out.is_empty() && ack_soon) {
                self.put_ack(&mut out);
            }
            if data {
                elicits = true;
                self.put_data(&mut out, limit);
            }
            if self.is_ready_to_close()
                && let Some(path) = &mut self.path
                && !path.close_sent
            {
                path.close_sent = true;
                wire::put_close(&mut out);
            }
        }
        if out.is_empty() {
            return None;
        }
        self.counters.bytes_sent += out.len() as u64;
        self.counters.packets_sent += 1;
        if let Some(path) = &mut self.path {
            path.note_sent(out.len(), elicits, now);
        }
        Some(out)
    }

    fn put_ack(&mut self, out: &mut BytesMut) {
        let mut halves = Vec::new();
        let mut told = Vec::new();
        let mut unsaved = false;
        let mut windows: u64 = 0;
        for (id, channel) in &mut self.channels {
            let Some(inbox) = &mut channel.inbox else { continue };
            windows += inbox.window();
            windows += inbox.grow(WINDOW_BUDGET.saturating_sub(windows));
            // What the reader consumes from here on must come to our notice.
            loop {
                if let Some((cursor, window)) = inbox.news() {
                    halves.retain(|ack: &HalfAck| ack.half != inbox.half);
                    halves.push(HalfAck { half: inbox.half, cursor, window });
                }
                if inbox.fall_asleep() {
                    break;
                }
            }
            unsaved |= inbox.is_unsaved();
            if channel.is_over() {
                told.push(*id);
            }
        }
        if unsaved {
            self.touch();
        }
        let Some(path) = &mut self.path else { return };
        path.told_received = path.received;
        path.ack_at = None;
        path.ack_now = false;
        let ack = Ack { received: path.received, halves };
        out.reserve(wire::ack_len(&ack));
        wire::put_ack(out, &ack);
        told.into_iter().for_each(|id| self.reap(id));
    }

    /// Fills the packet from the channels: a lane before the ones below it, and within a lane each
    /// in its turn.
    fn put_data(&mut self, out: &mut BytesMut, limit: usize) {
        let wants = |(id, channel): (&ChannelId, &super::channel::Channel)| {
            let waiting = channel.outbox.waiting().bytes;
            channel.outbox.wants_to_transmit().then_some((*id, channel.priority.lane(), waiting))
        };
        let mut turns: Vec<_> = self.channels.iter().filter_map(wants).collect();
        // Those after the one whose turn it was last come first.
        turns.sort_unstable_by_key(|(id, lane, _)| (*lane, *id <= self.turns[*lane], *id));
        let waiting: u64 = turns.iter().map(|(.., bytes)| *bytes + 64).sum();
        out.reserve((waiting.min(limit as u64) as usize + 64).saturating_sub(out.len()));
        // In the order of their numbers: the peer takes a lower one than it has seen for ended.
        for channel in self.channels.values_mut() {
            if !channel.outbox.announce(out, limit, &channel.label, channel.lossy) {
                return;
            }
        }
        let start = out.len();
        for (id, lane, _) in turns {
            let Some(channel) = self.channels.get_mut(&id) else { continue };
            let full = channel.outbox.transmit(out, start, limit);
            self.turns[lane] = id;
            self.wake_writers(id);
            if full {
                break;
            }
        }
    }
}
