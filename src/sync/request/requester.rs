//! The side that asks.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::table::{Chore, Outcome, Table};
use super::wire::Ask;
use super::{RequestError, RequestProtocolError};
use crate::durable::{ChannelEvent, ChannelReceiver, ChannelSender, DurableChannel};
use crate::message::Message;
use crate::runtime;
use crate::runtime::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

/// Sends requests on a [`DurableChannel`], and gives each its reply. The other end of the channel is a
/// [`Responder`](super::Responder).
///
/// Requests and replies survive lost links, as all messages do. Many may be in flight, and each reply
/// finds its request. A request is executed once or not at all, never twice, also when either
/// process was killed and resumed its session from a persistent store; see [`RequestError`] for what is known when there is
/// no reply.
///
/// Clones share the channel, which closes when the last is dropped.
///
/// ```
/// # async fn example(connection: everlink::DurableConnection) -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
///
/// use everlink::{ChannelConfig, QueueConfig, RequestError, Requester};
///
/// let config = ChannelConfig::queue(QueueConfig::lossless());
/// let requester = Requester::new(connection.open_channel_with("build", config)?);
/// match requester.request("compile", Duration::from_secs(30)).await {
///     Ok(reply) => println!("{:?}", reply.as_text()),
///     Err(error) if error.may_have_been_executed() => println!("perhaps done: {error}"),
///     Err(error) => println!("not done: {error}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "dropping a requester closes its channel"]
pub struct Requester {
    core: Arc<Core>,
    slots: Arc<Semaphore>,
    /// Ends the task with the last handle.
    _alive: Arc<oneshot::Sender<Infallible>>,
}

/// What the handles and the task share.
struct Core {
    sender: ChannelSender,
    /// Whose frame is next. Held over the wait for room in the channel, so that numbers ascend there; fair, as tokio's mutex is.
    turn: runtime::sync::Mutex<()>,
    /// Held for a few map operations.
    table: Mutex<Table>,
    chores: Notify,
}

impl Core {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no panic while locked")
    }
}

impl Requester {
    /// How many requests may be in flight at once, if nothing else is said.
    pub const DEFAULT_LIMIT: usize = 256;

    /// Asks on this channel, on which nothing else may be sent or received.
    ///
    /// Open it with a queue that drops nothing ([`QueueConfig::lossless`](crate::QueueConfig::lossless)), or requests made
    /// without a link may end as [`RequestError::Unsent`] and replies be lost.
    ///
    /// # Panics
    /// Natively, outside of a tokio runtime: a task receives the replies.
    pub fn new(channel: DurableChannel) -> Self {
        Self::with_limit(channel, Self::DEFAULT_LIMIT)
    }

    /// With a limit of its own for the requests in flight, at least 1. At the limit `request` waits.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn with_limit(channel: DurableChannel, limit: usize) -> Self {
        let lossy = channel.is_lossy();
        let (sender, receiver) = channel.split();
        let table = Mutex::new(Table::new(u64::from_be_bytes(runtime::random())));
        let turn = runtime::sync::Mutex::new(());
        let core = Arc::new(Core { sender, turn, table, chores: Notify::new() });
        let (alive, over) = oneshot::channel();
        if lossy {
            core.table().end(&RequestError::Protocol(RequestProtocolError::Lossy));
        } else {
            // It ends with the last handle.
            let _task = runtime::spawn(attend(core.clone(), receiver, over));
        }
        let slots = Arc::new(Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS)));
        Self { core, slots, _alive: Arc::new(alive) }
    }

    /// The label of the channel.
    pub fn label(&self) -> &str {
        self.core.sender.label()
    }

    /// How many requests wait for their outcome.
    pub fn in_flight(&self) -> usize {
        self.core.table().len()
    }

    /// Sends a request and waits for its reply, all in all for `timeout` at most: for a place among those in flight, for room
    /// in the channel, for a link if there is none, for the other side.
    ///
    /// A request and its header of 18 bytes may not be larger than
    /// [`max_message`](crate::ConnectionConfig::max_message).
    ///
    /// Dropping the future cancels the request, as the timeout does: the other side is told, and stops if it
    /// has not finished. What it did until then it has done.
    ///
    /// # Errors
    /// [`RequestError`], which knows whether it
    /// [may have been executed](RequestError::may_have_been_executed).
    pub async fn request(
        &self,
        message: impl Into<Message>,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        let mut call = Call { core: &self.core, number: None, permit: None };
        match runtime::timeout(timeout, call.run(&self.slots, message.into())).await {
            Some(outcome) => outcome,
            None => Err(RequestError::TimedOut { may_have_been_executed: call.permit.is_some() }),
        }
    }
}

