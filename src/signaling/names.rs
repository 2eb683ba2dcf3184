//! Names, parsed once and then trusted: who, which service, which uuid, which offer.

use std::fmt;
use std::str::FromStr;

use semver::{Version, VersionReq};
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
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceFqn {
    name: Box<str>,
    version: Version,
}

impl ServiceFqn {
    /// Checks and takes a name and a version.
    pub fn new(name: impl AsRef<str>, version: impl AsRef<str>) -> Result<Self, NameError> {
        let (name, version) = (name.as_ref(), version.as_ref());
        check_service_name(name)?;
        check_length(version, NameError::Version)?;
        let parsed = Version::parse(version).map_err(|_| NameError::Version(shown(version)))?;
        Ok(Self { name: name.into(), version: parsed })
    }

    /// The name, without the version.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version as text.
    pub fn version(&self) -> String {
        self.version.to_string()
    }
}

impl FromStr for ServiceFqn {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (name, version) = split_version(text)?;
        Self::new(name, version)
    }
}

impl fmt::Display for ServiceFqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
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
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServiceQuery {
    name: Box<str>,
    requirement: Requirement,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Requirement {
    Exact(Version),
    Range(VersionReq),
}

impl ServiceQuery {
    /// Checks and takes a name and a requirement.
    pub fn new(name: impl AsRef<str>, requirement: impl AsRef<str>) -> Result<Self, NameError> {
        let (name, text) = (name.as_ref(), requirement.as_ref());
        check_service_name(name)?;
        check_length(text, NameError::Requirement)?;
        // Requirements are lenient about spaces, versions are not. Without them, what asks for one
        // version is never taken for a range, which would forget the build.
        let trimmed = text.trim();
        let exact = trimmed.strip_prefix('=').unwrap_or(trimmed).trim_start();
        let requirement = match Version::parse(exact) {
            Ok(version) => Requirement::Exact(version),
            Err(_) => match VersionReq::parse(trimmed) {
                Ok(range) => {
                    // As it is written from now on: a little longer, perhaps.
                    check_length(&range.to_string(), NameError::Requirement)?;
                    Requirement::Range(range)
                }
                Err(_) => return Err(NameError::Requirement(shown(text))),
            },
        };
        Ok(Self { name: name.into(), requirement })
    }

    /// The name, without the requirement.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether one version only is asked for.
    pub fn is_exact(&self) -> bool {
        matches!(self.requirement, Requirement::Exact(_))
    }

    /// Whether `service` will do.
    pub fn matches(&self, service: &ServiceFqn) -> bool {
        self.name == service.name
            && match &self.requirement {
                Requirement::Range(range) => range.matches(&service.version),
                Requirement::Exact(asked) if asked.build.is_empty() => {
                    asked.cmp_precedence(&service.version).is_eq()
                }
                Requirement::Exact(asked) => *asked == service.version,
            }
    }
}

impl From<ServiceFqn> for ServiceQuery {
    fn from(service: ServiceFqn) -> Self {
        Self { name: service.name, requirement: Requirement::Exact(service.version) }
    }
}

impl FromStr for ServiceQuery {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (name, requirement) = split_version(text)?;
        Self::new(name, requirement)
    }
}

impl fmt::Display for ServiceQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.requirement {
            Requirement::Exact(version) => write!(f, "{}@{version}", self.name),
            Requirement::Range(range) => write!(f, "{}@{range}", self.name),
        }
    }
}

impl PartialOrd for ServiceQuery {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ServiceQuery {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.to_string().cmp(&other.to_string())
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
mod tests {
    use super::*;
    use crate::identity::Identity;

    fn fqn(text: &str) -> ServiceFqn {
        text.parse().unwrap()
    }

    #[test]
    fn usernames_keep_their_rules() {
        for good in ["abc", "a-b", "a1-2b", "007", &"a".repeat(32)] {
            assert_eq!(Username::new(good).unwrap().to_string(), good);
        }
        for bad in ["", "ab", "-ab", "ab-", "Abc", "a b", "a_b", "äöü", "a/b", &"a".repeat(33)] {
            assert!(matches!(Username::new(bad), Err(NameError::Username(_))), "{bad}");
        }
    }

    #[test]
    fn services_are_short_or_reverse_domain_with_a_full_version() {
        for good in ["chat@1.0.0", "c@0.0.1", "com.example.chat@1.2.3-beta.1+build.5", "a-b.c-d@10.20.30"] {
            assert_eq!(fqn(good).to_string(), good);
        }
        use NameError as E;
        assert!(matches!(ServiceFqn::try_from("chat"), Err(E::NoVersion(_))));
        for bad in ["@1.0.0", "Chat@1.0.0", "a..b@1.0.0", ".a@1.0.0", "a.@1.0.0", "-a@1.0.0", "a-.b@1.0.0"] {
            assert!(matches!(ServiceFqn::try_from(bad), Err(E::ServiceName(_))), "{bad}");
        }
        let long = format!("{}@1.0.0", "a".repeat(129));
        assert!(matches!(ServiceFqn::try_from(long), Err(E::ServiceName(_))));
        let huge = format!("a@1.0.0-{}", "a".repeat(200));
        for bad in ["a@", "a@1", "a@1.2", "a@01.2.3", "a@1.2.3-", "a@v1.2.3", "a@1.0.0@2", &huge] {
            assert!(matches!(ServiceFqn::try_from(bad), Err(E::Version(_))), "{bad}");
        }
    }

