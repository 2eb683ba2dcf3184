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
use crate::js::{dashed, millis, number, object, promise, text};

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

pub(crate) fn state(state: &ConnectionState) -> JsValue {
    match state {
        ConnectionState::Connecting { attempt } => object("type=connecting attempt", [(*attempt).into()]),
        ConnectionState::Connected => object("type=connected", []),
        ConnectionState::Reconnecting { attempt, retry_at } => {
            let wait = retry_at.saturating_duration_since(Instant::now());
            object("type=reconnecting attempt retryIn", [(*attempt).into(), millis(wait)])
        }
        ConnectionState::Closed(reason) => object("type=closed reason", [close_reason(reason)]),
        _ => object("type=other", []),
    }
}

pub(crate) fn recovery(recovery: &Recovery) -> JsValue {
    let (cause, rung) = (dashed(recovery.cause.as_str()), dashed(recovery.rung.as_str()));
    object("cause rung after replayed", [cause, rung, millis(recovery.after), number(recovery.replayed)])
}

pub(crate) fn connection(happened: ConnectionEvent) -> JsValue {
    match &happened {
        ConnectionEvent::Connected { resumed, replayed, after } => object(
            "type=connected resumed replayed after",
            [(*resumed).into(), number(*replayed), millis(*after)],
        ),
        ConnectionEvent::Disconnected { cause } => {
            let message = match cause {
                DisconnectCause::LinkDown(error) => text(error),
                DisconnectCause::Misbehaviour(error) => text(error),
                _ => JsValue::UNDEFINED,
            };
            let cause = dashed(RecoveryCause::from(cause).as_str());
            object("type=disconnected cause message", [cause, message])
        }
        ConnectionEvent::Reconnecting { attempt, delay } => {
            object("type=reconnecting attempt delay", [(*attempt).into(), millis(*delay)])
        }
        ConnectionEvent::AttemptFailed { attempt, error } => {
            object("type=attempt-failed attempt error", [(*attempt).into(), dial(error)])
        }
        ConnectionEvent::Recovered(how) => object("type=recovered recovery", [recovery(how)]),
        ConnectionEvent::TookOver => object("type=took-over", []),
        ConnectionEvent::SessionLost { unacked } => object("type=session-lost unacked", [number(*unacked)]),
        ConnectionEvent::StoreFailed { error, goes_on } => {
            object("type=store-failed error goesOn", [store(error), (*goes_on).into()])
        }
        ConnectionEvent::StoreRecovered => object("type=store-recovered", []),
        ConnectionEvent::Closed(reason) => object("type=closed reason", [close_reason(reason)]),
        ConnectionEvent::Lagged { missed } => object("type=lagged missed", [number(*missed)]),
        _ => object("type=other", []),
    }
}

pub(crate) fn channel(happened: ChannelEvent) -> JsValue {
    match happened {
        ChannelEvent::Open => object("type=open", []),
        ChannelEvent::Overflow { dropped } => object("type=overflow count", [number(dropped)]),
        ChannelEvent::Expired { count } => object("type=expired count", [number(count)]),
        ChannelEvent::Superseded { count } => object("type=superseded count", [number(count)]),
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
            object("type=gap from to cause", [number(from), number(to), cause.into()])
        }
        ChannelEvent::BufferedLow => object("type=buffered-low", []),
        ChannelEvent::Closed => object("type=closed", []),
        ChannelEvent::Lagged { missed } => object("type=lagged missed", [number(missed)]),
        _ => object("type=other", []),
    }
}

pub(crate) fn service(happened: ServiceEvent) -> JsValue {
    match happened {
        ServiceEvent::Published { uuid, expires_at } => {
            object("type=published uuid expiresAt", [text(&uuid), number(expires_at)])
        }
        ServiceEvent::Connection(id) => object("type=connection id", [text(&id)]),
        ServiceEvent::Disconnection(id) => object("type=disconnection id", [text(&id)]),
        ServiceEvent::Refused { peer, error } => {
            object("type=refused peer error", [text(&peer), dial(&error)])
        }
        ServiceEvent::TtlRefreshed { expires_at } => {
            object("type=ttl-refreshed expiresAt", [number(expires_at)])
        }
        ServiceEvent::Error { context, message } => {
            object("type=error context message", [context.into(), message.into()])
        }
        ServiceEvent::TookOver => object("type=took-over", []),
        ServiceEvent::Displaced => object("type=displaced", []),
        ServiceEvent::Closed => object("type=closed", []),
        ServiceEvent::Lagged { missed } => object("type=lagged missed", [number(missed)]),
        _ => object("type=other", []),
    }
}
