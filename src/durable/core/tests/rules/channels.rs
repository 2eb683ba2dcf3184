//! Channels: meeting under a label, and leaving nothing behind.

use super::*;
use crate::config::ChannelConfig;
use crate::durable::core::tests::pair::drained;
use crate::durable::events::{ChannelEvent, ConnectionEvent};
use crate::error::{ChannelError, SendError};

fn opens(pair: &mut Pair, side: Side, label: &str) -> Result<crate::durable::core::ChannelId, ChannelError> {
    let opened = pair.session(side).open(label, ChannelConfig::default());
    pair.drain(side);
    opened
}

#[test]
fn both_may_open_the_same_label() {
    let mut pair = pair();
    let (ours, theirs) = pair.channel("c");
    pair.run(SECOND);
    assert_eq!((pair.accept(Dialer), pair.accept(Acceptor)), (None, None), "it is the one they have");
    pair.send(Dialer, ours, "there").expect("taken");
    pair.send(Acceptor, theirs, "back").expect("taken");
    pair.run(SECOND);
    assert_eq!(pair.recv(Acceptor, theirs), Some("there".into()));
    assert_eq!(pair.recv(Dialer, ours), Some("back".into()));
}

#[test]
fn one_opens_and_the_other_accepts_or_opens_it_later() {
    for accepts in [true, false] {
        let mut pair = pair();
        let ours = pair.open(Dialer, "c");
        pair.send(Dialer, ours, "early").expect("taken");
        pair.run(SECOND);
        let theirs = match accepts {
            true => pair.accept(Acceptor).expect("it waits to be accepted"),
            false => pair.open(Acceptor, "c"),
        };
        assert_eq!(pair.accept(Acceptor), None, "it is there once");
        assert_eq!(pair.session(Acceptor).label(theirs).as_deref(), Some("c"));
        assert_eq!(pair.recv(Acceptor, theirs), Some("early".into()));
        let again = opens(&mut pair, Acceptor, "c");
        assert_eq!(again, Err(ChannelError::AlreadyOpen("c".into())));
    }
}

#[test]
fn a_label_has_one_channel_a_side_and_1_to_255_bytes() {
    let mut pair = pair();
    pair.open(Dialer, "c");
    assert_eq!(opens(&mut pair, Dialer, "c"), Err(ChannelError::AlreadyOpen("c".into())));
    assert_eq!(opens(&mut pair, Dialer, ""), Err(ChannelError::BadLabel(0)));
    assert_eq!(opens(&mut pair, Dialer, &"x".repeat(256)), Err(ChannelError::BadLabel(256)));
    assert!(opens(&mut pair, Dialer, &"é".repeat(127)).is_ok());
}

#[test]
fn a_channel_opened_as_durable_cannot_be_taken_as_lossy() {
    let mut pair = pair();
    pair.open(Dialer, "c");
    pair.run(SECOND);
    let lossy = pair.session(Acceptor).open("c", ChannelConfig::lossy(false, 0));
    assert_eq!(lossy, Err(ChannelError::OtherKind("c".into())));
}

#[test]
fn closing_a_channel_delivers_what_was_queued_and_ends_both_ways() {
    let mut pair = pair();
    let (ours, theirs) = pair.channel("c");
    pair.run(SECOND);
    let mut here = pair.channel_events(Dialer, ours);
    let mut there = pair.channel_events(Acceptor, theirs);
    (0..5).for_each(|number| _ = pair.send(Dialer, ours, text(number)));
    pair.close_channel(Dialer, ours);
    assert!(pair.send(Dialer, ours, "late").is_none());
    pair.run(SECOND);
    assert_eq!(pair.recv_all(Acceptor, theirs), (0..5).map(text).collect::<Vec<_>>());
    let now = pair.now;
    let refused = pair.session(Acceptor).send(theirs, "back".into(), &SendTerms::default(), now);
    assert_eq!(refused, Err(("back".into(), SendError::ChannelClosed)));
    assert_eq!(drained(&mut here).last(), Some(&ChannelEvent::Closed));
    assert_eq!(drained(&mut there).last(), Some(&ChannelEvent::Closed));
    assert!(pair.dialer.connected() && pair.acceptor.connected(), "the connection goes on");
}

#[test]
fn a_label_can_be_used_again_at_once() {
    let mut pair = pair();
    for round in 0..50 {
        let (ours, theirs) = pair.channel("c");
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        pair.send(Dialer, ours, a.as_str()).expect("taken");
        pair.send(Acceptor, theirs, b.as_str()).expect("taken");
        pair.run(SECOND);
        assert_eq!(pair.recv_all(Acceptor, theirs), [Message::from(a)]);
        assert_eq!(pair.recv_all(Dialer, ours), [Message::from(b)]);
        // In turns: one side first, both at once, in a blackout.
        match round % 3 {
            0 => pair.close_channel(Dialer, ours),
            1 => pair.close_channel(Acceptor, theirs),
            _ => {}
        }
        if round % 2 == 0 {
            pair.run(SECOND);
        }
        if round % 5 == 0 {
            pair.cut();
        }
        pair.close_channel(Dialer, ours);
        pair.close_channel(Acceptor, theirs);
    }
    pair.run(10 * SECOND);
    assert_eq!(pair.channels(), [0, 0]);
}

