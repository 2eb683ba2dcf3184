//! A room and members in virtual time, with everything between them that can go wrong.
//!
//! Between a member and the room is a durable channel: what is said arrives once, in order, but late, not
//! while the link is cut, superseded by what is newer, and again after the receiver's process was killed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::super::super::control::{ConflictStrategy, Lease, Presence};
use super::super::super::error::{Left, RoomClosed};
use super::super::super::events::RoomEvent;
use super::super::super::phase::Phase;
use super::super::*;
use crate::collections::BTreeSet;
use crate::durable::WallClock;
use crate::identity::PublicKey;
use crate::message::Utf8Bytes;
use crate::runtime::Instant;

pub(super) fn key(index: usize) -> PublicKey {
    PublicKey::from_bytes([index as u8 + 1; 32])
}

pub(super) fn settings(conflicts: ConflictStrategy) -> RoomSettings {
    RoomSettings {
        max_members: 16,
        expires_after: Duration::from_secs(1800),
        conflicts,
        lease: Lease { absence: Duration::from_secs(30) },
        max_state: 1000,
        kept: true,
        moderators: BTreeSet::default(),
        offer_ttl: Duration::from_secs(30),
        request_ttl: Duration::from_secs(30),
        pull_ttl: Duration::from_secs(5),
    }
}

/// One direction of a durable channel.
#[derive(Default)]
struct Way {
    /// Sent and not received, with the time at which it may be received at the earliest.
    waiting: VecDeque<(Outgoing, Duration)>,
    /// Received of late; the last ones come again when the receiver is killed.
    received: VecDeque<Outgoing>,
}

impl Way {
    fn send(&mut self, frame: Outgoing, at: Duration) {
        if frame.key.is_some() {
            self.waiting.retain(|(waiting, _)| waiting.key != frame.key);
        }
        let at = self.waiting.back().map_or(at, |(_, before)| at.max(*before));
        self.waiting.push_back((frame, at));
    }

    fn receive(&mut self, now: Duration) -> Option<Outgoing> {
        let due = self.waiting.front().is_some_and(|(_, at)| *at <= now);
        let (frame, _) = due.then(|| self.waiting.pop_front())??;
        self.received.push_back(frame.clone());
        if self.received.len() > 3 {
            self.received.pop_front();
        }
        Some(frame)
    }

    /// The receiver was killed, and had not said of the last few that it has them.
    fn again(&mut self, count: usize) {
        for _ in 0..count.min(self.received.len()) {
            let Some(frame) = self.received.pop_back() else { break };
            self.waiting.push_front((frame, Duration::ZERO));
        }
    }
}

pub(super) struct Peer {
    pub machine: MemberMachine,
    /// How fast its clock runs.
    rate: f64,
    conn: ConnId,
    to_room: Way,
    from_room: Way,
    pub cut: bool,
    /// The process is not running.
    pub down: bool,
    pub answers: BTreeMap<AskId, Answer>,
    pub events: Vec<RawEvent>,
    observer: bool,
}

pub(super) struct World {
    pub rng: StdRng,
    start: Instant,
    pub now: Duration,
    pub room: RoomMachine,
    pub room_down: bool,
    settings: RoomSettings,
    saved: Option<RoomRecord>,
    pub room_events: Vec<RoomEvent>,
    pub peers: Vec<Peer>,
    next_conn: ConnId,
    /// How long a message takes, in milliseconds.
    pub delay: u64,
    pub closed: Option<RoomClosed>,
    /// Says what it likes, so that it does not count what it takes itself for.
    pub liar: Option<usize>,
    /// Who led, at all times.
    pub led: Vec<(Duration, PublicKey)>,
}

/// For a seed that failed.
fn trace(line: impl FnOnce() -> String) {
    if std::env::var_os("EVERLINK_TUTORIAL_TRACE").is_some() {
        println!("{}", line());
    }
}

/// A clock that starts an hour ahead: one that is read elsewhere cannot pass.
#[allow(clippy::disallowed_methods)]
fn hour_ahead() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

impl World {
    pub(super) fn new(seed: u64, settings: RoomSettings) -> Self {
        let start = hour_ahead();
        let clock = WallClock { at: start, millis: 1_700_000_000_000 };
        Self {
            rng: StdRng::seed_from_u64(seed),
            start,
            now: Duration::ZERO,
            room: RoomMachine::new(settings.clone(), None, seed | 1, clock),
            room_down: false,
            settings,
            saved: None,
            room_events: Vec::new(),
            peers: Vec::new(),
            next_conn: 0,
            delay: 10,
            closed: None,
            liar: None,
            led: Vec::new(),
        }
    }

    pub(super) fn clock(&self) -> WallClock {
        WallClock { at: self.start + self.now, millis: 1_700_000_000_000 + self.now.as_millis() as u64 }
    }

