//! Futures that run beside each other in one task.

use super::BoxFuture;

/// Futures of which whichever ends first is wanted. Natively a future is polled when it is woken;
/// in a page, which has few of them and loads the code, whenever the task is.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) struct Futures<'a, T> {
    running: futures_util::stream::FuturesUnordered<BoxFuture<'a, T>>,
}
/// Futures of which whichever ends first is wanted. Natively a future is polled when it is woken;
/// in a page, which has few of them and loads the code, whenever the task is.
#[cfg(target_arch = "wasm32")]
pub(crate) struct Futures<'a, T> {
    running: Vec<BoxFuture<'a, T>>,
}

impl<'a, T> Futures<'a, T> {
    pub(crate) fn new() -> Self {
        Self { running: Default::default() }
    }

    /// It begins to run in the next [`next`](Self::next).
    pub(crate) fn push(&mut self, future: BoxFuture<'a, T>) {
        self.running.push(future);
    }

    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Drops all that run.
    pub(crate) fn clear(&mut self) {
        self.running.clear();
    }

    /// What the next one to end comes to; `None` at once when none runs. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<T> {
        #[cfg(not(target_arch = "wasm32"))]
        {
            futures_util::StreamExt::next(&mut self.running).await
        }
        #[cfg(target_arch = "wasm32")]
        {
            std::future::poll_fn(|cx| {
                for at in 0..self.running.len() {
                    if let std::task::Poll::Ready(output) = self.running[at].as_mut().poll(cx) {
                        drop(self.running.swap_remove(at));
                        return std::task::Poll::Ready(Some(output));
                    }
                }
                match self.running.is_empty() {
                    true => std::task::Poll::Ready(None),
                    false => std::task::Poll::Pending,
                }
            })
            .await
        }
    }
}