#[test]
fn opening_again_before_the_peer_has_answered_pairs_the_right_ones() {
    let mut pair = pair();
    pair.network.delay = 100 * MS;
    let first = pair.open(Dialer, "c");
    pair.send(Dialer, first, "first").expect("taken");
    pair.run(10 * MS);
    pair.close_channel(Dialer, first);
    let second = pair.open(Dialer, "c");
    pair.send(Dialer, second, "second").expect("taken");
    pair.run(SECOND);
    let [a, b] = [0, 1].map(|_| pair.accept(Acceptor).expect("two channels, one after the other"));
    assert_eq!(pair.recv_all(Acceptor, a), ["first".into()]);
    assert_eq!(pair.recv_all(Acceptor, b), ["second".into()]);
    assert!(pair.send(Acceptor, a, "to nobody").is_none());
    pair.send(Acceptor, b, "back").expect("taken");
    pair.run(SECOND);
    assert_eq!(pair.recv(Dialer, second), Some("back".into()));
    assert!(pair.dialer.connected());
    let lost =
        pair.dialer.events.iter().filter(|event| matches!(event, ConnectionEvent::Disconnected { .. }));
    assert_eq!(lost.count(), 0);
}

#[test]
fn ten_thousand_channels_one_after_the_other_leave_nothing() {
    let mut pair = pair();
    for round in 0..10_000 {
        let label = format!("c{}", round % 7);
        let (side, other) = if round % 2 == 0 { (Dialer, Acceptor) } else { (Acceptor, Dialer) };
        let id = pair.open(side, &label);
        match round % 4 {
            // Never heard of, heard of, used, closed by the peer.
            0 => {}
            1 => pair.run(20 * MS),
            2 => {
                pair.send(side, id, "x").expect("taken");
                pair.run(20 * MS);
                let there = pair.accept(other).expect("a channel");
                assert_eq!(pair.recv_all(other, there).len(), 1);
                pair.close_channel(other, there);
            }
            _ => {
                pair.run(20 * MS);
                let there = pair.accept(other).expect("a channel");
                pair.close_channel(other, there);
                pair.run(20 * MS);
            }
        }
        pair.close_channel(side, id);
        pair.run(20 * MS);
    }
    pair.run(10 * SECOND);
    assert_eq!(pair.channels(), [0, 0]);
    assert_eq!(pair.session(Dialer).counters().reconnects, 0);
}

#[test]
fn a_channel_whose_end_is_lost_with_the_link_still_ends() {
    let mut pair = pair();
    let (ours, theirs) = pair.channel("c");
    pair.run(SECOND);
    pair.close_channel(Dialer, ours);
    pair.cut();
    pair.run(10 * SECOND);
    assert!(pair.send(Acceptor, theirs, "back").is_none());
    pair.close_channel(Acceptor, theirs);
    pair.run(10 * SECOND);
    assert_eq!(pair.channels(), [0, 0]);
}

#[test]
fn two_peers_at_their_limits_do_not_call_each_other_names() {
    let mut config = lossless();
    config.max_channels = 8;
    let mut pair = Pair::connected(1, config);
    for side in [Dialer, Acceptor] {
        (0..8).for_each(|at| _ = pair.open(side, &format!("{side:?} {at}")));
    }
    for side in [Dialer, Acceptor] {
        assert_eq!(opens(&mut pair, side, "one more"), Err(ChannelError::TooMany(8)));
    }
    pair.run(60 * SECOND);
    assert_eq!(pair.channels(), [16, 16]);
    assert_eq!(pair.session(Dialer).counters().reconnects, 0);
}

#[test]
fn an_application_that_keeps_ended_channels_does_not_make_its_peer_a_culprit() {
    let mut config = lossless();
    config.max_channels = 8;
    let mut pair = Pair::connected(1, config);
    for round in 0..100 {
        let ours = pair.open(Dialer, "c");
        pair.send(Dialer, ours, text(round)).expect("taken");
        pair.run(SECOND);
        let kept = pair.accept(Acceptor).expect("a channel");
        assert_eq!(pair.recv_all(Acceptor, kept), [text(round)]);
        pair.close_channel(Dialer, ours);
        pair.run(SECOND);
    }
    assert_eq!(pair.session(Dialer).counters().reconnects, 0);
}
