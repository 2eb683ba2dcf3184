//! Signaling: how a host is found and a first link is made. It introduces two peers and gets out
//! of the way; nothing it says is trusted (see `docs/PROTOCOL.md`).
//!
//! [`Directory`](directory) is the server's whole behaviour as a pure machine. [`MemorySignaling`]
//! runs one in this process, `HttpSignaling` speaks to one behind HTTP, and `server` is that HTTP.

pub(crate) mod auth;
pub(crate) mod caller;
pub(crate) mod dial;
pub mod directory;
pub(crate) mod host;
#[cfg(feature = "http")]
mod http;
pub(crate) mod json;
mod local;
mod memory;
mod metadata;
mod names;
mod negotiate;
mod restart;
#[cfg(all(feature = "server", not(target_arch = "wasm32")))]
pub mod server;
#[cfg(feature = "http")]
mod sse;
pub(crate) mod subscription;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod testing;
#[cfg(test)]
mod vectors;
pub(crate) mod wire;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::auth::{SignedRequest, Verified};
#[cfg(feature = "http")]
pub use self::http::{HttpSignaling, UrlError};
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use self::json::metadata_from_js;
pub use self::memory::MemorySignaling;
pub use self::metadata::{Metadata, MetadataJson};
pub use self::names::{InstanceId, NameError, OfferId, ServiceFqn, ServiceQuery, ServiceUuid, Username};
use crate::identity::{PublicKey, Signature};
use crate::runtime::{BoxFuture, BoxStream, MaybeSend, MaybeSync};

/// A way to a directory of services. Implement it to bring your own signaling.
///
/// Every request is signed by the client's identity before it gets here; an implementation only
/// carries it. All futures are cancel-safe in that a dropped one leaves nothing half-changed,
/// though the directory may have carried the request out.
pub trait Signaling: MaybeSend + MaybeSync + 'static {
    /// Carries one request to the directory and its answer back.
    fn call(&self, request: SignedRequest) -> BoxFuture<'_, Result<Response, SignalingError>>;

    /// Opens the event stream of the key that signed `request` (a [`Request::Events`]), from the
    /// cursor in it on. The stream ends, or yields an error and ends, when the connection breaks;
    /// open it again from the last cursor seen. Its silence is bounded: the server sends
    /// keep-alives, and an implementation ends a stream that has none.
    fn events(&self, request: SignedRequest) -> BoxFuture<'_, Result<EventStream, SignalingError>>;

    /// A cheap question whether the directory can be reached now.
    fn probe(&self) -> BoxFuture<'_, Result<(), SignalingError>>;

    /// The network of this machine changed, or it slept: connections that were open may be dead
    /// without a word, and are not to be used for what is asked from now on.
    fn network_changed(&self) {}

    /// Connections that were open may be dead without a word, for all that is known: what is asked
    /// from now on goes over new ones. Less than [`network_changed`](Self::network_changed), as
    /// the way to the directory is still the same.
    fn renew(&self) {}

    /// How often to ask for events where they cannot be pushed. Does nothing where they can.
    fn set_poll_interval(&self, interval: Duration) {
        let _ = interval;
    }
}

/// Events of one key, each with the cursor to resume after it.
pub type EventStream = BoxStream<'static, Result<(Cursor, Event), SignalingError>>;

/// A position in a key's event stream: opaque to clients, strictly growing, never a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor(pub String);

