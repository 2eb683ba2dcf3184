//! The records of a session in a store, as bytes and back. Pure; what a store hands out is checked
//! like anything that comes from outside.
//!
//! A key is the identity's mark, the session's id, a kind, and for most kinds the number of a
//! half-channel; all integers are big-endian, so that keys sort as their numbers do.

use bytes::{BufMut as _, Bytes, BytesMut};
use sha2::{Digest as _, Sha256};

use super::handshake::{SessionId, SessionSecret};
use super::session::Role;
use super::wire::{GapCause, Lossy};
use crate::identity::PublicKey;
use crate::message::{Message, Utf8Bytes};

/// The version of all records; a store says which one it has.
const VERSION: u8 = 1;

/// What kind of record a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Session = 0,
    Channel = 1,
    /// How far the application has come in what the peer sends.
    Cursor = 2,
    /// How far the peer has come in what this side sends.
    Base = 3,
    /// Messages, in their order.
    Chunk = 4,
    /// Messages of chunks that were dropped since.
    Gap = 5,
}

/// Where the records of an identity are.
pub(crate) fn identity_prefix(key: &PublicKey) -> Bytes {
    let mut hash = Sha256::new();
    hash.update(b"everlink/store/1");
    hash.update(key.as_bytes());
    Bytes::copy_from_slice(&hash.finalize()[..16])
}

/// Where the records of a session are.
pub(crate) fn session_prefix(identity: &PublicKey, session: SessionId) -> Bytes {
    [&identity_prefix(identity)[..], &session.0].concat().into()
}

pub(super) fn key(session: &[u8], kind: Kind, half: u32, seq: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(session.len() + 13);
    key.put_slice(session);
    key.put_u8(kind as u8);
    match kind {
        Kind::Session => {}
        Kind::Channel | Kind::Cursor | Kind::Base => key.put_u32(half),
        Kind::Chunk | Kind::Gap => {
            key.put_u32(half);
            key.put_u64(seq);
        }
    }
    key.freeze()
}

/// The key after every key that begins with `prefix`.
pub(crate) fn after(prefix: &[u8]) -> Bytes {
    // No kind comes near 255, and an id is followed by its kind.
    [prefix, &[0xff]].concat().into()
}

/// The key after every key of a kind and half.
pub(super) fn after_half(session: &[u8], kind: Kind, half: u32) -> Bytes {
    key(session, kind, half.saturating_add(1), 0)
}

/// What a session is, beside its channels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SessionRecord {
    pub role: Role,
    pub peer: Option<PublicKey>,
    pub secret: Option<SessionSecret>,
    pub confirmed: bool,
    /// The application closed it; kept so that a peer that returns hears of it.
    pub closed: bool,
    /// A link was live since it was last taken from the store, so all that is in it may have been
    /// transmitted.
    pub live: bool,
    pub peer_max_message: u64,
    pub last_half: u32,
    pub last_peer_half: u32,
    /// When this was written, in milliseconds since 1970.
    pub at: u64,
    /// What it was made for, as its maker names it.
    pub target: Bytes,
}

/// What a channel is, beside its messages.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ChannelRecord {
    pub label: Utf8Bytes,
    pub lossy: Option<Lossy>,
    /// The peer's half and its first number, once the peer has named it.
    pub peer_half: Option<(u32, u64)>,
    /// The application closed it.
    pub closed: bool,
    /// What may have been transmitted when it was last taken from the store.
    pub transmitted: u64,
}

/// One place in the outbox, as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum SavedEntry {
    Message(SavedMessage),
    Gap { to: u64, cause: GapCause },
    End,
}

/// A message with what was said about it. Times are in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SavedMessage {
    pub message: Message,
    pub queued_at: u64,
    pub deadline: Option<u64>,
    /// Empty for none.
    pub key: Bytes,
}

/// A record that no session of this release wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadRecord(pub &'static str);

