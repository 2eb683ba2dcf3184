//! What went wrong in the system this one replaces, and cannot here: `w…` in its durable era, `n…`
//! in its newest client. Those of its server are tested beside the directory.

mod common;

use std::time::Duration;

use common::{Pair, World, chat, expect_numbers, send_numbers};
use everlink::{
    ChannelConfig, ChannelEvent, CloseReason, ConnectError, ConnectionConfig, ConnectionState, Identity,
    Message, QueueConfig, SendError, ServiceError, ServiceEvent, Target, TrySendError, WhenFull,
};

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs")
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

async fn healed(pair: &Pair) {
    soon(async {
        while pair.at_peer.state() != ConnectionState::Connected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// The link is cut, and the network away for a while.
async fn outage(pair: &Pair, length: u64) {
    pair.world.network.cut_all();
    pair.world.network.blackout(true);
    seconds(length).await;
    pair.world.network.blackout(false);
}

#[tokio::test(start_paused = true)]
async fn w1_what_is_queued_before_and_between_links_is_read_at_the_other_end() {
    let pair = Pair::new(1).await;
    let lazy = pair.peer.connect_lazy(Target::Uuid(pair.service.info().uuid), ConnectionConfig::default());
    let early = lazy.open_channel("early").expect("opened");
    send_numbers(&early, 0..50).await;
    let at_host = soon(pair.service.accept()).await.expect("a session");
    let mut theirs = soon(at_host.accept_channel()).await.expect("the channel");
    soon(expect_numbers(&mut theirs, 0..50)).await;
    pair.world.network.cut_all();
    pair.world.network.blackout(true);
    send_numbers(&early, 50..150).await;
    seconds(5).await;
    pair.world.network.blackout(false);
    soon(expect_numbers(&mut theirs, 50..150)).await;
}

#[tokio::test(start_paused = true)]
async fn w2_close_closes_the_link_at_both_ends_and_tells_the_other() {
    let pair = Pair::new(2).await;
    pair.at_peer.close().await;
    assert_eq!(soon(pair.at_host.closed()).await, CloseReason::Peer);
    seconds(2).await;
    assert_eq!(pair.world.network.links(), 0);
    assert!(pair.service.connections().is_empty());
}

#[tokio::test(start_paused = true)]
async fn w3_a_service_is_refreshed_without_being_told_to() {
    let pair = Pair::new(3).await;
    seconds(4 * 3600).await;
    let late = pair.world.client(9);
    soon(late.connect_by_uuid(pair.service.info().uuid)).await.expect("connected");
}

#[tokio::test(start_paused = true)]
async fn w4_a_refresh_keeps_links_and_uuid() {
    let pair = Pair::new(4).await;
    let (uuid, made) = (pair.service.info().uuid, pair.world.network.links_made());
    seconds(3600).await;
    assert_eq!((pair.service.info().uuid, pair.world.network.links_made()), (uuid, made));
    assert_eq!(pair.at_peer.stats().reconnects, 0);
}

#[tokio::test(start_paused = true)]
async fn w5_a_connection_by_uuid_survives_refreshes_and_a_restart_of_the_directory() {
    let pair = Pair::new(5).await;
    let (ours, mut theirs) = pair.channel("c");
    seconds(3600).await;
    pair.world.signaling.restart();
    pair.world.network.cut_all();
    send_numbers(&ours, 0..10).await;
    soon(expect_numbers(&mut theirs, 0..10)).await;
}

#[tokio::test(start_paused = true)]
async fn w6_attempts_that_time_out_leave_neither_ghosts_at_the_host_nor_links() {
    let mut config = ConnectionConfig::default();
    config.backoff.max_attempts = None;
    config.connect_timeout = Duration::from_secs(3);
    let pair = Pair::with(6, chat(), config).await;
    let before = pair.world.network.negotiations();
    outage(&pair, 120).await;
    healed(&pair).await;
    seconds(120).await;
    assert_eq!(pair.service.connections(), [pair.at_peer.id()]);
    assert_eq!(pair.world.network.links(), 1);
    assert!(pair.world.network.negotiations() <= before + 2, "{}", pair.world.network.negotiations());
    let accepted = tokio::time::timeout(Duration::from_secs(1), pair.service.accept()).await;
    assert!(accepted.is_err(), "a ghost: {accepted:?}");
}

#[tokio::test(start_paused = true)]
async fn w7_close_during_an_attempt_sticks() {
    let pair = Pair::new(7).await;
    pair.world.network.cut_all();
    pair.world.network.blackout(true);
    seconds(2).await;
    assert!(matches!(pair.at_peer.state(), ConnectionState::Reconnecting { .. }));
    assert_eq!(soon(pair.at_peer.close()).await, CloseReason::Local);
    pair.world.network.blackout(false);
    seconds(120).await;
    assert_eq!(pair.at_peer.state(), ConnectionState::Closed(CloseReason::Local));
    assert_eq!(pair.world.network.links(), 0);
}

#[tokio::test(start_paused = true)]
async fn w8_a_blip_costs_no_link_and_a_close_at_the_host_is_noticed_at_once() {
    let pair = Pair::new(8).await;
    let (ours, mut theirs) = pair.channel("c");
    seconds(5).await;
    let made = pair.world.network.links_made();
    pair.world.network.blackout(true);
    send_numbers(&ours, 0..3).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    pair.world.network.blackout(false);
    soon(expect_numbers(&mut theirs, 0..3)).await;
    seconds(5).await;
    assert_eq!(pair.world.network.links_made(), made, "the link was thrown away");
    let started = tokio::time::Instant::now();
    pair.at_host.close().await;
    pair.at_peer.closed().await;
    assert!(started.elapsed() < Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn w9_the_end_of_a_channel_is_noticed_at_the_other_end() {
    let pair = Pair::new(9).await;
    let (ours, mut theirs) = pair.channel("c");
    let mut events = ours.events();
    theirs.send("last").await.expect("taken");
    theirs.close();
    while soon(events.next()).await.expect("an end") != ChannelEvent::Closed {}
    assert_eq!(ours.send("x").await.unwrap_err(), SendError::ChannelClosed);
    assert!(theirs.recv().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn w10_n7_a_link_lost_at_either_end_is_replaced() {
    let pair = Pair::new(10).await;
    for _ in 0..5 {
        pair.world.network.cut_all();
        seconds(1).await;
        assert_eq!(pair.at_peer.state(), ConnectionState::Connected);
        assert_eq!(pair.at_host.state(), ConnectionState::Connected);
    }
}

#[tokio::test(start_paused = true)]
async fn w11_the_kind_of_a_channel_is_remembered_over_links() {
    let pair = Pair::new(11).await;
    let ours = pair.at_peer.open_channel_with("mouse", ChannelConfig::lossy(false, 0)).expect("opened");
    let mut theirs = soon(pair.at_host.accept_channel()).await.expect("a channel");
    assert!(theirs.is_lossy());
    for round in 0..3 {
        let text = format!("{round}");
        soon(async {
            loop {
                ours.send(text.clone()).await.expect("taken");
                let message = tokio::time::timeout(Duration::from_millis(50), theirs.recv()).await;
                if matches!(message, Ok(Ok(message)) if message == Message::from(text.clone())) {
                    break;
                }
            }
        })
        .await;
        pair.world.network.cut_all();
        // Without a link such a message is gone, not queued.
        ours.send("nobody hears this").await.expect("taken");
        seconds(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn w12_n11_order_is_kept_when_old_messages_are_sent_again_beside_new_ones() {
    let pair = Pair::new(12).await;
    let (ours, mut theirs) = pair.channel("c");
    let sending = async {
        for part in 0..50 {
            send_numbers(&ours, part * 20..(part + 1) * 20).await;
            if part % 5 == 0 {
                pair.world.network.cut_all();
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    tokio::join!(sending, soon(expect_numbers(&mut theirs, 0..1000)));
}

#[tokio::test(start_paused = true)]
async fn w13_a_returning_peer_is_recognised_and_one_that_leaves_is_told_of() {
    let pair = Pair::new(13).await;
    let mut events = pair.service.events();
    let id = pair.at_host.id();
    for _ in 0..3 {
        outage(&pair, 5).await;
        healed(&pair).await;
    }
    pair.at_peer.close().await;
    let mut seen = vec![];
    while !matches!(seen.last(), Some(ServiceEvent::Disconnection(_))) {
        seen.push(soon(events.next()).await.expect("it goes on"));
    }
    let connections = seen.iter().filter(|event| matches!(event, ServiceEvent::Connection(_))).count();
    assert_eq!(connections, 1);
    assert_eq!(seen.last(), Some(&ServiceEvent::Disconnection(id)));
}

#[tokio::test(start_paused = true)]
async fn w14_what_connect_says_is_so_and_a_failed_one_goes_on_nowhere() {
    let world = World::new(14);
    let (host, peer) = (world.client(1), world.client(2));
    let service = soon(host.expose_service(chat())).await.expect("exposed");
    world.network.blackout(true);
    let refused = soon(peer.connect_by_uuid(service.info().uuid)).await;
    assert!(matches!(refused, Err(ConnectError::Closed(CloseReason::Unreachable { .. }))), "{refused:?}");
    world.network.blackout(false);
    seconds(120).await;
    assert_eq!(world.network.links(), 0, "it connected after it had said that it could not");
    let joined = soon(peer.connect_by_uuid(service.info().uuid)).await.expect("connected");
    assert_eq!(joined.state(), ConnectionState::Connected);
}

#[tokio::test(start_paused = true)]
async fn w16_an_answer_that_comes_at_once_is_not_missed() {
    let started = tokio::time::Instant::now();
    for seed in 0..20 {
        Pair::new(seed).await;
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn w17_n4_a_host_that_idled_for_long_is_reached_at_once_with_one_offer() {
    let world = World::new(17);
    let host = world.client(1);
    let service = soon(host.expose_service(chat())).await.expect("exposed");
    for (secret, idle) in [(10, 100), (11, 1000), (12, 10_000)] {
        seconds(idle).await;
        assert!(
            world.network.negotiations() <= 3,
            "{} offers for a pool of one",
            world.network.negotiations()
        );
        let started = tokio::time::Instant::now();
        soon(world.client(secret).connect_by_uuid(service.info().uuid)).await.expect("connected");
        assert!(started.elapsed() < Duration::from_secs(1), "{:?} after {idle} s", started.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn w18_n5_connections_are_counted_right_and_take_no_place_in_the_pool() {
    let pair = Pair::new(18).await;
    let mut held = vec![];
    for secret in 10..30 {
        let peer = pair.world.client(secret);
        held.push((soon(peer.connect_by_uuid(pair.service.info().uuid)).await.expect("connected"), peer));
        assert_eq!(pair.service.connections().len(), held.len() + 1);
    }
    for (connection, _) in &held {
        connection.close().await;
    }
    seconds(3).await;
    assert_eq!(pair.service.connections(), [pair.at_host.id()]);
}

#[tokio::test(start_paused = true)]
async fn w19_a_service_that_could_not_start_can_be_tried_again_and_a_stopped_one_stays_away() {
    let world = World::new(19);
    let (host, peer) = (world.client(1), world.client(2));
    world.signaling.set_reachable(false);
    assert!(matches!(soon(host.expose_service(chat())).await, Err(ServiceError::Signaling(_))));
    world.signaling.set_reachable(true);
    let service = soon(host.expose_service(chat())).await.expect("exposed");
    let uuid = service.info().uuid;
    // It is stopped while a refresh is due that fails.
    seconds(230).await;
    world.signaling.set_reachable(false);
    seconds(30).await;
    let _ = soon(service.stop()).await;
    world.signaling.set_reachable(true);
    seconds(400).await;
    assert_eq!(soon(peer.connect_by_uuid(uuid)).await.unwrap_err(), ConnectError::ServiceNotFound);
}

#[tokio::test(start_paused = true)]
async fn w20_n8_candidates_of_both_sides_count_at_first_and_after_a_reconnect() {
    let world = World::new(20);
    world.network.update(|config| config.trickle = true);
    let (host, peer) = (world.client(1), world.client(2));
    let service = soon(host.expose_service(chat())).await.expect("exposed");
    let connection = soon(peer.connect_by_uuid(service.info().uuid)).await.expect("connected");
    for round in 1..=3 {
        world.network.cut_all();
        soon(async {
            while connection.stats().reconnects < round {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert_eq!(connection.state(), ConnectionState::Connected);
        seconds(1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn w23_queues_are_bounded_in_bytes_and_send_waits_while_connected() {
    let mut config = ConnectionConfig::default();
    config.queue = QueueConfig::lossless();
    config.queue.max_bytes = 100_000;
    let pair = Pair::with(23, chat(), config).await;
    let (ours, mut theirs) = pair.channel("c");
    let blocked = tokio::time::timeout(Duration::from_secs(5), async {
        loop {
            ours.send(vec![1; 10_000]).await.expect("taken");
        }
    });
    assert!(blocked.await.is_err(), "send never waited");
    assert!(ours.buffered().bytes < 3 << 20, "{:?}", ours.buffered());
    let full = ours.try_send(vec![2; 10_000]).unwrap_err();
    assert_eq!(full, TrySendError::Full(vec![2; 10_000].into()), "it gives the message back");
    let taken = ours.buffered().messages;
    for _ in 0..taken {
        assert_eq!(soon(theirs.recv()).await, Ok(vec![1; 10_000].into()));
    }
    let too_large = ours.send(vec![0; (16 << 20) + 1]).await.unwrap_err();
    assert!(matches!(too_large, SendError::TooLarge { .. }));
}

#[tokio::test(start_paused = true)]
async fn w24_an_outage_burns_few_offers_and_what_is_hopeless_is_not_retried() {
    let pair = Pair::new(24).await;
    outage(&pair, 60).await;
    healed(&pair).await;
    seconds(60).await;
    assert!(pair.world.network.negotiations() <= 8, "{} negotiations", pair.world.network.negotiations());
    let unknown = everlink::signaling::ServiceUuid::derive(
        &Identity::from_secret([9; 32]).public_key(),
        &common::user("alice"),
        &common::fqn("chat@1.0.0"),
        &[0; 16],
    );
    let started = tokio::time::Instant::now();
    assert_eq!(soon(pair.peer.connect_by_uuid(unknown)).await.unwrap_err(), ConnectError::ServiceNotFound);
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn n1_what_waits_for_one_peer_is_never_given_to_another() {
    let pair = Pair::new(101).await;
    let (_ours, theirs) = pair.channel("c");
    pair.world.network.cut_all();
    pair.world.network.blackout(true);
    theirs.send("a secret for bob").await.expect("taken");
    drop((pair.at_peer, _ours));
    seconds(10).await;
    pair.world.network.blackout(false);
    let carol = pair.world.client(3);
    let hers = soon(carol.connect_by_uuid(pair.service.info().uuid)).await.expect("connected");
    let mut channel = hers.open_channel("c").expect("opened");
    let at_host = soon(pair.service.accept()).await.expect("a session of her own");
    assert_eq!(at_host.peer(), carol.public_key());
    assert_ne!(at_host.id(), pair.at_host.id());
    let heard = tokio::time::timeout(Duration::from_secs(60), channel.recv()).await;
    assert!(heard.is_err(), "carol heard {heard:?}");
}

#[tokio::test(start_paused = true)]
async fn n2_a_full_queue_drops_one_for_one_and_keeps_the_newest() {
    let mut config = ConnectionConfig::default();
    config.queue.max_messages = 3;
    config.queue.when_full = WhenFull::DropOldest;
    let pair = Pair::with(102, chat(), config).await;
    let (ours, mut theirs) = pair.channel("c");
    seconds(1).await;
    pair.world.network.cut_all();
    pair.world.network.blackout(true);
    seconds(1).await;
    send_numbers(&ours, 0..8).await;
    assert_eq!(ours.buffered().messages, 3);
    pair.world.network.blackout(false);
    soon(expect_numbers(&mut theirs, 5..8)).await;
}

#[tokio::test(start_paused = true)]
async fn n3_a_link_that_came_back_by_itself_is_not_torn_down_by_a_timer() {
    let pair = Pair::new(103).await;
    let (ours, mut theirs) = pair.channel("c");
    for length in [1500, 3000, 5300, 5700] {
        pair.world.network.blackout(true);
        send_numbers(&ours, 0..5).await;
        tokio::time::sleep(Duration::from_millis(length)).await;
        pair.world.network.blackout(false);
        soon(expect_numbers(&mut theirs, 0..5)).await;
        healed(&pair).await;
        seconds(2).await;
        let (made, reconnects) = (pair.world.network.links_made(), pair.at_peer.stats().reconnects);
        seconds(300).await;
        assert_eq!((pair.world.network.links_made(), pair.at_peer.stats().reconnects), (made, reconnects));
    }
}

#[tokio::test(start_paused = true)]
async fn n6_what_was_in_flight_arrives_after_all() {
    let pair = Pair::new(106).await;
    pair.world.network.set_delay(Duration::from_millis(50));
    let (ours, mut theirs) = pair.channel("c");
    seconds(1).await;
    send_numbers(&ours, 0..1000).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    pair.world.network.cut_all();
    soon(expect_numbers(&mut theirs, 0..1000)).await;
    assert_eq!(pair.at_peer.stats().replayed, 1000);
}
