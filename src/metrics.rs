//! Counters and histograms through the [`metrics`](https://docs.rs/metrics) facade, with the
//! feature `metrics`. Without it, and without a recorder, they cost nothing.
//!
//! | name | kind | labels | what |
//! | --- | --- | --- | --- |
//! | `everlink_recoveries_total` | counter | `cause`, `rung` | recoveries, see [`Recovery`](crate::Recovery) |
//! | `everlink_recovery_seconds` | histogram | `cause`, `rung` | from the trouble noticed to the recovery |
//! | `everlink_dial_attempts_total` | counter | | attempts at a new link that were begun |
//! | `everlink_dial_failures_total` | counter | | attempts that failed while there was no link |
//! | `everlink_unacknowledged_seconds` | histogram | | age of the oldest message that is not acknowledged, looked at about once a second while a connection is busy |
//! | `everlink_messages_replayed_total` | counter | | messages sent again after a link was lost |
//! | `everlink_messages_deduplicated_total` | counter | | messages that came twice and were delivered once |
//! | `everlink_messages_expired_total` | counter | | messages of this side that waited too long |
//! | `everlink_messages_overflowed_total` | counter | | messages of this side dropped from a full queue |
//! | `everlink_probes_total` | counter | | probes sent |
//!
//! The values of `cause` are those of [`RecoveryCause::as_str`](crate::RecoveryCause::as_str), of
//! `rung` those of [`RecoveryRung::as_str`](crate::RecoveryRung::as_str). All are the same for every
//! connection of the process: the number of series does not grow with the number of peers.

use crate::durable::core::Counters;
use crate::runtime::Instant;

/// What one connection has told so far.
#[derive(Debug, Default)]
pub(crate) struct Told {
    #[cfg(feature = "metrics")]
    counters: Counters,
    #[cfg(feature = "metrics")]
    looked: Option<Instant>,
}

#[cfg(feature = "metrics")]
mod telling {
    use std::time::Duration;

    use super::{Counters, Instant, Told};
    use crate::durable::ConnectionEvent;

    /// How often to look at the age of what is not acknowledged.
    const LOOK_EVERY: Duration = Duration::from_secs(1);

    impl Told {
        /// An attempt at a new link begins.
        pub(crate) fn dialed(&self) {
            metrics::counter!("everlink_dial_attempts_total").increment(1);
        }

        /// Something happened to the connection.
        pub(crate) fn event(&self, event: &ConnectionEvent) {
            match event {
                ConnectionEvent::Recovered(recovery) => {
                    let labels = [("cause", recovery.cause.as_str()), ("rung", recovery.rung.as_str())];
                    metrics::counter!("everlink_recoveries_total", &labels).increment(1);
                    metrics::histogram!("everlink_recovery_seconds", &labels)
                        .record(recovery.after.as_secs_f64());
                }
                ConnectionEvent::AttemptFailed { .. } => {
                    metrics::counter!("everlink_dial_failures_total").increment(1);
                }
                _ => {}
            }
        }

        /// The figures as they are now; what they grew by is told.
        pub(crate) fn counted(&mut self, counters: Counters) {
            if self.counters == counters {
                return;
            }
            let before = std::mem::replace(&mut self.counters, counters);
            let tell = |name: &'static str, now: u64, before: u64| {
                if now > before {
                    metrics::counter!(name).increment(now - before);
                }
            };
            tell("everlink_messages_replayed_total", counters.replayed, before.replayed);
            tell("everlink_messages_deduplicated_total", counters.deduplicated, before.deduplicated);
            tell("everlink_messages_expired_total", counters.expired, before.expired);
            tell("everlink_messages_overflowed_total", counters.overflowed, before.overflowed);
            tell("everlink_probes_total", counters.probes, before.probes);
        }

        /// Whether it is time to look at the oldest message that is not acknowledged.
        pub(crate) fn wants_age(&mut self, now: Instant) -> bool {
            let due = self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_EVERY);
            if due {
                self.looked = Some(now);
            }
            due
        }

        /// The age of that message.
        pub(crate) fn age(&self, age: Duration) {
            metrics::histogram!("everlink_unacknowledged_seconds").record(age.as_secs_f64());
        }
    }
}

#[cfg(not(feature = "metrics"))]
mod telling {
    //! Nobody is told.

    use std::time::Duration;

    use super::{Counters, Instant, Told};
    use crate::durable::ConnectionEvent;

    impl Told {
        pub(crate) fn dialed(&self) {}
        pub(crate) fn event(&self, _: &ConnectionEvent) {}
        pub(crate) fn counted(&mut self, _: Counters) {}
        pub(crate) fn wants_age(&mut self, _: Instant) -> bool {
            false
        }
        pub(crate) fn age(&self, _: Duration) {}
    }
}
