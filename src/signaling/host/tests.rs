use std::sync::atomic::Ordering;

use super::super::testing::*;
use super::*;
use crate::signaling::wire;
use crate::signaling::{Event, MemorySignaling, ServiceTarget};

fn errors(notices: &[Notice]) -> Vec<HostContext> {
    notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Error { context, .. } => Some(*context),
            _ => None,
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn w3_w4_refreshes_go_on_and_touch_neither_uuid_nor_links() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let uuid = host.host.uuid();
    let dialed = world.party(2).dial(host.by_uuid()).await.unwrap();
    let arrival = host.arrival().await;
    runtime::sleep(3600 * SECOND).await;
    let notices = host.notices();
    let refreshed = notices.iter().filter(|notice| matches!(notice, Notice::Refreshed { .. })).count();
    assert!((70..=80).contains(&refreshed), "every 48 s in an hour: {refreshed}");
    assert_eq!(refreshed, notices.len(), "{notices:?}");
    check_link(&dialed.link, &arrival.link).await;
    assert_eq!(world.network.links(), 1);
    world.party(3).dial(ServiceTarget::Uuid { uuid }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn n4_an_idle_host_is_found_at_once_and_holds_few_offers() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    for _ in 0..20 {
        runtime::sleep(100 * SECOND).await;
        assert!(world.network.negotiations() <= 3, "{}", world.network.negotiations());
        let started = runtime::now();
        let dialed = world.party(2).dial(host.by_uuid()).await.unwrap();
        assert!(runtime::now() - started < SECOND / 10);
        check_link(&dialed.link, &host.arrival().await.link).await;
    }
}

#[tokio::test(start_paused = true)]
async fn w5_a_restart_of_the_server_is_survived_at_once_and_links_do_not_notice() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let dialed = world.party(2).dial(host.by_uuid()).await.unwrap();
    let arrival = host.arrival().await;
    for n in 0..5 {
        host.notices();
        world.signaling.restart();
        runtime::sleep(SECOND).await;
        assert!(matches!(host.notices()[..], [Notice::Published { .. }]), "presented once");
        check_link(&dialed.link, &arrival.link).await;
        let started = runtime::now();
        world.party(3 + n).dial(host.by_uuid()).await.unwrap();
        assert!(runtime::now() - started < SECOND / 10);
    }
}

