//! For how long a member leads, and the phase that all it knows amounts to.

use super::super::super::error::{ControlError, Left};
use super::super::super::phase::Phase;
use super::super::wire::ToRoom;
use super::{Link, MemberMachine, MemberOutput, Purpose, RawEvent};
use crate::runtime::Instant;

impl MemberMachine {
    pub(super) fn may_lead(&self, now: Instant) -> bool {
        let epoch = self.control.epoch;
        self.control.holder == Some(self.me)
            && !self.has_stopped(epoch)
            && self.leads.is_some_and(|(of, until)| of == epoch && now < until)
    }

    /// The room has heard this; so this member leads for a time from when it was sent.
    pub(super) fn extend(&mut self, heard: u64) {
        let epoch = self.control.epoch;
        let Some((_, at)) = self.sent.iter().find(|(n, _)| *n == heard) else { return };
        let until = *at + self.lease.at_the_leader();
        self.leads = match self.leads {
            Some((of, before)) if of == epoch => Some((epoch, before.max(until))),
            _ => Some((epoch, until)),
        };
    }

    pub(super) fn renew(&mut self, now: Instant) {
        let epoch = self.control.epoch;
        self.renew_at = Some(now + self.lease.renew_every());
        if self.has_stopped(epoch) {
            return;
        }
        let n = self.number(now);
        self.say(&ToRoom::Renew { n, epoch }, None, Some("renew"));
    }

    pub(super) fn stop(&mut self, epoch: u64) {
        self.yielded = self.yielded.max(Some(epoch));
    }

    pub(super) fn has_stopped(&self, epoch: u64) -> bool {
        self.yielded.is_some_and(|last| epoch <= last)
    }

    /// Takes the phase that all this amounts to.
    pub(super) fn settle(&mut self, now: Instant) {
        if self.left().is_some() {
            return;
        }
        if !self.joined {
            // The room is being joined again. Whoever leads does so for as long as its lease.
            if self.phase != self.phase(now) {
                self.enter(Phase::Passive);
            }
            return;
        }
        let asked = |purpose| self.asks.values().any(|asked| asked.purpose == purpose);
        let phase = if self.may_lead(now) {
            Phase::Active
        } else if self.control.holder.is_some_and(|holder| holder != self.me) {
            Phase::Passive
        } else if asked(Purpose::Pull) {
            Phase::InitializingPull
        } else if asked(Purpose::Push) {
            Phase::InitializingPush
        } else if self.control.holder.is_some() || self.control.following {
            Phase::Passive
        } else {
            Phase::ConnectedIdle
        };
        self.enter(phase);
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        for next in self.phase.way_to(phase) {
            let from = self.phase;
            debug_assert!(from.may_become(next), "{from} does not become {next}");
            self.phase = next;
            self.event(RawEvent::Phase { from, to: next, cause: self.control.cause });
        }
    }

    pub(super) fn leave_as(&mut self, left: Left) {
        self.fail_asks(&ControlError::Left(left.clone()));
        self.link = Link::Ended(left.clone());
        self.joined = false;
        self.leads = None;
        self.renew_at = None;
        self.enter(Phase::Disconnected);
        self.outputs.push_back(MemberOutput::Left(left));
    }
}
