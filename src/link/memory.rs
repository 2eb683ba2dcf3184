//! Links inside one process, with faults on demand: test an application that uses everlink
//! without a socket, under a paused clock, the same way each time.
//!
//! Everything that went through one [`MemoryNetwork`] shares its weather: delay, loss, cuts and
//! blackouts, all drawn from one seed. The behaviour follows what was measured of a real stack: a
//! cut is noticed at once; a blackout is silent, its frames come late when it was short and never
//! when it was long, though the link goes on looking open; negotiations hang rather than fail.

mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::BytesMut;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};

use self::wire::{Polled, Sent, Weather, Wire};
use super::{Binding, Link, LinkError, LinkEvent, LossyConfig, Negotiation, NegotiationEvent, Transport};
use crate::runtime::sync::Notify;
use crate::runtime::{self, BoxFuture, Instant};

/// How a [`MemoryNetwork`] behaves. Change it while it runs with [`MemoryNetwork::update`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MemoryConfig {
    /// One-way delay of everything. Default: none.
    pub delay: Duration,
    /// The share of transmissions that lossy streams lose, 0 to 1. Default: 0.
    pub loss: f64,
    /// Each new link is cut after a number of frames (both directions together) drawn from this
    /// range. Default: never.
    pub cut_after: Option<RangeInclusive<u64>>,
    /// How long an end hears nothing from a dead path before it says
    /// [`Suspect`](LinkEvent::Suspect). Default: it never does.
    pub suspect_after: Option<Duration>,
    /// How long until it then gives the link up as [`Down`](LinkEvent::Down). Default: never.
    pub fail_after: Option<Duration>,
    /// A link that had frames under way in a blackout longer than this never carries any again,
    /// and says nothing of it. Default: 30 s, about what SCTP does.
    pub survives: Duration,
    /// Negotiations need a candidate of the other end before they come to a link. Default: false,
    /// descriptions are complete.
    pub trickle: bool,
    /// The largest frame, in bytes. Default: 64 KiB.
    pub max_frame: usize,
    /// See [`Link::receive_window`]. Default: 1 MiB.
    pub receive_window: u32,
    /// Bytes that a link takes beyond its receive window before `send` waits, and bytes of lossy
    /// messages before they are dropped. Default: 256 KiB.
    pub send_buffer: usize,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            loss: 0.0,
            cut_after: None,
            suspect_after: None,
            fail_after: None,
            survives: Duration::from_secs(30),
            trickle: false,
            max_frame: 64 * 1024,
            receive_window: 1024 * 1024,
            send_buffer: 256 * 1024,
        }
    }
}

/// A network inside this process. Clones are the same network.
///
/// With one seed, one configuration and a paused clock, two runs of the same program see the same
/// faults at the same frames.
#[derive(Clone)]
pub struct MemoryNetwork {
    // A std mutex: held for a few map operations, never over an await.
    state: Arc<Mutex<State>>,
}

struct State {
    config: MemoryConfig,
    rng: StdRng,
    blackout: Option<Instant>,
    negotiations: BTreeMap<u64, Party>,
    wires: BTreeMap<u64, Wire>,
    made: u64,
}

/// One negotiation as the network knows it.
struct Party {
    offering: bool,
    /// The negotiation that this one believes to speak with.
    other: Option<u64>,
    candidates: BTreeSet<u64>,
    candidate_told: bool,
    /// The link made, this end's index in it, and when the opening is over.
    ready: Option<(u64, usize, Instant)>,
    changed: Arc<Notify>,
}

impl MemoryNetwork {
    /// A network without faults whose every draw comes from `seed`.
    pub fn new(seed: u64) -> Self {
        Self::with_config(seed, MemoryConfig::default())
    }

