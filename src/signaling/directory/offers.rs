//! Offers: pooled for each service, each for one peer; and the peers that wait for one.
//!
//! ```text
//!            take, or a waiter is served           answer
//!  pooled ───────────────────────────────▶ taken ──────────▶ answered
//!    ▲  │ offer_ttl                  give_back │ answer_within    │ answered_for
//!    └──┼──────────────────────────────────────┤                  │
//!       ▼                                      ▼                  ▼
//!      gone                                   gone               gone
//! ```

use std::time::Duration;

use super::limits::millis;
use super::*;
use crate::identity::Signature;
use crate::signaling::{Answer, Event, InstanceId, NewOffer, ServiceTarget, TakenOffer};

/// A request that waits for an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(u64);

#[derive(Debug)]
pub(super) struct Waiter {
    peer: PublicKey,
    service: ServiceUuid,
    deadline: u64,
}

/// One offer and what became of it.
#[derive(Debug)]
pub(super) struct Offer {
    service: ServiceUuid,
    host: PublicKey,
    sdp: String,
    signature: Signature,
    stage: Stage,
    /// When the stage ends.
    deadline: u64,
    /// When it is too old for the pool.
    pooled_until: u64,
    /// Candidates of the host from before it was taken.
    early: Vec<String>,
    /// The bytes of description and candidates held, as counted in the directory's total.
    held: usize,
    from_host: usize,
    from_peer: usize,
}

#[cfg(test)]
impl Offer {
    pub(super) fn held(&self) -> usize {
        self.held
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Pooled,
    Taken(PublicKey),
    Answered(PublicKey),
}

impl Directory {
    pub(super) fn add_offers(
        &mut self,
        key: PublicKey,
        uuid: ServiceUuid,
        instance: Option<InstanceId>,
        offers: Vec<NewOffer>,
    ) -> Result<Response, SignalingError> {
        let service = self.owned(key, uuid)?;
        service.hosts.check(instance)?;
        let pooled = service.pool.len();
        self.check_offers(uuid, &offers, pooled)?;
        self.pool_offers(uuid, offers);
        self.serve(uuid);
        Ok(Response::Done)
    }

    /// Everything that can be wrong with offers that are to join `pooled` others.
    pub(super) fn check_offers(
        &self,
        uuid: ServiceUuid,
        offers: &[NewOffer],
        pooled: usize,
    ) -> Result<(), SignalingError> {
        let mut seen = BTreeSet::new();
        let (mut added, mut bytes) = (0, 0);
        for offer in offers {
            if !seen.insert(offer.id) {
                return Err(refuse(ErrorCode::Malformed, format!("the offer {} is there twice", offer.id)));
            }
            self.check_description(&offer.sdp)?;
            match self.offers.get(&offer.id) {
                None => (added, bytes) = (added + 1, bytes + offer.sdp.len()),
                Some(known) if known.service == uuid => {}
                Some(_) => {
                    let message = format!("the offer id {} is in use; choose ids at random", offer.id);
                    return Err(refuse(ErrorCode::OfferTaken, message));
                }
            }
        }
        let most = self.limits.offers_per_service;
        if pooled + added > most || offers.len() > most {
            return Err(refuse(ErrorCode::Quota, format!("a service has at most {most} offers in its pool")));
        }
        if self.description_bytes + bytes > self.limits.total_description_bytes {
            return Err(refuse(ErrorCode::Busy, "the server has no room for more offers"));
        }
        Ok(())
    }

    fn check_description(&self, sdp: &str) -> Result<(), SignalingError> {
        let most = self.limits.description_bytes;
        if sdp.is_empty() {
            return Err(refuse(ErrorCode::BadDescription, "the session description is empty"));
        }
        if sdp.len() > most {
            let message = format!("a session description has at most {most} bytes");
            return Err(refuse(ErrorCode::TooLarge, message));
        }
        Ok(())
    }

