//! When a service announces itself and how many offers it keeps ready. Pure: time is an argument,
//! chance is a seed.
//!
//! **After every `handle_*` or command, drain [`Schedule::poll_output`] until
//! [`Output::Timeout`], then wait for that moment or the next input.**
//!
//! ```text
//!            claimed           published            refresh due / lost / reconnected
//!   Claiming ───────► Publishing ───────► Held ───────────────────────────────► Publishing
//!      ▲ └─ failed ─► Waiting ─► (same)                        stop(): an answer in flight is
//!      └── name unclaimed ──────┘                              awaited ► Withdrawing ► Over
//! ```
//!
//! Live links appear nowhere here: nothing in this file can touch one.

use std::collections::VecDeque;
use std::time::Duration;

use rand::{SeedableRng as _, rngs::StdRng};

use crate::collections::BTreeMap;
use crate::retry::Retry;
use crate::runtime::Instant;

/// What a schedule keeps to.
#[derive(Clone, Debug)]
pub(crate) struct ScheduleConfig {
    /// The share of the granted lease that is left when it is refreshed.
    pub(crate) refresh_margin: f64,
    /// Offers kept ready at the directory.
    pub(crate) pool_size: usize,
    /// Offers in the making at one time.
    pub(crate) max_making: usize,
    /// Offers that exist at one time and were not answered: whoever takes offers and does not
    /// answer them costs no more than this.
    pub(crate) max_offers: usize,
    /// How long an offer is good for. It is replaced before, and then taken back.
    pub(crate) offer_lifetime: Duration,
    /// How long an offer that was taken back still takes an answer that was under way.
    pub(crate) linger: Duration,
    /// The wait after the first failure in a row.
    pub(crate) retry_base: Duration,
    /// The longest wait after a failure.
    pub(crate) retry_max: Duration,
    /// How often the username's claim is renewed.
    pub(crate) claim_every: Duration,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            refresh_margin: 0.2,
            pool_size: 1,
            max_making: 8,
            max_offers: 64,
            offer_lifetime: Duration::from_secs(120),
            linger: Duration::from_secs(30),
            retry_base: Duration::from_millis(500),
            retry_max: Duration::from_secs(10),
            claim_every: Duration::from_secs(24 * 3600),
        }
    }
}

/// One offer, from the wish for it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

/// What the directory grants and counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Granted {
    /// How long the lease runs from the asking on.
    pub(crate) ttl: Duration,
    /// Offers in the pool that nobody took.
    pub(crate) offers: usize,
    /// Peers that wait for an offer.
    pub(crate) wanted: usize,
}

/// Why a request of the schedule failed, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Worth a retry, not before this much time.
    Temporary(Option<Duration>),
    /// The username belongs to nobody: claim it first.
    Unclaimed,
    /// The directory does not know the service: publish it first.
    LeaseLost,
    /// Hopeless for a service that was never published; after that, a server that is being
    /// mended.
    Dubious,
    /// Hopeless.
    Permanent,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Claim or renew the username; then `handle_claimed` or `handle_announce_failed`.
    Claim,
    /// Publish, with these offers as the whole pool (none: leave the pool as it is); then
    /// `handle_published` or `handle_announce_failed`.
    Publish(Vec<Ticket>),
    /// Make an offer; then `handle_offer_made` or `handle_offer_failed`.
    Make(Ticket),
    /// Add these offers to the pool; then `handle_uploaded` or `handle_upload_failed`.
    Upload(Vec<Ticket>),
    /// Take these offers back at the directory. No answer is awaited.
    TakeBack(Vec<Ticket>),
    /// Release this end of an offer, or give up making it.
    Drop(Ticket),
    /// Take the service off the directory; then `handle_withdrawn`.
    Withdraw,
    /// The last failure was permanent: the service is over.
    GiveUp,
    /// Drained: wait until then at most.
    Timeout(Option<Instant>),
}

/// When to publish, and how many offers to make. See the [module](self).
#[derive(Debug)]
pub(crate) struct Schedule {
    config: ScheduleConfig,
    rng: StdRng,
    phase: Phase,
    announce: Announce,
    retry: Retry,
    /// When the claim is due.
    claim_at: Instant,
    /// Whether the next publishing presents the whole pool.
    full: bool,
    /// Something happened while an announcement was under way that it may not have seen.
    again: bool,
    published_once: bool,
    lease_ends: Option<Instant>,
    last_publish: Option<Instant>,

