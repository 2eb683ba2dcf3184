//! A dialing and an accepting session with a simulated network between them.

mod apps;
mod processes;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::*;
use crate::config::ConnectionConfig;
use crate::durable::dialer::DialFailure;
use crate::durable::events::{ConnectionEvent, ConnectionState, Events};
use crate::error::DialError;
use crate::identity::Identity;
use crate::link::{Binding, LinkError};
use crate::runtime::Instant;
use crate::store::{Batch, MemoryStore, Store as _};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Dialer,
    Acceptor,
}
pub use Side::{Acceptor, Dialer};

impl Side {
    pub fn other(self) -> Self {
        if self == Dialer { Acceptor } else { Dialer }
    }
}

/// What the simulated network does.
#[derive(Clone, Debug)]
pub struct Network {
    /// Packets and dials go through.
    pub up: bool,
    pub delay: Duration,
    /// Signaling refuses at once, instead of the dial hanging, while the network is down.
    pub fails_fast: bool,
    /// Dials that begin now never come to a link.
    pub dials_hang: bool,
    pub max_frame: usize,
    /// The share of packets that are lost beneath the link. It sends them again as SCTP does: after
    /// its time-out of a second, which doubles each time, and holds back all that follow.
    pub loss: f64,
    /// Links tell whether their path answers: whoever asks has it checked ten times a second for
    /// half a second, and each check and each answer is lost as often as a packet.
    pub hears: bool,
    /// Packets are lost, checks and their answers are not.
    pub swallows: bool,
}

struct Link {
    ends: [bool; 2],
    to: [VecDeque<(Instant, Bytes)>; 2],
    /// Told `Down` at this time.
    down: [Option<Instant>; 2],
    /// The accepting end has read HELLO.
    adopted: bool,
    /// What an end sends is lost, and nobody is told.
    silent: [bool; 2],
    checks: [Checks; 2],
}

/// What one end of a link does to know whether the path answers.
#[derive(Default)]
struct Checks {
    next: Option<Instant>,
    until: Option<Instant>,
    /// When the answers arrive that are on their way.
    answers: VecDeque<Instant>,
    heard: Option<Instant>,
}

/// One side, with everything its application saw.
pub struct End {
    pub session: Option<Session>,
    pub events: Vec<ConnectionEvent>,
    pub states: Vec<ConnectionState>,
    pub timeout: Option<Instant>,
    readers: BTreeMap<ChannelId, Reader>,
}

#[derive(Default)]
struct Reader {
    batch: VecDeque<Delivery>,
    last: Option<(u64, u64)>,
}

pub struct Pair {
    pub now: Instant,
    pub rng: StdRng,
    pub network: Network,
    pub dialer: End,
    pub acceptor: End,
    pub config: ConnectionConfig,
    identities: [Identity; 2],
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    dials: Vec<(DialId, Instant, Option<Instant>)>,
    /// Sessions the host began, to see that none is begun twice.
    pub begun: usize,
    pub packets: u64,
    /// When attempts were started, and how many of them were cancelled.
    pub dialed: Vec<Instant>,
    pub cancelled: usize,
    /// Links that were to be brought to new addresses.
    pub restarts: Vec<LinkId>,
    /// The host settings, if they differ.
    pub acceptor_config: Option<ConnectionConfig>,
    /// Every packet and its sender, if asked for.
    pub log: Option<Vec<(Side, Bytes)>>,
    /// What the host says to every HELLO, if not what it should.
    pub refuse: Option<(RefuseCode, &'static str)>,
    /// The host reads no HELLO.
    pub mute: bool,
    /// One side was told what the other never said, so that they need not agree any more.
    hostile: bool,
    pub trace: bool,
    /// The stores of both sides, if there are any, and what is on its way to them.
    pub stores: Option<[MemoryStore; 2]>,
    storing: [Option<(Instant, Batch)>; 2],
    /// How long a write takes.
    pub disk: Duration,
    /// The process of this side is dead.
    dead: [bool; 2],
}

const TARGET: Bytes = Bytes::from_static(b"the service");
/// As a link over WebRTC does.
const CHECK_EVERY: Duration = Duration::from_millis(100);
const CHECKED_FOR: Duration = Duration::from_millis(500);
/// Longer than any attempt may take.
const NEVER: Duration = Duration::from_secs(1_000_000);

fn index(side: Side) -> usize {
    usize::from(side == Acceptor)
}

impl End {
    pub fn new() -> Self {
        Self { session: None, events: vec![], states: vec![], timeout: None, readers: BTreeMap::new() }
    }

