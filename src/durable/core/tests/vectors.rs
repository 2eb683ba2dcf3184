//! The worked examples of `docs/PROTOCOL.md`, made by this implementation: others test theirs
//! against the file, and we test that it is what we do.

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::super::handshake::{Resume, Terms, Welcome};
use super::super::wire::{self, Ack, DataFrame, HalfAck, Lossy};
use super::super::*;
use crate::identity::{Domain, Identity};
use crate::link::Binding;
use crate::message::Message;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/vectors/frames.json");
const PROTOCOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PROTOCOL.md");
const BINDING: Binding = Binding([0xb0; 32]);
const NONCE: [u8; 16] = [0x0a; 16];
const INCARNATION: Incarnation = Incarnation([0x1c; 16]);
const ID: SessionId = SessionId([0x51; 16]);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn written(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    write(&mut out);
    out.freeze()
}

fn terms(cursors: Vec<Resume>) -> Terms {
    Terms { link_window: 4 << 20, max_message: 16 << 20, max_half: 3, cursors }
}

fn cursor() -> Resume {
    Resume { half: 2, consumed: 5, received: 7, window: 512 << 10 }
}

fn secret() -> SessionSecret {
    SessionSecret([0x5e; 32])
}

/// Name, what it is, bytes.
fn simple() -> Vec<(&'static str, &'static str, Bytes)> {
    let data = |half, seq, messages: &[Message]| {
        written(|out| {
            let mut frame = DataFrame::begin(out, half, seq);
            messages.iter().for_each(|message| frame.put(out, message));
            frame.end(out);
        })
    };
    let long = Message::from("a long text");
    let halves =
        vec![HalfAck { half: 1, cursor: 5, window: 512 << 10 }, HalfAck { half: 2, cursor: 0, window: 300 }];
    vec![
        (
            "open",
            "half 1, first message 1, durable, label \"chat\"",
            written(|out| wire::put_open(out, 1, 1, None, "chat")),
        ),
        (
            "open_lossy",
            "half 2, first message 1, lossy, unordered, 3 retransmits, label \"mouse\"",
            written(|out| {
                wire::put_open(out, 2, 1, Some(Lossy { ordered: false, max_retransmits: 3 }), "mouse")
            }),
        ),
        (
            "data",
            "half 1, from message 1: text \"hi\", binary 00 ff, binary empty",
            data(1, 1, &["hi".into(), vec![0, 255].into(), Bytes::new().into()]),
        ),
        (
            "fragment_first",
            "half 1, message 4, text of 11 bytes, the first 6",
            written(|out| wire::put_fragment(out, 1, 4, &long, 0, 6)),
        ),
        ("fragment_last", "the 5 that follow", written(|out| wire::put_fragment(out, 1, 4, &long, 6, 5))),
        (
            "ack",
            "1000 bytes received; half 1 consumed to 5, window 524288; half 2 to 0, window 300",
            written(|out| wire::put_ack(out, &Ack { received: 1000, halves })),
        ),
        (
            "skip_overflow",
            "half 1, messages 5 to 300, overflow",
            written(|out| wire::put_skip(out, 1, 5, 300, GapCause::Overflow)),
        ),
        (
            "skip_expired",
            "half 1, message 5, expired",
            written(|out| wire::put_skip(out, 1, 5, 5, GapCause::Expired)),
        ),
        (
            "skip_closed",
            "half 1, message 5, closed",
            written(|out| wire::put_skip(out, 1, 5, 5, GapCause::Closed)),
        ),
        (
            "skip_session_lost",
            "half 1, message 5, session lost",
            written(|out| wire::put_skip(out, 1, 5, 5, GapCause::SessionLost)),
        ),
        (
            "skip_superseded",
            "half 1, message 5, superseded",
            written(|out| wire::put_skip(out, 1, 5, 5, GapCause::Superseded)),
        ),
        ("end", "half 1 ends at number 6", written(|out| wire::put_end(out, 1, 6))),
        ("ping", "number 7", written(|out| wire::put_ping(out, 7))),
        ("pong", "number 7", written(|out| wire::put_pong(out, 7))),
        ("close", "", written(wire::put_close)),
        (
            "packet",
            "PONG 7, ACK of 1000 bytes, DATA of half 1, message 2, text \"x\"",
            [
                written(|out| wire::put_pong(out, 7)),
                written(|out| wire::put_ack(out, &Ack { received: 1000, halves: vec![] })),
                data(1, 2, &["x".into()]),
            ]
            .concat()
            .into(),
        ),
    ]
}

