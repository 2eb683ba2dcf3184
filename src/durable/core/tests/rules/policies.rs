//! Deadlines, supersede keys and priorities.

use super::delivery::frames;
use super::*;
use crate::config::{ChannelConfig, Priority, WhenFull};
use crate::durable::SendOptions;
use crate::durable::core::tests::pair::drained;
use crate::durable::core::{ChannelId, Frame, GapCause};
use crate::durable::events::{ChannelEvent, Events};
use crate::error::SendError;

/// What the tests of one way over one channel have at hand.
struct Way {
    pair: Pair,
    ours: ChannelId,
    theirs: ChannelId,
    here: Events<ChannelEvent>,
    there: Events<ChannelEvent>,
}

impl Way {
    fn new(mut config: ConnectionConfig) -> Self {
        config.park_for = Duration::from_secs(100_000);
        let mut pair = Pair::connected(1, config);
        let (ours, theirs) = pair.channel("c");
        pair.run(SECOND);
        let (here, there) = (pair.channel_events(Dialer, ours), pair.channel_events(Acceptor, theirs));
        let mut way = Self { pair, ours, theirs, here, there };
        drained(&mut way.here);
        drained(&mut way.there);
        way
    }

    fn send(&mut self, message: Message, options: &SendOptions) -> u64 {
        self.pair.send_with(Dialer, self.ours, message, options).expect("taken")
    }

    /// Without a link from here on.
    fn offline(mut self) -> Self {
        self.pair.set_network(false);
        self.pair.cut();
        self.pair.settle();
        self
    }

    fn online(&mut self) {
        self.pair.set_network(true);
        self.pair.run(60 * SECOND);
    }

    /// Fills the peer's window, so that what follows waits here although there is a link.
    fn stuff(&mut self) -> usize {
        let window = 60;
        (0..window).for_each(|_| _ = self.send(bytes(10_000), &SendOptions::new()));
        self.pair.run(SECOND);
        assert!(self.pair.dialer.connected());
        assert!(self.sizes()[0] == window && self.fresh() > 0, "all of it went out");
        window
    }

    fn fresh(&mut self) -> usize {
        self.pair.session(Dialer).channels[&self.ours].outbox.fresh().messages
    }

    fn sizes(&mut self) -> [usize; 4] {
        self.pair.session(Dialer).channels[&self.ours].outbox.sizes()
    }

    fn fate(&mut self, seq: u64) -> Option<Result<(), SendError>> {
        self.pair.fate(Dialer, self.ours, seq)
    }

    /// Reads until nothing more comes.
    fn read(&mut self) -> Vec<Message> {
        let mut all = vec![];
        for _ in 0..30 {
            all.extend(self.pair.recv_all(Acceptor, self.theirs));
            self.pair.run(SECOND / 2);
        }
        all
    }

    /// The numbers that the receiver heard will not come, and why.
    fn gaps(&mut self) -> Vec<(u64, u64, GapCause)> {
        let events = drained(&mut self.there).into_iter();
        let gap = |event| match event {
            ChannelEvent::Gap { from, to, cause } => Some((from, to, cause)),
            _ => None,
        };
        events.filter_map(gap).collect()
    }

    /// How many the sender heard were superseded, and expired.
    fn reported(&mut self) -> (u64, u64) {
        let mut reported = (0, 0);
        for event in drained(&mut self.here) {
            match event {
                ChannelEvent::Superseded { count } => reported.0 += count,
                ChannelEvent::Expired { count } => reported.1 += count,
                _ => {}
            }
        }
        reported
    }
}

fn within(seconds: u32) -> SendOptions {
    SendOptions::new().deadline(seconds * SECOND)
}

fn key(key: &str) -> SendOptions {
    SendOptions::new().supersede(key)
}

#[test]
fn a_message_past_its_deadline_is_dropped_without_a_link_and_both_sides_hear_of_it() {
    let mut way = Way::new(lossless()).offline();
    way.send(text(1), &within(10));
    way.send(text(2), &within(30));
    way.send(text(3), &SendOptions::new());
    way.pair.run(10 * SECOND - MS);
    assert_eq!(way.fate(1), None, "not before its time");
    way.pair.run(MS);
    assert_eq!(way.fate(1), Some(Err(SendError::Expired)));
    assert_eq!((way.fate(2), way.reported()), (None, (0, 1)));
    way.online();
    assert_eq!(way.read(), [text(2), text(3)]);
    assert_eq!(way.gaps(), [(1, 1, GapCause::Expired)]);
    assert_eq!(way.pair.session(Dialer).counters().expired, 1);
    assert_eq!((way.fate(2), way.fate(3)), (Some(Ok(())), Some(Ok(()))));
}

