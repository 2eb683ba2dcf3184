//! Both ends of one in-process link as a machine: time and chance are arguments.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::{RngExt as _, rngs::StdRng};

use super::MemoryConfig;
use crate::link::{Binding, LinkError, LinkEvent, LossyConfig};
use crate::runtime::Instant;
use crate::runtime::sync::Notify;

/// What weighs on every link of a network at a moment.
pub(super) struct Weather<'a> {
    pub(super) config: &'a MemoryConfig,
    /// Since when nothing gets through.
    pub(super) blackout: Option<Instant>,
}

/// What [`Wire::poll`] found for one end.
pub(super) enum Polled {
    Event(LinkEvent),
    /// Nothing before this moment, unless the end is woken earlier.
    Until(Option<Instant>),
}

/// What [`Wire::send`] made of a frame.
#[derive(Debug, PartialEq)]
pub(super) enum Sent {
    Taken,
    /// The send buffer is full: wait until the end is writable.
    Full,
    /// Taken, and it was the last that this link lives for: cut it.
    Last,
}

/// One link. `ends[0]` is the offerer's.
pub(super) struct Wire {
    pub(super) binding: Binding,
    pub(super) ends: [End; 2],
    /// Frames it still carries before it is cut.
    pub(super) frames_left: Option<u64>,
    /// Survived a blackout in name only: nothing sent arrives any more, and nobody is told.
    pub(super) stalled: bool,
    sequence: u64,
}

/// One end, with what is under way *to* it.
pub(super) struct End {
    arriving: VecDeque<(Instant, Bytes)>,
    arriving_bytes: usize,
    lossy: BTreeMap<(Instant, u64), (u16, Bytes)>,
    lossy_bytes: usize,
    streams: BTreeMap<u16, Stream>,
    /// The end of the link as this end will learn of it, and when.
    down: Option<(Instant, LinkError)>,
    told_down: bool,
    /// When the other end went away without this one being told.
    deserted: Option<Instant>,
    suspected: bool,
    closed: bool,
    /// No handle to this end exists any more.
    pub(super) released: bool,
    pub(super) readable: Arc<Notify>,
    pub(super) writable: Arc<Notify>,
}

struct Stream {
    config: LossyConfig,
    /// When the newest message under way to this end arrives.
    last: Option<Instant>,
}

impl Wire {
    pub(super) fn new(binding: Binding, frames_left: Option<u64>) -> Self {
        Self { binding, ends: [End::new(), End::new()], frames_left, stalled: false, sequence: 0 }
    }

    /// Whether at least one end takes it for alive.
    pub(super) fn is_live(&self) -> bool {
        self.ends.iter().any(End::is_live)
    }

    /// The next event of `end`.
    pub(super) fn poll(&mut self, end: usize, now: Instant, weather: &Weather<'_>) -> Polled {
        let this = &mut self.ends[end];
        if this.told_down {
            return Polled::Until(None);
        }
        if this.closed {
            this.told_down = true;
            return Polled::Event(LinkEvent::Down(LinkError::Closed));
        }
        // In a blackout only what had arrived before it is there to be read.
        let horizon = weather.blackout.map_or(now, |since| since.min(now));
        let reliable = this.arriving.front().map(|(at, _)| *at);
        let lossy = this.lossy.first_key_value().map(|((at, _), _)| *at);
        let lossy_first = lossy.is_some_and(|lossy| reliable.is_none_or(|reliable| lossy < reliable));
        if lossy_first && lossy.is_some_and(|at| at <= horizon) {
            if let Some((_, (stream, data))) = this.lossy.pop_first() {
                this.lossy_bytes -= data.len();
                return Polled::Event(LinkEvent::Lossy { stream, data });
            }
        } else if reliable.is_some_and(|at| at <= horizon)
            && let Some((_, frame)) = this.arriving.pop_front()
        {
            this.arriving_bytes -= frame.len();
            self.ends[1 - end].writable.notify_waiters();
            return Polled::Event(LinkEvent::Frame(frame));
        }

        let mut deadline = None;
        let mut until = |at: Instant| deadline = Some(deadline.map_or(at, |d: Instant| d.min(at)));
        if let Some((at, reason)) = &this.down {
            if *at <= now {
                this.told_down = true;
                return Polled::Event(LinkEvent::Down(reason.clone()));
            }
            until(*at);
        }
        let silent = [weather.blackout, this.deserted].into_iter().flatten().min();
        match silent {
            Some(since) => {
                if let Some(after) = weather.config.fail_after {
                    if since + after <= now {
                        this.fail(now, LinkError::Failed("no answer from the other end".into()));
                        this.told_down = true;
                        return Polled::Event(LinkEvent::Down(LinkError::Failed(
                            "no answer from the other end".into(),
                        )));
                    }
                    until(since + after);
                }
                if let Some(after) = weather.config.suspect_after
                    && !this.suspected
                {
                    if since + after <= now {
                        this.suspected = true;
                        return Polled::Event(LinkEvent::Suspect);
                    }
                    until(since + after);
                }
            }
            None if this.suspected => {
                this.suspected = false;
                return Polled::Event(LinkEvent::Recovered);
            }
            None => {}
        }
        if weather.blackout.is_none() {
            reliable.into_iter().chain(lossy).for_each(until);
        }
        Polled::Until(deadline)
    }

