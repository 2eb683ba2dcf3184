//! A transport whose links can be closed under their connection, to show what happens then.

use std::sync::{Arc, Mutex, Weak};

use everlink::BoxFuture;
use everlink::link::{Link, LinkError, Negotiation, NegotiationEvent, Transport};

/// Passes everything on to another transport and remembers the links it made.
#[derive(Clone)]
pub struct Cuttable {
    inner: Arc<dyn Transport>,
    links: Links,
}

type Links = Arc<Mutex<Vec<Weak<dyn Link>>>>;

impl Cuttable {
    pub fn new(inner: impl Transport) -> Self {
        Self { inner: Arc::new(inner), links: Links::default() }
    }

    /// Closes every link there is; the other end hears of it, and so does this one.
    pub async fn cut(&self) {
        let links = std::mem::take(&mut *self.links.lock().expect("no panic while locked"));
        for link in links.iter().filter_map(Weak::upgrade) {
            link.close().await;
        }
    }

    fn watch(&self, negotiation: Arc<dyn Negotiation>) -> Arc<dyn Negotiation> {
        Arc::new(Watched { inner: negotiation, links: self.links.clone() })
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
                let mut links = self.links.lock().expect("no panic while locked");
                links.retain(|link| link.strong_count() > 0);
                links.push(Arc::downgrade(link));
            }
            event
        })
    }
}
