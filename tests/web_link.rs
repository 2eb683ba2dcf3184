//! Links over the WebRTC of a real browser: two ends in one page. Run by
//! `web/test/wasm.sh`.

#![cfg(target_arch = "wasm32")]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use everlink::link::web::{WebConfig, WebTransport};
use everlink::link::{
    Link, LinkError, LinkEvent, LossyConfig, Negotiation, NegotiationEvent, Transport as _,
};
use futures_util::future::{Either, join, select};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

/// Trades candidates until both have their links.
async fn establish(
    offering: &dyn Negotiation,
    answering: &dyn Negotiation,
) -> (Arc<dyn Link>, Arc<dyn Link>) {
    let mut links = (None, None);
    while links.0.is_none() || links.1.is_none() {
        let (event, of_offering) = match select(offering.next(), answering.next()).await {
            Either::Left((event, _)) => (event, true),
            Either::Right((event, _)) => (event, false),
        };
        match (event, of_offering) {
            (NegotiationEvent::Established(link), true) => links.0 = Some(link),
            (NegotiationEvent::Established(link), false) => links.1 = Some(link),
            // Some stacks give the whole line.
            (NegotiationEvent::Candidate(candidate), true) => {
                answering.add_candidate(&format!("a={candidate}")).await.unwrap();
            }
            (NegotiationEvent::Candidate(candidate), false) => {
                offering.add_candidate(&candidate).await.unwrap();
            }
            (NegotiationEvent::Failed(error), _) => panic!("{error}"),
            _ => {}
        }
    }
    (links.0.unwrap(), links.1.unwrap())
}

async fn pair(transport: &WebTransport) -> (Arc<dyn Link>, Arc<dyn Link>) {
    let offering = transport.offer().await.unwrap();
    let answering = transport.answer(offering.description()).await.unwrap();
    offering.set_answer(answering.description()).await.unwrap();
    establish(&*offering, &*answering).await
}

async fn frame(link: &dyn Link) -> Bytes {
    match link.recv().await {
        LinkEvent::Frame(frame) => frame,
        other => panic!("{other:?}"),
    }
}

async fn pause(millis: u32) {
    let wait = format!("return new Promise((go) => setTimeout(go, {millis}))");
    let wait = js_sys::Function::new_no_args(&wait).call0(&wasm_bindgen::JsValue::NULL).unwrap();
    wasm_bindgen_futures::JsFuture::from(js_sys::Promise::from(wait)).await.unwrap();
}

#[wasm_bindgen_test]
async fn frames_arrive_whole_and_in_order_both_ways() {
    let transport = WebTransport::default();
    let (a, b) = pair(&transport).await;
    assert_eq!(a.binding(), b.binding());
    assert_eq!(a.max_frame(), 65 * 1024);
    let sizes = [1, 100, 1200, 16 * 1024, 65 * 1024];
    // More than the send buffer takes at once.
    let rounds = 100;
    let sending = async {
        for round in 0..rounds {
            for size in sizes {
                a.send(BytesMut::from(&vec![round as u8; size][..])).await.unwrap();
            }
        }
    };
    let receiving = async {
        for round in 0..rounds {
            for size in sizes {
                let frame = frame(&*b).await;
                assert!(
                    frame.len() == size && frame.iter().all(|byte| *byte == round as u8),
                    "{round} {size}"
                );
            }
        }
    };
    join(sending, receiving).await;
    b.send(BytesMut::from(&b"back"[..])).await.unwrap();
    assert_eq!(frame(&*a).await, &b"back"[..]);
    let error = a.send(BytesMut::zeroed(a.max_frame() + 1)).await.unwrap_err();
    assert!(matches!(error, LinkError::Failed(_)), "{error:?}");
    transport.shutdown().await;
}

#[wasm_bindgen_test]
async fn a_closed_link_says_so_at_both_ends() {
    let transport = WebTransport::default();
    let (a, b) = pair(&transport).await;
    a.close().await;
    a.close().await;
    assert!(matches!(a.recv().await, LinkEvent::Down(LinkError::Closed)));
    assert_eq!(a.send(BytesMut::from(&b"x"[..])).await, Err(LinkError::Closed));
    assert!(matches!(b.recv().await, LinkEvent::Down(LinkError::ClosedByPeer)));
    assert!(b.send(BytesMut::from(&b"x"[..])).await.is_err());
    let (c, d) = pair(&transport).await;
    drop(c);
    assert!(matches!(d.recv().await, LinkEvent::Down(LinkError::ClosedByPeer)));
}

#[wasm_bindgen_test]
async fn a_transport_that_is_shut_down_closes_all_and_refuses_more() {
    let transport = WebTransport::default();
    let (a, b) = pair(&transport).await;
    transport.shutdown().await;
    assert!(matches!(a.recv().await, LinkEvent::Down(LinkError::Closed)));
    assert!(matches!(b.recv().await, LinkEvent::Down(LinkError::Closed)));
    assert_eq!(transport.offer().await.err(), Some(LinkError::Closed));
}

