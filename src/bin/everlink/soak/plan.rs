//! What befalls a soak and when: a function of its seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// One of the three processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Who {
    Server,
    Host,
    Peer,
}

impl Who {
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Host => "host",
            Self::Peer => "peer",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// `kill -9`, and a new process after a while.
    Kill { who: Who, away: Duration },
    /// One end closes the link under its connection.
    Close(Who),
    /// Nothing passes for so long, and nobody is told.
    Blackout(Duration),
    /// The other end sees the peer under another port.
    Rebind,
    /// The path is bad for a while, both ways.
    Storm(Storm),
}

/// What a bad path does to packets, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Storm {
    pub lasts: Duration,
    /// The share of packets lost.
    pub loss: f64,
    pub delay: Duration,
    /// At most so much more delay.
    pub jitter: Duration,
    /// The share of packets overtaken.
    pub reorder: f64,
    /// The share of packets that come twice.
    pub duplicate: f64,
}

impl Storm {
    fn draw(chance: &mut StdRng) -> Self {
        Self {
            lasts: Duration::from_millis(chance.random_range(500..=4000)),
            loss: chance.random_range(0.01..=0.1),
            delay: Duration::from_millis(chance.random_range(0..=60)),
            jitter: Duration::from_millis(chance.random_range(0..=40)),
            reorder: chance.random_range(0.0..=0.1),
            duplicate: chance.random_range(0.0..=0.1),
        }
    }

    /// As one line to the process that suffers it.
    pub fn command(self) -> String {
        let Self { lasts, loss, delay, jitter, reorder, duplicate } = self;
        let [lasts, delay, jitter] = [lasts, delay, jitter].map(|time| time.as_millis());
        format!("storm {lasts} {loss} {delay} {jitter} {reorder} {duplicate}")
    }

    /// What [`command`](Self::command) said.
    pub fn parse(command: &str) -> Option<Self> {
        let mut words = command.strip_prefix("storm ")?.split(' ');
        let mut number = || words.next()?.parse::<f64>().ok();
        let millis = |number: f64| Duration::try_from_secs_f64(number / 1000.0).ok();
        Some(Self {
            lasts: millis(number()?)?,
            loss: number()?,
            delay: millis(number()?)?,
            jitter: millis(number()?)?,
            reorder: number()?,
            duplicate: number()?,
        })
    }
}

impl Fault {
    /// What the table calls it.
    pub fn name(self) -> String {
        match self {
            Self::Kill { who, .. } => format!("{} killed", who.name()),
            Self::Close(who) => format!("link closed by the {}", who.name()),
            Self::Blackout(_) => "blackout".to_owned(),
            Self::Rebind => "new port of the peer".to_owned(),
            Self::Storm(_) => "a bad path".to_owned(),
        }
    }

    #[cfg(test)]
    fn is_kill(self) -> bool {
        matches!(self, Self::Kill { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Since the beginning.
    pub at: Duration,
    pub fault: Fault,
    /// Whether the next step may come before everything has recovered from this one.
    pub careless: bool,
}

/// How often what befalls a soak.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub kills: u32,
    pub cuts: u32,
    pub storms: u32,
}

/// So many faults at random moments of `lasts`.
pub fn plan(seed: u64, times: Times, lasts: Duration) -> Vec<Step> {
    let Times { kills, cuts, storms } = times;
    let mut chance = StdRng::seed_from_u64(seed);
    let mut whats: Vec<Fault> = Vec::new();
    for at in 0..kills {
        // All three are killed, whatever the dice say.
        let who = [Who::Host, Who::Peer, Who::Host, Who::Peer, Who::Server][at as usize % 5];
        let away = Duration::from_millis(chance.random_range(0..=400));
        whats.push(Fault::Kill { who, away });
    }
    for at in 0..cuts {
        whats.push(match at % 10 {
            0 | 2 | 4 | 6 => Fault::Close(Who::Peer),
            1 | 5 | 9 => Fault::Close(Who::Host),
            3 => Fault::Blackout(Duration::from_millis(chance.random_range(100..=1500))),
            7 => Fault::Rebind,
            _ => Fault::Blackout(Duration::from_millis(chance.random_range(500..=4000))),
        });
    }
    // Of their own, so that kills and cuts are the same with them and without.
    let mut weather = StdRng::seed_from_u64(!seed);
    whats.extend((0..storms).map(|_| Fault::Storm(Storm::draw(&mut weather))));
    let mut steps: Vec<Step> = whats
        .into_iter()
        .map(|fault| Step { at: lasts.mul_f64(chance.random()), fault, careless: chance.random_bool(0.15) })
        .collect();
    steps.sort_by_key(|step| step.at);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_plan_of_as_many_faults_as_were_asked_for() {
        let lasts = Duration::from_secs(60);
        let times = Times { kills: 20, cuts: 50, storms: 10 };
        let steps = plan(1, times, lasts);
        assert_eq!(steps, plan(1, times, lasts));
        assert_ne!(steps, plan(2, times, lasts));
        assert_eq!(steps.iter().filter(|step| step.fault.is_kill()).count(), 20);
        assert_eq!(steps.len(), 80);
        assert!(steps.is_sorted_by_key(|step| step.at) && steps[79].at <= lasts);
        let (stormy, calm): (Vec<Step>, Vec<Step>) =
            steps.iter().partition(|step| matches!(step.fault, Fault::Storm(_)));
        assert_eq!(stormy.len(), 10);
        assert_eq!(calm, plan(1, Times { storms: 0, ..times }, lasts));
        for who in [Who::Server, Who::Host, Who::Peer] {
            let is = |step: &&Step| matches!(step.fault, Fault::Kill { who: killed, .. } if killed == who);
            assert!(steps.iter().filter(is).count() >= 4, "{who:?}");
        }
    }

    #[test]
    fn a_storm_is_the_same_for_who_suffers_it() {
        let mut chance = StdRng::seed_from_u64(3);
        for _ in 0..100 {
            let storm = Storm::draw(&mut chance);
            assert_eq!(Storm::parse(&storm.command()), Some(storm));
        }
        for bad in ["", "storm", "storm 1", "dark 1 2 3 4 5 6", "storm -1 0 0 0 0 0", "storm a b c d e f"] {
            assert_eq!(Storm::parse(bad), None, "{bad:?}");
        }
    }
}
