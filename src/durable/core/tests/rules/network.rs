//! After a change of the network, or a sleep, the old path is probed and a fresh link dialed at once.

use super::*;
use crate::durable::core::NetworkChange;
use crate::durable::events::{ConnectionEvent, Recovery, RecoveryCause, RecoveryRung};

fn change(pair: &mut Pair, side: Side, change: NetworkChange) {
    let now = pair.now;
    pair.session(side).handle_network_change(now, change);
    pair.drain(side);
}

fn recoveries(pair: &Pair) -> Vec<(RecoveryCause, RecoveryRung)> {
    let recovered = pair.dialer.events.iter().filter_map(|event| match event {
        ConnectionEvent::Recovered(Recovery { cause, rung, .. }) => Some((*cause, *rung)),
        _ => None,
    });
    recovered.collect()
}

fn disconnects(pair: &Pair) -> usize {
    let is = |event: &&ConnectionEvent| matches!(event, ConnectionEvent::Disconnected { .. });
    pair.dialer.events.iter().filter(is).count()
}

#[test]
fn an_old_path_that_answers_first_ends_the_search_and_nothing_else_happens() {
    let mut pair = pair();
    pair.channel("c");
    pair.run(SECOND);
    let (link, probes, packets) = (pair.link(), pair.session(Dialer).counters().probes, pair.packets);
    change(&mut pair, Dialer, NetworkChange::Addresses);
    assert_eq!(pair.restarts, [link], "the link is brought to the new addresses");
    assert_eq!(pair.dialing(), 1, "a fresh one is dialed beside it, at once");
    assert_eq!(pair.session(Dialer).counters().probes, probes + 1);
    assert!(pair.packets > packets, "the probe went out at once");
    pair.run(SECOND);
    assert_eq!((pair.dialing(), pair.cancelled, pair.links(), pair.link()), (0, 1, 1, link));
    assert_eq!(recoveries(&pair), [(RecoveryCause::NetworkChange, RecoveryRung::Probe)]);
    assert_eq!(disconnects(&pair), 0, "it was connected all the time");
    assert_eq!(pair.session(Dialer).counters().reconnects, 0);
}

#[test]
fn a_link_that_falls_silent_gets_a_fresh_one_beside_it_before_its_probes_are_overdue() {
    let mut pair = Pair::connected(1, lossless());
    pair.channel("c");
    pair.run(SECOND);
    let (old, since) = (pair.link(), pair.now);
    pair.silence(old);
    // The host has another address: only the link can notice, at this end.
    pair.session(Dialer).handle_path_news(since, old, false);
    pair.drain(Dialer);
    assert_eq!(pair.dialing(), 1);
    pair.session(Dialer).handle_path_news(since, old, false);
    pair.drain(Dialer);
    assert_eq!(pair.dialing(), 1, "one is enough");
    pair.run_until(|pair| !pair.has_link(old));
    assert!(pair.now - since < 200 * MS);
    pair.run(SECOND);
    assert_eq!(recoveries(&pair), [(RecoveryCause::PathDead, RecoveryRung::FreshLink)]);

    // A host has nobody to dial, and probes.
    let link = pair.link();
    let now = pair.now;
    pair.session(Acceptor).handle_path_news(now, link, false);
    pair.drain(Acceptor);
    pair.run(SECOND);
    assert_eq!((pair.dialing(), pair.link()), (0, link));
}

#[test]
fn a_fresh_link_that_comes_first_replaces_the_old_one() {
    let mut pair = Pair::connected(1, lossless());
    let (ours, theirs) = pair.channel("c");
    pair.run(SECOND);
    let old = pair.link();
    pair.silence(old);
    pair.send(Dialer, ours, "lost with the old address").expect("taken");
    pair.run(10 * MS);
    change(&mut pair, Dialer, NetworkChange::Addresses);
    let since = pair.now;
    pair.run_until(|pair| !pair.has_link(old));
    pair.run(50 * MS);
    assert!(pair.dialer.connected() && pair.link() != old && pair.links() == 1);
    assert!(pair.now - since < 200 * MS, "it did not wait until the old one was seen to be dead");
    assert_eq!(pair.recv(Acceptor, theirs), Some("lost with the old address".into()));
    assert_eq!(recoveries(&pair), [(RecoveryCause::NetworkChange, RecoveryRung::FreshLink)]);
    let last = pair.session(Dialer).last_recovery().expect("there was one");
    assert!(last.after > Duration::ZERO && last.after < 200 * MS, "{last:?}");
    assert_eq!(last.replayed, 1);
    assert_eq!(disconnects(&pair), 1);
}

