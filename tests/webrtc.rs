//! The main job over real WebRTC on loopback.
#![cfg(feature = "webrtc")]

mod common;

use std::time::Duration;

use common::{chat, expect_numbers, send_numbers};
use everlink::signaling::MemorySignaling;
use everlink::{Client, Identity};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_and_a_peer_talk() {
    let signaling = MemorySignaling::new();
    let host = Client::new(Identity::generate(), signaling.clone());
    let peer = Client::new(Identity::generate(), signaling);
    let service = host.expose_service(chat()).await.expect("exposed");
    let started = std::time::Instant::now();
    let at_peer = peer.connect_by_uuid(service.info().uuid).await.expect("connected");
    eprintln!("connected in {:?}", started.elapsed());
    let at_host = service.accept().await.expect("a session");
    let mut ours = at_peer.open_channel("chat").expect("opened");
    let mut theirs = at_host.accept_channel().await.expect("a channel");
    let started = std::time::Instant::now();
    send_numbers(&ours, 0..2000).await;
    expect_numbers(&mut theirs, 0..2000).await;
    send_numbers(&theirs, 0..2000).await;
    expect_numbers(&mut ours, 0..2000).await;
    eprintln!("4000 messages in {:?}", started.elapsed());
    // Asking for the next message acknowledges the last.
    tokio::join!(async { at_peer.flush().await.expect("flushed") }, async {
        let _ = tokio::time::timeout(Duration::from_millis(200), theirs.recv()).await;
    });
    at_peer.close().await;
    at_host.closed().await;
    tokio::time::timeout(Duration::from_secs(10), peer.shutdown()).await.expect("it ends");
    tokio::time::timeout(Duration::from_secs(10), host.shutdown()).await.expect("it ends");
}
