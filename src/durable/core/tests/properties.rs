//! One property over lists of operations: what is delivered is what was sent, once and in order,
//! and what is missing is named on both sides.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::*;
use super::pair::{Acceptor, Dialer, Pair, Side, drained};
use crate::config::{ChannelConfig, ConnectionConfig, Priority, QueueConfig, WhenFull};
use crate::durable::SendOptions;
use crate::durable::events::{ChannelEvent, Events};
use crate::error::SendError;
use crate::message::Message;

#[derive(Clone, Debug)]
enum Op {
    /// Which channel, how many bytes, a deadline in milliseconds, a key.
    Send(Side, usize, usize, Option<u64>, Option<u8>),
    Recv(Side, usize, usize),
    Cut,
    Network(bool),
    Delay(u64),
    Wait(u64),
    ReconnectNow,
    Suspicion(bool),
}

/// Mostly small, sometimes larger than a packet.
pub(super) fn size(rng: &mut StdRng) -> usize {
    match rng.random_range(0..20) {
        0 => rng.random_range(10_000..300_000),
        1..4 => rng.random_range(100..5_000),
        _ => rng.random_range(0..100),
    }
}

fn operations(rng: &mut StdRng) -> Vec<Op> {
    let side = |rng: &mut StdRng| if rng.random() { Dialer } else { Acceptor };
    let count = rng.random_range(5..60);
    (0..count)
        .map(|_| match rng.random_range(0..100) {
            0..40 => {
                let size = size(rng);
                let deadline = [0, 1, 30, 1_000, 5_000].get(rng.random_range(0..16)).copied();
                let key = rng.random_bool(0.3).then(|| rng.random_range(0..2));
                Op::Send(side(rng), rng.random_range(0..CHANNELS), size, deadline, key)
            }
            40..65 => Op::Recv(side(rng), rng.random_range(0..CHANNELS), rng.random_range(1..8)),
            65..72 => Op::Cut,
            72..78 => Op::Network(rng.random()),
            78..81 => Op::Delay(rng.random_range(0..200)),
            81..97 => Op::Wait(
                *[1, 3, 20, 300, 1_500, 4_000, 20_000].get(rng.random_range(0..7)).expect("in range"),
            ),
            97 => Op::ReconnectNow,
            _ => Op::Suspicion(rng.random()),
        })
        .collect()
}

const CHANNELS: usize = 2;

/// A message that says which one it is.
fn numbered(number: u64, size: usize) -> Message {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(8 + size, number as u8);
    if number.is_multiple_of(3) {
        Message::from(format!("{number}:{}", "x".repeat(size)))
    } else {
        bytes.into()
    }
}

fn number(message: &Message) -> u64 {
    match message {
        Message::Text(text) => text.split(':').next().expect("a number").parse().expect("a number"),
        Message::Binary(bytes) => {
            let number = u64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"));
            assert!(bytes[8..].iter().all(|byte| *byte == number as u8), "the content changed");
            number
        }
    }
}

struct Flow {
    from: ChannelId,
    to: ChannelId,
    /// The number of each message taken, by its sequence number less one.
    sent: Vec<u64>,
    received: Vec<u64>,
    gaps: BTreeSet<u64>,
    events: Events<ChannelEvent>,
    /// What the sender hears.
    own: Events<ChannelEvent>,
    /// How many the sender heard were dropped.
    dropped: u64,
}

struct World {
    pair: Pair,
    flows: Vec<(Side, Flow)>,
    next: u64,
}

impl World {
    fn new(seed: u64, config: ConnectionConfig) -> Self {
        let mut pair = Pair::connected(seed, config);
        let mut flows = vec![];
        for at in 0..CHANNELS {
            let priority = |side: u64| match (seed + side) % 4 {
                0 => [Priority::Control, Priority::Bulk][at],
                1 => [Priority::Bulk, Priority::Normal][at],
                _ => Priority::Normal,
            };
            let label = ["control", "bulk"][at];
            let ours = pair.open_with(Dialer, label, ChannelConfig::priority(priority(0)));
            let theirs = pair.open_with(Acceptor, label, ChannelConfig::priority(priority(1)));
            for (side, from, to) in [(Dialer, ours, theirs), (Acceptor, theirs, ours)] {
                let signals = pair.session(side.other()).signals(to).expect("it is open");
                let events = signals.events.subscribe();
                let own = pair.channel_events(side, from);
                let (sent, received, gaps) = (vec![], vec![], BTreeSet::new());
                flows.push((side, Flow { from, to, sent, received, gaps, events, own, dropped: 0 }));
            }
        }
        Self { pair, flows, next: 0 }
    }

