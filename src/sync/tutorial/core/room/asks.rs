//! What members ask for.

use super::super::super::control::{ConflictStrategy, ControlCause, OfferOutcome, Presence, Ticket};
use super::super::super::error::{MAX_REASON, Refusal};
use super::super::wire::{Answered, Ask, ToMember, cut};
use super::handover::{Asker, Offer, Pull, Request};
use super::{RoomMachine, RoomOutput};
use crate::collections::BTreeSet;
use crate::durable::WallClock;
use crate::identity::PublicKey;

/// What is answered at once; `None` if later.
type Outcome = Result<Option<Answered>, Refusal>;

const DONE: Outcome = Ok(Some(Answered::Done {}));
const LATER: Outcome = Ok(None);

impl RoomMachine {
    pub(super) fn handle_ask(
        &mut self,
        id: PublicKey,
        n: u64,
        ask: Ask,
        state: Option<&str>,
        now: WallClock,
    ) {
        let from = Asker { id, n };
        let outcome = match ask {
            Ask::Lead { at, seen } => self.lead(from, at, seen, false, now),
            Ask::Pull { at, seen } => self.lead(from, at, seen, true, now),
            Ask::Follow {} => self.follow(from, None, now),
            Ask::Push {} => self.follow(from, state, now),
            Ask::State {} => {
                self.tell_state(id);
                DONE
            }
            Ask::Offer { to } => self.offer(from, to, now),
            Ask::Withdraw {} => {
                if self.offer.as_ref().is_some_and(|offer| offer.from.id == id) {
                    self.withdraw_offer();
                    DONE
                } else {
                    Err(Refusal::Gone)
                }
            }
            Ask::Accept { offer } => self.accept(from, offer, now),
            Ask::Decline { offer, reason } => self.decline(from, offer, cut(reason, MAX_REASON)),
            Ask::Request { at, reason } => self.request(from, at, cut(reason, MAX_REASON), now),
            Ask::Grant { request } => self.grant(from, request, now),
            Ask::Deny { request, reason } => self.deny(from, request, cut(reason, MAX_REASON)),
            Ask::Release { epoch, to } => {
                if self.holder != Some(id) {
                    Err(Refusal::NotHolder)
                } else if self.epoch != epoch {
                    Err(Refusal::Late)
                } else {
                    // It has stopped. If another was about to have control, that one gets it.
                    match self.handover {
                        Some(_) => self.finish_handover(now),
                        None => self.set_free(ControlCause::Released, Some(to), now),
                    }
                    DONE
                }
            }
            Ask::Return {} => self.give_back(from, now),
            Ask::Revoke { to } => self.revoke(from, to, now),
        };
        match outcome {
            Ok(None) => {}
            Ok(Some(answer)) => self.answer(from, answer),
            Err(why) => self.answer(from, Answered::Refused { why }),
        }
    }

    fn lead(&mut self, from: Asker, at: u64, seen: u64, pull: bool, now: WallClock) -> Outcome {
        if !self.may_lead(&from.id) {
            return Err(Refusal::Observer);
        }
        match self.holder {
            Some(holder) if holder == from.id => return DONE,
            Some(holder) if seen >= self.epoch => return Err(Refusal::Held { holder }),
            Some(holder) => return self.contend(from, holder, at, now),
            None => {}
        }
        if self.handover.is_some() || self.pull.is_some() {
            return Err(Refusal::Busy);
        }
        let wished = self.wish(&from.id, at);
        if !pull {
            self.transfer(Some(from.id), ControlCause::Led, wished, now);
            return DONE;
        }
        let others =
            self.members.iter().filter(|(id, entry)| **id != from.id && entry.presence == Presence::Here);
        let waiting: BTreeSet<_> = others.map(|(id, _)| *id).collect();
        let ticket = self.next_ticket();
        let conns: Vec<_> = waiting.iter().filter_map(|id| Some(self.members.get(id)?.conn)).collect();
        conns.into_iter().for_each(|conn| self.say(conn, &ToMember::Wanted { pull: ticket }));
        let alone = waiting.is_empty();
        self.pull = Some(Pull { ticket, by: from, wished, waiting, until: now.at + self.settings.pull_ttl });
        if alone {
            self.finish_pull(now);
        }
        LATER
    }

