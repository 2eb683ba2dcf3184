//! What is under way on the link beneath a session: windows, acknowledgements, round trips.
//!
//! ```text
//!            start            up              WELCOME
//!   Idle ───────────► Dialing ───► Resuming ──────────► Live
//!                      ▲  │ failed     │ down/timeout     │ down / dead
//!            retry_at  │  ▼            ▼                  ▼
//!                     Waiting{retry_at} ◄─────────────────┘   (the acceptor parks until a HELLO)
//! ```
//!
//! A new link is dialed while the old one is only suspect; whichever first carries something
//! acknowledged wins, and the other is hung up. Making links is in `dialing`, HELLO and WELCOME in
//! `resume`, probes in `liveness`, a link's end in `loss`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::network::Question;
use super::session::{Output, Session};
use crate::durable::connection::Rung;
use crate::error::Misbehaviour;
use crate::link::Binding;
use crate::runtime::Instant;

/// Names one link of a session; later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(pub u64);

/// What the core has to know of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkInfo {
    pub binding: Binding,
    pub max_frame: usize,
    pub receive_window: u32,
}

/// Late news of a link that was replaced is a value, not an accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    Ours,
    NotOurs,
}

/// A link and what is under way on it.
pub(super) struct Path {
    pub id: LinkId,
    pub info: LinkInfo,
    pub phase: Phase,
    /// Frames that go out before all others.
    pub control: BytesMut,
    pub pong: Option<u64>,
    pub transmitting: bool,
    /// Bytes of packets handed to the link, and how far the peer has them.
    pub sent: u64,
    pub acked: u64,
    /// Up to here something sent asks for an acknowledgement.
    pub elicited: u64,
    /// What the peer lets be under way at most, and what we make of that.
    pub peer_window: u64,
    pub window: u64,
    /// A packet whose acknowledgement is timed.
    pub timed: Option<(u64, Instant)>,
    pub rtt: Option<Duration>,
    pub limited: bool,
    pub received: u64,
    pub told_received: u64,
    pub ack_at: Option<Instant>,
    pub ack_now: bool,
    /// When the first packet arrived that was not told of, and the last of those that ask for it.
    pub untold_since: Instant,
    pub arrived: Instant,
    /// When the peer last acknowledged something, or something began to wait for it.
    pub progress: Instant,
    /// When the path beneath last proved itself, if the link can tell.
    pub heard: Option<Instant>,
    /// The latest round trips, the oldest overwritten next.
    pub round_trips: [Duration; 16],
    pub timings: usize,
    pub pinged: Option<Instant>,
    pub idle_ping_at: Instant,
    pub since: Instant,
    pub suspect: bool,
    /// The network changed beneath it, and it has not answered since.
    pub question: Option<Question>,
    /// It was brought to new addresses, and has not answered since.
    pub restarted: bool,
    /// A message was received, or acknowledged, over it.
    pub carried: bool,
    pub close_sent: bool,
}

pub(super) enum Phase {
    /// HELLO is out.
    Resuming {
        hello: Bytes,
        deadline: Instant,
    },
    Live,
    /// CLOSE was answered: the other end hangs up.
    Lingering {
        deadline: Instant,
    },
}

/// What a packet counts in the windows of the link: its bytes, and at least this many, since each
/// also takes a number and a place in the buffers beneath, which are bounded, too.
pub(super) fn charge(bytes: usize) -> u64 {
    bytes.max(512) as u64
}

/// How many bytes may be under way at first; grows with what the path carries.
const FIRST_WINDOW: u64 = 256 << 10;
pub(super) const LEAST_WINDOW: u64 = 64 << 10;
/// The smallest packets, for paths that need long for a large one.
const LEAST_PACKET: usize = 16 << 10;
/// How long an acknowledgement waits for something to ride on.
pub(super) const ACK_DELAY: Duration = Duration::from_millis(2);
/// In the middle of a stream an acknowledgement is no news to anybody and costs both ends a packet and
/// a wake-up. So when this much is to be acknowledged, it waits for a pause in what arrives …
const STREAM: u64 = 32 << 10;
const PAUSE: Duration = Duration::from_millis(5);
/// … but no longer than this, nor beyond that many bytes.
const LONGEST_ACK_DELAY: Duration = Duration::from_millis(16);
const MOST_UNTOLD: u64 = 512 << 10;

impl Path {
    pub(super) fn new(id: LinkId, info: LinkInfo, phase: Phase, now: Instant) -> Self {
        Self {
            id,
            info,
            phase,
            control: BytesMut::new(),
            pong: None,
            transmitting: false,
            sent: 0,
            acked: 0,
            elicited: 0,
            peer_window: u64::from(u32::MAX),
            window: FIRST_WINDOW,
            timed: None,
            rtt: None,
            limited: false,
            received: 0,
            told_received: 0,
            ack_at: None,
            ack_now: false,
            untold_since: now,
            arrived: now,
            progress: now,
            heard: None,
            round_trips: [Duration::MAX; 16],
            timings: 0,
            pinged: None,
            idle_ping_at: now,
            since: now,
            suspect: false,
            question: None,
            restarted: false,
            carried: false,
            close_sent: false,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live)
    }

