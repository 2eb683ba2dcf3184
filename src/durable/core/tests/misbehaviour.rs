//! Whatever a peer sends: a typed error, that link closed, and the session unharmed.

use bytes::{BufMut as _, Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use std::time::Duration;

use super::super::handshake::{Resume, Terms, Welcome};
use super::super::wire::{self, Ack, DataFrame, HalfAck};
use super::super::*;
use super::pair::{Acceptor, Dialer, Pair, Side};
use crate::config::ConnectionConfig;
use crate::durable::events::{ConnectionEvent, DisconnectCause};
use crate::error::{CloseReason, DialError, Misbehaviour};
use crate::identity::Identity;
use crate::link::Binding;
use crate::message::Message;

const SECOND: Duration = Duration::from_secs(1);

fn packet(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    write(&mut out);
    out.freeze()
}

fn data(half: u32, seq: u64, messages: &[&str]) -> Bytes {
    packet(|out| {
        let mut frame = DataFrame::begin(out, half, seq);
        messages.iter().for_each(|text| frame.put(out, &Message::from(*text)));
        frame.end(out);
    })
}

fn fragment(half: u32, seq: u64, total: u64, offset: u64, piece: &[u8]) -> Bytes {
    packet(|out| {
        out.put_u8(6);
        wire::put_varint(out, half.into());
        wire::put_varint(out, seq);
        wire::put_varint(out, total << 1);
        wire::put_varint(out, offset);
        wire::put_varint(out, piece.len() as u64);
        out.put_slice(piece);
    })
}

fn ack(received: u64, halves: &[(u32, u64, u64)]) -> Bytes {
    let halves = halves.iter().map(|&(half, cursor, window)| HalfAck { half, cursor, window }).collect();
    packet(|out| wire::put_ack(out, &Ack { received, halves }))
}

fn open(half: u32, first_seq: u64, label: &str) -> Bytes {
    packet(|out| wire::put_open(out, half, first_seq, None, label))
}

fn join(packets: &[Bytes]) -> Bytes {
    packets.concat().into()
}

fn causes(pair: &mut Pair, side: Side) -> Vec<Misbehaviour> {
    let events = pair.end(side).events.iter().filter_map(|event| match event {
        ConnectionEvent::Disconnected { cause: DisconnectCause::Misbehaviour(cause) } => Some(cause.clone()),
        _ => None,
    });
    events.collect()
}

/// A pair with a channel that each side sent one message on.
fn pair() -> (Pair, ChannelId, ChannelId) {
    let mut pair = Pair::connected(1, ConnectionConfig::default());
    let (ours, theirs) = pair.channel("c");
    pair.send(Dialer, ours, "1").expect("taken");
    pair.send(Acceptor, theirs, "1").expect("taken");
    pair.run(SECOND);
    assert_eq!(pair.recv_all(Acceptor, theirs), ["1".into()]);
    assert_eq!(pair.recv_all(Dialer, ours), ["1".into()]);
    pair.run(SECOND);
    (pair, ours, theirs)
}

/// The session heals and works.
fn is_unharmed(pair: &mut Pair, ours: ChannelId, theirs: ChannelId) {
    pair.run(40 * SECOND);
    assert!(pair.dialer.connected() && pair.acceptor.connected(), "{:?}", pair.dialer.states.last());
    assert_eq!(pair.begun, 1);
    assert_eq!((pair.links(), pair.dialing()), (1, 0));
    for (from, to, side) in [(ours, theirs, Dialer), (theirs, ours, Acceptor)] {
        pair.send(side, from, "after").expect("taken");
        pair.run(SECOND);
        let read = pair.recv_all(side.other(), to);
        assert_eq!(read.last(), Some(&"after".into()));
    }
}

#[test]
fn each_kind_of_misbehaviour_is_named_ends_the_link_and_harms_nothing() {
    use Misbehaviour as M;
    let big = (16 << 20) + 1;
    let cases: Vec<(&str, Bytes, M)> = vec![
        ("unknown frame", Bytes::from_static(&[0x7f]), M::UnknownFrame(0x7f)),
        ("frame zero", Bytes::from_static(&[0, 0, 0]), M::UnknownFrame(0)),
        ("half a number", Bytes::from_static(&[0x0a, 0x80]), M::Truncated),
        (
            "an endless number",
            Bytes::from_static(&[0x0a; 1]).into_iter().chain([0xff; 11]).collect(),
            M::OutOfRange,
        ),
        ("half a message", data(1, 2, &["hello"]).slice(..8), M::Truncated),
        ("more messages than there are", Bytes::from_static(&[5, 1, 2, 0xff, 0xff]), M::Truncated),
        ("an oversized packet", Bytes::from(vec![0x0c; (1 << 18) + 1]), M::TooLarge((1 << 18) + 1)),
        ("sequence number zero", data(1, 0, &["x"]), M::OutOfRange),
        ("sequence number 2^63", data(1, 1 << 63, &["x"]), M::OutOfRange),
        ("sequence number 2^64-1", data(1, u64::MAX, &["x"]), M::OutOfRange),
        ("sequence number 2^62", data(1, 1 << 62, &["x"]), M::OutOfOrder { expected: 2, got: 1 << 62 }),
        ("a message too far", data(1, 3, &["x"]), M::OutOfOrder { expected: 2, got: 3 }),
        ("text that is none", Bytes::from_static(&[5, 1, 2, 0, 1, 5, 0xff, 0xfe]), M::BadText),
        ("a channel never opened", data(9, 1, &["x"]), M::UnknownChannel(9)),
        ("channel 0", data(0, 1, &["x"]), M::UnknownChannel(0)),
        ("opening channel 0", open(0, 1, "d"), M::UnknownChannel(0)),
        ("acknowledged of channel 0", ack(0, &[(0, 0, 0)]), M::UnknownChannel(0)),
        ("the end of a channel never opened", packet(|out| wire::put_end(out, 7, 1)), M::UnknownChannel(7)),
        ("acknowledged bytes never sent", ack(1 << 40, &[]), M::AckOfUnsent(1 << 40)),
        ("an acknowledged message never sent", ack(0, &[(1, 2, 0)]), M::AckOfUnsent(2)),
        ("acknowledged 2^64-1", ack(0, &[(1, u64::MAX, u64::MAX)]), M::AckOfUnsent(u64::MAX)),
        ("acknowledged of no channel", ack(0, &[(77, 0, 0)]), M::UnknownChannel(77)),
        (
            "a list of acks that is not there",
            Bytes::from_static(&[7, 0, 0xff, 0xff, 0xff, 0x0f]),
            M::Truncated,
        ),
        ("a second label", join(&[open(2, 1, "d"), open(3, 1, "d")]), M::DuplicateLabel),
        ("no label", open(2, 1, ""), M::BadLabel(0)),
        ("a long label", open(2, 1, &"x".repeat(256)), M::BadLabel(256)),
        ("a bad kind", Bytes::from_static(&[4, 2, 1, 9, 1, b'd']), M::OutOfRange),
        ("a label that is no text", Bytes::from_static(&[4, 2, 1, 0, 1, 0xff]), M::BadText),
        ("a fragment too large", fragment(1, 2, big, 0, b"x"), M::TooLarge(big)),
        ("a fragment of 2^63", fragment(1, 2, u64::MAX >> 1, 0, b"x"), M::TooLarge(u64::MAX >> 1)),
        ("an empty fragment", fragment(1, 2, 10, 0, b""), M::BadFragment),
        ("a fragment past its total", fragment(1, 2, 3, 0, b"four"), M::BadFragment),
        (
            "a fragment with a hole",
            join(&[fragment(1, 2, 9, 0, b"ab"), fragment(1, 2, 9, 3, b"c")]),
            M::BadFragment,
        ),
        (
            "fragments that overlap",
            join(&[fragment(1, 2, 9, 0, b"ab"), fragment(1, 2, 9, 1, b"c")]),
            M::BadFragment,
        ),
        ("a fragment from the middle", fragment(1, 2, 9, 4, b"x"), M::BadFragment),
        ("an offset of 2^64-1", fragment(1, 2, 9, u64::MAX, b"x"), M::BadFragment),
        (
            "totals that change",
            join(&[fragment(1, 2, 9, 0, b"ab"), fragment(1, 2, 8, 2, b"c")]),
            M::BadFragment,
        ),
        (
            "a message within another",
            join(&[fragment(1, 2, 9, 0, b"ab"), data(1, 2, &["x"])]),
            M::BadFragment,
        ),
        (
            "a skip with a hole",
            packet(|out| wire::put_skip(out, 1, 3, 9, GapCause::Expired)),
            M::OutOfOrder { expected: 2, got: 3 },
        ),
        ("a skip backwards", packet(|out| wire::put_skip(out, 1, 9, 2, GapCause::Expired)), M::OutOfRange),
        ("a skip without a reason", Bytes::from_static(&[8, 1, 2, 3, 77]), M::OutOfRange),
        (
            "data after the end",
            join(&[packet(|out| wire::put_end(out, 1, 2)), data(1, 3, &["x"])]),
            M::OutOfOrder { expected: 3, got: 3 },
        ),
        ("a HELLO in the middle", Bytes::from_static(&[1, 0]), M::OutOfPlace),
        ("a WELCOME in the middle", Bytes::from_static(&[2, 0]), M::OutOfPlace),
        ("a REFUSE in the middle", Bytes::from_static(&[3, 0]), M::OutOfPlace),
    ];
    for (what, packet, expected) in cases {
        for side in [Dialer, Acceptor] {
            let (mut pair, ours, theirs) = pair();
            let old = pair.link();
            pair.inject(side, packet.clone());
            assert_eq!(causes(&mut pair, side), std::slice::from_ref(&expected), "{what} to {side:?}");
            if matches!(what, "data after the end" | "a second label") {
                continue; // It began with something lawful, which the real peer knows nothing of.
            }
            is_unharmed(&mut pair, ours, theirs);
            assert_ne!(pair.link(), old, "{what}: the link goes on");
        }
    }
}

#[test]
fn a_flood_of_channels_is_stopped() {
    let (mut pair, ours, theirs) = pair();
    for half in 2..10_000 {
        if pair.links() == 0 {
            break;
        }
        pair.inject(Acceptor, open(half, 1, &format!("{half}")));
        if !causes(&mut pair, Acceptor).is_empty() {
            break;
        }
    }
    assert_eq!(causes(&mut pair, Acceptor), [Misbehaviour::TooManyChannels(256)]);
    assert!(pair.channels()[1] <= 512);
    let _ = (ours, theirs);
}

#[test]
fn a_flood_of_data_beyond_the_credit_is_stopped() {
    let (mut pair, _, _) = pair();
    let large = "x".repeat(200_000);
    let mut sent = 0_u64;
    for seq in 2..10_000 {
        pair.inject(Acceptor, data(1, seq, &[&large]));
        sent += 200_000;
        if let [cause, ..] = &causes(&mut pair, Acceptor)[..] {
            assert_eq!(*cause, Misbehaviour::CreditExceeded);
            assert!(sent < 20 << 20, "{sent} bytes were taken");
            return;
        }
    }
    panic!("{sent} bytes were taken");
}

#[test]
fn a_flood_of_empty_messages_is_stopped_too() {
    let (mut pair, _, _) = pair();
    let empty = vec![""; 60_000];
    let mut seq = 2;
    while causes(&mut pair, Acceptor).is_empty() {
        pair.inject(Acceptor, data(1, seq, &empty));
        seq += 60_000;
        assert!(seq < 1_000_000, "{seq} messages were taken");
    }
    assert_eq!(causes(&mut pair, Acceptor), [Misbehaviour::CreditExceeded]);
}

#[test]
fn a_skip_over_everything_is_lawful_once_and_ends_the_numbers() {
    let (mut pair, _, theirs) = pair();
    pair.inject(Acceptor, packet(|out| wire::put_skip(out, 1, 2, 1 << 62, GapCause::Overflow)));
    assert_eq!(causes(&mut pair, Acceptor), []);
    assert_eq!(pair.recv(Acceptor, theirs), None);
    pair.inject(Acceptor, data(1, (1 << 62) + 1, &["x"]));
    assert_eq!(causes(&mut pair, Acceptor), [Misbehaviour::OutOfRange]);
}

#[test]
fn a_window_of_any_size_is_survived() {
    for window in [0, 1, u64::MAX] {
        let (mut pair, ours, theirs) = pair();
        pair.inject(Dialer, ack(0, &[(1, 1, window)]));
        (0..100).for_each(|_| _ = pair.send(Dialer, ours, vec![1; 50_000]));
        pair.run(SECOND);
        assert_eq!(causes(&mut pair, Dialer), []);
        let mut read = 0;
        for _ in 0..200 {
            read += pair.recv_all(Acceptor, theirs).len();
            pair.run(50 * Duration::from_millis(1));
        }
        assert!(read > 0, "with a window of {window}");
    }
}

#[test]
fn a_handshake_that_is_not_the_hosts_for_this_link_is_not_believed() {
    type Forge = fn(&Pair, SessionId, Binding, &[u8]) -> Bytes;
    let forgeries: Vec<(&str, Forge)> = vec![
        ("signed by another key", |_, id, binding, hello| {
            let stranger = Identity::from_secret([77; 32]);
            welcome_by(id, |welcome| welcome.encode(VERSION, &stranger, binding, hello).freeze())
        }),
        ("for another link", |pair, id, _, hello| {
            welcome_by(id, |welcome| {
                welcome.encode(VERSION, pair.identity(Acceptor), Binding([5; 32]), hello).freeze()
            })
        }),
        ("for another HELLO", |pair, id, binding, _| {
            welcome_by(id, |welcome| {
                welcome.encode(VERSION, pair.identity(Acceptor), binding, b"another").freeze()
            })
        }),
        ("a forged refusal", |_, _, binding, hello| {
            let refuse = Refuse { code: RefuseCode::Closed, text: "go away".into() };
            refuse.encode(&Identity::from_secret([77; 32]), binding, hello).freeze()
        }),
        ("data before WELCOME", |_, _, _, _| data(1, 1, &["x"])),
        ("CLOSE before WELCOME", |_, _, _, _| Bytes::from_static(&[0x0c])),
    ];
    fn welcome_by(id: SessionId, make: impl FnOnce(Welcome) -> Bytes) -> Bytes {
        let terms = Terms { link_window: 1 << 20, max_message: 1 << 20, max_half: 0, cursors: vec![] };
        make(Welcome { session: id, resumed: false, took_over: false, secret: SessionSecret([9; 32]), terms })
    }
    for (what, forge) in forgeries {
        let mut pair = Pair::new(1, ConnectionConfig::default());
        pair.mute = true;
        pair.log = Some(vec![]);
        pair.start();
        pair.run(SECOND);
        let log = pair.log.take().expect("it was asked for");
        let Ok(Some(Frame::Hello(hello))) = Decoder::new(log[0].1.clone()).frame() else {
            panic!("no HELLO")
        };
        let (link, id) = (pair.link(), pair.session(Dialer).id());
        let packet = forge(&pair, id, pair.info(link).binding, &hello);
        pair.inject(Dialer, packet);
        assert!(!pair.dialer.connected(), "{what}");
        assert_eq!(pair.close_reason(Dialer), None, "{what}: it is a failed attempt, no more");
        let failed = pair.dialer.events.iter().any(|event| {
            matches!(event, ConnectionEvent::AttemptFailed { error: DialError::Misbehaviour(_), .. })
        });
        assert!(failed, "{what}: {:?}", pair.dialer.events);
        pair.mute = false;
        pair.run(10 * SECOND);
        assert!(pair.dialer.connected(), "{what}: the real host is found at the next attempt");
    }
}

fn hello_of(
    who: &Identity,
    to: &Identity,
    id: SessionId,
    secret: Option<&SessionSecret>,
    binding: Binding,
) -> Hello {
    let terms = Terms { link_window: 1 << 20, max_message: 1 << 20, max_half: 0, cursors: vec![] };
    let (_, body) = Hello::encode(
        VERSION,
        who,
        to.public_key(),
        id,
        secret,
        [3; 16],
        Incarnation([1; 16]),
        binding,
        &terms,
    );
    Hello::decode(VERSION, &body, binding, to.public_key()).expect("it is good")
}

#[test]
fn a_session_is_resumed_by_its_key_with_its_secret_over_this_link_alone() {
    let [alice, bob, host] = [1, 2, 3].map(|seed| Identity::from_secret([seed; 32]));
    let (id, secret, binding) = (SessionId([1; 16]), SessionSecret([9; 32]), Binding([4; 32]));
    let alive = |confirmed| Known::Alive {
        peer: alice.public_key(),
        secret: secret.clone(),
        confirmed,
        incarnations: vec![],
        overtaken: false,
    };
    let decide = |hello: &Hello, binding, known: Option<&Known>| decide(hello, binding, known, true);
    let rejected = |decision| matches!(decision, Decision::Refuse(RefuseCode::Rejected, _));

    let good = hello_of(&alice, &host, id, Some(&secret), binding);
    assert_eq!(decide(&good, binding, Some(&alive(true))), Decision::Resume);
    assert!(rejected(decide(&good, Binding([5; 32]), Some(&alive(true)))), "a proof for another link");
    let stolen = hello_of(&bob, &host, id, Some(&secret), binding);
    assert!(rejected(decide(&stolen, binding, Some(&alive(true)))), "another key's session");
    assert!(rejected(decide(&stolen, binding, Some(&Known::Closed { peer: alice.public_key() }))));
    let wrong = hello_of(&alice, &host, id, Some(&SessionSecret([8; 32])), binding);
    assert!(rejected(decide(&wrong, binding, Some(&alive(true)))));
    let without = hello_of(&alice, &host, id, None, binding);
    assert!(rejected(decide(&without, binding, Some(&alive(true)))), "no proof");
    let overtaken = Known::Alive {
        peer: alice.public_key(),
        secret: secret.clone(),
        confirmed: true,
        incarnations: vec![good.incarnation],
        overtaken: true,
    };
    let answer = decide(&good, binding, Some(&overtaken));
    assert!(matches!(answer, Decision::Refuse(RefuseCode::UnknownSession, _)), "it claims too little");
    assert_eq!(decide(&without, binding, Some(&alive(false))), Decision::Resume, "its WELCOME was lost");
    assert!(matches!(decide(&good, binding, None), Decision::Refuse(RefuseCode::UnknownSession, _)));
    assert_eq!(decide(&without, binding, None), Decision::Begin);
    let closed = decide(&good, binding, Some(&Known::Closed { peer: alice.public_key() }));
    assert!(matches!(closed, Decision::Refuse(RefuseCode::Closed, _)));

    // Replayed on another link, or to another host, its signature is worthless.
    let terms = Terms::default();
    let (_, body) = Hello::encode(
        VERSION,
        &alice,
        host.public_key(),
        id,
        Some(&secret),
        [3; 16],
        Incarnation([1; 16]),
        binding,
        &terms,
    );
    let bad = Err(Some(Misbehaviour::BadSignature));
    assert_eq!(Hello::decode(VERSION, &body, Binding([5; 32]), host.public_key()), bad);
    assert_eq!(Hello::decode(VERSION, &body, binding, bob.public_key()), bad);
}

#[test]
fn terms_that_claim_what_never_was_are_found_out() {
    let (mut pair, ours, theirs) = pair();
    let link = LinkId(99);
    let (alice, host) = (pair.identity(Dialer).clone(), pair.identity(Acceptor).clone());
    let id = pair.session(Acceptor).id();
    let incarnation = pair.session(Dialer).incarnation;
    for cursor in [
        Resume { half: 1, consumed: u64::MAX, received: u64::MAX, window: 1 },
        Resume { half: 1, consumed: 1, received: 1 << 40, window: 1 },
        Resume { half: 1, consumed: 2, received: 2, window: u64::MAX },
    ] {
        let terms = Terms { link_window: 0, max_message: u64::MAX, max_half: 1, cursors: vec![cursor] };
        let info = pair.info(link);
        let (_, body) = Hello::encode(
            VERSION,
            &alice,
            host.public_key(),
            id,
            None,
            [3; 16],
            incarnation,
            info.binding,
            &terms,
        );
        let hello = Hello::decode(VERSION, &body, info.binding, host.public_key()).expect("it is good");
        let now = pair.now;
        let adopted = pair.session(Acceptor).handle_adopted(now, link, info, &hello, &body, 100, true);
        assert!(matches!(adopted, Err(Misbehaviour::AckOfUnsent(_))), "{cursor:?}");
        pair.session(Acceptor).handle_misbehaviour(now, Misbehaviour::OutOfPlace);
        pair.drain(Acceptor);
    }
    pair.cut();
    is_unharmed(&mut pair, ours, theirs);
}

#[test]
fn random_packets_and_mutations_never_panic_and_never_harm_the_session() {
    let seeds = std::env::var("EVERLINK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds: Box<dyn Iterator<Item = u64>> = match seeds {
        Some(seed) => Box::new(std::iter::once(seed)),
        None => Box::new(0..1_500),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| mutate(seed)) {
            eprintln!("seed {seed} fails; EVERLINK_SEED={seed} runs it alone");
            std::panic::resume_unwind(panic);
        }
    }
}

