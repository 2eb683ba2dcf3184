//! Every state, in order.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::runtime::sync::mpsc;

/// Each state that a leader shows, in order: see [`TutorialSync::steps`](super::TutorialSync::steps). Ends when the membership does.
#[derive(Debug)]
pub struct Steps<S> {
    receiver: mpsc::Receiver<Arc<S>>,
}

impl<S> Steps<S> {
    pub(super) fn new(receiver: mpsc::Receiver<Arc<S>>) -> Self {
        Self { receiver }
    }

    /// The next state, or `None` after the last. Cancel-safe.
    pub async fn next(&mut self) -> Option<Arc<S>> {
        self.receiver.recv().await
    }
}

impl<S> Stream for Steps<S> {
    type Item = Arc<S>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Arc<S>>> {
        self.receiver.poll_recv(cx)
    }
}
