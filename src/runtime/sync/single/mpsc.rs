//! As `tokio::sync::mpsc`: a queue with an end that waits for room and one that waits for values.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::waiters::{Slot, Waiters};

pub(crate) mod error {
    /// The receiver is gone; the value was not sent.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct SendError<T>(pub T);

    /// Why the value was not sent.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum TrySendError<T> {
        /// There is no room.
        Full(T),
        /// The receiver is gone.
        Closed(T),
    }

    /// Why there is no value.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum TryRecvError {
        /// Not yet.
        Empty,
        /// Never more.
        Disconnected,
    }
}

use error::{SendError, TryRecvError, TrySendError};

/// What does not depend on the values.
struct State {
    /// A permit for each value that there is room for.
    room: Waiters,
    senders: Cell<usize>,
    /// The receiver is gone.
    closed: Cell<bool>,
    receiver: Slot,
}

impl State {
    /// Room for a value; the error is whether the receiver is gone.
    fn try_take(&self) -> Result<(), bool> {
        match self.closed.get() {
            true => Err(true),
            false if self.room.try_take() => Ok(()),
            false => Err(false),
        }
    }

    /// Waits for room. Whether there is any: not when the receiver is gone.
    async fn take(&self) -> bool {
        if !self.closed.get() {
            self.room.wait().await;
        }
        !self.closed.get()
    }

    fn sender_gone(&self) {
        self.senders.set(self.senders.get() - 1);
        if self.senders.get() == 0 {
            self.receiver.wake();
        }
    }

    /// No value is there: whether none will be.
    fn poll_ended(&self, waker: &Waker) -> bool {
        let ended = self.senders.get() == 0;
        if !ended {
            self.receiver.register(waker);
        }
        ended
    }
}

struct Shared<T> {
    state: State,
    /// Short, and a `VecDeque` is more code for each kind of value.
    queue: RefCell<Vec<T>>,
}

/// A channel with room for `capacity` values.
pub(crate) fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let state = State {
        room: Waiters::new(capacity, capacity),
        senders: Cell::new(1),
        closed: Cell::new(false),
        receiver: Slot::default(),
    };
    let shared = Rc::new(Shared { state, queue: RefCell::default() });
    (Sender { shared: shared.clone() }, Receiver { shared })
}

/// One of those that send.
pub(crate) struct Sender<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Sends without waiting for room.
    pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.shared.state.try_take() {
            Ok(()) => {
                self.push(value);
                Ok(())
            }
            Err(true) => Err(TrySendError::Closed(value)),
            Err(false) => Err(TrySendError::Full(value)),
        }
    }

    /// Sends once there is room. Cancel-safe: the value is then not sent.
    pub(crate) async fn send(&self, value: T) -> Result<(), SendError<T>> {
        if !self.shared.state.take().await {
            return Err(SendError(value));
        }
        self.push(value);
        Ok(())
    }

    /// Waits for room and keeps it. Cancel-safe.
    pub(crate) async fn reserve(&self) -> Result<Permit<'_, T>, SendError<()>> {
        match self.shared.state.take().await {
            true => Ok(Permit { sender: Some(self) }),
            false => Err(SendError(())),
        }
    }

    /// Keeps room without waiting for it.
    pub(crate) fn try_reserve_owned(self) -> Result<OwnedPermit<T>, TrySendError<Self>> {
        match self.shared.state.try_take() {
            Ok(()) => Ok(OwnedPermit { sender: Some(self) }),
            Err(true) => Err(TrySendError::Closed(self)),
            Err(false) => Err(TrySendError::Full(self)),
        }
    }

    /// How many values there is room for now.
    pub(crate) fn capacity(&self) -> usize {
        self.shared.state.room.permits()
    }

    /// A permit was taken for it.
    fn push(&self, value: T) {
        // After the receiver went nobody would take it out.
        if !self.shared.state.closed.get() {
            self.shared.queue.borrow_mut().push(value);
            self.shared.state.receiver.wake();
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        let senders = &self.shared.state.senders;
        senders.set(senders.get() + 1);
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.state.sender_gone();
    }
}

/// Room for a value, given back unless it is used.
pub(crate) struct Permit<'a, T> {
    sender: Option<&'a Sender<T>>,
}

impl<T> Permit<'_, T> {
    pub(crate) fn send(mut self, value: T) {
        if let Some(sender) = self.sender.take() {
            sender.push(value);
        }
    }
}

impl<T> Drop for Permit<'_, T> {
    fn drop(&mut self) {
        if let Some(sender) = self.sender {
            sender.shared.state.room.give();
        }
    }
}

/// Room for a value, given back unless it is used, and the sender that keeps it.
pub(crate) struct OwnedPermit<T> {
    sender: Option<Sender<T>>,
}

impl<T> OwnedPermit<T> {
    pub(crate) fn send(mut self, value: T) {
        if let Some(sender) = self.sender.take() {
            sender.push(value);
        }
    }
}

impl<T> Drop for OwnedPermit<T> {
    fn drop(&mut self) {
        if let Some(sender) = &self.sender {
            sender.shared.state.room.give();
        }
    }
}

/// The one that receives.
pub(crate) struct Receiver<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// The next value, or `None` when all senders are gone. Cancel-safe.
    pub(crate) async fn recv(&mut self) -> Option<T> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv). Only the waker of the last poll is called.
    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        match self.pop() {
            None if !self.shared.state.poll_ended(cx.waker()) => Poll::Pending,
            value => Poll::Ready(value),
        }
    }

    pub(crate) fn try_recv(&mut self) -> Result<T, TryRecvError> {
        match self.pop() {
            Some(value) => Ok(value),
            None if self.shared.state.senders.get() == 0 => Err(TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    fn pop(&mut self) -> Option<T> {
        let value = {
            let mut queue = self.shared.queue.borrow_mut();
            if queue.is_empty() {
                return None;
            }
            queue.remove(0)
        };
        self.shared.state.room.give();
        Some(value)
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.state.closed.set(true);
        drop(self.shared.state.receiver.take());
        // Dropped while the queue is not borrowed: a value may hold a sender.
        drop(self.shared.queue.take());
        self.shared.state.room.tell_all();
    }
}
