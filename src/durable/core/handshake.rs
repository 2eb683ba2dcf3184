//! HELLO, WELCOME, REFUSE: who is there, over which link, and where both sides stopped.
//!
//! Both sides sign over the link's binding, so a signaling server that put its own fingerprints
//! into a description is found out before any byte of a user moves. A resumed session is proved by
//! its secret, which never leaves the two peers.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::wire::{self, Decoder, put_varint};
use crate::error::Misbehaviour;
use crate::identity::{Domain, Identity, PublicKey, Signature};
use crate::link::Binding;

/// Names one durable connection, at both ends, over all its links.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub(crate) [u8; 16]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// What proves that a returning peer is the one that left. Wiped on drop, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub(crate) struct SessionSecret(pub [u8; 32]);

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret")
    }
}

impl SessionSecret {
    fn prove(&self, binding: Binding, session: SessionId, nonce: &[u8; 16]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(b"everlink/proof/1");
        mac.update(&binding.0);
        mac.update(&session.0);
        mac.update(nonce);
        mac.finalize().into_bytes().into()
    }
}

/// Names one run of a dialing process: random, new with each [`Session`](super::Session) object. By
/// it a host tells a second process with a copy of a session from the one that it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incarnation(pub [u8; 16]);

/// Where the receiver of a half-channel stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resume {
    pub half: u32,
    /// Consumed by the application up to here.
    pub consumed: u64,
    /// Received up to here; what lies between need not be sent again.
    pub received: u64,
    pub window: u64,
}

/// What both sides say of themselves in the handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Bytes of packets that may be under way to this side.
    pub link_window: u32,
    /// The largest message this side takes.
    pub max_message: u64,
    /// The largest number of a half-channel of the *other* side that this side has seen. Half
    /// channels up to it that `cursors` does not name have ended.
    pub max_half: u32,
    pub cursors: Vec<Resume>,
}

/// The dialing side's first word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub key: PublicKey,
    /// Whom it means to talk to.
    pub to: PublicKey,
    pub session: SessionId,
    pub nonce: [u8; 16],
    pub incarnation: Incarnation,
    /// Present when the session was welcomed before.
    pub proof: Option<[u8; 32]>,
    pub terms: Terms,
}

/// The accepting side's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Welcome {
    pub session: SessionId,
    /// Whether the session was known; otherwise it begins now.
    pub resumed: bool,
    /// Another incarnation had the session before this one.
    pub took_over: bool,
    pub secret: SessionSecret,
    pub terms: Terms,
}

/// The accepting side's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refuse {
    pub code: RefuseCode,
    pub text: String,
}

/// Why a HELLO leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefuseCode {
    /// None of the versions is spoken here.
    Version,
    /// The session is not known here.
    UnknownSession,
    /// The session was closed by the application here.
    Closed,
    /// Too many sessions.
    Full,
    /// The HELLO is not acceptable, as the text says.
    Rejected,
    /// A newer process took the session over.
    Displaced,
}

fn put_terms(out: &mut BytesMut, terms: &Terms) {
    out.put_u32(terms.link_window);
    put_varint(out, terms.max_message);
    put_varint(out, u64::from(terms.max_half));
    put_varint(out, terms.cursors.len() as u64);
    for cursor in &terms.cursors {
        put_varint(out, u64::from(cursor.half));
        put_varint(out, cursor.consumed);
        put_varint(out, cursor.received);
        put_varint(out, cursor.window);
    }
}

fn terms(body: &mut Decoder, length: usize) -> Result<Terms, Misbehaviour> {
    let link_window = u32::from_be_bytes(body.array()?);
    let max_message = body.varint()?;
    let max_half = body.u32_varint()?;
    let count = body.varint()?;
    if count > length as u64 / 4 {
        return Err(Misbehaviour::Truncated);
    }
    let cursors = (0..count)
        .map(|_| {
            let half = body.u32_varint()?;
            let (consumed, received, window) = (body.varint()?, body.varint()?, body.varint()?);
            if consumed > received {
                return Err(Misbehaviour::OutOfRange);
            }
            Ok(Resume { half, consumed, received, window })
        })
        .collect::<Result<_, _>>()?;
    Ok(Terms { link_window, max_message, max_half, cursors })
}

