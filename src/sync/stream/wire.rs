//! What a stream says on its channel: numbered chunks, and how it ends.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::StreamError;
use crate::message::Message;
use crate::sync::VERSION;

/// The most bytes of a stream in one message. With its header, and what the frame and the packet
/// add, it still fits one packet, so that it is neither cut up nor put together again.
pub(super) const MAX_CHUNK: usize = 60 << 10;
/// Kind and offset.
pub(super) const HEADER: usize = 9;

const DATA: u8 = VERSION << 4 | 1;
const END: u8 = VERSION << 4 | 2;
const ABORT: u8 = VERSION << 4 | 3;

/// The sending direction: collects bytes and cuts them into chunks.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Room for the header, then bytes that no chunk was made of yet. Empty without any.
    pending: BytesMut,
    /// Where in the stream the pending bytes begin.
    offset: u64,
}

impl Outgoing {
    /// How many more bytes the pending chunk has room for.
    pub(super) fn room(&self) -> usize {
        MAX_CHUNK - self.pending.len().saturating_sub(HEADER)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes as much of `bytes` as there is room for.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.room());
        if taken > 0 {
            if self.pending.is_empty() {
                self.pending.reserve(HEADER + taken);
                self.pending.put_bytes(0, HEADER);
            }
            self.pending.extend_from_slice(&bytes[..taken]);
        }
        taken
    }

    /// What is pending, as a message.
    pub(super) fn chunk(&mut self) -> Message {
        let mut chunk = std::mem::take(&mut self.pending);
        let length = chunk.len().saturating_sub(HEADER) as u64;
        chunk[..HEADER].copy_from_slice(&header(DATA, self.offset));
        self.offset += length;
        Message::Binary(chunk.freeze())
    }

    /// The end, after everything pending was taken.
    pub(super) fn end(&self) -> Message {
        Message::from(&header(END, self.offset))
    }

    /// That there will be no end.
    pub(super) fn abort(&self) -> Message {
        Message::from(&header(ABORT, self.offset))
    }
}

fn header(kind: u8, offset: u64) -> [u8; HEADER] {
    let mut header = [kind; HEADER];
    header[1..].copy_from_slice(&offset.to_be_bytes());
    header
}

/// The receiving direction: checks that nothing is missing.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// Bytes received.
    offset: u64,
}

/// What came.
#[derive(Debug, PartialEq)]
pub(super) enum Received {
    Chunk(Bytes),
    End,
}

impl Incoming {
    pub(super) fn handle(&mut self, message: Message) -> Result<Received, StreamError> {
        if message.is_text() {
            return Err(StreamError::Malformed("text, where a stream has only bytes"));
        }
        let mut bytes = message.into_bytes();
        let kind = *bytes.first().ok_or(StreamError::Malformed("an empty message"))?;
        if kind >> 4 != VERSION {
            return Err(StreamError::Version(kind >> 4));
        }
        if bytes.len() < HEADER {
            return Err(StreamError::Malformed("a message that ends within its header"));
        }
        bytes.advance(1);
        let offset = bytes.get_u64();
        let due = |offset: u64| match offset {
            _ if offset == self.offset => Ok(()),
            // A stream that has begun begins at 0 again: the process that wrote it was started anew.
            0 => Err(StreamError::Restarted),
            _ => Err(StreamError::Gap { expected: self.offset, got: offset }),
        };
        match kind {
            DATA if bytes.is_empty() => Err(StreamError::Malformed("a chunk without bytes")),
            DATA => {
                due(offset)?;
                self.offset = self
                    .offset
                    .checked_add(bytes.len() as u64)
                    .ok_or(StreamError::Malformed("an offset out of range"))?;
                Ok(Received::Chunk(bytes))
            }
            END if bytes.is_empty() => due(offset).map(|()| Received::End),
            ABORT if bytes.is_empty() => Err(StreamError::Unended),
            END | ABORT => Err(StreamError::Malformed("bytes after the end")),
            _ => Err(StreamError::Malformed("a message of an unknown kind")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let (mut outgoing, mut incoming) = (Outgoing::default(), Incoming::default());
        let data: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
        let (mut rest, mut came) = (&data[..], Vec::new());
        while !rest.is_empty() {
            let taken = outgoing.push(rest);
            rest = &rest[taken..];
            let message = outgoing.chunk();
            assert!(message.len() <= MAX_CHUNK + HEADER);
            let Received::Chunk(bytes) = incoming.handle(message).unwrap() else { panic!() };
            came.extend_from_slice(&bytes);
        }
        assert_eq!(came, data);
        assert_eq!(incoming.handle(outgoing.end()).unwrap(), Received::End);
    }

    #[test]
    fn the_messages_are_as_the_protocol_says() {
        let mut outgoing = Outgoing::default();
        outgoing.push(b"abc");
        assert_eq!(outgoing.chunk().as_bytes(), b"\x11\0\0\0\0\0\0\0\0abc");
        assert_eq!(outgoing.end().as_bytes(), b"\x12\0\0\0\0\0\0\0\x03");
        assert_eq!(outgoing.abort().as_bytes(), b"\x13\0\0\0\0\0\0\0\x03");
    }

    #[test]
    fn nonsense_is_an_error() {
        let chunk = |offset: u64, bytes: &[u8]| Message::from([&header(DATA, offset)[..], bytes].concat());
        let mut incoming = Incoming::default();
        incoming.handle(chunk(0, b"abc")).unwrap();
        assert_eq!(incoming.handle(chunk(4, b"x")), Err(StreamError::Gap { expected: 3, got: 4 }));
        assert_eq!(incoming.handle(chunk(0, b"x")), Err(StreamError::Restarted));
        assert_eq!(incoming.handle(Message::from(&header(ABORT, 3))), Err(StreamError::Unended));
        assert_eq!(incoming.handle(Message::from(b"\x21\0\0\0\0\0\0\0\x03x")), Err(StreamError::Version(2)));
        for bad in [
            &b""[..],
            b"\x11",
            b"\x12\0\0",
            b"\x11\0\0\0\0\0\0\0\x03",
            b"\x12\0\0\0\0\0\0\0\x03x",
            b"\x1f\0\0\0\0\0\0\0\x03x",
        ] {
            let error = incoming.handle(Message::from(bad)).unwrap_err();
            assert!(matches!(error, StreamError::Malformed(_)), "{bad:?}: {error}");
        }
        assert!(incoming.handle("text".into()).is_err());
        // None of it moved the stream.
        assert!(incoming.handle(chunk(3, b"d")).is_ok());
    }
}
