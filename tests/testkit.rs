//! Real WebRTC through the testkit's proxy, judged by its histories.
#![cfg(all(feature = "webrtc", feature = "testkit"))]
// Real sockets keep real time.
#![allow(clippy::disallowed_methods)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{chat, expect_numbers, send_numbers};
use everlink::link::webrtc::{WebRtcConfig, WebRtcTransport};
use everlink::signaling::MemorySignaling;
use everlink::testkit::{Happened, History, UdpProxy, Way, check};
use everlink::{
    Client, ConnectionConfig, ConnectionState, DurableChannel, DurableConnection, Identity, Target,
};

struct Pair {
    proxy: UdpProxy,
    host: Client,
    peer: Client,
    at_host: DurableConnection,
    at_peer: DurableConnection,
}

impl Pair {
    /// The peer's traffic goes through the proxy; the host knows nothing of it.
    async fn new(seed: u64) -> Self {
        let (signaling, proxy) = (MemorySignaling::new(), UdpProxy::new(seed));
        let webrtc = || WebRtcTransport::new(WebRtcConfig::loopback());
        let builder =
            |secret| Client::builder(Identity::from_secret([secret; 32])).signaling(signaling.clone());
        let host = builder(1).transport(webrtc()).build();
        let peer = builder(2).transport(proxy.transport(webrtc())).build();
        let service = host.expose_service(chat()).await.expect("exposed");
        let target = Target::Uuid(service.info().uuid);
        let at_peer = peer.connect_with(target, ConnectionConfig::default()).await.expect("connected");
        let at_host = service.accept().await.expect("a session");
        // The service ends with its handle.
        tokio::spawn(async move { while service.accept().await.is_some() {} });
        Self { proxy, host, peer, at_host, at_peer }
    }

    fn channel(&self, label: &str) -> (DurableChannel, DurableChannel) {
        (self.at_peer.open_channel(label).expect("opened"), self.at_host.open_channel(label).expect("opened"))
    }

    async fn end(self) {
        self.peer.shutdown().await;
        self.host.shutdown().await;
    }
}

async fn bounded(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(50), test).await.expect("the test hangs");
}

async fn reconnecting(connection: &DurableConnection) {
    let mut connection = connection.clone();
    while !matches!(connection.state_changed().await, ConnectionState::Reconnecting { .. }) {}
}

#[tokio::test]
async fn every_packet_goes_through_the_proxy() {
    bounded(async {
        let pair = Pair::new(1).await;
        let (mut ours, mut theirs) = pair.channel("c");
        let before = pair.proxy.stats();
        assert!(before.packets > 4 && before.lost == 0, "{before:?}");
        send_numbers(&ours, 0..1000).await;
        expect_numbers(&mut theirs, 0..1000).await;
        assert!(pair.proxy.stats().bytes > before.bytes + 4000);
        // If there were another way, nobody would notice this.
        pair.proxy.blackout(true);
        send_numbers(&theirs, 0..10).await;
        reconnecting(&pair.at_host).await;
        pair.proxy.blackout(false);
        let healed = Instant::now();
        expect_numbers(&mut ours, 0..10).await;
        eprintln!("the first messages {:?} after healing", healed.elapsed());
        pair.end().await;
    })
    .await;
}

#[tokio::test]
async fn a_link_outlives_a_new_port() {
    bounded(async {
        let pair = Pair::new(2).await;
        let (mut ours, mut theirs) = pair.channel("c");
        for round in 0..3 {
            assert!(pair.proxy.rebind() > 0);
            let since = Instant::now();
            send_numbers(&theirs, round * 100..round * 100 + 100).await;
            expect_numbers(&mut ours, round * 100..round * 100 + 100).await;
            send_numbers(&ours, round * 100..round * 100 + 100).await;
            expect_numbers(&mut theirs, round * 100..round * 100 + 100).await;
            eprintln!("200 messages within {:?} of the new port", since.elapsed());
        }
        pair.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_path_loses_doubles_and_reorders_nothing() {
    bounded(async {
        let seed = 3;
        let pair = Pair::new(seed).await;
        let (ours, mut theirs) = pair.channel("c");
        pair.proxy.update(Way::Both, |faults| {
            faults.loss = 0.02;
            faults.delay = Duration::from_millis(5);
            faults.jitter = Duration::from_millis(5);
            faults.reorder = 0.05;
            faults.duplicate = 0.05;
        });
        let [at_peer, at_host] = [(); 2].map(|()| Arc::new(History::in_memory()));
        let count = 500;
        let sending = async {
            for message in 0..count {
                at_peer.record(Happened::Sending { channel: "c", message }).unwrap();
                let receipt = ours.send(message.to_string()).await.expect("taken");
                at_peer.record(Happened::Sent { channel: "c", message, seq: receipt.seq() }).unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
                match message {
                    100 => pair.proxy.update(Way::Out, |faults| faults.blackout = true),
                    150 => pair.proxy.update(Way::Out, |faults| faults.blackout = false),
                    300 => drop(pair.proxy.rebind()),
                    _ => {}
                }
            }
        };
        let receiving = async {
            for _ in 0..count {
                let message = theirs.recv().await.expect("received");
                let message = message.as_text().expect("text").parse().expect("a number");
                at_host.record(Happened::Received { channel: "c", message }).unwrap();
            }
        };
        tokio::join!(sending, receiving);
        let stats = pair.proxy.stats();
        assert!(stats.lost > 5 && stats.doubled > 5, "{stats:?}");
        let verdict = check(seed, &at_peer.log().unwrap(), &at_host.log().unwrap());
        assert!(verdict.is_clean() && verdict.counts.received == count, "{verdict}");
        pair.end().await;
    })
    .await;
}
