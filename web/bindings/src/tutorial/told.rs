//! What is told of rooms, as JSON; and their errors as `{ kind, code, message }`.

use everlink::tutorial::{
    ContentError, ControlError, ControlView, JoinError, Left, Refusal, RoomClosed, RoomError, RoomEvent,
    RoomInfo, StateError, TutorialEvent,
};
use serde::Serialize;
use serde_json::{Value, json};
use wasm_bindgen::JsValue;

use crate::error::{channel, connect, error, service, store};

/// As JSON text. What is told has no value that JSON has not.
pub(super) fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The same for JavaScript.
pub(super) fn json(value: &impl Serialize) -> JsValue {
    text(value).into()
}

fn key(key: impl std::fmt::Display) -> Value {
    key.to_string().into()
}

pub(super) fn control(view: &ControlView) -> Value {
    json!({
        "epoch": view.epoch, "holder": view.holder, "cause": view.cause, "offer": view.offer, "requests": view.requests,
    })
}

pub(super) fn left(left: &Left) -> Value {
    json!({ "code": left_code(left).replace('-', "_"), "message": left.to_string() })
}

fn left_code(left: &Left) -> &'static str {
    match left {
        Left::ByItself => "by-itself",
        Left::Full { .. } => "full",
        Left::Removed => "removed",
        Left::Displaced => "displaced",
        Left::Closed(closed) => closed_code(*closed),
        Left::Version { .. } => "version",
        Left::TooSlow => "too-slow",
        Left::ConnectionLost(_) => "connection-lost",
        Left::NoRoom => "no-room",
        _ => "other",
    }
}

fn closed_code(closed: RoomClosed) -> &'static str {
    match closed {
        RoomClosed::ByHost => "by-host",
        RoomClosed::Expired => "expired",
        RoomClosed::HostGone => "host-gone",
        _ => "other",
    }
}

pub(super) fn event(event: TutorialEvent<Value>) -> Value {
    use TutorialEvent as E;
    match event {
        E::PhaseChanged { from, to, cause } => {
            json!({ "type": "phase_changed", "from": from, "to": to, "cause": cause })
        }
        E::StateUpdated(state) => json!({ "type": "state_updated", "state": *state }),
        E::ControlChanged { epoch, holder, cause } => {
            json!({ "type": "control_changed", "epoch": epoch, "holder": holder, "cause": cause })
        }
        E::HolderLost { holder } => json!({ "type": "holder_lost", "holder": holder }),
        E::ControlOffered { offer, from, state } => {
            let state = state.as_deref();
            json!({ "type": "control_offered", "offer": offer, "from": from, "state": state })
        }
        E::OfferEnded { offer } => json!({ "type": "offer_ended", "offer": offer }),
        E::ControlRequested { request, from, reason } => {
            json!({ "type": "control_requested", "request": request, "from": from, "reason": reason })
        }
        E::RequestEnded { request } => json!({ "type": "request_ended", "request": request }),
        E::OfferSettled { outcome } => json!({ "type": "offer_settled", "outcome": outcome }),
        E::MemberJoined(member) => json!({ "type": "member_joined", "member": member }),
        E::RoleChanged { member, role } => json!({ "type": "role_changed", "member": member, "role": role }),
        E::MemberHealing(member) => json!({ "type": "member_healing", "member": member }),
        E::MemberHealed(member) => json!({ "type": "member_healed", "member": member }),
        E::MemberLeft(member) => json!({ "type": "member_left", "member": member }),
        E::Healing => json!({ "type": "healing" }),
        E::Healed => json!({ "type": "healed" }),
        E::Rejected(what) => json!({ "type": "rejected", "what": what.code() }),
        E::Left(why) => json!({ "type": "left", "reason": left(&why) }),
        E::Lagged { missed } => json!({ "type": "lagged", "missed": missed }),
        _ => json!({ "type": "other" }),
    }
}