impl SessionRecord {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(128 + self.target.len());
        out.put_u8(VERSION);
        out.put_u8(u8::from(self.role == Role::Acceptor));
        put_array(&mut out, self.peer.as_ref().map(PublicKey::as_bytes));
        put_array(&mut out, self.secret.as_ref().map(|secret| &secret.0));
        out.put_u8(u8::from(self.confirmed));
        out.put_u8(u8::from(self.closed));
        out.put_u8(u8::from(self.live));
        out.put_u64(self.peer_max_message);
        out.put_u32(self.last_half);
        out.put_u32(self.last_peer_half);
        out.put_u64(self.at);
        out.put_u32(self.target.len() as u32);
        out.put_slice(&self.target);
        out.freeze()
    }

    pub(super) fn decode(value: &Bytes) -> Result<Self, BadRecord> {
        let mut from = Reader(value.clone());
        if from.u8()? != VERSION {
            return Err(BadRecord("a session of an unknown version"));
        }
        let record = Self {
            role: if from.bool()? { Role::Acceptor } else { Role::Dialer },
            peer: from.optional()?.map(PublicKey),
            secret: from.optional()?.map(SessionSecret),
            confirmed: from.bool()?,
            closed: from.bool()?,
            live: from.bool()?,
            peer_max_message: from.u64()?,
            last_half: from.u32()?,
            last_peer_half: from.u32()?,
            at: from.u64()?,
            target: {
                let length = from.u32()?;
                from.bytes(length as usize)?
            },
        };
        from.end(record)
    }
}

impl ChannelRecord {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(32 + self.label.len());
        match self.lossy {
            None => out.put_u8(0),
            Some(lossy) => {
                out.put_u8(1 + u8::from(lossy.ordered));
                out.put_u16(lossy.max_retransmits);
            }
        }
        out.put_u8(u8::from(self.closed));
        let (half, first) = self.peer_half.unwrap_or_default();
        out.put_u32(half);
        out.put_u64(first);
        out.put_u64(self.transmitted);
        out.put_slice(self.label.as_bytes());
        out.freeze()
    }

    pub(super) fn decode(value: &Bytes) -> Result<Self, BadRecord> {
        let mut from = Reader(value.clone());
        let lossy = match from.u8()? {
            0 => None,
            kind @ (1 | 2) => Some(Lossy { ordered: kind == 2, max_retransmits: from.u16()? }),
            _ => return Err(BadRecord("a channel of an unknown kind")),
        };
        let closed = from.bool()?;
        let (half, first) = (from.u32()?, from.number()?);
        let transmitted = from.number()?;
        if (half == 0) != (first == 0) {
            return Err(BadRecord("half a channel that begins nowhere"));
        }
        let label = Utf8Bytes::try_from(from.0).map_err(|_| BadRecord("a label that is not UTF-8"))?;
        if label.is_empty() || label.len() > super::wire::MAX_LABEL {
            return Err(BadRecord("a label of a length that cannot be"));
        }
        Ok(Self { label, lossy, peer_half: (half > 0).then_some((half, first)), closed, transmitted })
    }
}

/// How far the application has come, and whether the peer's half ended there.
pub(super) fn put_cursor(consumed: u64, ended: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(9);
    out.put_u64(consumed);
    out.put_u8(u8::from(ended));
    out.freeze()
}

pub(super) fn cursor(value: &Bytes) -> Result<(u64, bool), BadRecord> {
    let mut from = Reader(value.clone());
    let cursor = (from.number()?, from.bool()?);
    from.end(cursor)
}

pub(super) fn put_base(acked: u64) -> Bytes {
    Bytes::copy_from_slice(&acked.to_be_bytes())
}

pub(super) fn base(value: &Bytes) -> Result<u64, BadRecord> {
    let mut from = Reader(value.clone());
    let base = from.number()?;
    from.end(base)
}

pub(super) fn put_gap(to: u64, cause: GapCause) -> Bytes {
    let mut out = BytesMut::with_capacity(9);
    out.put_u64(to);
    out.put_u8(cause.code());
    out.freeze()
}

pub(super) fn gap(value: &Bytes) -> Result<(u64, GapCause), BadRecord> {
    let mut from = Reader(value.clone());
    let to = from.number()?;
    let cause = GapCause::from_code(from.u8()?).ok_or(BadRecord("a gap of an unknown cause"))?;
    from.end((to, cause))
}

const TEXT: u8 = 1;
const DEADLINE: u8 = 2;
const KEY: u8 = 4;
const GAP: u8 = 0x10;
const END: u8 = 0x20;

/// What a message takes in a chunk.
pub(super) fn saved_len(message: &Message) -> usize {
    message.len() + 32
}

