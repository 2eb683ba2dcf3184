//! ICE restarts of live links over real WebRTC on loopback.
#![cfg(feature = "webrtc")]
// Real sockets keep real time.
#![allow(clippy::disallowed_methods)]

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use everlink::link::webrtc::{Impairment, WebRtcConfig, WebRtcTransport};
use everlink::link::{IceCredentials, Link, LinkError, LinkEvent, NegotiationEvent, RestartEvent, Transport};

type SharedLink = Arc<dyn Link>;

/// Runs a test body that must not hang.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs");
    });
}

fn impaired() -> (WebRtcTransport, Impairment) {
    let impairment = Impairment::new(7);
    let mut config = WebRtcConfig::loopback();
    config.impairment = Some(impairment.clone());
    (WebRtcTransport::new(config), impairment)
}

/// A link, the answering end first, as a peer is.
async fn connect(a: &WebRtcTransport, b: &WebRtcTransport) -> (SharedLink, SharedLink) {
    async fn established(negotiation: &dyn everlink::link::Negotiation) -> SharedLink {
        loop {
            match negotiation.next().await {
                NegotiationEvent::Established(link) => return link,
                NegotiationEvent::Candidate(_) => {}
                NegotiationEvent::Failed(error) => panic!("{error}"),
                _ => unreachable!(),
            }
        }
    }
    let offer = b.offer().await.unwrap();
    let answer = a.answer(offer.description()).await.unwrap();
    offer.set_answer(answer.description()).await.unwrap();
    tokio::join!(established(&*answer), established(&*offer))
}

async fn frame(link: &SharedLink) -> Bytes {
    loop {
        match link.recv().await {
            LinkEvent::Frame(frame) => return frame,
            LinkEvent::Suspect | LinkEvent::Recovered => {}
            other => panic!("{other:?}"),
        }
    }
}

/// A whole restart, asked for by `asking`.
async fn restart(asking: &SharedLink, answering: &SharedLink) -> Result<(), LinkError> {
    let asked = asking.ask_restart().await?;
    let answered = answering.answer_restart(&asked).await?;
    asking.finish_restart(&answered).await?;
    let trickle = |from: SharedLink, to: SharedLink| async move {
        loop {
            match from.restart_event().await {
                RestartEvent::Candidate(candidate) => to.add_restart_candidate(&candidate).await.unwrap(),
                RestartEvent::Done => return,
                _ => unreachable!(),
            }
        }
    };
    tokio::join!(
        trickle(asking.clone(), answering.clone()),
        trickle(answering.clone(), asking.clone())
    );
    Ok(())
}

/// Sends numbers from `from` to `to`, one every 5 ms, until dropped; tells the longest gap.
async fn longest_gap(from: &SharedLink, to: &SharedLink, during: impl Future<Output = ()>) -> Duration {
    let mut longest = Duration::ZERO;
    let send = async {
        for number in 0..u32::MAX {
            from.send(BytesMut::from(&number.to_be_bytes()[..])).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let receive = async {
        let mut last = Instant::now();
        for number in 0..u32::MAX {
            assert_eq!(frame(to).await[..], number.to_be_bytes(), "a frame is lost");
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    };
    tokio::select! {
        () = send => {}
        () = receive => {}
        () = during => {}
    }
    longest
}

#[test]
fn a_stream_goes_on_over_other_sockets_in_the_same_session() {
    run(async {
        for delay in [0, 10, 50] {
            for asks_first in [true, false] {
                let ((ta, impairment), (tb, _)) = (impaired(), impaired());
                let (a, b) = connect(&ta, &tb).await;
                let binding = a.binding();
                impairment.set_delay(Duration::from_millis(delay));
                let (asking, answering) = if asks_first { (&a, &b) } else { (&b, &a) };
                let mut took = vec![];
                let during = async {
                    for _ in 0..3 {
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        let began = Instant::now();
                        restart(asking, answering).await.unwrap();
                        took.push(began.elapsed());
                    }
                    tokio::time::sleep(Duration::from_millis(1000)).await;
                };
                let longest = longest_gap(&a, &b, during).await;
                println!("round trip {} ms: restarts took {took:?}, longest gap {longest:?}", 2 * delay);
                assert_eq!((a.binding(), b.binding()), (binding, binding));
            }
        }
    });
}
