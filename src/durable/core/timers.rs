//! When something is due, and what is done then.

use super::session::Session;
use crate::error::CloseReason;
use crate::runtime::Instant;

impl Session {
    /// The earliest time at which something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let own = [self.closing, self.dialing.retry_at, self.dialing.hedge_at];
        let own = own.into_iter().chain([self.saving_deadline()]);
        let open = self.closed.is_none().then(|| [self.dialing.parked_until, self.expiry()]);
        let path = self.path.as_ref().map(|path| self.path_deadline(path));
        own.chain(open.into_iter().flatten()).flatten().chain(path).min()
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
}
