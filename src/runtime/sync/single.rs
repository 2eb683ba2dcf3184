//! Channels and locks for one thread, like those of tokio that are used.
//!
//! tokio's are made for many threads and tasks: eight lists of waiters to a watch channel, blocks of
//! slots to a queue, a budget for each wait, and each kind of value brings the code anew. A page has one
//! thread and few tasks, and loads the code. Here is one list of [`waiters`] that is not generic, and
//! thin shells about it.
//!
//! They differ where tokio panics or promises nothing, as when a future that has ended is polled.

// What tokio has and somebody may need; what nobody does is not linked.
#![allow(dead_code, unused_imports)]

pub(crate) mod mpsc;
pub(crate) mod oneshot;
mod semaphore;
mod waiters;
pub(crate) mod watch;

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;

pub use self::semaphore::Mutex;
pub(crate) use self::semaphore::{OwnedSemaphorePermit, Semaphore};
pub use self::waiters::Notify;
pub(crate) use self::waiters::Slot as AtomicWaker;
