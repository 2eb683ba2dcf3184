//! The end of a connection: graceful, final, and known to both.

use super::*;
use crate::durable::core::RefuseCode;
use crate::durable::events::{ConnectionEvent, ConnectionState};
use crate::error::{ChannelError, CloseReason, DialError};

fn closes(pair: &Pair, side: Side) -> Vec<CloseReason> {
    let end = if side == Dialer { &pair.dialer } else { &pair.acceptor };
    let reasons = end.events.iter().filter_map(|event| match event {
        ConnectionEvent::Closed(reason) => Some(reason.clone()),
        _ => None,
    });
    reasons.collect()
}

/// Nothing follows the end, and nothing is left.
fn is_final(pair: &mut Pair) {
    let dialed = pair.dialed.len();
    pair.network.up = true;
    pair.run(Duration::from_secs(3600));
    assert_eq!(pair.dialed.len(), dialed, "it dialed after the end");
    assert_eq!((pair.links(), pair.dialing()), (0, 0));
    for side in [Dialer, Acceptor] {
        let end = pair.end(side);
        if let Some(last) = end.events.last() {
            assert!(matches!(last, ConnectionEvent::Closed(_)), "{side:?}: {last:?} after the end");
            assert!(matches!(end.states.last(), Some(ConnectionState::Closed(_))));
        }
        assert!(closes(pair, side).len() <= 1);
    }
}

#[test]
fn close_hands_over_what_is_queued_and_both_sides_learn_of_it() {
    for (closer, other) in [(Dialer, Acceptor), (Acceptor, Dialer)] {
        let mut pair = pair();
        let (ours, theirs) = pair.channel("c");
        let (from, to) = if closer == Dialer { (ours, theirs) } else { (theirs, ours) };
        (0..500).for_each(|number| _ = pair.send(closer, from, text(number)));
        pair.close(closer);
        assert!(pair.send(closer, from, "late").is_none());
        let refused = pair.session(closer).open("d", Default::default());
        assert_eq!(refused, Err(ChannelError::Closed(CloseReason::Local)));
        pair.run(SECOND);
        assert_eq!(closes(&pair, closer), [CloseReason::Local]);
        assert_eq!(closes(&pair, other), [CloseReason::Peer]);
        let read = pair.recv_all(other, to);
        assert_eq!(read, (0..500).map(text).collect::<Vec<_>>(), "what arrived stays readable");
        is_final(&mut pair);
    }
}

#[test]
fn close_with_much_queued_waits_for_it() {
    let mut pair = pair();
    pair.network.delay = 50 * MS;
    let (ours, theirs) = pair.channel("c");
    pair.run(SECOND);
    let mut sent = 0;
    for _ in 0..300 {
        sent += usize::from(pair.send(Dialer, ours, bytes(10_000)).is_some());
    }
    pair.close(Dialer);
    let mut read = 0;
    for _ in 0..100 {
        pair.run(50 * MS);
        read += pair.recv_all(Acceptor, theirs).len();
    }
    assert!(sent > 50);
    assert_eq!(read, sent);
    assert_eq!(closes(&pair, Acceptor), [CloseReason::Peer]);
}

#[test]
fn both_may_close_at_once() {
    let mut pair = pair();
    pair.close(Dialer);
    pair.close(Acceptor);
    pair.run(SECOND);
    assert_eq!(closes(&pair, Dialer), [CloseReason::Local]);
    assert_eq!(closes(&pair, Acceptor), [CloseReason::Local]);
    is_final(&mut pair);
}

#[test]
fn a_close_that_is_lost_with_the_link_is_over_soon_on_both_sides() {
    for both in [true, false] {
        for closer in [Dialer, Acceptor] {
            let mut pair = pair();
            pair.run(SECOND);
            pair.close(closer);
            if both {
                pair.close(closer.other());
            }
            pair.cut();
            pair.run(SECOND);
            for side in [Dialer, Acceptor] {
                let reasons = closes(&pair, side);
                assert!(
                    matches!(reasons[..], [CloseReason::Local | CloseReason::Peer]),
                    "{side:?}: {reasons:?}"
                );
            }
            is_final(&mut pair);
        }
    }
}

#[test]
fn close_while_connecting_sticks() {
    for delay in [0, 8, 16, 21] {
        let mut pair = Pair::new(1, ConnectionConfig::default());
        pair.start();
        pair.run(delay * MS);
        pair.close(Dialer);
        pair.run(SECOND);
        assert_eq!(closes(&pair, Dialer), [CloseReason::Local], "after {delay} ms");
        assert!(pair.acceptor.session.is_none() || !pair.acceptor.connected());
        let parked = pair.config.park_for;
        pair.run(parked);
        is_final(&mut pair);
    }
}

#[test]
fn close_while_reconnecting_ends_in_time_and_sticks() {
    let mut pair = pair();
    pair.set_network(false);
    pair.cut();
    pair.run(3 * SECOND);
    pair.close(Dialer);
    assert_eq!(closes(&pair, Dialer), [], "it may still reach the peer");
    pair.run(5 * SECOND);
    assert_eq!(closes(&pair, Dialer), [CloseReason::Local]);
    is_final(&mut pair);
    assert_eq!(closes(&pair, Acceptor), [CloseReason::Expired(Duration::from_secs(300))]);
}

