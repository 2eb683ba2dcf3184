//! Errors as `{ kind, code, message, … }`, of which TypeScript makes classes. The codes are part of the API.

use std::fmt::Display;

use everlink::link::LinkError;
use everlink::signaling::SignalingError;
use everlink::store::StoreError;
use everlink::{ChannelError, CloseReason, ConnectError, DialError, RecvError, SendError, ServiceError};
use wasm_bindgen::JsValue;

use crate::js::{self, millis, number};

/// An error of this kind and code.
pub(crate) fn error(kind: &str, code: &str, message: &dyn Display) -> JsValue {
    js::error(kind, code, message, "", Box::new([]))
}

/// An argument that cannot be.
pub(crate) fn argument(code: &str, message: &dyn Display) -> JsValue {
    error("argument", code, message)
}

/// An error of which there may be a reason.
fn because(kind: &str, code: &str, message: &dyn Display, reason: JsValue) -> JsValue {
    js::error(kind, code, message, "reason", Box::new([reason]))
}

/// Why a connection ended, as `{ code, message, … }`.
pub(crate) fn close_reason(reason: &CloseReason) -> JsValue {
    let more: [JsValue; 3] = match reason {
        CloseReason::Unreachable { attempts, last } => [(*attempts).into(), dial(last), JsValue::UNDEFINED],
        CloseReason::Refused(cause) => [JsValue::UNDEFINED, dial(cause), JsValue::UNDEFINED],
        CloseReason::Store(cause) => [JsValue::UNDEFINED, store(cause), JsValue::UNDEFINED],
        CloseReason::SessionLost { unacked } => [JsValue::UNDEFINED, JsValue::UNDEFINED, number(*unacked)],
        _ => [JsValue::UNDEFINED; 3],
    };
    js::error("closed", code(reason), reason, "attempts cause unacked", Box::new(more))
}

fn code(reason: &CloseReason) -> &'static str {
    match reason {
        CloseReason::Local => "local",
        CloseReason::Peer => "peer",
        CloseReason::Unreachable { .. } => "unreachable",
        CloseReason::Refused(_) => "refused",
        CloseReason::SessionLost { .. } => "session-lost",
        CloseReason::Displaced => "displaced",
        CloseReason::Expired(_) => "expired",
        CloseReason::Store(_) => "store",
        CloseReason::Detached => "detached",
        CloseReason::Shutdown => "shutdown",
        _ => "other",
    }
}

/// Why an attempt to reach the peer failed.
pub(crate) fn dial(cause: &DialError) -> JsValue {
    let code = match cause {
        DialError::Signaling(cause) => return signaling(cause),
        DialError::Link(cause) => return link(cause),
        DialError::TimedOut => "timed-out",
        DialError::Impersonation(_) => "impersonation",
        DialError::Version { .. } => "version",
        DialError::HostFull => "host-full",
        DialError::Misbehaviour(_) => "misbehaviour",
        DialError::Waiting => "waiting",
        _ => "other",
    };
    error("connect", code, cause)
}

/// Why there is no link.
fn link(cause: &LinkError) -> JsValue {
    match cause {
        LinkError::Unsupported(_) => error("unsupported", "no-webrtc", cause),
        LinkError::NoPath => error("connect", "no-path", cause),
        _ => error("connect", "link", cause),
    }
}

/// Why `connect` failed. What refused it for good is told by its own code.
pub(crate) fn connect(cause: &ConnectError) -> JsValue {
    let (code, more) = match cause {
        ConnectError::ServiceNotFound => ("service-not-found", JsValue::UNDEFINED),
        ConnectError::BadName(_) => ("bad-name", JsValue::UNDEFINED),
        ConnectError::Closed(CloseReason::Refused(cause)) => return dial(cause),
        ConnectError::Closed(CloseReason::Store(cause)) => return store(cause),
        ConnectError::Closed(reason) => (code(reason), close_reason(reason)),
        _ => ("other", JsValue::UNDEFINED),
    };
    because("connect", code, cause, more)
}

