//! The link beneath a session: making one, resuming on it, noticing that it died.
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
//! acknowledged wins, and the other is hung up.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::RngExt as _;

use super::backoff::FOREVER;
use super::handshake::{Hello, Refuse, RefuseCode, Welcome};
use super::session::{DialId, Output, Role, Session};
use super::wire;
use crate::config::SessionLost;
use crate::durable::connection::Rung;
use crate::durable::dialer::DialFailure;
use crate::durable::events::{ChannelEvent, ConnectionEvent, ConnectionState, DisconnectCause};
use crate::error::{CloseReason, DialError, Misbehaviour};
use crate::identity::PublicKey;
use crate::link::{Binding, LinkError};
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
    info: LinkInfo,
    phase: Phase,
    /// Frames that go out before all others.
    pub control: BytesMut,
    pub pong: Option<u64>,
    pub transmitting: bool,
    /// Bytes of packets handed to the link, and how far the peer has them.
    pub sent: u64,
    acked: u64,
    /// Up to here something sent asks for an acknowledgement.
    elicited: u64,
    /// What the peer lets be under way at most, and what we make of that.
    peer_window: u64,
    window: u64,
    /// A packet whose acknowledgement is timed.
    timed: Option<(u64, Instant)>,
    rtt: Option<Duration>,
    limited: bool,
    pub received: u64,
    pub told_received: u64,
    pub ack_at: Option<Instant>,
    pub ack_now: bool,
    /// When the peer last acknowledged something, or something began to wait for it.
    progress: Instant,
    pinged: Option<Instant>,
    idle_ping_at: Instant,
    since: Instant,
    suspect: bool,
    /// A message was received, or acknowledged, over it.
    pub carried: bool,
    pub close_sent: bool,
}

