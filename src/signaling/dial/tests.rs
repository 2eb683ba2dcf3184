use std::cell::Cell;
use std::sync::atomic::Ordering;

use super::super::host::{Host, Notice, asked};
use super::super::testing::*;
use super::*;
use crate::identity::Identity;
use crate::signaling::{NewOffer, Publish, Request};

/// How it went wrong.
async fn failure(dial: impl Future<Output = Result<Dialed, DialFailure>>) -> DialFailure {
    match dial.await {
        Err(failure) => failure,
        Ok(_) => panic!("a link"),
    }
}

fn is_impersonation(failure: &DialFailure) -> bool {
    matches!(&failure.error, DialError::Impersonation(_))
}

#[tokio::test(start_paused = true)]
async fn dials_by_uuid_and_by_name() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let peer = world.party(2);
    for target in [host.by_uuid(), by_name("chat@1.0.0"), by_name("chat@^1"), by_name("chat@1")] {
        let dialed = peer.dial(target).await.unwrap();
        assert_eq!(dialed.peer, host.party.identity.public_key());
        let arrival = host.arrival().await;
        assert_eq!(arrival.peer, peer.identity.public_key());
        check_link(&dialed.link, &arrival.link).await;
        check_link(&arrival.link, &dialed.link).await;
    }
}

#[tokio::test(start_paused = true)]
async fn w14_any_number_of_joiners_at_once_has_links_of_a_pool_of_one() {
    for joiners in [5, 40] {
        let world = World::new();
        let mut host = world.host();
        host.published().await;
        let parties: Vec<Party> = (0..joiners).map(|n| world.party(10 + n)).collect();
        let dials = parties.iter().map(|party| party.dial(host.by_uuid()));
        let started = runtime::now();
        let links: Vec<Dialed> =
            futures_util::future::join_all(dials).await.into_iter().map(Result::unwrap).collect();
        assert!(runtime::now() - started < SECOND);
        let mut arrivals = Vec::new();
        for _ in 0..joiners {
            arrivals.push(host.arrival().await);
        }
        for (party, dialed) in parties.iter().zip(&links) {
            let own = arrivals.iter().find(|arrival| arrival.peer == party.identity.public_key()).unwrap();
            check_link(&dialed.link, &own.link).await;
        }
        assert_eq!(world.network.links(), usize::from(joiners));
    }
}