    fn flow(&mut self, from: Side, at: usize) -> (&mut Pair, &mut Flow, &mut u64) {
        let found = self.flows.iter_mut().filter(|(side, _)| *side == from).nth(at);
        (&mut self.pair, &mut found.expect("it exists").1, &mut self.next)
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Send(side, at, size, deadline, key) => {
                let (pair, flow, next) = self.flow(side, at);
                let mut options = SendOptions::new();
                if let Some(millis) = deadline {
                    options = options.deadline(Duration::from_millis(millis));
                }
                if let Some(key) = key {
                    options = options.supersede([key]);
                }
                if pair.send_with(side, flow.from, numbered(*next, size), &options).is_some() {
                    flow.sent.push(*next);
                    *next += 1;
                }
            }
            Op::Recv(side, at, count) => {
                let (pair, flow, _) = self.flow(side.other(), at);
                for _ in 0..count {
                    flow.received.extend(pair.recv(side, flow.to).as_ref().map(number));
                }
            }
            Op::Cut => self.pair.cut(),
            Op::Network(up) => self.pair.set_network(up),
            Op::Delay(millis) => self.pair.network.delay = Duration::from_millis(millis),
            Op::Wait(millis) => self.pair.run(Duration::from_millis(millis)),
            Op::ReconnectNow => {
                let now = self.pair.now;
                self.pair.session(Dialer).reconnect_now(now);
                self.pair.drain(Dialer);
            }
            Op::Suspicion(alive) => {
                let now = self.pair.now;
                for side in [Dialer, Acceptor] {
                    // Whatever links say of themselves is a hint at most, even of a link long gone.
                    (0..8).for_each(|link| {
                        _ = self.pair.session(side).handle_path_news(now, LinkId(link), alive)
                    });
                    self.pair.drain(side);
                }
            }
        }
        self.pair.settle();
    }

    /// The network heals and everybody reads until nothing more comes.
    fn finish(&mut self) {
        self.pair.set_network(true);
        self.pair.network.delay = Duration::from_millis(5);
        for _ in 0..400 {
            self.pair.run(Duration::from_millis(200));
            for (side, flow) in &mut self.flows {
                let messages = self.pair.recv_all(side.other(), flow.to);
                flow.received.extend(messages.iter().map(number));
            }
            let idle = [Dialer, Acceptor].map(|side| self.pair.session(side).newest().is_empty());
            if idle == [true, true] && self.pair.dialer.connected() {
                break;
            }
        }
        // Long enough to notice that a link is gone that only seemed to answer: 10 s at most, where the
        // blackout was taken for a long round trip.
        self.pair.run(Duration::from_secs(12));
        for (_, flow) in &mut self.flows {
            for event in drained(&mut flow.events) {
                if let ChannelEvent::Gap { from, to, .. } = event {
                    flow.gaps.extend(from..=to);
                }
            }
            for event in drained(&mut flow.own) {
                match event {
                    ChannelEvent::Overflow { dropped: count }
                    | ChannelEvent::Expired { count }
                    | ChannelEvent::Superseded { count } => flow.dropped += count,
                    _ => {}
                }
            }
        }
    }

    fn check(&mut self) {
        assert!(self.pair.dialer.connected(), "the dialer ends {:?}", self.pair.dialer.states.last());
        assert!(self.pair.acceptor.connected(), "the acceptor ends {:?}", self.pair.acceptor.states.last());
        assert_eq!(self.pair.begun, 1, "a returning peer began another session");
        for (side, flow) in &self.flows {
            let session =
                if *side == Dialer { &self.pair.dialer.session } else { &self.pair.acceptor.session };
            let session = session.as_ref().expect("it is there");
            let mut expected = vec![];
            for (at, number) in flow.sent.iter().enumerate() {
                let seq = at as u64 + 1;
                match session.fate(flow.from, seq) {
                    Some(Ok(())) => {
                        expected.push(*number);
                        assert!(!flow.gaps.contains(&seq), "message {seq} was acknowledged and yet a gap");
                    }
                    Some(Err(SendError::Overflow | SendError::Expired | SendError::Superseded)) => {
                        assert!(flow.gaps.contains(&seq), "the receiver did not hear that {seq} was dropped");
                    }
                    other => panic!("message {seq} has no fate: {other:?}"),
                }
            }
            let dropped = (flow.sent.len() - expected.len()) as u64;
            assert_eq!(flow.dropped, dropped, "from {side:?}: the sender heard of other drops");
            assert_eq!(flow.received, expected, "from {side:?}: what arrived is not what was sent");
        }
        assert!(self.pair.links() <= 1, "{} links are left", self.pair.links());
    }
}

