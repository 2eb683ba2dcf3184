//! Acknowledgement, order, windows, and what queues do without a link.

use super::*;
use crate::config::{ChannelConfig, SessionLost, WhenFull};
use crate::durable::core::tests::pair::drained;
use crate::durable::core::{Decoder, Frame, GapCause};
use crate::durable::events::{ChannelEvent, ConnectionEvent};
use crate::error::{CloseReason, SendError};

#[test]
fn a_message_is_acknowledged_when_it_was_consumed_not_when_it_arrived() {
    let mut pair = pair();
    let (ours, theirs) = pair.channel("c");
    let seq = pair.send(Dialer, ours, "hello").expect("taken");
    pair.run(10 * SECOND);
    assert_eq!(pair.fate(Dialer, ours, seq), None, "it arrived, and nobody has read it");
    assert_eq!(pair.recv(Acceptor, theirs), Some("hello".into()));
    pair.run(10 * SECOND);
    assert_eq!(pair.fate(Dialer, ours, seq), None, "it is being worked on");
    assert_eq!(pair.recv(Acceptor, theirs), None);
    pair.run(SECOND);
    assert_eq!(pair.fate(Dialer, ours, seq), Some(Ok(())), "asking for the next acknowledges");
    assert_eq!(pair.session(Dialer).buffered(ours).0.messages, 0);
}

#[test]
fn a_stream_is_acknowledged_with_few_packets_and_a_message_alone_at_once() {
    let mut pair = pair();
    pair.network.delay = MS;
    let (ours, theirs) = pair.channel("c");
    pair.run(SECOND);
    for (message, soon) in [(text(1), 2 * MS), (bytes(64 << 10), 5 * MS)] {
        let seq = pair.send(Dialer, ours, message).expect("taken");
        pair.run(MS);
        assert_eq!(pair.recv_all(Acceptor, theirs).len(), 1);
        pair.run(soon + MS);
        assert_eq!(pair.fate(Dialer, ours, seq), Some(Ok(())), "nothing follows that it could wait for");
    }
    pair.log = Some(vec![]);
    // 25 MB/s for 0.4 s.
    for number in 0..160 {
        pair.send(Dialer, ours, bytes(64 << 10)).expect("taken");
        pair.run(Duration::from_micros(2600));
        pair.recv_all(Acceptor, theirs);
        let kept = pair.session(Dialer).buffered(ours).0.messages;
        assert!(kept <= 9, "{kept} of {number} messages are not acknowledged, more than 16 ms bring");
    }
    let log = pair.log.take().unwrap_or_default();
    let acknowledgements = log.iter().filter(|(from, _)| *from == Acceptor).count();
    assert!(acknowledgements <= 30, "{acknowledgements} packets with nothing but acknowledgements");
}

#[test]
fn what_was_received_and_not_consumed_is_neither_lost_nor_doubled_nor_sent_again_by_a_cut() {
    let mut pair = pair();
    let (ours, theirs) = pair.channel("c");
    (0..10).for_each(|number| _ = pair.send(Dialer, ours, text(number)));
    pair.run(SECOND);
    assert_eq!(pair.recv(Acceptor, theirs), Some(text(0)));
    pair.cut();
    pair.run(5 * SECOND);
    let rest = pair.recv_all(Acceptor, theirs);
    assert_eq!(rest, (1..10).map(text).collect::<Vec<_>>());
    assert_eq!(pair.session(Dialer).counters().replayed, 0, "it had them already");
    pair.run(SECOND);
    assert_eq!(pair.fate(Dialer, ours, 10), Some(Ok(())));
}

#[test]
fn what_was_under_way_in_a_cut_is_sent_again() {
    let mut pair = pair();
    let (ours, theirs) = pair.channel("c");
    pair.run(SECOND);
    (0..10).for_each(|number| _ = pair.send(Dialer, ours, text(number)));
    pair.cut();
    pair.run(5 * SECOND);
    assert_eq!(pair.recv_all(Acceptor, theirs), (0..10).map(text).collect::<Vec<_>>());
    assert_eq!(pair.session(Dialer).counters().replayed, 10);
    let replayed = pair.dialer.events.iter().rev().find_map(|event| match event {
        ConnectionEvent::Connected { replayed, .. } => Some(*replayed),
        _ => None,
    });
    assert_eq!(replayed, Some(10));
}

