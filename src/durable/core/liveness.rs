//! Noticing that the path beneath a link died, soon while something waits for an acknowledgement
//! and with few probes while nothing does.
//!
//! An acknowledgement that does not come may have two reasons. Where packets get lost, the stream
//! of the link stalls until its retransmission comes through, for a second and more, and so does
//! every probe in it. A link that [can tell](crate::link::Link::heard) whether the path itself
//! answers is therefore asked once acknowledgements are overdue: while the path answers it is only
//! a stall, and given [`STALLED`].

use std::time::Duration;

use rand::RngExt as _;

use super::backoff::{FOREVER, later};
use super::network::NetworkChange;
use super::path::{LinkId, Path, Phase, Whose};
use super::session::{Output, Role, Session};
use super::wire;
use crate::durable::events::{ConnectionEvent, ConnectionState, DisconnectCause};
use crate::error::{DialError, Misbehaviour};
use crate::runtime::Instant;

/// Frames that may wait for a link that takes none, in bytes.
const MAX_CONTROL: usize = 4096;
/// After a link that fell silent answered all the same, silence alone is no reason for a dial for
/// this long: a path may be slower than the link's patience.
const NEEDLESS_FOR: Duration = Duration::from_secs(30);
/// A host keeps a silent link for this long, in case it recovers.
const SILENT_LINK: Duration = Duration::from_secs(60);
/// How long nothing may be acknowledged over a path that answers. SCTP sends a packet again five
/// times at most, the last time after 1 + 2 + 4 + 8 + 16 s, and then stops for good: what is not
/// acknowledged by then, with some seconds to spare, never will be.
pub(super) const STALLED: Duration = Duration::from_secs(35);

impl Session {
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

    /// The path beneath a link looks dead or alive, as the link says. Never believed: probed, and a
    /// fresh link is dialed beside one that looks dead.
    pub(crate) fn handle_path_news(&mut self, now: Instant, link: LinkId, alive: bool) -> Whose {
        match &self.path {
            Some(path) if path.id == link && path.is_live() => {}
            _ => return Whose::NotOurs,
        }
        let asked = self.path.as_ref().is_some_and(|path| path.suspect || path.question.is_some());
        let cried_wolf = self.dialing.needless_at;
        let cried_wolf = cried_wolf.is_some_and(|at| now.saturating_duration_since(at) < NEEDLESS_FOR);
        if !alive && !asked && !cried_wolf && self.role == Role::Dialer {
            self.handle_network_change(now, NetworkChange::Silence);
            return Whose::Ours;
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
            let rung = path.answering_rung();
            path.question = None;
            self.stop_dialing();
            self.counters.reconnects += 1;
            let since = self.down_since.take().unwrap_or(now);
            let after = now.saturating_duration_since(since);
            self.dialing.parked_until = None;
            self.set_state(ConnectionState::Connected);
            self.event(ConnectionEvent::Connected { resumed: true, replayed: 0, after });
            self.recovered(now, since, rung, 0);
        }
        self.settle_question(now);
        Ok(())
    }

    /// The path is taken for dead: a fresh link is dialed beside it.
    pub(super) fn mark_suspect(&mut self, now: Instant, cause: DisconnectCause) {
        let Some(path) = &mut self.path else { return };
        if std::mem::replace(&mut path.suspect, true) {
            return;
        }
        if self.role == Role::Dialer && matches!(cause, DisconnectCause::PathDead) {
            // An end that moved behind a NAT sees nothing but this.
            self.outputs.push_back(Output::Restart(path.id));
        }
        self.lose(now, cause);
        self.park(now);
        self.attempt(now);
    }

    /// The link whose path is in doubt: what was sent over it should have been acknowledged by now.
    pub(crate) fn doubts(&self, now: Instant) -> Option<LinkId> {
        let path = self.path.as_ref().filter(|path| path.is_live() && path.is_outstanding())?;
        let patience = self.config.liveness.busy_probe.min(self.config.liveness.suspect_after / 2);
        (later(path.progress, patience) <= now).then_some(path.id)
    }

    /// The path beneath a link last proved itself at that time, both ways.
    pub(crate) fn handle_heard(&mut self, link: LinkId, at: Instant) -> Whose {
        match &mut self.path {
            Some(path) if path.id == link => path.heard = path.heard.max(Some(at)),
            _ => return Whose::NotOurs,
        }
        Whose::Ours
    }

    /// When the path is to be taken for dead if nothing changes.
    fn suspect_at(&self, path: &Path) -> Instant {
        let after = self.suspect_after(path);
        let silent = later(path.progress, after);
        let Some(heard) = path.heard else { return silent };
        let stalled = later(path.progress, after.max(STALLED));
        silent.max(later(heard, after)).min(stalled)
    }

    fn suspect_after(&self, path: &Path) -> Duration {
        let slow = match path.heard {
            // The least of some: stalls are no part of the path's round trip.
            Some(_) => path.round_trips.iter().min().copied().filter(|_| path.timings > 0),
            None => path.rtt,
        };
        let slow = slow.map_or(Duration::ZERO, |rtt| (rtt * 3).min(Duration::from_secs(10)));
        self.config.liveness.suspect_after.max(slow)
    }

    pub(super) fn path_deadline(&self, path: &Path) -> Instant {
        match path.phase {
            Phase::Resuming { deadline, .. } | Phase::Lingering { deadline } => deadline,
            Phase::Live => {
                let dead = (path.is_outstanding() && !path.suspect).then(|| self.suspect_at(path));
                let silent =
                    (self.role == Role::Acceptor && path.suspect).then(|| path.progress + SILENT_LINK);
                let others = [path.ack_at, dead, silent].into_iter().flatten();
                others.fold(self.next_probe(path), Instant::min)
            }
        }
    }

    pub(super) fn next_probe(&self, path: &Path) -> Instant {
        if path.is_outstanding() {
            later(path.pinged.unwrap_or(path.progress).max(path.progress), self.config.liveness.busy_probe)
        } else {
            path.idle_ping_at.max(later(path.since, self.config.liveness.busy_probe))
        }
    }

    pub(super) fn path_timeout(&mut self, now: Instant) {
        let Some(path) = &self.path else { return };
        match &path.phase {
            Phase::Resuming { deadline, .. } if *deadline <= now => {
                self.path_lost(now, DisconnectCause::PathDead, DialError::TimedOut);
            }
            Phase::Lingering { deadline } if *deadline <= now => self.drop_path(),
            Phase::Live => {
                let probe = self.next_probe(path) <= now;
                let suspect = path.is_outstanding() && !path.suspect && self.suspect_at(path) <= now;
                let silent =
                    self.role == Role::Acceptor && path.suspect && path.progress + SILENT_LINK <= now;
                let ack = path.ack_at.is_some_and(|at| at <= now);
                if let Some(path) = &mut self.path
                    && ack
                {
                    path.handle_ack_due(now);
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
}
