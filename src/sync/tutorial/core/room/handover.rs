//! Control changes hands.

use super::super::super::control::{ControlCause, OfferOutcome, OpenOffer, OpenRequest, ReleaseTo, Ticket};
use super::super::super::error::Refusal;
use super::super::super::events::RoomEvent;
use super::super::wire::{Answered, ToMember};
use super::{Entry, RoomMachine, RoomOutput};
use crate::collections::BTreeSet;
use crate::durable::WallClock;
use crate::identity::PublicKey;
use crate::runtime::Instant;

/// Somebody who waits for an answer to an ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub id: PublicKey,
    pub n: u64,
}

/// The holder is to stop, and was told.
#[derive(Debug)]
pub(super) struct Handover {
    pub to: Option<PublicKey>,
    pub cause: ControlCause,
    /// Since when the next one wanted it.
    pub wished: u64,
    /// What is answered when it is done.
    pub answers: Vec<(Asker, Answered)>,
}

/// The holder offers control.
#[derive(Debug)]
pub(super) struct Offer {
    pub ticket: Ticket,
    pub from: Asker,
    pub to: Option<PublicKey>,
    pub declined: BTreeSet<PublicKey>,
    pub until: Instant,
}

/// Somebody asks the holder for control.
#[derive(Debug)]
pub(super) struct Request {
    pub ticket: Ticket,
    pub from: Asker,
    pub reason: Option<String>,
    pub wished: u64,
    pub until: Instant,
}

/// Somebody wants to lead, and the others' state first.
#[derive(Debug)]
pub(super) struct Pull {
    pub ticket: Ticket,
    pub by: Asker,
    pub wished: u64,
    /// Who has not answered.
    pub waiting: BTreeSet<PublicKey>,
    pub until: Instant,
}

impl Offer {
    pub(super) fn open(&self) -> OpenOffer {
        OpenOffer { offer: self.ticket, from: self.from.id, to: self.to }
    }
}

impl RoomMachine {
    /// Takes control from whoever has it, when that one has stopped, and gives it to another, or nobody.
    pub(super) fn take_over(
        &mut self,
        to: Option<PublicKey>,
        cause: ControlCause,
        wished: u64,
        answers: Vec<(Asker, Answered)>,
        now: WallClock,
    ) {
        let Some(holder) = self.holder else {
            self.handover = Some(Handover { to, cause, wished, answers });
            return self.finish_handover(now);
        };
        let epoch = self.epoch;
        if let Some(conn) = self.members.get(&holder).map(|entry| entry.conn) {
            self.say(conn, &ToMember::Yield { epoch });
        }
        match &mut self.handover {
            // It was told already. The newest will counts: a moderator's, or the host's.
            Some(handover) => {
                let before = std::mem::take(&mut handover.answers);
                *handover = Handover { to, cause, wished, answers };
                for (asker, answered) in before {
                    let late = match answered {
                        Answered::Settled { .. } => Answered::Settled { outcome: OfferOutcome::Withdrawn },
                        _ => Answered::Refused { why: Refusal::Late },
                    };
                    self.answer(asker, late);
                }
            }
            none => *none = Some(Handover { to, cause, wished, answers }),
        }
    }

    /// The holder has stopped, or its time is over.
    pub(super) fn finish_handover(&mut self, now: WallClock) {
        let Some(Handover { to, cause, wished, answers }) = self.handover.take() else { return };
        let to = to.filter(|to| self.may_lead(to));
        match to {
            Some(_) => self.transfer(to, cause, wished, now),
            None => self.set_free(cause, None, now),
        }
        for (asker, answered) in answers {
            let there = to.is_some()
                || matches!(answered, Answered::Refused { .. })
                || cause == ControlCause::Revoked;
            let answered = match answered {
                _ if there => answered,
                Answered::Settled { .. } => Answered::Settled { outcome: OfferOutcome::Withdrawn },
                _ => Answered::Refused { why: Refusal::Late },
            };
            self.answer(asker, answered);
        }
        for id in std::mem::take(&mut self.leaving).into_iter().collect::<Vec<_>>() {
            self.remove_now(id, now);
        }
    }

    /// Control is somebody's, or nobody's, from now on. Nobody else leads any more.
    pub(super) fn transfer(
        &mut self,
        to: Option<PublicKey>,
        cause: ControlCause,
        wished: u64,
        now: WallClock,
    ) {
        let from = self.holder;
        self.epoch += 1;
        self.holder = to;
        self.cause = cause;
        self.wished = wished;
        if to.is_some() && to != from {
            self.came_from = from;
        }
        self.leased_until = to.map(|_| now.at + self.settings.lease.at_the_room());
        self.members.values_mut().for_each(|entry| entry.seq = 0);
        self.save();
        let epoch = self.epoch;
        self.outputs.push_back(RoomOutput::Event(RoomEvent::ControlTransferred { epoch, from, to, cause }));
        for member in [from, to].into_iter().flatten().filter(|_| from != to) {
            if self.members.contains_key(&member) {
                let role = self.role(&member);
                self.outputs.push_back(RoomOutput::Event(RoomEvent::RoleChanged { member, role }));
            }
        }
        self.members_changed = true;
        self.control_changed = true;
        self.withdraw_offer();
        if let Some(to) = to {
            // It goes on from the newest state, which it must have before it leads.
            self.tell_state(to);
            let mine: Vec<_> =
                self.requests.values().filter(|request| request.from.id == to).map(|r| r.ticket).collect();
            for ticket in mine {
                if let Some(request) = self.requests.remove(&ticket) {
                    self.answer(request.from, Answered::Done {});
                }
            }
        }
    }