#[test]
fn a_receipt_tells_of_closed_channels_and_connections() {
    let mut pair = pair();
    let (ours, theirs) = pair.channel("c");
    let (other, _) = pair.channel("d");
    let seq = pair.send(Dialer, ours, "nobody reads this").expect("taken");
    let last = pair.send(Dialer, other, "nor this").expect("taken");
    pair.run(SECOND);
    pair.close_channel(Acceptor, theirs);
    pair.run(SECOND);
    assert_eq!(pair.fate(Dialer, ours, seq), Some(Err(SendError::ChannelClosed)));
    assert_eq!(pair.fate(Dialer, other, last), None);
    pair.close(Acceptor);
    pair.run(SECOND);
    assert_eq!(pair.fate(Dialer, other, last), Some(Err(SendError::Closed(CloseReason::Peer))));
}

#[test]
fn a_large_message_does_not_block_a_small_one_of_another_channel() {
    let mut pair = pair();
    pair.network.delay = 20 * MS;
    let (large, large_there) = pair.channel("large");
    let (small, small_there) = pair.channel("small");
    pair.run(SECOND);
    pair.send(Dialer, large, bytes(16 << 20)).expect("taken");
    pair.run(10 * MS);
    pair.log = Some(vec![]);
    pair.send(Dialer, small, "quick").expect("taken");
    pair.run_until(|pair| {
        let session = pair.acceptor.session.as_ref().expect("it is there");
        session.consumed(small_there).is_some() && session.counters().messages_received > 0
    });
    let mut quick = None;
    for _ in 0..1000 {
        quick = pair.recv(Acceptor, small_there);
        if quick.is_some() {
            break;
        }
        pair.run(20 * MS);
    }
    assert_eq!(quick, Some("quick".into()));
    assert_eq!(pair.recv(Acceptor, large_there), None, "the large one is still under way");
    // It shares the next packet, or has the one after: it never waits for a window of the other.
    let log = pair.log.take().unwrap_or_default();
    let ours = log.iter().filter(|(from, _)| *from == Dialer).map(|(_, packet)| frames(packet));
    let large_first =
        ours.take_while(|packet| !packet.iter().any(|frame| matches!(frame, Frame::Data { .. })));
    let passed =
        large_first.filter(|packet| packet.iter().any(|frame| matches!(frame, Frame::Fragment { .. })));
    let passed = passed.count();
    assert!(passed <= 1, "{passed} packets of the large one went before it");
    for _ in 0..2000 {
        pair.run(20 * MS);
        if let Some(message) = pair.recv(Acceptor, large_there) {
            assert!(message == bytes(16 << 20));
            return;
        }
    }
    panic!("the large message never arrived");
}

#[test]
fn a_message_larger_than_either_side_takes_is_refused_at_once() {
    let mut pair = Pair::new(1, lossless());
    let mut smaller = lossless();
    smaller.max_message = 1000;
    pair.acceptor_config = Some(smaller);
    pair.start();
    pair.run(SECOND);
    let (ours, theirs) = pair.channel("c");
    let now = pair.now;
    let refused = pair.session(Dialer).send(ours, bytes(1001), &SendTerms::default(), now);
    assert!(matches!(refused, Err((_, SendError::TooLarge { len: 1001, max: 1000 }))));
    pair.send(Dialer, ours, bytes(1000)).expect("as large as may be");
    pair.run(SECOND);
    assert_eq!(pair.recv(Acceptor, theirs), Some(bytes(1000)));
}

#[test]
fn small_messages_queued_together_share_packets() {
    let mut pair = pair();
    let (ours, theirs) = pair.channel("c");
    pair.run(SECOND);
    pair.set_network(false);
    pair.cut();
    pair.settle();
    (0..1000).for_each(|number| _ = pair.send(Dialer, ours, text(number)));
    pair.log = Some(vec![]);
    pair.set_network(true);
    pair.run(5 * SECOND);
    let log = pair.log.take().unwrap_or_default();
    let with_data = log.iter().filter(|(from, packet)| {
        *from == Dialer && frames(packet).iter().any(|frame| matches!(frame, Frame::Data { .. }))
    });
    assert_eq!(with_data.count(), 1, "a thousand messages of three bytes fit into one packet");
    assert_eq!(pair.recv_all(Acceptor, theirs).len(), 1000);
}