    /// A network that behaves as `config` says.
    pub fn with_config(seed: u64, config: MemoryConfig) -> Self {
        let state = State {
            config,
            rng: StdRng::seed_from_u64(seed),
            blackout: None,
            negotiations: BTreeMap::new(),
            wires: BTreeMap::new(),
            made: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// A transport whose links run through this network.
    pub fn transport(&self) -> MemoryTransport {
        MemoryTransport { network: self.clone() }
    }

    /// Changes the behaviour from now on. Limits and cuts hold for links made later too.
    pub fn update(&self, change: impl FnOnce(&mut MemoryConfig)) {
        let mut state = self.lock();
        change(&mut state.config);
        state.wires.values().for_each(Wire::wake);
    }

    /// Sets the one-way delay of everything sent from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.update(|config| config.delay = delay);
    }

    /// Cuts every link: both ends are told at once, what was under way is lost.
    pub fn cut_all(&self) {
        let now = runtime::now();
        self.lock().wires.values_mut().for_each(|wire| wire.cut(now));
    }

    /// Begins or ends a blackout: nothing gets through and nobody is told. Negotiations hang
    /// until it ends. See [`MemoryConfig::survives`] for what becomes of links.
    pub fn blackout(&self, dark: bool) {
        let now = runtime::now();
        let mut state = self.lock();
        let state = &mut *state;
        match (dark, state.blackout) {
            (true, None) => state.blackout = Some(now),
            (false, Some(since)) => {
                state.blackout = None;
                for wire in state.wires.values_mut() {
                    wire.heal(since, now, &state.config);
                }
                state.join_all(now);
            }
            _ => return,
        }
        state.wires.values().for_each(Wire::wake);
        state.negotiations.values().for_each(|party| party.changed.notify_waiters());
    }

    /// How many links at least one end takes for alive.
    pub fn links(&self) -> usize {
        self.lock().wires.values().filter(|wire| wire.is_live()).count()
    }

    /// How many negotiations exist that have not come to a link, of both ends.
    pub fn negotiations(&self) -> usize {
        self.lock().negotiations.len()
    }

    /// How many links were ever made.
    pub fn links_made(&self) -> u64 {
        self.lock().made
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug of ours; the maps stay consistent enough to release links.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn begin(&self, other: Option<u64>) -> (u64, Arc<Notify>) {
        let mut state = self.lock();
        let id = state.rng.random();
        let changed = Arc::new(Notify::new());
        let party = Party {
            offering: other.is_none(),
            other,
            candidates: BTreeSet::new(),
            candidate_told: false,
            ready: None,
            changed: changed.clone(),
        };
        state.negotiations.insert(id, party);
        (id, changed)
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryNetwork").field("links", &self.links()).finish_non_exhaustive()
    }
}

impl State {
    fn weather(config: &MemoryConfig, blackout: Option<Instant>) -> Weather<'_> {
        Weather { config, blackout }
    }

    /// Makes the link of `offerer` and whom it speaks with, if both are ready for each other.
    fn join(&mut self, offerer: u64, now: Instant) {
        let Some(offering) = self.negotiations.get(&offerer) else { return };
        let Some(answerer) = offering.other else { return };
        let Some(answering) = self.negotiations.get(&answerer) else { return };
        let agreed = offering.offering && answering.other == Some(offerer);
        let heard = !self.config.trickle
            || (offering.candidates.contains(&answerer) && answering.candidates.contains(&offerer));
        if !agreed || !heard || offering.ready.is_some() || self.blackout.is_some() {
            return;
        }
        let mut hash = Sha256::new();
        hash.update(b"everlink/memory-binding/1");
        hash.update(offerer.to_be_bytes());
        hash.update(answerer.to_be_bytes());
        let frames = self.config.cut_after.clone().map(|range| self.rng.random_range(range));
        let wire = Wire::new(Binding(hash.finalize().into()), frames);
        self.made += 1;
        self.wires.insert(self.made, wire);
        for (end, id) in [offerer, answerer].into_iter().enumerate() {
            if let Some(party) = self.negotiations.get_mut(&id) {
                party.ready = Some((self.made, end, now + self.config.delay * 2));
                party.changed.notify_waiters();
            }
        }
    }

    fn join_all(&mut self, now: Instant) {
        let offerers: Vec<u64> =
            self.negotiations.iter().filter(|(_, party)| party.offering).map(|(id, _)| *id).collect();
        offerers.into_iter().for_each(|id| self.join(id, now));
    }

    /// `id` has news: make its link if it can be made now.
    fn join_with(&mut self, id: u64, now: Instant) {
        let Some(party) = self.negotiations.get(&id) else { return };
        let offerer = if party.offering { Some(id) } else { party.other };
        if let Some(offerer) = offerer {
            self.join(offerer, now);
        }
    }

    /// The last handle to one end is gone.
    fn release(&mut self, wire: u64, end: usize, now: Instant) {
        let weather = Self::weather(&self.config, self.blackout);
        if let Some(link) = self.wires.get_mut(&wire) {
            link.close(end, now, &weather);
            link.ends[end].released = true;
            if link.ends.iter().all(|end| end.released) {
                self.wires.remove(&wire);
            }
        }
    }
}

/// Makes links through a [`MemoryNetwork`].
#[derive(Clone, Debug)]
pub struct MemoryTransport {
    network: MemoryNetwork,
}

impl Transport for MemoryTransport {
    fn is_networked(&self) -> bool {
        false
    }