    offers: BTreeMap<Ticket, Offer>,
    next_ticket: u64,
    /// The directory's count of the pool, as of its last word and what was added since.
    pooled: usize,
    wanted: usize,
    uploading: bool,
    /// The directory counted while an upload was under way: with or without it, who knows.
    counted: bool,
    make_at: Option<Instant>,
    make_retry: Retry,
    upload_at: Option<Instant>,
    upload_retry: Retry,
    queue: VecDeque<Output>,
}

#[derive(Debug, PartialEq)]
enum Phase {
    Running,
    /// Stopped while an announcement was under way: were it not awaited, it could bring the
    /// service back after its withdrawal.
    Stopping,
    Withdrawing,
    Over,
}

#[derive(Debug, PartialEq)]
enum Announce {
    Due(Instant),
    Claiming,
    Publishing { since: Instant, offers: Vec<Ticket>, anew: bool },
}

#[derive(Debug)]
struct Offer {
    state: State,
    expires: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Making,
    /// Made, not at the directory.
    Ready,
    Uploading,
    /// At the directory, or taken, or answered without our knowledge.
    Pooled,
    /// As `Pooled`, but to be replaced.
    Ageing,
    /// Taken back; `expires` is when it is dropped.
    Leaving,
}

impl Schedule {
    /// A schedule whose first announcement is due at once.
    pub(crate) fn new(config: ScheduleConfig, now: Instant, seed: u64) -> Self {
        let retry = Retry::new(config.retry_base, config.retry_max);
        Self {
            rng: StdRng::seed_from_u64(seed),
            phase: Phase::Running,
            announce: Announce::Due(now),
            claim_at: now,
            full: true,
            again: false,
            published_once: false,
            lease_ends: None,
            last_publish: None,
            offers: BTreeMap::new(),
            next_ticket: 0,
            pooled: 0,
            wanted: 0,
            uploading: false,
            counted: false,
            make_at: None,
            make_retry: retry.clone(),
            upload_at: None,
            upload_retry: retry.clone(),
            queue: VecDeque::new(),
            retry,
            config,
        }
    }

    /// The next thing to do; [`Output::Timeout`] when there is none.
    pub(crate) fn poll_output(&mut self, now: Instant) -> Output {
        if self.phase == Phase::Running && self.queue.is_empty() {
            self.run_pool(now);
            self.run_announcements(now);
        }
        self.queue.pop_front().unwrap_or_else(|| Output::Timeout(self.deadline(now)))
    }

    /// The username is ours.
    pub(crate) fn handle_claimed(&mut self, now: Instant) {
        self.claim_at = now + self.config.claim_every;
        if self.announce == Announce::Claiming {
            self.again = false;
            self.announce = Announce::Due(now);
        }
        self.answered();
    }

    /// The lease was granted. What it says of the pool replaces what was believed. True if the
    /// service was presented anew, false if a running lease was refreshed.
    pub(crate) fn handle_published(&mut self, now: Instant, granted: Granted) -> bool {
        let Announce::Publishing { since, offers, anew } = &mut self.announce else { return false };
        let anew = *anew;
        let (since, offers) = (*since, std::mem::take(offers));
        self.retry.reset();
        self.published_once = true;
        self.lease_ends = Some(since + granted.ttl);
        let left = granted.ttl.mul_f64(self.config.refresh_margin.clamp(0.0, 0.95));
        // A server that grants next to nothing is not asked in a busy loop.
        let refresh = (since + granted.ttl.saturating_sub(left)).max(now + PUBLISH_GAP);
        self.announce = Announce::Due(if self.again { self.soon(now) } else { refresh });
        if !self.again {
            self.full = false;
        }
        self.again = false;
        for ticket in offers {
            self.settle(ticket, State::Pooled);
        }
        self.handle_counted(granted.offers, granted.wanted);
        self.answered();
        anew
    }

    /// Claiming or publishing failed.
    pub(crate) fn handle_announce_failed(&mut self, now: Instant, refusal: Refusal) {
        if let Announce::Publishing { offers, .. } = &mut self.announce {
            for ticket in std::mem::take(offers) {
                self.settle(ticket, State::Ready);
            }
        }
        if self.phase != Phase::Running {
            self.announce = Announce::Due(now);
            return self.answered();
        }
        let first = self.retry.is_fresh();
        let mut delay = self.retry.failed(&mut self.rng);
        match refusal {
            Refusal::Permanent => return self.give_up(),
            Refusal::Dubious if !self.published_once => return self.give_up(),
            Refusal::Unclaimed => {
                self.claim_at = now;
                if first {
                    delay = Duration::ZERO;
                }
            }
            Refusal::LeaseLost => self.full = true,
            Refusal::Temporary(Some(after)) => delay = delay.max(after.min(RETRY_AFTER_MAX)),
            Refusal::Temporary(None) | Refusal::Dubious => {}
        }
        // A short lease leaves little time for retries: fit a few in before it ends.
        if let Some(left) = self.lease_ends.and_then(|ends| ends.checked_duration_since(now))
            && !matches!(refusal, Refusal::Temporary(Some(_)))
        {
            delay = delay.min((left / 4).max(PUBLISH_GAP));
        }
        if std::mem::take(&mut self.again) {
            delay = delay.min(PUBLISH_GAP);
        }
        self.announce = Announce::Due(now + delay);
    }

