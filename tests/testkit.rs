//! Real WebRTC through the testkit's proxy, judged by its histories.
#![cfg(all(feature = "webrtc", feature = "testkit"))]
// Real sockets keep real time.
#![allow(clippy::disallowed_methods)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::{chat, expect_numbers, send_numbers};
use everlink::link::webrtc::{WebRtcConfig, WebRtcTransport};
use everlink::signaling::MemorySignaling;
use everlink::testkit::{Happened, History, UdpProxy, Way, check};
use everlink::{
    Client, ConnectionConfig, ConnectionEvent, ConnectionState, DurableChannel, DurableConnection, Identity,
    RecoveryRung, Target,
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
            // Checks are answered at the new port, and nothing else comes there: no sign of life.
            assert!(since.elapsed() < Duration::from_secs(10));
        }
        pair.end().await;
    })
    .await;
}

/// Changes the port under which the peer is seen, `rounds` times, at this round trip; tells how long
/// it took to recover, and by what.
async fn moved(seed: u64, round_trip: Duration, rounds: u32) -> Vec<(Duration, RecoveryRung)> {
    let pair = Pair::new(seed).await;
    let (mut ours, mut theirs) = pair.channel("c");
    pair.proxy.update(Way::Both, |faults| faults.delay = round_trip / 2);
    let mut events = pair.at_peer.events();
    let mut recoveries = Vec::new();
    for round in 0..rounds {
        // The round trip is known from there, and not from before the delay.
        for number in 0..16 {
            send_numbers(&ours, round * 16 + number..round * 16 + number + 1).await;
            expect_numbers(&mut theirs, round * 16 + number..round * 16 + number + 1).await;
        }
        assert!(pair.proxy.rebind() > 0);
        pair.peer.network_changed();
        send_numbers(&theirs, round..round + 1).await;
        expect_numbers(&mut ours, round..round + 1).await;
        loop {
            if let ConnectionEvent::Recovered(recovery) = events.next().await.expect("open") {
                eprintln!("round trip {round_trip:?}: {:?} after {:?}", recovery.rung, recovery.after);
                recoveries.push((recovery.after, recovery.rung));
                break;
            }
        }
    }
    pair.end().await;
    recoveries
}

/// A fresh link needs seven round trips and more, a restart three.
#[tokio::test]
async fn on_a_long_way_a_restart_of_the_link_comes_before_a_fresh_one() {
    bounded(async {
        let recoveries = moved(3, Duration::from_millis(100), 10).await;
        let restarts = recoveries.iter().filter(|(_, rung)| *rung == RecoveryRung::IceRestart);
        assert!(restarts.count() >= 8, "{recoveries:?}");
    })
    .await;
}

/// For the table in ARCHITECTURE.md: `--run-ignored only --no-capture figures`.
#[tokio::test]
#[ignore = "prints figures"]
async fn figures_of_a_moved_peer_by_round_trip() {
    for (seed, millis) in [0, 20, 50, 100, 200].into_iter().enumerate() {
        let mut recoveries = moved(seed as u64, Duration::from_millis(millis), 10).await;
        recoveries.sort_by_key(|(after, _)| *after);
        let restarts = recoveries.iter().filter(|(_, rung)| *rung == RecoveryRung::IceRestart).count();
        let (p50, worst) = (recoveries[4].0, recoveries[9].0);
        println!("{millis} ms: {restarts} of 10 by a restart; p50 {p50:?}, at most {worst:?}");
    }
}

/// A fresh link takes some milliseconds here, and the restart waits for the old path to answer.
#[tokio::test]
async fn whichever_comes_first_on_a_short_way_the_other_is_left_and_nothing_is_lost() {
    bounded(async { assert_eq!(moved(4, Duration::ZERO, 10).await.len(), 10) }).await;
}