    /// Adds offers that were checked. What the server has already stays as it is, but is young again.
    pub(super) fn pool_offers(&mut self, uuid: ServiceUuid, offers: Vec<NewOffer>) {
        let until = self.now.saturating_add(millis(self.limits.offer_ttl));
        for NewOffer { id, sdp, signature } in offers {
            if let Some(known) = self.offers.get_mut(&id) {
                if known.stage == Stage::Pooled {
                    let before = std::mem::replace(&mut known.deadline, until);
                    known.pooled_until = until;
                    self.arm(Some(before), until, Timer::Offer(id));
                }
                continue;
            }
            let Some(service) = self.services.get_mut(&uuid) else { return };
            service.offers.insert(id);
            service.pool.push(id);
            self.description_bytes += sdp.len();
            let offer = Offer {
                held: sdp.len(),
                service: uuid,
                host: service.record.owner,
                sdp,
                signature,
                stage: Stage::Pooled,
                deadline: until,
                pooled_until: until,
                early: Vec::new(),
                from_host: 0,
                from_peer: 0,
            };
            self.offers.insert(id, offer);
            self.arm(None, until, Timer::Offer(id));
        }
    }

    /// A host that publishes with offers holds no others.
    pub(super) fn drop_pool_except(&mut self, uuid: ServiceUuid, kept: &[NewOffer]) {
        let Some(service) = self.services.get(&uuid) else { return };
        let kept: BTreeSet<_> = kept.iter().map(|offer| offer.id).collect();
        let stale: Vec<_> = service.pool.iter().filter(|id| !kept.contains(id)).copied().collect();
        for id in stale {
            self.remove_offer(id);
        }
    }

    /// Empties the pools of a host, and tells it so.
    pub(super) fn drop_pools(&mut self, host: PublicKey) {
        let services: Vec<_> =
            self.keys.get(&host).into_iter().flat_map(|state| &state.services).copied().collect();
        for uuid in services {
            if self.services.get(&uuid).is_some_and(|service| !service.pool.is_empty()) {
                self.drop_pool_except(uuid, &[]);
                self.push_wanted(uuid);
            }
        }
    }

    pub(super) fn withdraw_offers(
        &mut self,
        key: PublicKey,
        uuid: ServiceUuid,
        offers: &[OfferId],
    ) -> Result<Response, SignalingError> {
        let pool: BTreeSet<_> = self.owned(key, uuid)?.pool.iter().copied().collect();
        // Those that were taken meanwhile, or are gone, are no error: the host could not know.
        for id in offers.iter().filter(|id| pool.contains(id)) {
            self.remove_offer(*id);
        }
        Ok(Response::Done)
    }

    pub(super) fn take(&mut self, peer: PublicKey, target: &ServiceTarget, wait: Duration) -> Outcome {
        match self.try_take(peer, target, wait) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Reply(Err(error)),
        }
    }

    fn try_take(
        &mut self,
        peer: PublicKey,
        target: &ServiceTarget,
        wait: Duration,
    ) -> Result<Outcome, SignalingError> {
        let service = self.find(target)?;
        let (uuid, owner) = (service.record.uuid, service.record.owner);
        let most = self.limits.takes_per_key;
        if self.keys.get(&peer).is_some_and(|state| state.taken + state.waiting >= most) {
            return Err(refuse(ErrorCode::Quota, format!("a key has at most {most} offers unanswered")));
        }
        // Those that already wait are served first, and offers of a host that went away are dead.
        if service.waiting.is_empty() && !service.pool.is_empty() && self.is_present(owner) {
            let taken = self.hand_out(uuid, peer);
            self.push_wanted(uuid);
            return taken.map(|taken| Outcome::Reply(Ok(Response::Taken(taken)))).ok_or_else(no_offer);
        }
        if wait.is_zero() {
            return Err(no_offer());
        }
        if service.waiting.len() >= self.limits.waiters_per_service {
            let error = refuse(ErrorCode::Busy, "too many peers wait for an offer of this service");
            return Err(error.retry_after(Duration::from_secs(1)));
        }
        self.last_waiter += 1;
        let id = WaiterId(self.last_waiter);
        let deadline = self.now.saturating_add(millis(wait.min(self.limits.max_wait)));
        self.waiters.insert(id, Waiter { peer, service: uuid, deadline });
        self.arm(None, deadline, Timer::Waiter(id));
        self.state(peer).waiting += 1;
        if let Some(service) = self.services.get_mut(&uuid) {
            service.waiting.push_back(id);
        }
        self.push_wanted(uuid);
        Ok(Outcome::Parked(id))
    }