    /// What a member's clock says.
    pub(super) fn at(&self, peer: usize) -> Instant {
        self.start + self.now.mul_f64(self.peers[peer].rate)
    }

    pub(super) fn wall(&self) -> u64 {
        self.clock().millis
    }

    pub(super) fn join(&mut self, observer: bool) -> usize {
        let index = self.peers.len();
        let rate = self.rng.random_range(0.95..1.05);
        let at = self.start + self.now.mul_f64(rate);
        let machine = MemberMachine::new(key(index), None, observer, false, self.rng.random(), at);
        self.next_conn += 1;
        self.peers.push(Peer {
            machine,
            rate,
            conn: self.next_conn,
            to_room: Way::default(),
            from_room: Way::default(),
            cut: false,
            down: false,
            answers: BTreeMap::new(),
            events: Vec::new(),
            observer,
        });
        if !self.room_down {
            self.room.handle_connected(self.next_conn, key(index));
        }
        self.drain();
        index
    }

    pub(super) fn set_cut(&mut self, peer: usize, cut: bool) {
        let at = self.at(peer);
        let Peer { machine, conn, down, .. } = &mut self.peers[peer];
        if !*down {
            machine.handle_link(if cut { Link::Healing } else { Link::Up }, at);
        }
        if !self.room_down {
            self.room.handle_presence(*conn, if cut { Presence::Healing } else { Presence::Here });
        }
        self.peers[peer].cut = cut;
        self.drain();
    }

    /// Kills a member's process.
    pub(super) fn kill(&mut self, peer: usize) {
        self.peers[peer].down = true;
        let conn = self.peers[peer].conn;
        if !self.room_down {
            self.room.handle_presence(conn, Presence::Healing);
        }
        self.drain();
    }

    /// Starts it again: with its session, or without.
    pub(super) fn restart(&mut self, peer: usize, resumed: bool) {
        let (at, instance) = (self.at(peer), self.rng.random());
        let again = self.rng.random_range(0..4);
        let Peer { observer, cut, .. } = self.peers[peer];
        let machine = MemberMachine::new(key(peer), None, observer, false, instance, at);
        self.peers[peer].machine = machine;
        self.peers[peer].down = false;
        self.peers[peer].answers.clear();
        self.peers[peer].events.clear();
        if resumed {
            self.peers[peer].from_room.again(again);
            if !self.room_down && !cut {
                self.room.handle_presence(self.peers[peer].conn, Presence::Here);
            }
        } else {
            self.new_connection(peer);
        }
        if cut {
            self.peers[peer].machine.handle_link(Link::Healing, at);
        }
        self.drain();
    }

    fn new_connection(&mut self, peer: usize) {
        self.next_conn += 1;
        self.peers[peer].conn = self.next_conn;
        self.peers[peer].to_room = Way::default();
        self.peers[peer].from_room = Way::default();
        if !self.room_down {
            self.room.handle_connected(self.next_conn, key(peer));
        }
    }

    /// Kills the room's process.
    pub(super) fn kill_room(&mut self) {
        self.room_down = true;
    }

    pub(super) fn restart_room(&mut self) {
        let clock = self.clock();
        let incarnation = self.rng.random();
        self.room = RoomMachine::new(self.settings.clone(), self.saved.clone(), incarnation, clock);
        self.room_down = false;
        for index in 0..self.peers.len() {
            let again = self.rng.random_range(0..4);
            self.peers[index].to_room.again(again);
            self.room.handle_connected(self.peers[index].conn, key(index));
            if self.peers[index].cut || self.peers[index].down {
                self.room.handle_presence(self.peers[index].conn, Presence::Healing);
            }
        }
        self.drain();
    }

    /// Something that is not what a member of ours would say.
    pub(super) fn forge(&mut self, peer: usize, text: &str) {
        let at = self.now;
        self.peers[peer].to_room.send(Outgoing { text: text.into(), key: None }, at);
    }

    /// Runs until then, or until nothing moves.
    pub(super) fn run(&mut self, for_: Duration) {
        let until = self.now + for_;
        while self.step(until) {}
        self.now = self.now.max(until);
        self.timeouts();
    }

    fn step(&mut self, until: Duration) -> bool {
        self.timeouts();
        self.deliver();
        let next = self.next_time().filter(|next| *next <= until);
        match next {
            Some(next) => {
                self.now = next.max(self.now + Duration::from_micros(1));
                self.now <= until
            }
            None => false,
        }
    }

