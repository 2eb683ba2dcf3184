//! What the handles and the driver of one connection share: the core behind a short lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::core::{NetworkChange, Session, SessionId};
use super::events::{ConnectionEvent, ConnectionState, EventSource};
use crate::error::CloseReason;
use crate::runtime::sync::{AtomicWaker, watch};

pub(crate) struct Shared {
    /// A `std` mutex: it is held for microseconds and never over an `.await`.
    session: Mutex<Session>,
    /// There is something for the driver to do.
    dirty: AtomicBool,
    driver: AtomicWaker,
    pub(super) state: watch::Sender<ConnectionState>,
    pub(super) events: EventSource<ConnectionEvent>,
}

impl Shared {
    pub(super) fn new(session: Session) -> Arc<Self> {
        Arc::new(Self {
            session: Mutex::new(session),
            dirty: AtomicBool::new(true),
            driver: AtomicWaker::new(),
            state: watch::Sender::new(ConnectionState::Connecting { attempt: 0 }),
            events: EventSource::new(),
        })
    }

    /// The core. Commands that leave work for the driver go through [`command`](Self::command).
    pub(super) fn lock(&self) -> MutexGuard<'_, Session> {
        // A panic while it is held is a bug of ours; the core is then in an unknown state and
        // must not be used further.
        self.session.lock().expect("the core panicked")
    }

    /// Does something to the core and lets the driver carry out what follows from it.
    pub(super) fn command<T>(&self, does: impl FnOnce(&mut Session) -> T) -> T {
        let mut session = self.lock();
        let result = does(&mut session);
        let changed = session.take_changed();
        drop(session);
        if changed && !self.dirty.swap(true, Ordering::AcqRel) {
            self.driver.wake();
        }
        result
    }

    /// Whether a command left something to do since this was last asked; wakes the caller later.
    pub(super) fn poll_dirty(&self, cx: &mut std::task::Context<'_>) -> bool {
        if self.dirty.swap(false, Ordering::AcqRel) {
            return true;
        }
        self.driver.register(cx.waker());
        self.dirty.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn id(&self) -> SessionId {
        self.lock().id()
    }

    /// Closes gracefully; the driver goes on until the peer knows or the time for it is over.
    pub(crate) fn close(&self) {
        self.command(|session| session.close(crate::runtime::now()));
    }

    /// Leaves without closing; done when [`closed`](Self::closed) says so.
    pub(crate) fn detach(&self) {
        self.command(Session::detach);
    }

    /// The application has dropped its last handle. A host that lets go of a peer while it runs is
    /// done with it; a dialer may just be ending, and will want to go on.
    pub(super) fn drop_handle(&self) {
        let dials = self.lock().dials();
        if dials { self.leave() } else { self.close() }
    }

    /// The client ends: what outlives the process goes on later, the rest ends.
    pub(crate) fn leave(&self) {
        if self.lock().is_kept() { self.detach() } else { self.close() }
    }

    /// The network of this machine changed.
    pub(crate) fn network_changed(&self, change: NetworkChange) {
        self.command(|session| session.handle_network_change(crate::runtime::now(), change));
    }

    /// Closes at once.
    pub(crate) fn abort(&self, reason: CloseReason) {
        self.command(|session| session.abort(reason));
    }

    /// Gives up on a connection that never had a link, and says why it has none.
    pub(crate) fn give_up(&self) -> CloseReason {
        self.command(|session| session.give_up())
    }

    /// Waits for the end.
    pub(crate) async fn closed(&self) -> CloseReason {
        let mut state = self.state.subscribe();
        let closed = state.wait_for(|state| matches!(state, ConnectionState::Closed(_))).await;
        match closed.as_deref() {
            Ok(ConnectionState::Closed(reason)) => reason.clone(),
            // The sender lives in `self`, so the channel cannot have closed.
            _ => CloseReason::Shutdown,
        }
    }
}
