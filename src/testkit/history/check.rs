//! The judge: both ends' logs against the guarantees.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::log::{Entry, Log, What};

/// Violations kept with their excerpts; the rest is counted.
const MAX_SHOWN: usize = 20;
/// Lines of one end in an excerpt.
const MAX_LINES: usize = 24;

/// What two logs say about the promises.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// The seed of the run, as given.
    pub seed: u64,
    /// What was found, both directions together.
    pub counts: Counts,
    /// What broke a promise: the first twenty.
    pub violations: Vec<Violation>,
}

/// What a [`Verdict`] counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Messages that were taken, or may have been.
    pub sent: u64,
    /// Messages that arrived, each counted once.
    pub received: u64,
    /// Messages that came again after their receiver was restarted, before it had acknowledged
    /// them: that is allowed.
    pub replayed: u64,
    /// Messages that did not arrive and of which both ends know.
    pub explained: u64,
    /// Restarts of either end.
    pub restarts: u64,
    /// Messages that were owed and did not arrive.
    pub lost: u64,
    /// Messages that came twice.
    pub doubled: u64,
    /// Messages that came after a later one.
    pub reordered: u64,
    /// Drops or gaps of which only one end knows, or which did not happen.
    pub unexplained: u64,
}

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViolationKind {
    /// It was owed and did not arrive.
    Lost,
    /// It came twice, not only because its receiver was restarted.
    Doubled,
    /// It came after a later one.
    Reordered,
    /// It did not arrive, and one end was not told.
    Unexplained,
    /// It arrived, and an end was told that it would not.
    FalseAlarm,
    /// It arrived, and nobody sent it.
    Invented,
    /// The log contradicts itself: a number was used twice.
    BadLog,
}

