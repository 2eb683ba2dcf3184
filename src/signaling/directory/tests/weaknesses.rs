//! What went wrong in the source system, each shown not to happen here. Numbered as there.

use super::*;

#[test]
fn s1_only_the_owner_withdraws_a_service() {
    let mut world = World::new();
    let (host, stranger) = (id(1), id(2));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    assert_eq!(world.refused(&stranger, Request::Withdraw { uuid }), ErrorCode::NotYours);
    assert!(Verified::anonymous(Request::Withdraw { uuid }).is_err());
    world.ask(&host, Request::Withdraw { uuid }).unwrap();
    assert_eq!(world.refused(&host, Request::Withdraw { uuid }), ErrorCode::ServiceNotFound);
}

#[test]
fn s2_an_invalid_or_replayed_publication_leaves_the_service_as_it_was() {
    let mut world = World::new();
    let host = id(1);
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1, 2]);
    let good = || publication(&host, "alice", "chat@1.0.0");
    let spoilt = |spoil: fn(&mut Publish)| {
        let mut publish = good();
        spoil(&mut publish);
        Request::Publish(publish)
    };
    fn nested(depth: usize) -> serde_json::Value {
        (0..depth).fold(1.into(), |inner, _| [inner].into_iter().collect())
    }
    let cases = [
        (spoilt(|p| p.salt = "AAAA".into()), ErrorCode::Malformed),
        (spoilt(|p| p.salt = "AAAAAAAAAAAAAAAAAAAAAA".into()), ErrorCode::BadUuid),
        (spoilt(|p| p.username = user("nobody")), ErrorCode::UsernameUnclaimed),
        (spoilt(|p| p.token_hash = Some("AAAA".into())), ErrorCode::Malformed),
        (spoilt(|p| p.metadata = metadata("a", "b".repeat(5000).into())), ErrorCode::TooLarge),
        (spoilt(|p| p.metadata = metadata("a", nested(127))), ErrorCode::Malformed),
    ];
    for (request, code) in cases {
        assert_eq!(world.refused(&host, request), code);
    }
    for (sdp, code) in [("", ErrorCode::BadDescription), (&*"v".repeat(70_000), ErrorCode::TooLarge)] {
        let mut publish = good();
        let id = OfferId::from_bytes([3; 16]);
        publish.offers =
            vec![NewOffer { id, sdp: sdp.into(), signature: sign_offer(&host, &uuid, &id, sdp) }];
        assert_eq!(world.refused(&host, Request::Publish(publish)), code);
    }
    let mut twice = good();
    twice.offers = vec![offer(&host, uuid, 4), offer(&host, uuid, 4)];
    assert_eq!(world.refused(&host, Request::Publish(twice)), ErrorCode::Malformed);

    let captured = world.verified(&host, Request::Publish(good()));
    assert!(matches!(world.directory.handle(world.now, captured.clone()), Outcome::Reply(Ok(_))));
    let before = world.state();
    let Outcome::Reply(Err(error)) = world.directory.handle(world.now, captured) else { panic!() };
    assert_eq!((error.code(), world.state()), (Some(ErrorCode::Replayed), before));
    assert_eq!(world.take(&id(2), uuid).sdp, "offer 2", "its offers are still there");
}

#[test]
fn s3_two_services_of_one_key_keep_their_offers_apart() {
    let mut world = World::new();
    let host = id(1);
    let first = world.host(&host, "alice", "aaa@1.0.0");
    let second = world.publish(&host, publication(&host, "alice", "bbb@1.0.0")).uuid;
    world.add(&host, second, &[1]);
    let Outcome::Reply(Err(error)) = world.outcome(&id(2), take(first, 0)) else { panic!() };
    assert_eq!(error.code(), Some(ErrorCode::NoOffer));
    // Nor can an offer be in two pools.
    let same = vec![offer(&host, first, 1)];
    assert_eq!(
        world.refused(&host, Request::AddOffers { instance: None, uuid: first, offers: same }),
        ErrorCode::OfferTaken
    );
    assert_eq!(world.take(&id(2), second).service.uuid, second);
}