pub(super) fn put_message(
    out: &mut BytesMut,
    message: &Message,
    queued_at: u64,
    deadline: Option<u64>,
    key: &[u8],
) {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.put_u8(
        flag(message.is_text(), TEXT) | flag(deadline.is_some(), DEADLINE) | flag(!key.is_empty(), KEY),
    );
    out.put_u64(queued_at);
    if let Some(deadline) = deadline {
        out.put_u64(deadline);
    }
    if !key.is_empty() {
        out.put_u8(key.len() as u8);
        out.put_slice(key);
    }
    out.put_u32(message.len() as u32);
    out.put_slice(message.as_bytes());
}

pub(super) fn put_entry_gap(out: &mut BytesMut, to: u64, cause: GapCause) {
    out.put_u8(GAP);
    out.put_u64(to);
    out.put_u8(cause.code());
}

pub(super) fn put_entry_end(out: &mut BytesMut) {
    out.put_u8(END);
}

/// The entries of a chunk.
pub(super) fn entries(value: &Bytes) -> Result<Vec<SavedEntry>, BadRecord> {
    let mut from = Reader(value.clone());
    let mut entries = Vec::new();
    while !from.0.is_empty() {
        entries.push(match from.u8()? {
            GAP => {
                let to = from.u64()?;
                let cause = GapCause::from_code(from.u8()?).ok_or(BadRecord("a gap of an unknown cause"))?;
                SavedEntry::Gap { to, cause }
            }
            END => SavedEntry::End,
            flags if flags & !(TEXT | DEADLINE | KEY) == 0 => {
                let queued_at = from.u64()?;
                let deadline = if flags & DEADLINE > 0 { Some(from.u64()?) } else { None };
                let key = if flags & KEY > 0 {
                    let length = from.u8()?;
                    from.bytes(length.into())?
                } else {
                    Bytes::new()
                };
                let length = from.u32()?;
                let data = from.bytes(length as usize)?;
                let message = super::wire::to_message(data, flags & TEXT > 0)
                    .map_err(|_| BadRecord("text that is not UTF-8"))?;
                SavedEntry::Message(SavedMessage { message, queued_at, deadline, key })
            }
            _ => return Err(BadRecord("an entry of an unknown kind")),
        });
    }
    Ok(entries)
}

/// What stands in a key after the session's prefix.
pub(super) fn split_key(rest: &Bytes) -> Result<(Kind, u32, u64), BadRecord> {
    let mut from = Reader(rest.clone());
    let kind = match from.u8()? {
        0 => Kind::Session,
        1 => Kind::Channel,
        2 => Kind::Cursor,
        3 => Kind::Base,
        4 => Kind::Chunk,
        5 => Kind::Gap,
        _ => return Err(BadRecord("a record of an unknown kind")),
    };
    let half = if kind == Kind::Session { 0 } else { from.u32()? };
    let seq = if matches!(kind, Kind::Chunk | Kind::Gap) { from.u64()? } else { 0 };
    from.end((kind, half, seq))
}

fn put_array(out: &mut BytesMut, array: Option<&[u8; 32]>) {
    out.put_u8(u8::from(array.is_some()));
    if let Some(array) = array {
        out.put_slice(array);
    }
}

struct Reader(Bytes);

impl Reader {
    fn bytes(&mut self, length: usize) -> Result<Bytes, BadRecord> {
        if self.0.len() < length {
            return Err(BadRecord("a record that ends too early"));
        }
        Ok(self.0.split_to(length))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadRecord> {
        let bytes = self.bytes(N)?;
        Ok(bytes[..].try_into().expect("it has N bytes"))
    }

    fn u8(&mut self) -> Result<u8, BadRecord> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, BadRecord> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, BadRecord> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, BadRecord> {
        self.array().map(u64::from_be_bytes)
    }

    /// A number of a message: far from the end of what can be counted.
    fn number(&mut self) -> Result<u64, BadRecord> {
        let number = self.u64()?;
        if number > 1 << 62 { Err(BadRecord("a number that cannot be")) } else { Ok(number) }
    }

    fn bool(&mut self) -> Result<bool, BadRecord> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BadRecord("neither yes nor no")),
        }
    }

    fn optional(&mut self) -> Result<Option<[u8; 32]>, BadRecord> {
        if self.bool()? { self.array().map(Some) } else { Ok(None) }
    }

    fn end<T>(self, value: T) -> Result<T, BadRecord> {
        if self.0.is_empty() { Ok(value) } else { Err(BadRecord("a record that goes on too long")) }
    }
}
