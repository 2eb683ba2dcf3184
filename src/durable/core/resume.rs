//! A session resumes on a fresh link, or begins with it: HELLO, WELCOME and REFUSE.

use std::time::Duration;

use bytes::Bytes;
use rand::RngExt as _;

use super::channel::ChannelId;
use super::closing::LINGER;
use super::handshake::{Hello, Incarnation, Refuse, RefuseCode, Resume, Terms, Welcome};
use super::path::{LEAST_WINDOW, LinkId, LinkInfo, Path, Phase, Whose, charge};
use super::session::{DialId, Output, Session};
use super::wire;
use crate::config::SessionLost;
use crate::durable::events::{
    ConnectionEvent, ConnectionState, DisconnectCause, RecoveryCause, RecoveryRung,
};
use crate::error::{CloseReason, DialError, Misbehaviour};
use crate::identity::PublicKey;
use crate::runtime::Instant;

/// How long WELCOME may take on an open link.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(5);
/// Incarnations of a peer that a host remembers for a session.
const MAX_INCARNATIONS: usize = 16;

impl Session {
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
        self.replace_questioned(now);
        self.drop_path();
        let nonce = self.rng.random();
        let terms = self.terms(info.receive_window);
        let secret = self.secret.as_ref();
        let (frame, hello) = Hello::encode(
            self.config.version,
            &self.identity,
            peer,
            self.id,
            secret,
            nonce,
            self.incarnation,
            info.binding,
            &terms,
        );
        let deadline = now + WELCOME_TIMEOUT;
        let mut path = Path::new(link, info, Phase::Resuming { hello, deadline }, now);
        path.control = frame;
        self.path = Some(path);
        Whose::Ours
    }

    /// Accepting side: whether this HELLO was overtaken on its way by that of a later link. An incarnation
    /// never forgets what it has acknowledged, so one that claims less said so before, and the other end of its
    /// link is gone; or its memory was put back, as that of a virtual machine.
    pub(crate) fn was_overtaken(&self, hello: &Hello) -> bool {
        let is_older = |cursor: &Resume| {
            let channel = self.channels.get(&ChannelId(cursor.half));
            channel.is_some_and(|channel| cursor.consumed < channel.outbox.acked())
        };
        self.incarnations.back() == Some(&hello.incarnation) && hello.terms.cursors.iter().any(is_older)
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
        let took_over = self.note_incarnation(hello.incarnation);
        let welcome = Welcome {
            session: self.id,
            resumed,
            took_over,
            secret: self.secret.clone().expect("an acceptor is made with a secret"),
            terms: self.terms(info.receive_window),
        };
        let frame = welcome.encode(self.config.version, &self.identity, info.binding, body);
        if let Some(path) = &mut self.path {
            path.control = frame;
            path.received = charge(received);
        }
        let replayed = match self.apply(&hello.terms, now) {
            Err(error) if self.is_rewound(&error) => {
                let text = "one side was put back to an older state".to_owned();
                let refuse = Refuse { code: RefuseCode::UnknownSession, text };
                if let Some(path) = &mut self.path {
                    path.control = refuse.encode(&self.identity, info.binding, body);
                    path.phase = Phase::Lingering { deadline: now + LINGER };
                }
                let unacked = self.unacked();
                self.finish(CloseReason::SessionLost { unacked });
                return Ok(());
            }
            applied => applied?,
        };
        if took_over {
            self.event(ConnectionEvent::TookOver);
        }
        self.live(now, resumed, replayed);
        Ok(())
    }

    /// Host side: this incarnation of the peer has the session now. Returns whether it took it from
    /// another.
    fn note_incarnation(&mut self, incarnation: Incarnation) -> bool {
        if self.incarnations.back() == Some(&incarnation) {
            return false;
        }
        if self.incarnations.len() == MAX_INCARNATIONS {
            self.incarnations.pop_front();
        }
        self.incarnations.push_back(incarnation);
        self.incarnations.len() > 1
    }

    /// WELCOME: the session goes on over this link, or begins.
    pub(super) fn handle_welcome(&mut self, now: Instant, body: &Bytes) -> Result<(), Misbehaviour> {
        let Some(Path { phase: Phase::Resuming { hello, .. }, info, .. }) = &self.path else {
            return Err(Misbehaviour::OutOfPlace);
        };
        let peer = self.peer.ok_or(Misbehaviour::OutOfPlace)?;
        let welcome = Welcome::decode(self.config.version, body, info.binding, hello, peer)?;
        let known = self.secret.is_some();
        if welcome.session != self.id || (known && !welcome.resumed) {
            return Err(Misbehaviour::OutOfPlace);
        }
        if !known {
            self.secret = Some(welcome.secret.clone());
            self.hold();
        }
        let replayed = match self.apply(&welcome.terms, now) {
            Err(error) if self.is_rewound(&error) => {
                // The host must not wait for a session that is no more.
                if let Some(path) = &mut self.path {
                    wire::put_close(&mut path.control);
                    path.phase = Phase::Lingering { deadline: now + LINGER };
                }
                self.session_lost(now);
                return Ok(());
            }
            applied => applied?,
        };
        if let Some(path) = &mut self.path {
            path.phase = Phase::Live;
        }
        if welcome.took_over {
            self.event(ConnectionEvent::TookOver);
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
                let error = DialError::Version { ours: self.config.version, theirs: refuse.text };
                self.finish(CloseReason::Refused(error));
            }
            RefuseCode::Displaced => self.finish(CloseReason::Displaced),
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
    pub(super) fn session_lost(&mut self, now: Instant) {
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
            let given_up = channel.outbox.restart().into_iter();
            self.undelivered.extend(given_up.map(|message| super::Undelivered {
                label: channel.label.to_string(),
                message,
                may_have_arrived: true,
            }));
            channel.restart();
            channel.signals.settled.notify_waiters();
            channel.signals.readable.wake();
        }
        self.save_anew();
        self.attempt(now);
    }

    /// Whether one side's store is older than what it said before, so that what lies between is gone.
    fn is_rewound(&self, error: &Misbehaviour) -> bool {
        match error {
            Misbehaviour::Rewound { .. } => true,
            Misbehaviour::AckOfUnsent(_) => self.restored,
            _ => false,
        }
    }

    /// Takes over what the other side says of itself. Returns how many messages go out again.
    pub(super) fn apply(&mut self, terms: &Terms, now: Instant) -> Result<u64, Misbehaviour> {
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
        self.restored = false;
        self.counters.replayed += replayed;
        Ok(replayed)
    }

    pub(super) fn live(&mut self, now: Instant, resumed: bool, replayed: u64) {
        if !std::mem::replace(&mut self.linked, true) {
            // From here on what is stored may be transmitted, which a later process has to know.
            self.hold();
        }
        let since = self.down_since.take().unwrap_or(now);
        let after = now.saturating_duration_since(since);
        let mut rung = RecoveryRung::FreshLink;
        if self.dialing.connected_once {
            self.counters.reconnects += 1;
        } else if resumed {
            // The session is older than this process.
            rung = RecoveryRung::Resumed;
            self.recoveries.cause = Some(RecoveryCause::Restart);
        }
        self.dialing.connected_once = true;
        self.dialing.parked_until = None;
        self.set_state(ConnectionState::Connected);
        self.event(ConnectionEvent::Connected { resumed, replayed, after });
        self.recovered(now, since, rung, replayed);
        let ids: Vec<_> = self.channels.keys().copied().collect();
        ids.into_iter().for_each(|id| self.open_lossy(id));
        // The first acknowledged probe proves the link, and resets the backoff.
        self.ping(now);
    }
}