    fn next_time(&self) -> Option<Duration> {
        let mut times = Vec::new();
        if !self.room_down {
            times.extend(self.room.deadline().map(|at| at.saturating_duration_since(self.start)));
        }
        for peer in &self.peers {
            if peer.down {
                continue;
            }
            let own = peer.machine.deadline().map(|at| at.saturating_duration_since(self.start));
            times.extend(own.map(|own| own.div_f64(peer.rate)));
            if !peer.cut && !self.room_down {
                times.extend(peer.to_room.waiting.front().map(|(_, at)| *at));
                times.extend(peer.from_room.waiting.front().map(|(_, at)| *at));
            }
        }
        times.into_iter().min()
    }

    fn timeouts(&mut self) {
        let clock = self.clock();
        if !self.room_down {
            self.room.handle_timeout(clock);
        }
        for index in 0..self.peers.len() {
            let at = self.at(index);
            if !self.peers[index].down {
                self.peers[index].machine.handle_timeout(at);
            }
        }
        self.drain();
    }

    fn deliver(&mut self) {
        let (now, clock) = (self.now, self.clock());
        for index in 0..self.peers.len() {
            let at = self.at(index);
            if self.peers[index].cut {
                continue;
            }
            while !self.room_down
                && let Some(frame) = self.peers[index].to_room.receive(now)
            {
                self.room.handle_frame(self.peers[index].conn, &frame.text, clock);
                self.drain();
            }
            while !self.peers[index].down
                && let Some(frame) = self.peers[index].from_room.receive(now)
            {
                self.peers[index].machine.handle_frame(&frame.text, at);
                self.drain();
            }
        }
    }

    /// Does what the machines want, and looks who leads.
    pub(super) fn drain(&mut self) {
        let delay = self.delay;
        while !self.room_down
            && let Some(output) = self.room.poll_output()
        {
            match output {
                RoomOutput::Send { conn, frame } => {
                    trace(|| format!("{:?} room to {conn}: {}", self.now, frame.text));
                    let at = self.now + Duration::from_millis(self.rng.random_range(0..=delay));
                    if let Some(peer) = self.peers.iter_mut().find(|peer| peer.conn == conn) {
                        peer.from_room.send(frame, at);
                    }
                }
                RoomOutput::Drop(_) => {}
                RoomOutput::Save(record) => self.saved = Some(record),
                RoomOutput::Event(event) => self.room_events.push(event),
                RoomOutput::Closed(why) => self.closed = Some(why),
            }
        }
        for index in 0..self.peers.len() {
            if self.peers[index].down {
                continue;
            }
            while let Some(output) = self.peers[index].machine.poll_output() {
                let at = self.now + Duration::from_millis(self.rng.random_range(0..=delay));
                let peer = &mut self.peers[index];
                let now = self.now;
                trace(|| format!("{now:?} {index} ({}): {output:?}", peer.conn));
                match output {
                    MemberOutput::Send(frame) => peer.to_room.send(frame, at),
                    MemberOutput::Event(event) => peer.events.push(event),
                    MemberOutput::Answer(id, answer) => _ = peer.answers.insert(id, answer),
                    MemberOutput::Left(_) => {}
                }
            }
        }
        self.look();
    }

    /// The promise: one leads, or nobody does.
    fn look(&mut self) {
        let leaders: Vec<usize> =
            (0..self.peers.len()).filter(|index| self.leads(*index) && self.liar != Some(*index)).collect();
        assert!(leaders.len() <= 1, "{leaders:?} lead at {:?}", self.now);
        if let Some(leader) = leaders.first() {
            let leader = key(*leader);
            if self.led.last().is_none_or(|(_, last)| *last != leader) {
                self.led.push((self.now, leader));
            }
        }
    }

    pub(super) fn saved(&self) -> Option<&RoomRecord> {
        self.saved.as_ref()
    }

    pub(super) fn phase(&self, peer: usize) -> Phase {
        self.peers[peer].machine.phase(self.at(peer))
    }

    pub(super) fn leads(&self, peer: usize) -> bool {
        !self.peers[peer].down && self.phase(peer) == Phase::Active
    }

    pub(super) fn leader(&self) -> Option<usize> {
        (0..self.peers.len()).find(|peer| self.leads(*peer))
    }

    pub(super) fn left(&self, peer: usize) -> Option<Left> {
        self.peers[peer].machine.left().cloned()
    }

    pub(super) fn state(&self, peer: usize) -> Option<String> {
        self.peers[peer].machine.state().map(|(_, state)| state.to_string())
    }

    /// Lets a member do something, and sends what comes of it.
    pub(super) fn act<T>(&mut self, peer: usize, act: impl FnOnce(&mut MemberMachine, Instant) -> T) -> T {
        let at = self.at(peer);
        let done = act(&mut self.peers[peer].machine, at);
        self.drain();
        done
    }

    pub(super) fn send(&mut self, peer: usize, state: &str) -> bool {
        let state = Utf8Bytes::from(state);
        self.act(peer, |machine, now| machine.send_state(state, now)).is_ok()
    }
}
