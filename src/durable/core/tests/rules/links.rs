//! Links come and go beneath one session.

use super::*;
use crate::durable::events::{ConnectionEvent, ConnectionState};

#[test]
fn a_welcome_that_is_lost_leads_to_the_same_session() {
    let mut pair = Pair::new(1, ConnectionConfig::default());
    pair.start();
    pair.run_until(|pair| pair.begun == 1);
    pair.cut();
    pair.run(10 * SECOND);
    assert!(pair.dialer.connected() && pair.acceptor.connected());
    assert_eq!(pair.begun, 1);
    assert_eq!(pair.session(Dialer).id(), pair.session(Acceptor).id());
    assert_eq!(pair.links(), 1);
}

#[test]
fn a_thousand_cuts_leave_one_link_and_lose_nothing() {
    let mut pair = Pair::connected(1, lossless());
    let (ours, theirs) = pair.channel("c");
    let mut read = vec![];
    for number in 0..1000 {
        pair.send(Dialer, ours, text(number)).expect("taken");
        if number % 3 == 0 {
            pair.run((number % 50) as u32 * MS);
        }
        pair.cut();
        pair.run(500 * MS);
        read.extend(pair.recv_all(Acceptor, theirs));
    }
    pair.run(10 * SECOND);
    read.extend(pair.recv_all(Acceptor, theirs));
    assert_eq!(read, (0..1000).map(text).collect::<Vec<_>>());
    assert_eq!((pair.links(), pair.dialing(), pair.begun), (1, 0, 1));
    assert!(pair.session(Dialer).counters().reconnects >= 900);
}

#[test]
fn an_old_link_that_recovers_ends_the_search_for_a_new_one() {
    let mut pair = pair();
    let (ours, theirs) = pair.channel("c");
    pair.run(SECOND);
    pair.set_network(false);
    pair.send(Dialer, ours, "in the dark").expect("taken");
    pair.run(2 * SECOND);
    assert_eq!(pair.dialing(), 1, "doubt is enough to look for a new link");
    assert!(matches!(pair.dialer.states.last(), Some(ConnectionState::Reconnecting { .. })));
    // What was under way arrives late over the old link, sooner than a new one comes about.
    pair.network.dials_hang = true;
    pair.hang_dials();
    pair.set_network(true);
    pair.run(SECOND);
    assert!(pair.dialer.connected());
    assert_eq!(pair.recv(Acceptor, theirs), Some("in the dark".into()));
    assert_eq!((pair.dialing(), pair.cancelled), (0, 1));
    assert_eq!((pair.links(), pair.session(Dialer).counters().reconnects), (1, 1));
}

#[test]
fn a_dial_that_hangs_does_not_delay_another() {
    let mut pair = pair();
    pair.run(SECOND);
    pair.network.dials_hang = true;
    pair.cut();
    pair.run(10 * MS);
    assert_eq!(pair.dialing(), 1);
    pair.network.dials_hang = false;
    pair.run(9 * SECOND);
    assert!(pair.dialer.connected(), "the second one went through after 8 s, the first has 30 s");
    assert_eq!(pair.dialing(), 0);
}

#[test]
fn news_that_the_network_is_back_end_a_wait_and_a_hang() {
    let mut pair = pair();
    pair.set_network(false);
    pair.network.fails_fast = true;
    pair.cut();
    pair.run(40 * SECOND);
    assert!(pair.session(Dialer).wants_reachability());
    pair.set_network(true);
    let now = pair.now;
    pair.session(Dialer).handle_reachable(now);
    pair.drain(Dialer);
    pair.run(100 * MS);
    assert!(pair.dialer.connected(), "it waited for the backoff");

    pair.network.dials_hang = true;
    pair.cut();
    pair.run(2 * SECOND);
    pair.network.dials_hang = false;
    let now = pair.now;
    pair.session(Dialer).handle_reachable(now);
    pair.drain(Dialer);
    pair.run(100 * MS);
    assert!(pair.dialer.connected(), "it waited for the attempt that hangs");
}

fn delays(pair: &Pair) -> Vec<Duration> {
    let delays = pair.dialer.events.iter().filter_map(|event| match event {
        ConnectionEvent::Reconnecting { delay, .. } if !delay.is_zero() => Some(*delay),
        _ => None,
    });
    delays.collect()
}

#[test]
fn waits_double_up_to_a_cap_and_begin_anew_only_after_evidence_of_health() {
    let mut config = lossless();
    config.park_for = Duration::from_secs(10_000);
    let mut pair = Pair::connected(1, config);
    pair.run(SECOND);
    pair.set_network(false);
    pair.network.fails_fast = true;
    pair.cut();
    pair.run(Duration::from_secs(200));
    let waits = delays(&pair);
    assert!(waits.len() >= 7, "{waits:?}");
    for (at, wait) in waits.iter().enumerate() {
        let full = Duration::from_secs((1 << at.min(5)).min(30));
        assert!(*wait <= full && *wait >= full.mul_f64(0.8), "{at}: {wait:?}");
    }
    assert!(waits.windows(2).any(|two| two[0].mul_f64(2.0) != two[1]), "no jitter: {waits:?}");

    // A link that opens and never answers is no evidence.
    pair.set_network(true);
    pair.mute = true;
    let before = delays(&pair).len();
    pair.run(Duration::from_secs(120));
    let waits = delays(&pair);
    assert!(waits.len() > before + 1 && waits[before..].iter().all(|wait| *wait >= 24 * SECOND), "{waits:?}");

    // One that answers is.
    pair.mute = false;
    pair.run(60 * SECOND);
    assert!(pair.dialer.connected());
    let before = delays(&pair).len();
    pair.set_network(false);
    pair.cut();
    pair.run(3 * SECOND);
    assert!(delays(&pair)[before] <= SECOND);
}

