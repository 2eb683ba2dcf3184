//! What requester and responder say to each other on their channel.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::RequestProtocolError as Error;
use crate::message::{Message, Utf8Bytes};
use crate::sync::VERSION;

/// A process, or rather a handle in it: drawn at random when it is made.
pub(super) type Incarnation = u64;

/// A request: who asked, and the number among everything that it has sent.
pub(super) type RequestId = (Incarnation, u64);

/// What a requester sends. Every frame has an id of its own, and the numbers of one incarnation ascend.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ask {
    Request(Message),
    /// The result of this request, of the same incarnation, is not wanted any more.
    Cancel(u64),
    /// Asks for nothing but the `Begin` that the first frame of all leads to.
    Sync,
}

/// What a responder sends.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// A new incarnation takes the requests from here on.
    Start(Incarnation),
    /// The first frame that this incarnation of the responder got from that of the requester.
    Begin(RequestId),
    Reply(RequestId, Message),
    /// It was taken, and there will be no reply.
    Unanswered(RequestId),
}

const REQUEST: u8 = VERSION << 4 | 1;
const CANCEL: u8 = VERSION << 4 | 2;
const SYNC: u8 = VERSION << 4 | 3;
const START: u8 = VERSION << 4 | 4;
const BEGIN: u8 = VERSION << 4 | 5;
const REPLY: u8 = VERSION << 4 | 6;
const UNANSWERED: u8 = VERSION << 4 | 7;

fn frame(kind: u8, (incarnation, number): RequestId, more: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(17 + more);
    frame.put_u8(kind);
    frame.put_u64(incarnation);
    frame.put_u64(number);
    frame
}

fn carry(mut frame: BytesMut, message: &Message) -> Message {
    frame.put_u8(u8::from(message.is_text()));
    frame.extend_from_slice(message.as_bytes());
    frame.freeze().into()
}

impl Ask {
    pub(super) fn encode(&self, id: RequestId) -> Message {
        match self {
            Self::Request(message) => carry(frame(REQUEST, id, 1 + message.len()), message),
            Self::Cancel(number) => {
                let mut frame = frame(CANCEL, id, 8);
                frame.put_u64(*number);
                frame.freeze().into()
            }
            Self::Sync => frame(SYNC, id, 0).freeze().into(),
        }
    }

    pub(super) fn decode(message: Message) -> Result<(RequestId, Self), Error> {
        let (kind, mut rest) = kind(message)?;
        if !matches!(kind, REQUEST | CANCEL | SYNC) {
            return Err(wrong_kind(kind, START..=UNANSWERED));
        }
        let id = (number(&mut rest)?, number(&mut rest)?);
        let ask = match kind {
            REQUEST => Self::Request(carried(rest)?),
            CANCEL => {
                let cancelled = number(&mut rest)?;
                ended(&rest)?;
                Self::Cancel(cancelled)
            }
            _ => {
                ended(&rest)?;
                Self::Sync
            }
        };
        Ok((id, ask))
    }
}

impl Answer {
    pub(super) fn encode(&self) -> Message {
        match self {
            Self::Start(incarnation) => {
                let mut frame = BytesMut::with_capacity(9);
                frame.put_u8(START);
                frame.put_u64(*incarnation);
                frame.freeze().into()
            }
            Self::Begin(id) => frame(BEGIN, *id, 0).freeze().into(),
            Self::Reply(id, message) => carry(frame(REPLY, *id, 1 + message.len()), message),
            Self::Unanswered(id) => frame(UNANSWERED, *id, 0).freeze().into(),
        }
    }

    pub(super) fn decode(message: Message) -> Result<Self, Error> {
        let (kind, mut rest) = kind(message)?;
        if kind == START {
            let incarnation = number(&mut rest)?;
            return ended(&rest).map(|()| Self::Start(incarnation));
        }
        if !matches!(kind, BEGIN | REPLY | UNANSWERED) {
            return Err(wrong_kind(kind, REQUEST..=SYNC));
        }
        let id = (number(&mut rest)?, number(&mut rest)?);
        if kind == REPLY {
            return Ok(Self::Reply(id, carried(rest)?));
        }
        ended(&rest)?;
        Ok(if kind == BEGIN { Self::Begin(id) } else { Self::Unanswered(id) })
    }
}