pub(super) fn frames(packet: &bytes::Bytes) -> Vec<Frame> {
    let mut decoder = Decoder::new(packet.clone());
    let mut frames = vec![];
    while let Some(frame) = decoder.frame().expect("a good packet") {
        if let Frame::Data { count, .. } = frame {
            (0..count).for_each(|_| _ = decoder.message().expect("a good message"));
        }
        frames.push(frame);
    }
    frames
}

#[test]
fn a_reader_that_does_not_read_stops_its_sender_and_nobody_else() {
    let mut pair = Pair::connected(1, lossless());
    let (stuck, stuck_there) = pair.channel("stuck");
    let (free, free_there) = pair.channel("free");
    let mut taken = 0;
    for _ in 0..10_000 {
        taken += usize::from(pair.send(Dialer, stuck, bytes(10_000)).is_some());
        pair.settle();
    }
    pair.run(10 * SECOND);
    for _ in 0..1000 {
        taken += usize::from(pair.send(Dialer, stuck, bytes(10_000)).is_some());
    }
    let bytes_taken = taken * 10_000;
    assert!(bytes_taken < 4 << 20, "the sender took {bytes_taken} bytes for a reader that does not read");
    let received = pair.session(Acceptor).counters().bytes_received;
    assert!(received < 2 << 20, "{received} bytes lie at a reader that does not read");
    for number in 0..200 {
        pair.send(Dialer, free, text(number)).expect("room");
        pair.run(20 * MS);
        assert_eq!(pair.recv(Acceptor, free_there), Some(text(number)));
    }
    let mut read = 0;
    while read < taken {
        let some = pair.recv_all(Acceptor, stuck_there).len();
        read += some;
        pair.run(50 * MS);
        assert!(some > 0 || pair.session(Dialer).buffered(stuck).0.messages > 0, "{read} of {taken}");
    }
    assert_eq!(read, taken);
}

#[test]
fn nothing_is_dropped_and_nothing_expires_while_connected() {
    let mut config = lossless();
    config.queue = QueueConfig {
        max_messages: 2,
        max_bytes: 1000,
        max_age: Some(SECOND),
        when_full: WhenFull::DropOldest,
    };
    let mut pair = Pair::connected(1, config);
    let (ours, theirs) = pair.channel("c");
    let mut sent = 0;
    // More than the reader's window takes, so that some of it has to wait here.
    for _ in 0..500 {
        sent += usize::from(pair.send(Dialer, ours, bytes(10_000)).is_some());
        pair.run(20 * MS);
    }
    pair.run(Duration::from_secs(3600));
    assert!(pair.session(Dialer).channels[&ours].outbox.fresh().messages > 0, "nothing waits");
    let mut read = 0;
    while read < sent {
        let some = pair.recv_all(Acceptor, theirs).len();
        assert!(some > 0, "{read} of {sent}");
        read += some;
        pair.run(SECOND);
    }
    let counters = pair.session(Dialer).counters();
    assert_eq!((counters.expired, counters.overflowed), (0, 0));
}

/// A pair without a link whose queue is of this kind.
fn offline(queue: QueueConfig) -> (Pair, [crate::durable::core::ChannelId; 2]) {
    let mut config = lossless();
    config.queue = queue;
    config.park_for = Duration::from_secs(100_000);
    let mut pair = Pair::connected(1, config);
    let (ours, theirs) = pair.channel("c");
    pair.run(SECOND);
    pair.set_network(false);
    pair.cut();
    pair.settle();
    (pair, [ours, theirs])
}

fn queue(max_messages: usize, max_bytes: usize, when_full: WhenFull) -> QueueConfig {
    QueueConfig { max_messages, max_bytes, max_age: None, when_full }
}

