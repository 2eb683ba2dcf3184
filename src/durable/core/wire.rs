//! Frames as bytes. A *packet* is what a link carries at once: one or more frames back to back.
//!
//! Numbers are LEB128 varints unless said; `docs/PROTOCOL.md` is the normative text.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::error::Misbehaviour;
use crate::message::{Message, Utf8Bytes};

/// The protocol version this code speaks.
pub(crate) const VERSION: u16 = 2;
/// Longest label, in bytes.
pub(crate) const MAX_LABEL: usize = 255;

/// One frame as it was received. Payloads are views into the packet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// First frame of the dialing side; the body is parsed by `handshake`.
    Hello(Bytes),
    /// Answer to HELLO.
    Welcome(Bytes),
    /// Answer to a HELLO that leads nowhere.
    Refuse(Bytes),
    /// Names the half-channel `half` of the sender.
    Open { half: u32, first_seq: u64, lossy: Option<Lossy>, label: Utf8Bytes },
    /// `count` whole messages, the first numbered `seq`; read them with [`Decoder::message`].
    Data { half: u32, seq: u64, count: u16 },
    /// A piece of message `seq`, which has `total` bytes.
    Fragment { half: u32, seq: u64, text: bool, total: u64, offset: u64, data: Bytes },
    /// What was received and consumed.
    Ack(Ack),
    /// Messages `from..=to` will never come.
    Skip { half: u32, from: u64, to: u64, cause: GapCause },
    /// The half-channel ends before `seq`.
    End { half: u32, seq: u64 },
    /// Asks for a PONG with the same number.
    Ping(u64),
    /// Answers a PING.
    Pong(u64),
    /// The session is closed for good.
    Close,
}

/// The lossy kind of a channel on the wire.
pub(crate) use crate::link::LossyConfig as Lossy;

/// Why messages were skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapCause {
    /// The sender's queue was full while there was no link.
    Overflow,
    /// They waited too long while there was no link.
    Expired,
    /// The channel was closed before they were sent.
    Closed,
    /// The session they belonged to was lost.
    SessionLost,
    /// They are larger than the receiver takes.
    TooLarge,
    /// Newer ones of the same key took their place before they were sent.
    Superseded,
}

impl GapCause {
    /// As frames and stores name it.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Overflow => 1,
            Self::Expired => 2,
            Self::Closed => 3,
            Self::SessionLost => 4,
            Self::TooLarge => 5,
            Self::Superseded => 6,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Overflow,
            2 => Self::Expired,
            3 => Self::Closed,
            4 => Self::SessionLost,
            5 => Self::TooLarge,
            6 => Self::Superseded,
            _ => return None,
        })
    }
}

/// The body of an ACK frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ack {
    /// Bytes of packets received on this link so far.
    pub received: u64,
    /// For each half-channel with news.
    pub halves: Vec<HalfAck>,
}

/// News of one half-channel from its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HalfAck {
    pub half: u32,
    /// Everything up to here was consumed.
    pub cursor: u64,
    /// How many bytes beyond the cursor may be under way.
    pub window: u64,
}

mod kind {
    pub const HELLO: u8 = 0x01;
    pub const WELCOME: u8 = 0x02;
    pub const REFUSE: u8 = 0x03;
    pub const OPEN: u8 = 0x04;
    pub const DATA: u8 = 0x05;
    pub const FRAGMENT: u8 = 0x06;
    pub const ACK: u8 = 0x07;
    pub const SKIP: u8 = 0x08;
    pub const END: u8 = 0x09;
    pub const PING: u8 = 0x0a;
    pub const PONG: u8 = 0x0b;
    pub const CLOSE: u8 = 0x0c;
}

/// Bytes of a varint.
pub(crate) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

pub(crate) fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Reads the parts of a frame. Every method fails with a [`Misbehaviour`] rather than panic.
pub(crate) struct Decoder {
    rest: Bytes,
}

