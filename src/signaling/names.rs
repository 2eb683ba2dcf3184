//! Names, parsed once and then trusted: who, which service, which uuid, which offer.

mod version;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::identity::{Domain, PublicKey};
use crate::runtime;

/// What is wrong with a name, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Not a username.
    #[error("`{0}` is no username: 3 to 32 of a-z, 0-9 and `-`, beginning and ending with a letter or digit")]
    Username(String),
    /// A service without a version.
    #[error("`{0}` has no version: write the service as name@version, such as chat@1.0.0")]
    NoVersion(String),
    /// Not a service name.
    #[error(
        "`{0}` is no service name: 1 to 128 characters, labels of a-z, 0-9 and inner `-` joined by dots, \
         such as chat or com.example.chat"
    )]
    ServiceName(String),
    /// Not a full semantic version.
    #[error(
        "`{0}` is no version: a published service has a full semantic version, such as 1.0.0 or 2.1.0-beta.1"
    )]
    Version(String),
    /// Not a version requirement.
    #[error("`{0}` is no version requirement: write 1.2.3 for exactly that, or ^1.2, ~1.2.3, 1")]
    Requirement(String),
    /// Not the uuid of a service.
    #[error("`{0}` is no service uuid: expected 8-4-4-4-12 hexadecimal digits, version 8")]
    Uuid(String),
    /// Not an offer id.
    #[error("`{0}` is no offer id: expected 16 bytes in unpadded base64url")]
    OfferId(String),
}

/// The most of a bad text that an error repeats.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

macro_rules! through_text {
    ($type:ident) => {
        impl TryFrom<&str> for $type {
            type Error = NameError;
            fn try_from(text: &str) -> Result<Self, NameError> {
                text.parse()
            }
        }
        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
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
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Who publishes services: 3 to 32 of `a-z`, `0-9` and `-`, beginning and ending with a letter or
/// digit.
///
/// ```
/// use everlink::signaling::Username;
///
/// let alice: Username = "alice".parse()?;
/// assert_eq!(alice.as_str(), "alice");
/// assert!(Username::new("-alice").is_err());
/// # Ok::<(), everlink::signaling::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Username(Box<str>);

impl Username {
    /// Checks and takes a name.
    pub fn new(name: impl AsRef<str>) -> Result<Self, NameError> {
        let name = name.as_ref();
        if (3..=32).contains(&name.len()) && is_label(name) {
            Ok(Self(name.into()))
        } else {
            Err(NameError::Username(shown(name)))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Username {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

through_text!(Username);

/// A published service: its name and full semantic version, written `name@version`.
///
/// Short names and reverse-domain names are equally good.
///
/// ```
/// use everlink::signaling::ServiceFqn;
///
/// let chat: ServiceFqn = "com.example.chat@1.2.0-rc.1+linux".parse()?;
/// assert_eq!(chat.name(), "com.example.chat");
/// assert_eq!(chat, ServiceFqn::new("com.example.chat", "1.2.0-rc.1+linux")?);
/// assert!(ServiceFqn::try_from("chat@1").is_err(), "what is published has a full version");
/// # Ok::<(), everlink::signaling::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServiceFqn(Box<str>);

impl ServiceFqn {
    /// Checks and takes a name and a version.
    pub fn new(name: impl AsRef<str>, version: impl AsRef<str>) -> Result<Self, NameError> {
        Self::checked(name.as_ref(), version.as_ref())
    }

    fn checked(name: &str, version: &str) -> Result<Self, NameError> {
        check_service_name(name)?;
        check_length(version, NameError::Version)?;
        if !version::is_version(version) {
            return Err(NameError::Version(shown(version)));
        }
        Ok(Self(joined(name, version)))
    }

    /// The name, without the version.
    pub fn name(&self) -> &str {
        parts(&self.0).0
    }

    /// The version as text.
    pub fn version(&self) -> String {
        parts(&self.0).1.to_owned()
    }
}

impl PartialOrd for ServiceFqn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By name, and then from the lowest version to the highest.
impl Ord for ServiceFqn {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((name, version), (other, others)) = (parts(&self.0), parts(&other.0));
        name.cmp(other).then_with(|| version::compare(version, others))
    }
}

impl FromStr for ServiceFqn {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (name, version) = split_version(text)?;
        Self::checked(name, version)
    }
}

impl fmt::Display for ServiceFqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

through_text!(ServiceFqn);

/// Which versions of a service will do: `chat@1.2.3` is exactly that one, `chat@^1.2` and `chat@1`
/// are the highest that is compatible. A pre-release matches only a requirement that names one of
/// the same release. An exact version without build metadata matches any build of it.
///
/// ```
/// use everlink::signaling::{ServiceFqn, ServiceQuery};
///
/// let query: ServiceQuery = "chat@^1.2".parse()?;
/// assert!(query.matches(&ServiceFqn::new("chat", "1.9.0")?));
/// assert!(!query.matches(&ServiceFqn::new("chat", "1.9.0-beta")?));
/// assert!(!ServiceQuery::new("chat", "1.2.3")?.matches(&ServiceFqn::new("chat", "1.2.4")?));
/// # Ok::<(), everlink::signaling::NameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceQuery(Box<str>);

impl ServiceQuery {
    /// Checks and takes a name and a requirement.
    pub fn new(name: impl AsRef<str>, requirement: impl AsRef<str>) -> Result<Self, NameError> {
        Self::checked(name.as_ref(), requirement.as_ref())
    }

    fn checked(name: &str, text: &str) -> Result<Self, NameError> {
        check_service_name(name)?;
        check_length(text, NameError::Requirement)?;
        // Requirements are lenient about spaces, versions are not. Without them, what asks for one
        // version is never taken for a range, which would forget the build.
        let trimmed = text.trim();
        let exact = trimmed.strip_prefix('=').unwrap_or(trimmed).trim_start();
        if version::is_version(exact) {
            return Ok(Self(joined(name, exact)));
        }
        let range = version::canonical(trimmed).ok_or_else(|| NameError::Requirement(shown(text)))?;
        // As it is written from now on: a little longer, perhaps.
        check_length(&range, NameError::Requirement)?;
        Ok(Self(joined(name, &range)))
    }

    /// The name, without the requirement.
    pub fn name(&self) -> &str {
        parts(&self.0).0
    }

    /// Whether one version only is asked for.
    pub fn is_exact(&self) -> bool {
        version::is_version(parts(&self.0).1)
    }

    /// Whether `service` will do.
    pub fn matches(&self, service: &ServiceFqn) -> bool {
        let ((name, requirement), (offered, version)) = (parts(&self.0), parts(&service.0));
        let fits = || {
            if version::is_version(requirement) {
                let build = version.find('+').unwrap_or(version.len());
                requirement == version || requirement == &version[..build]
            } else {
                version::matches(requirement, version)
            }
        };
        name == offered && fits()
    }
}

impl From<ServiceFqn> for ServiceQuery {
    fn from(service: ServiceFqn) -> Self {
        Self(service.0)
    }
}

impl FromStr for ServiceQuery {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (name, requirement) = split_version(text)?;
        Self::checked(name, requirement)
    }
}

impl fmt::Display for ServiceQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

through_text!(ServiceQuery);

/// The unguessable and lasting id of a service: a version 8 UUID that commits to the owner's key,
/// username, service and a salt which only the owner can derive. Whoever was given the uuid can so
/// check whom they were led to, without trusting the signaling server; and a host that publishes
/// again, even at a server that lost all its data, has the same uuid again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceUuid([u8; 16]);

impl ServiceUuid {
    /// The uuid of this owner's service with this salt.
    pub fn derive(owner: &PublicKey, user: &Username, service: &ServiceFqn, salt: &[u8; 16]) -> Self {
        let service = service.to_string();
        let parts: [&[u8]; 4] = [owner.as_bytes(), user.as_str().as_bytes(), service.as_bytes(), salt];
        let digest = Domain::ServiceUuid.digest(&parts);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes[6] = (bytes[6] & 0x0f) | 0x80;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// The uuid's 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for ServiceUuid {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        parse_uuid(text).map(Self).ok_or_else(|| NameError::Uuid(shown(text)))
    }
}

/// Reads 8-4-4-4-12 hexadecimal digits of either case, version 8, variant 1.
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.as_bytes();
    if text.len() != 36 {
        return None;
    }
    let mut bytes = [0; 16];
    let mut nibbles = 0;
    for (at, &character) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if character != b'-' {
                return None;
            }
            continue;
        }
        let value = (character as char).to_digit(16)? as u8;
        bytes[nibbles / 2] |= value << (4 * (1 - nibbles % 2));
        nibbles += 1;
    }
    (bytes[6] >> 4 == 8 && bytes[8] >> 6 == 0b10).then_some(bytes)
}

