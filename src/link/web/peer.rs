//! A peer connection of the browser with an owner: what it reports is kept until somebody asks,
//! and it is closed with its last holder.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use js_sys::{Array, Promise, Uint8Array};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast as _, JsValue};

use super::WebConfig;
use crate::link::LinkError;
use crate::runtime::sync::Notify;
use crate::web;

/// The label of the one channel of a link; its id is 0.
const LABEL: &str = "everlink/1";
/// The largest message that browsers exchange.
pub(super) const MAX_MESSAGE: usize = 256 * 1024;
/// Candidates that may wait for [`crate::link::Negotiation::next`].
const MAX_CANDIDATES: usize = 64;
/// Messages of lossy streams that may wait for `recv`; more are dropped.
const MAX_LOSSY_IN: usize = 256;
/// Reports from here on are of lossy streams.
const LOSSY: u32 = 8;
/// A frame counts as this much at least, as the window of a link has it.
const LEAST_FRAME: usize = 512;

/// What is open of a transport, so that it can be closed.
#[derive(Default)]
pub(super) struct Registry {
    peers: RefCell<Vec<Weak<Peer>>>,
    shut: Cell<bool>,
    /// The page was left. It may be shown again, or be gone for good.
    left: Cell<bool>,
    shown: Notify,
    page: RefCell<Option<(PageWatch, Closure<dyn FnMut(u32, JsValue)>)>>,
}

impl Registry {
    /// A registry that hears when its page is left. A worker, and Node, have no such events.
    pub(super) fn new() -> Rc<Self> {
        let registry = Rc::new(Self::default());
        let of = Rc::downgrade(&registry);
        let tell = Closure::new(move |shown: u32, _| {
            if let Some(registry) = of.upgrade() {
                if shown == 0 { registry.leave() } else { registry.come_back() }
            }
        });
        registry.page.replace(Some((watch_page(&tell), tell)));
        registry
    }

    /// Closes what is open and keeps that to itself until the page is shown again: the other ends
    /// shall hear of it at once, and a page that goes shall not begin to dial.
    fn leave(&self) {
        self.left.set(true);
        self.each(|peer| peer.hang_up());
    }

    fn come_back(&self) {
        if self.left.replace(false) {
            self.each(|peer| peer.tell_hung_up());
            self.shown.notify_waiters();
        }
    }

    /// Waits until the page is shown, as it mostly is.
    pub(super) async fn page_shown(&self) {
        while self.left.get() {
            self.shown.notified().await;
        }
    }

    fn each(&self, of: impl Fn(&Peer)) {
        let peers = self.peers.borrow().clone();
        peers.iter().filter_map(Weak::upgrade).for_each(|peer| of(&peer));
    }

    /// Closes everything and refuses what comes.
    pub(super) fn shut_down(&self) {
        self.shut.set(true);
        let peers = self.peers.take();
        peers.iter().filter_map(Weak::upgrade).for_each(|peer| peer.close());
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some((watch, _)) = self.page.take() {
            watch.abort();
        }
    }
}

/// What the browser reported. Its listeners write it; whoever waits reads it.
#[derive(Default)]
pub(super) struct Reports {
    /// Something below changed. One waits at a time.
    pub(super) changed: Notify,
    /// The send buffer drained, or the link ended.
    pub(super) room: Notify,
    pub(super) open: Cell<bool>,
    /// The path beneath looks dead.
    pub(super) suspect: Cell<bool>,
    pub(super) ended: RefCell<Option<LinkError>>,
    pub(super) candidates: RefCell<VecDeque<String>>,
    frames: RefCell<VecDeque<Bytes>>,
    /// Of `frames`, each counted as its window does.
    waiting: Cell<usize>,
    most_waiting: usize,
    lossy: RefCell<VecDeque<(u16, Bytes)>>,
}

impl Reports {
    /// The first reason counts.
    fn end(&self, error: LinkError) {
        self.ended.borrow_mut().get_or_insert(error);
        self.changed.notify_one();
        self.room.notify_one();
    }