#[test]
fn a_message_past_its_deadline_is_dropped_with_a_link_too_and_the_rest_is_not() {
    let mut way = Way::new(lossless());
    let before = way.stuff();
    let late = way.send(text(1), &within(10));
    way.send(text(2), &SendOptions::new());
    way.pair.run(11 * SECOND);
    assert_eq!(way.fate(late), Some(Err(SendError::Expired)));
    assert_eq!(way.reported(), (0, 1));
    let all = way.read();
    assert_eq!((all.len(), all.last()), (before + 1, Some(&text(2))));
    assert_eq!(way.gaps(), [(late, late, GapCause::Expired)]);
}

#[test]
fn a_message_that_went_out_in_time_is_not_dropped_though_it_is_read_late() {
    let mut way = Way::new(lossless());
    let seq = way.send(text(1), &within(1));
    way.pair.run(60 * SECOND);
    assert_eq!(way.fate(seq), None);
    assert_eq!(way.read(), [text(1)]);
    assert_eq!((way.fate(seq), way.reported()), (Some(Ok(())), (0, 0)));
}

#[test]
fn a_message_that_went_out_is_dropped_only_when_the_peer_shows_that_it_has_not_arrived() {
    for arrives in [true, false] {
        for options in [within(1), key("k")] {
            let superseding = options == key("k");
            let mut way = Way::new(lossless());
            let seq = way.send(text(1), &options);
            if arrives {
                way.pair.run(6 * MS);
            }
            let mut way = way.offline();
            if superseding {
                way.send(text(2), &options);
            }
            way.pair.run(30 * SECOND);
            assert_eq!(way.fate(seq), None, "nobody can know yet");
            assert_eq!(way.reported(), (0, 0));
            way.online();
            let newer: &[_] = if superseding { &[text(2)] } else { &[] };
            if arrives {
                assert_eq!(way.read(), [&[text(1)], newer].concat());
                assert_eq!((way.fate(seq), way.gaps()), (Some(Ok(())), vec![]));
            } else {
                let (error, cause, reported) = match superseding {
                    true => (SendError::Superseded, GapCause::Superseded, (1, 0)),
                    false => (SendError::Expired, GapCause::Expired, (0, 1)),
                };
                assert_eq!(way.read(), newer);
                assert_eq!((way.fate(seq), way.gaps()), (Some(Err(error)), vec![(seq, seq, cause)]));
                assert_eq!(way.reported(), reported);
            }
        }
    }
}

#[test]
fn a_deadline_that_has_passed_before_the_message_is_taken_refuses_it() {
    let mut way = Way::new(lossless());
    let now = way.pair.now;
    let terms = within(0).terms(now).expect("good options");
    let ours = way.ours;
    let refused = way.pair.session(Dialer).send(ours, text(1), &terms, now);
    assert_eq!(refused, Err((text(1), SendError::Expired)));
    // One too far away to be said is none.
    assert_eq!(SendOptions::new().deadline(Duration::MAX).terms(now).expect("good").deadline, None);
}

#[test]
fn of_each_key_only_the_newest_waits_however_many_are_sent() {
    let mut way = Way::new(lossless()).offline();
    let ledger = way.send(text(0), &SendOptions::new());
    for number in 0..20_000 {
        way.send(text(number), &key(if number % 2 == 0 { "even" } else { "odd" }));
    }
    assert_eq!(way.fresh(), 3);
    let [entries, dropped, keys, _] = way.sizes();
    assert!(entries <= 5 && dropped <= 4 && keys == 2, "{:?}", way.sizes());
    assert_eq!(way.fate(2), Some(Err(SendError::Superseded)));
    way.online();
    assert_eq!(way.read(), [text(0), text(19_998), text(19_999)]);
    assert_eq!(way.gaps(), [(2, 19_999, GapCause::Superseded)]);
    assert_eq!(way.reported(), (19_998, 0));
    assert_eq!(way.pair.session(Dialer).counters().superseded, 19_998);
    assert_eq!([ledger, 20_000, 20_001].map(|seq| way.fate(seq)), [const { Some(Ok(())) }; 3]);
    assert_eq!(way.sizes()[2..], [0, 0], "what was delivered is forgotten");
}