    /// Hands offers to those who wait, as far as both go.
    pub(super) fn serve(&mut self, uuid: ServiceUuid) {
        let mut served = false;
        while let Some(service) = self.services.get(&uuid)
            && let Some(id) = service.waiting.front().copied()
            && let Some(waiter) = self.waiters.get(&id)
            && self.is_present(service.record.owner)
            && let Some(taken) = self.hand_out(uuid, waiter.peer)
        {
            served = true;
            self.complete(id, Ok(Response::Taken(taken)));
        }
        if served {
            self.push_wanted(uuid);
        }
    }

    /// Gives the newest offer of the pool to one peer: the fresher, the likelier it still works.
    fn hand_out(&mut self, uuid: ServiceUuid, peer: PublicKey) -> Option<TakenOffer> {
        let service = self.services.get_mut(&uuid)?;
        let id = service.pool.pop()?;
        let record = service.record.clone();
        let deadline = self.now.saturating_add(millis(self.limits.answer_within));
        let offer = self.offers.get_mut(&id)?;
        offer.stage = Stage::Taken(peer);
        let before = std::mem::replace(&mut offer.deadline, deadline);
        let early = offer.early.clone();
        let taken = TakenOffer { service: record, id, sdp: offer.sdp.clone(), signature: offer.signature };
        self.arm(Some(before), deadline, Timer::Offer(id));
        self.state(peer).taken += 1;
        if !early.is_empty() {
            self.push(peer, Event::Candidates { offer: id, candidates: early });
        }
        Some(taken)
    }

    /// Puts an offer back that was handed to `peer`, whose answer then could not be delivered. The
    /// peer must not have seen it.
    pub fn give_back(&mut self, now: u64, peer: PublicKey, id: OfferId) {
        self.expire(now);
        let Some(offer) = self.offers.get_mut(&id) else { return };
        if offer.stage != Stage::Taken(peer) {
            return;
        }
        let (uuid, pooled_until) = (offer.service, offer.pooled_until);
        if pooled_until <= self.now {
            self.remove_offer(id);
        } else {
            offer.stage = Stage::Pooled;
            let before = std::mem::replace(&mut offer.deadline, pooled_until);
            self.arm(Some(before), pooled_until, Timer::Offer(id));
            self.state(peer).taken -= 1;
            if let Some(service) = self.services.get_mut(&uuid) {
                service.pool.push(id);
            }
        }
        self.serve(uuid);
    }

    /// Forgets a parked request whose author has gone away.
    pub fn drop_waiter(&mut self, now: u64, id: WaiterId) {
        self.expire(now);
        if let Some(waiter) = self.remove_waiter(id)
            && let Some(service) = self.services.get_mut(&waiter.service)
        {
            service.waiting.retain(|waiting| *waiting != id);
        }
    }

    pub(super) fn handle_waiter_end(&mut self, id: WaiterId) {
        self.complete(id, Err(no_offer()));
    }

    pub(super) fn complete(&mut self, id: WaiterId, result: Result<Response, SignalingError>) {
        if let Some(waiter) = self.remove_waiter(id) {
            if let Some(service) = self.services.get_mut(&waiter.service) {
                service.waiting.retain(|waiting| *waiting != id);
            }
            self.completions.push_back((id, result));
        }
    }

