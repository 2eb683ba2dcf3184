//! The rest of what the directory promises.

use super::*;

#[test]
fn the_highest_match_is_found_and_a_prerelease_only_when_asked_for() {
    let mut world = World::new();
    let host = id(1);
    world.claim(&host, "alice");
    for version in ["1.0.0", "1.2.3", "1.10.0", "1.11.0-rc.1", "2.0.0"] {
        world.publish(&host, publication(&host, "alice", &format!("chat@{version}")));
    }
    for (query, found) in [
        ("chat@1", Some("chat@1.10.0")),
        ("chat@^1.2", Some("chat@1.10.0")),
        ("chat@~1.2", Some("chat@1.2.3")),
        ("chat@1.2.3", Some("chat@1.2.3")),
        ("chat@1.2.4", None),
        ("chat@1.11.0-rc.1", Some("chat@1.11.0-rc.1")),
        ("chat@^1.11.0-rc.0", Some("chat@1.11.0-rc.1")),
        ("chat@3", None),
        ("talk@1", None),
    ] {
        let target = by_name("alice", query, None);
        let got = match world.ask(&id(2), Request::Resolve { target }) {
            Ok(Response::Service(record)) => Some(record.service.to_string()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => {
                assert_eq!(error.code(), Some(ErrorCode::ServiceNotFound));
                None
            }
        };
        assert_eq!(got.as_deref(), found, "{query}");
    }
}

#[test]
fn reading_needs_no_signature_and_shows_the_same() {
    let mut world = World::new();
    let host = id(1);
    let mut publish = publication(&host, "alice", "chat@1.0.0");
    publish.metadata = metadata("title", "Chat".into());
    world.claim(&host, "alice");
    world.publish(&host, publish);
    for request in [
        Request::Owner { username: user("alice") },
        Request::List { username: user("alice") },
        Request::Resolve { target: by_name("alice", "chat@1", None) },
    ] {
        let anonymous = Verified::anonymous(request.clone()).unwrap();
        let Outcome::Reply(unsigned) = world.directory.handle(world.now, anonymous) else { panic!() };
        assert_eq!(unsigned, world.ask(&id(2), request));
        assert!(unsigned.is_ok());
    }
}

#[test]
fn an_offer_is_answered_once_and_by_its_taker_only() {
    let mut world = World::new();
    let (host, peer, other) = (id(1), id(2), id(3));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1]);
    let code = |reply: Result<Response, SignalingError>| reply.unwrap_err().code().unwrap();
    let record = || Request::Resolve { target: ServiceTarget::Uuid { uuid } };
    let Ok(Response::Service(service)) = world.ask(&peer, record()) else { panic!() };
    let new = offer(&host, uuid, 1);
    let untaken = TakenOffer { service, id: new.id, sdp: new.sdp, signature: new.signature };
    assert_eq!(code(world.answer(&peer, &untaken)), ErrorCode::NotYours);
    let taken = world.take(&peer, uuid);
    assert_eq!(code(world.answer(&other, &taken)), ErrorCode::OfferTaken);
    assert_eq!(code(world.answer(&host, &taken)), ErrorCode::OfferTaken, "the host answers for nobody");
    world.answer(&peer, &taken).unwrap();
    assert_eq!(code(world.answer(&peer, &taken)), ErrorCode::AlreadyAnswered);
    assert_eq!(code(world.answer(&other, &taken)), ErrorCode::OfferTaken);
    world.pass(seconds(60));
    assert_eq!(code(world.answer(&peer, &taken)), ErrorCode::OfferNotFound);
    assert_eq!(world.directory.offers.len(), 0);
}

#[test]
fn a_peer_waits_as_long_as_it_said_and_no_longer() {
    let mut world = World::new();
    let (host, peer) = (id(1), id(2));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    let short = world.park(&peer, uuid, 5);
    let long = world.park(&peer, uuid, 3600);
    world.pass(Duration::from_millis(4999));
    assert_eq!(world.directory.poll_completion(), None);
    world.pass(Duration::from_millis(1));
    let (id, reply) = world.directory.poll_completion().unwrap();
    assert_eq!((id, reply.unwrap_err().code()), (short, Some(ErrorCode::NoOffer)));
    world.pass(seconds(25));
    assert_eq!(world.directory.poll_completion().unwrap().0, long, "half a minute is the most");
}