#[tokio::test(start_paused = true)]
async fn w5_a_server_that_forgot_everything_is_told_again() {
    let world = World::new();
    let server = Switch::new(&world.signaling);
    let mut host = world.party_over(1, server.clone()).host(config("chat@1.0.0"));
    host.published().await;
    let empty = MemorySignaling::new();
    server.switch(&empty);
    runtime::sleep(SECOND).await;
    let again = World { network: world.network.clone(), signaling: empty };
    again.party(2).dial(host.by_uuid()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_service_starts_while_its_server_is_away_and_is_found_when_it_is_back() {
    let world = World::new();
    world.signaling.set_reachable(false);
    let mut host = world.host();
    runtime::sleep(120 * SECOND).await;
    let failed = errors(&host.notices());
    assert!(failed.len() <= 20 && failed.iter().all(|context| *context == HostContext::Claim), "{failed:?}");
    world.signaling.set_reachable(true);
    runtime::sleep(10 * SECOND).await;
    host.published().await;
    world.party(2).dial(host.by_uuid()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_the_lease_is_made_good_and_links_do_not_notice() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let dialed = world.party(2).dial(host.by_uuid()).await.unwrap();
    let arrival = host.arrival().await;
    world.signaling.set_reachable(false);
    runtime::sleep(600 * SECOND).await;
    world.signaling.set_reachable(true);
    runtime::sleep(10 * SECOND).await;
    world.party(3).dial(host.by_uuid()).await.unwrap();
    check_link(&dialed.link, &arrival.link).await;
}

#[tokio::test(start_paused = true)]
async fn a_taken_username_is_final_and_leaves_nothing() {
    let world = World::new();
    let mut first = world.host();
    first.published().await;
    let mut second = world.party(9).host(config("other@1.0.0"));
    runtime::sleep(SECOND).await;
    let notices = second.notices();
    let Some(Notice::GaveUp(error)) = notices.last() else { panic!("{notices:?}") };
    assert_eq!(error.code(), Some(ErrorCode::UsernameTaken));
    assert_eq!(second.party.subscription.registrations(), 0);
    second.host.stop().await.unwrap();
    world.party(2).dial(first.by_uuid()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn w19_stop_withdraws_releases_offers_and_leaves_links_alone() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let uuid = host.host.uuid();
    let dialed = world.party(2).dial(host.by_uuid()).await.unwrap();
    let arrival = host.arrival().await;
    host.host.stop().await.unwrap();
    assert_eq!(world.network.negotiations(), 0);
    assert_eq!(host.party.subscription.registrations(), 0);
    for _ in 0..10 {
        let failure = world.party(3).dial(ServiceTarget::Uuid { uuid }).await.err().unwrap();
        assert!(super::super::dial::is_absence(&failure.error));
        runtime::sleep(60 * SECOND).await;
    }
    check_link(&dialed.link, &arrival.link).await;
    drop((dialed, arrival));
    assert_eq!(world.network.links(), 0);
}

#[tokio::test(start_paused = true)]
async fn stop_in_the_middle_of_the_start_does_not_leave_the_service_behind() {
    for steps in 0..40 {
        let world = World::new();
        let host = world.host();
        for _ in 0..steps {
            tokio::task::yield_now().await;
        }
        let uuid = host.host.uuid();
        host.host.stop().await.unwrap();
        runtime::sleep(SECOND).await;
        let failure = world.party(3).dial(ServiceTarget::Uuid { uuid }).await.err().unwrap();
        assert!(super::super::dial::is_absence(&failure.error), "after {steps} steps");
        assert_eq!(world.network.negotiations(), 0, "after {steps} steps");
    }
}

#[tokio::test(start_paused = true)]
async fn stop_does_not_wait_for_a_server_that_is_away() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    world.signaling.set_reachable(false);
    let started = runtime::now();
    assert!(matches!(host.host.stop().await, Err(SignalingError::Unreachable(_))));
    assert!(runtime::now() - started <= STOP_WITHIN);
    assert_eq!(world.network.negotiations(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_host_withdraws_too() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let uuid = host.host.uuid();
    drop(host.host);
    runtime::sleep(SECOND).await;
    let failure = world.party(3).dial(ServiceTarget::Uuid { uuid }).await.err().unwrap();
    assert!(super::super::dial::is_absence(&failure.error));
    assert_eq!(world.network.negotiations(), 0);
}

#[tokio::test(start_paused = true)]
async fn s3_two_services_of_one_identity_get_their_own_peers() {
    let world = World::new();
    let mut chat = world.host();
    let party = world.party(1);
    let mut files = party.host(config("files@2.0.0"));
    chat.published().await;
    files.published().await;
    assert_ne!(chat.host.uuid(), files.host.uuid());
    let peers = [world.party(2), world.party(3)];
    let first = peers[0].dial(by_name("chat@1")).await.unwrap();
    let second = peers[1].dial(by_name("files@2")).await.unwrap();
    check_link(&first.link, &chat.arrival().await.link).await;
    check_link(&second.link, &files.arrival().await.link).await;
}

#[tokio::test(start_paused = true)]
async fn w18_a_peer_that_never_comes_to_a_link_holds_up_nobody() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let staller = world.party(9);
    for _ in 0..10 {
        let target = host.by_uuid();
        let taken = match staller.caller.ask(wire::take(target, SECOND)).await.unwrap() {
            Response::Taken(taken) => taken,
            other => panic!("{other:?}"),
        };
        // Answered, and then silence.
        let negotiation = world.network.transport().answer(&taken.sdp).await.unwrap();
        let sdp = negotiation.description().to_owned();
        drop(negotiation);
        let signature =
            auth::sign_answer(&staller.identity, &taken.service.uuid, &taken.id, &taken.sdp, &sdp);
        let answer = super::super::Answer { offer: taken.id, sdp, signature };
        staller.caller.ask(wire::answer(answer)).await.unwrap();
    }
    let started = runtime::now();
    let dialed = world.party(2).dial(host.by_uuid()).await.unwrap();
    assert!(runtime::now() - started < SECOND / 10);
    check_link(&dialed.link, &host.arrival().await.link).await;
    runtime::sleep(TIMEOUT + SECOND).await;
    let failed = errors(&host.notices());
    assert_eq!(failed, [HostContext::Negotiation; 10]);
    assert!(world.network.negotiations() <= 2, "given up and released");
}

#[tokio::test(start_paused = true)]
async fn w20_candidates_that_come_before_the_answer_count() {
    let world = World::new();
    world.network.update(|config| config.trickle = true);
    let mut host = world.host();
    host.published().await;
    let peer = world.party(2);
    let target = host.by_uuid();
    let taken = match peer.caller.ask(wire::take(target, SECOND)).await.unwrap() {
        Response::Taken(taken) => taken,
        other => panic!("{other:?}"),
    };
    let mut news = peer.subscription.offer(taken.id);
    let negotiation = world.network.transport().answer(&taken.sdp).await.unwrap();
    let NegotiationEvent::Candidate(candidate) = negotiation.next().await else { panic!("no candidate") };
    post(&peer.caller, taken.id, vec![candidate]).await;
    runtime::sleep(SECOND).await;
    let sdp = negotiation.description().to_owned();
    let signature = auth::sign_answer(&peer.identity, &taken.service.uuid, &taken.id, &taken.sdp, &sdp);
    let answer = super::super::Answer { offer: taken.id, sdp, signature };
    peer.caller.ask(wire::answer(answer)).await.unwrap();
    let link = establish(&peer.caller, taken.id, &*negotiation, &mut news, Vec::new()).await.unwrap();
    check_link(&link, &host.arrival().await.link).await;
}

#[tokio::test(start_paused = true)]
async fn answers_beyond_the_bound_are_dropped_one_by_one() {
    let world = World::new();
    let mut few = config("chat@1.0.0");
    few.max_negotiations = 2;
    let mut host = world.party(1).host(few);
    host.published().await;
    world.network.blackout(true);
    let parties: Vec<Party> = (10..20).map(|n| world.party(n)).collect();
    let mut dials = Vec::new();
    for party in &parties {
        dials.push(Box::pin(party.dial(host.by_uuid())));
    }
    let all = futures_util::future::join_all(dials);
    let (linked, ()) = tokio::join!(all, async {
        runtime::sleep(SECOND).await;
        world.network.blackout(false);
    });
    let linked = linked.iter().filter(|result| result.is_ok()).count();
    assert_eq!(linked, 10, "those turned away came again by themselves");
    assert!(errors(&host.notices()).contains(&HostContext::Negotiation));
}

#[tokio::test(start_paused = true)]
async fn nobody_who_accepts_links_is_no_reason_to_stall() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let (_, closed) = mpsc::channel(1);
    host.arrivals = closed;
    let dialed = world.party(2).dial(host.by_uuid()).await.unwrap();
    assert!(matches!(dialed.link.recv().await, crate::link::LinkEvent::Down(LinkError::ClosedByPeer)));
    drop(dialed);
    assert_eq!(world.network.links(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_host_behind_a_flood_of_false_news_asks_little() {
    let world = World::new();
    let server = Meddler::new(&world.signaling).events(|event| match event {
        Event::OfferWanted { uuid, .. } => Event::LeaseLost { uuid },
        event => event,
    });
    let mut host = world.party_over(1, server.clone()).host(config("chat@1.0.0"));
    host.published().await;
    server.calls.store(0, Ordering::Relaxed);
    for n in 0..20 {
        let _ = world.party(10 + n).dial(host.by_uuid()).await;
        runtime::sleep(SECOND / 10).await;
    }
    let calls = server.calls.load(Ordering::Relaxed);
    assert!(calls <= 80, "{calls}");
    let published = |notice: &Notice| matches!(notice, Notice::Published { .. });
    assert!(host.notices().iter().any(published), "and yet a lost lease is presented again");
}

#[tokio::test(start_paused = true)]
async fn private_services_ask_for_their_token_by_name() {
    let world = World::new();
    let mut private = config("chat@1.0.0");
    private.public = false;
    private.token = Some("sesame".into());
    let mut host = world.party(1).host(private);
    host.published().await;
    let peer = world.party(2);
    let refused = peer.dial(by_name("chat@1.0.0")).await.err().unwrap();
    assert!(refused.permanent, "{refused:?}");
    let ServiceTarget::Name { username, service, .. } = by_name("chat@1.0.0") else { unreachable!() };
    peer.dial(ServiceTarget::Name { username, service, token: Some("sesame".into()) }).await.unwrap();
    peer.dial(host.by_uuid()).await.unwrap();
}

#[test]
fn refusals_are_sorted_by_what_helps() {
    let of = |code| refusal(&SignalingError::refused(code, ""));
    assert_eq!(of(ErrorCode::UsernameTaken), Refusal::Permanent);
    assert_eq!(of(ErrorCode::NotYours), Refusal::Permanent);
    assert_eq!(of(ErrorCode::UsernameUnclaimed), Refusal::Unclaimed);
    assert_eq!(of(ErrorCode::ServiceNotFound), Refusal::LeaseLost);
    assert_eq!(of(ErrorCode::Busy), Refusal::Temporary(None));
    assert_eq!(of(ErrorCode::Stale), Refusal::Dubious);
    let later = SignalingError::refused(ErrorCode::Quota, "").retry_after(SECOND);
    assert_eq!(refusal(&later), Refusal::Temporary(Some(SECOND)));
    assert_eq!(refusal(&SignalingError::Unreachable(String::new())), Refusal::Temporary(None));
    assert_eq!(refusal(&SignalingError::NotAServer(String::new())), Refusal::Dubious);
}