    /// The offer exists and can be published.
    pub(crate) fn handle_offer_made(&mut self, now: Instant, ticket: Ticket) {
        self.make_retry.reset();
        if let Some(offer) = self.offers.get_mut(&ticket)
            && offer.state == State::Making
        {
            *offer = Offer { state: State::Ready, expires: now + self.config.offer_lifetime };
        }
    }

    /// The offer could not be made.
    pub(crate) fn handle_offer_failed(&mut self, now: Instant, ticket: Ticket) {
        if self.offers.remove(&ticket).is_some() {
            self.make_at = Some(now + self.make_retry.failed(&mut self.rng));
        }
    }

    /// The offers under way are in the pool.
    pub(crate) fn handle_uploaded(&mut self) {
        self.upload_retry.reset();
        let added = self.end_upload(State::Pooled);
        // A count that came meanwhile may have these in it. Believing so makes an offer too many
        // at worst; believing the contrary could leave the pool empty.
        let added = if self.counted { 0 } else { added };
        let served = self.wanted.min(self.pooled + added);
        self.wanted -= served;
        self.pooled = self.pooled + added - served;
    }

    /// The offers under way are not in the pool.
    pub(crate) fn handle_upload_failed(&mut self, now: Instant, refusal: Refusal) {
        let delay = self.upload_retry.failed(&mut self.rng);
        let after = match refusal {
            Refusal::Temporary(Some(after)) => delay.max(after.min(RETRY_AFTER_MAX)),
            _ => delay,
        };
        self.upload_at = Some(now + after);
        match refusal {
            Refusal::Permanent | Refusal::Dubious => {
                // These offers, not the service: others may be taken.
                self.make_at = Some(now + after);
                let refused: Vec<Ticket> = self.in_state(State::Uploading).collect();
                refused.into_iter().for_each(|ticket| self.drop_offer(ticket));
                self.uploading = false;
            }
            Refusal::LeaseLost | Refusal::Unclaimed => {
                self.end_upload(State::Ready);
                self.handle_lease_lost(now);
            }
            Refusal::Temporary(_) => {
                self.end_upload(State::Ready);
            }
        }
    }

    /// The directory's word on the pool: offers that nobody took, and peers that wait.
    pub(crate) fn handle_counted(&mut self, offers: usize, wanted: usize) {
        self.counted = self.uploading;
        self.pooled = offers;
        self.wanted = wanted.min(self.config.max_offers);
    }

    /// Somebody answered this offer. False if it is not one that takes answers (any more): it was
    /// dropped, or answered before.
    #[must_use]
    pub(crate) fn handle_answered(&mut self, ticket: Ticket) -> bool {
        match self.offers.get(&ticket).map(|offer| offer.state) {
            None | Some(State::Making | State::Ready) => false,
            Some(_) => {
                self.offers.remove(&ticket);
                true
            }
        }
    }

    /// The offer is of no use any more: the transport gave it up.
    pub(crate) fn handle_offer_lost(&mut self, ticket: Ticket) {
        let Some(offer) = self.offers.get(&ticket) else { return };
        if matches!(offer.state, State::Pooled | State::Ageing) {
            self.pooled = self.pooled.saturating_sub(1);
            self.queue.push_back(Output::TakeBack(vec![ticket]));
        }
        self.drop_offer(ticket);
    }

    /// The machine has other addresses: offers that name the old ones are replaced at once. Each is
    /// taken back when its successor is there, since it may still do.
    pub(crate) fn handle_network_change(&mut self, now: Instant) {
        self.make_at = None;
        self.make_retry.reset();
        let stale: Vec<Ticket> = self.in_state(State::Making).chain(self.in_state(State::Ready)).collect();
        stale.into_iter().for_each(|ticket| self.drop_offer(ticket));
        // Those under way to the directory age when they have arrived.
        for offer in self.offers.values_mut() {
            match offer.state {
                State::Pooled => offer.state = State::Ageing,
                State::Uploading => offer.expires = now,
                _ => {}
            }
        }
    }

