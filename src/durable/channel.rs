//! The handle of a channel, whole or split.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use futures_sink::Sink;

use super::connection::Handle;
use super::core::{ChannelId, Consumed, Delivery, Ended, Session, Signals, cost};
use super::events::{ChannelEvent, Events};
use super::options::{SendOptions, SendTerms};
use super::shared::Shared;
use crate::error::{RecvError, SendError, TrySendError};
use crate::message::Message;
use crate::runtime::{self, BoxFuture, MaybeSend};

/// An ordered stream of messages, both ways, that survives the links beneath it.
///
/// Opened under the same label at both ends, or by one and accepted by the other. It is a
/// [`Stream`] and a [`Sink`] of [`Message`]s, too. Dropping it closes it after what is queued;
/// what the peer has sent and nobody received is dropped then.
///
/// A channel made with [`ChannelConfig::lossy`](crate::ChannelConfig::lossy) has none of the
/// promises: its messages are sent now or never, and those for the 257th place in the queue of a
/// slow reader push the oldest out.
#[must_use = "dropping a channel closes it"]
pub struct DurableChannel {
    sender: ChannelSender,
    receiver: ChannelReceiver,
}

/// Sends on a channel; see [`DurableChannel::split`].
#[derive(Clone)]
pub struct ChannelSender {
    inner: Arc<Inner>,
    sink: SinkState,
}

/// Receives from a channel; see [`DurableChannel::split`].
pub struct ChannelReceiver {
    inner: Arc<Inner>,
    batch: VecDeque<Delivery>,
    /// The message last handed out: consumed as soon as the next is asked for.
    last: Option<(u64, u64)>,
    consumed: Option<Arc<Consumed>>,
    /// Bytes consumed since the core was last told.
    untold: u64,
    /// A commit under way, should its future be dropped.
    committing: Option<u64>,
}

/// Closes the channel when both halves are gone.
struct Inner {
    id: ChannelId,
    label: String,
    lossy: bool,
    signals: Arc<Signals>,
    handle: Arc<Handle>,
}

impl Inner {
    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared().command(|session| session.close_channel(self.id));
    }
}

/// What waits in a channel, on this side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Buffered {
    /// Messages taken and not acknowledged.
    pub messages: usize,
    /// Their bytes, plus 32 for each.
    pub bytes: u64,
    /// How long the oldest has waited.
    pub oldest: Option<Duration>,
}

/// Proof that a message was taken, and a way to learn what becomes of it.
#[derive(Clone)]
pub struct Receipt {
    shared: Arc<Shared>,
    channel: ChannelId,
    seq: u64,
}

impl Receipt {
    /// The message's number in its channel, from 1; 0 on a lossy channel.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Waits until the message is in the store. Without a persistent store that is at once: it is
    /// in memory and lives as long as this process. Cancel-safe.
    ///
    /// # Errors
    /// If the message was dropped or the connection closed before.
    pub async fn stored(&self) -> Result<(), SendError> {
        if self.seq == 0 {
            return Ok(());
        }
        settled(&self.shared, self.channel, |session| session.storing(self.channel, self.seq)).await
    }

    /// Waits until the peer's application has received the message, shown by its asking for the
    /// next. Resolves at once for a lossy channel, where nobody knows. Cancel-safe.
    ///
    /// # Errors
    /// Why it will not be delivered.
    pub async fn acked(self) -> Result<(), SendError> {
        if self.seq == 0 {
            return Ok(());
        }
        settled(&self.shared, self.channel, |session| session.fate(self.channel, self.seq)).await
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({})", self.seq)
    }
}

/// Waits until something is settled about a channel's messages.
pub(super) async fn settled(
    shared: &Shared,
    channel: ChannelId,
    look: impl Fn(&Session) -> Option<Result<(), SendError>>,
) -> Result<(), SendError> {
    loop {
        let signals = {
            let session = shared.lock();
            if let Some(fate) = look(&session) {
                return fate;
            }
            session.signals(channel)
        };
        let Some(signals) = signals else { return Err(SendError::ChannelClosed) };
        let mut settled = std::pin::pin!(signals.settled.notified());
        settled.as_mut().enable();
        // It may have been settled before this side began to listen.
        if let Some(fate) = look(&shared.lock()) {
            return fate;
        }
        settled.await;
    }
}

impl DurableChannel {
    pub(super) fn new(handle: Arc<Handle>, id: ChannelId) -> Self {
        let session = handle.shared.lock();
        let label = session.label(id).map(|label| label.to_string()).unwrap_or_default();
        let signals = session.signals(id).unwrap_or_else(|| Arc::new(Signals::new()));
        let lossy = session.is_lossy(id);
        drop(session);
        let inner = Arc::new(Inner { id, label, lossy, signals, handle });
        let receiver = ChannelReceiver {
            inner: inner.clone(),
            batch: VecDeque::new(),
            last: None,
            consumed: None,
            untold: 0,
            committing: None,
        };
        Self { sender: ChannelSender { inner, sink: SinkState::default() }, receiver }
    }

