//! What survives the loss of a link, over memory links with a paused clock.

mod common;

use std::time::Duration;

use common::{Pair, expect_numbers, send_numbers};
use everlink::{CloseReason, ConnectionEvent, ConnectionState};

#[tokio::test(start_paused = true)]
async fn messages_flow_both_ways() {
    let pair = Pair::new(1).await;
    let (mut ours, mut theirs) = pair.channel("chat");
    send_numbers(&ours, 0..500).await;
    send_numbers(&theirs, 0..500).await;
    expect_numbers(&mut theirs, 0..500).await;
    expect_numbers(&mut ours, 0..500).await;
    assert_eq!(pair.at_peer.id(), pair.at_host.id());
    assert_eq!(pair.at_host.peer(), pair.peer.public_key());
    assert_eq!(pair.at_peer.peer(), pair.host.public_key());
}

#[tokio::test(start_paused = true)]
async fn a_cut_in_the_middle_loses_nothing() {
    let pair = Pair::new(2).await;
    let (mut ours, mut theirs) = pair.channel("chat");
    let mut events = pair.at_peer.events();
    for round in 0..20 {
        send_numbers(&ours, round * 50..(round + 1) * 50).await;
        send_numbers(&theirs, round * 50..(round + 1) * 50).await;
        pair.world.network.cut_all();
        tokio::task::yield_now().await;
    }
    expect_numbers(&mut theirs, 0..1000).await;
    expect_numbers(&mut ours, 0..1000).await;
    assert!(matches!(events.next().await, Some(ConnectionEvent::Connected { resumed: false, .. })));
    assert!(matches!(events.next().await, Some(ConnectionEvent::Disconnected { .. })));
    assert!(pair.at_peer.stats().reconnects > 0);
}

#[tokio::test(start_paused = true)]
async fn close_is_final_on_both_sides() {
    let pair = Pair::new(3).await;
    let (ours, mut theirs) = pair.channel("chat");
    send_numbers(&ours, 0..10).await;
    assert_eq!(pair.at_peer.close().await, CloseReason::Local);
    assert_eq!(pair.at_host.closed().await, CloseReason::Peer);
    // What had arrived is still there to be read.
    expect_numbers(&mut theirs, 0..10).await;
    assert!(theirs.recv().await.is_err());
    assert!(ours.send("late").await.is_err());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(pair.at_peer.state(), ConnectionState::Closed(CloseReason::Local));
    assert_eq!(pair.world.network.links(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_blackout_heals_without_loss() {
    let pair = Pair::new(4).await;
    let (mut ours, mut theirs) = pair.channel("chat");
    for seconds in [2, 5, 20, 50] {
        pair.world.network.blackout(true);
        send_numbers(&ours, 0..100).await;
        send_numbers(&theirs, 0..100).await;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        assert!(matches!(pair.at_peer.state(), ConnectionState::Reconnecting { .. }));
        pair.world.network.blackout(false);
        expect_numbers(&mut theirs, 0..100).await;
        expect_numbers(&mut ours, 0..100).await;
        assert_eq!(pair.at_peer.state(), ConnectionState::Connected);
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_leaves_nothing() {
    let pair = Pair::new(5).await;
    let (ours, _theirs) = pair.channel("chat");
    send_numbers(&ours, 0..10).await;
    pair.peer.shutdown().await;
    pair.host.shutdown().await;
    assert_eq!(pair.world.network.links(), 0);
    assert_eq!(pair.world.network.negotiations(), 0);
    let metrics = tokio::runtime::Handle::current().metrics();
    assert_eq!(metrics.num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_network_is_told_as_a_recovery_and_does_no_harm() {
    let pair = Pair::new(6).await;
    let (ours, mut theirs) = pair.channel("chat");
    tokio::time::sleep(Duration::from_secs(10)).await;
    for client in [&pair.peer, &pair.host] {
        let mut events = [pair.at_peer.events(), pair.at_host.events()];
        for events in &mut events {
            while tokio::time::timeout(Duration::ZERO, events.next()).await.is_ok() {}
        }
        client.network_changed();
        send_numbers(&ours, 0..100).await;
        expect_numbers(&mut theirs, 0..100).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let mut recovered = 0;
        for events in &mut events {
            while let Ok(event) = tokio::time::timeout(Duration::ZERO, events.next()).await {
                match event.expect("it goes on") {
                    ConnectionEvent::Recovered(recovery) => {
                        assert_eq!(recovery.cause.as_str(), "network_change");
                        recovered += 1;
                    }
                    ConnectionEvent::Closed(reason) => panic!("{reason}"),
                    _ => {}
                }
            }
        }
        assert!(recovered >= 1);
        assert_eq!(pair.at_peer.state(), ConnectionState::Connected);
        assert_eq!(pair.world.network.links(), 1);
    }
    assert!(pair.at_peer.stats().last_recovery.is_some());
    pair.peer.shutdown().await;
    pair.host.shutdown().await;
    assert_eq!((pair.world.network.links(), pair.world.network.negotiations()), (0, 0));
}