#[test]
fn s4_only_the_two_parties_send_and_see_candidates() {
    let mut world = World::new();
    let (host, peer, stranger) = (id(1), id(2), id(3));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1]);
    let offer = OfferId::from_bytes([1; 16]);
    let candidates = |text: &str| Request::Candidates { offer, candidates: vec![text.into()] };
    assert_eq!(world.refused(&stranger, candidates("x")), ErrorCode::NotYours);
    assert_eq!(world.refused(&peer, candidates("x")), ErrorCode::NotYours, "it has not taken it yet");
    world.ask(&host, candidates("early")).unwrap();
    let taken = world.take(&peer, uuid);
    world.ask(&host, candidates("later")).unwrap();
    world.ask(&peer, candidates("mine")).unwrap();
    world.answer(&peer, &taken).unwrap();
    world.ask(&peer, candidates("mine too")).unwrap();
    assert_eq!(world.refused(&stranger, candidates("x")), ErrorCode::NotYours);
    let told = |events: Vec<Event>| -> Vec<String> {
        let lists = events.into_iter().filter_map(|event| match event {
            Event::Candidates { candidates, .. } => Some(candidates),
            _ => None,
        });
        lists.flatten().collect()
    };
    assert_eq!(told(world.events(&peer)), ["early", "later"]);
    assert_eq!(told(world.events(&host)), ["mine", "mine too"]);
    assert!(world.events(&stranger).is_empty());
}

#[test]
fn s5_a_changed_description_or_owner_is_seen_by_the_other_peer() {
    let mut world = World::new();
    let (host, peer) = (id(1), id(2));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1]);
    let taken = world.take(&peer, uuid);
    let verify = crate::signaling::auth::verify_offer;
    let record = &taken.service;
    assert!(verify(&record.owner, &uuid, &taken.id, &taken.sdp, &taken.signature));
    assert!(!verify(&record.owner, &uuid, &taken.id, "offer of the server", &taken.signature));
    // And the owner cannot be exchanged, because the uuid that the peer knows commits to it.
    let salt = super::super::services::decoded(&record.salt).unwrap();
    assert_eq!(ServiceUuid::derive(&record.owner, &record.username, &record.service, &salt), uuid);
    let liar = id(9).public_key();
    assert_ne!(ServiceUuid::derive(&liar, &record.username, &record.service, &salt), uuid);
}

#[test]
fn s6_a_key_may_own_several_names_and_every_error_has_its_code() {
    let mut world = World::new();
    let (host, other) = (id(1), id(2));
    world.claim(&host, "alice");
    world.claim(&host, "alice-2");
    let claim = Request::Claim { username: user("alice") };
    assert_eq!(world.refused(&other, claim), ErrorCode::UsernameTaken);
    let codes: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(codes.len(), ErrorCode::ALL.len());
}

#[test]
fn s7_an_answer_is_pushed_once_and_not_shown_again_after_its_cursor() {
    let mut world = World::new();
    let (host, peer) = (id(1), id(2));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1]);
    let mut listener = world.listen(&host, None);
    world.directory.read_events(&mut listener);
    let taken = world.take(&peer, uuid);
    world.answer(&peer, &taken).unwrap();
    assert_eq!(world.directory.poll_woken(), Some(host.public_key()));
    let events = world.directory.read_events(&mut listener);
    let answers = |events: &[(Cursor, Event)]| {
        events.iter().filter(|(_, event)| matches!(event, Event::Answered { .. })).count()
    };
    assert_eq!(answers(&events), 1);
    let cursor = events.last().map(|(cursor, _)| cursor.clone());
    assert!(world.directory.read_events(&mut listener).is_empty());
    let mut again = world.listen(&host, cursor);
    assert!(world.directory.read_events(&mut again).is_empty());
}

