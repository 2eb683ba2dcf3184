//! Who somebody is: an Ed25519 key pair, and signatures that say what they are for.

#[cfg(not(target_arch = "wasm32"))]
mod file;
#[cfg(target_arch = "wasm32")]
mod web;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::runtime;

/// An Ed25519 key pair. The public key *is* the peer's name on the wire.
///
/// Clones share one secret, which is wiped from memory when the last of them is dropped and is
/// never printed.
#[derive(Clone)]
pub struct Identity {
    key: Arc<SigningKey>,
}

impl Identity {
    /// A new identity from the platform's randomness.
    pub fn generate() -> Self {
        Self::from_secret(runtime::random())
    }

    /// The identity of a 32-byte Ed25519 seed.
    pub fn from_secret(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self { key: Arc::new(SigningKey::from_bytes(&bytes)) }
    }

    /// The identity in the file at `path`, which is made with a new one if it is not there yet.
    ///
    /// The file is for its owner's eyes only (mode 0600), is written whole or not at all, and is
    /// on disk when this returns. Of two processes that make it at once, both get the same one.
    /// Blocks for a moment on the file system.
    ///
    /// # Errors
    /// Those of the file system; `InvalidData` for a file that is no identity, `PermissionDenied`
    /// for one that others may read. Their text says which file and what to do. An existing file
    /// is never changed.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("identity");
    /// let mine = everlink::Identity::load_or_create(&path)?;
    /// let again = everlink::Identity::load_or_create(&path)?;
    /// assert_eq!(mine.public_key(), again.public_key());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load_or_create(path: impl AsRef<std::path::Path>) -> std::io::Result<Self> {
        file::load_or_create(path.as_ref())
    }

    /// The identity that this site keeps in the browser under `name`, which is made if it is not
    /// there yet. Pages that make it at once get the same one.
    ///
    /// What lies on the disk is not the seed itself: it is sealed (AES-GCM) with a key that the
    /// browser keeps beside it and gives to nobody. That protects it from whoever reads the files of
    /// the browser without its help, or sees a copy of the record. It does **not** protect it from
    /// scripts of the same origin, which can have the browser open it as this does, nor from
    /// somebody who uses the browser. In a page over plain `http:` (but for `localhost`) there
    /// is no Web Crypto, and the seed is kept as it is. It is gone when the person
    /// clears the data of the site: keep the seed elsewhere, with
    /// [`from_secret`](Self::from_secret), if it must not be lost.
    ///
    /// # Errors
    /// [`StoreError`](crate::store::StoreError): `Unavailable` without IndexedDB, such as in Node,
    /// `NotAccessible` in some private windows, `Full`, `Corrupt`. What is there is never changed.
    #[cfg(target_arch = "wasm32")]
    pub async fn load_or_create(name: &str) -> Result<Self, crate::store::StoreError> {
        web::load_or_create(name).await
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.key.verifying_key().to_bytes())
    }

    /// Signs `parts` for one purpose. Signatures of one [`Domain`] are worthless in another, and
    /// parts cannot be shifted into one another.
    pub(crate) fn sign(&self, domain: Domain, parts: &[&[u8]]) -> Signature {
        Signature(self.key.sign(&domain.digest(parts)).to_bytes())
    }

    /// 16 bytes that only this identity can derive, the same each time for the same `parts`.
    pub(crate) fn derive(&self, domain: Domain, parts: &[&[u8]]) -> [u8; 16] {
        let secret = Zeroizing::new(self.key.to_bytes());
        let mut all: Vec<&[u8]> = vec![secret.as_slice()];
        all.extend(parts);
        let digest = domain.digest(&all);
        let mut out = [0; 16];
        out.copy_from_slice(&digest[..16]);
        out
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.public_key())
    }
}

/// The purpose of a signature or derived value, hashed in front of everything it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    /// A request to a signaling server.
    Request,
    /// A host's session description.
    Offer,
    /// A peer's session description.
    Answer,
    /// A peer's wish to begin ICE anew on a live link.
    Restart,
    /// A host's consent to it.
    RestartAnswer,
    /// The dialing side of a session handshake.
    Hello,
    /// The accepting side of a session handshake.
    Welcome,
    /// The accepting side's refusal of a session handshake.
    Refuse,
    /// The derivation of a service's salt from its owner's secret.
    ServiceSalt,
    /// The derivation of a service's uuid.
    ServiceUuid,
}

