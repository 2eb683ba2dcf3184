//! Which changes of the machine's addresses count, and when to tell of them. Pure.
//!
//! What counts: an address is gone; an address came, after another went, or back after a gap, or
//! as the first; the address that packets to far away leave from is another. What does not count:
//! a further address beside those in use (a bridge for containers), and what reaches only this
//! machine.
//!
//! A change of networks is a burst of such news over some tenths of a second, so it is told when
//! they pause. An interface that flaps for ever costs a bounded number of changes a minute.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::runtime::Instant;

/// News that are this far apart belong to two changes.
const PAUSE: Duration = Duration::from_millis(150);
/// A change is told after this time, even if the news do not pause.
const AT_MOST: Duration = Duration::from_secs(1);
/// What is there when the watch begins is no news.
const LEARNING: Duration = Duration::from_secs(1);
/// An address that went is remembered for this long.
const GAP: Duration = Duration::from_secs(60);
/// Addresses remembered that went.
const MAX_GONE: usize = 256;
/// Changes told within [`BUDGET_OVER`].
const BUDGET: usize = 12;
const BUDGET_OVER: Duration = Duration::from_secs(60);

/// The address that packets to far away leave from, for each family; `None` where there is no way.
pub(crate) type Sources = [Option<IpAddr>; 2];

/// The addresses of this machine, as far as they were told.
#[derive(Debug)]
pub(crate) struct Addresses {
    since: Instant,
    present: BTreeSet<IpAddr>,
    gone: BTreeMap<IpAddr, Instant>,
    sources: Option<Sources>,
    /// The first and the last news that were not told yet.
    untold: Option<(Instant, Instant)>,
    told: VecDeque<Instant>,
}

impl Addresses {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: now,
            present: BTreeSet::new(),
            gone: BTreeMap::new(),
            sources: None,
            untold: None,
            told: VecDeque::new(),
        }
    }

    /// The machine has this address.
    pub(crate) fn handle_up(&mut self, now: Instant, ip: IpAddr) {
        self.forget(now);
        if is_local(&ip) || !self.present.insert(ip) {
            return;
        }
        let came_back = self.gone.remove(&ip).is_some();
        let counts = if is_link_local(&ip) {
            // Each interface has one: only that it was away is news.
            came_back
        } else {
            let far = |ip: &&IpAddr| !is_link_local(ip);
            let is_first = self.present.iter().filter(far).count() == 1;
            came_back || is_first || self.gone.keys().any(|ip| far(&ip))
        };
        if counts && now.saturating_duration_since(self.since) >= LEARNING {
            self.note(now);
        }
    }

    /// The machine has this address no longer.
    pub(crate) fn handle_down(&mut self, now: Instant, ip: IpAddr) {
        self.forget(now);
        if !self.present.remove(&ip) {
            return;
        }
        if self.gone.len() < MAX_GONE {
            self.gone.insert(ip, now);
        }
        if !is_link_local(&ip) {
            self.note(now);
        }
    }

    /// Packets leave from here now.
    pub(crate) fn handle_sources(&mut self, now: Instant, sources: Sources) {
        if self.sources.replace(sources).is_some_and(|before| before != sources) {
            self.note(now);
        }
    }

    /// Packets leave from here now, which is part of a change that is told.
    pub(crate) fn adopt_sources(&mut self, sources: Sources) {
        self.sources = Some(sources);
    }

    /// When to [`poll`](Self::poll).
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let (first, last) = self.untold?;
        let due = (last + PAUSE).min(first + AT_MOST);
        let allowed = match self.told.len() < BUDGET {
            true => due,
            false => self.told.front().map_or(due, |oldest| *oldest + BUDGET_OVER),
        };
        Some(due.max(allowed))
    }

    /// Whether a change is to be told now. Says so once for each.
    pub(crate) fn poll(&mut self, now: Instant) -> bool {
        while self.told.front().is_some_and(|told| *told + BUDGET_OVER <= now) {
            self.told.pop_front();
        }
        if self.deadline().is_none_or(|due| due > now) {
            return false;
        }
        self.untold = None;
        self.told.push_back(now);
        true
    }

    fn note(&mut self, now: Instant) {
        self.untold = Some((self.untold.map_or(now, |(first, _)| first), now));
    }

    fn forget(&mut self, now: Instant) {
        self.gone.retain(|_, since| now.saturating_duration_since(*since) < GAP);
    }
}

