//! A link ended: what that means for the session, and what comes next.

use std::time::Duration;

use super::backoff::later;
use super::path::{LinkId, Phase, Whose};
use super::session::{Role, Session};
use crate::durable::events::{ConnectionEvent, ConnectionState, DisconnectCause};
use crate::error::{CloseReason, DialError, Misbehaviour};
use crate::link::LinkError;
use crate::runtime::Instant;

/// A link that lived for this long, or carried a message, was worth making.
pub(super) const WORKED: Duration = Duration::from_secs(5);
/// Links in a row that were not may be replaced at once.
pub(super) const MAX_FRUITLESS: u32 = 30;

impl Session {
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

    pub(super) fn path_lost(&mut self, now: Instant, cause: DisconnectCause, error: DialError) {
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
    pub(super) fn lose(&mut self, now: Instant, cause: DisconnectCause) {
        self.down_since = Some(now);
        self.recoveries.cause = Some(self.recoveries.feared.unwrap_or((&cause).into()));
        self.event(ConnectionEvent::Disconnected { cause });
    }

    /// Host side: waits for the peer to come back.
    pub(super) fn park(&mut self, now: Instant) {
        if self.role == Role::Acceptor && self.closed.is_none() {
            let retry_at = *self.dialing.parked_until.get_or_insert(later(now, self.config.park_for));
            self.set_state(ConnectionState::Reconnecting { attempt: 0, retry_at });
        }
    }
}
