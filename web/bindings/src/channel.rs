//! A channel and the receipts of its messages.

use std::rc::Rc;

use everlink::bindings::Mutex;
use everlink::{ChannelReceiver, ChannelSender, TrySendError};
use futures_util::{FutureExt as _, StreamExt as _};
use js_sys::Promise;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::connection::Held;
use crate::event::{self, RawEvents};
use crate::js::{from_message, millis, number, object, promise, to_message};
use crate::{error, options};

/// A channel. It stays open until it is closed, whatever the garbage collector does.
#[wasm_bindgen]
pub struct RawChannel {
    sender: ChannelSender,
    /// Behind a lock that calls wait for in line: `recv` and `commit` need it for as long as they take.
    receiver: Rc<Mutex<ChannelReceiver>>,
    lossy: bool,
    held: Rc<Held>,
}

impl RawChannel {
    pub(crate) fn new(channel: everlink::DurableChannel, held: Rc<Held>) -> Self {
        let lossy = channel.is_lossy();
        let (sender, receiver) = channel.split();
        held.keep(sender.clone());
        Self { sender, receiver: Rc::new(Mutex::new(receiver)), lossy, held }
    }
}

#[wasm_bindgen]
impl RawChannel {
    #[wasm_bindgen(getter)]
    pub fn label(&self) -> String {
        self.sender.label().to_owned()
    }

    #[wasm_bindgen(getter)]
    pub fn lossy(&self) -> bool {
        self.lossy
    }

    /// Takes a message if there is room now, and gives its number; `undefined` when there is none. A number and no object:
    /// those have finalisers, and a page that the browser keeps while another is shown may not run any.
    #[wasm_bindgen(js_name = trySend)]
    pub fn try_send(
        &self,
        data: &JsValue,
        deadline: f64,
        supersede: Option<String>,
    ) -> Result<Option<f64>, JsValue> {
        match self.sender.try_send_with(to_message(data), options::message(deadline, supersede)) {
            Ok(receipt) => Ok(Some(receipt.seq() as f64)),
            Err(TrySendError::Full(_)) => Ok(None),
            Err(TrySendError::Failed(_, cause)) => Err(error::send(&cause)),
            Err(_) => Ok(None),
        }
    }

    /// Takes a message, and waits for room first.
    pub fn send(
        &self,
        data: &JsValue,
        deadline: f64,
        supersede: Option<String>,
        cancelled: Option<Promise>,
    ) -> Promise {
        let (sender, message) = (self.sender.clone(), to_message(data));
        let options = options::message(deadline, supersede);
        promise(cancelled, async move {
            let receipt = sender.send_with(message, options).await.map_err(|cause| error::send(&cause))?;
            Ok(number(receipt.seq()))
        })
    }

    /// Resolves when the message of this number is stored.
    pub fn stored(&self, seq: f64, cancelled: Option<Promise>) -> Promise {
        let receipt = self.sender.receipt(seq as u64);
        promise(cancelled, async move {
            receipt.stored().await.map(|()| JsValue::UNDEFINED).map_err(|cause| error::send(&cause))
        })
    }

    /// Resolves when the message of this number was received.
    pub fn acked(&self, seq: f64, cancelled: Option<Promise>) -> Promise {
        let receipt = self.sender.receipt(seq as u64);
        promise(cancelled, async move {
            receipt.acked().await.map(|()| JsValue::UNDEFINED).map_err(|cause| error::send(&cause))
        })
    }

    /// The next message if one is there, and otherwise `undefined`.
    #[wasm_bindgen(js_name = tryRecv)]
    pub fn try_recv(&self) -> JsValue {
        let Ok(mut receiver) = self.receiver.try_lock() else { return JsValue::UNDEFINED };
        match receiver.recv().now_or_never() {
            Some(Ok(message)) => from_message(&message),
            // The end is told by `recv`, which is asked next.
            _ => JsValue::UNDEFINED,
        }
    }

    /// The next message.
    pub fn recv(&self, cancelled: Option<Promise>) -> Promise {
        let receiver = self.receiver.clone();
        promise(cancelled, async move {
            let message = receiver.lock().await.recv().await;
            message.map(|message| from_message(&message)).map_err(|cause| error::recv(&cause))
        })
    }

    /// Acknowledges the message last received.
    pub fn commit(&self, cancelled: Option<Promise>) -> Promise {
        let receiver = self.receiver.clone();
        promise(cancelled, async move {
            let committed = receiver.lock().await.commit().await;
            committed.map(|()| JsValue::UNDEFINED).map_err(|cause| error::recv(&cause))
        })
    }

    pub fn events(&self) -> RawEvents {
        RawEvents::new(self.sender.events().map(event::channel))
    }

    pub fn buffered(&self) -> JsValue {
        let buffered = self.sender.buffered();
        let oldest = buffered.oldest.map_or(JsValue::UNDEFINED, millis);
        object("messages bytes oldest", [number(buffered.messages as u64), number(buffered.bytes), oldest])
    }

    pub fn close(&self) {
        self.sender.close();
        self.held.forget(self.sender.label());
    }
}