#[test]
fn a_slow_reader_finds_the_newest_and_costs_neither_memory_nor_packets() {
    let mut way = Way::new(lossless());
    let before = way.stuff();
    let (packets, [stuffed, ..]) = (way.pair.packets, way.sizes());
    for number in 0..20_000 {
        way.send(text(number), &key("cursor"));
        way.pair.settle();
    }
    let [entries, dropped, keys, _] = way.sizes();
    assert!(entries <= stuffed + 2 && dropped <= 1 && keys == 1, "{:?}", way.sizes());
    let packets = way.pair.packets - packets;
    assert!(packets < 20, "{packets} packets told of nothing but gaps");
    let all = way.read();
    assert_eq!((all.len(), all.last()), (before + 1, Some(&text(19_999))));
    let gap = (before as u64 + 1, before as u64 + 19_999, GapCause::Superseded);
    assert_eq!(way.gaps(), [gap]);
}

#[test]
fn what_expires_one_by_one_before_a_reader_that_is_stuck_costs_no_memory() {
    let mut way = Way::new(lossless());
    let before = way.stuff();
    for number in 0..3_000 {
        way.send(text(number), &SendOptions::new().deadline(MS));
        way.pair.run(2 * MS);
    }
    let [entries, dropped, _, deadlines] = way.sizes();
    assert!(entries <= before + 2 && dropped <= 1 && deadlines == 0, "{:?}", way.sizes());
    assert_eq!(way.read().len(), before);
    let last = way.send(text(1), &SendOptions::new());
    assert_eq!(way.read(), [text(1)]);
    assert_eq!(way.fate(last), Some(Ok(())));
    assert_eq!(way.reported(), (0, 3_000));
}

#[test]
fn whatever_is_dropped_in_turns_for_two_causes_memory_is_bounded_and_all_of_it_is_told() {
    let mut way = Way::new(lossless()).offline();
    for number in 0..10_000 {
        match number % 2 {
            0 => way.send(text(number), &within(1)),
            _ => way.send(text(number), &key("k")),
        };
        if number % 2 == 1 {
            way.pair.run(SECOND);
        }
    }
    let [entries, dropped, keys, deadlines] = way.sizes();
    assert!(entries <= 1100 && dropped <= 4096 && keys == 1 && deadlines == 0, "{:?}", way.sizes());
    assert_eq!(way.fate(10_000), None, "it waits, whatever was forgotten of its neighbours");
    let first = way.send(text(0), &SendOptions::new());
    way.online();
    assert_eq!(way.read(), [text(9_999), text(0)]);
    assert_eq!(way.fate(first), Some(Ok(())));
    assert_eq!(way.fate(1), Some(Err(SendError::Forgotten)), "too long ago");
    assert_eq!(way.fate(9_999), Some(Err(SendError::Expired)));
    // As gaps, everything from the first on is told, in whatever pieces.
    let last = way.gaps().iter().map(|gap| gap.1).max();
    assert_eq!(last, Some(9_999));
}

#[test]
fn what_waits_is_pending_although_its_neighbours_are_forgotten() {
    let mut config = lossless();
    config.queue.max_messages = 10_000;
    let mut way = Way::new(config).offline();
    for number in 0..5_000 {
        way.send(text(number), &SendOptions::new());
        way.send(text(number), &key("k"));
    }
    assert!(way.sizes()[1] <= 4096);
    assert_eq!((way.fate(1), way.fate(2)), (None, Some(Err(SendError::Superseded))));
    way.online();
    assert_eq!(way.read().len(), 5_001);
    assert_eq!(way.fate(2), Some(Err(SendError::Forgotten)));
    assert_eq!(way.fate(10_000), Some(Ok(())));
}

#[test]
fn a_newer_message_of_a_key_finds_the_room_of_the_older_one() {
    for when_full in [WhenFull::Reject, WhenFull::Wait, WhenFull::DropOldest] {
        let mut config = lossless();
        config.queue.max_messages = 2;
        config.queue.when_full = when_full;
        let mut way = Way::new(config).offline();
        way.send(text(1), &SendOptions::new());
        (2..10).for_each(|number| _ = way.send(text(number), &key("k")));
        way.online();
        assert_eq!(way.read(), [text(1), text(9)], "{when_full:?}");
        assert_eq!(way.reported(), (7, 0));
    }
}

#[test]
fn a_refused_message_replaces_nothing() {
    let mut config = lossless();
    config.queue.max_bytes = 100;
    config.queue.when_full = WhenFull::Reject;
    let mut way = Way::new(config).offline();
    way.send(text(1), &key("k"));
    way.send(text(2), &key("other"));
    assert_eq!(way.pair.send_with(Dialer, way.ours, bytes(90), &key("k")), None, "too much for the queue");
    way.online();
    assert_eq!(way.read(), [text(1), text(2)]);
}

