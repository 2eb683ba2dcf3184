//! A peer connection of the browser with an owner: what it reports is kept until somebody asks,
//! and it is closed with its last holder.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use js_sys::{Promise, Uint8Array};
use tokio::sync::Notify;
use wasm_bindgen::JsValue;

use super::WebConfig;
use crate::link::LinkError;
use crate::web::{self, Listener, call, get, object};

/// The label of the one channel of a link; its id is 0.
const LABEL: &str = "everlink/1";
/// The largest message that browsers exchange.
pub(super) const MAX_MESSAGE: usize = 256 * 1024;
/// Candidates that may wait for [`crate::link::Negotiation::next`].
const MAX_CANDIDATES: usize = 64;
/// Messages of lossy streams that may wait for `recv`; more are dropped.
const MAX_LOSSY_IN: usize = 256;
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
    page: RefCell<Vec<Listener>>,
}

impl Registry {
    /// A registry that hears when its page is left. A worker, and Node, have no such events.
    pub(super) fn new() -> Rc<Self> {
        let registry = Rc::new(Self::default());
        let on = |event, heard: fn(&Self)| {
            let of = Rc::downgrade(&registry);
            Listener::new(&js_sys::global(), event, move |_| {
                if let Some(registry) = of.upgrade() {
                    heard(&registry);
                }
            })
            .ok()
        };
        let page = [on("pagehide", Self::leave), on("pageshow", Self::come_back)];
        registry.page.replace(page.into_iter().flatten().collect());
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

/// What the browser reported. Its listeners write it; whoever waits reads it.
#[derive(Default)]
pub(super) struct Reports {
    /// Something below changed. One waits at a time.
    pub(super) changed: Notify,
    /// The send buffer drained, or the link ended.
    pub(super) room: Notify,
    pub(super) open: Cell<bool>,
    pub(super) gathered: Cell<bool>,
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

    fn handle_frame(&self, data: &JsValue) {
        let waiting = self.waiting.get();
        if waiting > self.most_waiting {
            // It sends more than it was told it may: the rest would fill the memory.
            return self.end(LinkError::Failed("the other end sent more than it was allowed".to_owned()));
        }
        let frame = bytes_of(data);
        self.waiting.set(waiting + frame.len().max(LEAST_FRAME));
        self.frames.borrow_mut().push_back(frame);
        self.changed.notify_one();
    }

    pub(super) fn next_frame(&self) -> Option<Bytes> {
        let frame = self.frames.borrow_mut().pop_front()?;
        self.waiting.set(self.waiting.get() - frame.len().max(LEAST_FRAME));
        Some(frame)
    }

    pub(super) fn handle_lossy(&self, stream: u16, data: &JsValue) {
        let mut lossy = self.lossy.borrow_mut();
        if lossy.len() < MAX_LOSSY_IN {
            lossy.push_back((stream, bytes_of(data)));
            self.changed.notify_one();
        }
    }

    pub(super) fn next_lossy(&self) -> Option<(u16, Bytes)> {
        self.lossy.borrow_mut().pop_front()
    }

    fn handle_candidate(&self, event: &JsValue) {
        let candidate = get(event, "candidate").and_then(|candidate| get(&candidate, "candidate"));
        let candidate = candidate.and_then(|candidate| candidate.as_string());
        // Without one, or with an empty one, it is the end of them.
        let Some(candidate) = candidate.filter(|candidate| !candidate.is_empty()) else { return };
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

/// The bytes of a message. Text, which no everlink sends, counts as its bytes.
fn bytes_of(data: &JsValue) -> Bytes {
    match data.as_string() {
        Some(text) => text.into_bytes().into(),
        None => Uint8Array::new(data).to_vec().into(),
    }
}

/// A peer connection with its main channel. Closed when dropped.
pub(super) struct Peer {
    pub(super) pc: JsValue,
    pub(super) channel: JsValue,
    pub(super) reports: Rc<Reports>,
    listeners: RefCell<Vec<Listener>>,
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
        let pc = web::construct("RTCPeerConnection", &[&configuration(config)])
            .map_err(|error| LinkError::Failed(format!("no peer connection: {}", web::problem(&error))))?;
        // From here on an error closes it.
        let peer = OnlyPc(pc);
        let init = channel_init(0);
        web::set(&init, "ordered", &true.into());
        let channel = open_channel(&peer.0, LABEL, &init).map_err(|error| failed(&error))?;
        web::set(&channel, "bufferedAmountLowThreshold", &(config.send_buffer / 2).into());
        let most_waiting = 2 * (config.receive_window as usize + MAX_MESSAGE);
        let reports = Rc::new(Reports { most_waiting, ..Reports::default() });
        let listeners = listen(&peer.0, &channel, &reports).map_err(|error| failed(&error))?;
        let peer = Rc::new(Self {
            pc: peer.into_inner(),
            channel,
            reports,
            listeners: RefCell::new(listeners),
            closed: Cell::new(false),
            hung_up: Cell::new(false),
        });
        let mut peers = registry.peers.borrow_mut();
        peers.retain(|peer| peer.strong_count() > 0);
        peers.push(Rc::downgrade(&peer));
        Ok(peer)
    }

    /// Calls a method of the peer connection that gives a promise.
    pub(super) async fn ask(&self, method: &str, args: &[&JsValue]) -> Result<JsValue, JsValue> {
        web::settled(Promise::resolve(&call(&self.pc, method, args)?)).await
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
        // First, as closing tells of itself.
        drop(self.listeners.take());
        let _ = call(&self.channel, "close", &[]);
        let _ = call(&self.pc, "close", &[]);
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
    match web::global("RTCPeerConnection") {
        Some(_) => Ok(()),
        None => Err(LinkError::Unsupported(
            "there is no RTCPeerConnection; use a page of a browser with WebRTC, or in Node set \
             globalThis.RTCPeerConnection to that of node-datachannel/polyfill"
                .to_owned(),
        )),
    }
}

/// A peer connection that is closed unless it is taken out.
struct OnlyPc(JsValue);

impl OnlyPc {
    fn into_inner(mut self) -> JsValue {
        std::mem::replace(&mut self.0, JsValue::UNDEFINED)
    }
}

impl Drop for OnlyPc {
    fn drop(&mut self) {
        if !self.0.is_undefined() {
            let _ = call(&self.0, "close", &[]);
        }
    }
}

/// What a channel is made with that both ends know by its number.
pub(super) fn channel_init(id: u16) -> JsValue {
    object([("negotiated", true.into()), ("id", id.into())])
}

pub(super) fn open_channel(pc: &JsValue, label: &str, init: &JsValue) -> Result<JsValue, JsValue> {
    let channel = call(pc, "createDataChannel", &[&label.into(), init])?;
    web::set(&channel, "binaryType", &"arraybuffer".into());
    Ok(channel)
}

/// Hears everything from the beginning: a message may come with the opening.
fn listen(pc: &JsValue, channel: &JsValue, reports: &Rc<Reports>) -> Result<Vec<Listener>, JsValue> {
    let on = |target: &JsValue, event, heard: fn(&Reports, &JsValue, &JsValue)| {
        let (reports, of) = (reports.clone(), target.clone());
        Listener::new(target, event, move |event| heard(&reports, &of, &event))
    };
    Ok(vec![
        on(pc, "icecandidate", |reports, _, event| reports.handle_candidate(event))?,
        on(pc, "icegatheringstatechange", |reports, pc, _| {
            if text(pc, "iceGatheringState") == "complete" {
                reports.gathered.set(true);
                reports.changed.notify_one();
            }
        })?,
        on(pc, "iceconnectionstatechange", |reports, pc, _| {
            reports.handle_path(&text(pc, "iceConnectionState"));
        })?,
        on(pc, "connectionstatechange", |reports, pc, _| {
            reports.handle_connection(&text(pc, "connectionState"));
        })?,
        // Ours are all agreed on beforehand. Whoever announces others is no everlink, or wants our
        // memory.
        on(pc, "datachannel", |reports, _, _| {
            let breach = "the other end opened a channel that was not agreed on";
            reports.end(LinkError::Failed(breach.to_owned()));
        })?,
        on(channel, "open", |reports, _, _| {
            reports.open.set(true);
            reports.changed.notify_one();
        })?,
        on(channel, "message", |reports, _, event| {
            if let Some(data) = get(event, "data") {
                reports.handle_frame(&data);
            }
        })?,
        on(channel, "bufferedamountlow", |reports, _, _| reports.room.notify_one())?,
        on(channel, "close", |reports, _, _| reports.end(LinkError::ClosedByPeer))?,
    ])
}

fn text(of: &JsValue, name: &str) -> String {
    get(of, name).and_then(|value| value.as_string()).unwrap_or_default()
}

fn configuration(config: &WebConfig) -> JsValue {
    let servers = config.ice_servers.iter().map(|server| {
        let urls = web::array(server.urls.iter().map(|url| url.into()));
        let server_object = object([("urls", urls)]);
        if !server.username.is_empty() || !server.credential.is_empty() {
            web::set(&server_object, "username", &JsValue::from_str(&server.username));
            web::set(&server_object, "credential", &JsValue::from_str(&server.credential));
        }
        server_object
    });
    let policy = if config.relay_only { "relay" } else { "all" };
    object([("iceServers", web::array(servers)), ("iceTransportPolicy", policy.into())])
}

pub(super) fn failed(error: &JsValue) -> LinkError {
    LinkError::Failed(web::problem(error))
}