/// Everything that can be asked of a directory. `docs/PROTOCOL.md` maps each to an HTTP route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Request {
    /// Takes or renews a username for the signing key.
    Claim {
        /// The name.
        username: Username,
    },
    /// Who owns a username.
    Owner {
        /// The name.
        username: Username,
    },
    /// The public services of a user.
    List {
        /// The user.
        username: Username,
    },
    /// Publishes a service, or refreshes it in place: same uuid, offers and peers untouched.
    Publish(Publish),
    /// Takes a service off the directory, with its offers.
    Withdraw {
        /// The service.
        uuid: ServiceUuid,
    },
    /// Finds a service without taking an offer.
    Resolve {
        /// Which.
        target: ServiceTarget,
    },
    /// Adds offers to a service's pool.
    AddOffers {
        /// The running host, as in [`Publish::instance`].
        instance: Option<InstanceId>,
        /// The service.
        uuid: ServiceUuid,
        /// The offers, each signed by the host.
        offers: Vec<NewOffer>,
    },
    /// Takes offers back that nobody took.
    WithdrawOffers {
        /// The service.
        uuid: ServiceUuid,
        /// The offers.
        offers: Vec<OfferId>,
    },
    /// Finds a service and takes one offer of its pool, for the signing key alone. With an empty
    /// pool the host is asked for one, and the answer waits for it up to `wait`.
    Take {
        /// Which service.
        target: ServiceTarget,
        /// How long to wait for an offer, at most 30 s.
        #[serde(rename = "wait_ms", with = "wire::millis")]
        wait: Duration,
    },
    /// Answers an offer that the signing key took.
    Answer(Answer),
    /// Adds candidates, from one of the offer's two parties to the other.
    Candidates {
        /// The offer.
        offer: OfferId,
        /// The candidates, in the transport's own text.
        candidates: Vec<String>,
    },
    /// The events for the signing key, after `cursor` (from the start of what is kept if absent).
    Events {
        /// Where to go on.
        cursor: Option<Cursor>,
    },
}

impl Request {
    /// Whether it changes what outlives a restart of the directory.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(self, Self::Claim { .. } | Self::Publish(_) | Self::Withdraw { .. })
    }
}

/// Which service is meant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
#[non_exhaustive]
pub enum ServiceTarget {
    /// The one with this uuid.
    Uuid {
        /// The uuid.
        uuid: ServiceUuid,
    },
    /// The highest match of a user's services.
    Name {
        /// The user.
        username: Username,
        /// Name and version requirement, such as `chat@1.2.3`, `chat@^1.2`, `chat@1`.
        service: ServiceQuery,
        /// The access token of a private service that has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
    },
}

/// A service to publish. The signing key must own `username`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// The owner's name.
    pub username: Username,
    /// The service's name and version.
    pub service: ServiceFqn,
    /// Must equal [`ServiceUuid::derive`] of owner key, username, service and salt, so that whoever
    /// knows the uuid can check who owns it without trusting the server.
    pub uuid: ServiceUuid,
    /// 16 bytes, unpadded base64url.
    pub salt: String,
    /// Names the running host: drawn at random by each. Of several that publish one service the
    /// newest has it; those it took it from are refused with [`ErrorCode::Displaced`]. A host
    /// without one takes no part in that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
    /// Listed, or found only by uuid or exact name.
    pub public: bool,
    /// SHA-256 (unpadded base64url) of the access token needed to find a private service by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_hash: Option<String>,
    /// Facts for the list.
    #[serde(default)]
    pub metadata: MetadataJson,
    /// How long the lease shall be, 10 s to 24 h by default; the server may shorten it.
    #[serde(rename = "ttl_ms", with = "wire::millis")]
    pub ttl: Duration,
    /// The offers that the host holds open. If there are any, they replace the pool, so that a
    /// host which restarted leaves no offers behind that it no longer knows; those of them that
    /// the server already has stay as they are. If there are none, the pool is untouched.
    #[serde(default)]
    pub offers: Vec<NewOffer>,
}

/// An offer of a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOffer {
    /// Chosen by the host at random.
    pub id: OfferId,
    /// The session description.
    pub sdp: String,
    /// The host's signature over service uuid, offer id and SDP (see `docs/PROTOCOL.md`).
    pub signature: Signature,
}

/// A peer's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The offer it answers.
    pub offer: OfferId,
    /// The session description.
    pub sdp: String,
    /// The peer's signature over service uuid, offer id, offer SDP and answer SDP.
    pub signature: Signature,
}

/// What the directory answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Response {
    /// Done; nothing else to say.
    Done,
    /// To [`Request::Claim`].
    Claimed(Claim),
    /// To [`Request::Owner`]; `None` when the name is free.
    Owner(Option<Claim>),
    /// To [`Request::List`].
    Services(Vec<ServiceRecord>),
    /// To [`Request::Publish`]: the lease that the server granted.
    Published(Lease),
    /// To [`Request::Resolve`].
    Service(ServiceRecord),
    /// To [`Request::Take`].
    Taken(TakenOffer),
}

/// A username and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The name.
    pub username: Username,
    /// Its owner.
    pub owner: PublicKey,
    /// When the owner first claimed it, in milliseconds since 1970 by the server's clock.
    pub claimed_at: u64,
    /// When it becomes free unless renewed, likewise.
    pub expires_at: u64,
}