#[test]
fn s8_an_expired_name_is_free_for_another_key_and_asking_has_limits() {
    let mut world = World::new();
    let (first, second) = (id(1), id(2));
    let uuid = world.host(&first, "alice", "chat@1.0.0");
    world.pass(Duration::from_secs(365 * 24 * 3600 - 1));
    assert_eq!(world.refused(&second, Request::Claim { username: user("alice") }), ErrorCode::UsernameTaken);
    world.pass(seconds(1));
    let Ok(Response::Owner(None)) = world.ask(&second, Request::Owner { username: user("alice") }) else {
        panic!("the name should be free")
    };
    world.claim(&second, "alice");
    assert_eq!(world.refused(&second, Request::Withdraw { uuid }), ErrorCode::ServiceNotFound);
    let publish = Request::Publish(publication(&first, "alice", "chat@1.0.0"));
    assert_eq!(world.refused(&first, publish), ErrorCode::NotYours);

    let mut limits = Limits::default();
    (limits.requests_per_minute, limits.names_per_key, limits.candidates_per_side) = (5, 1, 2);
    let mut world = World::with(limits);
    let host = id(1);
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1]);
    assert_eq!(world.refused(&host, Request::Claim { username: user("bob") }), ErrorCode::Quota);
    let offer = OfferId::from_bytes([1; 16]);
    let three = Request::Candidates { offer, candidates: vec!["c".into(); 3] };
    assert_eq!(world.refused(&host, three), ErrorCode::TooLarge);
    let error = world.ask(&host, Request::Owner { username: user("bob") }).unwrap_err();
    let SignalingError::Refused { code: ErrorCode::Quota, retry_after: Some(wait), .. } = error else {
        panic!()
    };
    world.pass(wait);
    world.ask(&host, Request::Owner { username: user("bob") }).unwrap();
}

#[test]
fn s9_a_private_service_is_not_listed_nor_guessed_by_range_nor_opened_without_its_token() {
    use sha2::Digest as _;
    let mut world = World::new();
    let (host, peer) = (id(1), id(2));
    world.claim(&host, "alice");
    let hash = sha2::Sha256::digest("sesame");
    let hash = crate::base64url::encode(hash);
    let secret =
        Publish { public: false, token_hash: Some(hash), ..publication(&host, "alice", "vault@1.0.0") };
    let hidden = Publish { public: false, ..publication(&host, "alice", "hidden@1.0.0") };
    let uuid = world.publish(&host, secret).uuid;
    world.publish(&host, hidden);
    let Ok(Response::Services(listed)) = world.ask(&peer, Request::List { username: user("alice") }) else {
        panic!()
    };
    assert!(listed.is_empty());
    let mut resolve = |target| world.ask(&peer, Request::Resolve { target });
    let code = |reply: Result<Response, SignalingError>| reply.unwrap_err().code().unwrap();
    assert_eq!(code(resolve(by_name("alice", "vault@^1", Some("sesame")))), ErrorCode::ServiceNotFound);
    assert_eq!(code(resolve(by_name("alice", "vault@1.0.0", None))), ErrorCode::TokenNeeded);
    assert_eq!(code(resolve(by_name("alice", "vault@1.0.0", Some("open")))), ErrorCode::TokenNeeded);
    assert!(resolve(by_name("alice", "vault@1.0.0", Some("sesame"))).is_ok());
    assert!(resolve(ServiceTarget::Uuid { uuid }).is_ok());
    assert!(resolve(by_name("alice", "hidden@1.0.0", None)).is_ok());
    let take = Request::Take { target: by_name("alice", "vault@1.0.0", None), wait: Duration::ZERO };
    assert_eq!(world.refused(&peer, take), ErrorCode::TokenNeeded);
}

