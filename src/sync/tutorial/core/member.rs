//! A member: what it is, may do and is told.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::control::ControlCause;
use super::super::control::{ControlView, Lease, Member, OfferOutcome, Presence, ReleaseTo, Ticket};
use super::super::error::{ControlError, Left, Refusal, StateError};
use super::super::events::Rejected;
use super::super::phase::{Act, Phase};
use super::Outgoing;
use super::wire::{self, Answered, Ask, Control, Goodbye, ToMember, ToRoom};
use crate::collections::BTreeMap;
use crate::identity::PublicKey;
use crate::message::Utf8Bytes;
use crate::runtime::Instant;

/// Names an ask.
pub(crate) type AskId = u64;

/// How long a room may take to answer what it can answer at once.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How many of the times of sending are kept.
const TIMES: usize = 256;
/// How many asks may be open.
const MAX_ASKS: usize = 256;

/// How a member's connection is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Link {
    Up,
    Healing,
    Ended(Left),
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MemberOutput {
    Send(Outgoing),
    Event(RawEvent),
    Answer(AskId, Answer),
    /// The end: hang up after what was sent.
    Left(Left),
}

/// What became of an ask.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Done,
    Settled(OfferOutcome),
    Failed(ControlError),
}

/// An event, with the state as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RawEvent {
    Phase { from: Phase, to: Phase, cause: ControlCause },
    State(Utf8Bytes),
    Control { epoch: u64, holder: Option<PublicKey>, cause: ControlCause },
    HolderLost(PublicKey),
    Offered { offer: Ticket, from: PublicKey },
    OfferEnded(Ticket),
    Requested { request: Ticket, from: PublicKey, reason: Option<String> },
    RequestEnded(Ticket),
    Settled(OfferOutcome),
    Joined(Member),
    Role(Member),
    Healing(PublicKey),
    Healed(PublicKey),
    MemberLeft(PublicKey),
    LinkHealing,
    LinkHealed,
    Rejected(Rejected),
}

/// What an ask is for, as long as it is open.
#[derive(Clone, Debug)]
struct Asked {
    purpose: Purpose,
    /// `None`: as long as the room wants.
    until: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Purpose {
    Pull,
    Push,
    Offer,
    Other,
}

/// One member. See [`super`] for how it is driven.
pub(crate) struct MemberMachine {
    me: PublicKey,
    name: Option<String>,
    observer: bool,
    every_step: bool,
    /// Random: names this run.
    instance: u64,
    link: Link,
    /// The run of the room that this member is in, as far as it was told.
    room: Option<u64>,
    /// The room has heard the joining; and has told who leads.
    welcomed: bool,
    joined: bool,
    /// This run of the room has not told who leads.
    new_room: bool,
    max_state: usize,
    lease: Lease,
    control: Control,
    members: Vec<Member>,
    phase: Phase,
    /// The number of the last that was sent, and when the last ones were.
    n: u64,
    sent: VecDeque<(u64, Instant)>,
    /// This member leads in this epoch until then.
    leads: Option<(u64, Instant)>,
    renew_at: Option<Instant>,
    /// The last epoch in which this member has stopped to lead: it does not in that one, nor in an earlier one.
    yielded: Option<u64>,
    seq: u64,
    asks: BTreeMap<AskId, Asked>,
    /// The newest state of the room, and its number.
    state: Option<(u64, Utf8Bytes)>,
    /// The newest state is this member's.
    mine: bool,
    /// What the room has told while it takes this member in again.
    told: Option<(u64, Utf8Bytes)>,
    /// This member's own, set since.
    kept: Option<Utf8Bytes>,
    /// Offers and requests that this member itself has answered: their end is no news.
    answered: Vec<Ticket>,
    outputs: VecDeque<MemberOutput>,
}

impl MemberMachine {
    /// A member that is about to join. `instance` is random.
    pub(crate) fn new(
        me: PublicKey,
        name: Option<String>,
        observer: bool,
        every_step: bool,
        instance: u64,
        now: Instant,
    ) -> Self {
        let mut member = Self {
            me,
            name,
            observer,
            every_step,
            instance,
            link: Link::Up,
            room: None,
            welcomed: false,
            joined: false,
            new_room: false,
            max_state: usize::MAX,
            lease: Lease { absence: Duration::ZERO },
            control: Control::default(),
            members: Vec::new(),
            phase: Phase::Disconnected,
            n: 0,
            sent: VecDeque::new(),
            leads: None,
            renew_at: None,
            yielded: None,
            seq: 0,
            asks: BTreeMap::default(),
            state: None,
            mine: false,
            told: None,
            kept: None,
            answered: Vec::new(),
            outputs: VecDeque::new(),
        };
        member.enter(Phase::Connecting);
        // A room that runs already and knows the channel from an earlier run of this member says no hello.
        member.join(now);
        member
    }