impl Decoder {
    pub(crate) fn new(packet: Bytes) -> Self {
        Self { rest: packet }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Misbehaviour> {
        self.rest.try_get_u8().map_err(|_| Misbehaviour::Truncated)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Misbehaviour> {
        self.rest.try_get_u16().map_err(|_| Misbehaviour::Truncated)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Misbehaviour> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err(Misbehaviour::OutOfRange);
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Misbehaviour::OutOfRange)
    }

    pub(crate) fn u32_varint(&mut self) -> Result<u32, Misbehaviour> {
        self.varint()?.try_into().map_err(|_| Misbehaviour::OutOfRange)
    }

    pub(crate) fn bytes(&mut self, length: u64) -> Result<Bytes, Misbehaviour> {
        if length > self.rest.len() as u64 {
            return Err(Misbehaviour::Truncated);
        }
        Ok(self.rest.split_to(length as usize))
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Misbehaviour> {
        let bytes = self.bytes(N as u64)?;
        let mut array = [0; N];
        array.copy_from_slice(&bytes);
        Ok(array)
    }

    fn body(&mut self) -> Result<Bytes, Misbehaviour> {
        let length = self.varint()?;
        self.bytes(length)
    }

    /// A sequence number: 1 to 2⁶² (so that adding to one can never overflow).
    fn seq(&mut self) -> Result<u64, Misbehaviour> {
        match self.varint()? {
            seq @ 1..=SEQ_MAX => Ok(seq),
            _ => Err(Misbehaviour::OutOfRange),
        }
    }

    /// One message of a DATA frame.
    pub(crate) fn message(&mut self) -> Result<Message, Misbehaviour> {
        let header = self.varint()?;
        let data = self.bytes(header >> 1)?;
        to_message(data, header & 1 == 1)
    }

    /// The next frame, or `None` at the end of the packet.
    pub(crate) fn frame(&mut self) -> Result<Option<Frame>, Misbehaviour> {
        if self.is_empty() {
            return Ok(None);
        }
        let frame = match self.u8()? {
            kind::HELLO => Frame::Hello(self.body()?),
            kind::WELCOME => Frame::Welcome(self.body()?),
            kind::REFUSE => Frame::Refuse(self.body()?),
            kind::OPEN => {
                let half = self.u32_varint()?;
                let first_seq = self.seq()?;
                let lossy = match self.u8()? {
                    0 => None,
                    1 => Some(Lossy { ordered: self.u8()? != 0, max_retransmits: self.u16()? }),
                    _ => return Err(Misbehaviour::OutOfRange),
                };
                let label = self.body()?;
                if label.is_empty() || label.len() > MAX_LABEL {
                    return Err(Misbehaviour::BadLabel(label.len()));
                }
                let label = label.try_into().map_err(|_| Misbehaviour::BadText)?;
                Frame::Open { half, first_seq, lossy, label }
            }
            kind::DATA => Frame::Data { half: self.u32_varint()?, seq: self.seq()?, count: self.u16()? },
            kind::FRAGMENT => {
                let half = self.u32_varint()?;
                let seq = self.seq()?;
                let total = self.varint()?;
                let offset = self.varint()?;
                let data = self.body()?;
                Frame::Fragment { half, seq, text: total & 1 == 1, total: total >> 1, offset, data }
            }
            kind::ACK => {
                let received = self.varint()?;
                let count = self.varint()?;
                // Each takes at least three bytes, so a longer list cannot be real.
                if count > self.rest.len() as u64 / 3 {
                    return Err(Misbehaviour::Truncated);
                }
                let halves = (0..count)
                    .map(|_| {
                        Ok(HalfAck {
                            half: self.u32_varint()?,
                            cursor: self.varint()?,
                            window: self.varint()?,
                        })
                    })
                    .collect::<Result<_, Misbehaviour>>()?;
                Frame::Ack(Ack { received, halves })
            }
            kind::SKIP => {
                let half = self.u32_varint()?;
                let (from, to) = (self.seq()?, self.seq()?);
                if from > to {
                    return Err(Misbehaviour::OutOfRange);
                }
                let cause = GapCause::from_code(self.u8()?).ok_or(Misbehaviour::OutOfRange)?;
                Frame::Skip { half, from, to, cause }
            }
            kind::END => Frame::End { half: self.u32_varint()?, seq: self.seq()? },
            kind::PING => Frame::Ping(self.varint()?),
            kind::PONG => Frame::Pong(self.varint()?),
            kind::CLOSE => Frame::Close,
            other => return Err(Misbehaviour::UnknownFrame(other)),
        };
        Ok(Some(frame))
    }
}

/// The largest sequence number.
const SEQ_MAX: u64 = 1 << 62;

/// Bytes as the message they were sent as.
pub(crate) fn to_message(data: Bytes, text: bool) -> Result<Message, Misbehaviour> {
    if text {
        Ok(Message::Text(data.try_into().map_err(|_| Misbehaviour::BadText)?))
    } else {
        Ok(Message::Binary(data))
    }
}

fn put_body(out: &mut BytesMut, body: &[u8]) {
    put_varint(out, body.len() as u64);
    out.put_slice(body);
}

pub(crate) fn put_hello(out: &mut BytesMut, body: &[u8]) {
    out.put_u8(kind::HELLO);
    put_body(out, body);
}

pub(crate) fn put_welcome(out: &mut BytesMut, body: &[u8]) {
    out.put_u8(kind::WELCOME);
    put_body(out, body);
}

pub(crate) fn put_refuse(out: &mut BytesMut, body: &[u8]) {
    out.put_u8(kind::REFUSE);
    put_body(out, body);
}

/// Upper bound of the bytes of an OPEN frame.
pub(crate) fn open_len(label: &str) -> usize {
    label.len() + 24
}

pub(crate) fn put_open(out: &mut BytesMut, half: u32, first_seq: u64, lossy: Option<Lossy>, label: &str) {
    out.put_u8(kind::OPEN);
    put_varint(out, u64::from(half));
    put_varint(out, first_seq);
    match lossy {
        None => out.put_u8(0),
        Some(lossy) => {
            out.put_u8(1);
            out.put_u8(u8::from(lossy.ordered));
            out.put_u16(lossy.max_retransmits);
        }
    }
    put_body(out, label.as_bytes());
}

/// Upper bound of the header of a DATA or FRAGMENT frame, without messages.
pub(crate) const DATA_HEADER: usize = 40;

/// A DATA frame under construction: the count is filled in at the end.
pub(crate) struct DataFrame {
    count_at: usize,
    count: u16,
}

impl DataFrame {
    pub(crate) fn begin(out: &mut BytesMut, half: u32, seq: u64) -> Self {
        out.put_u8(kind::DATA);
        put_varint(out, u64::from(half));
        put_varint(out, seq);
        let count_at = out.len();
        out.put_u16(0);
        Self { count_at, count: 0 }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count == u16::MAX
    }

    pub(crate) fn put(&mut self, out: &mut BytesMut, message: &Message) {
        let data = message.as_bytes();
        put_varint(out, (data.len() as u64) << 1 | u64::from(message.is_text()));
        out.put_slice(data);
        self.count += 1;
    }

    pub(crate) fn end(self, out: &mut BytesMut) {
        out[self.count_at..self.count_at + 2].copy_from_slice(&self.count.to_be_bytes());
    }
}

/// Bytes of a message within a DATA frame.
pub(crate) fn message_len(length: usize) -> usize {
    varint_len((length as u64) << 1) + length
}

pub(crate) fn put_fragment(
    out: &mut BytesMut,
    half: u32,
    seq: u64,
    message: &Message,
    offset: usize,
    length: usize,
) {
    out.put_u8(kind::FRAGMENT);
    put_varint(out, u64::from(half));
    put_varint(out, seq);
    put_varint(out, (message.len() as u64) << 1 | u64::from(message.is_text()));
    put_varint(out, offset as u64);
    put_body(out, &message.as_bytes()[offset..offset + length]);
}

pub(crate) fn ack_len(ack: &Ack) -> usize {
    1 + 10 + 10 + ack.halves.len() * 25
}

pub(crate) fn put_ack(out: &mut BytesMut, ack: &Ack) {
    out.put_u8(kind::ACK);
    put_varint(out, ack.received);
    put_varint(out, ack.halves.len() as u64);
    for half in &ack.halves {
        put_varint(out, u64::from(half.half));
        put_varint(out, half.cursor);
        put_varint(out, half.window);
    }
}

/// Upper bound of the bytes of a SKIP or END frame.
pub(crate) const SKIP_LEN: usize = 28;

pub(crate) fn put_skip(out: &mut BytesMut, half: u32, from: u64, to: u64, cause: GapCause) {
    out.put_u8(kind::SKIP);
    put_varint(out, u64::from(half));
    put_varint(out, from);
    put_varint(out, to);
    out.put_u8(cause.code());
}

pub(crate) fn put_end(out: &mut BytesMut, half: u32, seq: u64) {
    out.put_u8(kind::END);
    put_varint(out, u64::from(half));
    put_varint(out, seq);
}

pub(crate) fn put_ping(out: &mut BytesMut, number: u64) {
    out.put_u8(kind::PING);
    put_varint(out, number);
}

pub(crate) fn put_pong(out: &mut BytesMut, number: u64) {
    out.put_u8(kind::PONG);
    put_varint(out, number);
}

pub(crate) fn put_close(out: &mut BytesMut) {
    out.put_u8(kind::CLOSE);
}