/// Splits a signed body into what is signed and the signature.
fn signed(body: &Bytes) -> Result<(Bytes, Signature), Misbehaviour> {
    let split = body.len().checked_sub(64).ok_or(Misbehaviour::Truncated)?;
    let mut signature = [0; 64];
    signature.copy_from_slice(&body[split..]);
    Ok((body.slice(..split), Signature(signature)))
}

impl Hello {
    /// The frame, signed for the link with this binding.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn encode(
        version: u16,
        identity: &Identity,
        to: PublicKey,
        session: SessionId,
        secret: Option<&SessionSecret>,
        nonce: [u8; 16],
        incarnation: Incarnation,
        binding: Binding,
        terms: &Terms,
    ) -> (BytesMut, Bytes) {
        let mut body = BytesMut::with_capacity(256 + terms.cursors.len() * 32);
        body.put_u16(version);
        body.put_slice(identity.public_key().as_bytes());
        body.put_slice(to.as_bytes());
        body.put_slice(&session.0);
        body.put_slice(&nonce);
        body.put_slice(&incarnation.0);
        match secret {
            None => body.put_u8(0),
            Some(secret) => {
                body.put_u8(1);
                body.put_slice(&secret.prove(binding, session, &nonce));
            }
        }
        put_terms(&mut body, terms);
        let signature = identity.sign(Domain::Hello, &[&binding.0, &body]);
        body.put_slice(&signature.0);
        let mut frame = BytesMut::with_capacity(body.len() + 8);
        wire::put_hello(&mut frame, &body);
        (frame, body.freeze())
    }

    /// Parses a HELLO and checks that it is signed by the key it names, for this link and for `me`.
    /// Another version than `version` is told by `Err(None)`.
    pub(crate) fn decode(
        version: u16,
        body: &Bytes,
        binding: Binding,
        me: PublicKey,
    ) -> Result<Self, Option<Misbehaviour>> {
        let (text, signature) = Self::versioned(version, body)?;
        let mut rest = Decoder::new(text.clone());
        let hello = (|| {
            // Looked at already; but with a signature cut off it may not be there at all.
            rest.u16()?;
            let key = PublicKey(rest.array()?);
            let to = PublicKey(rest.array()?);
            let session = SessionId(rest.array()?);
            let nonce = rest.array()?;
            let incarnation = Incarnation(rest.array()?);
            let proof = match rest.u8()? {
                0 => None,
                1 => Some(rest.array()?),
                _ => return Err(Misbehaviour::OutOfRange),
            };
            let terms = terms(&mut rest, text.len())?;
            if !rest.is_empty() {
                return Err(Misbehaviour::OutOfRange);
            }
            Ok(Self { key, to, session, nonce, incarnation, proof, terms })
        })()?;
        if hello.to != me || !hello.key.verifies(Domain::Hello, &[&binding.0, &text], &signature) {
            return Err(Some(Misbehaviour::BadSignature));
        }
        Ok(hello)
    }

    /// The version that a HELLO is of, whatever follows.
    pub(crate) fn version(body: &Bytes) -> Result<u16, Misbehaviour> {
        Decoder::new(body.clone()).u16()
    }

    fn versioned(version: u16, body: &Bytes) -> Result<(Bytes, Signature), Option<Misbehaviour>> {
        if Self::version(body)? != version {
            return Err(None);
        }
        Ok(signed(body)?)
    }

    /// Whether the HELLO proves `secret` over this link.
    pub(crate) fn proves(&self, secret: &SessionSecret, binding: Binding) -> bool {
        let expected = secret.prove(binding, self.session, &self.nonce);
        self.proof.is_some_and(|proof| proof.ct_eq(&expected).into())
    }
}

