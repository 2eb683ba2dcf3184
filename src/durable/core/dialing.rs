//! Making links: attempts, the wait between them, and the second attempt beside one that hangs.

use std::collections::VecDeque;
use std::time::Duration;

use super::backoff::later;
use super::path::Whose;
use super::session::{DialId, Output, Role, Session};
use crate::durable::dialer::DialFailure;
use crate::durable::events::{ConnectionEvent, ConnectionState, DisconnectCause};
use crate::error::{CloseReason, DialError};
use crate::runtime::Instant;

/// A dial that hangs for this long gets another one beside it.
const HEDGE_AFTER: Duration = Duration::from_secs(8);
/// Dials at once.
const MAX_DIALS: usize = 2;

/// A dial under way for no longer than this is as good as a new one.
const FRESH_DIAL: Duration = Duration::from_secs(2);

/// Attempts to make a link.
#[derive(Debug, Default)]
pub(super) struct Dialing {
    pub dials: VecDeque<(DialId, Instant)>,
    pub next_dial: u64,
    pub retry_at: Option<Instant>,
    pub hedge_at: Option<Instant>,
    /// Attempts since a link was last proven.
    pub attempts: u32,
    pub last_error: Option<DialError>,
    /// When a link last answered that had fallen silent, and a dial beside it was for nothing.
    pub needless_at: Option<Instant>,
    /// Links in a row that came about and led nowhere.
    pub fruitless: u32,
    /// A link was live at some time.
    pub connected_once: bool,
    /// Host side: when the session of an absent peer is given up.
    pub parked_until: Option<Instant>,
}

impl Session {
    /// Dialing side: begins.
    pub(crate) fn start(&mut self, now: Instant) {
        self.attempt(now);
    }

    /// Starts an attempt now, or gives up when they are spent.
    pub(super) fn attempt(&mut self, now: Instant) {
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
        // A dial that the change of a network began just before is this one.
        let begun = self.dialing.dials.back();
        if begun.is_none_or(|(_, since)| now.saturating_duration_since(*since) > FRESH_DIAL) {
            self.dial(now);
        }
        if self.dialing.connected_once {
            self.set_state(ConnectionState::Reconnecting { attempt, retry_at: now });
            self.event(ConnectionEvent::Reconnecting { attempt, delay: Duration::ZERO });
        } else {
            self.set_state(ConnectionState::Connecting { attempt });
        }
    }

    /// One more dial beside those under way; the oldest makes room.
    pub(super) fn dial(&mut self, now: Instant) {
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
        if self.path.as_ref().is_some_and(|path| path.is_live() && !path.suspect) {
            // Only dialed because the network changed, and the link was not seen to fail.
            if self.dialing.dials.is_empty() {
                self.dialing.hedge_at = None;
            }
            return Whose::Ours;
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
    pub(super) fn wait(&mut self, now: Instant, at_least: Option<Duration>) {
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
}
