//! One durable connection, as a pure machine: what happens goes in by `handle_*`, what the
//! application wants by plain verbs, and what is to be done comes out of [`Session::poll_output`].
//!
//! **After every `handle_*` or command, drain `poll_output` until it returns `Timeout` before
//! waiting again.** Time and chance are arguments.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::accept::Known;
use super::channel::{Channel, ChannelId};
use super::dialing::Dialing;
use super::handshake::{Hello, Incarnation, Resume, SessionId, SessionSecret, Terms};
use super::inbox::Bounds;
use super::messages::SMOOTHING;
use super::path::{LinkId, Path};
use super::recovery::Recoveries;
use super::saving::{Saving, Undelivered};
use crate::collections::BTreeMap;
use crate::config::{ConnectionConfig, Priority};
use crate::durable::events::{ChannelEvent, ConnectionEvent, ConnectionState};
use crate::error::CloseReason;
use crate::identity::{Identity, PublicKey};
use crate::link::LossyConfig;
use crate::message::Utf8Bytes;
use crate::runtime::Instant;
use crate::runtime::sync::Notify;
use crate::store::Batch;

/// What the driver has to do.
#[derive(Debug)]
pub(crate) enum Output {
    /// Hand one packet to the link; then [`Session::handle_sent`].
    Transmit { link: LinkId, packet: BytesMut },
    /// Try to make a link, beside what is there; then `handle_link_up` or `handle_dial_failed`.
    Dial { dial: DialId, attempt: u32 },
    /// The attempt is no longer wanted.
    CancelDial(DialId),
    /// Try to bring the link to new addresses; [`Session::handle_moved`] when it was.
    Restart(LinkId),
    /// Close the link and forget it.
    Hangup(LinkId),
    /// Open a lossy stream on the link.
    OpenLossy { link: LinkId, stream: u16, config: LossyConfig },
    /// Close a lossy stream on the link.
    CloseLossy { link: LinkId, stream: u16 },
    /// Send one message on a lossy stream of the link, if it takes it.
    SendLossy { link: LinkId, stream: u16, data: BytesMut },
    /// Tell the application.
    Event(ConnectionEvent),
    /// Make durable, then [`Session::handle_stored`]. There is one at a time.
    Store(Batch),
    /// Tell the application what the connection is now.
    State(ConnectionState),
    /// Drained. Come back at this time at the latest.
    Timeout(Option<Instant>),
}

/// Names one attempt to make a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DialId(pub u64);

/// Which side of the session this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Makes the links.
    Dialer,
    /// Waits for them.
    Acceptor,
}

/// Figures of a connection since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub packets_sent: u64,
    pub messages_received: u64,
    pub replayed: u64,
    pub deduplicated: u64,
    pub expired: u64,
    pub overflowed: u64,
    pub superseded: u64,
    pub reconnects: u64,
    pub probes: u64,
}

pub(crate) struct Session {
    pub(super) role: Role,
    pub(super) config: ConnectionConfig,
    pub(super) identity: Identity,
    pub(super) peer: Option<PublicKey>,
    pub(super) rng: StdRng,
    pub(super) id: SessionId,
    /// Known once the session was welcomed.
    pub(super) secret: Option<SessionSecret>,
    /// The peer has acknowledged something, so it has the secret.
    pub(super) confirmed: bool,
    /// The largest message the peer takes.
    pub(super) peer_max_message: u64,

    pub(super) channels: BTreeMap<ChannelId, Channel>,
    /// The channel for each half of the peer's.
    pub(super) by_half: BTreeMap<u32, ChannelId>,
    pub(super) by_label: BTreeMap<Utf8Bytes, ChannelId>,
    /// Opened by the peer and not claimed yet.
    pub(super) incoming: VecDeque<ChannelId>,
    pub(super) last_half: u32,
    pub(super) last_peer_half: u32,
    /// Where the next packet begins to look in each lane, so that every channel gets its turn.
    pub(super) turns: [ChannelId; Priority::LANES],