/// A granted lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The service.
    pub uuid: ServiceUuid,
    /// How long from now the lease runs: what counts, whatever either clock says.
    #[serde(rename = "ttl_ms", with = "wire::millis")]
    pub ttl: Duration,
    /// When it ends, in milliseconds since 1970 by the server's clock; for people.
    pub expires_at: u64,
    /// How many unclaimed offers the server holds for the service.
    pub offers: usize,
    /// How many peers wait for an offer.
    pub wanted: usize,
    /// The service was taken from another running host, or one that ended without a word.
    #[serde(default)]
    pub took_over: bool,
}

/// A published service as the directory shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// The uuid, which commits to `owner`, `username`, `service` and `salt`.
    pub uuid: ServiceUuid,
    /// The owner's key.
    pub owner: PublicKey,
    /// The owner's name.
    pub username: Username,
    /// Name and version.
    pub service: ServiceFqn,
    /// 16 bytes, unpadded base64url.
    pub salt: String,
    /// Whether it is listed.
    pub public: bool,
    /// Facts about it.
    pub metadata: MetadataJson,
    /// When its lease ends, in milliseconds since 1970 by the server's clock.
    pub expires_at: u64,
}

/// An offer for one peer only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TakenOffer {
    /// The service.
    pub service: ServiceRecord,
    /// The offer.
    pub id: OfferId,
    /// The host's session description.
    pub sdp: String,
    /// The host's signature, to be checked by the peer.
    pub signature: Signature,
}

/// What happens to a key's services and offers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// To the host: one of its offers was answered.
    Answered {
        /// The service.
        uuid: ServiceUuid,
        /// The offer.
        offer: OfferId,
        /// Who answered.
        peer: PublicKey,
        /// The answer.
        sdp: String,
        /// The peer's signature, to be checked by the host.
        signature: Signature,
    },
    /// To either party: the other one's candidates.
    Candidates {
        /// The offer.
        offer: OfferId,
        /// The candidates.
        candidates: Vec<String>,
    },
    /// To the host: an offer was taken, so the pool is smaller; or peers wait and it is empty.
    OfferWanted {
        /// The service.
        uuid: ServiceUuid,
        /// Unclaimed offers left.
        offers: usize,
        /// Peers that wait.
        wanted: usize,
    },
    /// To the host: the lease ended, or the server restarted without it. Publish again.
    LeaseLost {
        /// The service.
        uuid: ServiceUuid,
    },
    /// The first of a stream that was opened without a cursor: the place to go on from if the
    /// stream breaks before anything else came.
    Opened,
    /// The server kept fewer events than the cursor asked for, or restarted; some were missed.
    /// Re-present leases and offers.
    Missed,
}

/// Why a directory refused or could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignalingError {
    /// Nobody answered. Worth a retry.
    #[error("the signaling server cannot be reached: {0}")]
    Unreachable(String),
    /// Something answered that is not an everlink signaling server of this protocol version.
    #[error("{0}: is this the address of an everlink signaling server?")]
    NotAServer(String),
    /// The directory refused.
    #[error("{message} ({})", .code.as_str())]
    Refused {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        message: String,
        /// What to do about it.
        hint: String,
        /// When to try again, if the server said so.
        retry_after: Option<Duration>,
    },
}

impl SignalingError {
    /// A refusal with the hint that belongs to its code.
    pub(crate) fn refused(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Refused { code, message: message.into(), hint: code.hint().to_owned(), retry_after: None }
    }

    /// Says when to try again.
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        if let Self::Refused { retry_after, .. } = &mut self {
            *retry_after = Some(after);
        }
        self
    }

    /// Whether the same request may succeed later without anyone changing anything.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::NotAServer(_) => false,
            Self::Refused { code, .. } => code.is_temporary(),
        }
    }

    /// The directory's code, if it was the directory that refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

