//! Events and states as plain objects with a `type`.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use everlink::{
    ChannelEvent, ConnectionEvent, ConnectionState, DisconnectCause, GapCause, Instant, Recovery,
    RecoveryCause, ServiceEvent,
};
use futures_util::{Stream, StreamExt as _};
use js_sys::Promise;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::error::{close_reason, dial, store};
use crate::js::{millis, number, object, promise, text};

/// One subscriber's events.
#[wasm_bindgen]
pub struct RawEvents {
    events: Rc<RefCell<Pin<Box<dyn Stream<Item = JsValue>>>>>,
}

impl RawEvents {
    pub(crate) fn new(events: impl Stream<Item = JsValue> + 'static) -> Self {
        Self { events: Rc::new(RefCell::new(Box::pin(events))) }
    }
}

#[wasm_bindgen]
impl RawEvents {
    /// The next event, or `undefined` after the last.
    pub fn next(&self, cancelled: Option<Promise>) -> Promise {
        let events = self.events.clone();
        promise(cancelled, async move {
            let next = std::future::poll_fn(|cx| match events.try_borrow_mut() {
                Ok(mut events) => events.poll_next_unpin(cx),
                Err(_) => Poll::Pending,
            });
            Ok(next.await.unwrap_or(JsValue::UNDEFINED))
        })
    }
}

fn event(kind: &str, fields: &[(&str, JsValue)]) -> JsValue {
    let mut all = vec![("type", kind.into())];
    all.extend(fields.iter().cloned());
    object(&all)
}

pub(crate) fn state(state: &ConnectionState) -> JsValue {
    match state {
        ConnectionState::Connecting { attempt } => event("connecting", &[("attempt", (*attempt).into())]),
        ConnectionState::Connected => event("connected", &[]),
        ConnectionState::Reconnecting { attempt, retry_at } => {
            let wait = retry_at.saturating_duration_since(Instant::now());
            event("reconnecting", &[("attempt", (*attempt).into()), ("retryIn", millis(wait))])
        }
        ConnectionState::Closed(reason) => event("closed", &[("reason", close_reason(reason))]),
        _ => event("other", &[]),
    }
}

pub(crate) fn recovery(recovery: &Recovery) -> JsValue {
    object(&[
        ("cause", recovery.cause.as_str().replace('_', "-").into()),
        ("rung", recovery.rung.as_str().replace('_', "-").into()),
        ("after", millis(recovery.after)),
        ("replayed", number(recovery.replayed)),
    ])
}

pub(crate) fn connection(happened: ConnectionEvent) -> JsValue {
    match &happened {
        ConnectionEvent::Connected { resumed, replayed, after } => event(
            "connected",
            &[("resumed", (*resumed).into()), ("replayed", number(*replayed)), ("after", millis(*after))],
        ),
        ConnectionEvent::Disconnected { cause } => {
            let message = match cause {
                DisconnectCause::LinkDown(error) => text(error),
                DisconnectCause::Misbehaviour(error) => text(error),
                _ => JsValue::UNDEFINED,
            };
            let cause = RecoveryCause::from(cause).as_str().replace('_', "-");
            event("disconnected", &[("cause", cause.into()), ("message", message)])
        }
        ConnectionEvent::Reconnecting { attempt, delay } => {
            event("reconnecting", &[("attempt", (*attempt).into()), ("delay", millis(*delay))])
        }
        ConnectionEvent::AttemptFailed { attempt, error } => {
            event("attempt-failed", &[("attempt", (*attempt).into()), ("error", dial(error))])
        }
        ConnectionEvent::Recovered(how) => event("recovered", &[("recovery", recovery(how))]),
        ConnectionEvent::TookOver => event("took-over", &[]),
        ConnectionEvent::SessionLost { unacked } => event("session-lost", &[("unacked", number(*unacked))]),
        ConnectionEvent::StoreFailed { error, goes_on } => {
            event("store-failed", &[("error", store(error)), ("goesOn", (*goes_on).into())])
        }
        ConnectionEvent::StoreRecovered => event("store-recovered", &[]),
        ConnectionEvent::Closed(reason) => event("closed", &[("reason", close_reason(reason))]),
        ConnectionEvent::Lagged { missed } => event("lagged", &[("missed", number(*missed))]),
        _ => event("other", &[]),
    }
}

pub(crate) fn channel(happened: ChannelEvent) -> JsValue {
    match happened {
        ChannelEvent::Open => event("open", &[]),
        ChannelEvent::Overflow { dropped } => event("overflow", &[("count", number(dropped))]),
        ChannelEvent::Expired { count } => event("expired", &[("count", number(count))]),
        ChannelEvent::Superseded { count } => event("superseded", &[("count", number(count))]),
        ChannelEvent::Gap { from, to, cause } => {
            let cause = match cause {
                GapCause::Overflow => "overflow",
                GapCause::Expired => "expired",
                GapCause::Closed => "closed",
                GapCause::SessionLost => "session-lost",
                GapCause::TooLarge => "too-large",
                GapCause::Superseded => "superseded",
                #[allow(unreachable_patterns)]
                _ => "other",
            };
            event("gap", &[("from", number(from)), ("to", number(to)), ("cause", cause.into())])
        }
        ChannelEvent::BufferedLow => event("buffered-low", &[]),
        ChannelEvent::Closed => event("closed", &[]),
        ChannelEvent::Lagged { missed } => event("lagged", &[("missed", number(missed))]),
        _ => event("other", &[]),
    }
}

pub(crate) fn service(happened: ServiceEvent) -> JsValue {
    match happened {
        ServiceEvent::Published { uuid, expires_at } => {
            event("published", &[("uuid", text(&uuid)), ("expiresAt", number(expires_at))])
        }
        ServiceEvent::Connection(id) => event("connection", &[("id", text(&id))]),
        ServiceEvent::Disconnection(id) => event("disconnection", &[("id", text(&id))]),
        ServiceEvent::Refused { peer, error } => {
            event("refused", &[("peer", text(&peer)), ("error", dial(&error))])
        }
        ServiceEvent::TtlRefreshed { expires_at } => {
            event("ttl-refreshed", &[("expiresAt", number(expires_at))])
        }
        ServiceEvent::Error { context, message } => {
            event("error", &[("context", context.into()), ("message", message.into())])
        }
        ServiceEvent::TookOver => event("took-over", &[]),
        ServiceEvent::Displaced => event("displaced", &[]),
        ServiceEvent::Closed => event("closed", &[]),
        ServiceEvent::Lagged { missed } => event("lagged", &[("missed", number(missed))]),
        _ => event("other", &[]),
    }
}