#[test]
fn an_acknowledgement_of_something_older_than_the_change_proves_nothing() {
    let mut pair = Pair::connected(1, lossless());
    let (ours, _) = pair.channel("c");
    pair.network.delay = 100 * MS;
    pair.run(SECOND);
    let old = pair.link();
    pair.send(Dialer, ours, "out before the change").expect("taken");
    pair.run(150 * MS); // its acknowledgement is on the way back
    change(&mut pair, Dialer, NetworkChange::Addresses);
    pair.silence_from(old, Dialer);
    pair.run(100 * MS);
    assert!(recoveries(&pair).is_empty() && pair.dialing() == 1);
    pair.run(5 * SECOND);
    assert_eq!(recoveries(&pair), [(RecoveryCause::NetworkChange, RecoveryRung::FreshLink)]);
}

#[test]
fn a_link_that_answers_after_a_restart_says_so() {
    let mut pair = pair();
    pair.run(SECOND);
    pair.network.dials_hang = true;
    pair.set_network(false);
    change(&mut pair, Dialer, NetworkChange::Addresses);
    pair.run(500 * MS);
    pair.set_network(true);
    let (now, link) = (pair.now, pair.link());
    assert!(pair.session(Dialer).wants_restart(link));
    pair.session(Dialer).handle_moved(now, link);
    pair.drain(Dialer);
    pair.hang_dials();
    pair.run(SECOND);
    assert_eq!(recoveries(&pair), [(RecoveryCause::NetworkChange, RecoveryRung::IceRestart)]);
    assert_eq!(pair.link(), link);

    // A restart that nobody needed here, such as the peer's, is no recovery, now or later.
    assert!(!pair.session(Dialer).wants_restart(link));
    let now = pair.now;
    pair.session(Dialer).handle_moved(now, link);
    pair.run(SECOND);
    change(&mut pair, Dialer, NetworkChange::Addresses);
    pair.hang_dials();
    pair.run(SECOND);
    let last = recoveries(&pair).last().copied();
    assert_eq!(last, Some((RecoveryCause::NetworkChange, RecoveryRung::Probe)));
}

#[test]
fn a_path_taken_for_dead_is_restarted_beside_the_dial() {
    let mut pair = Pair::connected(1, lossless());
    let (ours, _) = pair.channel("c");
    pair.run(SECOND);
    let link = pair.link();
    pair.network.dials_hang = true;
    pair.silence(link);
    pair.send(Dialer, ours, "not heard").expect("taken");
    pair.run(2 * SECOND);
    assert_eq!((&pair.restarts[..], pair.dialing()), (&[link][..], 1));
    // The application's wish for another link is none for this one.
    let mut pair = Pair::connected(1, lossless());
    pair.run(SECOND);
    let now = pair.now;
    pair.session(Dialer).reconnect_now(now);
    pair.drain(Dialer);
    assert!(pair.restarts.is_empty());
}

#[test]
fn a_peer_that_moved_may_move_again_at_once() {
    let mut pair = Pair::connected(1, lossless());
    pair.channel("c");
    pair.run(SECOND);
    let (now, link) = (pair.now, pair.link());
    pair.network.dials_hang = true;
    for _ in 0..2 {
        pair.session(Dialer).handle_path_news(now, link, false);
        pair.session(Dialer).handle_moved(now, link);
        pair.drain(Dialer);
        pair.run(SECOND);
    }
    let moved = (RecoveryCause::PathDead, RecoveryRung::IceRestart);
    assert_eq!(recoveries(&pair), [moved, moved]);
}