    pub(crate) fn poll_output(&mut self) -> Option<MemberOutput> {
        self.outputs.pop_front()
    }

    /// When to come back.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let leads = self.leads.map(|(_, until)| until).filter(|_| self.phase == Phase::Active);
        let asks = self.asks.values().filter_map(|asked| asked.until).min();
        [leads, self.renew_at, asks].into_iter().flatten().min()
    }

    pub(crate) fn me(&self) -> PublicKey {
        self.me
    }

    /// The phase at this moment: one that leads stops to when its time is over, whether anybody looks or not.
    pub(crate) fn phase(&self, now: Instant) -> Phase {
        match self.phase {
            Phase::Active if !self.may_lead(now) => Phase::Passive,
            phase => phase,
        }
    }

    pub(crate) fn is_healing(&self) -> bool {
        self.link == Link::Healing
    }

    pub(crate) fn is_joined(&self) -> bool {
        self.joined
    }

    pub(crate) fn left(&self) -> Option<&Left> {
        match &self.link {
            Link::Ended(left) => Some(left),
            _ => None,
        }
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    #[cfg(test)]
    pub(crate) fn state(&self) -> Option<(u64, &Utf8Bytes)> {
        self.state.as_ref().map(|(rev, state)| (*rev, state))
    }

    pub(crate) fn control(&self) -> ControlView {
        ControlView {
            epoch: self.control.epoch,
            holder: self.control.holder,
            cause: self.control.cause,
            offer: self.control.offer.clone(),
            requests: self.control.requests.clone(),
        }
    }

    /// A message of the room.
    pub(crate) fn handle_frame(&mut self, text: &str, now: Instant) {
        if self.left().is_some() {
            return;
        }
        let Some((frame, state)) = wire::decode::<ToMember>(text) else {
            return self.reject(Rejected::InvalidMessage);
        };
        match frame {
            ToMember::Hello { version, .. } if version != wire::VERSION => {
                let left = Left::Version { ours: wire::VERSION, theirs: version };
                // The room refuses a version, too, and says so to its host.
                self.join(now);
                self.leave_as(left);
            }
            ToMember::Hello { room, .. } => {
                if self.room.is_some_and(|before| before != room) {
                    // Another run of the room: nothing that was asked of the one before will be answered.
                    // Epochs of the one before mean nothing. Until this one says who leads, nobody begins to.
                    (self.welcomed, self.joined, self.new_room) = (false, false, true);
                    self.yielded = None;
                    self.fail_asks(&ControlError::Interrupted);
                    if let Some((rev, _)) = &mut self.state {
                        *rev = 0;
                    }
                }
                self.room = Some(room);
                self.join(now);
            }
            ToMember::Goodbye { why } => self.handle_goodbye(why),
            ToMember::Welcome { instance, max_state, lease_ms } if instance == self.instance => {
                self.welcomed = true;
                self.max_state = usize::try_from(max_state).unwrap_or(usize::MAX);
                self.lease = Lease { absence: Duration::from_millis(lease_ms) };
            }
            // What was said to an earlier run of this member.
            _ if !self.welcomed => {}
            ToMember::Welcome { .. } => self.reject(Rejected::InvalidMessage),
            ToMember::Members { members } => self.handle_members(members),
            ToMember::Control(control) => self.handle_control(control, now),
            ToMember::State { rev, from, .. } => self.handle_state(rev, from, state),
            ToMember::Yield { epoch } => {
                // Perhaps before this member was told that it leads.
                if epoch >= self.control.epoch || self.new_room {
                    self.stop(epoch);
                    self.say(&ToRoom::Yielded { epoch }, None, None);
                }
            }
            ToMember::Renewed { n, epoch } => {
                if self.control.epoch == epoch && self.control.holder == Some(self.me) {
                    self.extend(n);
                }
            }
            ToMember::Answer { n, answer } => self.handle_answer(n, answer),
            ToMember::Wanted { pull } => {
                let kept = self.kept.clone();
                self.say(&ToRoom::Have { pull }, kept.as_ref(), None);
            }
            ToMember::Rejected { what } => {
                let what = match what.as_str() {
                    "not_holder" => Rejected::NotHolder,
                    "old_state" => Rejected::OldState,
                    "old_epoch" => Rejected::OldEpoch { epoch: self.control.epoch },
                    "state_too_large" => Rejected::StateTooLarge { size: 0 },
                    _ => Rejected::InvalidMessage,
                };
                self.reject(what);
            }
        }
        self.settle(now);
    }

    /// The connection is lost and being mended, is mended, or has ended.
    pub(crate) fn handle_link(&mut self, link: Link, now: Instant) {
        if self.left().is_some() || self.link == link {
            return;
        }
        match link {
            Link::Ended(left) => return self.leave_as(left),
            Link::Up => self.event(RawEvent::LinkHealed),
            Link::Healing => self.event(RawEvent::LinkHealing),
        }
        self.link = link;
        if self.link == Link::Up && self.renew_at.is_some() {
            // More time, at once: the lease may be short by now.
            self.renew(now);
        }
        self.settle(now);
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let late: Vec<_> = self
            .asks
            .iter()
            .filter(|(_, asked)| asked.until.is_some_and(|until| until <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.end_ask(id, Answer::Failed(ControlError::TimedOut));
        }
        if self.renew_at.is_some_and(|at| at <= now) {
            self.renew(now);
        }
        self.settle(now);
    }

    // ---- commands

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

    // ---- what the room says

    fn join(&mut self, now: Instant) {
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

    fn handle_goodbye(&mut self, why: Goodbye) {
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

    fn handle_members(&mut self, members: Vec<Member>) {
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

    fn handle_control(&mut self, control: Control, now: Instant) {
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
    fn show_again(&mut self, now: Instant) {
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

    fn tell_of_offers(&mut self, before: &Control) {
        let mine = |offer: &super::super::control::OpenOffer| offer.from == self.me;
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

    fn handle_state(&mut self, rev: u64, from: PublicKey, state: Option<&str>) {
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

    fn take_state(&mut self, rev: u64, from: PublicKey, state: Utf8Bytes) {
        let own = from == self.me && self.state.as_ref().is_some_and(|(_, known)| *known == *state);
        self.state = Some((rev, state.clone()));
        self.kept = None;
        if !own {
            self.mine = false;
            self.event(RawEvent::State(state));
        }
    }

    fn handle_answer(&mut self, n: u64, answer: Answered) {
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

    // ---- leading

    fn may_lead(&self, now: Instant) -> bool {
        let epoch = self.control.epoch;
        self.control.holder == Some(self.me)
            && !self.has_stopped(epoch)
            && self.leads.is_some_and(|(of, until)| of == epoch && now < until)
    }

    /// The room has heard this; so this member leads for a time from when it was sent.
    fn extend(&mut self, heard: u64) {
        let epoch = self.control.epoch;
        let Some((_, at)) = self.sent.iter().find(|(n, _)| *n == heard) else { return };
        let until = *at + self.lease.at_the_leader();
        self.leads = match self.leads {
            Some((of, before)) if of == epoch => Some((epoch, before.max(until))),
            _ => Some((epoch, until)),
        };
    }

    fn renew(&mut self, now: Instant) {
        let epoch = self.control.epoch;
        self.renew_at = Some(now + self.lease.renew_every());
        if self.has_stopped(epoch) {
            return;
        }
        let n = self.number(now);
        self.say(&ToRoom::Renew { n, epoch }, None, Some("renew"));
    }

    fn stop(&mut self, epoch: u64) {
        self.yielded = self.yielded.max(Some(epoch));
    }

    fn has_stopped(&self, epoch: u64) -> bool {
        self.yielded.is_some_and(|last| epoch <= last)
    }

    /// Takes the phase that all this amounts to.
    fn settle(&mut self, now: Instant) {
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

    fn enter(&mut self, phase: Phase) {
        for next in self.phase.way_to(phase) {
            let from = self.phase;
            debug_assert!(from.may_become(next), "{from} does not become {next}");
            self.phase = next;
            self.event(RawEvent::Phase { from, to: next, cause: self.control.cause });
        }
    }

    fn leave_as(&mut self, left: Left) {
        self.fail_asks(&ControlError::Left(left.clone()));
        self.link = Link::Ended(left.clone());
        self.joined = false;
        self.leads = None;
        self.renew_at = None;
        self.enter(Phase::Disconnected);
        self.outputs.push_back(MemberOutput::Left(left));
    }

    // ---- asking

    fn permit(&self, act: Act, what: &'static str, now: Instant) -> Result<(), ControlError> {
        if let Some(left) = self.left() {
            return Err(ControlError::Left(left.clone()));
        }
        let phase = self.phase(now);
        if phase.allows(act) { Ok(()) } else { Err(ControlError::WrongPhase { what, phase }) }
    }

    fn fits(&self, state: &Utf8Bytes) -> Result<(), StateError> {
        let (size, max) = (state.len(), self.max_state);
        if size > max { Err(StateError::TooLarge { size, max }) } else { Ok(()) }
    }

    fn ask(
        &mut self,
        ask: Ask,
        state: Option<&Utf8Bytes>,
        purpose: Purpose,
        now: Instant,
    ) -> Result<AskId, ControlError> {
        if self.asks.len() >= MAX_ASKS {
            return Err(ControlError::Refused(Refusal::Pending));
        }
        let n = self.number(now);
        self.say(&ToRoom::Ask { n, ask }, state, None);
        let until = (purpose != Purpose::Offer).then(|| now + ANSWER_WITHIN);
        self.asks.insert(n, Asked { purpose, until });
        self.settle(now);
        Ok(n)
    }

    fn end_ask(&mut self, id: AskId, answer: Answer) {
        if self.asks.remove(&id).is_some() {
            self.outputs.push_back(MemberOutput::Answer(id, answer));
        }
    }

    fn fail_asks(&mut self, error: &ControlError) {
        let ids: Vec<_> = self.asks.keys().copied().collect();
        ids.into_iter().for_each(|id| self.end_ask(id, Answer::Failed(error.clone())));
    }

    /// A new number, for something that is sent now.
    fn number(&mut self, now: Instant) -> u64 {
        self.n += 1;
        if self.sent.len() == TIMES {
            self.sent.pop_front();
        }
        self.sent.push_back((self.n, now));
        self.n
    }

    fn say(&mut self, line: &ToRoom, state: Option<&Utf8Bytes>, key: Option<&'static str>) {
        let frame = Outgoing { text: wire::encode(line, state), key };
        self.outputs.push_back(MemberOutput::Send(frame));
    }

    fn reject(&mut self, what: Rejected) {
        self.event(RawEvent::Rejected(what));
    }

    fn event(&mut self, event: RawEvent) {
        self.outputs.push_back(MemberOutput::Event(event));
    }
}
