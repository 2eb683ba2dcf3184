//! What keeps a path over which nothing goes but checks from costing much.
//!
//! The stack's driver would look at its state five times a second. And of its two ends, each checks
//! the path every [`keepalive`](super::super::WebRtcConfig::keepalive), while one of them also
//! checks it whenever the other has. So the driver of a quiet path sleeps until the next check is
//! due, and a second check on the heels of the first is left out. The end that answers a check with
//! one of its own leaves the pace to the other, and does so every other time: the checks that
//! arrive prove as much of the path as it needs to know while nothing is under way. When they stay
//! away its own are due.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A path is quiet when nothing but ICE went over it for this long: longer than the stack waits
/// before it acknowledges, and before it sends again what nobody acknowledged. Whoever waits for a
/// later repetition asks for the path, or is asked, and that keeps the driver awake.
const QUIET_AFTER: Duration = Duration::from_millis(1500);
/// How long the driver of a quiet path sleeps at most: other timers of the stack are late by as much.
const QUIET_SLEEP: Duration = Duration::from_millis(2500);
/// The same check again within this time is left out; less where checks are more frequent, and more
/// where the other end has just sent one.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// The first bytes of what is DTLS.
const DTLS: std::ops::Range<u8> = 20..64;

/// Times are since the path began.
pub(super) struct Quiet {
    keepalive: Duration,
    /// Something else than ICE went either way since this was last looked at.
    busy: AtomicBool,
    /// Since when it did not, in nanoseconds.
    since: AtomicU64,
    /// A check of the other end arrived since the driver last slept.
    checked: AtomicBool,
    /// When the stack last wanted to send a check, in nanoseconds.
    wanted_at: AtomicU64,
    /// That was because of a check of the other end.
    follows: AtomicBool,
}

impl Quiet {
    pub(super) fn new(keepalive: Duration) -> Self {
        Self {
            keepalive,
            busy: AtomicBool::new(true),
            since: AtomicU64::new(0),
            checked: AtomicBool::new(false),
            wanted_at: AtomicU64::new(0),
            follows: AtomicBool::new(false),
        }
    }

    /// Whether nothing but ICE went over the path for a while.
    pub(super) fn is_quiet(&self, now: Duration) -> bool {
        let now = now.as_nanos() as u64;
        if self.busy.load(Ordering::Acquire) && self.busy.swap(false, Ordering::AcqRel) {
            self.since.store(now, Ordering::Release);
        }
        let since = self.since.load(Ordering::Acquire);
        now.saturating_sub(since) >= QUIET_AFTER.as_nanos() as u64
    }

    /// A packet went either way.
    pub(super) fn note_traffic(&self, carried: &[u8]) {
        // Looked at before it is written: this is for every packet.
        if carried.first().is_some_and(|first| DTLS.contains(first)) && !self.busy.load(Ordering::Relaxed) {
            self.busy.store(true, Ordering::Release);
        }
    }

    /// A check of the other end arrived.
    pub(super) fn handle_checked(&self) {
        self.checked.store(true, Ordering::Release);
    }

    /// The stack wants to send a check.
    pub(super) fn handle_check(&self, now: Duration) {
        self.follows.store(self.checked.load(Ordering::Acquire), Ordering::Release);
        self.wanted_at.store(now.as_nanos() as u64, Ordering::Release);
    }

    /// How long after a check the same one says nothing new.
    pub(super) fn again_after(&self) -> Duration {
        match self.follows.load(Ordering::Acquire) {
            true => self.keepalive + self.keepalive / 2,
            false => AGAIN_AFTER.min(self.keepalive / 2),
        }
    }

    /// The driver is about to sleep for `wanted`; returns for how long it shall.
    pub(super) fn handle_sleep(&self, now: Duration, wanted: Duration) -> Duration {
        self.checked.store(false, Ordering::Release);
        if !self.is_quiet(now) {
            return wanted;
        }
        let every = match self.follows.load(Ordering::Acquire) {
            // The next check of the other end comes before.
            true => self.keepalive + self.keepalive / 4,
            false => self.keepalive,
        };
        let due = Duration::from_nanos(self.wanted_at.load(Ordering::Acquire)) + every;
        wanted.max(due.saturating_sub(now).min(QUIET_SLEEP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const SOON: Duration = Duration::from_millis(200);
    const DATA: [u8; 30] = [23; 30];

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_path_is_quiet_some_seconds_after_the_last_message() {
        let quiet = Quiet::new(seconds(2));
        assert!(!quiet.is_quiet(seconds(10)), "it has just begun");
        assert!(!quiet.is_quiet(seconds(11)));
        assert!(quiet.is_quiet(seconds(12)));
        quiet.note_traffic(&[0, 1]);
        assert!(quiet.is_quiet(seconds(16)), "checks and their answers are no traffic");
        quiet.note_traffic(&DATA);
        assert!(!quiet.is_quiet(seconds(20)));
        assert!(quiet.is_quiet(seconds(25)));
    }

    #[test]
    fn the_driver_of_a_quiet_path_sleeps_until_a_check_is_due() {
        let quiet = Quiet::new(seconds(2));
        quiet.handle_check(seconds(9));
        assert_eq!(quiet.handle_sleep(seconds(10), SOON), SOON, "it has just begun");
        quiet.handle_check(seconds(20));
        assert_eq!(quiet.handle_sleep(seconds(20), SOON), seconds(2));
        assert_eq!(quiet.handle_sleep(seconds(21), SOON), seconds(1));
        assert_eq!(quiet.handle_sleep(seconds(23), SOON), SOON, "overdue");
        assert_eq!(quiet.handle_sleep(seconds(21), LONG), LONG);
        quiet.note_traffic(&DATA);
        assert_eq!(quiet.handle_sleep(seconds(21), SOON), SOON);
    }

    #[test]
    fn who_checks_because_the_other_end_did_leaves_the_pace_to_it() {
        let quiet = Quiet::new(seconds(2));
        quiet.handle_sleep(seconds(1), SOON);
        quiet.handle_checked();
        quiet.handle_check(seconds(10));
        assert_eq!(quiet.again_after(), seconds(3), "every other time");
        assert_eq!(quiet.handle_sleep(seconds(10), SOON), Duration::from_millis(2500));
        quiet.handle_check(seconds(12));
        assert_eq!(quiet.again_after(), seconds(1));
        assert_eq!(quiet.handle_sleep(seconds(12), SOON), seconds(2), "that was a while ago");
    }

    #[test]
    fn rare_checks_do_not_hold_up_other_timers_of_the_stack() {
        let quiet = Quiet::new(seconds(25));
        quiet.handle_sleep(seconds(1), SOON);
        quiet.handle_check(seconds(10));
        assert_eq!(quiet.handle_sleep(seconds(10), SOON), QUIET_SLEEP);
    }
}