impl Welcome {
    /// The frame, signed over the link and the HELLO it answers.
    pub(crate) fn encode(
        &self,
        version: u16,
        identity: &Identity,
        binding: Binding,
        hello: &[u8],
    ) -> BytesMut {
        let mut body = BytesMut::with_capacity(192 + self.terms.cursors.len() * 32);
        body.put_u16(version);
        body.put_slice(&self.session.0);
        body.put_u8(u8::from(self.resumed) | u8::from(self.took_over) << 1);
        body.put_slice(&self.secret.0);
        put_terms(&mut body, &self.terms);
        let signature = identity.sign(Domain::Welcome, &[&binding.0, hello, &body]);
        body.put_slice(&signature.0);
        let mut frame = BytesMut::with_capacity(body.len() + 8);
        wire::put_welcome(&mut frame, &body);
        frame
    }

    /// Parses a WELCOME and checks that `host` signed it, for this link and this HELLO.
    pub(crate) fn decode(
        version: u16,
        body: &Bytes,
        binding: Binding,
        hello: &[u8],
        host: PublicKey,
    ) -> Result<Self, Misbehaviour> {
        let (text, signature) = signed(body)?;
        if !host.verifies(Domain::Welcome, &[&binding.0, hello, &text], &signature) {
            return Err(Misbehaviour::BadSignature);
        }
        let mut rest = Decoder::new(text.clone());
        if rest.u16()? != version {
            return Err(Misbehaviour::OutOfPlace);
        }
        let session = SessionId(rest.array()?);
        let flags = rest.u8()?;
        if flags > 3 {
            return Err(Misbehaviour::OutOfRange);
        }
        let (resumed, took_over) = (flags & 1 != 0, flags & 2 != 0);
        let secret = SessionSecret(rest.array()?);
        let terms = terms(&mut rest, text.len())?;
        if !rest.is_empty() {
            return Err(Misbehaviour::OutOfRange);
        }
        Ok(Self { session, resumed, took_over, secret, terms })
    }
}

impl Refuse {
    /// The frame, signed over the link and the HELLO it answers.
    pub(crate) fn encode(&self, identity: &Identity, binding: Binding, hello: &[u8]) -> BytesMut {
        let mut body = BytesMut::with_capacity(128 + self.text.len());
        body.put_u8(match self.code {
            RefuseCode::Version => 1,
            RefuseCode::UnknownSession => 2,
            RefuseCode::Closed => 3,
            RefuseCode::Full => 4,
            RefuseCode::Rejected => 5,
            RefuseCode::Displaced => 6,
        });
        put_varint(&mut body, self.text.len() as u64);
        body.put_slice(self.text.as_bytes());
        let signature = identity.sign(Domain::Refuse, &[&binding.0, hello, &body]);
        body.put_slice(&signature.0);
        let mut frame = BytesMut::with_capacity(body.len() + 8);
        wire::put_refuse(&mut frame, &body);
        frame
    }

    /// Parses a REFUSE; one that the host did not sign decides nothing and is misbehaviour.
    pub(crate) fn decode(
        body: &Bytes,
        binding: Binding,
        hello: &[u8],
        host: PublicKey,
    ) -> Result<Self, Misbehaviour> {
        let (text, signature) = signed(body)?;
        if !host.verifies(Domain::Refuse, &[&binding.0, hello, &text], &signature) {
            return Err(Misbehaviour::BadSignature);
        }
        let mut rest = Decoder::new(text);
        let code = match rest.u8()? {
            1 => RefuseCode::Version,
            2 => RefuseCode::UnknownSession,
            3 => RefuseCode::Closed,
            4 => RefuseCode::Full,
            6 => RefuseCode::Displaced,
            _ => RefuseCode::Rejected,
        };
        let length = rest.varint()?;
        let text = rest.bytes(length)?;
        Ok(Self { code, text: String::from_utf8_lossy(&text).chars().take(200).collect() })
    }
}