    /// The label, which is the channel's name at both ends.
    pub fn label(&self) -> &str {
        self.sender.label()
    }

    /// Whether messages may be lost or reordered, as the channel was opened.
    pub fn is_lossy(&self) -> bool {
        self.sender.inner.lossy
    }

    /// Takes a message; waits for room first. While connected nothing is ever dropped; without a
    /// link [`QueueConfig::when_full`](crate::QueueConfig::when_full) says what happens at the
    /// bound.
    ///
    /// Cancel-safe: a dropped future queued nothing.
    ///
    /// # Errors
    /// [`SendError`]: closed, too large, or refused by a full queue.
    pub async fn send(&self, message: impl Into<Message>) -> Result<Receipt, SendError> {
        self.sender.send(message).await
    }

    /// As [`send`](Self::send), with a deadline or a key for this one message. A lossy channel
    /// passes over both: its messages are sent now or never.
    ///
    /// Cancel-safe: a dropped future queued nothing.
    ///
    /// # Errors
    /// As there, and [`SendError::Expired`] if the deadline passes while it waits for room,
    /// [`SendError::BadKey`] for a key that is empty or too long.
    pub async fn send_with(
        &self,
        message: impl Into<Message>,
        options: SendOptions,
    ) -> Result<Receipt, SendError> {
        self.sender.send_with(message, options).await
    }

    /// Takes a message if there is room now.
    ///
    /// # Errors
    /// [`TrySendError`], which gives the message back.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<Receipt, TrySendError> {
        self.sender.try_send(message)
    }

    /// As [`try_send`](Self::try_send), with a deadline or a key for this one message.
    ///
    /// # Errors
    /// As there, and [`SendError::BadKey`] for a key that is empty or too long.
    pub fn try_send_with(
        &self,
        message: impl Into<Message>,
        options: SendOptions,
    ) -> Result<Receipt, TrySendError> {
        self.sender.try_send_with(message, options)
    }

    /// The next message, in order, once. Asking for it acknowledges the one before.
    ///
    /// Cancel-safe: no message is lost with a dropped future.
    ///
    /// # Errors
    /// [`RecvError`] when nothing more will come; what arrived before the end is delivered first.
    pub async fn recv(&mut self) -> Result<Message, RecvError> {
        self.receiver.recv().await
    }

    /// Acknowledges the message last received at once, instead of with the next `recv`, and resolves
    /// when a restart can no longer bring it back: its acknowledgement is in the store. Without a
    /// store it resolves at once. For work that must not be done twice: commit, then do it.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`RecvError`] if the connection ended before.
    pub async fn commit(&mut self) -> Result<(), RecvError> {
        self.receiver.commit().await
    }

    /// The two directions apart, for two tasks. The channel closes when both are dropped. A
    /// receiver that is dropped alone stops the peer after a window's worth of messages.
    pub fn split(self) -> (ChannelSender, ChannelReceiver) {
        (self.sender, self.receiver)
    }

    /// What happens to the channel from now on.
    pub fn events(&self) -> Events<ChannelEvent> {
        self.sender.events()
    }

    /// What was taken and is not acknowledged yet.
    pub fn buffered(&self) -> Buffered {
        self.sender.buffered()
    }

    /// Closes the channel, both ways: what this side queued still arrives, nothing more is received.
    pub fn close(&self) {
        self.sender.close();
    }
}

impl ChannelSender {
    /// The channel's label.
    pub fn label(&self) -> &str {
        &self.inner.label
    }