/// Reaches this machine only, or nobody.
fn is_local(ip: &IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || ip.is_multicast()
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    struct Machine {
        now: Instant,
        addresses: Addresses,
        told: Vec<Instant>,
    }

    impl Machine {
        /// With Wi-Fi, past the beginning.
        #[allow(clippy::disallowed_methods)]
        fn new() -> Self {
            let now = Instant::now() + Duration::from_secs(3600);
            let mut machine = Self { now, addresses: Addresses::new(now), told: vec![] };
            machine.up("127.0.0.1");
            machine.up("::1");
            machine.up("fe80::1");
            machine.up("192.0.2.10");
            machine.from("192.0.2.10");
            machine.run(10 * SECOND);
            assert!(machine.told.is_empty(), "what was there from the beginning is no news");
            machine
        }

        fn up(&mut self, ip: &str) {
            self.addresses.handle_up(self.now, ip.parse().unwrap());
        }

        fn down(&mut self, ip: &str) {
            self.addresses.handle_down(self.now, ip.parse().unwrap());
        }

        fn from(&mut self, ip: &str) {
            self.addresses.handle_sources(self.now, [ip.parse().ok(), None]);
        }

        fn run(&mut self, time: Duration) {
            let until = self.now + time;
            while let Some(due) = self.addresses.deadline().filter(|due| *due <= until) {
                self.now = self.now.max(due);
                assert!(self.addresses.poll(self.now), "it is due and does not come");
                self.told.push(self.now);
            }
            self.now = until;
            assert!(!self.addresses.poll(self.now));
        }

        fn changes(&mut self) -> usize {
            self.run(5 * SECOND);
            std::mem::take(&mut self.told).len()
        }
    }

    #[test]
    fn a_burst_of_news_is_one_change_told_soon() {
        let mut machine = Machine::new();
        let since = machine.now;
        machine.down("192.0.2.10");
        machine.from("none");
        machine.run(40 * MS);
        machine.up("198.51.100.7");
        machine.run(40 * MS);
        machine.from("198.51.100.7");
        machine.run(5 * SECOND);
        assert_eq!(machine.told, [since + 80 * MS + PAUSE]);
    }

    #[test]
    fn news_that_do_not_pause_are_told_all_the_same() {
        let mut machine = Machine::new();
        let since = machine.now;
        for round in 0..100 {
            machine.from(if round % 2 == 0 { "198.51.100.7" } else { "192.0.2.10" });
            machine.run(100 * MS);
        }
        assert_eq!(machine.told[0], since + AT_MOST);
    }

    #[test]
    fn the_same_address_after_a_gap_counts() {
        for gap in [10 * MS, 500 * MS, 30 * SECOND] {
            let mut machine = Machine::new();
            machine.down("192.0.2.10");
            machine.run(gap);
            machine.up("192.0.2.10");
            machine.run(5 * SECOND);
            let last = machine.told.last().expect("a change was told");
            assert_eq!(*last, machine.now - 5 * SECOND + PAUSE, "after {gap:?}");
        }
        // An interface that was down for a moment keeps its IPv4 address: only this tells of it.
        let mut machine = Machine::new();
        machine.down("fe80::1");
        machine.run(SECOND);
        machine.up("fe80::1");
        assert_eq!(machine.changes(), 1);
    }

    #[test]
    fn a_new_address_that_comes_late_counts() {
        let mut machine = Machine::new();
        machine.down("192.0.2.10");
        assert_eq!(machine.changes(), 1);
        machine.run(20 * SECOND);
        machine.up("198.51.100.7");
        assert_eq!(machine.changes(), 1);
    }

    #[test]
    fn another_way_out_counts_though_no_address_changed() {
        let mut machine = Machine::new();
        machine.up("198.51.100.7");
        assert_eq!(machine.changes(), 0);
        machine.from("198.51.100.7");
        assert_eq!(machine.changes(), 1);
        machine.from("none");
        assert_eq!(machine.changes(), 1);
    }

    #[test]
    fn bridges_beside_and_what_reaches_only_this_machine_do_not_count() {
        let mut machine = Machine::new();
        for number in 2..50 {
            machine.up(&format!("172.17.{number}.1"));
            machine.up(&format!("fe80::{number}"));
            machine.up("127.0.0.2");
            machine.down("127.0.0.2");
            machine.down("203.0.113.1");
            machine.run(SECOND);
        }
        assert_eq!(machine.changes(), 0);
        assert_eq!(machine.addresses.gone.len(), 0);
    }

    #[test]
    fn an_interface_that_flaps_for_ever_is_told_of_at_a_bounded_rate() {
        let mut machine = Machine::new();
        for _ in 0..3600 {
            machine.down("192.0.2.10");
            machine.run(500 * MS);
            machine.up("192.0.2.10");
            machine.run(500 * MS);
        }
        let told = machine.changes();
        assert!((600..=13 * 60).contains(&told), "{told} changes in an hour");
        assert_eq!(machine.changes(), 0, "and when it rests, so do we");
    }
}