#[test]
fn reconnect_now_replaces_a_link_that_seems_to_work_and_ends_a_wait() {
    let mut pair = pair();
    let old = pair.link();
    let now = pair.now;
    pair.session(Dialer).reconnect_now(now);
    pair.drain(Dialer);
    pair.run_until(|pair| pair.links() == 1 && pair.link() != old || pair.dialer.connected());
    pair.run(SECOND);
    assert!(pair.dialer.connected());
    assert_eq!(pair.links(), 1);

    pair.set_network(false);
    pair.network.fails_fast = true;
    pair.cut();
    pair.run(100 * SECOND);
    pair.set_network(true);
    let now = pair.now;
    pair.session(Dialer).reconnect_now(now);
    pair.drain(Dialer);
    pair.run(100 * MS);
    assert!(pair.dialer.connected());
}

#[test]
fn there_is_one_event_for_each_transition_in_order() {
    let mut pair = Pair::connected(1, lossless());
    let (ours, _) = pair.channel("c");
    for round in 0..30 {
        pair.send(Dialer, ours, text(round)).expect("taken");
        match round % 3 {
            0 => pair.cut(),
            1 => {
                pair.set_network(false);
                pair.run(4 * SECOND);
                pair.set_network(true);
            }
            _ => pair.network.fails_fast = !pair.network.fails_fast,
        }
        pair.run(40 * SECOND);
    }
    pair.close(Dialer);
    pair.run(10 * SECOND);
    for side in [Dialer, Acceptor] {
        let mut connected = false;
        let mut over = false;
        for event in &pair.end(side).events {
            assert!(!over, "{event:?} after the end");
            match event {
                ConnectionEvent::Connected { .. } => {
                    assert!(!std::mem::replace(&mut connected, true), "twice")
                }
                ConnectionEvent::Disconnected { .. } => {
                    assert!(std::mem::replace(&mut connected, false), "twice")
                }
                ConnectionEvent::Reconnecting { .. } => assert!(!connected, "while connected"),
                ConnectionEvent::Closed(_) => over = true,
                _ => {}
            }
        }
        assert!(over);
        let states = &pair.end(side).states;
        assert!(states.windows(2).all(|two| two[0] != two[1]), "a state twice: {states:?}");
    }
}

/// Cuts each link soon after it came about; returns how many came at once before the first wait.
fn links_before_a_wait(pair: &mut Pair, lives: Duration) -> usize {
    for link in 0..100 {
        pair.run_until(|pair| pair.dialer.connected());
        pair.run(lives);
        let before = delays(pair).len();
        pair.cut();
        pair.run(MS);
        if delays(pair).len() > before {
            return link;
        }
    }
    panic!("a hundred quick links in a row, and none of them was waited for");
}

#[test]
fn quick_links_in_a_row_that_lead_nowhere_are_waited_for() {
    for lives in [Duration::ZERO, 100 * MS, 4 * SECOND] {
        let mut pair = Pair::connected(1, lossless());
        let links = links_before_a_wait(&mut pair, lives);
        assert_eq!(links, 30, "with links of {lives:?}");
        // The waits grow as those between failed attempts do.
        for _ in 0..4 {
            pair.run_until(|pair| pair.dialer.connected());
            pair.run(lives);
            pair.cut();
            pair.run(MS);
        }
        let waits = delays(&pair);
        assert!(waits.len() == 5 && waits[4] > 8 * SECOND, "{waits:?}");
    }
}

#[test]
fn quick_links_that_carry_something_are_not_waited_for() {
    let mut pair = Pair::connected(1, lossless());
    let (ours, theirs) = pair.channel("c");
    for number in 0..200 {
        pair.run_until(|pair| pair.dialer.connected());
        pair.send(Dialer, ours, text(number)).expect("taken");
        pair.run(50 * MS);
        pair.cut();
        pair.run(MS);
    }
    pair.run(SECOND);
    assert_eq!(pair.recv_all(Acceptor, theirs).len(), 200);
    assert!(delays(&pair).is_empty());
}

#[test]
fn a_hello_that_is_overtaken_by_the_next_changes_nothing() {
    let mut pair = Pair::connected(1, lossless());
    let (ours, theirs) = pair.channel("c");
    pair.run(SECOND);
    pair.cut();
    pair.run(10 * MS);
    // The next link's HELLO is slow.
    pair.network.delay = SECOND;
    pair.run_until(|pair| pair.links() == 1);
    pair.network.delay = 5 * MS;
    let now = pair.now;
    pair.session(Dialer).reconnect_now(now);
    pair.drain(Dialer);
    pair.run(100 * MS);
    assert!(pair.dialer.connected() && pair.acceptor.connected(), "over the link after it");
    pair.send(Acceptor, theirs, "before").expect("taken");
    pair.run(100 * MS);
    assert_eq!(pair.recv_all(Dialer, ours), ["before".into()]);
    pair.run(100 * MS);
    let (link, changes) = (pair.link(), [pair.dialer.states.len(), pair.acceptor.states.len()]);
    // It arrives, and claims to have received nothing.
    pair.run(2 * SECOND);
    assert_eq!([pair.dialer.states.len(), pair.acceptor.states.len()], changes);
    assert_eq!((pair.link(), pair.links()), (link, 1));
    pair.send(Acceptor, theirs, "after").expect("taken");
    pair.run(100 * MS);
    assert_eq!(pair.recv_all(Dialer, ours), ["after".into()]);
}