#[test]
fn a_full_queue_drops_the_oldest_and_says_so_on_both_sides() {
    for limits in [queue(3, 1 << 20, WhenFull::DropOldest), queue(1000, 3 * 33, WhenFull::DropOldest)] {
        let (mut pair, [ours, theirs]) = offline(limits);
        let mut here = pair.channel_events(Dialer, ours);
        let mut there = pair.channel_events(Acceptor, theirs);
        drained(&mut there);
        (0..8).for_each(|number| assert!(pair.send(Dialer, ours, text(number)).is_some()));
        let dropped: u64 = drained(&mut here)
            .iter()
            .map(|event| if let ChannelEvent::Overflow { dropped } = event { *dropped } else { 0 })
            .sum();
        assert_eq!(dropped, 5);
        (1..=5).for_each(|seq| assert_eq!(pair.fate(Dialer, ours, seq), Some(Err(SendError::Overflow))));
        pair.set_network(true);
        pair.run(60 * SECOND);
        assert_eq!(pair.recv_all(Acceptor, theirs), [text(5), text(6), text(7)]);
        let gaps: Vec<_> = drained(&mut there);
        assert!(gaps.contains(&ChannelEvent::Gap { from: 1, to: 5, cause: GapCause::Overflow }), "{gaps:?}");
        pair.run(SECOND);
        assert_eq!(pair.fate(Dialer, ours, 8), Some(Ok(())));
    }
}

#[test]
fn a_refusing_queue_keeps_what_it_has() {
    let (mut pair, [ours, theirs]) = offline(queue(3, 1 << 20, WhenFull::Reject));
    (0..3).for_each(|number| assert!(pair.send(Dialer, ours, text(number)).is_some()));
    let now = pair.now;
    let refused = pair.session(Dialer).send(ours, text(3), &SendTerms::default(), now);
    assert_eq!(refused, Err((text(3), SendError::QueueFull)));
    pair.set_network(true);
    pair.run(60 * SECOND);
    assert_eq!(pair.recv_all(Acceptor, theirs), [text(0), text(1), text(2)]);
}

#[test]
fn a_waiting_queue_gives_the_message_back_until_there_is_room() {
    let (mut pair, [ours, theirs]) = offline(queue(3, 1 << 20, WhenFull::Wait));
    (0..3).for_each(|number| assert!(pair.send(Dialer, ours, text(number)).is_some()));
    let now = pair.now;
    assert_eq!(pair.session(Dialer).send(ours, text(3), &SendTerms::default(), now), Ok(Err(text(3))));
    pair.set_network(true);
    pair.run(60 * SECOND);
    assert!(pair.send(Dialer, ours, text(3)).is_some());
    pair.run(SECOND);
    assert_eq!(pair.recv_all(Acceptor, theirs).len(), 4);
}

#[test]
fn what_waits_too_long_without_a_link_expires_and_says_so_on_both_sides() {
    let mut limits = queue(1000, 1 << 20, WhenFull::DropOldest);
    limits.max_age = Some(60 * SECOND);
    let (mut pair, [ours, theirs]) = offline(limits);
    let mut here = pair.channel_events(Dialer, ours);
    let mut there = pair.channel_events(Acceptor, theirs);
    (0..2).for_each(|number| _ = pair.send(Dialer, ours, text(number)));
    pair.run(40 * SECOND);
    (2..4).for_each(|number| _ = pair.send(Dialer, ours, text(number)));
    pair.run(30 * SECOND);
    assert!(drained(&mut here).contains(&ChannelEvent::Expired { count: 2 }));
    assert_eq!(pair.fate(Dialer, ours, 2), Some(Err(SendError::Expired)));
    assert_eq!(pair.fate(Dialer, ours, 3), None);
    pair.set_network(true);
    pair.run(20 * SECOND);
    assert_eq!(pair.recv_all(Acceptor, theirs), [text(2), text(3)]);
    let gaps = drained(&mut there);
    assert!(gaps.contains(&ChannelEvent::Gap { from: 1, to: 2, cause: GapCause::Expired }), "{gaps:?}");
}

#[test]
fn a_message_that_went_out_is_never_reported_as_dropped_before_its_fate_is_known() {
    let mut limits = queue(2, 1 << 20, WhenFull::DropOldest);
    limits.max_age = Some(SECOND);
    let mut config = lossless();
    config.queue = limits;
    let mut pair = Pair::connected(1, config);
    let (ours, theirs) = pair.channel("c");
    pair.run(SECOND);
    let seq = pair.send(Dialer, ours, "on its way").expect("taken");
    // It arrives; then the network dies before the acknowledgement.
    pair.run(6 * MS);
    assert_eq!(pair.recv(Acceptor, theirs), Some("on its way".into()));
    pair.set_network(false);
    pair.cut();
    pair.run(30 * SECOND);
    (0..10).for_each(|number| _ = pair.send(Dialer, ours, text(number)));
    assert_eq!(pair.fate(Dialer, ours, seq), None);
    pair.recv_all(Acceptor, theirs);
    pair.set_network(true);
    pair.run(60 * SECOND);
    assert_eq!(pair.fate(Dialer, ours, seq), Some(Ok(())), "it was read");
}