    pub(super) path: Option<Path>,
    pub(super) dialing: Dialing,
    pub(super) closing: Option<Instant>,
    pub(super) closed: Option<CloseReason>,
    pub(super) state: ConnectionState,
    /// Since when there is no healthy link.
    pub(super) down_since: Option<Instant>,
    pub(super) recoveries: Recoveries,
    /// Of this process, if it dials.
    pub(super) incarnation: Incarnation,
    /// At a host: those of the peer that had the session, the present one last.
    pub(super) incarnations: VecDeque<Incarnation>,
    pub(super) counters: Counters,
    pub(super) outputs: VecDeque<Output>,
    /// Wakes the driver.
    pub(super) changed: bool,
    pub(super) accepts: Arc<Notify>,
    /// With a store.
    pub(super) saving: Option<Saving>,
    /// Leaves as soon as everything is stored.
    pub(super) detaching: bool,
    /// A link was live in this process.
    pub(super) linked: bool,
    /// It comes from a store, and the peer has not confirmed it yet.
    pub(super) restored: bool,
    /// The store failed, and the session goes on without it.
    pub(super) forsaken: bool,
    /// Given up with sessions that were lost.
    pub(super) undelivered: Vec<Undelivered>,
}

impl Session {
    /// The side that makes the links; [`start`](Session::start) it.
    pub(crate) fn dialer(identity: Identity, config: ConnectionConfig, now: Instant, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let id = SessionId(rand::RngExt::random(&mut rng));
        let peer = config.expect_peer;
        Self::new(Role::Dialer, identity, peer, id, None, config, now, rng)
    }