    /// As [`DurableChannel::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send(&self, message: impl Into<Message>) -> Result<Receipt, SendError> {
        self.send_on(message.into(), &SendTerms::default()).await
    }

    /// As [`DurableChannel::send_with`].
    ///
    /// # Errors
    /// As there.
    pub async fn send_with(
        &self,
        message: impl Into<Message>,
        options: SendOptions,
    ) -> Result<Receipt, SendError> {
        let terms = options.terms(runtime::now())?;
        let message = message.into();
        match terms.deadline {
            None => self.send_on(message, &terms).await,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(runtime::now());
                let sent = runtime::timeout(left, self.send_on(message, &terms)).await;
                sent.unwrap_or(Err(SendError::Expired))
            }
        }
    }

    async fn send_on(&self, mut message: Message, terms: &SendTerms) -> Result<Receipt, SendError> {
        loop {
            match self.offer(message, terms) {
                Ok(receipt) => return Ok(receipt),
                Err(TrySendError::Failed(_, error)) => return Err(error),
                Err(TrySendError::Full(back)) => message = back,
            }
            let mut writable = std::pin::pin!(self.inner.signals.writable.notified());
            writable.as_mut().enable();
            // Room may have come before this side began to listen.
            match self.offer(message, terms) {
                Ok(receipt) => return Ok(receipt),
                Err(TrySendError::Failed(_, error)) => return Err(error),
                Err(TrySendError::Full(back)) => message = back,
            }
            writable.await;
        }
    }

    /// As [`DurableChannel::try_send`].
    ///
    /// # Errors
    /// As there.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<Receipt, TrySendError> {
        self.offer(message.into(), &SendTerms::default())
    }

    /// As [`DurableChannel::try_send_with`].
    ///
    /// # Errors
    /// As there.
    pub fn try_send_with(
        &self,
        message: impl Into<Message>,
        options: SendOptions,
    ) -> Result<Receipt, TrySendError> {
        let message = message.into();
        match options.terms(runtime::now()) {
            Ok(terms) => self.offer(message, &terms),
            Err(error) => Err(TrySendError::Failed(message, error)),
        }
    }

    /// The receipt of a message that this side's channel took before, by its number
    /// ([`Receipt::seq`]): for programs that keep numbers alone.
    pub fn receipt(&self, seq: u64) -> Receipt {
        Receipt { shared: self.inner.shared().clone(), channel: self.inner.id, seq }
    }

    fn offer(&self, message: Message, terms: &SendTerms) -> Result<Receipt, TrySendError> {
        let (shared, channel) = (self.inner.shared(), self.inner.id);
        let receipt = |seq| Receipt { shared: shared.clone(), channel, seq };
        if self.inner.lossy {
            return match shared.command(|session| session.send_lossy(channel, &message)) {
                Ok(()) => Ok(receipt(0)),
                Err(error) => Err(TrySendError::Failed(message, error)),
            };
        }
        let now = runtime::now();
        match shared.command(|session| session.send(channel, message, terms, now)) {
            Ok(Ok(seq)) => Ok(receipt(seq)),
            Ok(Err(message)) => Err(TrySendError::Full(message)),
            Err((message, error)) => Err(TrySendError::Failed(message, error)),
        }
    }

    /// As [`DurableChannel::events`].
    pub fn events(&self) -> Events<ChannelEvent> {
        self.inner.signals.events.subscribe()
    }

    /// As [`DurableChannel::buffered`].
    pub fn buffered(&self) -> Buffered {
        let (count, oldest) = self.inner.shared().lock().buffered(self.inner.id);
        let oldest = oldest.map(|since| runtime::now().saturating_duration_since(since));
        Buffered { messages: count.messages, bytes: count.bytes, oldest }
    }

    /// As [`DurableChannel::close`].
    pub fn close(&self) {
        self.inner.shared().command(|session| session.close_channel(self.inner.id));
    }
}

/// The core hears of consumption at the latest after this many bytes.
const TELL_AFTER: u64 = 128 << 10;

impl ChannelReceiver {
    /// The channel's label.
    pub fn label(&self) -> &str {
        &self.inner.label
    }

    /// As [`DurableChannel::recv`].
    ///
    /// # Errors
    /// As there.
    pub async fn recv(&mut self) -> Result<Message, RecvError> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, RecvError>> {
        self.acknowledge();
        if self.batch.is_empty()
            && let Err(pending) = self.refill(cx)
        {
            return pending;
        }
        match self.batch.pop_front() {
            Some(delivery) => {
                self.last = (delivery.seq > 0).then(|| (delivery.seq, cost(&delivery.message)));
                Poll::Ready(Ok(delivery.message))
            }
            None => Poll::Pending,
        }
    }

    /// Fetches what arrived, or says that there is nothing.
    fn refill(&mut self, cx: &mut Context<'_>) -> Result<(), Poll<Result<Message, RecvError>>> {
        for registered in [false, true] {
            let mut session = self.inner.shared().lock();
            let ended = session.take(self.inner.id, &mut self.batch);
            self.consumed = session.consumed(self.inner.id);
            drop(session);
            match ended {
                Some(Ended::Channel) => return Err(Poll::Ready(Err(RecvError::ChannelClosed))),
                Some(Ended::Connection(reason)) => return Err(Poll::Ready(Err(RecvError::Closed(reason)))),
                None if !self.batch.is_empty() => return Ok(()),
                None if !registered => self.inner.signals.readable.register(cx.waker()),
                None => {}
            }
        }
        Err(Poll::Pending)
    }

