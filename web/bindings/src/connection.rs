//! A connection, and what it holds for as long as JavaScript may come back to it.

use std::cell::RefCell;
use std::rc::Rc;

use everlink::{ChannelSender, Client, ConnectionState, DurableConnection, Rung};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use js_sys::{Array, Promise};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::channel::RawChannel;
use crate::error;
use crate::event::{self, RawEvents};
use crate::js::{from_message, millis, number, object, promise};
use crate::options::{self, Numbers};

/// Keeps the client, and each channel until somebody closes it: a garbage collector must not.
pub(crate) struct Held {
    connection: DurableConnection,
    channels: RefCell<Vec<ChannelSender>>,
    client: Client,
    /// With a store, a connection that nobody can reach any more is left, to be resumed.
    stored: bool,
}

impl Held {
    pub(crate) fn keep(&self, channel: ChannelSender) {
        self.channels.borrow_mut().push(channel);
    }

    pub(crate) fn forget(&self, label: &str) {
        self.channels.borrow_mut().retain(|channel| channel.label() != label);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let (connection, client, stored) = (self.connection.clone(), self.client.clone(), self.stored);
        let channels = self.channels.take();
        if matches!(connection.state(), ConnectionState::Closed(_)) {
            return;
        }
        wasm_bindgen_futures::spawn_local(async move {
            match stored {
                true => _ = connection.detach().await,
                false => _ = connection.close().await,
            }
            // Only now: a channel that is dropped is closed, and a client takes its connections along.
            drop((channels, client));
        });
    }
}

/// A connection.
#[wasm_bindgen]
pub struct RawConnection {
    connection: DurableConnection,
    held: Rc<Held>,
}

impl RawConnection {
    pub(crate) fn new(connection: DurableConnection, client: Client, stored: bool) -> Self {
        let held = Held { connection: connection.clone(), channels: RefCell::default(), client, stored };
        Self { connection, held: Rc::new(held) }
    }
}

#[wasm_bindgen]
impl RawConnection {
    #[wasm_bindgen(getter)]
    pub fn id(&self) -> String {
        self.connection.id().to_string()
    }

    /// `undefined` until the peer was found.
    #[wasm_bindgen(getter)]
    pub fn peer(&self) -> Option<String> {
        let peer = self.connection.peer();
        (*peer.as_bytes() != [0; 32]).then(|| peer.to_string())
    }

    pub fn state(&self) -> JsValue {
        event::state(&self.connection.state())
    }

    /// The state now, and each that follows, up to the closed one.
    pub fn states(&self) -> RawEvents {
        let mut connection = self.connection.clone();
        // What is now counts as seen.
        let _ = connection.state_changed().now_or_never();
        let first = connection.state();
        RawEvents::new(stream::unfold(Some((connection, Some(first))), |at| async move {
            let (mut connection, first) = at?;
            let state = match first {
                Some(state) => state,
                None => connection.state_changed().await,
            };
            let over = matches!(state, ConnectionState::Closed(_));
            Some((event::state(&state), (!over).then_some((connection, None))))
        }))
    }

    pub fn events(&self) -> RawEvents {
        RawEvents::new(self.connection.events().map(event::connection))
    }

    #[wasm_bindgen(js_name = openChannel)]
    pub fn open_channel(&self, label: &str, numbers: &[f64]) -> Result<RawChannel, JsValue> {
        let channel = self.connection.open_channel_with(label, options::channel(&mut Numbers(numbers)));
        Ok(RawChannel::new(channel.map_err(|cause| error::channel(&cause))?, self.held.clone()))
    }

    /// The next channel of the peer's, or `undefined` when the connection is closed.
    #[wasm_bindgen(js_name = acceptChannel)]
    pub fn accept_channel(&self, cancelled: Option<Promise>) -> Promise {
        let (connection, held) = (self.connection.clone(), self.held.clone());
        promise(cancelled, async move {
            let channel = connection.accept_channel().await;
            Ok(channel.map_or(JsValue::UNDEFINED, |channel| RawChannel::new(channel, held).into()))
        })
    }

    #[wasm_bindgen(js_name = reconnectNow)]
    pub fn reconnect_now(&self) {
        self.connection.reconnect_now();
    }

    pub fn flush(&self, cancelled: Option<Promise>) -> Promise {
        let connection = self.connection.clone();
        promise(cancelled, async move {
            connection.flush().await.map(|()| JsValue::UNDEFINED).map_err(|cause| error::send(&cause))
        })
    }

    pub fn close(&self) -> Promise {
        let connection = self.connection.clone();
        promise(None, async move { Ok(error::close_reason(&connection.close().await)) })
    }

    pub fn detach(&self) -> Promise {
        let connection = self.connection.clone();
        promise(None, async move { Ok(error::close_reason(&connection.detach().await)) })
    }

    pub fn closed(&self, cancelled: Option<Promise>) -> Promise {
        let connection = self.connection.clone();
        promise(cancelled, async move { Ok(error::close_reason(&connection.closed().await)) })
    }

    #[wasm_bindgen(js_name = takeUndelivered)]
    pub fn take_undelivered(&self) -> Array {
        let undelivered = self.connection.take_undelivered();
        let message = |message: everlink::Undelivered| {
            let data = from_message(&message.message);
            object("label data mayHaveArrived", [message.label.into(), data, message.may_have_arrived.into()])
        };
        undelivered.into_iter().map(message).collect()
    }

    pub fn stats(&self) -> JsValue {
        let stats = self.connection.stats();
        let rung = match stats.rung {
            Rung::Live => "live",
            Rung::Suspect => "suspect",
            _ => "none",
        };
        object(
            "state rung rtt lastRecovery bytesSent bytesReceived packetsSent messagesReceived replayed \
             deduplicated expired overflowed superseded reconnects probes",
            [
                event::state(&stats.state),
                rung.into(),
                stats.rtt.map_or(JsValue::UNDEFINED, millis),
                stats.last_recovery.as_ref().map_or(JsValue::UNDEFINED, event::recovery),
                number(stats.bytes_sent),
                number(stats.bytes_received),
                number(stats.packets_sent),
                number(stats.messages_received),
                number(stats.replayed),
                number(stats.deduplicated),
                number(stats.expired),
                number(stats.overflowed),
                number(stats.superseded),
                number(stats.reconnects),
                number(stats.probes),
            ],
        )
    }
}
