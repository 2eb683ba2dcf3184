//! What brought a session back, and how long that took.

use super::session::Session;
use crate::durable::events::{ConnectionEvent, Recovery, RecoveryCause, RecoveryRung};
use crate::runtime::Instant;

/// The recovery under way and the last one.
#[derive(Debug, Default)]
pub(super) struct Recoveries {
    /// Why there is no healthy link now.
    pub cause: Option<RecoveryCause>,
    /// Why the link may be about to fail: the cause, if it does.
    pub feared: Option<RecoveryCause>,
    last: Option<Recovery>,
}

impl Session {
    /// How the session last found its way back.
    pub(crate) fn last_recovery(&self) -> Option<Recovery> {
        self.recoveries.last
    }

    /// The session is back, after the trouble that began at `since`.
    pub(super) fn recovered(&mut self, now: Instant, since: Instant, rung: RecoveryRung, replayed: u64) {
        self.recoveries.feared = None;
        let Some(cause) = self.recoveries.cause.take() else { return };
        let recovery = Recovery { cause, rung, after: now.saturating_duration_since(since), replayed };
        self.recoveries.last = Some(recovery);
        self.event(ConnectionEvent::Recovered(recovery));
    }
}