fn mutate(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut config = ConnectionConfig::default();
    config.backoff.max_attempts = None;
    config.max_message = 1 << 20;
    let mut pair = Pair::connected(seed, config);
    let (ours, theirs) = pair.channel("c");
    pair.log = Some(vec![]);
    for number in 0..20 {
        let size = if number % 5 == 0 { 100_000 } else { 10 };
        pair.send(Dialer, ours, vec![number; size]);
        pair.send(Acceptor, theirs, vec![number; size]);
        pair.run(Duration::from_millis(3));
        pair.recv(Acceptor, theirs);
        pair.recv(Dialer, ours);
    }
    let log = pair.log.take().expect("it was asked for");
    for _ in 0..12 {
        let (from, original) = &log[rng.random_range(0..log.len())];
        let mut bytes = if rng.random_ratio(1, 5) {
            let length = rng.random_range(0..60);
            (0..length)
                .map(|_| if rng.random_ratio(1, 2) { rng.random_range(0..14) } else { rng.random() })
                .collect()
        } else {
            original[..original.len().min(3000)].to_vec()
        };
        for _ in 0..rng.random_range(0..4) {
            if bytes.is_empty() {
                break;
            }
            let at = rng.random_range(0..bytes.len().min(40));
            match rng.random_range(0..4) {
                0 => bytes[at] ^= 1 << rng.random_range(0..8),
                1 => bytes[at] = rng.random(),
                2 => bytes.truncate(at),
                _ => bytes.insert(at, rng.random()),
            }
        }
        if pair.links() > 0 {
            pair.inject(from.other(), bytes);
        }
        pair.run(Duration::from_millis(rng.random_range(0..300)));
        // Lawful lies, such as a CLOSE, end the session; it must then be over on both sides.
        pair.send(Dialer, ours, "x");
        pair.recv_all(Acceptor, theirs);
        pair.recv_all(Dialer, ours);
    }
    pair.run(Duration::from_secs(400));
    let ended = [pair.close_reason(Dialer), pair.close_reason(Acceptor)];
    match &ended {
        [None, None] => assert!(pair.dialer.connected() && pair.acceptor.connected()),
        [Some(_), Some(_)] => {}
        [Some(CloseReason::SessionLost { .. } | CloseReason::Refused(_)), _] => {}
        other => panic!("one side goes on alone: {other:?}"),
    }
    assert!(pair.links() <= 1);
    for side in [Dialer, Acceptor] {
        let held = pair.session(side).buffered(ours).0.bytes;
        assert!(held < 64 << 20);
    }
}

#[test]
fn a_hello_of_any_length_is_refused_and_never_panics() {
    let host = Identity::from_secret([2; 32]);
    for length in 2..400 {
        let mut body = vec![0; length];
        body[..2].copy_from_slice(&VERSION.to_be_bytes());
        let refused = Hello::decode(VERSION, &body.into(), Binding([5; 32]), host.public_key());
        assert!(matches!(refused, Err(Some(_))), "{length} bytes: {refused:?}");
    }
}