#[test]
fn w3_the_granted_lease_is_the_one_asked_for_within_bounds_and_is_what_counts() {
    let mut world = World::new();
    let host = id(1);
    world.claim(&host, "alice");
    for (asked, granted) in
        [(0, 10), (10, 10), (300, 300), (24 * 3600, 24 * 3600), (u64::MAX / 2000, 24 * 3600)]
    {
        let publish = Publish { ttl: seconds(asked), ..publication(&host, "alice", "chat@1.0.0") };
        let lease = world.publish(&host, publish);
        assert_eq!((lease.ttl, lease.expires_at), (seconds(granted), world.now + granted * 1000));
    }
    let lease = world.publish(&host, publication(&host, "alice", "chat@1.0.0"));
    let resolve = || Request::Resolve { target: ServiceTarget::Uuid { uuid: lease.uuid } };
    world.pass(lease.ttl - Duration::from_millis(1));
    assert!(world.ask(&host, resolve()).is_ok());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.refused(&host, resolve()), ErrorCode::ServiceNotFound);
    assert!(world.events(&host).contains(&Event::LeaseLost { uuid: lease.uuid }), "never silently");
}

#[test]
fn w4_a_refresh_keeps_uuid_offers_and_peers() {
    let mut world = World::new();
    let (host, peer) = (id(1), id(2));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1, 2]);
    let taken = world.take(&peer, uuid);
    for _ in 0..3 {
        world.pass(seconds(20));
        let lease = world.publish(&host, publication(&host, "alice", "chat@1.0.0"));
        assert_eq!((lease.uuid, lease.offers, lease.expires_at), (uuid, 1, world.now + 300_000));
        if world.now == START + 20_000 {
            world.answer(&peer, &taken).unwrap();
        }
    }
    world.pass(seconds(299));
    let target = ServiceTarget::Uuid { uuid };
    assert!(world.ask(&peer, Request::Resolve { target }).is_ok(), "by the first lease it had ended");
}

#[test]
fn w5_the_uuid_is_found_again_after_a_restart_of_host_and_server() {
    let mut world = World::new();
    let (host, peer) = (id(1), id(2));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    // A server that lost everything, and a host that knows nothing but its key.
    let mut world = World { directory: Directory::new(Limits::default(), 8), ..world };
    assert_eq!(world.host(&host, "alice", "chat@1.0.0"), uuid);
    world.add(&host, uuid, &[1]);
    assert_eq!(world.take(&peer, uuid).service.uuid, uuid);
}

#[test]
fn w14_many_joiners_at_once_each_have_an_offer_of_their_own_from_a_pool_of_one() {
    let mut world = World::new();
    let host = id(1);
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1]);
    let mut ids = BTreeSet::from([world.take(&id(10), uuid).id]);
    let waiting: Vec<_> = (11..15).map(|peer| world.park(&id(peer), uuid, 30)).collect();
    let wanted = Event::OfferWanted { uuid, offers: 0, wanted: 4 };
    assert_eq!(world.events(&host), [wanted], "the host is asked, and told how many wait");
    for (at, waiter) in waiting.into_iter().enumerate() {
        world.add(&host, uuid, &[20 + at as u8]);
        let (id, reply) = world.directory.poll_completion().unwrap();
        let Ok(Response::Taken(taken)) = reply else { panic!() };
        assert_eq!(id, waiter, "first come, first served");
        assert!(ids.insert(taken.id));
        world.answer(&super::id(11 + at as u8), &taken).unwrap();
    }
    assert_eq!(ids.len(), 5);
}

#[test]
fn w17_offers_that_expired_leave_the_pool_and_the_host_is_asked_for_fresh_ones() {
    let mut world = World::new();
    let (host, peer) = (id(1), id(2));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1]);
    world.pass(seconds(180));
    assert_eq!(world.events(&host), [Event::OfferWanted { uuid, offers: 0, wanted: 0 }]);
    world.add(&host, uuid, &[2]);
    assert_eq!(world.take(&peer, uuid).sdp, "offer 2");
}

