//! The side that answers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::wire::{Answer, Ask, Incarnation, RequestId};
use super::{RequestProtocolError, ResponderError};
use crate::collections::BTreeMap;
use crate::durable::{ChannelReceiver, ChannelSender, DurableChannel, Receipt};
use crate::error::{SendError, TrySendError};
use crate::message::Message;
use crate::runtime;
use crate::runtime::sync::{Notify, oneshot};

/// Receives the requests that a [`Requester`](super::Requester) sends at the other end of a [`DurableChannel`].
///
/// Each is given out once, and over a persistent store only after it is recorded as taken: a process that is
/// killed and started again does not get it a second time. What it had taken and not answered, the requester
/// learns as [`RequestError::Interrupted`](super::RequestError::Interrupted) as soon as the new
/// process makes its `Responder`.
///
/// ```
/// # async fn example(connection: everlink::DurableConnection) -> Result<(), Box<dyn std::error::Error>> {
/// use everlink::{ChannelConfig, QueueConfig, Responder};
///
/// let config = ChannelConfig::queue(QueueConfig::lossless());
/// let mut responder = Responder::new(connection.open_channel_with("build", config)?);
/// while let Ok(request) = responder.recv().await {
///     let reply = format!("{} bytes", request.message().len());
///     request.reply(reply).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping a responder closes its channel"]
pub struct Responder {
    receiver: ChannelReceiver,
    shared: Arc<Answers>,
    /// A message that was received, and is not yet recorded as such.
    arrived: Option<Message>,
    /// Requests that nobody has fetched yet.
    queue: VecDeque<Request>,
    /// Whose requests these are, and the number of its last frame.
    requester: Option<(Incarnation, u64)>,
    failed: Option<RequestProtocolError>,
}

/// How many requests are taken ahead of being handled, and how many bytes.
const READ_AHEAD: usize = 1024;
const READ_AHEAD_BYTES: usize = 1 << 20;

/// What a responder and its requests share.
struct Answers {
    sender: ChannelSender,
    /// Held for a few map operations.
    state: Mutex<State>,
    /// There is something unsaid.
    more: Notify,
}

#[derive(Default)]
struct State {
    /// Requests taken and not answered, and how to tell them that they are cancelled.
    open: BTreeMap<RequestId, oneshot::Sender<()>>,
    /// What the channel had no room for.
    unsaid: VecDeque<Message>,
}

impl Answers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while locked")
    }

    /// Says something short, now or when there is room.
    fn say(&self, answer: &Answer) {
        let mut state = self.state();
        let message = answer.encode();
        let unsaid = if state.unsaid.is_empty() {
            match self.sender.try_send(message) {
                Err(TrySendError::Full(message)) => message,
                // `recv` tells of a channel that is closed.
                Ok(_) | Err(TrySendError::Failed(..)) => return,
            }
        } else {
            message
        };
        state.unsaid.push_back(unsaid);
        self.more.notify_one();
    }

    /// Says what there was no room for, for as long as it is polled. Cancel-safe.
    async fn catch_up(&self) -> Infallible {
        loop {
            loop {
                let Some(message) = self.state().unsaid.front().cloned() else { break };
                // `recv` tells of a channel that is closed.
                let _ = self.sender.send(message).await;
                // Only this takes from the front, and one responder polls it.
                self.state().unsaid.pop_front();
            }
            self.more.notified().await;
        }
    }
}

impl Responder {
    /// Answers on this channel, on which nothing else may be sent or received. Says at once that it is there.
    ///
    /// Open it with a queue that drops nothing ([`QueueConfig::lossless`](crate::QueueConfig::lossless)), or replies given
    /// without a link may be lost.
    pub fn new(channel: DurableChannel) -> Self {
        let failed = channel.is_lossy().then_some(RequestProtocolError::Lossy);
        let (sender, receiver) = channel.split();
        let shared = Arc::new(Answers { sender, state: Mutex::default(), more: Notify::new() });
        if failed.is_none() {
            shared.say(&Answer::Start(u64::from_be_bytes(runtime::random())));
        }
        Self { receiver, shared, arrived: None, queue: VecDeque::new(), requester: None, failed }
    }

    /// The label of the channel.
    pub fn label(&self) -> &str {
        self.receiver.label()
    }

    /// The next request, once. Cancel-safe.
    ///
    /// Cancellations arrive by the same way, so a request learns of its own only while this is being waited for.
    ///
    /// # Errors
    /// [`ResponderError`]: nothing more will come.
    pub async fn recv(&mut self) -> Result<Request, ResponderError> {
        loop {
            match self.queue.pop_front() {
                Some(request) if request.is_cancelled() => {}
                Some(request) => return Ok(request),
                None => self.take().await?,
            }
        }
    }