enum Phase {
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
fn charge(bytes: usize) -> u64 {
    bytes.max(512) as u64
}

/// How many bytes may be under way at first; grows with what the path carries.
const FIRST_WINDOW: u64 = 256 << 10;
const LEAST_WINDOW: u64 = 64 << 10;
/// The smallest packets, for paths that need long for a large one.
const LEAST_PACKET: usize = 16 << 10;
/// How long an acknowledgement waits for something to ride on.
pub(super) const ACK_DELAY: Duration = Duration::from_millis(2);
/// How long WELCOME may take on an open link.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);
/// A dial that hangs for this long gets another one beside it.
const HEDGE_AFTER: Duration = Duration::from_secs(8);
/// Dials at once.
const MAX_DIALS: usize = 2;
/// The end that answers a CLOSE waits this long for the other to hang up.
const LINGER: Duration = Duration::from_secs(1);
/// A link that lived for this long, or carried a message, was worth making.
const WORKED: Duration = Duration::from_secs(5);
/// Links in a row that were not may be replaced at once.
const MAX_FRUITLESS: u32 = 30;
/// Frames that may wait for a link that takes none, in bytes.
const MAX_CONTROL: usize = 4096;
/// A host keeps a silent link for this long, in case it recovers.
const SILENT_LINK: Duration = Duration::from_secs(60);

/// `after` from `now`; settings may say "never" by the longest duration.
fn later(now: Instant, after: Duration) -> Instant {
    now + after.min(FOREVER)
}

/// Attempts to make a link.
#[derive(Debug, Default)]
pub(super) struct Dialing {
    dials: VecDeque<(DialId, Instant)>,
    next_dial: u64,
    retry_at: Option<Instant>,
    hedge_at: Option<Instant>,
    /// Attempts since a link was last proven.
    attempts: u32,
    last_error: Option<DialError>,
    /// Links in a row that came about and led nowhere.
    fruitless: u32,
    /// A link was live at some time.
    connected_once: bool,
    /// Host side: when the session of an absent peer is given up.
    parked_until: Option<Instant>,
}

impl Path {
    fn new(id: LinkId, info: LinkInfo, phase: Phase, now: Instant) -> Self {
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
            progress: now,
            pinged: None,
            idle_ping_at: now,
            since: now,
            suspect: false,
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

    fn is_outstanding(&self) -> bool {
        self.acked < self.elicited
    }

    /// A packet arrived: acknowledge soon, or at once if much has arrived since.
    pub(super) fn note_received(&mut self, bytes: usize, elicits: bool, now: Instant) {
        self.received += charge(bytes);
        if elicits {
            self.ack_at.get_or_insert(now + ACK_DELAY);
            let much = u64::from(self.info.receive_window / 8).min(256 << 10);
            self.ack_now |= self.received - self.told_received >= much;
        }
    }

    /// The peer has the first `received` bytes. Returns whether the path proved itself by it.
    fn handle_ack(&mut self, received: u64, now: Instant) -> Result<bool, Misbehaviour> {
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

    // -------------------------------------------------------------- dialing

    /// Dialing side: begins.
    pub(crate) fn start(&mut self, now: Instant) {
        self.attempt(now);
    }

    /// Starts an attempt now, or gives up when they are spent.
    fn attempt(&mut self, now: Instant) {
        if self.role == Role::Acceptor || self.closed.is_some() {
            return;
        }
        self.dialing.retry_at = None;
        if !self.config.backoff.allows(self.dialing.attempts) {
            let last = self.dialing.last_error.take().unwrap_or(DialError::TimedOut);
            let attempts = self.dialing.attempts;
            return self.finish(CloseReason::Unreachable { attempts, last });
        }
        self.dialing.attempts += 1;
        let attempt = self.dialing.attempts;
        self.dial(now);
        if self.dialing.connected_once {
            self.set_state(ConnectionState::Reconnecting { attempt, retry_at: now });
            self.event(ConnectionEvent::Reconnecting { attempt, delay: Duration::ZERO });
        } else {
            self.set_state(ConnectionState::Connecting { attempt });
        }
    }

    /// One more dial beside those under way; the oldest makes room.
    fn dial(&mut self, now: Instant) {
        if self.dialing.dials.len() == MAX_DIALS
            && let Some((oldest, _)) = self.dialing.dials.pop_front()
        {
            self.outputs.push_back(Output::CancelDial(oldest));
        }
        let dial = DialId(self.dialing.next_dial);
        self.dialing.next_dial += 1;
        self.dialing.dials.push_back((dial, now));
        self.dialing.hedge_at = Some(now + HEDGE_AFTER);
        self.outputs.push_back(Output::Dial { dial, attempt: self.dialing.attempts });
    }

    pub(super) fn stop_dialing(&mut self) {
        self.dialing.retry_at = None;
        self.dialing.hedge_at = None;
        let dials = self.dialing.dials.drain(..);
        self.outputs.extend(dials.map(|(dial, _)| Output::CancelDial(dial)));
    }

    /// A dial ended without a link.
    pub(crate) fn handle_dial_failed(&mut self, now: Instant, dial: DialId, failure: DialFailure) -> Whose {
        let before = self.dialing.dials.len();
        self.dialing.dials.retain(|(id, _)| *id != dial);
        if self.dialing.dials.len() == before {
            return Whose::NotOurs;
        }
        let attempt = self.dialing.attempts;
        self.event(ConnectionEvent::AttemptFailed { attempt, error: failure.error.clone() });
        if failure.permanent {
            self.finish(CloseReason::Refused(failure.error));
            return Whose::Ours;
        }
        self.dialing.last_error = Some(failure.error);
        if self.dialing.dials.is_empty() {
            self.wait(now, failure.retry_after);
        }
        Whose::Ours
    }

    /// Waits before the next attempt.
    fn wait(&mut self, now: Instant, at_least: Option<Duration>) {
        if self.closed.is_some() {
            return;
        }
        self.dialing.hedge_at = None;
        if !self.config.backoff.allows(self.dialing.attempts) {
            return self.attempt(now); // gives up
        }
        let attempts = self.dialing.attempts;
        let backoff = self.config.backoff.delay(attempts, &mut self.rng);
        let delay = backoff.max(at_least.unwrap_or_default().min(self.config.backoff.max));
        let retry_at = later(now, delay);
        self.dialing.retry_at = Some(retry_at);
        if self.dialing.connected_once {
            self.set_state(ConnectionState::Reconnecting { attempt: attempts + 1, retry_at });
        }
        self.event(ConnectionEvent::Reconnecting { attempt: attempts + 1, delay });
    }

    /// Whether the driver shall ask for signs that the network answers again.
    pub(crate) fn wants_reachability(&self) -> bool {
        self.dialing.retry_at.is_some()
    }

    /// The network answers again after it did not: no reason to wait any longer.
    pub(crate) fn handle_reachable(&mut self, now: Instant) {
        if self.dialing.retry_at.is_some() {
            self.attempt(now);
        } else if let Some((_, since)) = self.dialing.dials.back()
            && now.saturating_duration_since(*since) > Duration::from_millis(500)
        {
            // The attempt under way began in a dead network and may hang in it.
            self.dial(now);
        }
    }

    /// The application wants a new link now.
    pub(crate) fn reconnect_now(&mut self, now: Instant) {
        if self.role == Role::Acceptor || self.closed.is_some() || !self.dialing.dials.is_empty() {
            return;
        }
        self.changed = true;
        if self.path.is_some() {
            self.mark_suspect(now, DisconnectCause::Requested);
        } else {
            self.attempt(now);
        }
    }

    // -------------------------------------------------------------- the link

    /// Whether the link that a dial led to is still of use.
    pub(crate) fn wants_link(&self, dial: DialId) -> bool {
        self.closed.is_none() && self.dialing.dials.iter().any(|(id, _)| *id == dial)
    }

    /// Dialing side: a dial led to a link with the owner of `peer`.
    pub(crate) fn handle_link_up(
        &mut self,
        now: Instant,
        dial: DialId,
        link: LinkId,
        info: LinkInfo,
        peer: PublicKey,
    ) -> Whose {
        let wanted = self.dialing.dials.iter().any(|(id, _)| *id == dial);
        self.dialing.dials.retain(|(id, _)| *id != dial);
        if !wanted || self.closed.is_some() {
            self.outputs.push_back(Output::Hangup(link));
            return Whose::NotOurs;
        }
        if self.peer.is_some_and(|known| known != peer) {
            self.outputs.push_back(Output::Hangup(link));
            let error = DialError::Impersonation("the service has another owner than before".into());
            self.finish(CloseReason::Refused(error));
            return Whose::NotOurs;
        }
        self.peer = Some(peer);
        self.stop_dialing();
        self.drop_path();
        let nonce = self.rng.random();
        let terms = self.terms(info.receive_window);
        let secret = self.secret.as_ref();
        let (frame, hello) =
            Hello::encode(&self.identity, peer, self.id, secret, nonce, info.binding, &terms);
        let deadline = now + WELCOME_TIMEOUT;
        let mut path = Path::new(link, info, Phase::Resuming { hello, deadline }, now);
        path.control = frame;
        self.path = Some(path);
        Whose::Ours
    }

    /// Accepting side: a link came with a HELLO for this session whose signature and proof are good.
    /// `body` is its signed text, `received` the size of the packet it came in.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn handle_adopted(
        &mut self,
        now: Instant,
        link: LinkId,
        info: LinkInfo,
        hello: &Hello,
        body: &[u8],
        received: usize,
        resumed: bool,
    ) -> Result<(), Misbehaviour> {
        if self.closed.is_some() {
            self.outputs.push_back(Output::Hangup(link));
            return Ok(());
        }
        if self.path.is_some() && self.down_since.is_none() {
            self.lose(now, DisconnectCause::Replaced);
        }
        self.drop_path();
        self.path = Some(Path::new(link, info, Phase::Live, now));
        let welcome = Welcome {
            session: self.id,
            resumed,
            secret: self.secret.clone().expect("an acceptor is made with a secret"),
            terms: self.terms(info.receive_window),
        };
        let frame = welcome.encode(&self.identity, info.binding, body);
        if let Some(path) = &mut self.path {
            path.control = frame;
            path.received = charge(received);
        }
        let replayed = self.apply(&hello.terms, now)?;
        self.live(now, resumed, replayed);
        Ok(())
    }

    /// WELCOME: the session goes on over this link, or begins.
    pub(super) fn handle_welcome(&mut self, now: Instant, body: &Bytes) -> Result<(), Misbehaviour> {
        let Some(Path { phase: Phase::Resuming { hello, .. }, info, .. }) = &self.path else {
            return Err(Misbehaviour::OutOfPlace);
        };
        let peer = self.peer.ok_or(Misbehaviour::OutOfPlace)?;
        let welcome = Welcome::decode(body, info.binding, hello, peer)?;
        let known = self.secret.is_some();
        if welcome.session != self.id || (known && !welcome.resumed) {
            return Err(Misbehaviour::OutOfPlace);
        }
        self.secret = Some(welcome.secret.clone());
        let replayed = self.apply(&welcome.terms, now)?;
        if let Some(path) = &mut self.path {
            path.phase = Phase::Live;
        }
        self.live(now, known, replayed);
        Ok(())
    }

    /// REFUSE: this link leads nowhere, and perhaps none will.
    pub(super) fn handle_refuse(&mut self, now: Instant, body: &Bytes) -> Result<(), Misbehaviour> {
        let Some(Path { phase: Phase::Resuming { hello, .. }, info, .. }) = &self.path else {
            return Err(Misbehaviour::OutOfPlace);
        };
        let peer = self.peer.ok_or(Misbehaviour::OutOfPlace)?;
        let refuse = Refuse::decode(body, info.binding, hello, peer)?;
        self.drop_path();
        match refuse.code {
            RefuseCode::Closed => self.finish(CloseReason::Peer),
            RefuseCode::Version => {
                let error = DialError::Version { ours: wire::VERSION, theirs: refuse.text };
                self.finish(CloseReason::Refused(error));
            }
            RefuseCode::UnknownSession => self.session_lost(now),
            RefuseCode::Full => {
                self.dialing.last_error = Some(DialError::HostFull);
                self.wait(now, None);
            }
            RefuseCode::Rejected => {
                self.finish(CloseReason::Refused(DialError::Misbehaviour(Misbehaviour::BadProof)));
            }
        }
        Ok(())
    }

    /// The host has forgotten the session.
    fn session_lost(&mut self, now: Instant) {
        let unacked = self.unacked();
        if self.config.on_session_lost == SessionLost::Fail || self.closing.is_some() {
            return self.finish(CloseReason::SessionLost { unacked });
        }
        self.event(ConnectionEvent::SessionLost { unacked });
        self.id = super::SessionId(self.rng.random());
        self.secret = None;
        self.by_half.clear();
        self.last_peer_half = 0;
        let ids: Vec<_> = self.channels.keys().copied().collect();
        for id in ids {
            let Some(channel) = self.channels.get_mut(&id) else { continue };
            channel.outbox.restart();
            channel.restart();
            channel.signals.settled.notify_waiters();
            channel.signals.readable.wake();
        }
        self.attempt(now);
    }

    /// Takes over what the other side says of itself. Returns how many messages go out again.
    fn apply(&mut self, terms: &super::handshake::Terms, now: Instant) -> Result<u64, Misbehaviour> {
        self.peer_max_message = terms.max_message;
        if let Some(path) = &mut self.path {
            path.peer_window = u64::from(terms.link_window).max(LEAST_WINDOW);
        }
        let max_message = terms.max_message;
        let mut replayed = 0;
        let since = Some(self.down_since.unwrap_or(now));
        let ids: Vec<_> = self.channels.keys().copied().collect();
        for id in ids {
            let Some(channel) = self.channels.get_mut(&id) else { continue };
            // Taken before the peer said how large a message it takes.
            channel.outbox.drop_larger(max_message);
            let Some(cursor) = terms.cursors.iter().find(|cursor| cursor.half == id.0) else {
                if id.0 <= terms.max_half {
                    channel.outbox.forget_all();
                    channel.signals.settled.notify_waiters();
                    self.reap(id);
                } else {
                    // It has not heard of the channel, so nothing of it has arrived.
                    let superseded = channel.outbox.settle();
                    self.note_superseded(id, superseded);
                    self.expire_channel(id, now, since, true);
                }
                continue;
            };
            let waiting = channel.outbox.waiting().messages;
            let resumed = channel.outbox.resume(cursor.consumed, cursor.received, cursor.window)?;
            replayed += resumed.replayed;
            if channel.outbox.waiting().messages + (resumed.superseded as usize) < waiting {
                // The last link carried something, though it did not live to hear of it.
                self.dialing.fruitless = 0;
            }
            self.note_superseded(id, resumed.superseded);
            self.expire_channel(id, now, since, true);
            if let Some(channel) = self.channels.get(&id) {
                channel.signals.settled.notify_waiters();
                channel.signals.writable.notify_waiters();
            }
        }
        self.counters.replayed += replayed;
        Ok(replayed)
    }

    fn live(&mut self, now: Instant, resumed: bool, replayed: u64) {
        let after =
            self.down_since.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if self.dialing.connected_once {
            self.counters.reconnects += 1;
        }
        self.dialing.connected_once = true;
        self.dialing.parked_until = None;
        self.set_state(ConnectionState::Connected);
        self.event(ConnectionEvent::Connected { resumed, replayed, after });
        let ids: Vec<_> = self.channels.keys().copied().collect();
        ids.into_iter().for_each(|id| self.open_lossy(id));
        // The first acknowledged probe proves the link, and resets the backoff.
        self.ping(now);
    }

    /// The link says that it ended.
    pub(crate) fn handle_link_down(&mut self, now: Instant, link: LinkId, error: LinkError) -> Whose {
        if self.path.as_ref().is_none_or(|path| path.id != link) {
            return Whose::NotOurs;
        }
        self.path_lost(now, DisconnectCause::LinkDown(error.clone()), DialError::Link(error));
        Whose::Ours
    }

    /// The peer broke the protocol: its link is closed, and for a dialer that is a failed attempt.
    pub(crate) fn handle_misbehaviour(&mut self, now: Instant, misbehaviour: Misbehaviour) {
        tracing::warn!(session = %self.id, %misbehaviour, "the peer broke the protocol; its link is closed");
        self.path_lost(now, DisconnectCause::Misbehaviour(misbehaviour.clone()), misbehaviour.into());
    }

    fn path_lost(&mut self, now: Instant, cause: DisconnectCause, error: DialError) {
        let Some(path) = &self.path else { return };
        let (resuming, lingering) = (matches!(path.phase, Phase::Resuming { .. }), path.is_lingering());
        let worked = path.carried || now.saturating_duration_since(path.since) >= WORKED;
        // Both closed at once, and the peer hung up before our CLOSE was through the stack: it is
        // over all the same, and a peer that has not heard it comes back to a closed session. The
        // dialer has nobody who comes back, so it goes and asks.
        let parted = self.closing.is_some() && path.close_sent && self.role == Role::Acceptor;
        self.drop_path();
        if self.closed.is_some() || lingering {
            return;
        }
        if parted {
            return self.finish(CloseReason::Local);
        }
        if resuming {
            let attempt = self.dialing.attempts;
            self.event(ConnectionEvent::AttemptFailed { attempt, error: error.clone() });
        } else if self.down_since.is_none() {
            self.lose(now, cause);
        }
        self.park(now);
        if self.role == Role::Dialer && self.dialing.dials.is_empty() {
            self.dialing.last_error = Some(error);
            self.dialing.fruitless = if worked { 0 } else { self.dialing.fruitless + 1 };
            if resuming || self.dialing.fruitless > MAX_FRUITLESS {
                // Links that come about and lead nowhere are failed attempts, too: no tight loop.
                let fruitless = self.dialing.fruitless.saturating_sub(MAX_FRUITLESS);
                self.dialing.attempts = self.dialing.attempts.max(fruitless);
                self.wait(now, None);
            } else {
                self.attempt(now);
            }
        }
    }

    /// There was a healthy link, and now there is none.
    fn lose(&mut self, now: Instant, cause: DisconnectCause) {
        self.down_since = Some(now);
        self.event(ConnectionEvent::Disconnected { cause });
    }

    /// Host side: waits for the peer to come back.
    fn park(&mut self, now: Instant) {
        if self.role == Role::Acceptor && self.closed.is_none() {
            let retry_at = *self.dialing.parked_until.get_or_insert(later(now, self.config.park_for));
            self.set_state(ConnectionState::Reconnecting { attempt: 0, retry_at });
        }
    }

    /// Forgets the link and lets what was on its way wait again.
    pub(super) fn drop_path(&mut self) {
        let Some(path) = self.path.take() else { return };
        self.outputs.push_back(Output::Hangup(path.id));
        for channel in self.channels.values_mut() {
            channel.outbox.rewind();
            if let Some(inbox) = &mut channel.inbox {
                inbox.rewind();
            }
        }
    }

    // ------------------------------------------------------------- liveness

    pub(super) fn ping(&mut self, now: Instant) {
        let number = self.counters.probes;
        if let Some(path) = &mut self.path {
            path.pinged = Some(now);
            // While the link takes nothing, more of them would only pile up.
            if path.control.len() < MAX_CONTROL {
                wire::put_ping(&mut path.control, number);
                self.counters.probes += 1;
            }
        }
    }

    /// The path beneath a link looks dead or alive, as the link says. Never believed: probed.
    pub(crate) fn handle_path_news(&mut self, now: Instant, link: LinkId, alive: bool) -> Whose {
        match &self.path {
            Some(path) if path.id == link && path.is_live() => {}
            _ => return Whose::NotOurs,
        }
        self.ping(now);
        if alive {
            self.handle_reachable(now);
        }
        Whose::Ours
    }

    /// The peer acknowledged bytes of packets: the path is alive.
    pub(super) fn handle_link_ack(&mut self, now: Instant, received: u64) -> Result<(), Misbehaviour> {
        let idle = self.config.liveness.idle_probe;
        let jitter = 1.0 - 0.2 * self.rng.random::<f64>();
        let Some(path) = &mut self.path else { return Ok(()) };
        if !path.handle_ack(received, now)? {
            return Ok(());
        }
        path.idle_ping_at = later(now, idle.min(FOREVER).mul_f64(jitter));
        self.confirmed = true;
        // Evidence of health, which an opened link alone is not.
        self.dialing.attempts = 0;
        self.dialing.last_error = None;
        if std::mem::take(&mut path.suspect) {
            self.stop_dialing();
            self.counters.reconnects += 1;
            let after =
                self.down_since.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            self.dialing.parked_until = None;
            self.set_state(ConnectionState::Connected);
            self.event(ConnectionEvent::Connected { resumed: true, replayed: 0, after });
        }
        Ok(())
    }

    /// The path is taken for dead: a fresh link is dialed beside it.
    fn mark_suspect(&mut self, now: Instant, cause: DisconnectCause) {
        let Some(path) = &mut self.path else { return };
        if std::mem::replace(&mut path.suspect, true) {
            return;
        }
        self.lose(now, cause);
        self.park(now);
        self.attempt(now);
    }

    fn suspect_after(&self, path: &Path) -> Duration {
        let slow = path.rtt.map_or(Duration::ZERO, |rtt| (rtt * 3).min(Duration::from_secs(10)));
        self.config.liveness.suspect_after.max(slow)
    }

    // --------------------------------------------------------------- timers

    /// The earliest time at which something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let own = [self.closing, self.dialing.retry_at, self.dialing.hedge_at];
        let open = self.closed.is_none().then(|| [self.dialing.parked_until, self.expiry()]);
        let path = self.path.as_ref().map(|path| self.path_deadline(path));
        own.into_iter().chain(open.into_iter().flatten()).flatten().chain(path).min()
    }