#[wasm_bindgen_test]
async fn a_lossy_stream_carries_messages_beside_the_frames() {
    let transport = WebTransport::default();
    let (a, b) = pair(&transport).await;
    let config = LossyConfig { ordered: false, max_retransmits: 0 };
    // The first and the last number that a session uses.
    for stream in [2, 60_001] {
        a.open_lossy(stream, config);
        b.open_lossy(stream, config);
        b.open_lossy(stream, config);
        let sending = async {
            loop {
                a.send_lossy(stream, BytesMut::from(&b"here"[..]));
                pause(10).await;
            }
        };
        match select(Box::pin(sending), b.recv()).await {
            Either::Right((LinkEvent::Lossy { stream: got, data }, _)) => {
                assert_eq!((got, &data[..]), (stream, &b"here"[..]));
            }
            Either::Right((other, _)) => panic!("{other:?}"),
            Either::Left(_) => unreachable!(),
        }
        a.close_lossy(stream);
        b.close_lossy(stream);
    }
    transport.shutdown().await;
}

#[wasm_bindgen_test]
async fn bad_descriptions_and_candidates_are_errors_and_change_nothing() {
    let transport = WebTransport::default();
    for bad in ["", "hello", "v=0\r\n"] {
        let error = transport.answer(bad).await.err().expect("an error");
        assert!(matches!(error, LinkError::BadDescription(_)), "{error:?}");
    }
    let offering = transport.offer().await.unwrap();
    let early = offering.add_candidate("candidate:1 1 udp 1 192.0.2.1 9 typ host").await.unwrap_err();
    assert!(early.to_string().contains("before the answer"), "{early}");
    let own = offering.set_answer(offering.description()).await.unwrap_err();
    assert!(own.to_string().contains("our own"), "{own}");
    let answering = transport.answer(offering.description()).await.unwrap();
    assert!(answering.set_answer(offering.description()).await.is_err());
    offering.set_answer(answering.description()).await.unwrap();
    assert!(offering.set_answer(answering.description()).await.is_err(), "answered twice");
    for bad in ["", "nonsense", "candidate:", "candidate:x y z", &"x".repeat(2000)] {
        let error = offering.add_candidate(bad).await.unwrap_err();
        assert!(matches!(error, LinkError::BadDescription(_)), "{bad}: {error:?}");
    }
    establish(&*offering, &*answering).await;
}

#[wasm_bindgen_test]
async fn a_peer_that_sends_more_than_it_may_loses_the_link() {
    let mut config = WebConfig::default();
    config.receive_window = 1;
    let transport = WebTransport::new(config);
    let (a, b) = pair(&transport).await;
    // Nobody receives at the other end.
    for _ in 0..20 {
        a.send(BytesMut::zeroed(60 * 1024)).await.unwrap();
    }
    pause(500).await;
    let error = loop {
        match b.recv().await {
            LinkEvent::Down(error) => break error,
            _ => continue,
        }
    };
    assert!(error.to_string().contains("more than it was allowed"), "{error}");
}

fn run(script: &str) -> JsValue {
    js_sys::Function::new_no_args(script).call0(&JsValue::NULL).unwrap()
}

/// Counted by what the browser was asked for: when it frees the memory of a closed peer connection is its
/// own affair, and Chromium takes its time.
#[wasm_bindgen_test]
async fn negotiations_and_links_leave_nothing_behind() {
    run("globalThis.made = []; globalThis.heard = 0; globalThis.Real = RTCPeerConnection;
        globalThis.RTCPeerConnection = class extends Real {
            constructor(config) { super(config); made.push(this); }
            createDataChannel(...args) {
                const channel = super.createDataChannel(...args);
                made.push(channel);
                return channel;
            }
        };
        const { addEventListener: add, removeEventListener: remove } = EventTarget.prototype;
        EventTarget.prototype.addEventListener = function (...args) {
            heard += made.includes(this);
            add.apply(this, args);
        };
        EventTarget.prototype.removeEventListener = function (...args) {
            heard -= made.includes(this);
            remove.apply(this, args);
        };
        globalThis.restore = () => {
            globalThis.RTCPeerConnection = Real;
            Object.assign(EventTarget.prototype, { addEventListener: add, removeEventListener: remove });
        }");
    let transport = WebTransport::default();
    let (offering, other) = (transport.offer().await.unwrap(), transport.offer().await.unwrap());
    let answering = transport.answer(offering.description()).await.unwrap();
    drop((offering, other, answering));
    let (a, b) = pair(&transport).await;
    a.open_lossy(2, LossyConfig { ordered: true, max_retransmits: 1 });
    a.send(BytesMut::from(&b"x"[..])).await.unwrap();
    frame(&*b).await;
    let heard = run("return heard");
    assert!(heard.as_f64() > Some(0.0));
    for stream in 3..13 {
        a.open_lossy(stream, LossyConfig { ordered: true, max_retransmits: 1 });
        a.close_lossy(stream);
    }
    assert_eq!(run("return heard"), heard, "a stream is listened to that is closed");
    a.close().await;
    let (c, d) = pair(&transport).await;
    drop((a, b, c, d));
    run("restore()");
    assert_eq!(run("return heard"), 0, "listeners are left");
    // Seven of them, with a channel each and the lossy ones. A channel may still be closing.
    assert_eq!(run("return made.length"), 25);
    let open = run(
        "return made.filter(of => !['closing', 'closed'].includes(of.signalingState ?? of.readyState)).length",
    );
    assert_eq!(open, 0, "not closed");
}
