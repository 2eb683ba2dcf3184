//! The end of a session that somebody wants.

use std::time::Duration;

use super::backoff::later;
use super::inbox::Inbox;
use super::path::Phase;
use super::session::Session;
use super::wire;
use crate::error::{CloseReason, DialError};
use crate::runtime::Instant;

/// The end that answers a CLOSE waits this long for the other to hang up.
pub(super) const LINGER: Duration = Duration::from_secs(1);

impl Session {
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
    pub(super) fn close_anyway(&mut self, now: Instant) {
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

    /// Whether everything queued was handed to the link, and what was consumed may be told, so that
    /// CLOSE may follow.
    pub(super) fn is_ready_to_close(&self) -> bool {
        let told = |inbox: &Inbox| inbox.durable() == inbox.cursor();
        self.closing.is_some()
            && self.channels.values().all(|channel| channel.outbox.is_transmitted())
            && self.channels.values().filter_map(|channel| channel.inbox.as_ref()).all(told)
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