/// One broken promise, with the part of both logs that shows it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Violation {
    /// Which promise.
    pub kind: ViolationKind,
    /// The channel's label.
    pub channel: String,
    /// The message's number.
    pub message: u64,
    /// What is wrong, in a sentence.
    pub what: String,
    /// The lines of both logs that bear on it.
    pub excerpt: Vec<String>,
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        let Counts { lost, doubled, reordered, unexplained, .. } = self.counts;
        lost + doubled + reordered + unexplained == 0 && self.violations.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { sent, received, replayed, explained, restarts, lost, doubled, reordered, unexplained } =
            self.counts;
        writeln!(
            f,
            "seed {}: {sent} sent, {received} received, {replayed} came again after a restart, {explained} \
             gaps explained, {restarts} restarts; {lost} lost, {doubled} doubled, {reordered} reordered, \
             {unexplained} unexplained",
            self.seed
        )?;
        for violation in &self.violations {
            let Violation { kind, channel, message, what, excerpt } = violation;
            writeln!(f, "{kind:?}: message {message} of {channel:?}: {what}")?;
            for line in excerpt {
                writeln!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}

/// Judges the logs of the two ends, in either order: whether every message that was owed arrived
/// once and in order, or both ends know that it did not.
///
/// Owed is what the sender recorded as [`Stored`](super::Happened::Stored) or as
/// [`Acked`](super::Happened::Acked), and what it recorded as [`Sent`](super::Happened::Sent)
/// after its last start. A message may come again after a restart of its *receiver*, but for those
/// that the sender saw acknowledged before. Whoever is killed loses the reports it had not written
/// down yet: a gap that only the other end names is explained by such a restart. Takes time and
/// memory in proportion to the logs.
///
/// `seed` is repeated in the verdict, to run it again.
pub fn check(seed: u64, one: &Log, other: &Log) -> Verdict {
    let mut judge = Judge { counts: Counts::default(), violations: Vec::new() };
    for log in [one, other] {
        judge.counts.restarts += starts(log).len().saturating_sub(1) as u64;
    }
    judge.direction(one, other);
    judge.direction(other, one);
    Verdict { seed, counts: judge.counts, violations: judge.violations }
}

/// When each life of an end after the first began; the first has time 0.
fn starts(log: &Log) -> Vec<u64> {
    let mut starts = vec![0];
    for (at, entry) in log.entries.iter().enumerate() {
        if entry.what == What::Started && at > 0 {
            starts.push(entry.at);
        }
    }
    starts
}

/// A message as its sender knows it, and how often it arrived.
#[derive(Default)]
struct Sent {
    message: u64,
    /// The sender's life in which it was sent.
    life: usize,
    seq: Option<u64>,
    refused: bool,
    stored: bool,
    acked: Option<u64>,
    /// Reported as dropped; whether that is certain.
    dropped: Option<bool>,
    /// The receiver's life in which it arrived last.
    arrived: Option<usize>,
}

#[derive(Default)]
struct Channel {
    sent: Vec<Sent>,
    by_number: HashMap<u64, usize>,
    /// The last message that arrived in the receiver's present life.
    last: Option<(usize, usize)>,
    /// The latest message that ever arrived.
    high: Option<usize>,
    /// From each gap's first number to its last.
    gaps: BTreeMap<u64, u64>,
}

impl Channel {
    fn has_gap(&self, seq: Option<u64>) -> bool {
        let Some(seq) = seq else { return false };
        self.gaps.range(..=seq).next_back().is_some_and(|(_, to)| *to >= seq)
    }
}

struct Judge {
    counts: Counts,
    violations: Vec<Violation>,
}

impl Judge {
    fn direction(&mut self, sender: &Log, receiver: &Log) {
        let mut channels = self.read_sender(sender, receiver);
        self.read_receiver(sender, receiver, &mut channels);
        let (lives, lives_there) = (starts(sender).len(), starts(receiver).len());
        let lost_session = [sender, receiver]
            .iter()
            .any(|log| log.entries.iter().any(|entry| entry.what == What::SessionLost));
        for (name, channel) in &channels {
            for sent in &channel.sent {
                let wrong = self.settle(sent, channel, lives, lives_there, lost_session);
                if let Some((kind, what)) = wrong {
                    self.report(kind, name, sent.message, what, sender, receiver);
                }
            }
        }
    }

    /// What is wrong with a message, when everything was read.
    fn settle(
        &mut self,
        sent: &Sent,
        channel: &Channel,
        lives: usize,
        lives_there: usize,
        lost_session: bool,
    ) -> Option<(ViolationKind, &'static str)> {
        use ViolationKind::{FalseAlarm, Lost, Unexplained};
        self.counts.sent += u64::from(!sent.refused);
        let gap = channel.has_gap(sent.seq);
        if sent.arrived.is_some() {
            self.counts.received += 1;
            return match () {
                () if sent.refused => Some((FalseAlarm, "it arrived although send had refused it")),
                () if sent.dropped == Some(true) => {
                    Some((FalseAlarm, "it arrived although its sender was told that it was dropped"))
                }
                // Numbers of one session may stand for other messages of the next.
                () if gap && !lost_session => {
                    Some((FalseAlarm, "it arrived although its receiver was told that it would not"))
                }
                () => None,
            };
        }
        if sent.refused {
            return None;
        }
        if sent.acked.is_some() {
            return Some((Lost, "its sender saw it acknowledged, and it was never received"));
        }
        let last_life = sent.life + 1 == lives;
        let owed = sent.stored || (sent.seq.is_some() && last_life);
        match sent.dropped {
            Some(false) => self.counts.explained += 1,
            Some(true) if gap || lives_there > 1 || lost_session => self.counts.explained += 1,
            Some(true) => return Some((Unexplained, "it was dropped, and its receiver was not told")),
            None if gap && (!last_life || lost_session) => self.counts.explained += 1,
            None if gap => return Some((Unexplained, "its receiver was told of a gap, its sender was not")),
            None if owed => return Some((Lost, "it was owed and did not arrive")),
            None => {}
        }
        None
    }

    fn read_sender(&mut self, sender: &Log, receiver: &Log) -> BTreeMap<String, Channel> {
        let mut channels: Vec<Channel> = sender.channels.iter().map(|_| Channel::default()).collect();
        let mut life = 0;
        for (at, entry) in sender.entries.iter().enumerate() {
            life += usize::from(entry.what == What::Started && at > 0);
            if let What::Sending { channel: on, message } = entry.what {
                let channel = &mut channels[on as usize];
                if channel.by_number.contains_key(&message) {
                    let name = sender.channels[on as usize].clone();
                    let what = "its number was used twice by its sender";
                    self.report(ViolationKind::BadLog, &name, message, what, sender, receiver);
                    continue;
                }
                channel.by_number.insert(message, channel.sent.len());
                channel.sent.push(Sent { message, life, ..Sent::default() });
                continue;
            }
            let Some((on, message)) = entry.about() else { continue };
            if matches!(entry.what, What::Received { .. }) {
                continue;
            }
            let channel = &mut channels[on as usize];
            let Some(index) = channel.by_number.get(&message) else {
                let name = sender.channels[on as usize].clone();
                let what = "its sender has no record of sending it";
                self.report(ViolationKind::BadLog, &name, message, what, sender, receiver);
                continue;
            };
            let sent = &mut channel.sent[*index];
            match entry.what {
                What::Sent { seq, .. } => sent.seq = Some(seq),
                What::Refused { .. } => sent.refused = true,
                What::Stored { .. } => sent.stored = true,
                What::Acked { .. } => sent.acked = sent.acked.or(Some(entry.at)),
                What::Dropped { certain, .. } => sent.dropped = Some(certain),
                _ => {}
            }
        }
        sender.channels.iter().cloned().zip(channels).collect()
    }

    fn read_receiver(&mut self, sender: &Log, receiver: &Log, channels: &mut BTreeMap<String, Channel>) {
        let (mut life, mut began) = (0, 0);
        for (at, entry) in receiver.entries.iter().enumerate() {
            match &entry.what {
                What::Started if at > 0 => (life, began) = (life + 1, entry.at),
                What::Gap { channel, from, to, .. } => {
                    let name = &receiver.channels[*channel as usize];
                    let channel = channels.entry(name.clone()).or_default();
                    let last = channel.gaps.entry(*from).or_insert(*to);
                    *last = (*last).max(*to);
                }
                What::Received { channel: on, message } => {
                    let name = &receiver.channels[*on as usize];
                    let channel = channels.entry(name.clone()).or_default();
                    let wrong = self.arrival(channel, *message, life, began);
                    if let Some((kind, what)) = wrong {
                        self.report(kind, name, *message, what, sender, receiver);
                    }
                }
                _ => {}
            }
        }
    }

    /// What is wrong with an arrival, in the receiver's life that began at `began`.
    fn arrival(
        &mut self,
        channel: &mut Channel,
        message: u64,
        life: usize,
        began: u64,
    ) -> Option<(ViolationKind, &'static str)> {
        use ViolationKind::{Doubled, Invented, Reordered};
        let Some(&index) = channel.by_number.get(&message) else {
            return Some((Invented, "it was received, and its sender never sent it"));
        };
        let before = channel.last.filter(|(of, _)| *of == life).map(|(_, last)| last);
        let sent = &mut channel.sent[index];
        let arrived = sent.arrived.replace(life);
        let wrong = match arrived {
            Some(earlier) if earlier == life => {
                Some((Doubled, "it came twice without a restart of its receiver"))
            }
            Some(_) if sent.acked.is_some_and(|acked| acked < began) => Some((
                Doubled,
                "it came again although its sender had seen it acknowledged before the restart",
            )),
            Some(_) if before.is_some_and(|last| index < last) => {
                Some((Reordered, "it came again after a later one"))
            }
            Some(_) => {
                self.counts.replayed += 1;
                None
            }
            None if channel.high.is_some_and(|high| index < high) => {
                Some((Reordered, "it came after a later one"))
            }
            None => None,
        };
        channel.last = Some((life, before.map_or(index, |last| last.max(index))));
        channel.high = Some(channel.high.map_or(index, |high| high.max(index)));
        wrong
    }

    fn report(
        &mut self,
        kind: ViolationKind,
        channel: &str,
        message: u64,
        what: &str,
        sender: &Log,
        receiver: &Log,
    ) {
        let count = match kind {
            ViolationKind::Lost => &mut self.counts.lost,
            ViolationKind::Doubled => &mut self.counts.doubled,
            ViolationKind::Reordered => &mut self.counts.reordered,
            _ => &mut self.counts.unexplained,
        };
        *count += 1;
        if self.violations.len() < MAX_SHOWN {
            let mut excerpt = excerpt("sender", sender, channel, message);
            excerpt.extend(self::excerpt("receiver", receiver, channel, message));
            let (channel, what) = (channel.to_owned(), what.to_owned());
            self.violations.push(Violation { kind, channel, message, what, excerpt });
        }
    }
}

/// The lines about a message, their neighbours, and the restarts and faults around them.
fn excerpt(whose: &str, log: &Log, channel: &str, message: u64) -> Vec<String> {
    let number = log.channels.iter().position(|name| name == channel).map(|at| at as u32);
    let is_about =
        |entry: &Entry| entry.about().is_some_and(|about| Some(about.0) == number && about.1 == message);
    let mut near: Vec<usize> =
        log.entries.iter().enumerate().filter(|(_, entry)| is_about(entry)).map(|(at, _)| at).collect();
    if near.is_empty() {
        // It is missing here: show where it should have been.
        let beside = |entry: &Entry| {
            entry.about().is_some_and(|about| Some(about.0) == number && about.1.abs_diff(message) <= 1)
        };
        near = log.entries.iter().enumerate().filter(|(_, entry)| beside(entry)).map(|(at, _)| at).collect();
    }
    let mut shown: Vec<usize> = near
        .iter()
        .flat_map(|at| at.saturating_sub(1)..=(at + 1).min(log.entries.len().saturating_sub(1)))
        .collect();
    if let (Some(first), Some(last)) = (near.first(), near.last()) {
        let marks = |at: &usize| {
            matches!(
                log.entries[*at].what,
                What::Started | What::SessionLost | What::Note(_) | What::Gap { .. }
            )
        };
        shown.extend((0..*first).rev().filter(marks).take(2));
        shown.extend((*first..*last).filter(marks).take(MAX_LINES));
        shown.extend((*last..log.entries.len()).filter(marks).take(2));
    }
    shown.sort_unstable();
    shown.dedup();
    shown.truncate(MAX_LINES);
    if shown.is_empty() {
        return vec![format!("{whose}: has no record of it")];
    }
    shown.iter().map(|at| format!("{whose}: record {}: {}", at + 1, log.show(&log.entries[*at]))).collect()
}
