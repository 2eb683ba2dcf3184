//! The requests of a requester that have no outcome yet.

use std::collections::VecDeque;

use futures_util::FutureExt as _;

use super::wire::{Answer, Ask, Incarnation};
use super::{RequestError, RequestProtocolError};
use crate::collections::BTreeMap;
use crate::durable::Receipt;
use crate::error::SendError;
use crate::message::Message;
use crate::runtime::sync::{OwnedSemaphorePermit, oneshot};

pub(super) type Outcome = Result<Message, RequestError>;

/// Gives each request one outcome. Pure: it neither sends nor waits.
pub(super) struct Table {
    incarnation: Incarnation,
    /// The number of the next frame.
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// To be sent when the channel takes it.
    chores: VecDeque<Chore>,
    /// Whether a `Sync` is among them.
    syncing: bool,
    /// Why there will be no further reply.
    over: Option<RequestError>,
}

struct Waiting {
    outcome: oneshot::Sender<Outcome>,
    /// The channel has taken it.
    receipt: Option<Receipt>,
}

/// Something to say besides requests.
pub(super) enum Chore {
    Sync,
    /// The request holds its place among those in flight until this is said, which bounds how many there are.
    Cancel(u64, OwnedSemaphorePermit),
}

impl Table {
    pub(super) fn new(incarnation: Incarnation) -> Self {
        Self {
            incarnation,
            next: 1,
            waiting: BTreeMap::new(),
            chores: VecDeque::new(),
            syncing: false,
            over: None,
        }
    }

    /// How many requests wait for an outcome.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A frame with the next number. Frames must be sent in the order they are made here; one may be left out.
    pub(super) fn frame(&mut self, ask: &Ask) -> (u64, Message) {
        let number = self.next;
        self.next += 1;
        (number, ask.encode((self.incarnation, number)))
    }

    /// Waits for the outcome of a request from now on.
    pub(super) fn begin(&mut self, number: u64) -> Result<oneshot::Receiver<Outcome>, RequestError> {
        if let Some(over) = &self.over {
            return Err(unsent(over));
        }
        let (outcome, receiver) = oneshot::channel();
        self.waiting.insert(number, Waiting { outcome, receipt: None });
        Ok(receiver)
    }

    /// The channel has taken the request.
    pub(super) fn sent(&mut self, number: u64, receipt: Receipt) {
        if let Some(waiting) = self.waiting.get_mut(&number) {
            waiting.receipt = Some(receipt);
        }
    }

    /// The request was not sent after all.
    pub(super) fn forget(&mut self, number: u64) {
        self.waiting.remove(&number);
    }

    /// Nobody waits for the outcome of a request any more. Returns whether there is something to say.
    pub(super) fn cancel(&mut self, number: u64, permit: OwnedSemaphorePermit) -> bool {
        let waited = self.waiting.remove(&number).is_some() && self.over.is_none();
        if waited {
            self.chores.push_back(Chore::Cancel(number, permit));
        }
        waited
    }

    /// The next thing to say.
    pub(super) fn chore(&mut self) -> Option<Chore> {
        let chore = self.chores.pop_front();
        if let Some(Chore::Sync) = chore {
            self.syncing = false;
        }
        chore
    }

    /// What the responder says. Returns whether there is something to say.
    pub(super) fn handle(&mut self, message: Message) -> Result<bool, RequestProtocolError> {
        match Answer::decode(message)? {
            // What an earlier one took and did not answer is known once this one says where it begins, which
            // it does when it gets a frame.
            Answer::Start(_) if !self.waiting.is_empty() && !self.syncing => {
                self.syncing = true;
                self.chores.push_back(Chore::Sync);
                return Ok(true);
            }
            Answer::Start(_) => {}
            // Ours are in order, so this one will never see those before; and replies are in order, so every reply
            // of an earlier responder is here.
            Answer::Begin((incarnation, first)) if incarnation == self.incarnation => {
                let later = self.waiting.split_off(&first);
                for waiting in std::mem::replace(&mut self.waiting, later).into_values() {
                    let _ = waiting.outcome.send(Err(RequestError::Interrupted));
                }
            }
            Answer::Reply((incarnation, number), reply) if incarnation == self.incarnation => {
                self.settle(number, Ok(reply));
            }
            Answer::Unanswered((incarnation, number)) if incarnation == self.incarnation => {
                self.settle(number, Err(RequestError::Unanswered));
            }
            // Meant for a process that was here before.
            Answer::Begin(_) | Answer::Reply(..) | Answer::Unanswered(_) => {}
        }
        Ok(false)
    }