    /// As `peer.js` has them.
    fn handle(&self, report: u32, value: &JsValue) {
        let text = || value.as_string().unwrap_or_default();
        match report {
            0 => self.handle_candidate(text()),
            1 => self.handle_path(&text()),
            2 => self.handle_connection(&text()),
            // Ours are all agreed on beforehand. Whoever announces others is no everlink, or wants our
            // memory.
            3 => self
                .end(LinkError::Failed("the other end opened a channel that was not agreed on".to_owned())),
            4 => {
                self.open.set(true);
                self.changed.notify_one();
            }
            5 => self.handle_frame(value.unchecked_ref()),
            6 => self.room.notify_one(),
            7 => self.end(LinkError::ClosedByPeer),
            stream => self.handle_lossy((stream - LOSSY) as u16, value.unchecked_ref()),
        }
    }

    fn handle_frame(&self, data: &Uint8Array) {
        let waiting = self.waiting.get();
        if waiting > self.most_waiting {
            // It sends more than it was told it may: the rest would fill the memory.
            return self.end(LinkError::Failed("the other end sent more than it was allowed".to_owned()));
        }
        let frame = Bytes::from(data.to_vec());
        self.waiting.set(waiting + frame.len().max(LEAST_FRAME));
        self.frames.borrow_mut().push_back(frame);
        self.changed.notify_one();
    }

    pub(super) fn next_frame(&self) -> Option<Bytes> {
        let frame = self.frames.borrow_mut().pop_front()?;
        self.waiting.set(self.waiting.get() - frame.len().max(LEAST_FRAME));
        Some(frame)
    }

    fn handle_lossy(&self, stream: u16, data: &Uint8Array) {
        let mut lossy = self.lossy.borrow_mut();
        if lossy.len() < MAX_LOSSY_IN {
            lossy.push_back((stream, data.to_vec().into()));
            self.changed.notify_one();
        }
    }

    pub(super) fn next_lossy(&self) -> Option<(u16, Bytes)> {
        self.lossy.borrow_mut().pop_front()
    }

    fn handle_candidate(&self, candidate: String) {
        let mut candidates = self.candidates.borrow_mut();
        if candidates.len() < MAX_CANDIDATES {
            candidates.push_back(candidate);
        }
        drop(candidates);
        self.changed.notify_one();
    }

    fn handle_path(&self, state: &str) {
        match state {
            "connected" | "completed" => self.suspect.set(false),
            "disconnected" => self.suspect.set(true),
            "failed" if !self.open.get() => return self.end(LinkError::NoPath),
            "failed" => return self.end(LinkError::Failed("no path to the other end answers".to_owned())),
            _ => return,
        }
        self.changed.notify_one();
    }

    fn handle_connection(&self, state: &str) {
        match state {
            "failed" => self.end(LinkError::Failed(
                "no path to the other end answered, or its certificate is not the one of its description"
                    .to_owned(),
            )),
            "closed" => self.end(LinkError::ClosedByPeer),
            _ => {}
        }
    }
}

#[wasm_bindgen(module = "/src/link/web/peer.js")]
extern "C" {
    #[wasm_bindgen(js_name = isSupported)]
    fn is_supported() -> bool;

    type PageWatch;
    #[wasm_bindgen(js_name = watchPage)]
    fn watch_page(tell: &Closure<dyn FnMut(u32, JsValue)>) -> PageWatch;
    #[wasm_bindgen(method)]
    fn abort(this: &PageWatch);

    #[wasm_bindgen(js_name = addServer)]
    fn add_server(servers: &Array, urls: &Array, username: &str, credential: &str);

    #[wasm_bindgen(js_name = Peer)]
    pub(super) type Pc;
    #[wasm_bindgen(constructor, catch, js_class = "Peer")]
    fn new(
        servers: &Array,
        relay_only: bool,
        label: &str,
        low: u32,
        tell: &Closure<dyn FnMut(u32, JsValue)>,
    ) -> Result<Pc, JsValue>;
    #[wasm_bindgen(method, getter, js_class = "Peer")]
    fn channel(this: &Pc) -> DataChannel;
    #[wasm_bindgen(method, js_class = "Peer")]
    pub(super) fn answer(this: &Pc, offer: &str) -> Promise;
    #[wasm_bindgen(method, js_class = "Peer")]
    pub(super) fn take(this: &Pc, kind: &str, sdp: &str) -> Promise;
    #[wasm_bindgen(method, js_class = "Peer")]
    pub(super) fn describe(this: &Pc, answer: Option<&JsValue>, patience: u32, pause: u32) -> Promise;
    #[wasm_bindgen(method, js_class = "Peer", js_name = addCandidate)]
    pub(super) fn add_candidate(this: &Pc, candidate: &str, mid: &str) -> Promise;
    #[wasm_bindgen(method, js_class = "Peer", js_name = openLossy)]
    pub(super) fn open_lossy(this: &Pc, stream: u16, ordered: bool, max_retransmits: u16);
    #[wasm_bindgen(method, js_class = "Peer", js_name = sendLossy)]
    pub(super) fn send_lossy(this: &Pc, stream: u16, data: &[u8]);
    #[wasm_bindgen(method, js_class = "Peer", js_name = closeLossy)]
    pub(super) fn close_lossy(this: &Pc, stream: u16);
    #[wasm_bindgen(method, js_class = "Peer")]
    fn close(this: &Pc);

    pub(super) type DataChannel;
    /// Lends the browser our memory for the call, in which it copies what it needs.
    #[wasm_bindgen(method, catch)]
    pub(super) fn send(this: &DataChannel, data: &[u8]) -> Result<(), JsValue>;
    #[wasm_bindgen(method, getter, js_name = bufferedAmount)]
    pub(super) fn buffered_amount(this: &DataChannel) -> f64;
}

