//! Packets and handshake bodies.

use bytes::{Bytes, BytesMut};

use super::identity;
use crate::durable::core::VERSION;
use crate::durable::core::fuzzing::{Decoder, Frame, Hello, Refuse, Welcome, put_frame};
use crate::identity::{Domain, Identity};
use crate::link::Binding;

const BINDING: Binding = Binding([3; 32]);
const HELLO: &[u8] = b"the hello that is answered";

/// The first byte says what the rest is: a packet, or a body of a handshake frame, to be signed or
/// as it is. What can be decoded is the same when it is encoded and decoded again.
pub fn frames(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let (dialer, host) = (identity(1), identity(2));
    let signed = |identity: &Identity, domain, parts: &[&[u8]]| -> Bytes {
        let signature = identity.sign(domain, parts);
        [rest, &signature.0[..]].concat().into()
    };
    let me = host.public_key();
    match kind % 5 {
        0 => packet(Bytes::copy_from_slice(rest)),
        1 => {
            // The keys are those of who signs and who reads; nothing else would get far.
            let mut text = rest.to_vec();
            if text.len() >= 66 {
                text[2..34].copy_from_slice(dialer.public_key().as_bytes());
                text[34..66].copy_from_slice(me.as_bytes());
            }
            let signature = dialer.sign(Domain::Hello, &[&BINDING.0, &text]);
            text.extend_from_slice(&signature.0);
            if let Ok(hello) = Hello::decode(VERSION, &text.into(), BINDING, me) {
                let Hello { session, nonce, incarnation, terms, .. } = &hello;
                let (_, body) =
                    Hello::encode(VERSION, dialer, me, *session, None, *nonce, *incarnation, BINDING, terms);
                let again = Hello::decode(VERSION, &body, BINDING, me).expect("what we encode");
                assert_eq!(again, Hello { proof: None, ..hello });
            }
        }
        2 => {
            let body = signed(host, Domain::Welcome, &[&BINDING.0, HELLO, rest]);
            if let Ok(welcome) = Welcome::decode(VERSION, &body, BINDING, HELLO, me) {
                let frame = welcome.encode(VERSION, host, BINDING, HELLO).freeze();
                let Ok(Some(Frame::Welcome(body))) = Decoder::new(frame).frame() else {
                    panic!("what we encode is no WELCOME")
                };
                assert_eq!(Welcome::decode(VERSION, &body, BINDING, HELLO, me), Ok(welcome));
            }
        }
        3 => {
            let body = signed(host, Domain::Refuse, &[&BINDING.0, HELLO, rest]);
            if let Ok(refuse) = Refuse::decode(&body, BINDING, HELLO, me) {
                assert!(refuse.text.chars().count() <= 200);
                let frame = refuse.encode(host, BINDING, HELLO).freeze();
                let Ok(Some(Frame::Refuse(body))) = Decoder::new(frame).frame() else {
                    panic!("what we encode is no REFUSE")
                };
                assert_eq!(Refuse::decode(&body, BINDING, HELLO, me), Ok(refuse));
            }
        }
        _ => {
            let body = Bytes::copy_from_slice(rest);
            assert!(Hello::decode(VERSION, &body, BINDING, me).is_err(), "nobody signed it");
            assert!(Welcome::decode(VERSION, &body, BINDING, HELLO, me).is_err(), "nobody signed it");
            assert!(Refuse::decode(&body, BINDING, HELLO, me).is_err(), "nobody signed it");
        }
    }
}

fn packet(packet: Bytes) {
    let mut decoder = Decoder::new(packet);
    let mut frames = 0;
    while let Ok(Some(frame)) = decoder.frame() {
        let mut messages = vec![];
        if let Frame::Data { count, .. } = &frame {
            for _ in 0..*count {
                let Ok(message) = decoder.message() else { return };
                messages.push(message);
            }
        }
        let mut out = BytesMut::new();
        put_frame(&mut out, &frame, &messages);
        let mut again = Decoder::new(out.freeze());
        assert_eq!(again.frame(), Ok(Some(frame)));
        for message in messages {
            assert_eq!(again.message(), Ok(message));
        }
        assert!(again.is_empty());
        frames += 1;
    }
    assert!(frames <= 1 << 18);
}