#[test]
fn a_withdrawn_service_takes_its_offers_and_waiting_peers_with_it() {
    let mut world = World::new();
    let (host, peer) = (id(1), id(2));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1]);
    let taken = world.take(&peer, uuid);
    let waiter = world.park(&peer, uuid, 30);
    world.ask(&host, Request::Withdraw { uuid }).unwrap();
    let (id, reply) = world.directory.poll_completion().unwrap();
    assert_eq!((id, reply.unwrap_err().code()), (waiter, Some(ErrorCode::ServiceNotFound)));
    assert_eq!(world.answer(&peer, &taken).unwrap_err().code(), Some(ErrorCode::OfferNotFound));
    assert!(world.directory.offers.is_empty() && world.directory.by_user.is_empty());
    assert_eq!(world.directory.keys[&peer.public_key()].taken, 0);
}

#[test]
fn quotas_bound_each_key() {
    let mut limits = Limits::default();
    (limits.services_per_key, limits.offers_per_service, limits.takes_per_key) = (1, 2, 2);
    (limits.waiters_per_service, limits.streams_per_key) = (1, 1);
    let mut world = World::with(limits);
    let (host, peer) = (id(1), id(2));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    let second = Request::Publish(publication(&host, "alice", "talk@1.0.0"));
    assert_eq!(world.refused(&host, second), ErrorCode::Quota);
    let three: Vec<_> = (1..4).map(|number| offer(&host, uuid, number)).collect();
    assert_eq!(
        world.refused(&host, Request::AddOffers { instance: None, uuid, offers: three.clone() }),
        ErrorCode::Quota
    );
    let publish = Publish { offers: three, ..publication(&host, "alice", "chat@1.0.0") };
    assert_eq!(world.refused(&host, Request::Publish(publish)), ErrorCode::Quota);
    world.add(&host, uuid, &[1]);
    world.take(&peer, uuid);
    world.park(&peer, uuid, 30);
    assert_eq!(world.refused(&peer, take(uuid, 30)), ErrorCode::Quota);
    assert_eq!(world.refused(&id(3), take(uuid, 30)), ErrorCode::Busy);
    let _open = world.listen(&host, None);
    let request = world.verified(&host, Request::Events { cursor: None });
    let error = world.directory.listen(world.now, &request).unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Quota));
}

#[test]
fn a_cursor_of_another_run_or_of_nonsense_says_missed_and_goes_on() {
    let mut world = World::new();
    let host = id(1);
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1]);
    world.take(&id(2), uuid);
    let wanted = Event::OfferWanted { uuid, offers: 0, wanted: 0 };
    for text in ["0000000000000008-1", "", "-", "x", "0000000000000007-999", "0000000000000007--1"] {
        let mut listener = world.listen(&host, Some(Cursor(text.into())));
        let events = world.directory.read_events(&mut listener);
        let plain: Vec<_> = events.iter().map(|(_, event)| event.clone()).collect();
        assert_eq!(plain, [Event::Missed, wanted.clone()], "{text}");
        let mut resumed = world.listen(&host, Some(events[0].0.clone()));
        let events = world.directory.read_events(&mut resumed);
        assert_eq!(events.len(), 1, "and its own cursor is good");
        world.directory.unlisten(world.now, listener);
        world.directory.unlisten(world.now, resumed);
    }
}

#[test]
fn events_are_bounded_and_a_gap_is_said() {
    let limits = Limits { events_per_key: 4, ..Limits::default() };
    let mut world = World::with(limits);
    let (host, peer) = (id(1), id(2));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1]);
    let mut listener = world.listen(&host, None);
    world.directory.read_events(&mut listener);
    let taken = world.take(&peer, uuid);
    for number in 0..6 {
        let candidates = vec![number.to_string()];
        world.ask(&peer, Request::Candidates { offer: taken.id, candidates }).unwrap();
    }
    let events: Vec<_> =
        world.directory.read_events(&mut listener).into_iter().map(|(_, event)| event).collect();
    assert_eq!(events.len(), 5);
    assert_eq!(events[0], Event::Missed);
    assert!(world.directory.read_events(&mut listener).is_empty());
    // Unread ones do not stay for ever, nor does what is known of a key.
    world.directory.unlisten(world.now, listener);
    world.pass(seconds(3600));
    world.pass(seconds(3600));
    assert_eq!(world.directory.keys[&host.public_key()].told_events().count(), 0);
    assert!(!world.directory.keys.contains_key(&peer.public_key()));
}

