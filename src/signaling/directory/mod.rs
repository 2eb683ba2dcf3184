//! The server's whole behaviour as a pure machine: who owns which name, which services are
//! published, whose offer goes to whom, what each key is to be told, and when all that ends.
//!
//! **Give [`Directory::handle`] each request and [`Directory::expire`] the time of
//! [`Directory::next_expiry`]; after either, take what [`Directory::poll_completion`] and
//! [`Directory::poll_change`] have, and show the open streams of each [`Directory::poll_woken`]
//! what [`Directory::read_events`] has.** Time is an argument: milliseconds since 1970 by a clock that
//! never goes back (a step back is taken for a standstill). A request either does all of what it
//! says or changes nothing.

mod claims;
mod events;
mod hosts;
mod limits;
mod offers;
mod persist;
mod services;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use self::events::Listener;
pub use self::limits::Limits;
pub use self::offers::WaiterId;
pub use self::persist::{Change, CorruptRecord};

use self::events::KeyState;
use self::offers::{Offer, Waiter};
use self::services::Service;
use super::{
    Claim, ErrorCode, OfferId, Request, Response, ServiceFqn, ServiceUuid, SignalingError, Username, Verified,
};
use crate::identity::PublicKey;

/// A directory of names, services and offers. See the [module](self) for how to drive it.
#[derive(Debug)]
pub struct Directory {
    limits: Limits,
    now: u64,
    /// Unlike that of any earlier run, so that cursors of earlier runs are recognised.
    instance: u64,
    claims: BTreeMap<Username, Claim>,
    services: BTreeMap<ServiceUuid, Service>,
    by_user: BTreeMap<Username, BTreeMap<ServiceFqn, ServiceUuid>>,
    offers: BTreeMap<OfferId, Offer>,
    /// The bytes of all descriptions held.
    description_bytes: usize,
    waiters: BTreeMap<WaiterId, Waiter>,
    last_waiter: u64,
    keys: BTreeMap<PublicKey, KeyState>,
    nonces: usize,
    last_event: u64,
    /// The highest event that keys forgotten since may have had.
    forgotten_events: u64,
    timers: BTreeSet<(u64, Timer)>,
    completions: VecDeque<Completion>,
    woken: BTreeSet<PublicKey>,
    changes: VecDeque<Change>,
}

/// What became of a request.
// Made and taken apart at once: boxing would only cost.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// This is the answer.
    Reply(Result<Response, SignalingError>),
    /// A [`Request::Take`] waits for an offer; its answer will come by
    /// [`Directory::poll_completion`].
    Parked(WaiterId),
}

/// The answer to a request that was [`Outcome::Parked`].
pub type Completion = (WaiterId, Result<Response, SignalingError>);

/// What happens when a deadline passes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The name becomes free and its services go.
    Claim(Username),
    /// The service goes, and its owner is told.
    Lease(ServiceUuid),
    /// The offer goes: nobody took it, its taker did not answer, or all has been said about it.
    Offer(OfferId),
    /// The peer is told that the host made no offer.
    Waiter(WaiterId),
    /// The oldest event of the key goes unread.
    Events(PublicKey),
    /// The key's nonces go, and the key itself if nothing else is known of it.
    Key(PublicKey),
}

impl Directory {
    /// An empty directory. `instance` must differ from that of earlier runs.
    pub fn new(limits: Limits, instance: u64) -> Self {
        Self {
            limits,
            now: 0,
            instance,
            claims: BTreeMap::new(),
            services: BTreeMap::new(),
            by_user: BTreeMap::new(),
            offers: BTreeMap::new(),
            description_bytes: 0,
            waiters: BTreeMap::new(),
            last_waiter: 0,
            keys: BTreeMap::new(),
            nonces: 0,
            last_event: 0,
            forgotten_events: 0,
            timers: BTreeSet::new(),
            completions: VecDeque::new(),
            woken: BTreeSet::new(),
            changes: VecDeque::new(),
        }
    }

    /// Carries a request out, wholly or not at all.
    pub fn handle(&mut self, now: u64, request: Verified) -> Outcome {
        self.expire(now);
        let Verified { request, stamp } = request;
        let Some(stamp) = stamp else { return Outcome::Reply(self.read(&request)) };
        let returned = match self.admit(&stamp) {
            Ok(returned) => returned,
            Err(error) => return Outcome::Reply(Err(error)),
        };
        let lasting = request.is_lasting() || matches!(request, Request::AddOffers { .. });
        let outcome = self.dispatch(stamp.key, request);
        if lasting && matches!(outcome, Outcome::Reply(Ok(_))) {
            self.remember_nonce(&stamp);
        }
        if returned {
            self.serve_all(stamp.key);
        }
        outcome
    }

    fn dispatch(&mut self, key: PublicKey, request: Request) -> Outcome {
        Outcome::Reply(match request {
            Request::Take { target, wait } => return self.take(key, &target, wait),
            Request::Claim { username } => self.claim(key, username),
            Request::Publish(publish) => self.publish(key, publish),
            Request::Withdraw { uuid } => self.withdraw(key, uuid),
            Request::AddOffers { uuid, instance, offers } => self.add_offers(key, uuid, instance, offers),
            Request::WithdrawOffers { uuid, offers } => self.withdraw_offers(key, uuid, &offers),
            Request::Answer(answer) => self.answer(key, answer),
            Request::Candidates { offer, candidates } => self.candidates(key, offer, candidates),
            request => self.read(&request),
        })
    }

    /// Ends everything whose time has come.
    pub fn expire(&mut self, now: u64) {
        self.now = self.now.max(now);
        while let Some((deadline, _)) = self.timers.first()
            && *deadline <= self.now
            && let Some((_, timer)) = self.timers.pop_first()
        {
            match timer {
                Timer::Claim(username) => self.handle_claim_end(&username),
                Timer::Lease(uuid) => self.handle_lease_end(uuid),
                Timer::Offer(id) => self.handle_offer_end(id),
                Timer::Waiter(id) => self.handle_waiter_end(id),
                Timer::Events(key) => self.handle_old_events(key),
                Timer::Key(key) => self.handle_key_check(key),
            }
        }
    }

    /// When [`expire`](Self::expire) next has something to do.
    pub fn next_expiry(&self) -> Option<u64> {
        self.timers.first().map(|(deadline, _)| *deadline)
    }

    /// The next answer to a request that was parked.
    pub fn poll_completion(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    /// What changes nothing but the nonce memory.
    fn read(&self, request: &Request) -> Result<Response, SignalingError> {
        match request {
            Request::Owner { username } => Ok(Response::Owner(self.claims.get(username).cloned())),
            Request::List { username } => Ok(Response::Services(self.list(username))),
            Request::Resolve { target } => {
                self.find(target).map(|service| Response::Service(service.record.clone()))
            }
            Request::Events { .. } => {
                Err(refuse(ErrorCode::Malformed, "events are a stream: open it with `listen`"))
            }
            _ => Err(refuse(ErrorCode::Unsigned, "this request must be signed")),
        }
    }

    /// Moves a deadline.
    fn arm(&mut self, before: Option<u64>, deadline: u64, timer: Timer) {
        if let Some(before) = before {
            self.disarm(before, &timer);
        }
        self.timers.insert((deadline, timer));
    }

    fn disarm(&mut self, deadline: u64, timer: &Timer) {
        self.timers.remove(&(deadline, timer.clone()));
    }
}

fn refuse(code: ErrorCode, message: impl Into<String>) -> SignalingError {
    SignalingError::refused(code, message)
}