/// One request. Dropped before its outcome, it cancels.
struct Call<'a> {
    core: &'a Core,
    /// In the table under this.
    number: Option<u64>,
    /// The place among those in flight, as soon as the channel has taken the request.
    permit: Option<OwnedSemaphorePermit>,
}

impl Call<'_> {
    async fn run(&mut self, slots: &Arc<Semaphore>, message: Message) -> Outcome {
        let permit = slots.clone().acquire_owned().await.expect("nobody closes it");
        let turn = self.core.turn.lock().await;
        let (number, frame) = self.core.table().frame(&Ask::Request(message));
        let outcome = self.core.table().begin(number)?;
        self.number = Some(number);
        match self.core.sender.send(frame).await {
            Ok(receipt) => self.core.table().sent(number, receipt),
            Err(error) => return Err(RequestError::Unsent(error)),
        }
        self.permit = Some(permit);
        drop(turn);
        // The table keeps the other end until it has an outcome.
        outcome.await.unwrap_or(Err(RequestError::Interrupted))
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut table = self.core.table();
        match self.permit.take() {
            // Does nothing if it has its outcome.
            Some(permit) => {
                if table.cancel(number, permit) {
                    self.core.chores.notify_one();
                }
            }
            None => table.forget(number),
        }
    }
}

/// Receives replies, and says what is to be said besides requests, until the last handle or the channel is gone.
async fn attend(core: Arc<Core>, receiver: ChannelReceiver, over: oneshot::Receiver<Infallible>) {
    let error = tokio::select! {
        // Side by side: what waits to be sent must not stop what arrives.
        error = listen(&core, receiver) => error,
        () = speak(&core) => return,
        _ = over => return,
    };
    core.sender.close();
    core.table().end(&error);
}

async fn listen(core: &Core, mut receiver: ChannelReceiver) -> RequestError {
    let mut events = core.sender.events();
    loop {
        tokio::select! {
            received = receiver.recv() => match received {
                Ok(message) => match core.table().handle(message) {
                    Ok(false) => {}
                    Ok(true) => core.chores.notify_one(),
                    Err(error) => return RequestError::Protocol(error),
                },
                Err(reason) => return RequestError::Closed { reason, may_have_been_executed: true },
            },
            Some(event) = events.next() => {
                let dropped = matches!(
                    event,
                    ChannelEvent::Overflow { .. } | ChannelEvent::Expired { .. } | ChannelEvent::Lagged { .. }
                );
                if dropped {
                    core.table().look_for_dropped();
                }
            }
        }
    }
}

async fn speak(core: &Core) {
    loop {
        core.chores.notified().await;
        loop {
            let chore = core.table().chore();
            let (ask, _permit) = match chore {
                Some(Chore::Sync) => (Ask::Sync, None),
                Some(Chore::Cancel(number, permit)) => (Ask::Cancel(number), Some(permit)),
                None => break,
            };
            let _turn = core.turn.lock().await;
            let (_, frame) = core.table().frame(&ask);
            // If the channel is closed, `listen` says so.
            let _ = core.sender.send(frame).await;
        }
    }
}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Requester({:?}, {} in flight)", self.label(), self.in_flight())
    }
}