#[tokio::test]
async fn an_idle_link_carries_at_once_and_its_death_is_noticed_as_soon_as_something_is_sent() {
    bounded(async {
        let pair = Pair::new(6).await;
        let (ours, mut theirs) = pair.channel("c");
        send_numbers(&ours, 0..1).await;
        expect_numbers(&mut theirs, 0..1).await;
        // The driver sleeps for seconds by now.
        tokio::time::sleep(Duration::from_secs(4)).await;
        let before = pair.proxy.stats().packets;
        tokio::time::sleep(Duration::from_secs(4)).await;
        let packets = pair.proxy.stats().packets - before;
        let since = Instant::now();
        send_numbers(&ours, 1..2).await;
        expect_numbers(&mut theirs, 1..2).await;
        let carried = since.elapsed();
        tokio::time::sleep(Duration::from_secs(4)).await;
        let reconnected = reconnecting(&pair.at_peer);
        pair.proxy.blackout(true);
        let since = Instant::now();
        send_numbers(&ours, 2..3).await;
        reconnected.await;
        let noticed = since.elapsed();
        eprintln!("{packets} packets in 4 s; carried after {carried:?}, death noticed after {noticed:?}");
        // After 1.2 s, and what a loaded machine adds.
        assert!(carried < Duration::from_millis(500) && noticed < Duration::from_millis(2500));
        pair.proxy.blackout(false);
        expect_numbers(&mut theirs, 2..3).await;
        pair.end().await;
    })
    .await;
}

/// Prints what happens to a connection, and counts its alarms.
fn watch(who: &'static str, connection: &DurableConnection) -> Arc<AtomicUsize> {
    let (mut events, alarms, began) = (connection.events(), Arc::<AtomicUsize>::default(), Instant::now());
    let counter = alarms.clone();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            eprintln!("{:?} {who} {event:?}", began.elapsed());
            alarms.fetch_add(usize::from(matches!(event, ConnectionEvent::Disconnected { .. })), SeqCst);
        }
    });
    counter
}

/// Sends `count` messages, ten a second, and reads as many; returns the longest wait for one, and
/// how many took longer than it takes to call a path dead.
async fn talk(channel: DurableChannel, count: u32) -> (Duration, u32) {
    let (sender, mut receiver) = channel.split();
    let send = async {
        for number in 0..count {
            sender.send(number.to_string()).await.expect("sent");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let read = async {
        let (mut longest, mut long) = (Duration::ZERO, 0);
        for number in 0..count {
            let since = Instant::now();
            assert_eq!(receiver.recv().await.expect("received").as_text(), Some(&*number.to_string()));
            longest = longest.max(since.elapsed());
            long += u32::from(since.elapsed() > Duration::from_millis(1200));
        }
        (longest, long)
    };
    tokio::join!(send, read).1
}

/// Ten messages a second each way at 5 % loss, for as many seconds as `EVERLINK_LOSS_SECONDS` says.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of minutes: run it with --run-ignored only --no-capture"]
async fn alarms_at_five_percent_loss_are_counted() {
    let seconds: u32 =
        std::env::var("EVERLINK_LOSS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let pair = Pair::new(5).await;
    let (ours, theirs) = pair.channel("c");
    pair.proxy.update(Way::Both, |faults| {
        faults.loss = 0.05;
        faults.delay = Duration::from_millis(20);
    });
    let alarms = [watch("peer", &pair.at_peer), watch("host", &pair.at_host)];
    let waits = tokio::join!(talk(ours, seconds * 10), talk(theirs, seconds * 10));
    let alarms = alarms.map(|alarms| alarms.load(SeqCst));
    eprintln!("{alarms:?} alarms in {seconds} s; the longest wait, and those above 1.2 s: {waits:?}");
    for round in 0..5 {
        let (mut ours, mut theirs) = pair.channel(&format!("d{round}"));
        send_numbers(&theirs, 0..1).await;
        expect_numbers(&mut ours, 0..1).await;
        tokio::time::sleep(Duration::from_millis(1500 + 130 * round)).await;
        let reconnected = reconnecting(&pair.at_peer);
        pair.proxy.blackout(true);
        let since = Instant::now();
        send_numbers(&ours, 0..1).await;
        reconnected.await;
        eprintln!("the dead path was noticed after {:?}", since.elapsed());
        pair.proxy.blackout(false);
        expect_numbers(&mut theirs, 0..1).await;
    }
    pair.end().await;
    assert_eq!(alarms, [0, 0]);
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
