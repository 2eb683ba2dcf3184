//! A clock that goes on in sleep.
//!
//! On many systems the monotonic clock stands still while the machine sleeps. A leader that counts its lease by it
//! would wake and still take itself for the leader, long after the room gave control to another. The wall clock
//! goes on in sleep, but can be set. This clock goes on by whichever of them went on further: a wall clock set ahead
//! costs a leader its lease for a moment, and nothing ever gives it more. The room, which must be the last to take a lease for
//! ended, goes by the monotonic clock alone.

use std::time::Duration;

use crate::durable::WallClock;
use crate::runtime::{self, Instant};

/// See above. Pure: both clocks are passed in.
#[derive(Debug)]
pub(super) struct SleepProofClock {
    seen: WallClock,
    now: Instant,
}

impl SleepProofClock {
    pub(super) fn new(seen: WallClock) -> Self {
        Self { seen, now: seen.at }
    }

    /// The time, as both clocks say.
    pub(super) fn advance(&mut self, seen: WallClock) -> WallClock {
        let went_on = seen.at.saturating_duration_since(self.seen.at);
        let wall = Duration::from_millis(seen.millis.saturating_sub(self.seen.millis));
        // Whole milliseconds, of which one may be the rest of the one before.
        let wall = wall.saturating_sub(Duration::from_millis(1));
        self.now += went_on.max(wall);
        self.seen = seen;
        WallClock { at: self.now, millis: seen.millis }
    }

    /// The time now.
    pub(super) fn read(&mut self) -> WallClock {
        self.advance(runtime::wall_clock())
    }

    /// How long until a time of this clock.
    pub(super) fn until(&mut self, deadline: Instant) -> Duration {
        deadline.saturating_duration_since(self.read().at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn it_goes_on_in_sleep_and_never_back() {
        let start = Instant::now() + Duration::from_secs(3600);
        let at =
            |mono: u64, wall: u64| WallClock { at: start + Duration::from_secs(mono), millis: wall * 1000 };
        let mut clock = SleepProofClock::new(at(0, 1000));
        let mut passed = |mono, wall| (clock.advance(at(mono, wall)).at - start).as_secs_f64().round();
        assert_eq!(passed(10, 1010), 10.0);
        // Asleep for a minute.
        assert_eq!(passed(11, 1071), 71.0);
        // Set back by an hour, then ahead again: the first costs nothing, the second is taken for sleep.
        assert_eq!(passed(21, 0), 81.0);
        assert_eq!(passed(31, 10), 91.0);
        assert_eq!(passed(32, 1011), 1092.0);
    }
}