    /// Takes a frame from `end`.
    pub(super) fn send(
        &mut self,
        end: usize,
        frame: &mut Option<Bytes>,
        now: Instant,
        weather: &Weather<'_>,
    ) -> Result<Sent, LinkError> {
        self.ends[end].refuse_if_over(now)?;
        let length = frame.as_ref().map_or(0, Bytes::len);
        if length > weather.config.max_frame {
            let limit = weather.config.max_frame;
            return Err(LinkError::Failed(format!("a frame of {length} bytes; at most {limit} fit")));
        }
        let other = &mut self.ends[1 - end];
        let capacity = weather.config.send_buffer + weather.config.receive_window as usize;
        if other.arriving_bytes > 0 && other.arriving_bytes + length > capacity {
            return Ok(Sent::Full);
        }
        let Some(frame) = frame.take() else { return Ok(Sent::Taken) };
        // Bytes that fell into a stalled link fill its send buffer for ever, as with SCTP.
        other.arriving_bytes += length;
        if !self.stalled && !other.closed {
            let mut arrives =
                other.arriving.back().map_or(now, |(at, _)| *at).max(now + weather.config.delay);
            if let Some(since) = weather.blackout {
                // Not even at the moment it begins does anything pass a blackout.
                arrives = arrives.max(since + Duration::from_nanos(1));
            }
            other.arriving.push_back((arrives, frame));
            other.readable.notify_waiters();
        }
        if let Some(left) = &mut self.frames_left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Ok(Sent::Last);
            }
        }
        Ok(Sent::Taken)
    }

    pub(super) fn send_lossy(
        &mut self,
        end: usize,
        number: u16,
        data: Bytes,
        now: Instant,
        weather: &Weather<'_>,
        rng: &mut StdRng,
    ) {
        let this = &self.ends[end];
        let open = this.streams.contains_key(&number) && this.refuse_if_over(now).is_ok();
        let other = &mut self.ends[1 - end];
        let full = other.lossy_bytes + data.len() > weather.config.send_buffer;
        let Some(stream) = other.streams.get_mut(&number) else { return };
        if !open || full || other.closed || self.stalled || weather.blackout.is_some() {
            return;
        }
        // Each resend comes a round trip later.
        let mut arrives = now + weather.config.delay;
        let mut tries = stream.config.max_retransmits;
        while rng.random_bool(weather.config.loss.clamp(0.0, 1.0)) {
            if tries == 0 {
                return;
            }
            tries -= 1;
            arrives += (weather.config.delay * 2).max(Duration::from_millis(1));
        }
        if stream.config.ordered {
            arrives = stream.last.map_or(arrives, |last| last.max(arrives));
        }
        stream.last = Some(arrives);
        self.sequence += 1;
        other.lossy_bytes += data.len();
        other.lossy.insert((arrives, self.sequence), (number, data));
        other.readable.notify_waiters();
    }

    pub(super) fn open_lossy(&mut self, end: usize, stream: u16, config: LossyConfig) {
        self.ends[end].streams.entry(stream).or_insert(Stream { config, last: None });
    }

    pub(super) fn close_lossy(&mut self, end: usize, stream: u16) {
        self.ends[end].streams.remove(&stream);
    }

    /// `end` closes the link. The other end learns of it, unless nothing gets through.
    pub(super) fn close(&mut self, end: usize, now: Instant, weather: &Weather<'_>) {
        let this = &mut self.ends[end];
        if std::mem::replace(&mut this.closed, true) {
            return;
        }
        this.clear();
        this.wake();
        let was_up = this.down.is_none();
        let other = &mut self.ends[1 - end];
        if was_up && other.is_live() {
            if weather.blackout.is_some() || self.stalled {
                other.deserted = Some(now);
            } else {
                other.lose_underway(now);
                other.down = Some((now + weather.config.delay, LinkError::ClosedByPeer));
            }
            other.wake();
        }
    }

    /// The path is gone and both ends are told at once. What was under way is lost.
    pub(super) fn cut(&mut self, now: Instant) {
        for end in &mut self.ends {
            if end.is_live() {
                end.lose_underway(now);
                end.fail(now, LinkError::Failed("the path was cut".into()));
                end.wake();
            }
        }
    }

    /// The blackout that began at `since` is over: what was held back arrives, or never will.
    pub(super) fn heal(&mut self, since: Instant, now: Instant, config: &MemoryConfig) {
        let held = |end: &End| end.arriving.back().is_some_and(|(at, _)| *at > since);
        if now.saturating_duration_since(since) > config.survives && self.ends.iter().any(held) {
            self.stalled = true;
        }
        for end in &mut self.ends {
            end.lossy.retain(|(at, _), (_, data)| {
                let arrived = *at <= since;
                if !arrived {
                    end.lossy_bytes -= data.len();
                }
                arrived
            });
            if self.stalled {
                end.arriving.retain(|(at, _)| *at <= since);
            }
            for (at, _) in end.arriving.iter_mut().filter(|(at, _)| *at > since) {
                *at = now + config.delay;
            }
        }
    }

    /// Something that every end must look at has changed.
    pub(super) fn wake(&self) {
        self.ends.iter().for_each(End::wake);
    }
}