    /// The side that waits for links, beginning with one whose HELLO was accepted.
    pub(crate) fn acceptor(
        identity: Identity,
        peer: PublicKey,
        id: SessionId,
        secret: SessionSecret,
        config: ConnectionConfig,
        now: Instant,
        seed: u64,
    ) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self::new(Role::Acceptor, identity, Some(peer), id, Some(secret), config, now, rng)
    }

    #[allow(clippy::too_many_arguments)]
    fn new(
        role: Role,
        identity: Identity,
        peer: Option<PublicKey>,
        id: SessionId,
        secret: Option<SessionSecret>,
        config: ConnectionConfig,
        now: Instant,
        rng: StdRng,
    ) -> Self {
        Self {
            role,
            incarnation: Incarnation([0; 16]),
            peer_max_message: config.max_message as u64,
            config,
            identity,
            peer,
            rng,
            id,
            secret,
            confirmed: false,
            channels: BTreeMap::new(),
            by_half: BTreeMap::new(),
            by_label: BTreeMap::new(),
            incoming: VecDeque::new(),
            last_half: 0,
            last_peer_half: 0,
            turns: [ChannelId(0); Priority::LANES],
            path: None,
            dialing: Dialing::default(),
            closing: None,
            closed: None,
            state: ConnectionState::Connecting { attempt: 0 },
            down_since: Some(now),
            recoveries: Recoveries::default(),
            incarnations: VecDeque::new(),
            counters: Counters::default(),
            outputs: VecDeque::new(),
            changed: false,
            accepts: Arc::new(Notify::new()),
            saving: None,
            detaching: false,
            linked: false,
            restored: false,
            forsaken: false,
            undelivered: Vec::new(),
        }
    }

    /// The key of this side.
    #[cfg(feature = "tutorial")]
    pub(crate) fn own_key(&self) -> PublicKey {
        self.identity.public_key()
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Names this run of the process: unlike every other, whatever the seed. Before the first link.
    pub(crate) fn set_incarnation(&mut self, incarnation: [u8; 16]) {
        self.incarnation = Incarnation(incarnation);
    }

    /// Whether this side makes the links.
    pub(crate) fn dials(&self) -> bool {
        self.role == Role::Dialer
    }

    pub(crate) fn peer(&self) -> Option<PublicKey> {
        self.peer
    }

    /// What a host has to know to recognise the returning peer, which says `hello`.
    pub(crate) fn known(&self, hello: &Hello) -> Option<Known> {
        let peer = self.peer?;
        match &self.closed {
            Some(reason) if self.is_kept() && super::saving::keeps(reason) => return Some(Known::Away),
            Some(_) => return Some(Known::Closed { peer }),
            None if self.detaching => return Some(Known::Away),
            None => {}
        }
        let incarnations = self.incarnations.iter().copied().collect();
        let (secret, confirmed) = (self.secret.clone()?, self.confirmed);
        Some(Known::Alive { peer, secret, confirmed, incarnations, overtaken: self.was_overtaken(hello) })
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    pub(crate) fn close_reason(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }

    /// Notified when the peer opens a channel, and at the end.
    pub(crate) fn accepts(&self) -> &Arc<Notify> {
        &self.accepts
    }

    /// Whether a command left something for the driver to do since this was last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// The application is done with it, and its end is under way.
    pub(super) fn leaving(&self) -> Option<CloseReason> {
        let detaching = self.detaching.then_some(CloseReason::Detached);
        detaching.or_else(|| self.closing.map(|_| CloseReason::Local))
    }

    /// Whether messages can go out: nothing is dropped then.
    pub(super) fn is_connected(&self) -> bool {
        matches!(self.state, ConnectionState::Connected)
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds { max_message: self.config.max_message as u64, max_packet: 1 << 18 }
    }

    /// Where this side stopped, for the handshake.
    pub(super) fn terms(&mut self, link_window: u32) -> Terms {
        let inboxes = self.channels.values_mut().filter_map(|channel| channel.inbox.as_mut());
        let cursors = inboxes.map(|inbox| Resume {
            half: inbox.half,
            consumed: inbox.durable(),
            received: inbox.received(),
            window: inbox.window(),
        });
        Terms {
            link_window,
            max_message: self.config.max_message as u64,
            max_half: self.last_peer_half,
            cursors: cursors.collect(),
        }
    }

    /// The lossy stream of a half: even numbers for the dialer's halves, odd ones for the acceptor's.
    pub(super) fn stream(&self, half: u32, ours: bool) -> u16 {
        let acceptors = (self.role == Role::Acceptor) == ours;
        2 + (half as u16 % 30_000) * 2 + u16::from(acceptors)
    }

    /// Opens the lossy streams of a channel on the current link.
    pub(super) fn open_lossy(&mut self, id: ChannelId) {
        let Some(link) = self.path.as_ref().filter(|path| path.is_live()).map(|path| path.id) else { return };
        let Some(channel) = self.channels.get(&id) else { return };
        let Some(config) = channel.lossy else { return };
        let theirs = channel.inbox.as_ref().map(|inbox| self.stream(inbox.half, false));
        let streams = [Some(self.stream(id.0, true)), theirs];
        let open = streams.into_iter().flatten().map(|stream| Output::OpenLossy { link, stream, config });
        self.outputs.extend(open);
    }

    pub(super) fn set_state(&mut self, state: ConnectionState) {
        if self.state != state {
            self.state = state.clone();
            self.outputs.push_back(Output::State(state));
            for channel in self.channels.values() {
                channel.signals.writable.notify_waiters();
            }
        }
    }

    pub(super) fn event(&mut self, event: ConnectionEvent) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Tells the writers of a channel that there may be room.
    pub(super) fn wake_writers(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if channel.was_high && channel.outbox.waiting().bytes < (SMOOTHING / 2) as u64 {
            channel.was_high = false;
            channel.signals.writable.notify_waiters();
            channel.signals.events.publish(ChannelEvent::BufferedLow);
        }
    }

    /// Messages that were on their way and whose arrival is unknown.
    pub(super) fn unacked(&self) -> u64 {
        self.channels.values().map(|channel| channel.outbox.unacked()).sum()
    }

    /// The end: everybody who waits is told, and the link is hung up unless it has to linger.
    pub(super) fn finish(&mut self, reason: CloseReason) {
        if self.closed.is_some() {
            return;
        }
        self.closed = Some(reason.clone());
        self.closing = None;
        self.stop_dialing();
        if self.path.as_ref().is_some_and(|path| !path.is_lingering()) {
            self.drop_path();
        }
        self.incoming.clear();
        self.touch();
        self.set_state(ConnectionState::Closed(reason.clone()));
        self.event(ConnectionEvent::Closed(reason));
        for channel in self.channels.values_mut() {
            channel.signals.wake_all();
            if !channel.is_over() {
                channel.signals.events.close(ChannelEvent::Closed);
            }
        }
        self.accepts.notify_waiters();
    }
}