/// A peer connection with its main channel. Closed when dropped.
pub(super) struct Peer {
    pub(super) pc: Pc,
    pub(super) channel: DataChannel,
    pub(super) reports: Rc<Reports>,
    /// What the connection reports goes through this until it is closed.
    _tell: Closure<dyn FnMut(u32, JsValue)>,
    closed: Cell<bool>,
    /// Closed because the page was left, and nobody was told.
    hung_up: Cell<bool>,
}

impl Peer {
    pub(super) fn new(config: &WebConfig, registry: &Registry) -> Result<Rc<Self>, LinkError> {
        if registry.shut.get() {
            return Err(LinkError::Closed);
        }
        check_support()?;
        let most_waiting = 2 * (config.receive_window as usize + MAX_MESSAGE);
        let reports = Rc::new(Reports { most_waiting, ..Reports::default() });
        let told = reports.clone();
        let tell = Closure::new(move |report: u32, value: JsValue| told.handle(report, &value));
        let servers = Array::new();
        for server in &config.ice_servers {
            let urls = server.urls.iter().map(|url| JsValue::from_str(url)).collect();
            add_server(&servers, &urls, &server.username, &server.credential);
        }
        let pc = Pc::new(&servers, config.relay_only, LABEL, config.send_buffer / 2, &tell)
            .map_err(|error| LinkError::Failed(format!("no peer connection: {}", web::problem(&error))))?;
        let peer = Rc::new(Self {
            channel: pc.channel(),
            pc,
            reports,
            _tell: tell,
            closed: Cell::new(false),
            hung_up: Cell::new(false),
        });
        let mut peers = registry.peers.borrow_mut();
        peers.retain(|peer| peer.strong_count() > 0);
        peers.push(Rc::downgrade(&peer));
        Ok(peer)
    }

    /// Whether this end closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Closes it, once.
    pub(super) fn close(&self) {
        if self.closed.replace(true) {
            return;
        }
        self.release();
        self.reports.end(LinkError::Closed);
    }

    fn release(&self) {
        self.pc.close();
    }

    /// Whether it is closed, and nobody was told so yet.
    pub(super) fn is_hung_up(&self) -> bool {
        self.hung_up.get()
    }

    fn hang_up(&self) {
        if !self.closed.get() && !self.hung_up.replace(true) {
            self.release();
        }
    }

    fn tell_hung_up(&self) {
        if self.hung_up.replace(false) {
            self.reports.end(LinkError::Failed("the page was left".to_owned()));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whether there is WebRTC where this runs.
pub(super) fn check_support() -> Result<(), LinkError> {
    match is_supported() {
        true => Ok(()),
        false => Err(LinkError::Unsupported(
            "there is no RTCPeerConnection; use a page of a browser with WebRTC, or in Node set \
             globalThis.RTCPeerConnection to that of node-datachannel/polyfill"
                .to_owned(),
        )),
    }
}

pub(super) fn failed(error: &JsValue) -> LinkError {
    LinkError::Failed(web::problem(error))
}