    fn path_deadline(&self, path: &Path) -> Instant {
        match path.phase {
            Phase::Resuming { deadline, .. } | Phase::Lingering { deadline } => deadline,
            Phase::Live => {
                let dead = (path.is_outstanding() && !path.suspect)
                    .then(|| later(path.progress, self.suspect_after(path)));
                let silent =
                    (self.role == Role::Acceptor && path.suspect).then(|| path.progress + SILENT_LINK);
                let others = [path.ack_at, dead, silent].into_iter().flatten();
                others.fold(self.next_probe(path), Instant::min)
            }
        }
    }

    fn next_probe(&self, path: &Path) -> Instant {
        if path.is_outstanding() {
            later(path.pinged.unwrap_or(path.progress).max(path.progress), self.config.liveness.busy_probe)
        } else {
            path.idle_ping_at.max(later(path.since, self.config.liveness.busy_probe))
        }
    }

    /// Something is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.closing) {
            self.close_anyway(now);
        }
        if self.closed.is_none() && due(self.dialing.parked_until) {
            self.finish(CloseReason::Expired(self.config.park_for));
        }
        if due(self.dialing.retry_at) {
            self.attempt(now);
        }
        if due(self.dialing.hedge_at) {
            self.dial(now);
        }
        if self.closed.is_none() && due(self.expiry()) {
            self.expire(now);
        }
        self.path_timeout(now);
    }

    fn path_timeout(&mut self, now: Instant) {
        let Some(path) = &self.path else { return };
        match &path.phase {
            Phase::Resuming { deadline, .. } if *deadline <= now => {
                self.path_lost(now, DisconnectCause::PathDead, DialError::TimedOut);
            }
            Phase::Lingering { deadline } if *deadline <= now => self.drop_path(),
            Phase::Live => {
                let probe = self.next_probe(path) <= now;
                let suspect = path.is_outstanding()
                    && !path.suspect
                    && later(path.progress, self.suspect_after(path)) <= now;
                let silent =
                    self.role == Role::Acceptor && path.suspect && path.progress + SILENT_LINK <= now;
                let ack = path.ack_at.is_some_and(|at| at <= now);
                if let Some(path) = &mut self.path
                    && ack
                {
                    path.ack_now = true;
                }
                if silent {
                    return self.path_lost(now, DisconnectCause::PathDead, DialError::TimedOut);
                }
                if probe {
                    self.ping(now);
                }
                if suspect {
                    self.mark_suspect(now, DisconnectCause::PathDead);
                }
            }
            _ => {}
        }
    }

    // --------------------------------------------------------------- expiry

    /// When the next queued message is too old, which none is while there is a link, or passes
    /// its own deadline, which it does with a link as well.
    fn expiry(&self) -> Option<Instant> {
        let aged = |channel: &super::channel::Channel| {
            channel.outbox.expires_at(channel.queue.max_age?, self.down_since?)
        };
        let channels = self.channels.values();
        channels.flat_map(|channel| [aged(channel), channel.outbox.deadline()]).flatten().min()
    }

    /// Whether a message has passed its own deadline.
    pub(super) fn is_expiry_due(&self, now: Instant) -> bool {
        self.channels.values().any(|channel| channel.outbox.deadline().is_some_and(|at| at <= now))
    }

    pub(super) fn expire(&mut self, now: Instant) {
        let since = self.down_since;
        let ids: Vec<_> = self.channels.keys().copied().collect();
        ids.into_iter().for_each(|id| self.expire_channel(id, now, since, false));
    }

    /// `since` is when the link was lost, `resumed` whether the peer has said where it stopped.
    fn expire_channel(&mut self, id: super::ChannelId, now: Instant, since: Option<Instant>, resumed: bool) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let mut expired = channel.outbox.expire_due(now);
        if let (Some(since), Some(max_age)) = (since, channel.queue.max_age) {
            expired += channel.outbox.expire(now, max_age, since, resumed);
        }
        self.note_expired(id, expired);
    }

    fn note_superseded(&mut self, id: super::ChannelId, count: u64) {
        if count == 0 {
            return;
        }
        self.counters.superseded += count;
        if let Some(channel) = self.channels.get(&id) {
            channel.signals.events.publish(ChannelEvent::Superseded { count });
            channel.signals.settled.notify_waiters();
        }
    }

    fn note_expired(&mut self, id: super::ChannelId, count: u64) {
        if count == 0 {
            return;
        }
        self.counters.expired += count;
        if let Some(channel) = self.channels.get(&id) {
            channel.signals.events.publish(ChannelEvent::Expired { count });
            channel.signals.settled.notify_waiters();
            channel.signals.writable.notify_waiters();
        }
    }

    // -------------------------------------------------------------- closing

    /// Closes for good: what is queued still goes out if it can before `close_timeout` ends.
    pub(crate) fn close(&mut self, now: Instant) {
        if self.closed.is_some() || self.closing.is_some() {
            return;
        }
        self.changed = true;
        // With a HELLO on its way there may be a session at the host, which has to be told.
        if !self.dialing.connected_once && self.path.is_none() {
            return self.finish(CloseReason::Local);
        }
        self.closing = Some(later(now, self.config.close_timeout));
        for channel in self.channels.values() {
            channel.signals.wake_all();
        }
    }

    /// The time to hand over what is queued is over. The peer is told all the same: it must not
    /// take the end for an accident.
    fn close_anyway(&mut self, now: Instant) {
        if let Some(path) = self.path.as_mut().filter(|path| path.is_live() && !path.close_sent) {
            wire::put_close(&mut path.control);
            path.phase = Phase::Lingering { deadline: now + LINGER };
        }
        self.finish(CloseReason::Local);
    }

    /// Ends at once, without telling the peer.
    pub(crate) fn abort(&mut self, reason: CloseReason) {
        self.changed = true;
        self.finish(reason);
    }

    /// Ends at once because the attempts so far are all the caller had time for.
    pub(crate) fn give_up(&mut self) -> CloseReason {
        let last = self.dialing.last_error.clone().unwrap_or(DialError::TimedOut);
        self.abort(CloseReason::Unreachable { attempts: self.dialing.attempts, last });
        self.closed.clone().unwrap_or(CloseReason::Local)
    }

    /// Whether everything queued was handed to the link, so that CLOSE may follow it.
    pub(super) fn is_ready_to_close(&self) -> bool {
        self.closing.is_some() && self.channels.values().all(|channel| channel.outbox.is_transmitted())
    }

    /// The peer closed the session, or confirms that we did.
    pub(super) fn handle_close(&mut self, now: Instant) {
        let confirmed = self.closing.is_some_and(|_| self.path.as_ref().is_some_and(|path| path.close_sent));
        let Some(path) = &mut self.path else { return };
        if confirmed {
            return self.finish(CloseReason::Local);
        }
        wire::put_close(&mut path.control);
        path.phase = Phase::Lingering { deadline: now + LINGER };
        let reason = if self.closing.is_some() { CloseReason::Local } else { CloseReason::Peer };
        self.finish(reason);
    }
}
