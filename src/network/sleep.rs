//! Noticing that the machine slept, or the process was stopped. Pure: whoever ticks passes both
//! clocks in.
//!
//! On some systems the monotonic clock stops in sleep, and the wall clock runs ahead of it; on
//! others both go on, and a tick comes much too late. A wall clock that is set back means nothing;
//! one that is set ahead is taken for a sleep, which costs a probe.

use std::time::Duration;

use crate::runtime::Instant;

/// How far the wall clock must run ahead of the monotonic one.
const AHEAD: Duration = Duration::from_secs(3);
/// How late a tick must be: a busy machine is late by less.
const LATE: Duration = Duration::from_secs(10);

/// Compares the clocks of two ticks.
#[derive(Debug, Default)]
pub(crate) struct SleepWatch {
    last: Option<(Instant, u64)>,
}

impl SleepWatch {
    /// A tick, which was to come `every` after the one before. Says for how long the machine slept,
    /// if it did. `wall` is in milliseconds.
    pub(crate) fn tick(&mut self, now: Instant, wall: u64, every: Duration) -> Option<Duration> {
        let (before, wall_before) = self.last.replace((now, wall))?;
        let passed = now.saturating_duration_since(before);
        let wall_passed = Duration::from_millis(wall.saturating_sub(wall_before));
        let ahead = Some(wall_passed.saturating_sub(passed)).filter(|ahead| *ahead >= AHEAD);
        let late = Some(passed.saturating_sub(every)).filter(|late| *late >= LATE);
        ahead.max(late)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(2);

    /// Ticks as the monotonic and the wall clock say, in milliseconds.
    #[allow(clippy::disallowed_methods)]
    fn slept(ticks: &[(u64, u64)]) -> Vec<Option<u64>> {
        let start = Instant::now() + Duration::from_secs(3600);
        let mut watch = SleepWatch::default();
        let ticks = ticks.iter().map(|(mono, wall)| {
            watch.tick(start + Duration::from_millis(*mono), 1_700_000_000_000 + wall, EVERY)
        });
        ticks.map(|slept| slept.map(|slept| slept.as_secs())).collect()
    }

    #[test]
    fn a_clock_that_stopped_and_one_that_went_on_both_tell_of_sleep() {
        assert_eq!(
            slept(&[(0, 0), (2000, 2000), (4000, 604_000), (6000, 606_000)]),
            [None, None, Some(600), None]
        );
        assert_eq!(slept(&[(0, 0), (602_000, 602_000), (604_000, 604_000)]), [None, Some(600), None]);
    }

    #[test]
    fn a_busy_machine_and_small_steps_of_the_clock_do_not() {
        assert_eq!(slept(&[(0, 0), (9000, 9000), (11_000, 13_500)]), [None; 3]);
        // Set back by an hour; and a clock that stands still, as in tests.
        assert_eq!(slept(&[(3_600_000, 3_600_000), (3_602_000, 2000), (3_604_000, 4000)]), [None; 3]);
        assert_eq!(slept(&[(0, 0), (2000, 0), (4000, 0)]), [None; 3]);
    }
}