    fn remove_waiter(&mut self, id: WaiterId) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        self.disarm(waiter.deadline, &Timer::Waiter(id));
        self.state(waiter.peer).waiting -= 1;
        Some(waiter)
    }

    pub(super) fn answer(&mut self, key: PublicKey, answer: Answer) -> Result<Response, SignalingError> {
        let Answer { offer: id, sdp, signature } = answer;
        let offer = self.offers.get(&id).ok_or_else(|| offer_not_found(id))?;
        match offer.stage {
            Stage::Taken(peer) if peer == key => {}
            Stage::Answered(peer) if peer == key => {
                return Err(refuse(
                    ErrorCode::AlreadyAnswered,
                    format!("the offer {id} was answered before"),
                ));
            }
            Stage::Pooled => {
                return Err(refuse(ErrorCode::NotYours, format!("the offer {id} was not taken by this key")));
            }
            Stage::Taken(_) | Stage::Answered(_) => {
                return Err(refuse(ErrorCode::OfferTaken, format!("the offer {id} is another peer's")));
            }
        }
        self.check_description(&sdp)?;
        let deadline = self.now.saturating_add(millis(self.limits.answered_for));
        let Some(offer) = self.offers.get_mut(&id) else { return Err(offer_not_found(id)) };
        offer.stage = Stage::Answered(key);
        let before = std::mem::replace(&mut offer.deadline, deadline);
        let (host, uuid) = (offer.host, offer.service);
        // Nobody needs the offer any more.
        self.description_bytes -= std::mem::take(&mut offer.held);
        (offer.sdp, offer.early) = (String::new(), Vec::new());
        self.arm(Some(before), deadline, Timer::Offer(id));
        self.state(key).taken -= 1;
        self.push(host, Event::Answered { uuid, offer: id, peer: key, sdp, signature });
        Ok(Response::Done)
    }

    pub(super) fn candidates(
        &mut self,
        key: PublicKey,
        id: OfferId,
        candidates: Vec<String>,
    ) -> Result<Response, SignalingError> {
        let offer = self.offers.get(&id).ok_or_else(|| offer_not_found(id))?;
        let peer = match offer.stage {
            Stage::Pooled => None,
            Stage::Taken(peer) | Stage::Answered(peer) => Some(peer),
        };
        let from_host = key == offer.host;
        if !from_host && peer != Some(key) {
            return Err(refuse(ErrorCode::NotYours, format!("this key is no party to the offer {id}")));
        }
        let (most, bytes) = (self.limits.candidates_per_side, self.limits.candidate_bytes);
        if candidates.is_empty() {
            return Err(refuse(ErrorCode::Malformed, "there is no candidate"));
        }
        let sent = if from_host { offer.from_host } else { offer.from_peer };
        if sent + candidates.len() > most {
            return Err(refuse(ErrorCode::TooLarge, format!("either side has at most {most} candidates")));
        }
        if candidates.iter().any(|candidate| candidate.len() > bytes) {
            return Err(refuse(ErrorCode::TooLarge, format!("a candidate has at most {bytes} bytes")));
        }
        let to = if from_host { peer } else { Some(offer.host) };
        let held: usize = if to.is_some() { 0 } else { candidates.iter().map(String::len).sum() };
        if self.description_bytes + held > self.limits.total_description_bytes {
            return Err(refuse(ErrorCode::Busy, "the server has no room for more candidates"));
        }
        let Some(offer) = self.offers.get_mut(&id) else { return Err(offer_not_found(id)) };
        self.description_bytes += held;
        offer.held += held;
        let count = if from_host { &mut offer.from_host } else { &mut offer.from_peer };
        *count += candidates.len();
        match to {
            Some(to) => self.push(to, Event::Candidates { offer: id, candidates }),
            None => offer.early.extend(candidates),
        }
        Ok(Response::Done)
    }

    pub(super) fn handle_offer_end(&mut self, id: OfferId) {
        let Some(offer) = self.offers.get(&id) else { return };
        let (uuid, pooled) = (offer.service, offer.stage == Stage::Pooled);
        self.remove_offer(id);
        if pooled {
            self.push_wanted(uuid);
        }
    }

    pub(super) fn remove_offer(&mut self, id: OfferId) {
        let Some(offer) = self.offers.remove(&id) else { return };
        self.disarm(offer.deadline, &Timer::Offer(id));
        self.description_bytes -= offer.held;
        if let Stage::Taken(peer) = offer.stage {
            self.state(peer).taken -= 1;
        }
        if let Some(service) = self.services.get_mut(&offer.service) {
            service.offers.remove(&id);
            service.pool.retain(|pooled| *pooled != id);
        }
    }

    /// Tells the host how its pool stands.
    fn push_wanted(&mut self, uuid: ServiceUuid) {
        if let Some(service) = self.services.get(&uuid) {
            let (owner, offers, wanted) = (service.record.owner, service.pool.len(), service.waiting.len());
            self.push(owner, Event::OfferWanted { uuid, offers, wanted });
        }
    }
}

fn no_offer() -> SignalingError {
    refuse(ErrorCode::NoOffer, "the host has made no offer in time")
}

fn offer_not_found(id: OfferId) -> SignalingError {
    refuse(ErrorCode::OfferNotFound, format!("no offer {id}, or it expired"))
}