    pub fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("the session exists")
    }

    pub fn connected(&self) -> bool {
        matches!(self.states.last(), Some(ConnectionState::Connected))
    }
}

impl Pair {
    #[allow(clippy::disallowed_methods)]
    pub fn new(seed: u64, config: ConnectionConfig) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        // An hour ahead: a forgotten look at the real clock cannot pass.
        let now = Instant::now() + Duration::from_secs(3600);
        let identities = [Identity::from_secret([1; 32]), Identity::from_secret([2; 32])];
        let mut dialer = End::new();
        dialer.session = Some(Session::dialer(identities[0].clone(), config.clone(), now, rng.random()));
        Self {
            now,
            rng,
            network: Network {
                up: true,
                delay: Duration::from_millis(5),
                fails_fast: false,
                dials_hang: false,
                max_frame: 65_536,
                loss: 0.0,
                hears: false,
                swallows: false,
            },
            dialer,
            acceptor: End::new(),
            config,
            identities,
            links: BTreeMap::new(),
            next_link: 1,
            dials: vec![],
            begun: 0,
            packets: 0,
            dialed: vec![],
            cancelled: 0,
            restarts: vec![],
            acceptor_config: None,
            log: None,
            refuse: None,
            mute: false,
            hostile: false,
            trace: std::env::var_os("TRACE").is_some(),
            stores: None,
            storing: [None, None],
            disk: Duration::ZERO,
            dead: [false, false],
        }
    }

    /// Both sides keep their sessions.
    pub fn stored(seed: u64, config: ConnectionConfig) -> Self {
        let mut pair = Self::new(seed, config);
        pair.stores = Some([MemoryStore::new(), MemoryStore::new()]);
        let clock = pair.clock();
        pair.dialer.session().keep(TARGET, clock);
        pair
    }

    /// The wall clock, which steps with the other.
    fn clock(&self) -> WallClock {
        WallClock { at: self.now, millis: 1_000_000_000_000 }
    }

    /// A write that is done.
    fn store_step(&mut self) -> bool {
        let now = self.now;
        for side in [Dialer, Acceptor] {
            if let Some((_, batch)) = self.storing[index(side)].take_if(|(at, _)| *at <= now) {
                let store = &self.stores.as_ref().expect("there are stores")[index(side)];
                let stored = store.apply_now(batch);
                self.session(side).handle_stored(now, stored);
                self.drain(side);
                return true;
            }
        }
        false
    }

    pub fn connected(seed: u64, config: ConnectionConfig) -> Self {
        let mut pair = Self::new(seed, config);
        pair.start();
        pair.run_until(|pair| pair.dialer.connected() && pair.acceptor.connected());
        pair
    }

    pub fn start(&mut self) {
        let now = self.now;
        self.dialer.session().start(now);
        self.drain(Dialer);
    }

    pub fn end(&mut self, side: Side) -> &mut End {
        if side == Dialer { &mut self.dialer } else { &mut self.acceptor }
    }

    pub fn session(&mut self, side: Side) -> &mut Session {
        self.end(side).session()
    }

    /// Carries out everything the session wants, until it says when to come back.
    pub fn drain(&mut self, side: Side) {
        loop {
            let now = self.now;
            let end = self.end(side);
            let Some(session) = &mut end.session else { return };
            let output = session.poll_output(now);
            match output {
                Output::Transmit { link, packet } => {
                    session.handle_sent(link);
                    self.transmit(side, link, packet.freeze());
                }
                Output::Dial { dial, .. } => {
                    let took = if self.network.dials_hang { NEVER } else { self.network.delay * 3 };
                    self.dials.push((dial, self.now, self.network.up.then(|| self.now + took)));
                    self.dialed.push(self.now);
                }
                Output::Restart(link) => self.restarts.push(link),
                Output::CancelDial(dial) => {
                    self.dials.retain(|(id, ..)| *id != dial);
                    self.cancelled += 1;
                }
                Output::Store(batch) => self.storing[index(side)] = Some((self.now + self.disk, batch)),
                Output::Hangup(link) => self.close_end(link, side),
                Output::Event(event) => {
                    if self.trace {
                        eprintln!("{side:?} {event:?}");
                    }
                    self.end(side).events.push(event);
                }
                Output::State(state) => self.end(side).states.push(state),
                Output::Timeout(at) => {
                    end.timeout = at;
                    return;
                }
                Output::OpenLossy { .. } | Output::CloseLossy { .. } | Output::SendLossy { .. } => {}
            }
        }
    }

    fn transmit(&mut self, from: Side, link: LinkId, packet: Bytes) {
        self.packets += 1;
        if let Some(log) = &mut self.log {
            log.push((from, packet.clone()));
        }
        let mut at = self.now + self.network.delay;
        let mut time_out = Duration::from_secs(1);
        while self.network.loss > 0.0 && self.rng.random_bool(self.network.loss) {
            at += time_out;
            time_out *= 2;
        }
        if let Some(link) = self.links.get_mut(&link)
            && link.ends == [true, true]
            && link.down == [None, None]
            && !link.silent[index(from)]
            && !self.network.swallows
        {
            link.to[index(from.other())].push_back((at, packet));
        }
    }

    fn close_end(&mut self, id: LinkId, side: Side) {
        let at = self.now + self.network.delay;
        let up = self.network.up;
        let Some(link) = self.links.get_mut(&id) else { return };
        link.ends[index(side)] = false;
        link.to[index(side)].clear();
        // Nobody hears of a close in a dead network.
        if up && link.ends[index(side.other())] && !link.silent[index(side)] {
            link.down[index(side.other())].get_or_insert(at);
        }
        if link.ends == [false, false] {
            self.links.remove(&id);
        }
    }

    /// Every link ends, and both ends hear of it.
    pub fn cut(&mut self) {
        let at = self.now;
        for link in self.links.values_mut() {
            link.down = link.ends.map(|open| open.then_some(at));
            link.to = [VecDeque::new(), VecDeque::new()];
        }
    }

    /// Lets the links do the checks that were due until now.
    fn check(&mut self) {
        let (now, up, delay, loss) = (self.now, self.network.up, self.network.delay, self.network.loss);
        for link in self.links.values_mut() {
            let works = up && link.ends == [true, true] && link.silent == [false, false];
            for checks in &mut link.checks {
                while let Some(at) = checks.next.take_if(|at| *at <= now) {
                    checks.next = Some(at + CHECK_EVERY).filter(|next| Some(*next) < checks.until);
                    let lost = loss > 0.0 && (self.rng.random_bool(loss) || self.rng.random_bool(loss));
                    if works && !lost {
                        checks.answers.push_back(at + delay * 2);
                    }
                }
            }
        }
    }

    /// What becomes of the path is another matter from now on: answers on their way are lost.
    fn lose_answers(&mut self) {
        self.check();
        let now = self.now;
        let checks = self.links.values_mut().flat_map(|link| &mut link.checks);
        checks.for_each(|checks| checks.answers.retain(|at| *at <= now));
    }

    /// What the driver does before it tells of a timer.
    fn ask_path(&mut self, side: Side) {
        let now = self.now;
        let Some(id) = self.session(side).doubts(now).filter(|_| self.network.hears) else { return };
        self.check();
        let Some(link) = self.links.get_mut(&id) else { return };
        let checks = &mut link.checks[index(side)];
        checks.until = Some(now + CHECKED_FOR);
        checks.next.get_or_insert(now);
        while let Some(at) = checks.answers.pop_front_if(|at| *at <= now) {
            checks.heard = Some(at);
        }
        if let Some(at) = checks.heard {
            self.session(side).handle_heard(id, at);
        }
    }

    /// What is sent over one link is lost from now on, both ways, and neither end is told.
    pub fn silence(&mut self, link: LinkId) {
        [Dialer, Acceptor].into_iter().for_each(|side| self.silence_from(link, side));
    }

    /// What one side sends over one link is lost from now on.
    pub fn silence_from(&mut self, link: LinkId, side: Side) {
        self.lose_answers();
        if let Some(link) = self.links.get_mut(&link) {
            link.silent[index(side)] = true;
            link.to[index(side.other())].clear();
        }
    }

    /// Packets are lost for good from now on, whatever their path does.
    pub fn swallow_packets(&mut self) {
        self.network.swallows = true;
        self.links.values_mut().for_each(|link| link.to = Default::default());
    }

    /// When the last packet that is under way to one side arrives there.
    pub fn last_arrival(&self, link: LinkId, to: Side) -> Option<Instant> {
        self.links.get(&link)?.to[index(to)].iter().map(|(at, _)| *at).max()
    }

    pub fn has_link(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    pub fn links(&self) -> usize {
        self.links.len()
    }

    /// Attempts under way.
    pub fn dialing(&self) -> usize {
        self.dials.len()
    }

    /// The attempts under way hang from now on.
    pub fn hang_dials(&mut self) {
        let now = self.now;
        self.dials.iter_mut().for_each(|(_, _, ready)| *ready = Some(now + NEVER));
    }

    /// How many channels each side remembers.
    pub fn channels(&mut self) -> [usize; 2] {
        [Dialer, Acceptor].map(|side| self.session(side).channels.len())
    }

    /// The newest link.
    pub fn link(&self) -> LinkId {
        *self.links.keys().next_back().expect("there is a link")
    }

    /// Hands a packet to one side as if the other had sent it.
    pub fn inject(&mut self, to: Side, packet: impl Into<Bytes>) {
        let (now, link) = (self.now, self.link());
        self.hostile = true;
        self.session(to).handle_packet(now, link, packet.into());
        self.drain(to);
    }

    pub fn identity(&self, side: Side) -> &Identity {
        &self.identities[index(side)]
    }

    fn dial_step(&mut self) -> bool {
        let now = self.now;
        let timeout = self.config.connect_timeout;
        for at in 0..self.dials.len() {
            let (dial, since, ready) = self.dials[at];
            let failure = |error| DialFailure { error, permanent: false, retry_after: None };
            if !self.network.up || self.dead[1] {
                self.dials[at].2 = None;
                if self.network.fails_fast {
                    self.dials.remove(at);
                    let error = DialError::Link(LinkError::Failed("no network".into()));
                    self.dialer.session().handle_dial_failed(now, dial, failure(error));
                    self.drain(Dialer);
                    return true;
                }
            } else if ready.is_none() {
                // The checks of a hanging attempt get through as soon as the network is back.
                self.dials[at].2 = Some(now + self.network.delay * 3);
            } else if ready.is_some_and(|ready| ready <= now) {
                self.dials.remove(at);
                let id = LinkId(self.next_link);
                self.next_link += 1;
                let link = Link {
                    ends: [true, true],
                    to: Default::default(),
                    down: [None, None],
                    adopted: false,
                    silent: [false, false],
                    checks: Default::default(),
                };
                self.links.insert(id, link);
                let (info, peer) = (self.info(id), self.identities[1].public_key());
                self.dialer.session().handle_link_up(now, dial, id, info, peer);
                self.drain(Dialer);
                return true;
            }
            if now >= since + timeout {
                self.dials.remove(at);
                self.dialer.session().handle_dial_failed(now, dial, failure(DialError::TimedOut));
                self.drain(Dialer);
                return true;
            }
        }
        false
    }

    pub fn info(&self, link: LinkId) -> LinkInfo {
        let mut binding = [0; 32];
        binding[..8].copy_from_slice(&link.0.to_be_bytes());
        LinkInfo { binding: Binding(binding), max_frame: self.network.max_frame, receive_window: 4 << 20 }
    }

    /// One packet or end of a link that is due. Returns whether there was one.
    fn link_step(&mut self) -> bool {
        let now = self.now;
        for side in [Dialer, Acceptor] {
            let ids: Vec<_> = self.links.keys().copied().collect();
            for id in ids {
                let network_up = self.network.up;
                let Some(link) = self.links.get_mut(&id) else { continue };
                let queue = &mut link.to[index(side)];
                if network_up && queue.front().is_some_and(|(at, _)| *at <= now) && link.ends[index(side)] {
                    let (_, packet) = queue.pop_front().expect("it has a front");
                    if side == Acceptor && !link.adopted {
                        link.adopted = true;
                        self.adopt(id, packet);
                    } else {
                        if let Some(session) = &mut self.end(side).session {
                            session.handle_packet(now, id, packet);
                        }
                    }
                    self.drain(side);
                    return true;
                }
                if queue.is_empty() && link.down[index(side)].is_some_and(|at| at <= now) {
                    link.ends[index(side)] = false;
                    link.down[index(side)] = None;
                    if link.ends == [false, false] {
                        self.links.remove(&id);
                    }
                    if let Some(session) = &mut self.end(side).session {
                        session.handle_link_down(now, id, LinkError::ClosedByPeer);
                    }
                    self.drain(side);
                    return true;
                }
            }
        }
        false
    }

    /// What the service does with the first packet of a link.
    fn adopt(&mut self, id: LinkId, packet: Bytes) {
        let info = self.info(id);
        let length = packet.len();
        let Ok(Some(Frame::Hello(body))) = Decoder::new(packet).frame() else { panic!("no HELLO first") };
        let hello = Hello::decode(VERSION, &body, info.binding, self.identities[1].public_key())
            .expect("a good HELLO");
        let known = self.acceptor.session.as_ref().filter(|session| session.id() == hello.session);
        let known = known.and_then(|session| session.known(&hello));
        let now = self.now;
        if self.mute || self.dead[1] {
            return;
        }
        let decision = match self.refuse {
            Some((code, text)) => Decision::Refuse(code, text),
            None => decide(&hello, info.binding, known.as_ref(), true),
        };
        let resumed = match decision {
            Decision::Resume => true,
            Decision::Ignore => return self.close_end(id, Acceptor),
            Decision::Begin => {
                let secret = SessionSecret([9; 32]);
                let (host, seed) = (self.identities[1].clone(), self.rng.random());
                let config = self.acceptor_config.as_ref().unwrap_or(&self.config).clone();
                let id = hello.session;
                self.acceptor = End::new();
                let mut session = Session::acceptor(host, hello.key, id, secret, config, now, seed);
                if self.stores.is_some() {
                    session.keep(TARGET, self.clock());
                }
                self.acceptor.session = Some(session);
                self.begun += 1;
                false
            }
            Decision::Refuse(code, text) => {
                let refuse = Refuse { code, text: text.into() };
                let frame = refuse.encode(&self.identities[1], info.binding, &body);
                self.transmit(Acceptor, id, frame.freeze());
                return;
            }
        };
        let session = self.acceptor.session();
        if let Err(misbehaviour) = session.handle_adopted(now, id, info, &hello, &body, length, resumed) {
            assert!(self.hostile, "honest terms are taken for {misbehaviour:?}");
            self.acceptor.session().handle_misbehaviour(now, misbehaviour);
        }
    }

    /// The host restarts and has forgotten everything.
    pub fn forget_host(&mut self) {
        let ids: Vec<_> = self.links.keys().copied().collect();
        ids.into_iter().for_each(|id| self.close_end(id, Acceptor));
        self.acceptor = End::new();
    }

    fn timeout_step(&mut self) -> bool {
        let now = self.now;
        for side in [Dialer, Acceptor] {
            let end = self.end(side);
            if end.timeout.is_some_and(|at| at <= now) && end.session.is_some() {
                self.ask_path(side);
                self.session(side).handle_timeout(now);
                self.drain(side);
                return true;
            }
        }
        false
    }

    /// Everything that is due now.
    pub fn settle(&mut self) {
        let mut steps = 0;
        while self.store_step() || self.link_step() || self.dial_step() || self.timeout_step() {
            steps += 1;
            assert!(steps < 200_000, "the sessions never come to rest: {}", self.why());
        }
    }

    fn next_time(&self) -> Option<Instant> {
        let mut times: Vec<Instant> =
            [self.dialer.timeout, self.acceptor.timeout].into_iter().flatten().collect();
        times.extend(self.dials.iter().map(|(_, since, _)| *since + self.config.connect_timeout));
        if self.network.up {
            times.extend(self.dials.iter().filter_map(|(_, _, ready)| *ready));
            times.extend(self.links.values().flat_map(|link| {
                let ends = link.to.iter().zip(link.ends).filter(|(_, open)| *open);
                ends.filter_map(|(queue, _)| queue.front().map(|(at, _)| *at)).collect::<Vec<_>>()
            }));
        }
        times.extend(self.storing.iter().flatten().map(|(at, _)| *at));
        // The end of a link is read after what came before it.
        times.extend(self.links.values().flat_map(|link| {
            let ends = link.down.iter().zip(&link.to).filter(|(_, queue)| queue.is_empty());
            ends.filter_map(|(down, _)| *down).collect::<Vec<_>>()
        }));
        times.into_iter().min()
    }

    pub fn why(&self) -> String {
        let links = self.links.iter().map(|(id, link)| {
            let waiting = link.to.each_ref().map(|queue| queue.iter().map(|(at, _)| *at).collect::<Vec<_>>());
            format!("{id:?} {:?} {:?} {waiting:?}", link.ends, link.down)
        });
        let timeouts = [self.dialer.timeout, self.acceptor.timeout];
        format!("{:?} {timeouts:?} {:?} {:?}", self.now, self.dials, links.collect::<Vec<_>>())
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: Duration) {
        let until = self.now + duration;
        let mut still = (self.now, 0);
        loop {
            self.settle();
            still = if still.0 == self.now { (self.now, still.1 + 1) } else { (self.now, 0) };
            assert!(still.1 < 1000, "what is due is not done: {:?}", self.why());
            match self.next_time() {
                Some(next) if next <= until => self.now = self.now.max(next),
                _ => break,
            }
        }
        self.now = until;
        self.settle();
    }

    pub fn run_until(&mut self, done: impl Fn(&Pair) -> bool) {
        for _ in 0..2_000_000 {
            self.settle();
            if done(self) {
                return;
            }
            let next = self.next_time().expect("nothing will ever happen again");
            self.now = self.now.max(next);
        }
        panic!("it never happens: {:?} / {:?}", self.dialer.states.last(), self.acceptor.states.last());
    }

    pub fn set_network(&mut self, up: bool) {
        self.lose_answers();
        self.network.up = up;
        self.settle();
    }
}

/// What has happened so far.
pub fn drained<T: crate::durable::events::Laggable>(events: &mut Events<T>) -> Vec<T> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    std::iter::from_fn(|| match futures_core::Stream::poll_next(std::pin::Pin::new(&mut *events), &mut cx) {
        std::task::Poll::Ready(event) => event,
        std::task::Poll::Pending => None,
    })
    .collect()
}