    /// Nobody leads; or whoever has asked for it first.
    pub(super) fn set_free(&mut self, cause: ControlCause, to: Option<ReleaseTo>, now: WallClock) {
        if self.holder.is_some() || self.epoch == 0 {
            self.transfer(None, cause, 0, now);
        }
        let following = to == Some(ReleaseTo::Passive);
        self.members.values_mut().for_each(|entry| entry.following = following);
        self.control_changed = true;
        let first = self.requests.values().find(|request| self.may_lead(&request.from.id));
        if let Some((to, wished)) = first.map(|request| (request.from.id, request.wished)) {
            self.transfer(Some(to), ControlCause::Requested, wished, now);
        }
    }

    /// The holder was gone for too long.
    pub(super) fn lease_ended(&mut self, now: WallClock) {
        match self.handover {
            Some(_) => self.finish_handover(now),
            None => self.set_free(ControlCause::LeaseEnded, None, now),
        }
    }

    /// Ends offers, requests and pulls that nobody has answered in time.
    pub(super) fn end_what_is_due(&mut self, now: WallClock) {
        if let Some(offer) = self.offer.take_if(|offer| offer.until <= now.at) {
            self.answer(offer.from, Answered::Settled { outcome: OfferOutcome::Expired });
            self.control_changed = true;
        }
        let due: Vec<_> =
            self.requests.values().filter(|request| request.until <= now.at).map(|r| r.ticket).collect();
        for ticket in due {
            if let Some(request) = self.requests.remove(&ticket) {
                self.answer(request.from, Answered::Refused { why: Refusal::Unanswered });
                self.control_changed = true;
            }
        }
        if self.pull.as_ref().is_some_and(|pull| pull.until <= now.at) {
            self.finish_pull(now);
        }
    }

    pub(super) fn withdraw_offer(&mut self) {
        if let Some(offer) = self.offer.take() {
            self.answer(offer.from, Answered::Settled { outcome: OfferOutcome::Withdrawn });
            self.control_changed = true;
        }
    }

    /// Somebody is out of the room: what it asked, and what was asked of it, ends.
    pub(super) fn forget_asks_of(&mut self, id: PublicKey, now: WallClock) {
        self.abandon_asks(id);
        if self.offer.as_ref().is_some_and(|offer| offer.to == Some(id)) {
            self.withdraw_offer();
        }
        if let Some(offer) = &mut self.offer {
            offer.declined.remove(&id);
        }
        if self.offer.as_ref().is_some_and(|offer| {
            !self.members.keys().any(|id| self.concerns(offer, id) && *id != offer.from.id)
        }) {
            self.withdraw_offer();
        }
        if let Some(pull) = &mut self.pull {
            pull.waiting.remove(&id);
            if pull.waiting.is_empty() {
                self.finish_pull(now);
            }
        }
    }

    /// Somebody is out, or another run of it is here: what the earlier one asked gets no answer.
    pub(super) fn abandon_asks(&mut self, id: PublicKey) {
        self.requests.retain(|_, request| request.from.id != id);
        self.pull.take_if(|pull| pull.by.id == id);
        if self.offer.take_if(|offer| offer.from.id == id).is_some() {
            self.control_changed = true;
        }
        if let Some(handover) = &mut self.handover {
            handover.answers.retain(|(asker, _)| asker.id != id);
        }
        self.control_changed = true;
    }

    /// The others' states are there, or will not come.
    pub(super) fn finish_pull(&mut self, now: WallClock) {
        let Some(pull) = self.pull.take() else { return };
        self.transfer(Some(pull.by.id), ControlCause::Led, pull.wished, now);
        self.answer(pull.by, Answered::Done {});
    }

    /// A member's own state, for somebody who wants to lead.
    pub(super) fn handle_have(
        &mut self,
        from: PublicKey,
        ticket: Ticket,
        state: Option<&str>,
        now: WallClock,
    ) {
        let Some(pull) = self.pull.as_mut().filter(|pull| pull.ticket == ticket) else { return };
        if !pull.waiting.remove(&from) {
            return;
        }
        let all = pull.waiting.is_empty();
        let state = state.filter(|state| state.len() <= self.settings.max_state);
        if let Some(state) = state {
            self.publish(from, state);
        }
        if state.is_some() || all {
            self.finish_pull(now);
        }
    }

    pub(super) fn answer(&mut self, asker: Asker, answer: Answered) {
        if let Some(conn) = self.members.get(&asker.id).map(|entry| entry.conn) {
            self.tell_changes();
            self.say(conn, &ToMember::Answer { n: asker.n, answer });
        }
    }

    /// Whether a member is there and may lead.
    pub(super) fn may_lead(&self, id: &PublicKey) -> bool {
        self.members.get(id).is_some_and(|entry: &Entry| !entry.observer) && !self.leaving.contains(id)
    }

    /// Whether an offer is for a member's eyes.
    pub(super) fn concerns(&self, offer: &Offer, id: &PublicKey) -> bool {
        let may_accept =
            offer.to.is_none_or(|to| to == *id) && self.may_lead(id) && !offer.declined.contains(id);
        offer.from.id == *id || may_accept
    }

    pub(super) fn open_requests(&self) -> Vec<OpenRequest> {
        let open = |request: &Request| OpenRequest {
            request: request.ticket,
            from: request.from.id,
            reason: request.reason.clone(),
        };
        self.requests.values().map(open).collect()
    }

    pub(super) fn next_ticket(&mut self) -> Ticket {
        self.tickets += 1;
        self.tickets
    }
}
