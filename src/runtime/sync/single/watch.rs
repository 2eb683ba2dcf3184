//! As `tokio::sync::watch`: a value, of which each receiver sees the last.

use std::cell::{Cell, Ref, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::waiters::{Notified, Waiters};

pub(crate) mod error {
    /// The sender is gone.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct RecvError(pub(super) ());
}

use error::RecvError;

/// What does not depend on the value.
struct State {
    /// All are told of each change, and of the end.
    changes: Waiters,
    /// The sender is gone.
    closed: Cell<bool>,
}

impl State {
    /// How often the value changed.
    fn version(&self) -> u64 {
        self.changes.told() - u64::from(self.closed.get())
    }
}

/// What [`Receiver::changed`] gives.
struct Changed<'a> {
    seen: &'a mut u64,
    state: &'a State,
    told: Notified<'a>,
}

impl Future for Changed<'_> {
    type Output = Result<(), RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(Pin::new(&mut self.told).poll(cx));
        let version = self.state.version();
        Poll::Ready(match std::mem::replace(self.seen, version) == version {
            true => Err(RecvError(())),
            false => Ok(()),
        })
    }
}

struct Shared<T> {
    state: State,
    value: RefCell<T>,
}

/// The one that changes the value.
pub(crate) struct Sender<T> {
    shared: Rc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Without a receiver yet.
    pub(crate) fn new(value: T) -> Self {
        let state = State { changes: Waiters::new(0, 0), closed: Cell::new(false) };
        Self { shared: Rc::new(Shared { state, value: RefCell::new(value) }) }
    }

    /// A receiver that has seen the value of now.
    pub(crate) fn subscribe(&self) -> Receiver<T> {
        Receiver { seen: self.shared.state.version(), shared: self.shared.clone() }
    }

    pub(crate) fn receiver_count(&self) -> usize {
        Rc::strong_count(&self.shared) - 1
    }

    pub(crate) fn borrow(&self) -> Ref<'_, T> {
        self.shared.value.borrow()
    }

    pub(crate) fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let modified = modify(&mut self.shared.value.borrow_mut());
        if modified {
            self.shared.state.changes.tell_all();
        }
        modified
    }

    pub(crate) fn send_modify(&self, modify: impl FnOnce(&mut T)) {
        modify(&mut self.shared.value.borrow_mut());
        self.shared.state.changes.tell_all();
    }

    pub(crate) fn send_replace(&self, value: T) -> T {
        let last = self.shared.value.replace(value);
        self.shared.state.changes.tell_all();
        last
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.state.closed.set(true);
        self.shared.state.changes.tell_all();
    }
}

/// One that looks at the value, and knows which it saw last.
pub(crate) struct Receiver<T> {
    shared: Rc<Shared<T>>,
    seen: u64,
}

impl<T> Receiver<T> {
    pub(crate) fn borrow(&self) -> Ref<'_, T> {
        self.shared.value.borrow()
    }

    pub(crate) fn borrow_and_update(&mut self) -> Ref<'_, T> {
        self.mark_unchanged();
        self.shared.value.borrow()
    }

    pub(crate) fn mark_unchanged(&mut self) {
        self.seen = self.shared.state.version();
    }

    /// Whether there is a value that was not seen; an error once the sender is gone.
    pub(crate) fn has_changed(&self) -> Result<bool, RecvError> {
        match self.shared.state.closed.get() {
            true => Err(RecvError(())),
            false => Ok(self.seen != self.shared.state.version()),
        }
    }

    /// Waits for a value that was not seen, which then is. An error once the sender is gone and its
    /// last value was seen. Cancel-safe.
    pub(crate) fn changed(&mut self) -> impl Future<Output = Result<(), RecvError>> {
        let state = &self.shared.state;
        // Who saw the last change waits for the next to be told.
        Changed { told: state.changes.told_since(self.seen), seen: &mut self.seen, state }
    }

    /// Waits until the value, that of now included, is as wanted. An error once the sender is gone
    /// and left another. Cancel-safe.
    pub(crate) async fn wait_for(
        &mut self,
        mut wanted: impl FnMut(&T) -> bool,
    ) -> Result<Ref<'_, T>, RecvError> {
        loop {
            if wanted(&self.borrow_and_update()) {
                break;
            }
            self.changed().await?;
        }
        Ok(self.borrow())
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), seen: self.seen }
    }
}