    /// As [`DurableChannel::commit`].
    ///
    /// # Errors
    /// As there.
    pub async fn commit(&mut self) -> Result<(), RecvError> {
        let Some((seq, _)) = self.last.or(self.committing.map(|seq| (seq, 0))) else { return Ok(()) };
        self.committing = Some(seq);
        self.acknowledge();
        let shared = self.inner.shared().clone();
        let now = runtime::now();
        shared.command(|session| session.handle_consumed(now, true));
        let done = |session: &Session| session.is_committed(self.inner.id, seq).then_some(Ok(()));
        let _ = settled(&shared, self.inner.id, done).await;
        self.committing = None;
        match shared.lock().close_reason() {
            Some(reason) => Err(RecvError::Closed(reason.clone())),
            None => Ok(()),
        }
    }

    /// The message handed out last is consumed now.
    fn acknowledge(&mut self) {
        let (Some(last), Some(consumed)) = (self.last.take(), &self.consumed) else { return };
        self.untold += last.1;
        if consumed.mark(last) || self.untold >= TELL_AFTER {
            self.untold = 0;
            let now = runtime::now();
            self.inner.shared().command(|session| session.handle_progress(now, self.inner.id));
        }
    }
}

impl Stream for ChannelReceiver {
    type Item = Message;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.poll_recv(cx).map(Result::ok)
    }
}

/// Ends when the channel or the connection is closed.
impl Stream for DurableChannel {
    type Item = Message;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        Pin::new(&mut self.receiver).poll_next(cx)
    }
}

/// What a [`Sink`] waits for. Clones of a sender each wait for themselves.
#[derive(Default)]
struct SinkState {
    /// One message that found no room when it came.
    waiting: Option<Message>,
    room: Option<Exclusive<()>>,
    last: Option<Receipt>,
    flushing: Option<Exclusive<Result<(), SendError>>>,
}

/// A future that only `&mut` reaches, so that what holds it can be shared between threads.
struct Exclusive<T>(Mutex<BoxFuture<'static, T>>);

impl<T> Exclusive<T> {
    fn new(future: impl Future<Output = T> + MaybeSend + 'static) -> Self {
        Self(Mutex::new(Box::pin(future)))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let future = self.0.get_mut().expect("it is never locked, so never poisoned");
        future.as_mut().poll(cx)
    }
}

impl Clone for SinkState {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl ChannelSender {
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        while let Some(message) = self.sink.waiting.take() {
            if let Some(room) = &mut self.sink.room {
                let waited = room.poll(cx);
                if waited.is_pending() {
                    self.sink.waiting = Some(message);
                    return Poll::Pending;
                }
                self.sink.room = None;
            }
            // Listen first, then try: room that comes in between is not missed.
            let signals = self.inner.signals.clone();
            let mut room = Exclusive::new(async move { signals.writable.notified().await });
            let listening = room.poll(cx);
            match self.offer(message, &SendTerms::default()) {
                Ok(receipt) => self.sink.last = Some(receipt),
                Err(TrySendError::Failed(_, error)) => return Poll::Ready(Err(error)),
                Err(TrySendError::Full(message)) => {
                    self.sink.waiting = Some(message);
                    if listening.is_pending() {
                        self.sink.room = Some(room);
                        return Poll::Pending;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Sink<Message> for ChannelSender {
    type Error = SendError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_room(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), SendError> {
        match self.offer(message, &SendTerms::default()) {
            Ok(receipt) => {
                self.sink.last = Some(receipt);
                Ok(())
            }
            Err(TrySendError::Failed(_, error)) => Err(error),
            Err(TrySendError::Full(message)) => {
                self.sink.waiting = Some(message);
                Ok(())
            }
        }
    }

    /// Waits until everything sent by this sink is acknowledged.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        ready!(self.poll_room(cx))?;
        loop {
            if let Some(flushing) = &mut self.sink.flushing {
                let flushed = ready!(flushing.poll(cx));
                self.sink.flushing = None;
                flushed?;
            }
            match self.sink.last.take() {
                Some(receipt) => self.sink.flushing = Some(Exclusive::new(receipt.acked())),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Flushes, and closes the channel.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        ready!(self.as_mut().poll_flush(cx))?;
        self.close();
        Poll::Ready(Ok(()))
    }
}

impl Sink<Message> for DurableChannel {
    type Error = SendError;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Pin::new(&mut self.sender).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), SendError> {
        Pin::new(&mut self.sender).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Pin::new(&mut self.sender).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        Pin::new(&mut self.sender).poll_close(cx)
    }
}

impl fmt::Debug for DurableChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableChannel({:?})", self.label())
    }
}

impl fmt::Debug for ChannelSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelSender({:?})", self.inner.label)
    }
}

impl fmt::Debug for ChannelReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelReceiver({:?})", self.inner.label)
    }
}