    /// Wanted to lead when it could not know that somebody does.
    fn contend(&mut self, from: Asker, holder: PublicKey, at: u64, now: WallClock) -> Outcome {
        let wished = self.wish(&from.id, at);
        match self.settings.conflicts {
            ConflictStrategy::FirstComeFirstServed | ConflictStrategy::ActiveWins => {
                Err(Refusal::Held { holder })
            }
            ConflictStrategy::DenyBoth => {
                if self.handover.is_none() {
                    self.take_over(None, ControlCause::Denied, 0, Vec::new(), now);
                }
                Err(Refusal::BothDenied)
            }
            ConflictStrategy::UserChoice => self.ask_holder(from, wished, None, now),
            ConflictStrategy::TimestampWins if wished < self.wished => self.displace(from, wished, now),
            ConflictStrategy::TimestampWins => Err(Refusal::Held { holder }),
        }
    }

    fn request(&mut self, from: Asker, at: u64, reason: Option<String>, now: WallClock) -> Outcome {
        if !self.may_lead(&from.id) {
            return Err(Refusal::Observer);
        }
        let wished = self.wish(&from.id, at);
        let holder = match self.holder {
            Some(holder) if holder == from.id => return DONE,
            Some(holder) => holder,
            None if self.handover.is_some() || self.pull.is_some() => return Err(Refusal::Busy),
            None => {
                self.transfer(Some(from.id), ControlCause::Requested, wished, now);
                return DONE;
            }
        };
        match self.settings.conflicts {
            ConflictStrategy::UserChoice => self.ask_holder(from, wished, reason, now),
            ConflictStrategy::FirstComeFirstServed if self.was_here_before(&from.id, &holder) => {
                self.displace(from, wished, now)
            }
            ConflictStrategy::TimestampWins if wished < self.wished => self.displace(from, wished, now),
            _ => Err(Refusal::Held { holder }),
        }
    }

    fn ask_holder(&mut self, from: Asker, wished: u64, reason: Option<String>, now: WallClock) -> Outcome {
        if self.requests.values().any(|request| request.from.id == from.id) {
            return Err(Refusal::Pending);
        }
        let ticket = self.next_ticket();
        let until = now.at + self.settings.request_ttl;
        self.requests.insert(ticket, Request { ticket, from, reason, wished, until });
        self.control_changed = true;
        LATER
    }

    /// Takes the holder's place.
    fn displace(&mut self, from: Asker, wished: u64, now: WallClock) -> Outcome {
        if self.handover.is_some() {
            return Err(Refusal::Busy);
        }
        let answers = vec![(from, Answered::Done {})];
        self.take_over(Some(from.id), ControlCause::Requested, wished, answers, now);
        LATER
    }

    fn follow(&mut self, from: Asker, state: Option<&str>, now: WallClock) -> Outcome {
        if self.holder == Some(from.id) {
            return Err(Refusal::Late);
        }
        if let Some(state) = state
            && self.holder.is_none()
            && self.handover.is_none()
            && self.pull.is_none()
            && state.len() <= self.settings.max_state
        {
            self.publish(from.id, state);
        }
        if let Some(entry) = self.members.get_mut(&from.id) {
            entry.following = true;
        }
        self.control_changed = true;
        // One that has not chosen leads: the first that came.
        let idle = self
            .members
            .iter()
            .filter(|(id, entry)| !entry.following && entry.presence == Presence::Here && self.may_lead(id));
        let first = idle.min_by_key(|(_, entry)| entry.order).map(|(id, _)| *id);
        if self.holder.is_none() && self.handover.is_none() && self.pull.is_none() && first.is_some() {
            self.transfer(first, ControlCause::Followed, now.millis, now);
        }
        DONE
    }

    fn offer(&mut self, from: Asker, to: Option<PublicKey>, now: WallClock) -> Outcome {
        if self.holder != Some(from.id) {
            return Err(Refusal::NotHolder);
        }
        if self.handover.is_some() {
            return Err(Refusal::Busy);
        }
        self.withdraw_offer();
        let there = match to {
            Some(to) => to != from.id && self.may_lead(&to),
            None => self.members.keys().any(|id| *id != from.id && self.may_lead(id)),
        };
        if !there {
            return Err(Refusal::Nobody);
        }
        let (ticket, until) = (self.next_ticket(), now.at + self.settings.offer_ttl);
        self.offer = Some(Offer { ticket, from, to, declined: BTreeSet::default(), until });
        self.control_changed = true;
        LATER
    }

    fn accept(&mut self, by: Asker, ticket: Ticket, now: WallClock) -> Outcome {
        if self.handover.is_some() {
            return Err(Refusal::Busy);
        }
        let offer = self.open_offer(by.id, ticket)?;
        let from = offer.from;
        self.offer = None;
        self.control_changed = true;
        let accepted = Answered::Settled { outcome: OfferOutcome::Accepted { by: by.id } };
        let answers = vec![(from, accepted), (by, Answered::Done {})];
        self.take_over(Some(by.id), ControlCause::Offered, now.millis, answers, now);
        LATER
    }

