//! Links over the WebRTC of a browser, the same on the wire as those of `link::webrtc`: one data
//! channel agreed on beforehand carries the frames, each lossy stream has one of its own.
//!
//! `RTCPeerConnection` is taken from the global object when a link is made. A page has it; in Node
//! a polyfill provides it (`globalThis.RTCPeerConnection = …` of `node-datachannel/polyfill`); most
//! workers have none. Where there is none, links fail with
//! [`LinkError::Unsupported`].
//!
//! A page that is left (`pagehide`) closes its links, so that their other ends hear of it at once. If the
//! browser keeps the page and shows it again, its connections dial anew.

mod live;
mod negotiation;
mod peer;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use self::negotiation::Pending;
use self::peer::{Peer, Registry};
use super::{IceServer, LinkError, Negotiation, Transport};
use crate::runtime::BoxFuture;

/// Settings of a [`WebTransport`]. What a browser decides for itself is not among them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WebConfig {
    /// STUN and TURN servers. Default: none, which reaches peers on the same machine and network
    /// only.
    pub ice_servers: Vec<IceServer>,

    /// Uses TURN relays only, so that the peer never learns this machine's addresses. Default:
    /// off. With it on and no TURN server, no link is ever made.
    pub relay_only: bool,

    /// The largest frame sent, in bytes; clamped to 1 KiB..=256 KiB and to what the other end
    /// takes. Default: 65 KiB, so that a message of 64 KiB fits into one.
    pub max_frame: usize,

    /// The link's [`receive_window`](super::Link::receive_window) in bytes: what the other end may
    /// have under way to us. Default: 4 MiB. It bounds throughput by window / round trip, and the
    /// memory that a peer can make us use.
    pub receive_window: u32,

    /// How many bytes may wait in the browser before [`send`](super::Link::send) waits. Default:
    /// 1 MiB. Less bounds throughput, more lets urgent frames wait longer on slow paths.
    pub send_buffer: u32,

    /// How long a description may wait for candidates. Default: 100 ms. Later ones follow as
    /// [`NegotiationEvent::Candidate`](super::NegotiationEvent::Candidate).
    pub gather_for: Duration,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            ice_servers: Vec::new(),
            relay_only: false,
            max_frame: 65 * 1024,
            receive_window: 4 * 1024 * 1024,
            send_buffer: 1024 * 1024,
            gather_for: Duration::from_millis(100),
        }
    }
}

/// Makes links over the WebRTC of the browser. The default transport on wasm32.
///
/// Dropping it leaves its links alone; [`shutdown`](Transport::shutdown) closes them.
pub struct WebTransport {
    config: WebConfig,
    registry: Rc<Registry>,
}

impl WebTransport {
    /// A transport with these settings. Nothing is made before the first negotiation.
    pub fn new(config: WebConfig) -> Self {
        Self { config, registry: Registry::new() }
    }

    fn peer(&self) -> Result<Rc<Peer>, LinkError> {
        Peer::new(&self.config, &self.registry)
    }
}

impl Default for WebTransport {
    fn default() -> Self {
        Self::new(WebConfig::default())
    }
}

impl fmt::Debug for WebTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebTransport").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Transport for WebTransport {
    fn offer(&self) -> BoxFuture<'_, Result<Arc<dyn Negotiation>, LinkError>> {
        Box::pin(async {
            self.registry.page_shown().await;
            let pending = Pending::offer(&self.config, self.peer()?).await?;
            Ok(Arc::new(pending) as Arc<dyn Negotiation>)
        })
    }

    fn answer<'a>(&'a self, offer: &'a str) -> BoxFuture<'a, Result<Arc<dyn Negotiation>, LinkError>> {
        Box::pin(async move {
            self.registry.page_shown().await;
            let pending = Pending::answer(&self.config, offer, || self.peer()).await?;
            Ok(Arc::new(pending) as Arc<dyn Negotiation>)
        })
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.registry.shut_down();
        Box::pin(std::future::ready(()))
    }
}