    fn offer(&self) -> BoxFuture<'_, Result<Arc<dyn Negotiation>, LinkError>> {
        Box::pin(async move {
            let (id, changed) = self.network.begin(None);
            let description = describe("offer", id);
            let network = self.network.clone();
            Ok(Arc::new(MemoryNegotiation { network, id, description, changed }) as Arc<dyn Negotiation>)
        })
    }

    fn answer<'a>(&'a self, offer: &'a str) -> BoxFuture<'a, Result<Arc<dyn Negotiation>, LinkError>> {
        Box::pin(async move {
            let other = parse(offer, "offer")?;
            let (id, changed) = self.network.begin(Some(other));
            let description = describe("answer", id);
            let network = self.network.clone();
            Ok(Arc::new(MemoryNegotiation { network, id, description, changed }) as Arc<dyn Negotiation>)
        })
    }
}

struct MemoryNegotiation {
    network: MemoryNetwork,
    id: u64,
    description: String,
    changed: Arc<Notify>,
}

impl Negotiation for MemoryNegotiation {
    fn description(&self) -> &str {
        &self.description
    }

    fn set_answer<'a>(&'a self, sdp: &'a str) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move {
            let other = parse(sdp, "answer")?;
            let now = runtime::now();
            let mut state = self.network.lock();
            match state.negotiations.get_mut(&self.id) {
                Some(party) if party.other.is_none() => party.other = Some(other),
                _ => return Err(LinkError::Failed("this end has the other's description already".into())),
            }
            state.join(self.id, now);
            Ok(())
        })
    }

    fn add_candidate<'a>(&'a self, candidate: &'a str) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move {
            let from = parse(candidate, "candidate")?;
            let now = runtime::now();
            let mut state = self.network.lock();
            if let Some(party) = state.negotiations.get_mut(&self.id)
                && party.candidates.len() < MAX_CANDIDATES
            {
                party.candidates.insert(from);
            }
            state.join_with(self.id, now);
            Ok(())
        })
    }

    fn next(&self) -> BoxFuture<'_, NegotiationEvent> {
        Box::pin(async move {
            loop {
                let mut changed = pin!(self.changed.notified());
                changed.as_mut().enable();
                let now = runtime::now();
                let opens = {
                    let mut state = self.network.lock();
                    let state = &mut *state;
                    let dark = state.blackout.is_some();
                    match state.negotiations.get_mut(&self.id) {
                        // Established before: nothing follows.
                        None => None,
                        Some(party) if state.config.trickle && !party.candidate_told => {
                            party.candidate_told = true;
                            return NegotiationEvent::Candidate(describe("candidate", self.id));
                        }
                        Some(party) => match party.ready {
                            Some((wire, end, at)) if at <= now && !dark => {
                                state.negotiations.remove(&self.id);
                                let network = self.network.clone();
                                return match MemoryLink::new(network, state, wire, end) {
                                    Some(link) => NegotiationEvent::Established(Arc::new(link)),
                                    None => NegotiationEvent::Failed(LinkError::ClosedByPeer),
                                };
                            }
                            Some((_, _, at)) if !dark => Some(at),
                            _ => None,
                        },
                    }
                };
                sleep_or(opens, now, changed).await;
            }
        })
    }
}

impl Drop for MemoryNegotiation {
    fn drop(&mut self) {
        let now = runtime::now();
        let mut state = self.network.lock();
        if let Some(Party { ready: Some((wire, end, _)), .. }) = state.negotiations.remove(&self.id) {
            state.release(wire, end, now);
        }
    }
}