#[test]
fn names_services_and_nonces_outlive_a_restart_and_offers_do_not() {
    let mut world = World::new();
    let (host, peer) = (id(1), id(2));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.claim(&host, "gone");
    let doomed = world.publish(&host, publication(&host, "gone", "talk@1.0.0")).uuid;
    let withdraw = world.verified(&host, Request::Withdraw { uuid: doomed });
    world.directory.handle(world.now, withdraw.clone());
    world.add(&host, uuid, &[1]);
    let mut records = BTreeMap::new();
    let mut keep = |directory: &mut Directory| {
        while let Some(Change { key, value }) = directory.poll_change() {
            match value {
                Some(value) => drop(records.insert(key, value)),
                None => drop(records.remove(&key)),
            }
        }
        records.clone()
    };
    let records = keep(&mut world.directory);
    let mut world = World { directory: Directory::new(Limits::default(), 8), ..world };
    world.pass(seconds(100));
    world.directory.restore(world.now, records.clone()).unwrap();
    let target = ServiceTarget::Uuid { uuid };
    assert!(world.ask(&peer, Request::Resolve { target }).is_ok());
    assert_eq!(world.refused(&peer, Request::Claim { username: user("alice") }), ErrorCode::UsernameTaken);
    assert_eq!(world.refused(&peer, take(uuid, 0)), ErrorCode::NoOffer);
    let Outcome::Reply(Err(error)) = world.directory.handle(world.now, withdraw) else { panic!() };
    assert_eq!(error.code(), Some(ErrorCode::Replayed), "a restart opens no window");
    // Another restart, after the lease.
    let mut late = Directory::new(Limits::default(), 9);
    late.restore(world.now + 300_000, records).unwrap();
    assert!(late.services.is_empty() && late.claims.len() == 2);
    assert!(keep(&mut late).keys().all(|key| !key.starts_with("service/")));
    for bad in [("claim/x", "{"), ("what/x", "1"), ("nonce/x/y", "1"), ("x", "1")] {
        let records = [(bad.0.to_owned(), bad.1.as_bytes().to_vec())];
        assert!(Directory::new(Limits::default(), 1).restore(START, records).is_err(), "{bad:?}");
    }
}

#[test]
fn nothing_is_left_when_everything_has_expired() {
    let mut world = World::new();
    let (host, peer) = (id(1), id(2));
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1, 2]);
    let taken = world.take(&peer, uuid);
    world.answer(&peer, &taken).unwrap();
    world.take(&peer, uuid);
    world.park(&peer, uuid, 30);
    while let Some(next) = world.directory.next_expiry() {
        assert!(next > world.now, "time goes on");
        world.now = next;
        world.directory.expire(next);
    }
    let Directory { claims, services, offers, waiters, keys, nonces, description_bytes, .. } =
        &world.directory;
    assert!(claims.is_empty() && services.is_empty() && offers.is_empty() && waiters.is_empty());
    assert_eq!((keys.len(), *nonces, *description_bytes), (0, 0, 0));
}

#[test]
fn a_host_that_returns_without_a_cursor_has_an_empty_pool_and_knows_it() {
    let mut world = World::new();
    let host = id(1);
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1]);
    let mut listener = world.listen(&host, None);
    let (cursor, _) = world.directory.read_events(&mut listener).remove(0);
    world.directory.unlisten(world.now, listener);
    world.pass(seconds(30));
    let listener = world.listen(&host, Some(cursor));
    assert_eq!(world.publish(&host, publication(&host, "alice", "chat@1.0.0")).offers, 1);
    world.directory.unlisten(world.now, listener);
    world.pass(seconds(30));
    let mut listener = world.listen(&host, None);
    let events: Vec<_> =
        world.directory.read_events(&mut listener).into_iter().map(|(_, event)| event).collect();
    assert_eq!(events, [Event::Opened, Event::OfferWanted { uuid, offers: 0, wanted: 0 }]);
}

#[test]
fn one_key_may_be_host_and_peer() {
    let mut world = World::new();
    let host = id(1);
    let uuid = world.host(&host, "alice", "chat@1.0.0");
    world.add(&host, uuid, &[1]);
    let taken = world.take(&host, uuid);
    world.answer(&host, &taken).unwrap();
    assert!(world.events(&host).iter().any(|event| matches!(event, Event::Answered { .. })));
}