    #[test]
    fn a_query_is_the_same_when_it_is_written_and_read_again() {
        for text in ["chat@=1.2.3+c ", "chat@ = 1.2.3+c", "chat@>=1,<2", "chat@ ^1.2 ", "chat@1.2.3 "] {
            let query: ServiceQuery = text.parse().unwrap();
            assert_eq!(query.to_string().parse::<ServiceQuery>().unwrap(), query, "{text}");
        }
        let exact: ServiceQuery = "chat@=1.2.3+c ".parse().unwrap();
        assert!(exact.matches(&fqn("chat@1.2.3+c")) && !exact.matches(&fqn("chat@1.2.3+d")));
        // One that fits as it came, and not as it would be written.
        let long = format!("chat@{}", [">11"; 32].join(","));
        assert!(matches!(long.parse::<ServiceQuery>(), Err(NameError::Requirement(_))));
    }

    #[test]
    fn queries_match_as_asked() {
        let cases: &[(&str, &str, bool)] = &[
            ("chat@1.2.3", "chat@1.2.3", true),
            ("chat@=1.2.3", "chat@1.2.3", true),
            ("chat@1.2.3", "chat@1.2.4", false),
            ("chat@1.2.3", "talk@1.2.3", false),
            ("chat@1.2.3", "chat@1.2.3+b1", true),
            ("chat@1.2.3+b2", "chat@1.2.3+b1", false),
            ("chat@1.2.3", "chat@1.2.3-rc.1", false),
            ("chat@1.2.3-rc.1", "chat@1.2.3-rc.1", true),
            ("chat@1.2.3-rc.1", "chat@1.2.3", false),
            ("chat@1", "chat@1.9.9", true),
            ("chat@1", "chat@2.0.0", false),
            ("chat@1", "chat@1.9.9-rc.1", false),
            ("chat@^1.2", "chat@1.2.0", true),
            ("chat@^1.2", "chat@1.1.9", false),
            ("chat@^0.2", "chat@0.3.0", false),
            ("chat@^1.2.3-rc.1", "chat@1.2.3-rc.2", true),
            ("chat@^1.2.3-rc.1", "chat@1.3.0-rc.1", false),
            ("chat@~1.2.3", "chat@1.2.9", true),
            ("chat@*", "chat@7.0.0", true),
            ("chat@>=1.2, <1.5", "chat@1.4.0", true),
        ];
        for (query, service, expected) in cases {
            let parsed: ServiceQuery = query.parse().unwrap();
            assert_eq!(parsed.matches(&fqn(service)), *expected, "{query} {service}");
            let again: ServiceQuery = parsed.to_string().parse().unwrap();
            assert_eq!(parsed, again, "text form of {query}");
        }
        for bad in ["chat@", "chat@x.y", "chat@latest", "chat@1.2.3.4"] {
            assert!(matches!(ServiceQuery::try_from(bad), Err(NameError::Requirement(_))), "{bad}");
        }
    }

    #[test]
    fn uuids_commit_to_everything_they_name() {
        let owner = Identity::from_secret([7; 32]).public_key();
        let user = Username::new("alice").unwrap();
        let uuid = ServiceUuid::derive(&owner, &user, &fqn("chat@1.0.0"), &[1; 16]);
        assert_eq!(uuid, ServiceUuid::derive(&owner, &user, &fqn("chat@1.0.0"), &[1; 16]));
        let text = uuid.to_string();
        assert_eq!(text.parse::<ServiceUuid>().unwrap(), uuid);
        assert_eq!(text.to_uppercase().parse::<ServiceUuid>().unwrap(), uuid);
        assert_eq!((text.len(), &text[14..15]), (36, "8"));

        let other = Identity::from_secret([8; 32]).public_key();
        let bob = Username::new("bob").unwrap();
        for different in [
            ServiceUuid::derive(&other, &user, &fqn("chat@1.0.0"), &[1; 16]),
            ServiceUuid::derive(&owner, &bob, &fqn("chat@1.0.0"), &[1; 16]),
            ServiceUuid::derive(&owner, &user, &fqn("chat@1.0.1"), &[1; 16]),
            ServiceUuid::derive(&owner, &user, &fqn("chat@1.0.0"), &[2; 16]),
        ] {
            assert_ne!(different, uuid);
        }
        let version4 = "123e4567-e89b-42d3-a456-426614174000";
        for bad in ["", "x", version4, &text[1..], &text.replace('-', "0"), "äöüäöüäöüäöüäöüäöü"]
        {
            assert!(matches!(ServiceUuid::try_from(bad), Err(NameError::Uuid(_))), "{bad}");
        }
    }

    #[test]
    fn offer_ids_survive_their_text() {
        let id = OfferId::random();
        assert_eq!(id.to_string().parse::<OfferId>().unwrap(), id);
        assert_eq!(serde_json::from_str::<OfferId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
        for bad in ["", "AAAA", "====", &"A".repeat(23), &"A".repeat(300)] {
            assert!(OfferId::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn errors_say_what_is_allowed_and_stay_short() {
        let error = Username::new("X".repeat(10_000)).unwrap_err().to_string();
        assert!(error.contains("3 to 32") && error.len() < 250, "{error}");
    }
}