    /// Settles what the channel's queue has dropped.
    pub(super) fn look_for_dropped(&mut self) {
        let fate = |waiting: &Waiting| waiting.receipt.clone()?.acked().now_or_never()?.err();
        let dropped: Vec<(u64, SendError)> =
            self.waiting.iter().filter_map(|(number, waiting)| Some((*number, fate(waiting)?))).collect();
        for (number, error) in dropped {
            let outcome = match error {
                SendError::Overflow | SendError::Expired => RequestError::Unsent(error),
                SendError::SessionLost => RequestError::Interrupted,
                // The end of the channel says more.
                _ => continue,
            };
            self.settle(number, Err(outcome));
        }
    }

    /// There will be no further reply.
    pub(super) fn end(&mut self, error: &RequestError) {
        self.over = Some(error.clone());
        self.chores.clear();
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            let outcome = if waiting.receipt.is_some() { error.clone() } else { unsent(error) };
            let _ = waiting.outcome.send(Err(outcome));
        }
    }

    /// A reply that nobody waits for is dropped.
    fn settle(&mut self, number: u64, outcome: Outcome) {
        if let Some(waiting) = self.waiting.remove(&number) {
            let _ = waiting.outcome.send(outcome);
        }
    }
}

/// The same end, for a request that was never sent.
fn unsent(error: &RequestError) -> RequestError {
    match error {
        RequestError::Closed { reason, .. } => {
            RequestError::Closed { reason: reason.clone(), may_have_been_executed: false }
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(table: &mut Table) -> (u64, oneshot::Receiver<Outcome>) {
        let (number, _) = table.frame(&Ask::Request("?".into()));
        (number, table.begin(number).unwrap())
    }

    #[test]
    fn a_responder_that_starts_anew_settles_what_the_one_before_took() {
        let mut table = Table::new(7);
        let (first, mut one) = asked(&mut table);
        let (_, mut two) = asked(&mut table);
        let (third, mut three) = asked(&mut table);
        table.handle(Answer::Reply((7, first), "!".into()).encode()).unwrap();
        assert_eq!(one.try_recv().unwrap(), Ok("!".into()));
        assert!(table.handle(Answer::Start(1).encode()).unwrap());
        assert!(!table.handle(Answer::Start(2).encode()).unwrap(), "one question is enough");
        assert!(matches!(table.chore(), Some(Chore::Sync)));
        table.handle(Answer::Begin((7, third)).encode()).unwrap();
        assert_eq!(two.try_recv().unwrap(), Err(RequestError::Interrupted));
        assert!(three.try_recv().is_err(), "the new one has it");
        table.handle(Answer::Unanswered((7, third)).encode()).unwrap();
        assert_eq!(three.try_recv().unwrap(), Err(RequestError::Unanswered));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn what_is_meant_for_another_process_is_passed_over() {
        let mut table = Table::new(7);
        let (number, mut outcome) = asked(&mut table);
        for answer in [
            Answer::Reply((6, number), "?".into()),
            Answer::Begin((6, number + 1)),
            Answer::Unanswered((6, number)),
            Answer::Reply((7, number + 1), "?".into()),
        ] {
            assert_eq!(table.handle(answer.encode()), Ok(false));
        }
        assert!(outcome.try_recv().is_err());
        assert!(!Table::new(7).handle(Answer::Start(1).encode()).unwrap(), "nothing to ask about");
    }

    #[test]
    fn the_end_says_what_may_have_been_executed() {
        let mut table = Table::new(7);
        let (_, mut outcome) = asked(&mut table);
        let reason = crate::error::RecvError::ChannelClosed;
        table.end(&RequestError::Closed { reason, may_have_been_executed: true });
        assert!(!outcome.try_recv().unwrap().unwrap_err().may_have_been_executed(), "it was not sent");
        assert!(!table.begin(9).unwrap_err().may_have_been_executed());
    }
}