/// What signaling refused.
pub(crate) fn signaling(cause: &SignalingError) -> JsValue {
    let (code, more) = match cause {
        SignalingError::Unreachable(_) => ("unreachable", [JsValue::UNDEFINED; 2]),
        SignalingError::NotAServer(_) => ("not-a-server", [JsValue::UNDEFINED; 2]),
        SignalingError::Refused { code, hint, retry_after, .. } => {
            let after = retry_after.map_or(JsValue::UNDEFINED, millis);
            (code.as_str(), [hint.as_str().into(), after])
        }
        _ => ("other", [JsValue::UNDEFINED; 2]),
    };
    js::error("signaling", code, cause, "hint retryAfter", Box::new(more))
}

/// Why a service could not be exposed, or ended.
pub(crate) fn service(cause: &ServiceError) -> JsValue {
    let code = match cause {
        ServiceError::Signaling(cause) => return signaling(cause),
        ServiceError::Store(cause) => return store(cause),
        ServiceError::Displaced => "displaced",
        ServiceError::Link(cause) => return link(cause),
        ServiceError::BadConfig(_) => "bad-config",
        ServiceError::Shutdown => "shutdown",
        _ => "other",
    };
    error("service", code, cause)
}

/// Why sessions could not be read or written.
pub(crate) fn store(cause: &StoreError) -> JsValue {
    let code = match cause {
        StoreError::Unavailable(_) => return error("unsupported", "no-indexeddb", cause),
        StoreError::Locked(_) => "locked",
        StoreError::NotAccessible { .. } => "not-accessible",
        StoreError::Corrupt { .. } => "corrupt",
        StoreError::Newer { .. } => "newer",
        StoreError::Full(_) => "full",
        StoreError::Failed(_) => "failed",
        _ => "other",
    };
    error("store", code, cause)
}

/// Why a message was not, or will not be, delivered.
pub(crate) fn send(cause: &SendError) -> JsValue {
    let (code, reason) = match cause {
        SendError::Closed(reason) => ("closed", close_reason(reason)),
        SendError::Store(cause) => return store(cause),
        SendError::ChannelClosed => ("channel-closed", JsValue::UNDEFINED),
        SendError::TooLarge { .. } => ("too-large", JsValue::UNDEFINED),
        SendError::TooLargeForPeer => ("too-large-for-peer", JsValue::UNDEFINED),
        SendError::QueueFull => ("queue-full", JsValue::UNDEFINED),
        SendError::Overflow => ("overflow", JsValue::UNDEFINED),
        SendError::Expired => ("expired", JsValue::UNDEFINED),
        SendError::Superseded => ("superseded", JsValue::UNDEFINED),
        SendError::BadKey(_) => ("bad-key", JsValue::UNDEFINED),
        SendError::SessionLost => ("session-lost", JsValue::UNDEFINED),
        SendError::NotStored => ("not-stored", JsValue::UNDEFINED),
        SendError::Forgotten => ("forgotten", JsValue::UNDEFINED),
        _ => ("other", JsValue::UNDEFINED),
    };
    because("send", code, cause, reason)
}

/// Why there is no further message.
pub(crate) fn recv(cause: &RecvError) -> JsValue {
    let (code, reason) = match cause {
        RecvError::Closed(reason) => ("closed", close_reason(reason)),
        RecvError::ChannelClosed => ("channel-closed", JsValue::UNDEFINED),
        _ => ("other", JsValue::UNDEFINED),
    };
    because("receive", code, cause, reason)
}

/// Why a channel could not be opened.
pub(crate) fn channel(cause: &ChannelError) -> JsValue {
    let (code, reason) = match cause {
        ChannelError::AlreadyOpen(_) => ("already-open", JsValue::UNDEFINED),
        ChannelError::BadLabel(_) => ("bad-label", JsValue::UNDEFINED),
        ChannelError::TooMany(_) => ("too-many", JsValue::UNDEFINED),
        ChannelError::OtherKind(_) => ("other-kind", JsValue::UNDEFINED),
        ChannelError::Closed(reason) => ("closed", close_reason(reason)),
        _ => ("other", JsValue::UNDEFINED),
    };
    because("channel", code, cause, reason)
}