impl ErrorCode {
    /// What to do about it, in general.
    fn hint(self) -> &'static str {
        match self {
            Self::Malformed => "Send what docs/PROTOCOL.md describes for this route.",
            Self::BadName => "Correct the name; the message says what is allowed.",
            Self::BadDescription => "Send the session description as your WebRTC stack made it, signed.",
            Self::BadUuid => "Derive the uuid from your own key, username, service and salt.",
            Self::TooLarge => "Send less; the message says how much is allowed.",
            Self::Unsigned => "Sign the request: an `authorization: Everlink ...` header is missing.",
            Self::BadSignature => {
                "Sign exactly what is sent, with the key that is named. Does a proxy rewrite paths?"
            }
            Self::Stale => {
                "Set this machine's clock: it may differ from the server's by five minutes at most."
            }
            Self::Replayed => "Sign each request anew, with a nonce of its own.",
            Self::Displaced => {
                "Run only one host of a service with one identity; stop the other one, then start this one again."
            }
            Self::NotYours => "Use the identity that made it.",
            Self::UsernameTaken => "Choose another username, or use the identity that claimed this one.",
            Self::UsernameUnclaimed => "Claim the username first.",
            Self::ServiceNotFound => "Check the uuid or name, and that the host is running.",
            Self::TokenNeeded => "Ask the owner of the service for its access token, or for its uuid.",
            Self::OfferNotFound => "Take another offer.",
            Self::OfferTaken => "Take another offer.",
            Self::AlreadyAnswered => "Take another offer for another connection.",
            Self::NoOffer => "The host did not respond. Check that it is running, and try again.",
            Self::Quota => "Wait, or release what is no longer needed.",
            Self::Busy => "Try again later.",
            Self::NoRoute => "Routes begin with /v1/; see docs/PROTOCOL.md.",
            Self::BadMethod => "See docs/PROTOCOL.md for the methods of this route.",
            Self::Internal => "Look into the server's log.",
        }
    }
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident $text:literal $status:literal $temporary:literal)*) => {
        /// Why a directory refuses, one code for each reason, with the HTTP status it travels under.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode { $($(#[$doc])* $variant,)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
            /// The code as it is written on the wire.
            pub fn as_str(self) -> &'static str { match self { $(Self::$variant => $text),* } }
            /// The HTTP status.
            pub fn status(self) -> u16 { match self { $(Self::$variant => $status),* } }
            /// Whether a later try may succeed without anyone changing anything.
            pub fn is_temporary(self) -> bool { match self { $(Self::$variant => $temporary),* } }
        }

        impl std::str::FromStr for ErrorCode {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $($text => Ok(Self::$variant),)* _ => Err(()) }
            }
        }
    };
}

error_codes! {
    /// The request is not the JSON it should be.
    Malformed "malformed" 400 false
    /// A name, version, uuid or id breaks its rules.
    BadName "bad_name" 400 false
    /// A session description is empty, or is none.
    BadDescription "bad_description" 400 false
    /// A uuid does not follow from owner, name and salt.
    BadUuid "bad_uuid" 400 false
    /// Something is larger than its limit.
    TooLarge "too_large" 413 false
    /// The request carries no signature.
    Unsigned "unsigned" 401 false
    /// The signature does not fit the request.
    BadSignature "bad_signature" 401 false
    /// The time in the request is too far from the server's.
    Stale "stale" 401 false
    /// The request was seen before.
    Replayed "replayed" 409 false
    /// The thing belongs to another key.
    NotYours "not_yours" 403 false
    /// Another running host with the same identity took the service over.
    Displaced "displaced" 409 false
    /// The username belongs to another key.
    UsernameTaken "username_taken" 409 false
    /// The username is not claimed.
    UsernameUnclaimed "username_unclaimed" 404 false
    /// No such service, or its lease ended.
    ServiceNotFound "service_not_found" 404 false
    /// The private service needs an access token, or another one.
    TokenNeeded "token_needed" 403 false
    /// No such offer, or it expired.
    OfferNotFound "offer_not_found" 404 true
    /// The offer is somebody else's.
    OfferTaken "offer_taken" 409 true
    /// The offer was answered before.
    AlreadyAnswered "already_answered" 409 false
    /// The host did not make an offer in time.
    NoOffer "no_offer" 503 true
    /// A quota of the key is used up.
    Quota "quota" 429 true
    /// The server has too much to do.
    Busy "busy" 503 true
    /// No such route.
    NoRoute "no_route" 404 false
    /// The route has no such method.
    BadMethod "bad_method" 405 false
    /// The server failed; the fault is not the request's.
    Internal "internal" 500 true
}