    /// The directory has forgotten the service: present it at once, with its pool.
    pub(crate) fn handle_lease_lost(&mut self, now: Instant) {
        (self.pooled, self.wanted) = (0, 0);
        self.handle_reconnected(now);
    }

    /// The connection to the directory was broken and is back, or events were missed: the
    /// directory may have restarted. Present the service at once, with its pool.
    pub(crate) fn handle_reconnected(&mut self, now: Instant) {
        self.full = true;
        self.retry.reset();
        match &mut self.announce {
            Announce::Due(at) => {
                *at = self.last_publish.map_or(now, |last| now.max(last + PUBLISH_GAP)).min(*at);
            }
            Announce::Claiming | Announce::Publishing { .. } => self.again = true,
        }
    }

    /// The end: drops every offer and withdraws the service, once. Nothing follows but that.
    pub(crate) fn stop(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        self.drop_everything();
        self.phase = Phase::Stopping;
        if matches!(self.announce, Announce::Due(_)) {
            self.answered();
        }
    }

    /// The service is off the directory, or nobody is there to take it off.
    pub(crate) fn handle_withdrawn(&mut self) {
        self.phase = Phase::Over;
    }

    /// Nothing more will happen.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over && self.queue.is_empty()
    }

    /// What was asked of the directory was answered; a stop that waited for it goes on.
    fn answered(&mut self) {
        if self.phase == Phase::Stopping {
            self.phase = Phase::Withdrawing;
            self.queue.push_back(Output::Withdraw);
        }
    }

    fn give_up(&mut self) {
        self.drop_everything();
        self.phase = Phase::Over;
        self.queue.push_back(Output::GiveUp);
    }

    fn drop_everything(&mut self) {
        self.queue.clear();
        self.queue.extend(std::mem::take(&mut self.offers).into_keys().map(Output::Drop));
    }

    /// When the next announcement goes out; `None` while it waits for something else.
    fn announce_at(&self, now: Instant) -> Option<Instant> {
        let Announce::Due(at) = self.announce else { return None };
        if self.claim_at <= at.max(now) || !self.full {
            return Some(at);
        }
        if self.uploading {
            // It replaces the pool, and must not race with what adds to it.
            return None;
        }
        // Offers that go with it replace those of a process before this one, which nobody would
        // answer: they are worth a short wait.
        let waits = self.count(State::Making) > 0 && self.presentable().next().is_none();
        Some(if waits { at + PATIENCE } else { at })
    }

    fn run_announcements(&mut self, now: Instant) {
        if !self.queue.is_empty() || self.announce_at(now).is_none_or(|at| at > now) {
            return;
        }
        if self.claim_at <= now {
            self.announce = Announce::Claiming;
            return self.queue.push_back(Output::Claim);
        }
        let present: Vec<Ticket> = if self.full { self.presentable().collect() } else { Vec::new() };
        present.iter().for_each(|ticket| self.settle(*ticket, State::Uploading));
        self.last_publish = Some(now);
        self.announce = Announce::Publishing { since: now, offers: present.clone(), anew: self.full };
        self.queue.push_back(Output::Publish(present));
    }

    fn presentable(&self) -> impl Iterator<Item = Ticket> + '_ {
        self.in_state(State::Ready).chain(self.in_state(State::Pooled))
    }

    fn run_pool(&mut self, now: Instant) {
        self.age_offers(now);

        let held = self.lease_ends.is_some_and(|ends| ends > now);
        let publishing = matches!(self.announce, Announce::Publishing { .. });
        if held && !self.uploading && !publishing && !self.full && self.upload_at.is_none_or(|at| at <= now) {
            let ready: Vec<Ticket> = self.in_state(State::Ready).collect();
            if !ready.is_empty() {
                ready.iter().for_each(|ticket| self.settle(*ticket, State::Uploading));
                (self.uploading, self.counted, self.upload_at) = (true, false, None);
                self.queue.push_back(Output::Upload(ready));
            }
        }

        // Without a lease offers are of use only to the announcement that is about to go out.
        let announcing = match self.announce {
            Announce::Due(at) => at <= now,
            _ => true,
        };
        if (held || announcing) && self.make_at.is_none_or(|at| at <= now) {
            let room = self.config.max_offers.saturating_sub(self.offers.len());
            let slots = self.config.max_making.saturating_sub(self.count(State::Making));
            for _ in 0..self.missing().min(room).min(slots) {
                let ticket = Ticket(self.next_ticket);
                self.next_ticket += 1;
                self.offers.insert(ticket, Offer { state: State::Making, expires: now });
                self.queue.push_back(Output::Make(ticket));
            }
        }
    }

    /// How many offers the pool lacks, those under way counted as there.
    fn missing(&self) -> usize {
        let held = self.count(State::Pooled) + self.count(State::Ageing);
        // What is about to be presented counts as there.
        let at_directory = if self.full { held } else { self.pooled.min(held) };
        let fresh = at_directory.saturating_sub(self.count(State::Ageing));
        let coming = [State::Making, State::Ready, State::Uploading].map(|state| self.count(state));
        (self.config.pool_size + self.wanted).saturating_sub(fresh + coming.iter().sum::<usize>())
    }

    /// Replaces offers that grow old, takes them back when their replacement is there, and drops
    /// those that were taken back long enough ago.
    fn age_offers(&mut self, now: Instant) {
        let lead = self.config.offer_lifetime / 4;
        for offer in self.offers.values_mut() {
            if offer.state == State::Pooled && offer.expires <= now + lead {
                offer.state = State::Ageing;
            }
        }
        let replaced = self.missing() == 0
            && [State::Making, State::Ready, State::Uploading].iter().all(|state| self.count(*state) == 0);
        // With no room for replacements the oldest offers, taken and never answered, have to go.
        let crowded = self.offers.len() >= self.config.max_offers && self.missing() > 0;
        let mut back = Vec::new();
        let mut gone = Vec::new();
        for (ticket, offer) in &mut self.offers {
            let over = offer.expires <= now;
            match offer.state {
                State::Ageing if replaced || over => {
                    *offer = Offer { state: State::Leaving, expires: now + self.config.linger };
                    back.push(*ticket);
                }
                State::Pooled
                    if crowded
                        && offer.expires
                            <= now + self.config.offer_lifetime.saturating_sub(self.config.linger) =>
                {
                    back.push(*ticket);
                    gone.push(*ticket);
                }
                State::Ready | State::Leaving if over => gone.push(*ticket),
                _ => {}
            }
        }
        if !back.is_empty() {
            self.pooled = self.pooled.saturating_sub(back.len());
            self.queue.push_back(Output::TakeBack(back));
        }
        gone.into_iter().for_each(|ticket| self.drop_offer(ticket));
    }

    fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.phase != Phase::Running {
            return None;
        }
        let announce = self.announce_at(now);
        let lead = self.config.offer_lifetime / 4;
        let offers = self.offers.values().filter_map(|offer| match offer.state {
            State::Pooled if self.offers.len() >= self.config.max_offers && self.missing() > 0 => {
                Some(offer.expires - self.config.offer_lifetime.saturating_sub(self.config.linger))
            }
            State::Pooled => Some(offer.expires - lead),
            State::Ready | State::Ageing | State::Leaving => Some(offer.expires),
            State::Making | State::Uploading => None,
        });
        let retries = [self.make_at, self.upload_at].into_iter().flatten().filter(|at| *at > now);
        announce.into_iter().chain(offers).chain(retries).min()
    }

    fn soon(&self, now: Instant) -> Instant {
        self.last_publish.map_or(now, |last| now.max(last + PUBLISH_GAP))
    }

    fn end_upload(&mut self, state: State) -> usize {
        self.uploading = false;
        let uploaded: Vec<Ticket> = self.in_state(State::Uploading).collect();
        uploaded.iter().for_each(|ticket| self.settle(*ticket, state));
        uploaded.len()
    }

    fn settle(&mut self, ticket: Ticket, state: State) {
        if let Some(offer) = self.offers.get_mut(&ticket) {
            offer.state = state;
        }
    }

    fn drop_offer(&mut self, ticket: Ticket) {
        if self.offers.remove(&ticket).is_some() {
            self.queue.push_back(Output::Drop(ticket));
        }
    }

    fn in_state(&self, state: State) -> impl Iterator<Item = Ticket> + '_ {
        self.offers.iter().filter(move |(_, offer)| offer.state == state).map(|(ticket, _)| *ticket)
    }

    fn count(&self, state: State) -> usize {
        self.in_state(state).count()
    }
}

/// The least time between two publishings, whatever the directory says.
const PUBLISH_GAP: Duration = Duration::from_millis(200);
/// How long the first announcement waits for an offer to go with it.
const PATIENCE: Duration = Duration::from_millis(500);
/// The longest that a server may send us away for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
