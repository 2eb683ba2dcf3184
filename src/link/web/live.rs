//! An open link.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::BytesMut;
use js_sys::Uint8Array;
use wasm_bindgen::JsValue;

use super::peer::{Peer, Reports, channel_init, open_channel};
use crate::collections::BTreeMap;
use crate::link::{Binding, Link, LinkError, LinkEvent, LossyConfig};
use crate::runtime::BoxFuture;
use crate::web::{self, Listener, call, get};

/// Bytes of one lossy stream that may wait in the browser: what is late anyway is better dropped.
const MAX_LOSSY_BYTES: f64 = 256.0 * 1024.0;

/// What a link can carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_frame: usize,
    pub(super) receive_window: u32,
    pub(super) send_buffer: u32,
}

pub(super) struct Live {
    peer: Rc<Peer>,
    binding: Binding,
    limits: Limits,
    /// Whether the user was told last that the path is suspect.
    told_suspect: Cell<bool>,
    down: Cell<bool>,
    lossy: RefCell<BTreeMap<u16, Lossy>>,
}

/// A lossy stream: a channel of its own, and who hears it.
struct Lossy {
    channel: JsValue,
    _heard: Option<Listener>,
}

impl Drop for Lossy {
    fn drop(&mut self) {
        let _ = call(&self.channel, "close", &[]);
    }
}

impl Live {
    pub(super) fn new(peer: Rc<Peer>, binding: Binding, limits: Limits) -> Self {
        Self {
            peer,
            binding,
            limits,
            told_suspect: Cell::new(false),
            down: Cell::new(false),
            lossy: RefCell::default(),
        }
    }

    fn reports(&self) -> &Rc<Reports> {
        &self.peer.reports
    }

    async fn next_event(&self) -> LinkEvent {
        if self.down.get() {
            return std::future::pending().await;
        }
        loop {
            let reports = self.reports();
            if let Some(frame) = reports.next_frame() {
                return LinkEvent::Frame(frame);
            }
            if let Some((stream, data)) = reports.next_lossy() {
                return LinkEvent::Lossy { stream, data };
            }
            let ended = reports.ended.borrow().clone();
            if let Some(error) = ended {
                self.down.set(true);
                self.release();
                return LinkEvent::Down(error);
            }
            let suspect = reports.suspect.get();
            if self.told_suspect.replace(suspect) != suspect {
                return if suspect { LinkEvent::Suspect } else { LinkEvent::Recovered };
            }
            reports.changed.notified().await;
        }
    }

    async fn send_frame(&self, frame: BytesMut) -> Result<(), LinkError> {
        if frame.len() > self.limits.max_frame {
            let (len, max) = (frame.len(), self.limits.max_frame);
            return Err(LinkError::Failed(format!("a frame of {len} bytes; at most {max} go")));
        }
        let channel = &self.peer.channel;
        loop {
            let ended = self.reports().ended.borrow().clone();
            if let Some(error) = ended {
                return Err(error);
            }
            if !self.peer.is_hung_up() && buffered(channel) <= f64::from(self.limits.send_buffer) {
                break;
            }
            self.reports().room.notified().await;
        }
        // Copied here and by the browser: there is no safe way to lend it our memory.
        let data = Uint8Array::from(&frame[..]);
        call(channel, "send", &[&data]).map(drop).map_err(|error| match self.peer.is_closed() {
            true => LinkError::Closed,
            false => LinkError::Failed(web::problem(&error)),
        })
    }

    fn open(&self, stream: u16, config: LossyConfig) -> Result<Lossy, JsValue> {
        let init = channel_init(stream);
        web::set(&init, "ordered", &config.ordered.into());
        web::set(&init, "maxRetransmits", &config.max_retransmits.into());
        let channel = open_channel(&self.peer.pc, "everlink/lossy", &init)?;
        let mut lossy = Lossy { channel, _heard: None };
        let reports = self.reports().clone();
        lossy._heard = Some(Listener::new(&lossy.channel, "message", move |event| {
            if let Some(data) = get(&event, "data") {
                reports.handle_lossy(stream, &data);
            }
        })?);
        Ok(lossy)
    }

    fn release(&self) {
        let lossy = self.lossy.take();
        drop(lossy);
        self.peer.close();
    }
}

fn buffered(channel: &JsValue) -> f64 {
    get(channel, "bufferedAmount").and_then(|amount| amount.as_f64()).unwrap_or(0.0)
}

fn is_open(channel: &JsValue) -> bool {
    state(channel).is_some_and(|state| state == "open")
}

fn state(channel: &JsValue) -> Option<String> {
    get(channel, "readyState")?.as_string()
}

impl Link for Live {
    fn binding(&self) -> Binding {
        self.binding
    }

    fn max_frame(&self) -> usize {
        self.limits.max_frame
    }

    fn receive_window(&self) -> u32 {
        self.limits.receive_window
    }

    fn send(&self, frame: BytesMut) -> BoxFuture<'_, Result<(), LinkError>> {
        Box::pin(self.send_frame(frame))
    }

    fn recv(&self) -> BoxFuture<'_, LinkEvent> {
        Box::pin(self.next_event())
    }

    fn open_lossy(&self, stream: u16, config: LossyConfig) {
        let ends = |lossy: &Lossy| matches!(state(&lossy.channel).as_deref(), Some("closing" | "closed"));
        if self.down.get() || self.lossy.borrow().get(&stream).is_some_and(|lossy| !ends(lossy)) {
            return;
        }
        match self.open(stream, config) {
            Ok(lossy) => {
                let before = self.lossy.borrow_mut().insert(stream, lossy);
                drop(before);
            }
            // Its messages are lost, as they may be.
            Err(error) => {
                tracing::debug!(error = web::problem(&error), stream, "opening a lossy stream");
            }
        }
    }

    fn send_lossy(&self, stream: u16, data: BytesMut) {
        let channel = self.lossy.borrow().get(&stream).map(|lossy| lossy.channel.clone());
        if let Some(channel) = channel
            && data.len() <= self.limits.max_frame
            && is_open(&channel)
            && buffered(&channel) < MAX_LOSSY_BYTES
        {
            let _ = call(&channel, "send", &[&Uint8Array::from(&data[..])]);
        }
    }

    fn close_lossy(&self, stream: u16) {
        let lossy = self.lossy.borrow_mut().remove(&stream);
        drop(lossy);
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.release();
        Box::pin(std::future::ready(()))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.release();
    }
}