struct MemoryLink {
    network: MemoryNetwork,
    wire: u64,
    end: usize,
    binding: Binding,
    max_frame: usize,
    receive_window: u32,
    readable: Arc<Notify>,
    writable: Arc<Notify>,
}

impl MemoryLink {
    fn new(network: MemoryNetwork, state: &State, id: u64, end: usize) -> Option<Self> {
        let wire = state.wires.get(&id)?;
        Some(Self {
            network,
            wire: id,
            end,
            binding: wire.binding,
            max_frame: state.config.max_frame,
            receive_window: state.config.receive_window,
            readable: wire.ends[end].readable.clone(),
            writable: wire.ends[end].writable.clone(),
        })
    }

    /// `act` on the wire; `None` when it is gone, which cannot be while this handle exists.
    fn with<T>(&self, act: impl FnOnce(&mut Wire, &Weather<'_>, &mut StdRng) -> T) -> Option<T> {
        let mut state = self.network.lock();
        let State { config, rng, blackout, wires, .. } = &mut *state;
        let weather = State::weather(config, *blackout);
        wires.get_mut(&self.wire).map(|wire| act(wire, &weather, rng))
    }
}

impl Link for MemoryLink {
    fn binding(&self) -> Binding {
        self.binding
    }

    fn max_frame(&self) -> usize {
        self.max_frame
    }

    fn receive_window(&self) -> u32 {
        self.receive_window
    }

    fn send(&self, frame: BytesMut) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(async move {
            let mut frame = Some(frame.freeze());
            loop {
                let mut writable = pin!(self.writable.notified());
                writable.as_mut().enable();
                let now = runtime::now();
                let sent = self.with(|wire, weather, _| {
                    let sent = wire.send(self.end, &mut frame, now, weather);
                    if sent == Ok(Sent::Last) {
                        wire.cut(now);
                    }
                    sent
                });
                match sent.unwrap_or(Err(LinkError::Closed))? {
                    Sent::Taken | Sent::Last => return Ok(()),
                    Sent::Full => writable.await,
                }
            }
        })
    }

    fn recv(&self) -> BoxFuture<'_, LinkEvent> {
        Box::pin(async move {
            loop {
                let mut readable = pin!(self.readable.notified());
                readable.as_mut().enable();
                let now = runtime::now();
                let deadline = match self.with(|wire, weather, _| wire.poll(self.end, now, weather)) {
                    Some(Polled::Event(event)) => return event,
                    Some(Polled::Until(deadline)) => deadline,
                    None => None,
                };
                sleep_or(deadline, now, readable).await;
            }
        })
    }

    fn open_lossy(&self, stream: u16, config: LossyConfig) {
        self.with(|wire, _, _| wire.open_lossy(self.end, stream, config));
    }

    fn send_lossy(&self, stream: u16, data: BytesMut) {
        let now = runtime::now();
        self.with(|wire, weather, rng| wire.send_lossy(self.end, stream, data.freeze(), now, weather, rng));
    }

    fn close_lossy(&self, stream: u16) {
        self.with(|wire, _, _| wire.close_lossy(self.end, stream));
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let now = runtime::now();
            self.with(|wire, weather, _| wire.close(self.end, now, weather));
        })
    }
}

impl Drop for MemoryLink {
    fn drop(&mut self) {
        let now = runtime::now();
        self.network.lock().release(self.wire, self.end, now);
    }
}

/// Waits for `woken`, or until `deadline` if there is one.
async fn sleep_or(deadline: Option<Instant>, now: Instant, woken: impl Future<Output = ()>) {
    match deadline {
        None => woken.await,
        Some(deadline) => {
            runtime::timeout(deadline.saturating_duration_since(now), woken).await;
        }
    }
}

/// A description or candidate: shaped like SDP, so that whatever checks for that lets it pass.
fn describe(kind: &str, id: u64) -> String {
    format!("v=0\r\ns=everlink-memory\r\na={kind}:{id:016x}\r\n")
}

fn parse(text: &str, kind: &str) -> Result<u64, LinkError> {
    text.lines()
        .find_map(|line| line.strip_prefix("a=")?.strip_prefix(kind)?.strip_prefix(':'))
        .and_then(|id| u64::from_str_radix(id, 16).ok())
        .ok_or_else(|| LinkError::BadDescription(format!("no memory {kind} in it")))
}

const MAX_CANDIDATES: usize = 16;

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