    /// Answers every request by what `handler` makes of it, up to `concurrency` (at least 1) at a time, until nothing more
    /// comes; then finishes those begun.
    ///
    /// While as many are being handled, up to 1024 requests or 1 MiB are taken ahead, so that cancellations behind them are
    /// heard; should the process be killed, they count as interrupted. The others wait at the requester.
    ///
    /// The future of a request that is cancelled is dropped where it waits. Handlers run on the
    /// task that awaits this; one that computes for long should spawn.
    ///
    /// Dropping the future of `serve` drops those of the handlers; their requesters learn that there is no reply.
    ///
    /// ```
    /// # async fn example(channel: everlink::DurableChannel) {
    /// use everlink::{Message, Responder};
    ///
    /// let end = Responder::new(channel)
    ///     .serve(16, |request: Message| async move { format!("{} bytes", request.len()) })
    ///     .await;
    /// println!("{end}");
    /// # }
    /// ```
    pub async fn serve<H, F, M>(mut self, concurrency: usize, mut handler: H) -> ResponderError
    where
        H: FnMut(Message) -> F,
        F: Future<Output = M>,
        M: Into<Message>,
    {
        let limit = concurrency.max(1);
        let mut running = FuturesUnordered::new();
        let end = loop {
            while running.len() < limit
                && let Some(mut request) = self.queue.pop_front()
            {
                if !request.is_cancelled() {
                    let work = handler(request.take_message());
                    running.push(answer(request, work));
                }
            }
            let held: usize = self.queue.iter().map(|request| request.message.len()).sum();
            let room = self.queue.len() < READ_AHEAD && held < READ_AHEAD_BYTES;
            tokio::select! {
                taken = self.take(), if room => if let Err(error) = taken { break error },
                Some(()) = running.next() => {}
            }
        };
        while running.next().await.is_some() {}
        end
    }

    /// Takes one message from the channel. Cancel-safe.
    async fn take(&mut self) -> Result<(), ResponderError> {
        if let Some(error) = &self.failed {
            return Err(ResponderError::Protocol(error.clone()));
        }
        if self.arrived.is_none() {
            // Side by side: requests may come while what is to be said finds no room.
            let shared = self.shared.clone();
            let received = tokio::select! {
                received = self.receiver.recv() => received,
                never = shared.catch_up() => match never {},
            };
            self.arrived = Some(received.map_err(ResponderError::Closed)?);
        }
        // Whoever is killed after this does not get it again.
        self.receiver.commit().await.map_err(ResponderError::Closed)?;
        match self.arrived.take().map_or(Ok(()), |message| self.handle(message)) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.shared.sender.close();
                self.failed = Some(error.clone());
                Err(ResponderError::Protocol(error))
            }
        }
    }

    fn handle(&mut self, message: Message) -> Result<(), RequestProtocolError> {
        let (id, ask) = Ask::decode(message)?;
        let (incarnation, number) = id;
        match self.requester {
            Some((known, last)) if known == incarnation => {
                if number <= last {
                    return Err(RequestProtocolError::OutOfOrder { last, got: number });
                }
            }
            _ => {
                self.shared.say(&Answer::Begin(id));
                // Nobody waits for the replies to one that is gone.
                self.shared.state().open.retain(|open, _| open.0 == incarnation);
                self.queue.clear();
            }
        }
        self.requester = Some((incarnation, number));
        match ask {
            Ask::Request(message) => {
                let (cancel, cancelled) = oneshot::channel();
                self.shared.state().open.insert(id, cancel);
                let shared = self.shared.clone();
                self.queue.push_back(Request { message, id, shared, cancelled, over: false });
            }
            Ask::Cancel(number) => {
                // Dropping it tells the request; one that is answered is not there.
                self.shared.state().open.remove(&(incarnation, number));
            }
            Ask::Sync => {}
        }
        Ok(())
    }
}

/// Answers one request, unless it is cancelled before.
async fn answer<M: Into<Message>>(mut request: Request, work: impl Future<Output = M>) {
    tokio::select! {
        reply = work => {
            // A channel that is closed has nobody to reply to.
            let _ = request.reply(reply).await;
        }
        () = request.cancelled() => {}
    }
}

/// One request, to be answered by [`reply`](Self::reply).
///
/// Dropped without, the requester gets [`RequestError::Unanswered`](super::RequestError::Unanswered).
#[must_use = "a request that is dropped is not answered"]
pub struct Request {
    message: Message,
    id: RequestId,
    shared: Arc<Answers>,
    cancelled: oneshot::Receiver<()>,
    /// Answered.
    over: bool,
}

impl Request {
    /// What was asked.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// What was asked, without a copy; an empty message stays.
    pub fn take_message(&mut self) -> Message {
        std::mem::replace(&mut self.message, Message::Binary(bytes::Bytes::new()))
    }

    /// Whether the requester has given it up: the reply would be dropped.
    pub fn is_cancelled(&self) -> bool {
        !self.shared.state().open.contains_key(&self.id)
    }

    /// Waits until the requester gives it up. It is heard of only while [`Responder::recv`] or
    /// [`Responder::serve`] is waited for. Cancel-safe.
    pub async fn cancelled(&mut self) {
        if !self.is_cancelled() {
            let _ = (&mut self.cancelled).await;
        }
    }

    /// Answers. Waits for room in the channel; the receipt tells when the requester has the reply.
    ///
    /// Dropping the future before it is ready leaves the request unanswered, and the requester learns that.
    ///
    /// # Errors
    /// [`SendError`]: closed, or too large: the reply and its header of 18 bytes may not be larger than
    /// [`max_message`](crate::ConnectionConfig::max_message).
    pub async fn reply(mut self, message: impl Into<Message>) -> Result<Receipt, SendError> {
        let frame = Answer::Reply(self.id, message.into()).encode();
        let receipt = self.shared.sender.send(frame).await?;
        self.over = true;
        Ok(receipt)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let wanted = self.shared.state().open.remove(&self.id).is_some();
        if wanted && !self.over {
            self.shared.say(&Answer::Unanswered(self.id));
        }
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Responder({:?})", self.label())
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({}, {:?})", self.id.1, self.message)
    }
}
