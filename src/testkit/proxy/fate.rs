//! What becomes of a packet: pure, and a function of the seed, the packet's number and the time.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// What happens to the packets of one direction. Change it while traffic flows with
/// [`UdpProxy::update`](super::UdpProxy::update). The default is a clean path.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Faults {
    /// The share of packets lost, 0 to 1.
    pub loss: f64,
    /// How long each packet travels.
    pub delay: Duration,
    /// A further delay, drawn for each packet from zero to this. Packets keep their order.
    pub jitter: Duration,
    /// The share of packets, 0 to 1, that are held back by 2 to 20 ms more and so are overtaken.
    pub reorder: f64,
    /// The share of packets, 0 to 1, that come a second time, up to 20 ms later.
    pub duplicate: f64,
    /// How many bytes a second the path carries; `None` is any number. What would wait in its
    /// queue for more than half a second is lost.
    pub rate: Option<u64>,
    /// Everything is lost, and nobody is told.
    pub blackout: bool,
}

/// The longest wait for a path with a [`Faults::rate`].
const MAX_QUEUE: Duration = Duration::from_millis(500);
/// By how much a packet is late that is overtaken.
const LATE: std::ops::RangeInclusive<f64> = 0.002..=0.020;

/// One direction of a path.
#[derive(Debug)]
pub(super) struct Line {
    seed: u64,
    /// The number of the next packet.
    next: u64,
    /// When the path has sent what waits for it.
    free_at: Duration,
    /// When the latest packet in order arrives.
    latest: Duration,
}

/// When the copies of one packet arrive: none, one or two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) first: Option<Duration>,
    pub(super) second: Option<Duration>,
}

impl Line {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, next: 0, free_at: Duration::ZERO, latest: Duration::ZERO }
    }

    /// What becomes of the next packet, of `bytes`, sent at `now`.
    pub(super) fn fate(&mut self, faults: &Faults, now: Duration, bytes: usize) -> Fate {
        // A generator for each packet: what one draws does not shift the fate of the next.
        let mut chance = StdRng::seed_from_u64(self.seed ^ self.next.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        self.next += 1;
        let mut draw = |share: f64| chance.random::<f64>() < share;
        let (lost, overtaken, twice) = (draw(faults.loss), draw(faults.reorder), draw(faults.duplicate));
        let jitter = faults.jitter.mul_f64(chance.random::<f64>());
        let [late, again] = [(); 2].map(|()| Duration::from_secs_f64(chance.random_range(LATE)));
        if faults.blackout || lost {
            return Fate::default();
        }
        let mut leaves = now;
        if let Some(rate) = faults.rate {
            let begins = self.free_at.max(now);
            if begins - now > MAX_QUEUE {
                return Fate::default();
            }
            leaves = begins + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
            self.free_at = leaves;
        }
        let arrives = leaves + faults.delay + jitter;
        let first = if overtaken {
            arrives + late
        } else {
            self.latest = self.latest.max(arrives);
            self.latest
        };
        Fate { first: Some(first), second: twice.then_some(first + again) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn fates(seed: u64, faults: &Faults, count: u32) -> Vec<Fate> {
        let mut line = Line::new(seed);
        (0..count).map(|at| line.fate(faults, MS * at, 1000)).collect()
    }

    #[test]
    fn a_clean_path_changes_nothing() {
        for (at, fate) in fates(1, &Faults::default(), 100).into_iter().enumerate() {
            assert_eq!(fate, Fate { first: Some(MS * at as u32), second: None });
        }
    }

    #[test]
    fn one_seed_is_one_fate_and_the_shares_are_kept() {
        let faults = Faults { loss: 0.1, reorder: 0.2, duplicate: 0.3, ..Faults::default() };
        let seen = fates(9, &faults, 20_000);
        assert_eq!(seen, fates(9, &faults, 20_000));
        assert_ne!(seen, fates(10, &faults, 20_000));
        let share = |of: &dyn Fn(usize, &Fate) -> bool| {
            seen.iter().enumerate().filter(|(at, fate)| of(*at, fate)).count() as f64 / 20_000.0
        };
        assert!((share(&|_, fate| fate.first.is_none()) - 0.1).abs() < 0.01);
        assert!((share(&|_, fate| fate.second.is_some()) - 0.27).abs() < 0.015);
        let late = share(&|at, fate| fate.first.is_some_and(|first| first > MS * at as u32));
        assert!((late - 0.18).abs() < 0.015, "{late}");
    }

    #[test]
    fn jitter_delays_and_keeps_the_order() {
        let faults = Faults { delay: MS * 40, jitter: MS * 30, ..Faults::default() };
        let seen: Vec<Duration> = fates(3, &faults, 1000).into_iter().filter_map(|fate| fate.first).collect();
        assert!(seen.is_sorted());
        for (at, arrived) in seen.iter().enumerate() {
            let took = *arrived - MS * at as u32;
            assert!(took >= MS * 40 && took <= MS * 70, "{took:?}");
        }
    }

    #[test]
    fn a_rate_is_kept_and_its_queue_overflows() {
        // 1000 bytes each millisecond over a path of 500,000 bytes a second: half is too much.
        let faults = Faults { rate: Some(500_000), ..Faults::default() };
        let seen = fates(3, &faults, 4000);
        let arrived: Vec<Duration> = seen.iter().filter_map(|fate| fate.first).collect();
        assert!(arrived.is_sorted());
        for window in arrived.windows(501) {
            assert!(window[500] - window[0] >= MS * 999, "{window:?}");
        }
        assert!((2200..2400).contains(&arrived.len()), "{}", arrived.len());
    }

    #[test]
    fn a_blackout_takes_everything_and_spares_the_later_fates() {
        let (clean, dark) =
            (Faults { loss: 0.5, ..Faults::default() }, Faults { blackout: true, ..Faults::default() });
        let mut line = Line::new(5);
        let seen: Vec<Fate> =
            (0..200).map(|at| line.fate(if at < 100 { &dark } else { &clean }, MS * at, 10)).collect();
        assert!(seen[..100].iter().all(|fate| fate.first.is_none()));
        assert_eq!(seen[100..], fates(5, &clean, 200)[100..]);
    }
}