#[test]
fn w24_a_retry_burns_no_offer_and_those_of_a_dead_host_are_not_handed_out() {
    let mut world = World::new();
    let (host, peer) = (id(1), id(2));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1]);
    let listener = world.listen(&host, None);
    // The peer goes away before it has its offer.
    let taken = world.take(&peer, uuid);
    world.directory.give_back(world.now, peer.public_key(), taken.id);
    assert_eq!(world.take(&peer, uuid).id, taken.id);
    // Or while it waits.
    let waiter = world.park(&peer, uuid, 30);
    world.directory.drop_waiter(world.now, waiter);
    world.add(&host, uuid, &[2]);
    assert_eq!(world.directory.poll_completion(), None);
    // The host dies: nobody is sent into the void.
    world.directory.unlisten(world.now, listener);
    world.pass(seconds(20));
    let waiter = world.park(&id(3), uuid, 30);
    world.pass(seconds(5));
    // It starts anew and knows none of its old offers.
    let mut publish = publication(&host, "alice", "chat@1.0.0");
    publish.offers = vec![offer(&host, uuid, 3)];
    let request = world.verified(&host, Request::Publish(publish));
    let Outcome::Reply(Ok(_)) = world.directory.handle(world.now, request) else { panic!() };
    let (served, reply) = world.directory.poll_completion().unwrap();
    let Ok(Response::Taken(taken)) = reply else { panic!() };
    assert_eq!((served, taken.sdp.as_str()), (waiter, "offer 3"));
}

#[test]
fn w25_n10_batches_in_one_millisecond_are_all_seen_in_order_with_any_cursor() {
    let mut world = World::new();
    let (host, peer) = (id(1), id(2));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1]);
    let taken = world.take(&peer, uuid);
    let (mut cursor, mut seen) = (None, Vec::new());
    for batch in 0..20 {
        let candidates = vec![format!("a{batch}"), format!("b{batch}")];
        world.ask(&peer, Request::Candidates { offer: taken.id, candidates }).unwrap();
        if batch == 5 {
            world.answer(&peer, &taken).unwrap();
        }
        if batch % 3 == 0 {
            let mut listener = world.listen(&host, cursor.clone());
            for (at, event) in world.directory.read_events(&mut listener) {
                cursor = Some(at);
                seen.push(event);
            }
            world.directory.unlisten(world.now, listener);
        }
    }
    let answers = seen.iter().filter(|event| matches!(event, Event::Answered { .. })).count();
    let batches: Vec<_> = seen
        .iter()
        .filter_map(|event| match event {
            Event::Candidates { candidates, .. } => Some(candidates[0].clone()),
            _ => None,
        })
        .collect();
    assert_eq!(answers, 1);
    assert_eq!(batches, (0..19).map(|batch| format!("a{batch}")).collect::<Vec<_>>());
}

#[test]
fn n4_a_late_answer_reaches_no_other_offer() {
    let mut world = World::new();
    let (host, peer) = (id(1), id(2));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1]);
    let taken = world.take(&peer, uuid);
    world.add(&host, uuid, &[2]);
    world.pass(seconds(60));
    assert_eq!(world.answer(&peer, &taken).unwrap_err().code(), Some(ErrorCode::OfferNotFound));
    assert!(!world.events(&host).iter().any(|event| matches!(event, Event::Answered { .. })));
    // Withdrawn ones are gone at once; an idle pool holds as many as the host holds open.
    world.ask(&host, Request::WithdrawOffers { uuid, offers: vec![OfferId::from_bytes([2; 16])] }).unwrap();
    assert_eq!(world.publish(&host, publication(&host, "alice", "chat@1.0.0")).offers, 0);
    assert_eq!(world.directory.description_bytes, 0);
}

#[test]
fn n5_the_pool_does_not_count_connected_peers() {
    let mut world = World::new();
    let host = id(1);
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    for peer in 10..40 {
        world.add(&host, uuid, &[peer]);
        let taken = world.take(&id(peer), uuid);
        world.answer(&id(peer), &taken).unwrap();
    }
}

#[test]
fn n9_what_is_absent_is_signed_as_absent() {
    let host = id(1);
    for request in [
        Request::Events { cursor: None },
        Request::Publish(publication(&host, "alice", "chat@1.0.0")),
        Request::Resolve { target: by_name("alice", "chat@1", None) },
    ] {
        let signed = SignedRequest::sign(&host, request, START, [1; 16]);
        let carried =
            SignedRequest::from_http(signed.method(), signed.path(), signed.body(), &signed.authorization());
        assert!(carried.unwrap().verify(START).is_ok());
    }
}