    pub(super) fn is_lingering(&self) -> bool {
        matches!(self.phase, Phase::Lingering { .. })
    }

    /// The largest packet to send now.
    pub(super) fn packet_limit(&self) -> usize {
        self.info.max_frame.min(LEAST_PACKET.max(self.window as usize / 4))
    }

    /// Whether another packet of data may be under way.
    pub(super) fn has_room(&mut self) -> bool {
        let room = self.sent - self.acked < self.window.min(self.peer_window);
        self.limited |= !room;
        room
    }

    /// A packet was handed to the link.
    pub(super) fn note_sent(&mut self, bytes: usize, elicits: bool, now: Instant) {
        if elicits {
            if !self.is_outstanding() {
                self.progress = now;
            }
            self.elicited = self.sent + charge(bytes);
            if self.timed.is_none() {
                self.timed = Some((self.elicited, now));
            }
        }
        self.sent += charge(bytes);
        self.transmitting = true;
    }

    pub(super) fn is_outstanding(&self) -> bool {
        self.acked < self.elicited
    }

    /// A packet arrived: acknowledge soon, or at once if much has arrived since.
    pub(super) fn note_received(&mut self, bytes: usize, elicits: bool, now: Instant) {
        if self.received == self.told_received {
            self.untold_since = now;
        }
        self.received += charge(bytes);
        if elicits {
            self.arrived = now;
            self.ack_at.get_or_insert(now + ACK_DELAY);
            let much = u64::from(self.info.receive_window / 8).min(MOST_UNTOLD);
            self.ack_now |= self.received - self.told_received >= much;
        }
    }

    /// The time of an acknowledgement has come: it goes out, or is put off while a stream goes on.
    pub(super) fn handle_ack_due(&mut self, now: Instant) {
        let streams = self.received - self.told_received >= STREAM;
        let put_off = (self.arrived + PAUSE).min(self.untold_since + LONGEST_ACK_DELAY);
        // Otherwise due once: a link that takes nothing now shall not keep the timer busy.
        self.ack_at = (streams && put_off > now).then_some(put_off);
        self.ack_now |= self.ack_at.is_none();
    }

    /// The peer has the first `received` bytes. Returns whether the path proved itself by it.
    pub(super) fn handle_ack(&mut self, received: u64, now: Instant) -> Result<bool, Misbehaviour> {
        if received > self.sent {
            return Err(Misbehaviour::AckOfUnsent(received));
        }
        if received <= self.acked {
            return Ok(false);
        }
        self.acked = received;
        self.progress = now;
        self.pinged = None;
        if let Some((at, since)) = self.timed
            && received >= at
        {
            self.timed = None;
            let rtt = now.saturating_duration_since(since);
            self.rtt = Some(self.rtt.map_or(rtt, |old| (old * 7 + rtt) / 8));
            self.round_trips[self.timings % self.round_trips.len()] = rtt;
            self.timings += 1;
            // Under way shall be what the path carries in a quarter of a second: more adds delay
            // to everything behind it, less leaves a long path idle.
            if rtt > Duration::from_secs(1) {
                self.window = (self.window / 2).max(LEAST_WINDOW);
            } else if self.limited && rtt < Duration::from_millis(250) {
                self.window = (self.window * 2).min(self.peer_window.max(LEAST_WINDOW));
            }
            self.limited = false;
        }
        Ok(true)
    }
}

impl Session {
    /// How the session is linked.
    pub(crate) fn rung(&self) -> Rung {
        match &self.path {
            Some(path) if path.suspect => Rung::Suspect,
            Some(path) if path.is_live() => Rung::Live,
            _ => Rung::None,
        }
    }

    /// The smoothed round trip of the link.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.path.as_ref().and_then(|path| path.rtt)
    }

    /// The least of the last round trips of the link: without the stalls of a stream.
    pub(crate) fn least_rtt(&self) -> Duration {
        let path = self.path.as_ref().filter(|path| path.timings > 0);
        path.and_then(|path| path.round_trips.iter().min().copied()).unwrap_or_default()
    }

    /// Forgets the link and lets what was on its way wait again.
    pub(super) fn drop_path(&mut self) {
        let Some(path) = self.path.take() else { return };
        self.outputs.push_back(Output::Hangup(path.id));
        for channel in self.channels.values_mut() {
            channel.outbox.rewind();
            if let Some(inbox) = &mut channel.inbox {
                inbox.rewind();
                if self.saving.is_some() {
                    inbox.watch();
                }
            }
        }
    }
}