impl End {
    fn new() -> Self {
        Self {
            arriving: VecDeque::new(),
            arriving_bytes: 0,
            lossy: BTreeMap::new(),
            lossy_bytes: 0,
            streams: BTreeMap::new(),
            down: None,
            told_down: false,
            deserted: None,
            suspected: false,
            closed: false,
            released: false,
            readable: Arc::new(Notify::new()),
            writable: Arc::new(Notify::new()),
        }
    }

    fn is_live(&self) -> bool {
        !self.closed && self.down.is_none()
    }

    fn refuse_if_over(&self, now: Instant) -> Result<(), LinkError> {
        match &self.down {
            _ if self.closed => Err(LinkError::Closed),
            Some((at, reason)) if *at <= now => Err(reason.clone()),
            _ => Ok(()),
        }
    }

    fn fail(&mut self, now: Instant, reason: LinkError) {
        self.down = Some((now, reason));
        self.wake();
    }

    fn lose_underway(&mut self, now: Instant) {
        self.arriving.retain(|(at, _)| *at <= now);
        self.lossy.retain(|(at, _), _| *at <= now);
        self.arriving_bytes = self.arriving.iter().map(|(_, frame)| frame.len()).sum();
        self.lossy_bytes = self.lossy.values().map(|(_, data)| data.len()).sum();
    }

    fn clear(&mut self) {
        self.arriving.clear();
        self.lossy.clear();
        self.streams.clear();
        (self.arriving_bytes, self.lossy_bytes) = (0, 0);
    }

    fn wake(&self) {
        self.readable.notify_waiters();
        self.writable.notify_waiters();
    }
}