pub(super) fn room_event(event: RoomEvent) -> Value {
    use RoomEvent as E;
    match event {
        E::MemberJoined(member) => json!({ "type": "member_joined", "member": member }),
        E::MemberHealing(member) => json!({ "type": "member_healing", "member": member }),
        E::MemberHealed(member) => json!({ "type": "member_healed", "member": member }),
        E::MemberLeft(member) => json!({ "type": "member_left", "member": member }),
        E::RoleChanged { member, role } => json!({ "type": "role_changed", "member": member, "role": role }),
        E::ControlTransferred { epoch, from, to, cause } => {
            json!({ "type": "control_transferred", "epoch": epoch, "from": from, "to": to, "cause": cause })
        }
        E::Rejected { from, what } => json!({ "type": "rejected", "from": from, "what": what.code() }),
        E::Closed(why) => json!({ "type": "closed", "reason": closed_code(why).replace('-', "_") }),
        E::Lagged { missed } => json!({ "type": "lagged", "missed": missed }),
        _ => json!({ "type": "other" }),
    }
}

pub(super) fn info(info: &RoomInfo) -> Value {
    json!({
        "id": key(info.id), "createdAt": info.created_at, "expiresAt": info.expires_at, "lastActivity": info.last_activity,
        "members": info.members, "active": info.active, "epoch": info.epoch, "states": info.states, "metadata": info.metadata,
        "closed": info.closed.map(|why| closed_code(why).replace('-', "_")),
    })
}

/// What TypeScript makes an error of.
pub(super) trait Fault {
    fn fault(&self) -> JsValue;
}

impl Fault for JoinError {
    fn fault(&self) -> JsValue {
        match self {
            Self::Connect(cause) => connect(cause),
            Self::Channel(cause) => channel(cause),
            Self::Left(left) => error("join", left_code(left), self),
            Self::TimedOut(_) => error("join", "timed-out", self),
            Self::BadName => error("join", "bad-name", self),
            _ => error("join", "other", self),
        }
    }
}

impl Fault for ControlError {
    fn fault(&self) -> JsValue {
        let code = match self {
            Self::WrongPhase { .. } => "wrong-phase",
            Self::Refused(refusal) => refused(refusal),
            Self::State(cause) => return cause.fault(),
            Self::TimedOut => "timed-out",
            Self::Interrupted => "interrupted",
            Self::Left(_) => "left",
            _ => "other",
        };
        error("control", code, self)
    }
}

fn refused(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Held { .. } => "held",
        Refusal::Denied { .. } => "denied",
        Refusal::Unanswered => "unanswered",
        Refusal::BothDenied => "both-denied",
        Refusal::Busy => "busy",
        Refusal::NotHolder => "not-holder",
        Refusal::NotModerator => "not-moderator",
        Refusal::Observer => "observer",
        Refusal::Gone => "gone",
        Refusal::Nobody => "nobody",
        Refusal::Pending => "pending",
        Refusal::Late => "late",
        _ => "other",
    }
}

impl Fault for StateError {
    fn fault(&self) -> JsValue {
        let code = match self {
            Self::NotActive { .. } => "not-active",
            Self::TooLarge { .. } => "too-large",
            Self::NotJson(_) => "not-json",
            Self::Left(_) => "left",
            _ => "other",
        };
        error("state", code, self)
    }
}

impl Fault for ContentError {
    fn fault(&self) -> JsValue {
        error("content", &self.code.as_str().replace('_', "-"), self)
    }
}

impl Fault for RoomError {
    fn fault(&self) -> JsValue {
        match self {
            Self::Service(cause) => service(cause),
            Self::Store(cause) => store(cause),
            Self::BadConfig(_) => error("room", "bad-config", self),
            Self::AlreadyJoined => error("room", "already-joined", self),
            Self::Closed(_) => error("room", "closed", self),
            _ => error("room", "other", self),
        }
    }
}
