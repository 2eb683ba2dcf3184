//! When to try again.

use std::time::Duration;

use rand::{Rng, RngExt as _};

use crate::config::Backoff;
use crate::runtime::Instant;

impl Backoff {
    /// The wait after `failures` attempts in a row, 1 being the first: `min(base · 2ⁿ⁻¹, max)`,
    /// shortened by up to `jitter` of itself.
    pub(crate) fn delay(&self, failures: u32, rng: &mut impl Rng) -> Duration {
        let doubled =
            2u32.checked_pow(failures.saturating_sub(1)).and_then(|factor| self.base.checked_mul(factor));
        let full = doubled.unwrap_or(self.max).min(self.max);
        let jitter = if self.jitter.is_finite() { self.jitter.clamp(0.0, 1.0) } else { 0.0 };
        // `mul_f64` of the longest durations would pass what a `Duration` holds.
        full.min(FOREVER).mul_f64(1.0 - jitter * rng.random::<f64>())
    }

    /// Whether another attempt is allowed after `failures` in a row.
    pub(crate) fn allows(&self, failures: u32) -> bool {
        self.max_attempts.is_none_or(|max| failures < max)
    }
}

/// Longer than anything waits; short enough to be added to any clock.
pub(crate) const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// `after` from `now`; settings may say "never" by the longest duration.
pub(super) fn later(now: Instant, after: Duration) -> Instant {
    now + after.min(FOREVER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    #[test]
    fn grows_to_the_cap_and_jitters_below_it() {
        let backoff = Backoff::default();
        let mut rng = StdRng::seed_from_u64(1);
        for failures in 1..100 {
            let full = Duration::from_secs(1 << (failures - 1).min(5)).min(backoff.max);
            for _ in 0..50 {
                let delay = backoff.delay(failures, &mut rng);
                assert!(delay <= full && delay >= full.mul_f64(0.8), "{failures}: {delay:?} of {full:?}");
            }
        }
    }

    #[test]
    fn survives_absurd_settings() {
        let mut rng = StdRng::seed_from_u64(1);
        let backoff =
            Backoff { jitter: f64::NAN, base: Duration::MAX, max: Duration::MAX, ..Backoff::default() };
        assert_eq!(backoff.delay(u32::MAX, &mut rng), FOREVER);
    }
}
