//! A member: what it is, may do and is told.

mod commands;
mod leading;
mod told;

use std::collections::VecDeque;
use std::time::Duration;

use super::super::control::ControlCause;
use super::super::control::{ControlView, Lease, Member, OfferOutcome, Ticket};
use super::super::error::{ControlError, Left, Refusal, StateError};
use super::super::events::Rejected;
use super::super::phase::{Act, Phase};
use super::Outgoing;
use super::wire::{self, Ask, Control, ToMember, ToRoom};
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

/// One member. See [`super`] for how it is driven. What it may be told to do is in `commands`, what the room tells in
/// `told`, and for how long it leads in `leading`.
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