impl fmt::Display for ServiceUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

through_text!(ServiceUuid);

/// The id of one offer: 16 bytes chosen at random by the host, in text unpadded base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferId([u8; 16]);

impl OfferId {
    /// A new id.
    pub fn random() -> Self {
        Self(runtime::random())
    }

    /// The id of these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id's 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl FromStr for OfferId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        crate::base64url::decode(text).map(Self).ok_or_else(|| NameError::OfferId(shown(text)))
    }
}

impl fmt::Display for OfferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::base64url::encode(self.0))
    }
}

through_text!(OfferId);

/// Names one running host: 16 bytes chosen at random, in text unpadded base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId([u8; 16]);

impl InstanceId {
    /// A new one.
    pub fn random() -> Self {
        Self(runtime::random())
    }

    /// The one of these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl FromStr for InstanceId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        text.parse::<OfferId>().map(|id| Self(id.0))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        OfferId(self.0).fmt(f)
    }
}

through_text!(InstanceId);

/// Longest version or requirement, in bytes: enough for any real one, and a bound.
const MAX_VERSION: usize = 128;

fn check_length(text: &str, error: fn(String) -> NameError) -> Result<(), NameError> {
    if text.len() <= MAX_VERSION { Ok(()) } else { Err(error(shown(text))) }
}

/// As a service is written, and read by [`parts`].
fn joined(name: &str, version: &str) -> Box<str> {
    let mut text = name.to_owned();
    text.push('@');
    text.push_str(version);
    text.into()
}

/// The two parts of what [`joined`] made: no name has an `@`.
fn parts(text: &str) -> (&str, &str) {
    text.split_once('@').unwrap_or((text, ""))
}

fn split_version(text: &str) -> Result<(&str, &str), NameError> {
    text.split_once('@').ok_or_else(|| NameError::NoVersion(shown(text)))
}

fn check_service_name(name: &str) -> Result<(), NameError> {
    if (1..=128).contains(&name.len()) && name.split('.').all(is_label) {
        Ok(())
    } else {
        Err(NameError::ServiceName(shown(name)))
    }
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    !bytes.is_empty()
        && bytes.iter().all(inner)
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

#[cfg(test)]
mod tests;
