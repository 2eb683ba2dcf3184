//! As `tokio::sync::oneshot`: one value.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::waiters::Slot;

pub(crate) mod error {
    /// The sender is gone without a value.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct RecvError(pub(super) ());

    /// Why there is no value.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum TryRecvError {
        /// Not yet.
        Empty,
        /// It will never come.
        Closed,
    }
}

use error::{RecvError, TryRecvError};

struct Shared<T> {
    value: RefCell<Option<T>>,
    /// The sender is gone.
    ended: Cell<bool>,
    receiver: Slot,
}

/// A channel of one value.
pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared =
        Rc::new(Shared { value: RefCell::new(None), ended: Cell::new(false), receiver: Slot::default() });
    (Sender { shared: shared.clone() }, Receiver { shared })
}

/// Sends the value.
pub(crate) struct Sender<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Gives the value back when nobody can receive it.
    pub(crate) fn send(self, value: T) -> Result<(), T> {
        if self.is_closed() {
            return Err(value);
        }
        self.shared.value.replace(Some(value));
        Ok(())
    }

    /// Whether the receiver is gone.
    pub(crate) fn is_closed(&self) -> bool {
        Rc::strong_count(&self.shared) == 1
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.ended.set(true);
        self.shared.receiver.wake();
    }
}

/// A future that is the value.
pub(crate) struct Receiver<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Receiver<T> {
    pub(crate) fn try_recv(&mut self) -> Result<T, TryRecvError> {
        match self.shared.value.take() {
            Some(value) => Ok(value),
            None if self.shared.ended.get() => Err(TryRecvError::Closed),
            None => Err(TryRecvError::Empty),
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.try_recv() {
            Ok(value) => Poll::Ready(Ok(value)),
            Err(TryRecvError::Closed) => Poll::Ready(Err(RecvError(()))),
            Err(TryRecvError::Empty) => {
                self.shared.receiver.register(cx.waker());
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        drop(self.shared.receiver.take());
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Receiver")
    }
}
