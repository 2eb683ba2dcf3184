//! What the room says to a member, and what of it is news.

use super::super::super::control::{ControlCause, Member, OpenOffer, Presence, Ticket};
use super::super::super::error::{ControlError, Left};
use super::super::super::events::Rejected;
use super::super::super::phase::Act;
use super::super::wire::{self, Answered, Control, Goodbye, ToRoom};
use super::{Answer, MemberMachine, Purpose, RawEvent};
use crate::identity::PublicKey;
use crate::message::Utf8Bytes;
use crate::runtime::Instant;

impl MemberMachine {
    pub(super) fn join(&mut self, now: Instant) {
        let n = self.number(now);
        let line = ToRoom::Join {
            version: wire::VERSION,
            room: self.room,
            n,
            instance: self.instance,
            name: self.name.clone(),
            observer: self.observer,
            every_step: self.every_step,
        };
        self.say(&line, None, None);
    }

    pub(super) fn handle_goodbye(&mut self, why: Goodbye) {
        self.leave_as(match why {
            Goodbye::Full { max } => Left::Full { max: max as usize },
            Goodbye::Removed {} => Left::Removed,
            Goodbye::Displaced {} => Left::Displaced,
            Goodbye::Closed { why } => Left::Closed(why),
            Goodbye::Version { theirs } => Left::Version { ours: wire::VERSION, theirs },
            Goodbye::TooSlow {} => Left::TooSlow,
            Goodbye::Left {} => Left::ByItself,
        });
    }

    pub(super) fn handle_members(&mut self, members: Vec<Member>) {
        let before = std::mem::replace(&mut self.members, members);
        let after = self.members.clone();
        for gone in before.iter().filter(|was| !after.iter().any(|is| is.id == was.id)) {
            self.event(RawEvent::MemberLeft(gone.id));
        }
        for is in after {
            match before.iter().find(|was| was.id == is.id) {
                // Whoever is here already is no news at joining, but to be told all the same.
                None => self.event(RawEvent::Joined(is)),
                Some(was) => {
                    if was.presence != is.presence {
                        let healing = is.presence == Presence::Healing;
                        self.event(if healing { RawEvent::Healing(is.id) } else { RawEvent::Healed(is.id) });
                    }
                    if was.role != is.role || was.moderator != is.moderator {
                        self.event(RawEvent::Role(is));
                    }
                }
            }
        }
    }

    pub(super) fn handle_control(&mut self, control: Control, now: Instant) {
        let before = std::mem::replace(&mut self.control, control);
        let joins = !std::mem::replace(&mut self.joined, true);
        self.new_room = false;
        let (epoch, holder, cause) = (self.control.epoch, self.control.holder, self.control.cause);
        if holder == Some(self.me) {
            if epoch != before.epoch || before.holder != holder {
                self.seq = 0;
            }
            self.extend(self.control.heard);
            if self.renew_at.is_none() {
                self.renew_at = Some(now + self.lease.renew_every());
            }
            if !self.may_lead(now) && !self.has_stopped(epoch) {
                // What the room heard last is too long ago to count from.
                self.renew(now);
            }
        } else {
            self.leads = None;
            self.renew_at = None;
        }
        // The event of control comes after that of the phase it brings about.
        self.settle(now);
        if before.epoch != epoch || before.holder != holder {
            let lost = matches!(cause, ControlCause::LeaseEnded | ControlCause::HolderLeft);
            if let Some(holder) = before.holder.filter(|_| lost && holder.is_none()) {
                self.event(RawEvent::HolderLost(holder));
            }
            self.event(RawEvent::Control { epoch, holder, cause });
        }
        self.tell_of_offers(&before);
        if joins {
            self.show_again(now);
        }
    }

    /// What was sent before the room took this member in again, the room has passed over.
    pub(super) fn show_again(&mut self, now: Instant) {
        let told = self.told.take();
        match self.state.clone().filter(|_| self.mine) {
            Some((_, mine)) if self.phase(now).allows(Act::SendState) => {
                if let (Some((rev, _)), Some((told, _))) = (&mut self.state, told) {
                    *rev = told;
                }
                // It was small enough before.
                let _ = self.send_state(mine, now);
            }
            _ => {
                if let Some((rev, state)) = told {
                    // Another's, or an older one of its own: it is what all others see.
                    self.mine = false;
                    self.state = Some((rev, state.clone()));
                    self.event(RawEvent::State(state));
                }
            }
        }
    }

    pub(super) fn tell_of_offers(&mut self, before: &Control) {
        let mine = |offer: &OpenOffer| offer.from == self.me;
        let was = before.offer.clone().filter(|offer| !mine(offer));
        let is = self.control.offer.clone().filter(|offer| !mine(offer));
        if was != is {
            if let Some(was) = was.filter(|was| !self.answered.contains(&was.offer)) {
                self.event(RawEvent::OfferEnded(was.offer));
            }
            if let Some(is) = is {
                self.event(RawEvent::Offered { offer: is.offer, from: is.from });
            }
        }
        let requests = self.control.requests.clone();
        for was in before.requests.iter().filter(|was| !requests.contains(was)) {
            if !self.answered.contains(&was.request) {
                self.event(RawEvent::RequestEnded(was.request));
            }
        }
        for is in requests.into_iter().filter(|is| !before.requests.contains(is)) {
            self.event(RawEvent::Requested { request: is.request, from: is.from, reason: is.reason });
        }
        let open = |ticket: &Ticket| {
            self.control.offer.as_ref().is_some_and(|offer| offer.offer == *ticket)
                || self.control.requests.iter().any(|request| request.request == *ticket)
        };
        let still: Vec<_> = self.answered.iter().copied().filter(open).collect();
        self.answered = still;
    }

    pub(super) fn handle_state(&mut self, rev: u64, from: PublicKey, state: Option<&str>) {
        let Some(state) = state else { return self.reject(Rejected::InvalidMessage) };
        let known = self.state.as_ref().map_or(0, |(rev, _)| *rev);
        // The room repeats what it cannot know to be known.
        if rev < known {
            return self.reject(Rejected::OldState);
        }
        if rev == known {
            return;
        }
        if !self.joined && self.mine {
            // What this member showed while the room was away is newer, if it still leads.
            self.told = Some((rev, state.into()));
            return;
        }
        self.take_state(rev, from, state.into());
    }

    pub(super) fn take_state(&mut self, rev: u64, from: PublicKey, state: Utf8Bytes) {
        let own = from == self.me && self.state.as_ref().is_some_and(|(_, known)| *known == *state);
        self.state = Some((rev, state.clone()));
        self.kept = None;
        if !own {
            self.mine = false;
            self.event(RawEvent::State(state));
        }
    }

    pub(super) fn handle_answer(&mut self, n: u64, answer: Answered) {
        let offered = self.asks.get(&n).is_some_and(|asked| asked.purpose == Purpose::Offer);
        match answer {
            Answered::Done {} => self.end_ask(n, Answer::Done),
            Answered::Refused { why } => self.end_ask(n, Answer::Failed(ControlError::Refused(why))),
            Answered::Settled { outcome } => {
                if offered {
                    self.event(RawEvent::Settled(outcome.clone()));
                }
                self.end_ask(n, Answer::Settled(outcome));
            }
        }
    }
}
