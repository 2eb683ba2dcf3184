//! An exposed service.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use everlink::bindings::Notify;
use everlink::{Client, DurableService};
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use js_sys::{Array, Promise};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::connection::RawConnection;
use crate::error;
use crate::event::{self, RawEvents};
use crate::js::{number, object, promise, text};

/// A service, until it is stopped.
#[wasm_bindgen]
pub struct RawService {
    inner: Rc<Inner>,
}

struct Inner {
    /// `None` once it was stopped.
    service: RefCell<Option<DurableService>>,
    stopped: Notify,
    client: Client,
    stored: bool,
}

impl RawService {
    pub(crate) fn new(service: DurableService, client: Client, stored: bool) -> Self {
        let service = RefCell::new(Some(service));
        Self { inner: Rc::new(Inner { service, stopped: Notify::new(), client, stored }) }
    }
}

#[wasm_bindgen]
impl RawService {
    /// `undefined` once it was stopped.
    pub fn info(&self) -> JsValue {
        self.inner.service.borrow().as_ref().map_or(JsValue::UNDEFINED, |service| {
            let info = service.info();
            let values = [info.service.into(), text(&info.uuid), number(info.expires_at)];
            object("service uuid expiresAt", values)
        })
    }

    /// The next new session, or `undefined` when the service has stopped.
    pub fn accept(&self, cancelled: Option<Promise>) -> Promise {
        let inner = self.inner.clone();
        promise(cancelled, async move {
            // Borrowed anew by each poll, so that `stop` can take the service in between.
            let accept = poll_fn(|cx| match &*inner.service.borrow() {
                Some(service) => pin!(service.accept()).poll(cx),
                None => Poll::Ready(None),
            });
            let accepted = match select(pin!(accept), pin!(inner.stopped.notified())).await {
                Either::Left((accepted, _)) => accepted,
                Either::Right(_) => None,
            };
            Ok(accepted.map_or(JsValue::UNDEFINED, |connection| {
                RawConnection::new(connection, inner.client.clone(), inner.stored).into()
            }))
        })
    }

    /// The names of the living sessions.
    pub fn connections(&self) -> Array {
        let service = self.inner.service.borrow();
        service.iter().flat_map(DurableService::connections).map(|id| text(&id)).collect()
    }

    pub fn events(&self) -> Option<RawEvents> {
        let service = self.inner.service.borrow();
        service.as_ref().map(|service| RawEvents::new(service.events().map(event::service)))
    }

    pub fn stop(&self) -> Promise {
        let service = self.inner.service.take();
        self.inner.stopped.notify_waiters();
        promise(None, async move {
            if let Some(service) = service {
                service.stop().await.map_err(|cause| error::service(&cause))?;
            }
            Ok(JsValue::UNDEFINED)
        })
    }
}