fn vectors() -> Value {
    let (host, peer) = (Identity::from_secret([7; 32]), Identity::from_secret([8; 32]));
    let hello = |secret: Option<&SessionSecret>, terms: &Terms| {
        let (frame, body) =
            Hello::encode(VERSION, &peer, host.public_key(), ID, secret, NONCE, INCARNATION, BINDING, terms);
        let signed = body.slice(..body.len() - 64);
        let digest = Domain::Hello.digest(&[&BINDING.0, &signed]);
        (json!({ "hex": hex(&frame), "digest": hex(&digest) }), body)
    };
    let (first, body) = hello(None, &terms(vec![]));
    let (again, _) = hello(Some(&secret()), &terms(vec![cursor()]));
    let proof =
        hex(&Hello::decode(VERSION, &hello(Some(&secret()), &terms(vec![])).1, BINDING, host.public_key())
            .unwrap()
            .proof
            .unwrap());
    let welcome = Welcome {
        session: ID,
        resumed: false,
        took_over: false,
        secret: secret(),
        terms: terms(vec![cursor()]),
    };
    let welcome = welcome.encode(VERSION, &host, BINDING, &body);
    let refusals: Vec<_> = [
        (RefuseCode::Version, "1"),
        (RefuseCode::UnknownSession, "the session is not known here"),
        (RefuseCode::Closed, "the session was closed"),
        (RefuseCode::Full, "too many sessions"),
        (RefuseCode::Rejected, "no"),
        (RefuseCode::Displaced, "a newer process took the session over"),
    ]
    .into_iter()
    .map(|(code, text)| {
        let frame = Refuse { code, text: text.into() }.encode(&host, BINDING, &body);
        json!({ "code": format!("{code:?}"), "text": text, "hex": hex(&frame) })
    })
    .collect();
    let numbers = [0, 1, 127, 128, 300, 16_384, 1 << 32, 1 << 62, u64::MAX];
    let varints = numbers.map(|value| json!({ "value": value.to_string(), "hex": hex(&written(|out| wire::put_varint(out, value))) }));
    let frames = simple()
        .into_iter()
        .map(|(name, what, bytes)| json!({ "name": name, "what": what, "hex": hex(&bytes) }));
    json!({
        "version": VERSION,
        "binding": hex(&BINDING.0),
        "nonce": hex(&NONCE),
        "incarnation": hex(&INCARNATION.0),
        "session": hex(&ID.0),
        "secret": hex(&secret().0),
        "acceptor": { "seed": hex(&[7; 32]), "public_key_hex": hex(host.public_key().as_bytes()) },
        "dialer": { "seed": hex(&[8; 32]), "public_key_hex": hex(peer.public_key().as_bytes()) },
        "varints": varints,
        "proof": proof,
        "hello_first": first,
        "hello_resuming": again,
        "welcome": hex(&welcome),
        "refuse": refusals,
        "frames": frames.collect::<Vec<_>>(),
    })
}

/// The same in a browser, whose numbers and texts are made by other code.
#[cfg(target_arch = "wasm32")]
#[wasm_bindgen_test::wasm_bindgen_test]
fn the_published_frames_are_what_we_do_in_a_browser() {
    let published: Value =
        serde_json::from_str(include_str!("../../../../docs/vectors/frames.json")).unwrap();
    assert_eq!(published, vectors());
}

