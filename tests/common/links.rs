//! Links between two transports of this process, for tests of links themselves.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use everlink::link::webrtc::WebRtcTransport;
use everlink::link::{Link, LinkEvent, Negotiation, NegotiationEvent, Transport};

pub type SharedLink = Arc<dyn Link>;

/// Runs a test body that must not hang.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs");
    });
}

pub async fn established(negotiation: &Arc<dyn Negotiation>) -> SharedLink {
    loop {
        match negotiation.next().await {
            NegotiationEvent::Established(link) => return link,
            NegotiationEvent::Candidate(_) => {}
            NegotiationEvent::Failed(error) => panic!("{error}"),
            _ => unreachable!(),
        }
    }
}

/// The two ends of a link, the offering one first.
pub async fn connect(offering: &WebRtcTransport, answering: &WebRtcTransport) -> (SharedLink, SharedLink) {
    let offer = offering.offer().await.unwrap();
    let answer = answering.answer(offer.description()).await.unwrap();
    offer.set_answer(answer.description()).await.unwrap();
    tokio::join!(established(&offer), established(&answer))
}

/// The next frame, whatever is told of the path meanwhile.
pub async fn frame(link: &SharedLink) -> Bytes {
    loop {
        match link.recv().await {
            LinkEvent::Frame(frame) => return frame,
            LinkEvent::Suspect | LinkEvent::Recovered | LinkEvent::Moved => {}
            other => panic!("{other:?}"),
        }
    }
}