#[tokio::test(start_paused = true)]
async fn candidates_go_both_ways() {
    let world = World::new();
    world.network.update(|config| config.trickle = true);
    world.network.set_delay(Duration::from_millis(20));
    let mut host = world.host();
    host.published().await;
    for n in 2..6 {
        let dialed = world.party(n).dial(host.by_uuid()).await.unwrap();
        check_link(&dialed.link, &host.arrival().await.link).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_service_is_the_end_of_a_first_dial_and_worth_a_retry_later() {
    let world = World::new();
    let peer = world.party(2);
    let unknown = failure(peer.dial(by_name("chat@1.0.0"))).await;
    assert!(unknown.permanent && super::is_absence(&unknown.error));

    let mut host = world.host();
    host.published().await;
    let dialer = peer.dialer(by_name("chat@^1"));
    drop(dialer.dial(1).await.unwrap());
    let pin = dialer.pin().unwrap();
    assert_eq!(pin, Pin { uuid: host.host.uuid(), owner: host.party.identity.public_key() });
    host.host.stop().await.unwrap();
    let away = failure(dialer.dial(2)).await;
    assert!(!away.permanent && super::is_absence(&away.error), "{away:?}");
    let mut host = world.host();
    host.published().await;
    dialer.dial(3).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn w5_a_reconnect_wants_the_same_service_not_the_newest() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let dialer = world.party(2).dialer(by_name("chat@^1"));
    let first = dialer.dial(1).await.unwrap();
    host.arrival().await;
    let mut newer = world.party(1).host(config("chat@1.1.0"));
    newer.published().await;
    drop(first);
    dialer.dial(2).await.unwrap();
    host.arrival().await;
    assert!(newer.arrivals.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_reconnect_asks_over_new_connections_and_a_first_dial_over_those_there_are() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let server = Meddler::new(&world.signaling);
    let dialer = world.party_over(2, server.clone()).dialer(host.by_uuid());
    dialer.dial(1).await.unwrap();
    host.arrival().await;
    assert_eq!(server.renewals.load(Ordering::Relaxed), 0);
    dialer.dial(2).await.unwrap();
    host.arrival().await;
    assert_eq!(server.renewals.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn no_server_is_temporary_and_said_so() {
    let world = World::new();
    world.signaling.set_reachable(false);
    let failure = failure(world.party(2).dial(by_name("chat@1.0.0"))).await;
    assert!(!failure.permanent);
    assert!(matches!(failure.error, DialError::Signaling(SignalingError::Unreachable(_))));
}

#[tokio::test(start_paused = true)]
async fn s5_a_server_that_swaps_the_offer_is_found_out() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    // A server in the middle offers a link to itself in the host's name.
    let attacker = world.network.transport();
    let own = Arc::new(attacker.offer().await.unwrap());
    let other = Identity::from_secret([66; 32]);
    for resign in [false, true] {
        let (own, other) = (own.clone(), other.clone());
        let server = Meddler::new(&world.signaling).responses(move |response| match response {
            Response::Taken(mut taken) => {
                taken.sdp = own.description().to_owned();
                if resign {
                    taken.signature = auth::sign_offer(&other, &taken.service.uuid, &taken.id, &taken.sdp);
                }
                Response::Taken(taken)
            }
            response => response,
        });
        for target in [host.by_uuid(), by_name("chat@1.0.0")] {
            let failure = failure(world.party_over(2, server.clone()).dial(target)).await;
            assert!(is_impersonation(&failure) && failure.permanent, "{failure:?}");
        }
    }
    assert_eq!(world.network.links_made(), 0, "found out before any packet went out");
}

#[tokio::test(start_paused = true)]
async fn s5_a_server_that_names_another_owner_or_service_is_found_out() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let mut second = world.party(1).host(config("files@1.0.0"));
    second.published().await;
    let taken_of_second = {
        let target = second.by_uuid();
        match world.party(3).caller.ask(wire::take(target, SECOND)).await.unwrap() {
            Response::Taken(taken) => taken,
            other => panic!("{other:?}"),
        }
    };
    let other = Identity::from_secret([66; 32]);
    // Each lie is consistent in itself as far as its teller can make it so.
    let lies: Vec<Box<dyn Fn(TakenOffer) -> TakenOffer + Send + Sync>> = vec![
        Box::new({
            let other = other.clone();
            move |mut taken| {
                taken.service.owner = other.public_key();
                taken.signature = auth::sign_offer(&other, &taken.service.uuid, &taken.id, &taken.sdp);
                taken
            }
        }),
        Box::new({
            let other = other.clone();
            move |mut taken| {
                let service = &mut taken.service;
                service.owner = other.public_key();
                service.uuid =
                    ServiceUuid::derive(&service.owner, &service.username, &service.service, &[0; 16]);
                service.salt = crate::base64url::encode([0; 16]);
                taken.signature = auth::sign_offer(&other, &taken.service.uuid, &taken.id, &taken.sdp);
                taken
            }
        }),
        Box::new({
            let second = taken_of_second.clone();
            move |_| second.clone()
        }),
        Box::new(|mut taken| {
            taken.service.salt = "nonsense".into();
            taken
        }),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let server = Meddler::new(&world.signaling).responses(move |response| match response {
            Response::Taken(taken) => Response::Taken(lie(taken)),
            response => response,
        });
        let peer = world.party_over(2, server);
        let failure = failure(peer.dial(host.by_uuid())).await;
        assert!(is_impersonation(&failure), "lie {number}: {failure:?}");
        // By name an owner that fits in itself is known as false only to who was here before.
        let pin = Pin { uuid: host.host.uuid(), owner: host.party.identity.public_key() };
        let dialer = peer.pinned_dialer(by_name("chat@1.0.0"), Some(pin));
        let failure = self::failure(dialer.dial(2)).await;
        assert!(is_impersonation(&failure) && !failure.permanent, "lie {number}: {failure:?}");
    }
    let server = Meddler::new(&world.signaling).responses(move |response| match response {
        Response::Taken(_) => Response::Taken(taken_of_second.clone()),
        response => response,
    });
    let another = failure(world.party_over(2, server).dial(by_name("chat@1.0.0"))).await;
    assert!(is_impersonation(&another), "a real service of the same owner, but not the one: {another:?}");
    let server = Meddler::new(&world.signaling).responses({
        let other = other.clone();
        move |response| match response {
            Response::Taken(mut taken) => {
                let service = &mut taken.service;
                (service.owner, service.username) = (other.public_key(), "mallory".parse().unwrap());
                service.salt = crate::base64url::encode([0; 16]);
                service.uuid =
                    ServiceUuid::derive(&service.owner, &service.username, &service.service, &[0; 16]);
                taken.signature = auth::sign_offer(&other, &taken.service.uuid, &taken.id, &taken.sdp);
                Response::Taken(taken)
            }
            response => response,
        }
    });
    let another = failure(world.party_over(2, server).dial(by_name("chat@1.0.0"))).await;
    assert!(is_impersonation(&another), "a real service of another user: {another:?}");
    let pin = Pin { uuid: host.host.uuid(), owner: other.public_key() };
    let pinned = failure(world.party(2).pinned_dialer(host.by_uuid(), Some(pin)).dial(1)).await;
    assert!(is_impersonation(&pinned), "{pinned:?}");
    assert_eq!(world.network.links_made(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_fits_no_question_is_an_error() {
    let world = World::new();
    let server = Meddler::new(&world.signaling).responses(|_| Response::Done);
    let mut host = world.host();
    host.published().await;
    let failure = failure(world.party_over(2, server).dial(host.by_uuid())).await;
    assert!(matches!(failure.error, DialError::Signaling(SignalingError::NotAServer(_))), "{failure:?}");
}

#[tokio::test(start_paused = true)]
async fn w6_a_dropped_or_timed_out_dial_releases_all_it_held() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let peer = world.party(2);
    let before = world.network.negotiations();
    world.network.blackout(true);
    let dialer = peer.dialer(host.by_uuid());
    assert!(never(3 * SECOND, dialer.dial(1)).await);
    assert_eq!((peer.subscription.registrations(), world.network.links_made()), (0, 0));
    let failure = failure(dialer.dial(2)).await;
    assert_eq!(failure.error, DialError::Link(LinkError::NoPath));
    runtime::sleep(100 * SECOND).await;
    assert!(world.network.negotiations() <= before + 1, "{}", world.network.negotiations());
    world.network.blackout(false);
    runtime::sleep(SECOND).await;
    assert_eq!(world.network.links(), 0, "no ghost comes to life");
    let dialed = dialer.dial(3).await.unwrap();
    drop((dialed, host.arrival().await));
    assert_eq!(world.network.links(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dial_in_a_blackout_ends_in_a_link_right_after_it() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let peer = world.party(2);
    world.network.blackout(true);
    let heal = async {
        runtime::sleep(20 * SECOND).await;
        world.network.blackout(false);
        runtime::now()
    };
    let (healed, dialed) = tokio::join!(heal, peer.dial(host.by_uuid()));
    dialed.unwrap();
    assert!(runtime::now() - healed < SECOND / 10);
}

#[tokio::test(start_paused = true)]
async fn w24_a_dead_hosts_offer_costs_seconds_not_the_whole_attempt() {
    let world = World::new();
    // A host published, and was killed.
    let dead = world.party(1);
    let (uuid, publish) = {
        let identity = &dead.identity;
        let (username, service) = ("alice".parse().unwrap(), "chat@1.0.0".parse().unwrap());
        let salt = Host::salt(identity, &username, &service);
        let uuid = ServiceUuid::derive(&identity.public_key(), &username, &service, &salt);
        let negotiation = world.network.transport().offer().await.unwrap();
        let (id, sdp) = (super::super::OfferId::random(), negotiation.description().to_owned());
        let signature = auth::sign_offer(identity, &uuid, &id, &sdp);
        let publish = Publish {
            instance: None,
            username,
            service,
            uuid,
            salt: crate::base64url::encode(salt),
            public: true,
            token_hash: None,
            metadata: Default::default(),
            ttl: 60 * SECOND,
            offers: vec![NewOffer { id, sdp, signature }],
        };
        (uuid, publish)
    };
    dead.caller.ask(asked(Request::Claim { username: publish.username.clone() })).await.unwrap();
    dead.caller.ask(asked(Request::Publish(publish))).await.unwrap();
    let started = runtime::now();
    let back = async {
        runtime::sleep(SECOND).await;
        let mut host = world.host();
        assert_eq!(host.host.uuid(), uuid, "the same uuid after a restart");
        host.published().await;
        host
    };
    let dial = async {
        world.party(2).dial(ServiceTarget::Uuid { uuid }).await.map(|dialed| (dialed, runtime::now()))
    };
    let (_host, dialed) = tokio::join!(back, dial);
    assert!(dialed.unwrap().1 - started <= 2 * SECOND + SECOND / 10);
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_a_break_of_the_signaling_ends_with_the_break() {
    let world = World::new();
    let mut host = world.host();
    host.published().await;
    let dialer = world.party(2).dialer(host.by_uuid());
    for outage in [1, 5, 20, 75] {
        world.signaling.set_reachable(false);
        let heal = async {
            runtime::sleep(outage * SECOND).await;
            world.signaling.set_reachable(true);
            runtime::now()
        };
        let (healed, ()) = tokio::join!(heal, dialer.reachable());
        assert!(runtime::now() - healed <= SECOND, "{outage} s");
        if outage <= 5 {
            assert!(runtime::now() - healed <= SECOND / 4, "{outage} s");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_not_cut_short_while_signaling_works_and_costs_little() {
    let world = World::new();
    let server = Meddler::new(&world.signaling);
    let dialer = world.party_over(2, server.clone()).dialer(by_name("chat@1.0.0"));
    assert!(never(60 * SECOND, dialer.reachable()).await);
    let probes = server.probes.load(Ordering::Relaxed);
    assert!(probes <= 45, "{probes}");
}

/// Resolves as `watch_way` does over probes that `probe` answers by the time passed.
async fn watched(probe: impl Fn(Duration) -> BoxFuture<'static, bool>) -> Option<Duration> {
    let started = runtime::now();
    let watch = watch_way(StdRng::seed_from_u64(1), || probe(runtime::now() - started));
    runtime::timeout(120 * SECOND, watch).await.map(|()| runtime::now() - started)
}

#[tokio::test(start_paused = true)]
async fn probes_that_hang_do_not_hold_up_the_one_that_is_answered() {
    let heals = 10 * SECOND;
    let found = watched(|at| match at < heals {
        true => Box::pin(std::future::pending()),
        false => Box::pin(async { true }),
    })
    .await
    .unwrap();
    assert!(found >= heals && found - heals <= SECOND / 2, "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_way_or_one_lost_probe_is_no_break() {
    let slow = watched(|_| {
        Box::pin(async {
            runtime::sleep(SECOND).await;
            true
        })
    })
    .await;
    assert_eq!(slow, None, "never sooner than the backoff");
    let count = Cell::new(0);
    let lost = {
        let started = runtime::now();
        let watch = watch_way(StdRng::seed_from_u64(1), || {
            count.set(count.get() + 1);
            let hangs = count.get() == 2;
            async move { if hangs { std::future::pending().await } else { true } }
        });
        runtime::timeout(60 * SECOND, watch).await.map(|()| runtime::now() - started)
    };
    assert_eq!(lost, None);
}

#[tokio::test(start_paused = true)]
async fn s5_a_server_that_swaps_the_answer_is_found_out_by_the_host() {
    let world = World::new();
    let attacker = Arc::new(world.network.transport());
    let own = attacker.offer().await.unwrap();
    let swapped = attacker.answer(own.description()).await.unwrap();
    let sdp = swapped.description().to_owned();
    let server = Meddler::new(&world.signaling).events(move |event| match event {
        crate::signaling::Event::Answered { uuid, offer, peer, signature, .. } => {
            crate::signaling::Event::Answered { uuid, offer, peer, signature, sdp: sdp.clone() }
        }
        event => event,
    });
    let mut host = world.party_over(1, server).host(config("chat@1.0.0"));
    host.published().await;
    assert!(never(10 * SECOND, world.party(2).dial(host.by_uuid())).await);
    let found = host
        .notices()
        .into_iter()
        .any(|notice| matches!(notice, Notice::Error { error: DialError::Impersonation(_), .. }));
    assert!(found);
    assert_eq!(world.network.links_made(), 0);
}

/// Permanent errors end a connection, temporary ones never do: over every code there is.
#[tokio::test(start_paused = true)]
async fn what_is_permanent_is_so_for_every_error_there_is() {
    use crate::error::{DialError as D, Misbehaviour};
    use crate::link::LinkError;
    let world = World::new();
    let party = world.party(2);
    let uuid: crate::signaling::ServiceUuid = "00000000-0000-8000-8000-000000000000".parse().unwrap();
    let target = ServiceTarget::Uuid { uuid };
    let pin = Pin { uuid, owner: party.caller.identity().public_key() };
    let fresh = party.pinned_dialer(target.clone(), None);
    let pinned = party.pinned_dialer(target, Some(pin));
    for code in ErrorCode::ALL {
        let error = D::Signaling(SignalingError::refused(*code, "no"));
        let permanent = fresh.inner.failure(error.clone()).permanent;
        assert_eq!(permanent, !code.is_temporary(), "{code:?}");
        assert!(!pinned.inner.failure(error).permanent, "{code:?}: what was reached before comes back");
    }
    for (error, permanent) in [
        (D::Signaling(SignalingError::Unreachable("x".into())), false),
        (D::Signaling(SignalingError::NotAServer("x".into())), true),
        (D::Link(LinkError::Failed("x".into())), false),
        (D::TimedOut, false),
        (D::HostFull, false),
        (D::Misbehaviour(Misbehaviour::NoHello), false),
        (D::Impersonation("x".into()), true),
    ] {
        assert_eq!(fresh.inner.failure(error.clone()).permanent, permanent, "{error:?}");
        assert!(!pinned.inner.failure(error.clone()).permanent, "{error:?}");
    }
}
