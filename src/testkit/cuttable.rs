//! A transport whose links can be closed under their connection.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::future::join_all;

use crate::link::{Link, LinkError, Negotiation, NegotiationEvent, Transport};
use crate::runtime::BoxFuture;

/// Passes everything on to another transport, and closes the links it made when told to. Clones
/// cut the same links.
///
/// ```
/// use everlink::Client;
/// use everlink::testkit::{Cuttable, MemoryNetwork};
/// # let signaling = everlink::signaling::MemorySignaling::new();
/// # let identity = everlink::Identity::generate();
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # runtime.block_on(async {
///
/// let links = Cuttable::new(MemoryNetwork::new(1).transport());
/// let client = Client::builder(identity).signaling(signaling).transport(links.clone()).build();
/// // Connect, send … and then:
/// let closed = links.cut().await;
/// # assert_eq!(closed, 0);
/// # client.shutdown().await;
/// # });
/// ```
#[derive(Clone)]
pub struct Cuttable {
    inner: Arc<dyn Transport>,
    links: Links,
}

#[derive(Clone, Default)]
struct Links {
    open: Arc<Mutex<Vec<Weak<dyn Link>>>>,
    made: Arc<AtomicUsize>,
}

impl Links {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<dyn Link>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cuttable {
    /// `inner`, with a hand on its links.
    pub fn new(inner: impl Transport) -> Self {
        Self { inner: Arc::new(inner), links: Links::default() }
    }

    /// Closes every link there is, and returns how many there were. The other end hears of it as
    /// of any link that its peer closed. Dropping the future may leave some of them open.
    pub async fn cut(&self) -> usize {
        let links: Vec<_> = self.links.lock().drain(..).filter_map(|link| link.upgrade()).collect();
        join_all(links.iter().map(|link| link.close())).await;
        links.len()
    }

    /// How many links were ever made.
    pub fn made(&self) -> usize {
        self.links.made.load(Ordering::SeqCst)
    }

    fn watch(&self, inner: Arc<dyn Negotiation>) -> Arc<dyn Negotiation> {
        Arc::new(Watched { inner, links: self.links.clone() })
    }
}

impl fmt::Debug for Cuttable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cuttable").field("made", &self.made()).finish_non_exhaustive()
    }
}

struct Watched {
    inner: Arc<dyn Negotiation>,
    links: Links,
}

impl Transport for Cuttable {
    fn offer(&self) -> BoxFuture<'_, Result<Arc<dyn Negotiation>, LinkError>> {
        Box::pin(async { Ok(self.watch(self.inner.offer().await?)) })
    }

    fn answer<'a>(&'a self, offer: &'a str) -> BoxFuture<'a, Result<Arc<dyn Negotiation>, LinkError>> {
        Box::pin(async move { Ok(self.watch(self.inner.answer(offer).await?)) })
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.inner.shutdown()
    }
}

impl Negotiation for Watched {
    fn description(&self) -> &str {
        self.inner.description()
    }

    fn set_answer<'a>(&'a self, sdp: &'a str) -> BoxFuture<'a, Result<(), LinkError>> {
        self.inner.set_answer(sdp)
    }

    fn add_candidate<'a>(&'a self, candidate: &'a str) -> BoxFuture<'a, Result<(), LinkError>> {
        self.inner.add_candidate(candidate)
    }

    fn next(&self) -> BoxFuture<'_, NegotiationEvent> {
        Box::pin(async {
            let event = self.inner.next().await;
            if let NegotiationEvent::Established(link) = &event {
                self.links.made.fetch_add(1, Ordering::SeqCst);
                let mut open = self.links.lock();
                open.retain(|link| link.strong_count() > 0);
                open.push(Arc::downgrade(link));
            }
            event
        })
    }
}