fn kind(message: Message) -> Result<(u8, Bytes), Error> {
    if message.is_text() {
        return Err(Error::Malformed("text, where a frame is due"));
    }
    let mut rest = message.into_bytes();
    let kind = *rest.first().ok_or(Error::Malformed("an empty message"))?;
    if kind >> 4 != VERSION {
        return Err(Error::Version(kind >> 4));
    }
    rest.advance(1);
    Ok((kind, rest))
}

/// A kind that is out of place, because the other end plays the same part or because it is none.
fn wrong_kind(kind: u8, of_the_other_part: std::ops::RangeInclusive<u8>) -> Error {
    if of_the_other_part.contains(&kind) { Error::SamePart } else { Error::Malformed("an unknown kind") }
}

fn number(rest: &mut Bytes) -> Result<u64, Error> {
    rest.try_get_u64().map_err(|_| Error::Malformed("a frame that is cut short"))
}

fn ended(rest: &Bytes) -> Result<(), Error> {
    if rest.is_empty() { Ok(()) } else { Err(Error::Malformed("bytes after the end of a frame")) }
}

fn carried(mut rest: Bytes) -> Result<Message, Error> {
    match rest.try_get_u8() {
        Ok(0) => Ok(Message::Binary(rest)),
        Ok(1) => Utf8Bytes::try_from(rest)
            .map(Message::Text)
            .map_err(|_| Error::Malformed("text that is not UTF-8")),
        Ok(_) => Err(Error::Malformed("a message that is neither text nor bytes")),
        Err(_) => Err(Error::Malformed("a frame that is cut short")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    #[test]
    fn frames_are_as_the_protocol_says() {
        let id = (0x0102, 0x03);
        let asks = [
            (Ask::Request("hi".into()), "11000000000000010200000000000000030168 69"),
            (Ask::Request(vec![255].into()), "110000000000000102000000000000000300ff"),
            (Ask::Cancel(2), "12000000000000010200000000000000030000000000000002"),
            (Ask::Sync, "1300000000000001020000000000000003"),
        ];
        for (ask, hex) in asks {
            let message = ask.encode(id);
            assert_eq!(message.as_bytes(), bytes(&hex.replace(' ', "")));
            assert_eq!(Ask::decode(message), Ok((id, ask)));
        }
        let answers = [
            (Answer::Start(5), "140000000000000005"),
            (Answer::Begin(id), "1500000000000001020000000000000003"),
            (Answer::Reply(id, "ok".into()), "1600000000000001020000000000000003016f6b"),
            (Answer::Unanswered(id), "1700000000000001020000000000000003"),
        ];
        for (answer, hex) in answers {
            let message = answer.encode();
            assert_eq!(message.as_bytes(), bytes(hex));
            assert_eq!(Answer::decode(message), Ok(answer));
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for message in [Ask::Sync.encode((1, 1)), Ask::Cancel(1).encode((1, 1))] {
            assert_eq!(Answer::decode(message), Err(Error::SamePart));
        }
        assert_eq!(Ask::decode(Answer::Start(1).encode()), Err(Error::SamePart));
        assert_eq!(Ask::decode(Message::from(b"\x21")), Err(Error::Version(2)));
        assert!(Ask::decode("text".into()).is_err() && Answer::decode("text".into()).is_err());
        let good = [
            Ask::Request("text".into()).encode((1, 1)),
            Ask::Cancel(1).encode((1, 1)),
            Answer::Reply((1, 1), "text".into()).encode(),
            Answer::Begin((1, 1)).encode(),
        ];
        for message in good {
            for length in 0..message.len().min(18) {
                let short = Message::from(&message.as_bytes()[..length]);
                assert!(Ask::decode(short.clone()).is_err() && Answer::decode(short).is_err());
            }
        }
        let with = |kind: u8, tail: &[u8]| Message::from([&[kind][..], &[0; 16], tail].concat());
        assert!(Ask::decode(with(REQUEST, b"\x01\xff")).is_err(), "not UTF-8");
        assert!(Ask::decode(with(REQUEST, b"\x02x")).is_err(), "neither text nor bytes");
        assert!(Ask::decode(with(SYNC, b"x")).is_err() && Ask::decode(with(0x1f, b"")).is_err());
    }
}