    fn decline(&mut self, by: Asker, ticket: Ticket, reason: Option<String>) -> Outcome {
        let offer = self.open_offer(by.id, ticket)?;
        offer.declined.insert(by.id);
        self.control_changed = true;
        let all = match &self.offer {
            Some(offer) => {
                let open_to = |id: &PublicKey| *id != offer.from.id && self.concerns(offer, id);
                !self.members.keys().any(open_to)
            }
            None => false,
        };
        if all && let Some(offer) = self.offer.take() {
            let outcome = OfferOutcome::Declined { by: by.id, reason };
            self.answer(offer.from, Answered::Settled { outcome });
        }
        DONE
    }

    /// The offer that a member may accept.
    fn open_offer(&mut self, by: PublicKey, ticket: Ticket) -> Result<&mut Offer, Refusal> {
        let offer = self.offer.as_ref().filter(|offer| offer.ticket == ticket && offer.from.id != by);
        if !offer.is_some_and(|offer| self.concerns(offer, &by)) {
            return Err(Refusal::Gone);
        }
        self.offer.as_mut().ok_or(Refusal::Gone)
    }

    fn grant(&mut self, from: Asker, ticket: Ticket, now: WallClock) -> Outcome {
        let request = self.request_to(from.id, ticket)?;
        let (to, wished) = (request.from, request.wished);
        self.requests.remove(&ticket);
        self.control_changed = true;
        let answers = vec![(to, Answered::Done {}), (from, Answered::Done {})];
        self.take_over(Some(to.id), ControlCause::Requested, wished, answers, now);
        LATER
    }

    fn deny(&mut self, from: Asker, ticket: Ticket, reason: Option<String>) -> Outcome {
        let asker = self.request_to(from.id, ticket)?.from;
        self.requests.remove(&ticket);
        self.control_changed = true;
        self.answer(asker, Answered::Refused { why: Refusal::Denied { reason } });
        DONE
    }

    /// A request that a member may answer.
    fn request_to(&self, holder: PublicKey, ticket: Ticket) -> Result<&Request, Refusal> {
        if self.holder != Some(holder) {
            return Err(Refusal::NotHolder);
        }
        if self.handover.is_some() {
            return Err(Refusal::Busy);
        }
        self.requests.get(&ticket).ok_or(Refusal::Gone)
    }

    fn give_back(&mut self, from: Asker, now: WallClock) -> Outcome {
        if self.holder != Some(from.id) {
            return Err(Refusal::NotHolder);
        }
        if self.handover.is_some() {
            return Err(Refusal::Busy);
        }
        let to = self.came_from.filter(|to| *to != from.id && self.may_lead(to)).ok_or(Refusal::Nobody)?;
        let answers = vec![(from, Answered::Done {})];
        self.take_over(Some(to), ControlCause::Returned, now.millis, answers, now);
        LATER
    }

    fn revoke(&mut self, from: Asker, to: Option<PublicKey>, now: WallClock) -> Outcome {
        if !self.members.get(&from.id).is_some_and(|entry| entry.moderator) {
            return Err(Refusal::NotModerator);
        }
        if to.is_some_and(|to| !self.may_lead(&to)) {
            return Err(Refusal::Nobody);
        }
        if self.pull.is_some() {
            return Err(Refusal::Busy);
        }
        if self.holder == to {
            return DONE;
        }
        let answers = vec![(from, Answered::Done {})];
        self.take_over(to, ControlCause::Revoked, now.millis, answers, now);
        LATER
    }

    /// Since when a member wants to lead: its word, but not from before it was here.
    fn wish(&self, id: &PublicKey, at: u64) -> u64 {
        self.members.get(id).map_or(at, |entry| at.max(entry.joined))
    }

    fn was_here_before(&self, one: &PublicKey, other: &PublicKey) -> bool {
        let order = |id| self.members.get(id).map(|entry| entry.order);
        match (order(one), order(other)) {
            (Some(one), Some(other)) => one < other,
            // A leader that is gone, whose lease has not ended.
            _ => false,
        }
    }

    /// Keeps what a later run of the room has to know.
    pub(super) fn save(&mut self) {
        if self.settings.kept {
            let record = self.record();
            self.outputs.push_back(RoomOutput::Save(record));
        }
    }
}
