//! What tasks wait for each other with: tokio's, and in a page small ones with the same behaviour
//! as far as it is used.

#[cfg(any(test, target_arch = "wasm32"))]
mod single;

#[cfg(target_arch = "wasm32")]
pub(crate) use self::single::{AtomicWaker, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
#[cfg(target_arch = "wasm32")]
pub use self::single::{Mutex, Notify};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use futures_util::task::AtomicWaker;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
