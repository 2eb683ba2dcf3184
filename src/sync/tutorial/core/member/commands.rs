//! What the application wants of a member.

use super::super::super::control::{ReleaseTo, Ticket};
use super::super::super::error::{ControlError, StateError};
use super::super::super::phase::{Act, Phase};
use super::super::wire::{Ask, ToRoom};
use super::{AskId, Left, MemberMachine, Purpose};
use crate::identity::PublicKey;
use crate::message::Utf8Bytes;
use crate::runtime::Instant;

impl MemberMachine {
    /// To lead; with `pull`, after taking the others' state. `at` is the wall clock.
    pub(crate) fn lead(&mut self, pull: bool, at: u64, now: Instant) -> Result<Option<AskId>, ControlError> {
        if !pull && self.phase(now) == Phase::Active {
            return Ok(None);
        }
        self.permit(Act::ChooseDirection, if pull { "pulling" } else { "leading" }, now)?;
        let seen = self.control.epoch;
        let ask = if pull { Ask::Pull { at, seen } } else { Ask::Lead { at, seen } };
        self.ask(ask, None, Purpose::Pull, now).map(Some)
    }

    /// To follow; with a state, after giving it to the others.
    pub(crate) fn follow(
        &mut self,
        state: Option<Utf8Bytes>,
        now: Instant,
    ) -> Result<Option<AskId>, ControlError> {
        if state.is_none() && self.phase(now) == Phase::Passive {
            return Ok(None);
        }
        self.permit(Act::ChooseDirection, if state.is_some() { "pushing" } else { "following" }, now)?;
        if let Some(state) = &state {
            self.fits(state)?;
            self.kept = Some(state.clone());
        }
        let ask = if state.is_some() { Ask::Push {} } else { Ask::Follow {} };
        self.ask(ask, state.as_ref(), Purpose::Push, now).map(Some)
    }

    /// Shows a state to all.
    pub(crate) fn send_state(&mut self, state: Utf8Bytes, now: Instant) -> Result<(), StateError> {
        if let Some(left) = self.left() {
            return Err(StateError::Left(left.clone()));
        }
        let phase = self.phase(now);
        if !phase.allows(Act::SendState) {
            return Err(StateError::NotActive { phase });
        }
        self.fits(&state)?;
        self.seq += 1;
        let line = ToRoom::State { epoch: self.control.epoch, seq: self.seq };
        let key = (!self.control.every_step).then_some("state");
        self.say(&line, Some(&state), key);
        let rev = self.state.as_ref().map_or(0, |(rev, _)| *rev);
        self.state = Some((rev, state.clone()));
        self.mine = true;
        self.kept = Some(state);
        Ok(())
    }

    /// What others get from this member who want to lead.
    pub(crate) fn keep_state(&mut self, state: Utf8Bytes) {
        self.kept = Some(state);
    }

    pub(crate) fn request_state(&mut self, now: Instant) -> Result<AskId, ControlError> {
        self.permit(Act::Ask, "asking for the state", now)?;
        self.ask(Ask::State {}, None, Purpose::Other, now)
    }

    pub(crate) fn offer(&mut self, to: Option<PublicKey>, now: Instant) -> Result<AskId, ControlError> {
        self.permit(Act::GiveControl, "offering control", now)?;
        self.ask(Ask::Offer { to }, None, Purpose::Offer, now)
    }

    pub(crate) fn withdraw(&mut self, now: Instant) -> Result<AskId, ControlError> {
        self.permit(Act::Ask, "withdrawing an offer", now)?;
        self.ask(Ask::Withdraw {}, None, Purpose::Other, now)
    }

    pub(crate) fn accept(&mut self, offer: Ticket, now: Instant) -> Result<AskId, ControlError> {
        self.permit(Act::AnswerOffer, "accepting an offer", now)?;
        self.answered.push(offer);
        // The former leader may be cut off: then its lease decides when.
        self.ask(Ask::Accept { offer }, None, Purpose::Offer, now)
    }

    pub(crate) fn decline(
        &mut self,
        offer: Ticket,
        reason: Option<String>,
        now: Instant,
    ) -> Result<AskId, ControlError> {
        self.permit(Act::AnswerOffer, "declining an offer", now)?;
        self.answered.push(offer);
        self.ask(Ask::Decline { offer, reason }, None, Purpose::Other, now)
    }

    pub(crate) fn request(
        &mut self,
        reason: Option<String>,
        at: u64,
        now: Instant,
    ) -> Result<Option<AskId>, ControlError> {
        if self.phase(now) == Phase::Active {
            return Ok(None);
        }
        self.permit(Act::RequestControl, "requesting control", now)?;
        self.ask(Ask::Request { at, reason }, None, Purpose::Offer, now).map(Some)
    }

    pub(crate) fn grant(&mut self, request: Ticket, now: Instant) -> Result<AskId, ControlError> {
        self.permit(Act::GiveControl, "granting control", now)?;
        self.answered.push(request);
        self.ask(Ask::Grant { request }, None, Purpose::Other, now)
    }

    pub(crate) fn deny(
        &mut self,
        request: Ticket,
        reason: Option<String>,
        now: Instant,
    ) -> Result<AskId, ControlError> {
        self.permit(Act::GiveControl, "denying control", now)?;
        self.answered.push(request);
        self.ask(Ask::Deny { request, reason }, None, Purpose::Other, now)
    }

    pub(crate) fn release(&mut self, to: ReleaseTo, now: Instant) -> Result<AskId, ControlError> {
        self.permit(Act::GiveControl, "releasing control", now)?;
        let epoch = self.control.epoch;
        // It leads no longer, whenever the room hears of it.
        self.stop(epoch);
        let id = self.ask(Ask::Release { epoch, to }, None, Purpose::Other, now)?;
        self.settle(now);
        Ok(id)
    }

    pub(crate) fn give_back(&mut self, now: Instant) -> Result<AskId, ControlError> {
        self.permit(Act::GiveControl, "returning control", now)?;
        self.ask(Ask::Return {}, None, Purpose::Other, now)
    }

    pub(crate) fn revoke(&mut self, to: Option<PublicKey>, now: Instant) -> Result<AskId, ControlError> {
        self.permit(Act::Ask, "revoking control", now)?;
        self.ask(Ask::Revoke { to }, None, Purpose::Offer, now)
    }

    /// Leaves the room.
    pub(crate) fn leave(&mut self) {
        if self.left().is_none() {
            self.say(&ToRoom::Leave {}, None, None);
            self.leave_as(Left::ByItself);
        }
    }
}