/// Runs the operations that these bytes stand for: the first two choose the world, the rest come in
/// fours. Everything holds for them that holds for those of a seed.
pub(crate) fn run_bytes(data: &[u8]) {
    let Some((&[kind, seed], rest)) = data.split_first_chunk() else { return };
    let mut config = lossless();
    match kind % 4 {
        0 => {}
        1 => config.queue = tight(),
        2 => (config.queue.max_messages, config.queue.when_full) = (3, WhenFull::Reject),
        _ => config.queue.max_bytes = 50_000,
    }
    let mut world = World::new(seed.into(), config);
    world.pair.network.fails_fast = kind & 16 > 0;
    world.pair.network.max_frame = [2_000, 16_384, 66_000, 1_200][usize::from(kind >> 6)];
    for &[code, a, b, c] in rest.as_chunks().0.iter().take(80) {
        let side = if code & 128 > 0 { Dialer } else { Acceptor };
        let at = usize::from(code >> 6) % CHANNELS;
        world.apply(&match code % 32 {
            0..10 => {
                let size = usize::from(a) * [1, 16, 256, 1024][usize::from(b % 4)];
                let deadline = [0, 1, 30, 1_000, 5_000].get(usize::from(c % 16)).copied();
                Op::Send(side, at, size, deadline, (b & 16 > 0).then_some(b >> 7))
            }
            10..16 => Op::Recv(side, at, usize::from(a % 16)),
            16..19 => Op::Cut,
            19..22 => Op::Network(a % 2 == 0),
            22 => Op::Delay(a.into()),
            23 => Op::ReconnectNow,
            24 => Op::Suspicion(a % 2 == 0),
            _ => Op::Wait(u64::from(u16::from_be_bytes([a, b])) / [1, 8, 64, 1024][usize::from(c % 4)]),
        });
    }
    world.finish();
    world.check();
}

fn run(seed: u64, config: &ConnectionConfig) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new(seed, config.clone());
    world.pair.network.fails_fast = rng.random();
    // Nothing is dropped but what asks for it: half of the worlds ask for nothing.
    let plain: bool = rng.random();
    world.pair.network.max_frame = *[2_000, 16_384, 66_000].get(rng.random_range(0..3)).expect("in range");
    let mut operations = operations(&mut rng);
    for op in operations.iter_mut().filter(|_| plain) {
        if let Op::Send(.., deadline, key) = op {
            (*deadline, *key) = (None, None);
        }
    }
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        operations.iter().for_each(|op| world.apply(op));
        world.finish();
        world.check();
    }));
    if let Err(panic) = result {
        eprintln!("seed {seed} fails; EVERLINK_SEED={seed} runs it alone. Its operations:");
        operations.iter().for_each(|op| eprintln!("  {op:?}"));
        std::panic::resume_unwind(panic);
    }
}

fn seeds(count: u64) -> Box<dyn Iterator<Item = u64>> {
    match std::env::var("EVERLINK_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => Box::new(std::iter::once(seed)),
        None => Box::new(0..count),
    }
}

/// Nothing is dropped, and nobody gives up.
pub(super) fn lossless() -> ConnectionConfig {
    let mut config = ConnectionConfig { queue: QueueConfig::lossless(), ..ConnectionConfig::default() };
    config.backoff.max_attempts = None;
    config.park_for = Duration::from_secs(100_000);
    config
}

fn tight() -> QueueConfig {
    QueueConfig {
        max_messages: 4,
        max_bytes: 100_000,
        max_age: Some(Duration::from_secs(3)),
        when_full: WhenFull::DropOldest,
    }
}

#[test]
fn nothing_is_lost_doubled_or_reordered() {
    seeds(6_000).for_each(|seed| run(seed, &lossless()));
}

#[test]
fn what_is_dropped_is_reported_on_both_sides() {
    let mut config = lossless();
    config.queue = tight();
    seeds(5_000).for_each(|seed| run(seed, &config));
}

#[test]
fn a_refusing_queue_refuses_only_without_a_link() {
    let mut config = lossless();
    config.queue.max_messages = 3;
    config.queue.when_full = WhenFull::Reject;
    seeds(1_000).for_each(|seed| run(seed, &config));
}

#[test]
fn the_same_seed_runs_the_same_way() {
    let trace = |seed: u64| {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new(seed, lossless());
        operations(&mut rng).iter().for_each(|op| world.apply(op));
        (world.pair.packets, format!("{:?}{:?}", world.pair.dialer.events, world.pair.acceptor.events))
    };
    for seed in 0..20 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
}
