//! How long to wait before trying again: exponential, jittered inside the cap. Pure.

use std::time::Duration;

use rand::{RngExt as _, rngs::StdRng};

/// Counts failures in a row and says how long to wait after each.
#[derive(Clone, Debug)]
pub(crate) struct Retry {
    base: Duration,
    max: Duration,
    failures: u32,
}

impl Retry {
    /// Waits up to `base` after the first failure, twice as long after each further one, never
    /// more than `max`.
    pub(crate) fn new(base: Duration, max: Duration) -> Self {
        Self { base, max: max.max(base), failures: 0 }
    }

    /// One more failure: how long to wait now. Drawn from the upper half of the step, so that
    /// many who failed together come back spread out, and nobody at once.
    pub(crate) fn failed(&mut self, rng: &mut StdRng) -> Duration {
        let step = self.base.saturating_mul(1 << self.failures.min(20)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// Whether nothing failed since the last evidence of health.
    pub(crate) fn is_fresh(&self) -> bool {
        self.failures == 0
    }

    /// Evidence of health: the next failure is the first again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn doubles_up_to_the_cap_with_the_jitter_inside_it() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut retry = Retry::new(Duration::from_secs(1), Duration::from_secs(10));
        for step in [1, 2, 4, 8, 10, 10, 10].map(Duration::from_secs) {
            let delay = retry.failed(&mut rng);
            assert!((step / 2..=step).contains(&delay), "{delay:?} of {step:?}");
        }
        for _ in 0..100 {
            assert!(retry.failed(&mut rng) <= Duration::from_secs(10));
        }
        retry.reset();
        assert!(retry.failed(&mut rng) <= Duration::from_secs(1));
    }
}
