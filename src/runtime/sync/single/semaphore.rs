//! As tokio's `Semaphore` and `Mutex`, whoever came first being the first to get it.

use std::cell::{RefCell, RefMut};
use std::convert::Infallible;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::waiters::Waiters;

/// Permits that come back. It cannot be closed.
pub(crate) struct Semaphore {
    permits: Waiters,
}

impl Semaphore {
    pub(crate) const MAX_PERMITS: usize = usize::MAX >> 3;

    pub(crate) const fn new(permits: usize) -> Self {
        Self { permits: Waiters::new(permits, Self::MAX_PERMITS) }
    }

    /// Waits for a permit. Cancel-safe, but loses its place in the line.
    pub(crate) async fn acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit, Infallible> {
        self.permits.wait().await;
        Ok(OwnedSemaphorePermit { semaphore: self })
    }
}

/// Comes back when it is dropped.
pub(crate) struct OwnedSemaphorePermit {
    semaphore: Arc<Semaphore>,
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        self.semaphore.permits.give();
    }
}

/// A lock to wait for.
pub struct Mutex<T> {
    turns: Waiters,
    value: RefCell<T>,
}

impl<T> Mutex<T> {
    /// Not locked.
    pub const fn new(value: T) -> Self {
        Self { turns: Waiters::new(1, 1), value: RefCell::new(value) }
    }

    /// Waits for the lock. Cancel-safe, but loses its place in the line.
    pub async fn lock(&self) -> MutexGuard<'_, T> {
        self.turns.wait().await;
        self.guard()
    }

    /// The lock if nobody has it or waits for it.
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, TryLockError> {
        match self.turns.try_take() {
            true => Ok(self.guard()),
            false => Err(TryLockError(())),
        }
    }

    fn guard(&self) -> MutexGuard<'_, T> {
        MutexGuard { value: self.value.borrow_mut(), _turn: Turn(&self.turns) }
    }
}

/// It is locked.
#[derive(Debug)]
pub struct TryLockError(());

/// Unlocks when it is dropped.
pub struct MutexGuard<'a, T> {
    // Dropped in this order.
    value: RefMut<'a, T>,
    _turn: Turn<'a>,
}

struct Turn<'a>(&'a Waiters);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.give();
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}