#[test]
fn a_lost_session_fails_and_says_how_many_are_unknown() {
    let mut pair = pair();
    let (ours, _) = pair.channel("c");
    pair.run(SECOND);
    (0..7).for_each(|number| _ = pair.send(Dialer, ours, text(number)));
    pair.run(SECOND);
    pair.forget_host();
    pair.run(20 * SECOND);
    assert_eq!(pair.close_reason(Dialer), Some(CloseReason::SessionLost { unacked: 7 }));
    assert_eq!(pair.begun, 1);
    assert_eq!((pair.links(), pair.dialing()), (0, 0));
}

#[test]
fn a_lost_session_can_start_afresh_with_what_was_never_sent() {
    let mut config = lossless();
    config.on_session_lost = SessionLost::StartFresh;
    let mut pair = Pair::connected(1, config);
    let (ours, theirs) = pair.channel("c");
    pair.run(SECOND);
    pair.send(Acceptor, theirs, "unread").expect("taken");
    (0..3).for_each(|number| _ = pair.send(Dialer, ours, text(number)));
    pair.run(SECOND);
    pair.set_network(false);
    pair.forget_host();
    pair.cut();
    pair.settle();
    (3..6).for_each(|number| _ = pair.send(Dialer, ours, text(number)));
    pair.set_network(true);
    pair.run(60 * SECOND);
    assert_eq!(pair.begun, 2);
    assert!(pair.dialer.events.contains(&ConnectionEvent::SessionLost { unacked: 3 }));
    let fates: Vec<_> = (1..=6).map(|seq| pair.fate(Dialer, ours, seq)).collect();
    assert_eq!(fates[..3], vec![Some(Err(SendError::SessionLost)); 3]);
    assert_eq!(fates[3..], [None, None, None]);
    let fresh = pair.accept(Acceptor).expect("the channel is there again");
    let mut events = pair.channel_events(Acceptor, fresh);
    assert_eq!(pair.recv_all(Acceptor, fresh), (3..6).map(text).collect::<Vec<_>>());
    let gaps = drained(&mut events);
    assert!(gaps.contains(&ChannelEvent::Gap { from: 1, to: 3, cause: GapCause::SessionLost }), "{gaps:?}");
    assert_eq!(pair.recv(Dialer, ours), Some("unread".into()), "what had arrived stays");
    pair.run(SECOND);
    assert_eq!(pair.fate(Dialer, ours, 6), Some(Ok(())));
    pair.send(Acceptor, fresh, "and back").expect("taken");
    pair.run(SECOND);
    assert_eq!(pair.recv(Dialer, ours), Some("and back".into()));
}

#[test]
fn a_channel_that_the_peer_ended_stays_ended_when_the_session_starts_afresh() {
    let mut config = lossless();
    config.on_session_lost = SessionLost::StartFresh;
    let mut pair = Pair::connected(1, config);
    let (ours, theirs) = pair.channel("c");
    pair.run(SECOND);
    pair.send(Acceptor, theirs, "the last").expect("taken");
    pair.close_channel(Acceptor, theirs);
    pair.run(SECOND);
    pair.forget_host();
    pair.run(60 * SECOND);
    assert_eq!(pair.begun, 2);
    assert!(pair.send(Dialer, ours, "too late").is_none());
    assert_eq!(pair.recv(Dialer, ours), Some("the last".into()));
    pair.run(60 * SECOND);
    let reconnects = pair.session(Dialer).counters().reconnects;
    assert!(reconnects <= 1, "{reconnects} reconnects");
}

#[test]
fn a_channel_has_a_queue_of_its_own() {
    let mut config = lossless();
    config.queue = queue(1, 1 << 20, WhenFull::Reject);
    let mut pair = Pair::new(1, config);
    let own = pair.open_with(Dialer, "own", ChannelConfig::queue(queue(5, 1 << 20, WhenFull::Reject)));
    let usual = pair.open(Dialer, "usual");
    let taken =
        |pair: &mut Pair, id| (0..9).filter(|number| pair.send(Dialer, id, text(*number)).is_some()).count();
    assert_eq!((taken(&mut pair, own), taken(&mut pair, usual)), (5, 1));
}
