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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`, and a new process after a while.
    Kill { who: Who, away: Duration },
    /// One end closes the link under its connection.
    Close(Who),
    /// Nothing passes for so long, and nobody is told.
    Blackout(Duration),
    /// The other end sees the peer under another port.
    Rebind,
}

impl Fault {
    /// What the table calls it.
    pub fn name(self) -> String {
        match self {
            Self::Kill { who, .. } => format!("{} killed", who.name()),
            Self::Close(who) => format!("link closed by the {}", who.name()),
            Self::Blackout(_) => "blackout".to_owned(),
            Self::Rebind => "new port of the peer".to_owned(),
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

/// `kills` and `cuts` at random moments of `lasts`.
pub fn plan(seed: u64, kills: u32, cuts: u32, lasts: Duration) -> Vec<Step> {
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
        let steps = plan(1, 20, 50, lasts);
        assert_eq!(steps, plan(1, 20, 50, lasts));
        assert_ne!(steps, plan(2, 20, 50, lasts));
        assert_eq!(steps.iter().filter(|step| step.fault.is_kill()).count(), 20);
        assert_eq!(steps.len(), 70);
        assert!(steps.is_sorted_by_key(|step| step.at) && steps[69].at <= lasts);
        for who in [Who::Server, Who::Host, Who::Peer] {
            let is = |step: &&Step| matches!(step.fault, Fault::Kill { who: killed, .. } if killed == who);
            assert!(steps.iter().filter(is).count() >= 4, "{who:?}");
        }
    }
}