impl Domain {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Request => b"everlink/request/1",
            Self::Offer => b"everlink/offer/1",
            Self::Answer => b"everlink/answer/1",
            Self::Restart => b"everlink/restart/1",
            Self::RestartAnswer => b"everlink/restart-answer/1",
            Self::Hello => b"everlink/hello/1",
            Self::Welcome => b"everlink/welcome/1",
            Self::Refuse => b"everlink/refuse/1",
            Self::ServiceSalt => b"everlink/service-salt/1",
            Self::ServiceUuid => b"everlink/service-uuid/1",
        }
    }

    /// SHA-256 over the label and the parts, each preceded by its length (u32, big-endian).
    pub(crate) fn digest(self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in std::iter::once(&self.label()).chain(parts) {
            hash.update((part.len() as u32).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// An Ed25519 public key: who a peer is. Printed and parsed as 43 characters of unpadded
/// base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub(crate) [u8; 32]);

impl PublicKey {
    /// The key's 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of these 32 bytes. A key that is no point of the curve verifies nothing.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Whether `signature` is this key's, over `parts`, for this purpose.
    #[must_use]
    pub(crate) fn verifies(&self, domain: Domain, parts: &[&[u8]], signature: &Signature) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| {
            let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
            key.verify_strict(&domain.digest(parts), &signature).is_ok()
        })
    }
}

/// An Ed25519 signature: 64 bytes, in text unpadded base64url.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub(crate) [u8; 64]);

/// A text that is not the base64url of the expected number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a {what}: expected {bytes} bytes in unpadded base64url")]
pub struct ParseKeyError {
    what: &'static str,
    bytes: usize,
}

fn decode<const N: usize>(text: &str, what: &'static str) -> Result<[u8; N], ParseKeyError> {
    crate::base64url::decode(text).ok_or(ParseKeyError { what, bytes: N })
}

macro_rules! base64_text {
    ($type:ident, $what:literal) => {
        impl FromStr for $type {
            type Err = ParseKeyError;
            fn from_str(text: &str) -> Result<Self, ParseKeyError> {
                decode(text, $what).map(Self)
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&crate::base64url::encode(self.0))
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self)
            }
        }
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
base64_text!(PublicKey, "public key");
base64_text!(Signature, "signature");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_purpose_and_one_meaning() {
        let identity = Identity::from_secret([7; 32]);
        let key = identity.public_key();
        let signature = identity.sign(Domain::Offer, &[b"ab", b"c"]);
        assert!(key.verifies(Domain::Offer, &[b"ab", b"c"], &signature));
        for (domain, parts) in [
            (Domain::Answer, [&b"ab"[..], b"c"]),
            (Domain::Offer, [b"a", b"bc"]),
            (Domain::Offer, [b"abc", b""]),
        ] {
            assert!(!key.verifies(domain, &parts, &signature), "{domain:?} {parts:?}");
        }
        assert!(!key.verifies(Domain::Offer, &[b"abc"], &signature));
        let other = Identity::generate().public_key();
        assert!(!other.verifies(Domain::Offer, &[b"ab", b"c"], &signature));
    }

    #[test]
    fn every_domain_has_a_label_of_its_own() {
        use Domain::*;
        let all = [Request, Offer, Answer, Hello, Welcome, ServiceSalt, ServiceUuid];
        let digests: std::collections::BTreeSet<_> = all.iter().map(|domain| domain.digest(&[])).collect();
        assert_eq!(digests.len(), all.len());
    }

    #[test]
    fn verification_is_strict() {
        // The neutral element as key and commitment verifies any message unless checks are strict.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&neutral);
        let key = PublicKey::from_bytes(neutral);
        assert!(!key.verifies(Domain::Request, &[b"anything"], &Signature(signature)));
        // Neither a point of the curve, nor a panic.
        let no_point = PublicKey::from_bytes([0xff; 32]);
        assert!(!no_point.verifies(Domain::Request, &[], &Signature(signature)));
    }

    #[test]
    fn debugging_shows_no_secret() {
        let identity = Identity::from_secret([7; 32]);
        let shown = format!("{identity:?}");
        assert_eq!(shown, format!("Identity({})", identity.public_key()));
        assert!(!shown.contains(&crate::base64url::encode([7; 32])) && !shown.contains("7, 7"));
    }

    #[test]
    fn the_derived_is_secret_stable_and_bound_to_its_parts() {
        let (a, b) = (Identity::from_secret([1; 32]), Identity::from_secret([2; 32]));
        let salt = a.derive(Domain::ServiceSalt, &[b"alice", b"chat@1.0.0"]);
        assert_eq!(salt, a.derive(Domain::ServiceSalt, &[b"alice", b"chat@1.0.0"]));
        assert_ne!(salt, b.derive(Domain::ServiceSalt, &[b"alice", b"chat@1.0.0"]));
        assert_ne!(salt, a.derive(Domain::ServiceSalt, &[b"alice", b"chat@1.0.1"]));
    }

    #[test]
    fn keys_and_signatures_survive_their_text() {
        let key = Identity::generate().public_key();
        assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
        for bad in ["", "AAAA", "!", &"A".repeat(44), &"A".repeat(1000)] {
            assert!(bad.parse::<PublicKey>().is_err() && bad.parse::<Signature>().is_err(), "{bad}");
        }
    }
}