#[test]
fn keys_of_different_channels_have_nothing_to_do_with_each_other() {
    let mut way = Way::new(lossless());
    let (other, other_there) = way.pair.channel("d");
    let mut way = way.offline();
    way.send(text(1), &key("k"));
    way.pair.send_with(Dialer, other, text(2), &key("k")).expect("taken");
    way.online();
    assert_eq!(way.read(), [text(1)]);
    assert_eq!(way.pair.recv_all(Acceptor, other_there), [text(2)]);
}

#[test]
fn a_key_is_neither_empty_nor_long() {
    let pair = pair();
    for (length, good) in [(0, false), (1, true), (64, true), (65, false), (100_000, false)] {
        let terms = SendOptions::new().supersede(vec![7; length]).terms(pair.now);
        assert_eq!(terms.err(), (!good).then_some(SendError::BadKey(length)));
    }
}

/// The packets of the dialer since the log began, up to the one with a message of this half.
fn packets_until(pair: &mut Pair, half: u32) -> Vec<Vec<Frame>> {
    let log = pair.log.take().unwrap_or_default();
    let ours = log.iter().filter(|(from, _)| *from == Dialer).map(|(_, packet)| frames(packet));
    let of = |frame: &Frame| matches!(frame, Frame::Data { half: of, .. } if *of == half);
    ours.take_while(|packet| !packet.iter().any(of)).collect()
}

fn with_priority(pair: &mut Pair, label: &str, priority: Priority) -> (ChannelId, ChannelId) {
    (pair.open_with(Dialer, label, ChannelConfig::priority(priority)), pair.open(Acceptor, label))
}

#[test]
fn a_control_message_goes_in_the_next_packet_whatever_waits_elsewhere() {
    let mut pair = pair();
    pair.network.delay = 20 * MS;
    let bulk: Vec<_> = (0..5)
        .map(|at| {
            let priority = if at == 0 { Priority::Normal } else { Priority::Bulk };
            with_priority(&mut pair, &format!("bulk {at}"), priority).0
        })
        .collect();
    let (control, control_there) = with_priority(&mut pair, "control", Priority::Control);
    pair.run(SECOND);
    bulk.iter().for_each(|id| _ = pair.send(Dialer, *id, bytes(16 << 20)).expect("taken"));
    pair.run(10 * MS);
    for _ in 0..20 {
        pair.log = Some(vec![]);
        pair.send(Dialer, control, "stop").expect("taken");
        pair.run(100 * MS);
        assert_eq!(pair.recv_all(Acceptor, control_there), [Message::from("stop")]);
        let passed = packets_until(&mut pair, control.0);
        let bulky = |packet: &&Vec<Frame>| packet.iter().any(|frame| matches!(frame, Frame::Fragment { .. }));
        assert_eq!(passed.iter().filter(bulky).count(), 0, "others went before it");
    }
}

#[test]
fn lanes_are_strict_and_within_a_lane_everybody_has_a_turn() {
    let mut pair = Pair::connected(1, lossless());
    let lane = |pair: &mut Pair, name: &str, priority| {
        let ids = [0, 1, 2].map(|at| with_priority(pair, &format!("{name} {at}"), priority));
        ids.map(|(ours, _)| ours)
    };
    // The lowest first, so that their numbers say nothing.
    let bulk = lane(&mut pair, "bulk", Priority::Bulk);
    let normal = lane(&mut pair, "normal", Priority::Normal);
    let control = lane(&mut pair, "control", Priority::Control);
    pair.run(SECOND);
    pair.set_network(false);
    pair.cut();
    pair.settle();
    // Less than a channel's window, so that only the lanes decide.
    for id in [bulk, normal, control].concat() {
        (0..4).for_each(|_| _ = pair.send(Dialer, id, bytes(50_000)).expect("taken"));
    }
    pair.log = Some(vec![]);
    pair.set_network(true);
    pair.run(5 * SECOND);
    let log = pair.log.take().unwrap_or_default();
    let halves: Vec<u32> = log
        .iter()
        .filter(|(from, _)| *from == Dialer)
        .flat_map(|(_, packet)| frames(packet))
        .filter_map(|frame| match frame {
            Frame::Data { half, .. } | Frame::Fragment { half, offset: 0, .. } => Some(half),
            _ => None,
        })
        .collect();
    assert_eq!(halves.len(), 36);
    for (lane, ids) in [control, normal, bulk].iter().enumerate() {
        let mut turns = halves[lane * 12..][..12].to_vec();
        // Each of the three before any of them again.
        assert!(turns.chunks(3).all(|turn| ids.iter().all(|id| turn.contains(&id.0))), "{lane}: {halves:?}");
        turns.sort_unstable();
        assert!(turns.iter().all(|half| ids.iter().any(|id| id.0 == *half)), "{lane}: {halves:?}");
    }
}
