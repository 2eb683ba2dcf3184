//! Services, over memory links and memory signaling with a paused clock.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Pair, World, chat, expect_numbers, fqn, send_numbers, user};
use everlink::signaling::{Metadata, ServiceUuid};
use everlink::{
    Client, CloseReason, ConnectError, ConnectionConfig, ConnectionEvent, ConnectionState, DurableConnection,
    DurableService, Identity, RecvError, SendError, ServiceConfig, ServiceError, ServiceEvent, SessionLost,
    Target,
};
use futures_util::future::join_all;

const SECOND: Duration = Duration::from_secs(1);

/// What must not take longer than this of the paused clock.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(60 * SECOND, future).await.expect("it hangs")
}

async fn seconds(count: u64) {
    tokio::time::sleep(Duration::from_secs(count)).await;
}

async fn expose(client: &Client, service: &str) -> DurableService {
    let config = ServiceConfig::new(user("alice"), fqn(service));
    soon(client.expose_service(config)).await.expect("exposed")
}

async fn join(client: &Client, uuid: ServiceUuid) -> DurableConnection {
    soon(client.connect_by_uuid(uuid)).await.expect("connected")
}

async fn nobody_waits(service: &DurableService) {
    let accepted = tokio::time::timeout(SECOND, service.accept()).await;
    assert!(accepted.is_err(), "somebody is to be accepted: {accepted:?}");
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

fn nothing_is_left(world: &World) {
    assert_eq!((world.network.links(), world.network.negotiations(), tasks()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_returning_peer_is_the_same_connection_with_the_same_channels_and_is_not_accepted_again() {
    let pair = Pair::new(1).await;
    let (ours, mut theirs) = pair.channel("c");
    let id = pair.at_host.id();
    for round in 0..5 {
        pair.world.network.cut_all();
        send_numbers(&ours, round * 10..round * 10 + 10).await;
        soon(expect_numbers(&mut theirs, round * 10..round * 10 + 10)).await;
        assert_eq!(pair.at_host.state(), ConnectionState::Connected);
        assert_eq!(pair.service.connections(), [id]);
    }
    nobody_waits(&pair.service).await;
    assert!(pair.at_host.stats().reconnects >= 5);
}

#[tokio::test(start_paused = true)]
async fn five_joiners_at_once_all_get_in_on_a_pool_of_one() {
    let world = World::new(2);
    let host = world.client(1);
    let service = expose(&host, "chat@1.0.0").await;
    let uuid = service.info().uuid;
    let peers: Vec<_> = (10..15).map(|secret| world.client(secret)).collect();
    let started = tokio::time::Instant::now();
    let joined = join_all(peers.iter().map(|peer| join(peer, uuid))).await;
    assert!(started.elapsed() < 2 * SECOND, "{:?}", started.elapsed());
    let accepted = join_all((0..5).map(|_| soon(service.accept()))).await;
    let at_host: BTreeSet<_> = accepted.iter().flatten().map(|connection| connection.id()).collect();
    let at_peers: BTreeSet<_> = joined.iter().map(|connection| connection.id()).collect();
    assert_eq!(at_host.len(), 5);
    assert_eq!(at_host, at_peers);
    nobody_waits(&service).await;
}

#[tokio::test(start_paused = true)]
async fn two_services_of_one_identity_do_not_get_each_others_peers() {
    let world = World::new(3);
    let (host, peer) = (world.client(1), world.client(2));
    let services = [expose(&host, "a@1.0.0").await, expose(&host, "b@1.0.0").await];
    for round in 0..4 {
        let joined = join(&peer, services[round % 2].info().uuid).await;
        let accepted = soon(services[round % 2].accept()).await.expect("a session");
        assert_eq!(accepted.id(), joined.id());
        nobody_waits(&services[1 - round % 2]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn refreshing_keeps_uuid_and_links_over_many_leases() {
    let mut config = chat();
    config.ttl = 10 * SECOND;
    let pair = Pair::with(4, config, ConnectionConfig::default()).await;
    let (ours, mut theirs) = pair.channel("c");
    let uuid = pair.service.info().uuid;
    let made = pair.world.network.links_made();
    let first = pair.service.info().expires_at;
    let mut events = pair.service.events();
    for round in 0..20 {
        seconds(5).await;
        send_numbers(&ours, round..round + 1).await;
        soon(expect_numbers(&mut theirs, round..round + 1)).await;
    }
    assert_eq!(pair.service.info().uuid, uuid);
    assert!(pair.service.info().expires_at > first);
    assert_eq!(pair.world.network.links_made(), made, "the link was replaced");
    let mut refreshed = 0;
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(1), events.next()).await {
        match event {
            ServiceEvent::TtlRefreshed { .. } => refreshed += 1,
            ServiceEvent::Published { .. } | ServiceEvent::Connection(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!((8..=15).contains(&refreshed), "refreshed {refreshed} times in ten leases");
    let late = pair.world.client(9);
    join(&late, uuid).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_restarts_or_is_away_does_not_touch_links_and_the_service_is_found_again() {
    let pair = Pair::new(5).await;
    let (ours, mut theirs) = pair.channel("c");
    let (uuid, mut made) = (pair.service.info().uuid, pair.world.network.links_made());
    for (round, away) in [0, 1, 30, 600].into_iter().enumerate() {
        pair.world.signaling.set_reachable(away == 0);
        pair.world.signaling.restart();
        seconds(away).await;
        send_numbers(&ours, 0..10).await;
        soon(expect_numbers(&mut theirs, 0..10)).await;
        assert_eq!(pair.world.network.links_made(), made, "away for {away} s");
        pair.world.signaling.set_reachable(true);
        seconds(15).await;
        let late = pair.world.client(10 + round as u8);
        let joined = join(&late, uuid).await;
        soon(pair.service.accept()).await.expect("a session");
        joined.close().await;
        late.shutdown().await;
        made += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_restarts_is_found_by_the_same_uuid_and_the_peer_hears_what_is_unknown() {
    for fresh in [false, true] {
        let mut config = ConnectionConfig::default();
        config.on_session_lost = if fresh { SessionLost::StartFresh } else { SessionLost::Fail };
        let pair = Pair::with(6, chat(), config).await;
        let (ours, theirs) = pair.channel("c");
        let uuid = pair.service.info().uuid;
        let receipt = ours.send("unread").await.expect("taken");
        seconds(1).await;
        // As a process that dies: nothing is said to the peer.
        pair.world.network.blackout(true);
        drop((pair.service, pair.at_host, theirs));
        tokio::time::timeout(20 * SECOND, pair.host.shutdown()).await.expect("it ends");
        // Long enough that what it said in the dark never arrives.
        seconds(40).await;
        pair.world.network.blackout(false);
        let again = pair.world.client(1);
        let service = expose(&again, "chat@1.0.0").await;
        assert_eq!(service.info().uuid, uuid);
        if fresh {
            let at_host = soon(service.accept()).await.expect("a session");
            let mut theirs = soon(at_host.accept_channel()).await.expect("the channel");
            assert_eq!(soon(receipt.acked()).await, Err(SendError::SessionLost));
            send_numbers(&ours, 0..3).await;
            soon(expect_numbers(&mut theirs, 0..3)).await;
        } else {
            assert_eq!(soon(pair.at_peer.closed()).await, CloseReason::SessionLost { unacked: 1 });
            assert!(matches!(
                soon(receipt.acked()).await,
                Err(SendError::Closed(CloseReason::SessionLost { .. }))
            ));
            join(&pair.peer, uuid).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn stop_withdraws_the_service_and_closes_its_connections() {
    let pair = Pair::new(7).await;
    let (ours, mut theirs) = pair.channel("c");
    send_numbers(&ours, 0..5).await;
    seconds(1).await;
    let uuid = pair.service.info().uuid;
    let mut events = pair.service.events();
    soon(pair.service.stop()).await.expect("stopped");
    assert_eq!(soon(pair.at_peer.closed()).await, CloseReason::Peer);
    assert_eq!(soon(pair.at_host.closed()).await, CloseReason::Local);
    soon(expect_numbers(&mut theirs, 0..5)).await;
    assert!(matches!(theirs.recv().await, Err(RecvError::Closed(CloseReason::Local))));
    let started = tokio::time::Instant::now();
    let refused = soon(pair.peer.connect_by_uuid(uuid)).await;
    assert_eq!(refused.unwrap_err(), ConnectError::ServiceNotFound);
    assert!(started.elapsed() < SECOND, "an unknown uuid is known at once");
    let mut seen = vec![];
    while let Some(event) = soon(events.next()).await {
        seen.push(event);
    }
    let id = pair.at_host.id();
    let names = seen.iter().filter(|event| !matches!(event, ServiceEvent::Published { .. }));
    assert_eq!(
        names.collect::<Vec<_>>(),
        [&ServiceEvent::Connection(id), &ServiceEvent::Disconnection(id), &ServiceEvent::Closed]
    );
    pair.host.shutdown().await;
    pair.peer.shutdown().await;
    nothing_is_left(&pair.world);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_service_is_withdrawn_and_its_connections_closed() {
    let pair = Pair::new(8).await;
    let uuid = pair.service.info().uuid;
    drop(pair.service);
    assert_eq!(soon(pair.at_peer.closed()).await, CloseReason::Peer);
    seconds(1).await;
    assert_eq!(soon(pair.peer.connect_by_uuid(uuid)).await.unwrap_err(), ConnectError::ServiceNotFound);
    pair.host.shutdown().await;
    pair.peer.shutdown().await;
    nothing_is_left(&pair.world);
}

#[tokio::test(start_paused = true)]
async fn a_connection_closes_when_its_last_handle_and_channel_are_dropped() {
    let pair = Pair::new(9).await;
    let (ours, mut theirs) = pair.channel("c");
    drop(pair.at_peer);
    seconds(5).await;
    assert_eq!(pair.at_host.state(), ConnectionState::Connected, "a channel holds it");
    send_numbers(&ours, 0..5).await;
    drop(ours);
    assert_eq!(soon(pair.at_host.closed()).await, CloseReason::Peer);
    soon(expect_numbers(&mut theirs, 0..5)).await;
    seconds(5).await;
    assert_eq!(pair.world.network.links(), 0);
    assert!(pair.service.connections().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_channel_is_closed_and_its_label_is_free() {
    let pair = Pair::new(10).await;
    for _ in 0..20 {
        let (ours, mut theirs) = pair.channel("c");
        send_numbers(&ours, 0..5).await;
        drop(ours);
        soon(expect_numbers(&mut theirs, 0..5)).await;
        assert_eq!(soon(theirs.recv()).await, Err(RecvError::ChannelClosed));
        assert_eq!(theirs.send("x").await.unwrap_err(), SendError::ChannelClosed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_is_cancelled_leaves_nothing() {
    let world = World::new(11);
    let (host, peer) = (world.client(1), world.client(2));
    let service = expose(&host, "chat@1.0.0").await;
    seconds(1).await;
    let (before, tasks_before) = (world.network.negotiations(), tasks());
    world.network.set_delay(Duration::from_millis(100));
    for millis in [0, 1, 50, 150, 199, 250, 300, 350, 500] {
        let connecting = peer.connect_by_uuid(service.info().uuid);
        let _ = tokio::time::timeout(Duration::from_millis(millis), connecting).await;
        seconds(10).await;
    }
    seconds(120).await;
    assert_eq!(world.network.links(), 0);
    assert!(world.network.negotiations() <= before, "{} negotiations", world.network.negotiations());
    assert!(tasks() <= tasks_before + 1, "{} tasks, before {tasks_before}", tasks());
    seconds(400).await;
    assert!(service.connections().is_empty());
    peer.shutdown().await;
    host.shutdown().await;
    nothing_is_left(&world);
}

#[tokio::test(start_paused = true)]
async fn shutdown_leaves_nothing_in_whatever_state() {
    for state in 0..4 {
        let pair = Pair::new(12).await;
        let (ours, _theirs) = pair.channel("c");
        send_numbers(&ours, 0..100).await;
        match state {
            0 => {}
            1 => pair.world.network.blackout(true),
            2 => {
                pair.world.network.blackout(true);
                seconds(20).await;
            }
            _ => pair.world.signaling.set_reachable(false),
        }
        let target = Target::Uuid(pair.service.info().uuid);
        let lazy = pair.peer.connect_lazy(target, ConnectionConfig::default());
        soon(pair.peer.clone().shutdown()).await;
        soon(pair.host.clone().shutdown()).await;
        assert!(matches!(pair.at_peer.state(), ConnectionState::Closed(_)), "{state}");
        assert!(matches!(pair.at_host.state(), ConnectionState::Closed(_)), "{state}");
        assert!(matches!(lazy.state(), ConnectionState::Closed(_)), "{state}");
        nothing_is_left(&pair.world);
        let refused = soon(pair.host.expose_service(chat())).await;
        assert!(matches!(refused, Err(ServiceError::Shutdown)));
        let refused = soon(pair.peer.connect("alice", "chat@1.0.0")).await;
        assert!(matches!(refused, Err(ConnectError::Closed(CloseReason::Shutdown))), "{refused:?}");
        nothing_is_left(&pair.world);
    }
}

#[tokio::test(start_paused = true)]
async fn a_private_service_is_found_by_name_with_its_token_alone() {
    let world = World::new(13);
    let (host, peer) = (world.client(1), world.client(2));
    let mut config = chat();
    config.token = Some("open sesame".into());
    let service = soon(host.expose_service(config)).await.expect("exposed");
    assert!(peer.services(user("alice")).await.expect("a list").is_empty());
    let to = || Target::Service { user: user("alice"), service: fqn("chat@1.0.0") };
    let mut with = ConnectionConfig::default();
    for token in [None, Some("close sesame".to_owned())] {
        with.token = token;
        let refused = soon(peer.connect_with(to(), with.clone())).await;
        assert!(matches!(refused, Err(ConnectError::Closed(CloseReason::Refused(_)))), "{refused:?}");
    }
    with.token = Some("open sesame".into());
    soon(peer.connect_with(to(), with)).await.expect("connected");
    join(&peer, service.info().uuid).await;
}

#[tokio::test(start_paused = true)]
async fn a_name_means_the_highest_version_that_fits() {
    let world = World::new(14);
    let (host, peer) = (world.client(1), world.client(2));
    let mut services = vec![];
    for version in ["1.2.3", "1.4.0", "2.0.0-rc.1"] {
        let mut config = ServiceConfig::new(user("alice"), fqn(&format!("chat@{version}")));
        config.public = true;
        config.metadata = Metadata::new();
        services.push(soon(host.expose_service(config)).await.expect("exposed"));
    }
    for (query, at) in [("chat@1.2.3", 0), ("chat@^1.2", 1), ("chat@1", 1), ("chat@2.0.0-rc.1", 2)] {
        let joined = soon(peer.connect("alice", query)).await.expect(query);
        let accepted = soon(services[at].accept()).await.expect("a session");
        assert_eq!(accepted.id(), joined.id(), "{query}");
    }
    for query in ["chat@2", "chat@^1.5", "other@1"] {
        assert_eq!(
            soon(peer.connect("alice", query)).await.unwrap_err(),
            ConnectError::ServiceNotFound,
            "{query}"
        );
    }
    assert!(matches!(peer.connect("Alice!", "chat@1").await, Err(ConnectError::BadName(_))));
    assert_eq!(peer.services(user("alice")).await.expect("a list").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn somebody_else_than_expected_is_refused() {
    let world = World::new(15);
    let (host, peer) = (world.client(1), world.client(2));
    let service = expose(&host, "chat@1.0.0").await;
    let mut config = ConnectionConfig::default();
    config.expect_peer = Some(Identity::from_secret([99; 32]).public_key());
    let refused =
        soon(peer.connect_with(Target::Uuid(service.info().uuid), config.clone())).await.unwrap_err();
    assert!(refused.to_string().contains("impersonation"), "{refused}");
    nobody_waits(&service).await;
    config.expect_peer = Some(host.public_key());
    soon(peer.connect_with(Target::Uuid(service.info().uuid), config)).await.expect("connected");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_asked_for_a_while_and_then_named() {
    let world = World::new(16);
    let (host, peer) = (world.client(1), world.client(2));
    let service = expose(&host, "chat@1.0.0").await;
    world.signaling.set_reachable(false);
    let started = tokio::time::Instant::now();
    let refused = soon(peer.connect_by_uuid(service.info().uuid)).await.unwrap_err();
    assert!((25..=31).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    assert!(matches!(refused, ConnectError::Closed(CloseReason::Unreachable { .. })), "{refused}");
    assert!(
        refused.to_string().contains("unreachable") || refused.to_string().contains("reach"),
        "{refused}"
    );
    let refused =
        soon(peer.expose_service(ServiceConfig::new(user("bob"), fqn("b@1.0.0")))).await.unwrap_err();
    assert!(matches!(refused, ServiceError::Signaling(_)), "{refused}");
    // Back in the middle of it.
    let connecting = peer.connect_by_uuid(service.info().uuid);
    let (joined, ()) = tokio::join!(connecting, async {
        seconds(10).await;
        world.signaling.set_reachable(true);
    });
    joined.expect("connected");
}

#[tokio::test(start_paused = true)]
async fn a_username_of_another_key_is_refused_at_once() {
    let world = World::new(17);
    let (host, thief) = (world.client(1), world.client(3));
    let _service = expose(&host, "chat@1.0.0").await;
    let started = tokio::time::Instant::now();
    let refused = soon(thief.expose_service(chat())).await.unwrap_err();
    assert!(matches!(&refused, ServiceError::Signaling(error) if error.code().is_some()), "{refused}");
    assert!(started.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn there_is_exactly_one_event_for_each_transition() {
    let pair = Pair::new(18).await;
    let (ours, mut theirs) = pair.channel("c");
    let mut sides = [pair.at_peer.events(), pair.at_host.events()];
    for round in 0..12 {
        match round % 3 {
            0 => pair.world.network.cut_all(),
            1 => {
                pair.world.network.blackout(true);
                send_numbers(&ours, 0..1).await;
                seconds(5).await;
                pair.world.network.blackout(false);
                soon(expect_numbers(&mut theirs, 0..1)).await;
            }
            _ => pair.at_peer.reconnect_now(),
        }
        seconds(10).await;
    }
    pair.at_peer.close().await;
    pair.at_host.closed().await;
    seconds(1).await;
    for events in &mut sides {
        let (mut connected, mut links, mut over) = (false, 0, false);
        while let Some(event) = soon(events.next()).await {
            assert!(!over, "{event:?} after the end");
            match event {
                ConnectionEvent::Connected { .. } => {
                    assert!(!std::mem::replace(&mut connected, true), "connected twice");
                    links += 1;
                }
                ConnectionEvent::Disconnected { .. } => {
                    assert!(std::mem::replace(&mut connected, false), "disconnected twice");
                }
                ConnectionEvent::Reconnecting { .. } => assert!(!connected),
                ConnectionEvent::Closed(_) => over = true,
                _ => {}
            }
        }
        assert!(over && links >= 9, "{links} links");
    }
}

#[tokio::test(start_paused = true)]
async fn a_sleepy_peer_finds_its_session_until_it_expires() {
    let pair = Pair::new(19).await;
    let (ours, mut theirs) = pair.channel("c");
    let id = pair.at_host.id();
    pair.world.network.blackout(true);
    send_numbers(&ours, 0..3).await;
    seconds(50).await; // within the max_age of the default queue
    pair.world.network.blackout(false);
    soon(async {
        while pair.at_peer.state() != ConnectionState::Connected {
            seconds(1).await;
        }
    })
    .await;
    assert_eq!(pair.service.connections(), [id]);
    soon(expect_numbers(&mut theirs, 0..3)).await;
    nobody_waits(&pair.service).await;
    // The peer is gone for good.
    pair.world.network.blackout(true);
    seconds(1200).await;
    assert_eq!(pair.at_host.state(), ConnectionState::Closed(CloseReason::Expired(300 * SECOND)));
    assert!(pair.service.connections().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_last_client_dropped_ends_what_it_started() {
    let Pair { world, host, peer, service, at_host, at_peer } = Pair::new(20).await;
    let clone = host.clone();
    drop(host);
    seconds(5).await;
    assert_eq!(at_peer.state(), ConnectionState::Connected, "a clone holds it");
    drop(clone);
    assert_eq!(soon(at_peer.closed()).await, CloseReason::Peer);
    assert_eq!(soon(at_host.closed()).await, CloseReason::Local);
    assert!(soon(service.accept()).await.is_none());
    drop((service, at_host, at_peer, peer));
    seconds(10).await;
    nothing_is_left(&world);
}

#[tokio::test(start_paused = true)]
async fn of_two_hosts_with_one_identity_the_newer_has_the_service_and_both_know() {
    let world = World::new(31);
    let (older, newer, peer) = (world.client(1), world.client(1), world.client(2));
    let first = expose(&older, "chat@1.0.0").await;
    let uuid = first.info().uuid;
    seconds(10).await;
    let (mut at_first, second) = (first.events(), expose(&newer, "chat@1.0.0").await);
    let mut at_second = second.events();
    assert_eq!(second.info().uuid, uuid);

    // The older one learns of it at once, and ends.
    let mut seen = vec![];
    while let Some(event) = soon(at_first.next()).await {
        seen.push(event);
    }
    assert!(seen.contains(&ServiceEvent::Displaced), "{seen:?}");
    assert_eq!(seen.last(), Some(&ServiceEvent::Closed));
    assert!(soon(first.accept()).await.is_none());
    assert!(matches!(soon(first.stop()).await, Err(ServiceError::Displaced)));
    soon(async { while at_second.next().await != Some(ServiceEvent::TookOver) {} }).await;

    // The newer one has it, now and later, and gets whoever comes.
    for _ in 0..3 {
        let connection = join(&peer, uuid).await;
        let accepted = soon(second.accept()).await.expect("a session");
        assert_eq!(accepted.id(), connection.id());
        seconds(400).await;
    }
    // The older one may be started again on purpose, and is the newer one then.
    let third = expose(&older, "chat@1.0.0").await;
    soon(async { while at_second.next().await != Some(ServiceEvent::Displaced) {} }).await;
    drop((second, third));
}
