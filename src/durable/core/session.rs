//! One durable connection, as a pure machine: what happens goes in by `handle_*`, what the
//! application wants by plain verbs, and what is to be done comes out of [`Session::poll_output`].
//!
//! **After every `handle_*` or command, drain `poll_output` until it returns `Timeout` before
//! waiting again.** Time and chance are arguments.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::Notify;

use super::accept::Known;
use super::channel::{Channel, ChannelId, Signals};
use super::dialing::Dialing;
use super::handshake::{Incarnation, Resume, SessionId, SessionSecret, Terms};
use super::inbox::{Bounds, Consumed, Delivery, Inbox};
use super::outbox::{Count, Fate, Outbox, Queued, cost};
use super::path::{LinkId, Path};
use super::recovery::Recoveries;
use super::saving::{Saving, Undelivered};
use super::wire::{GapCause, MAX_LABEL};
use crate::config::{ChannelConfig, ConnectionConfig, Priority, QueueConfig, WhenFull};
use crate::durable::events::{ChannelEvent, ConnectionEvent, ConnectionState};
use crate::durable::options::SendTerms;
use crate::error::{ChannelError, CloseReason, Misbehaviour, SendError};
use crate::identity::{Identity, PublicKey};
use crate::link::LossyConfig;
use crate::message::{Message, Utf8Bytes};
use crate::runtime::Instant;
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
    /// Try to bring the link to new addresses; then [`Session::handle_restarted`].
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

    /// What a host has to know to recognise the returning peer.
    pub(crate) fn known(&self) -> Option<Known> {
        let peer = self.peer?;
        match &self.closed {
            Some(reason) if self.is_kept() && super::saving::keeps(reason) => return Some(Known::Away),
            Some(_) => return Some(Known::Closed { peer }),
            None if self.detaching => return Some(Known::Away),
            None => {}
        }
        let incarnations = self.incarnations.iter().copied().collect();
        Some(Known::Alive { peer, secret: self.secret.clone()?, confirmed: self.confirmed, incarnations })
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
    fn leaving(&self) -> Option<CloseReason> {
        let detaching = self.detaching.then_some(CloseReason::Detached);
        detaching.or_else(|| self.closing.map(|_| CloseReason::Local))
    }

    /// Whether messages can go out: nothing is dropped then.
    fn is_connected(&self) -> bool {
        matches!(self.state, ConnectionState::Connected)
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds { max_message: self.config.max_message as u64, max_packet: 1 << 18 }
    }

    // ------------------------------------------------------------ channels

    /// Opens a channel, or takes the one that the peer opened under this label.
    pub(crate) fn open(&mut self, label: &str, config: ChannelConfig) -> Result<ChannelId, ChannelError> {
        if let Some(reason) = &self.closed {
            return Err(ChannelError::Closed(reason.clone()));
        }
        if let Some(reason) = self.leaving() {
            return Err(ChannelError::Closed(reason));
        }
        if label.is_empty() || label.len() > MAX_LABEL {
            return Err(ChannelError::BadLabel(label.len()));
        }
        let queue = config.queue.unwrap_or_else(|| self.config.queue.clone());
        if let Some(&id) = self.by_label.get(&Utf8Bytes::from(label))
            && let Some(channel) = self.channels.get_mut(&id)
        {
            if channel.claimed {
                return Err(ChannelError::AlreadyOpen(label.to_owned()));
            }
            if channel.lossy != config.lossy {
                return Err(ChannelError::OtherKind(label.to_owned()));
            }
            channel.claimed = true;
            channel.queue = queue;
            channel.priority = config.priority;
            self.incoming.retain(|waiting| *waiting != id);
            self.changed = true;
            return Ok(id);
        }
        // Half of what a peer tolerates, since it may open as many at the same time.
        if self.live_channels() >= self.config.max_channels {
            return Err(ChannelError::TooMany(self.config.max_channels));
        }
        let id = self.insert(label.into(), config.lossy, queue);
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.claimed = true;
            channel.priority = config.priority;
        }
        self.open_lossy(id);
        self.changed = true;
        self.touch();
        Ok(id)
    }

    /// Channels that count against the limit. One that the peer has ended and the application
    /// still holds is the application's own business.
    pub(super) fn live_channels(&self) -> usize {
        self.channels.values().filter(|channel| !(channel.claimed && channel.is_over())).count()
    }

    /// Whether a channel is of the lossy kind.
    pub(crate) fn is_lossy(&self, id: ChannelId) -> bool {
        self.channels.get(&id).is_some_and(|channel| channel.lossy.is_some())
    }

    pub(super) fn insert(
        &mut self,
        label: Utf8Bytes,
        lossy: Option<LossyConfig>,
        queue: QueueConfig,
    ) -> ChannelId {
        self.last_half += 1;
        let id = ChannelId(self.last_half);
        let mut channel = Channel::new(id, label.clone(), lossy, queue);
        if self.saving.is_some() {
            channel.outbox.keep();
        }
        self.channels.insert(id, channel);
        self.by_label.insert(label, id);
        id
    }

    /// The peer opened a half-channel: it belongs to the channel of that label, or makes one.
    pub(super) fn bind(
        &mut self,
        label: &Utf8Bytes,
        lossy: Option<LossyConfig>,
    ) -> Result<ChannelId, Misbehaviour> {
        // A channel closed here before the peer could answer still owns the label for the peer.
        let orphan = |channel: &Channel| channel.label == *label && channel.inbox.is_none();
        let closing = self.channels.iter().find(|(_, channel)| channel.closed && orphan(channel));
        if let Some((id, _)) = closing {
            return Ok(*id);
        }
        match self.by_label.get(label) {
            Some(id) if self.channels.get(id).is_some_and(|channel| channel.inbox.is_none()) => Ok(*id),
            Some(_) => Err(Misbehaviour::DuplicateLabel),
            // Both sides may have opened all they are allowed to before they heard of the other's.
            None if self.live_channels() >= self.config.max_channels.saturating_mul(2) => {
                Err(Misbehaviour::TooManyChannels(self.config.max_channels))
            }
            None => {
                let queue = self.config.queue.clone();
                let id = self.insert(label.clone(), lossy, queue);
                self.incoming.push_back(id);
                self.accepts.notify_waiters();
                Ok(id)
            }
        }
    }

    /// The next channel that the peer opened.
    pub(crate) fn accept(&mut self) -> Option<ChannelId> {
        let id = self.incoming.pop_front()?;
        self.channels.get_mut(&id)?.claimed = true;
        Some(id)
    }

    pub(crate) fn label(&self, id: ChannelId) -> Option<Utf8Bytes> {
        self.channels.get(&id).map(|channel| channel.label.clone())
    }

    pub(crate) fn signals(&self, id: ChannelId) -> Option<Arc<Signals>> {
        self.channels.get(&id).map(|channel| channel.signals.clone())
    }

    /// Ends a channel after what is queued; what arrives from now on is dropped.
    pub(crate) fn close_channel(&mut self, id: ChannelId) {
        // A session that is left goes on after a restart, with its channels.
        if self.detaching || self.is_kept() && self.closed.as_ref().is_some_and(super::saving::keeps) {
            return;
        }
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if channel.closed {
            return;
        }
        channel.closed = true;
        let label = channel.label.clone();
        if let Some(inbox) = &mut channel.inbox {
            inbox.discard();
        }
        channel.outbox.end();
        channel.signals.wake_all();
        channel.signals.events.close(ChannelEvent::Closed);
        if self.by_label.get(&label) == Some(&id) {
            self.by_label.remove(&label);
        }
        self.changed = true;
        self.reap(id);
    }

    /// The peer ended the channel: nothing more can be sent on it.
    pub(super) fn handle_ended(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let label = channel.label.clone();
        channel.outbox.drop_all(GapCause::Closed);
        channel.outbox.end();
        channel.signals.wake_all();
        if !channel.closed {
            channel.signals.events.close(ChannelEvent::Closed);
        }
        if self.by_label.get(&label) == Some(&id) {
            self.by_label.remove(&label);
        }
        self.reap(id);
    }

    /// Forgets a channel that both sides have ended, and whose messages were read.
    pub(super) fn reap(&mut self, id: ChannelId) {
        self.touch();
        let Some(channel) = self.channels.get_mut(&id) else { return };
        // Never announced: the peer has not heard of it, and need not.
        if channel.is_over() && !channel.outbox.was_announced() && channel.outbox.waiting().messages == 0 {
            let unheard = channel.inbox.is_none() || channel.inbox.as_ref().is_some_and(Inbox::is_ended);
            if unheard {
                channel.outbox.forget_all();
            }
        }
        // The acknowledgement of the end must go out before the half is forgotten.
        let told = channel.inbox.as_mut().is_none_or(|inbox| inbox.is_told());
        if channel.is_finished() && told && (channel.closed || !channel.claimed) {
            let lossy = channel.lossy.is_some();
            let half = channel.inbox.as_ref().map(|inbox| inbox.half);
            self.channels.remove(&id);
            self.incoming.retain(|waiting| *waiting != id);
            if let Some(half) = half {
                self.by_half.remove(&half);
            }
            if lossy && let Some(link) = self.path.as_ref().map(|path| path.id) {
                let streams = [Some(self.stream(id.0, true)), half.map(|half| self.stream(half, false))];
                let close = streams.into_iter().flatten().map(|stream| Output::CloseLossy { link, stream });
                self.outputs.extend(close);
            }
        }
    }

    // ------------------------------------------------------------- sending

    /// Takes a message into the queue, or says why not. `Ok(Err(_))` gives it back: no room now.
    pub(crate) fn send(
        &mut self,
        id: ChannelId,
        message: Message,
        terms: &SendTerms,
        now: Instant,
    ) -> Result<Result<u64, Message>, (Message, SendError)> {
        let connected = self.is_connected();
        let max = self.peer_max_message.min(self.config.max_message as u64) as usize;
        if let Some(reason) = self.closed.clone().or_else(|| self.leaving()) {
            return Err((message, SendError::Closed(reason)));
        }
        if let Some(error) = self.store_failure() {
            return Err((message, error));
        }
        let Some(channel) = self.channels.get_mut(&id).filter(|channel| !channel.is_over()) else {
            return Err((message, SendError::ChannelClosed));
        };
        if terms.deadline.is_some_and(|deadline| deadline <= now) {
            return Err((message, SendError::Expired));
        }
        if message.len() > max {
            let len = message.len();
            return Err((message, SendError::TooLarge { len, max }));
        }
        let queue = &channel.queue;
        let mut waiting = if connected { channel.outbox.waiting() } else { channel.outbox.fresh() };
        // What it replaces makes room for it.
        let replaced = channel.outbox.replaces(terms.key.as_ref());
        waiting.messages -= replaced.messages;
        waiting.bytes -= replaced.bytes;
        // With a link the queue only smooths; a deep one would add delay and memory, not speed.
        let smoothing = if self.saving.is_some() { SMOOTHING_STORED } else { SMOOTHING };
        let max_bytes = if connected { queue.max_bytes.min(smoothing) } else { queue.max_bytes } as u64;
        let max_messages =
            if connected { queue.max_messages.max(SMOOTHING_MESSAGES) } else { queue.max_messages };
        let full = |waiting: Count| {
            waiting.messages > 0
                && (waiting.messages >= max_messages || waiting.bytes + cost(&message) > max_bytes)
        };
        let is_full = full(waiting);
        if is_full {
            if connected || queue.when_full == WhenFull::Wait {
                channel.was_high = true;
                return Ok(Err(message));
            }
            if queue.when_full == WhenFull::Reject {
                return Err((message, SendError::QueueFull));
            }
        }
        if let Some(key) = &terms.key {
            let superseded = channel.outbox.supersede(key);
            if superseded > 0 {
                self.counters.superseded += superseded;
                channel.signals.events.publish(ChannelEvent::Superseded { count: superseded });
                channel.signals.settled.notify_waiters();
            }
        }
        if is_full {
            let mut dropped = 0;
            while full(channel.outbox.fresh()) && channel.outbox.drop_oldest() {
                dropped += 1;
            }
            self.counters.overflowed += dropped;
            channel.signals.events.publish(ChannelEvent::Overflow { dropped });
            channel.signals.settled.notify_waiters();
        }
        let seq = channel.outbox.push(Queued::new(message, now, terms.clone()));
        self.changed = true;
        self.touch();
        Ok(Ok(seq))
    }

    /// What became of a message.
    pub(crate) fn fate(&self, id: ChannelId, seq: u64) -> Option<Result<(), SendError>> {
        let closed = || match &self.closed {
            Some(reason) => SendError::Closed(reason.clone()),
            None => SendError::ChannelClosed,
        };
        let Some(channel) = self.channels.get(&id) else {
            return Some(Err(closed()));
        };
        match channel.outbox.fate(seq) {
            Fate::Acked => Some(Ok(())),
            Fate::Forgotten => Some(Err(SendError::Forgotten)),
            Fate::Dropped(GapCause::Overflow) => Some(Err(SendError::Overflow)),
            Fate::Dropped(GapCause::Expired) => Some(Err(SendError::Expired)),
            Fate::Dropped(GapCause::Closed) => Some(Err(SendError::ChannelClosed)),
            Fate::Dropped(GapCause::SessionLost) => Some(Err(SendError::SessionLost)),
            Fate::Dropped(GapCause::TooLarge) => Some(Err(SendError::TooLargeForPeer)),
            Fate::Dropped(GapCause::Superseded) => Some(Err(SendError::Superseded)),
            Fate::Pending => self.closed.is_some().then(|| Err(closed())),
        }
    }

    /// The newest message of each channel, to wait for.
    pub(crate) fn newest(&self) -> Vec<(ChannelId, u64)> {
        let queued = self.channels.iter().filter(|(_, channel)| !channel.outbox.is_drained());
        queued.map(|(id, channel)| (*id, channel.outbox.last_seq())).collect()
    }

    /// The number of the newest message that a channel has taken.
    #[cfg(test)]
    pub(crate) fn last_seq(&self, id: ChannelId) -> u64 {
        self.channels.get(&id).map_or(0, |channel| channel.outbox.last_seq())
    }

    /// What one channel holds: counts, and since when.
    pub(crate) fn buffered(&self, id: ChannelId) -> (Count, Option<Instant>) {
        let outbox = self.channels.get(&id).map(|channel| &channel.outbox);
        (outbox.map_or(Count::default(), Outbox::held), outbox.and_then(Outbox::oldest))
    }

    /// When the oldest message that is not acknowledged was sent, over all channels.
    pub(crate) fn oldest_unacknowledged(&self) -> Option<Instant> {
        self.channels.values().filter_map(|channel| channel.outbox.oldest()).min()
    }

    /// Sends on a lossy channel, now or never.
    pub(crate) fn send_lossy(&mut self, id: ChannelId, message: &Message) -> Result<(), SendError> {
        if let Some(reason) = self.closed.clone().or_else(|| self.leaving()) {
            return Err(SendError::Closed(reason));
        }
        if self.channels.get(&id).is_none_or(Channel::is_over) {
            return Err(SendError::ChannelClosed);
        }
        if message.len() > MAX_LOSSY {
            return Err(SendError::TooLarge { len: message.len(), max: MAX_LOSSY });
        }
        if let Some(path) = self.path.as_ref().filter(|path| path.is_live()) {
            let mut data = BytesMut::with_capacity(message.len() + 1);
            data.put_u8(u8::from(message.is_text()));
            data.extend_from_slice(message.as_bytes());
            let (link, stream) = (path.id, self.stream(id.0, true));
            self.outputs.push_back(Output::SendLossy { link, stream, data });
            self.changed = true;
        }
        Ok(())
    }

    // ----------------------------------------------------------- receiving

    /// Moves what arrived into `into`; with nothing to move says whether the end has come.
    pub(crate) fn take(&mut self, id: ChannelId, into: &mut VecDeque<Delivery>) -> Option<Ended> {
        let Some(channel) = self.channels.get_mut(&id) else {
            return Some(Ended::Channel);
        };
        channel.take(into);
        if !into.is_empty() {
            return None;
        }
        if channel.is_over() {
            return Some(Ended::Channel);
        }
        self.closed.clone().map(Ended::Connection)
    }

    /// Where the reader of a channel marks how far it came; absent until the peer has opened it.
    pub(crate) fn consumed(&self, id: ChannelId) -> Option<Arc<Consumed>> {
        self.channels.get(&id)?.inbox.as_ref().map(|inbox| inbox.consumed().clone())
    }

    // ----------------------------------------------------------- internals

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

/// Why nothing more can be received.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ended {
    Channel,
    Connection(CloseReason),
}

/// The largest message of a lossy channel: one data channel message that every browser takes.
pub(crate) const MAX_LOSSY: usize = 60 << 10;
/// While connected, this many bytes may wait for the link.
const SMOOTHING: usize = 1 << 20;
/// … and with a store, which takes its time and then much at once.
const SMOOTHING_STORED: usize = 4 << 20;
/// While connected, at least this many messages may wait: they share packets.
const SMOOTHING_MESSAGES: usize = 16 << 10;