#[test]
fn a_dial_that_fails_while_the_link_is_only_in_question_is_no_news() {
    let mut pair = pair();
    pair.run(SECOND);
    pair.network.fails_fast = true;
    let before = pair.dialer.events.len();
    pair.set_network(false);
    change(&mut pair, Dialer, NetworkChange::Wake);
    pair.run(300 * MS);
    assert_eq!(
        (pair.dialing(), pair.dialer.events.len()),
        (0, before),
        "it failed, and nothing is known yet"
    );
    pair.run(3 * SECOND);
    assert_eq!(disconnects(&pair), 1, "now it is");
    pair.set_network(true);
    pair.run(60 * SECOND);
    assert_eq!(recoveries(&pair).last().expect("it came back").0, RecoveryCause::Wake);
}

#[test]
fn a_change_ends_a_wait_and_does_not_spend_the_attempts() {
    let mut config = lossless();
    config.backoff.max_attempts = Some(20);
    config.park_for = Duration::from_secs(10_000);
    let mut pair = Pair::connected(1, config);
    pair.run(SECOND);
    pair.set_network(false);
    pair.network.fails_fast = true;
    pair.cut();
    pair.run(20 * SECOND);
    for _ in 0..50 {
        let dialed = pair.dialed.len();
        change(&mut pair, Dialer, NetworkChange::Addresses);
        assert!(pair.dialed.len() > dialed, "it waited on");
        pair.run(200 * MS);
    }
    pair.set_network(true);
    change(&mut pair, Dialer, NetworkChange::Addresses);
    pair.run(100 * MS);
    assert!(pair.dialer.connected());
    assert_eq!(recoveries(&pair), [(RecoveryCause::LinkDown, RecoveryRung::FreshLink)]);
}

#[test]
fn a_host_probes_at_once_and_dials_nobody() {
    let mut pair = pair();
    pair.run(SECOND);
    let probes = pair.session(Acceptor).counters().probes;
    change(&mut pair, Acceptor, NetworkChange::Addresses);
    assert_eq!(pair.session(Acceptor).counters().probes, probes + 1);
    pair.run(SECOND);
    assert_eq!((pair.dialing(), pair.links()), (0, 1));
    assert!(pair.restarts.is_empty() && pair.acceptor.connected());
}

#[test]
fn changes_in_a_storm_keep_the_number_of_dials_bounded_and_lose_nothing() {
    let mut pair = Pair::connected(7, lossless());
    let (ours, theirs) = pair.channel("c");
    let mut read = vec![];
    for number in 0..500 {
        pair.send(Dialer, ours, text(number)).expect("taken");
        let what = if number % 2 == 0 { NetworkChange::Addresses } else { NetworkChange::Wake };
        change(&mut pair, Dialer, what);
        if number % 5 == 0 {
            pair.cut();
        }
        if number % 7 == 0 {
            change(&mut pair, Acceptor, what);
        }
        assert!(pair.dialing() <= 2);
        pair.run((number % 30) as u32 * MS);
        read.extend(pair.recv_all(Acceptor, theirs));
    }
    pair.run(40 * SECOND);
    read.extend(pair.recv_all(Acceptor, theirs));
    assert_eq!(read, (0..500).map(text).collect::<Vec<_>>());
    assert_eq!((pair.links(), pair.dialing(), pair.begun), (1, 0, 1));
}

#[test]
fn each_recovery_names_its_cause() {
    let mut pair = Pair::connected(1, lossless());
    pair.channel("c");
    pair.run(SECOND);
    pair.cut();
    pair.run(SECOND);
    let now = pair.now;
    pair.session(Dialer).reconnect_now(now);
    pair.drain(Dialer);
    pair.run(SECOND);
    pair.inject(Dialer, &b"\xff"[..]);
    pair.run(10 * SECOND);
    let link = pair.link();
    pair.silence(link);
    pair.run(60 * SECOND);
    let causes: Vec<_> = recoveries(&pair).into_iter().map(|(cause, _)| cause).collect();
    use RecoveryCause::{LinkDown, Misbehaviour, PathDead, Requested};
    assert_eq!(causes, [LinkDown, Requested, Misbehaviour, PathDead]);
    assert_eq!(pair.session(Dialer).counters().reconnects, 4);
}