/// Run with `EVERLINK_WRITE_VECTORS=1` after a change of the protocol.
#[test]
fn the_published_frames_are_what_we_do() {
    let made = vectors();
    if std::env::var_os("EVERLINK_WRITE_VECTORS").is_some() {
        std::fs::write(FILE, format!("{made:#}\n")).unwrap();
    }
    let published: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    assert_eq!(published, made);
}

#[test]
fn the_protocol_shows_them() {
    let text = std::fs::read_to_string(PROTOCOL).unwrap();
    let made = vectors();
    let mut shown: Vec<&Value> =
        made["frames"].as_array().unwrap().iter().map(|frame| &frame["hex"]).collect();
    shown.extend([&made["proof"], &made["hello_first"]["digest"], &made["hello_resuming"]["digest"]]);
    shown.extend(made["varints"].as_array().unwrap().iter().map(|varint| &varint["hex"]));
    for hex in shown {
        assert!(text.contains(hex.as_str().unwrap()), "not shown: {hex}");
    }
}

#[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
#[cfg_attr(not(target_arch = "wasm32"), test)]
fn what_is_encoded_is_decoded_as_it_was() {
    for (name, _, bytes) in simple() {
        let mut decoder = Decoder::new(bytes.clone());
        let frame = decoder.frame().unwrap().unwrap();
        match (name, &frame) {
            ("open", Frame::Open { half: 1, first_seq: 1, lossy: None, label }) => {
                assert_eq!(&**label, "chat")
            }
            ("open_lossy", Frame::Open { half: 2, lossy: Some(lossy), .. }) => {
                assert_eq!(*lossy, Lossy { ordered: false, max_retransmits: 3 });
            }
            ("data", Frame::Data { half: 1, seq: 1, count: 3 }) => {
                let messages: [Message; 3] = std::array::from_fn(|_| decoder.message().unwrap());
                assert_eq!(messages, ["hi".into(), vec![0, 255].into(), Bytes::new().into()]);
            }
            (
                "fragment_first",
                Frame::Fragment { half: 1, seq: 4, text: true, total: 11, offset: 0, data },
            ) => {
                assert_eq!(&data[..], b"a long");
            }
            ("fragment_last", Frame::Fragment { total: 11, offset: 6, data, .. }) => {
                assert_eq!(&data[..], b" text")
            }
            ("ack", Frame::Ack(ack)) => {
                assert_eq!((ack.received, ack.halves.len(), ack.halves[1].window), (1000, 2, 300))
            }
            ("skip_overflow", Frame::Skip { half: 1, from: 5, to: 300, cause: GapCause::Overflow })
            | ("skip_expired", Frame::Skip { cause: GapCause::Expired, .. })
            | ("skip_closed", Frame::Skip { cause: GapCause::Closed, .. })
            | ("skip_session_lost", Frame::Skip { cause: GapCause::SessionLost, .. })
            | ("skip_superseded", Frame::Skip { cause: GapCause::Superseded, .. })
            | ("end", Frame::End { half: 1, seq: 6 })
            | ("ping", Frame::Ping(7))
            | ("pong" | "packet", Frame::Pong(7))
            | ("close", Frame::Close) => {}
            other => panic!("{other:?}"),
        }
        if name != "packet" {
            assert!(decoder.is_empty(), "{name}");
            // Nothing shorter is a frame, and nothing panics.
            (1..bytes.len()).for_each(|length| {
                let mut short = Decoder::new(bytes.slice(..length));
                let whole = short.frame().and_then(|frame| match frame {
                    Some(Frame::Data { count, .. }) => (0..count).try_for_each(|_| short.message().map(drop)),
                    _ => Ok(()),
                });
                assert!(whole.is_err(), "{name} of {length} bytes");
            });
        }
    }
}
