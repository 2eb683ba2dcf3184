use std::sync::atomic::Ordering;

use super::super::testing::*;
use super::*;
use crate::signaling::{ServiceTarget, wire};

fn offer() -> OfferId {
    OfferId::random()
}

#[tokio::test(start_paused = true)]
async fn opens_on_need_and_closes_when_nothing_needed_it_for_a_while() {
    let world = World::new();
    let server = Meddler::new(&world.signaling);
    let party = world.party_over(1, server.clone());
    runtime::sleep(SECOND).await;
    assert!(!party.subscription.is_open());
    let first = party.subscription.offer(offer());
    runtime::sleep(SECOND).await;
    assert!(party.subscription.is_open());
    drop(first);
    runtime::sleep(LINGER - SECOND).await;
    assert!(party.subscription.is_open(), "the next dial may come soon");
    let second = party.subscription.offer(offer());
    runtime::sleep(10 * LINGER).await;
    drop(second);
    runtime::sleep(LINGER + SECOND).await;
    assert!(!party.subscription.is_open());
    assert_eq!(server.streams.load(Ordering::Relaxed), 1);
    let _third = party.subscription.offer(offer());
    runtime::sleep(SECOND).await;
    assert!(party.subscription.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_joiner_with_a_live_link_needs_no_signaling() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let peer = world.party(2);
    let dialed = peer.dial(host.by_uuid()).await.unwrap();
    let arrival = host.arrival().await;
    runtime::sleep(LINGER + SECOND).await;
    assert!(!peer.subscription.is_open());
    check_link(&dialed.link, &arrival.link).await;
}

#[tokio::test(start_paused = true)]
async fn a_break_is_mended_at_once_and_told_to_services_once() {
    let world = World::new();
    let party = world.party(1);
    let service = party.subscription.service("00000000-0000-8000-8000-000000000000".parse().unwrap());
    runtime::sleep(SECOND).await;
    assert!(never(SECOND, service.recv()).await, "the first opening is no news");
    for _ in 0..5 {
        world.signaling.break_connections();
        let started = runtime::now();
        assert!(service.recv().await.reconnected);
        assert!(runtime::now() - started <= RETRY_BASE);
        assert!(never(HEALTHY_AFTER, service.recv()).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_asked_less_and_less() {
    let world = World::new();
    let server = Meddler::new(&world.signaling);
    let party = world.party_over(1, server.clone());
    let service = party.subscription.service("00000000-0000-8000-8000-000000000000".parse().unwrap());
    runtime::sleep(SECOND).await;
    world.signaling.set_reachable(false);
    runtime::sleep(600 * SECOND).await;
    let asked = server.streams.load(Ordering::Relaxed);
    assert!((60..=130).contains(&asked), "{asked}");
    world.signaling.set_reachable(true);
    let started = runtime::now();
    assert!(service.recv().await.reconnected);
    assert!(runtime::now() - started <= RETRY_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_as_soon_as_it_opens_is_no_busy_loop() {
    let world = World::new();
    let server = Meddler::new(&world.signaling);
    let party = world.party_over(1, server.clone());
    let _offer = party.subscription.offer(offer());
    for _ in 0..600 {
        runtime::sleep(SECOND / 10).await;
        world.signaling.restart();
    }
    let asked = server.streams.load(Ordering::Relaxed);
    assert!(asked <= 30, "{asked}");
}

#[tokio::test(start_paused = true)]
async fn n10_nothing_that_happens_in_a_break_is_lost() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let peer = world.party(2);
    let target = host.by_uuid();
    let taken = match peer.caller.ask(wire::take(target, SECOND)).await.unwrap() {
        crate::signaling::Response::Taken(taken) => taken,
        other => panic!("{other:?}"),
    };
    // The host's stream breaks; candidates come from the peer in the break and after it.
    let mut news = host.party.subscription.offer(taken.id);
    for n in 0..10 {
        if n % 3 == 0 {
            world.signaling.break_connections();
        }
        let candidates = vec![format!("candidate:{n}")];
        peer.caller.ask(wire::candidates(taken.id, candidates)).await.unwrap();
        if n % 2 == 0 {
            runtime::sleep(SECOND).await;
        }
    }
    for n in 0..10 {
        let OfferNews::Candidates(candidates) = news.recv().await else { panic!("an answer") };
        assert_eq!(candidates, [format!("candidate:{n}")]);
    }
    assert!(never(60 * SECOND, news.recv()).await, "and none comes twice");
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_before_the_stream_was_open_arrives() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let peer = world.party(2);
    let target = ServiceTarget::Uuid { uuid: host.host.uuid() };
    let taken = match peer.caller.ask(wire::take(target, SECOND)).await.unwrap() {
        crate::signaling::Response::Taken(taken) => taken,
        other => panic!("{other:?}"),
    };
    let candidates = vec!["candidate:early".to_owned()];
    host.party.caller.ask(wire::candidates(taken.id, candidates)).await.unwrap();
    let mut news = peer.subscription.offer(taken.id);
    assert!(matches!(news.recv().await, OfferNews::Candidates(_)));
}

#[tokio::test(start_paused = true)]
async fn a_flood_for_one_offer_costs_that_offer_alone() {
    let world = World::new();
    let party = world.party(1);
    let (flooded, quiet) = (offer(), offer());
    let (mut to_flooded, mut to_quiet) = (party.subscription.offer(flooded), party.subscription.offer(quiet));
    let hub = &party.subscription.life.hub;
    for n in 0..1000 {
        let candidates = vec![n.to_string()];
        hub.dispatch(Cursor(n.to_string()), Event::Candidates { offer: flooded, candidates });
    }
    hub.dispatch(Cursor("x".into()), Event::Candidates { offer: quiet, candidates: Vec::new() });
    assert!(matches!(to_quiet.recv().await, OfferNews::Candidates(_)));
    for _ in 0..OFFER_NEWS {
        to_flooded.recv().await;
    }
    assert!(never(SECOND, to_flooded.recv()).await);
}

#[tokio::test(start_paused = true)]
async fn news_of_a_service_are_put_together() {
    let world = World::new();
    let party = world.party(1);
    let uuid: ServiceUuid = "00000000-0000-8000-8000-000000000000".parse().unwrap();
    let service = party.subscription.service(uuid);
    runtime::sleep(SECOND).await;
    let hub = &party.subscription.life.hub;
    for n in 0..1000 {
        hub.dispatch(Cursor(n.to_string()), Event::OfferWanted { uuid, offers: n, wanted: 1 });
    }
    hub.dispatch(Cursor("x".into()), Event::LeaseLost { uuid });
    let expected = ServiceNews { lease_lost: true, reconnected: false, counted: Some((999, 1)) };
    assert_eq!(service.recv().await, expected);
    assert!(never(SECOND, service.recv()).await);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_the_task_and_later_registrations_start_none() {
    let world = World::new();
    let party = world.party(1);
    let mut registered = party.subscription.offer(offer());
    runtime::sleep(SECOND).await;
    party.subscription.shutdown().await;
    assert!(!party.subscription.is_open());
    let _late = party.subscription.offer(offer());
    assert!(never(60 * SECOND, registered.recv()).await);
    assert!(!party.subscription.is_open());
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_dropped_ends_the_task() {
    let world = World::new();
    let party = world.party(1);
    let registered = party.subscription.offer(offer());
    runtime::sleep(SECOND).await;
    drop(party);
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 1);
    drop(registered);
    runtime::sleep(SECOND).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_may_be_dead_is_opened_anew_at_once_when_the_network_changed() {
    let world = World::new();
    let server = Meddler::new(&world.signaling);
    let party = world.party_over(1, server.clone());
    let service = party.subscription.service("00000000-0000-8000-8000-000000000000".parse().unwrap());
    runtime::sleep(10 * SECOND).await;
    assert_eq!(server.streams.load(Ordering::Relaxed), 1);
    let started = runtime::now();
    party.subscription.network_changed();
    assert!(service.recv().await.reconnected, "a service may have missed something");
    assert!(party.subscription.is_open());
    assert_eq!(server.streams.load(Ordering::Relaxed), 2);

    // In a wait between two tries it ends the wait.
    world.signaling.set_reachable(false);
    runtime::sleep(600 * SECOND).await;
    world.signaling.set_reachable(true);
    party.subscription.network_changed();
    assert!(service.recv().await.reconnected);
    assert_eq!(runtime::now() - started, 600 * SECOND, "both at once");
}

#[tokio::test(start_paused = true)]
async fn an_open_stream_that_is_in_doubt_is_opened_anew_once() {
    let world = World::new();
    let server = Meddler::new(&world.signaling);
    let party = world.party_over(1, server.clone());
    party.subscription.renew();
    let _offer = party.subscription.offer(offer());
    runtime::sleep(SECOND).await;
    assert_eq!(server.streams.load(Ordering::Relaxed), 1);
    // The network changed, and a link is in doubt for that.
    party.subscription.network_changed();
    party.subscription.renew();
    runtime::sleep(SECOND).await;
    assert_eq!(server.streams.load(Ordering::Relaxed), 2);
    party.subscription.renew();
    runtime::sleep(SECOND).await;
    assert_eq!((server.streams.load(Ordering::Relaxed), party.subscription.is_open()), (3, true));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_needs_is_not_opened_for_a_change_of_the_network() {
    let world = World::new();
    let server = Meddler::new(&world.signaling);
    let party = world.party_over(1, server.clone());
    party.subscription.network_changed();
    let first = party.subscription.offer(offer());
    runtime::sleep(SECOND).await;
    drop(first);
    runtime::sleep(2 * LINGER).await;
    let before = server.streams.load(Ordering::Relaxed);
    party.subscription.network_changed();
    runtime::sleep(SECOND).await;
    assert_eq!(server.streams.load(Ordering::Relaxed), before);
    assert!(!party.subscription.is_open());
}