#[test]
fn close_while_reconnecting_still_reaches_a_peer_that_comes_back_in_time() {
    let mut pair = pair();
    let (ours, theirs) = pair.channel("c");
    pair.set_network(false);
    pair.cut();
    pair.run(100 * MS);
    pair.send(Dialer, ours, "the last").expect("taken");
    pair.close(Dialer);
    pair.run(SECOND);
    pair.set_network(true);
    pair.run(3 * SECOND);
    assert_eq!(closes(&pair, Dialer), [CloseReason::Local]);
    assert_eq!(closes(&pair, Acceptor), [CloseReason::Peer]);
    assert_eq!(pair.recv(Acceptor, theirs), Some("the last".into()));
}

#[test]
fn a_peer_that_was_away_learns_of_the_close_when_it_comes_back() {
    let mut pair = pair();
    pair.set_network(false);
    pair.cut();
    pair.run(SECOND);
    pair.close(Acceptor);
    pair.run(6 * SECOND);
    assert_eq!(closes(&pair, Acceptor), [CloseReason::Local]);
    assert_eq!(closes(&pair, Dialer), []);
    pair.set_network(true);
    pair.run(60 * SECOND);
    assert_eq!(closes(&pair, Dialer), [CloseReason::Peer]);
    is_final(&mut pair);
}

#[test]
fn a_reader_that_does_not_read_does_not_keep_the_close_from_its_peer() {
    for (closer, other) in [(Dialer, Acceptor), (Acceptor, Dialer)] {
        let mut pair = Pair::connected(1, lossless());
        let (ours, theirs) = pair.channel("c");
        pair.run(SECOND);
        let from = if closer == Dialer { ours } else { theirs };
        while pair.send(closer, from, bytes(10_000)).is_some() {
            pair.settle();
        }
        pair.close(closer);
        pair.run(10 * SECOND);
        assert_eq!(closes(&pair, closer), [CloseReason::Local]);
        assert_eq!(closes(&pair, other), [CloseReason::Peer], "{other:?} was not told");
        is_final(&mut pair);
    }
}

#[test]
fn a_dead_path_does_not_keep_close_for_longer_than_its_time() {
    let mut pair = pair();
    pair.set_network(false);
    pair.close(Dialer);
    pair.run(5 * SECOND);
    assert_eq!(closes(&pair, Dialer), [CloseReason::Local]);
    is_final(&mut pair);
}

#[test]
fn a_session_whose_peer_stays_away_expires() {
    let mut pair = pair();
    pair.set_network(false);
    pair.cut();
    pair.settle();
    pair.run(299 * SECOND);
    assert_eq!(closes(&pair, Acceptor), []);
    pair.run(2 * SECOND);
    assert_eq!(closes(&pair, Acceptor), [CloseReason::Expired(Duration::from_secs(300))]);
}

#[test]
fn attempts_that_are_spent_end_it() {
    let mut pair = Pair::new(1, ConnectionConfig::default());
    pair.network.up = false;
    pair.network.fails_fast = true;
    pair.start();
    pair.run(Duration::from_secs(600));
    match pair.close_reason(Dialer) {
        Some(CloseReason::Unreachable { attempts: 10, last: DialError::Link(_) }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(pair.dialed.len(), 10);
    is_final(&mut pair);
}

#[test]
fn a_foreign_version_is_refused_on_both_sides_without_a_loop() {
    let mut pair = Pair::new(1, ConnectionConfig::default());
    pair.refuse = Some((RefuseCode::Version, "3"));
    pair.start();
    pair.run(60 * SECOND);
    let version = DialError::Version { ours: crate::durable::core::VERSION, theirs: "3".into() };
    assert_eq!(closes(&pair, Dialer), [CloseReason::Refused(version)]);
    assert_eq!((pair.dialed.len(), pair.begun), (1, 0));
    is_final(&mut pair);
}

#[test]
fn a_full_host_is_asked_again_with_patience() {
    let mut pair = Pair::new(1, ConnectionConfig::default());
    pair.refuse = Some((RefuseCode::Full, "too many sessions"));
    pair.start();
    pair.run(5 * SECOND);
    assert!(pair.dialed.len() >= 2 && pair.dialed.len() <= 4, "{} attempts", pair.dialed.len());
    pair.refuse = None;
    pair.run(30 * SECOND);
    assert!(pair.dialer.connected());
}

#[test]
fn durations_without_end_are_no_trouble() {
    let mut config = lossless();
    config.park_for = Duration::MAX;
    config.close_timeout = Duration::MAX;
    config.liveness.idle_probe = Duration::MAX;
    config.liveness.suspect_after = Duration::MAX;
    config.liveness.busy_probe = Duration::MAX;
    config.backoff.base = Duration::MAX;
    config.backoff.max = Duration::MAX;
    config.queue.max_age = Some(Duration::MAX);
    let mut pair = Pair::connected(1, config);
    let (ours, _) = pair.channel("c");
    pair.send(Dialer, ours, "x").expect("taken");
    pair.run(SECOND);
    pair.set_network(false);
    pair.network.fails_fast = true;
    pair.cut();
    pair.run(60 * SECOND);
    pair.close(Dialer);
    pair.close(Acceptor);
    pair.run(60 * SECOND);
}
