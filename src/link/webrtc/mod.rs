//! Links over real WebRTC, natively: ICE finds a path, DTLS secures it, one SCTP data channel
//! carries the frames.
//!
//! This is the only module that names the `webrtc` and `rtc` crates. What it adds to them: tuned
//! buffers, a set-up without the stack's pauses, silence that is noticed in about a second and
//! survived however long it lasts, and an owner for every peer connection.

mod addrs;
mod config;
mod engine;
mod impairment;
mod live;
mod negotiation;
mod path;
mod peer;
mod restart;
mod stun;

use std::sync::Arc;

use self::addrs::BindAddrs;
pub use self::config::{Loopback, WebRtcConfig};
use self::engine::Names;
pub use self::impairment::Impairment;
use self::negotiation::Pending;
use self::peer::{NewPeer, Peer, Registry};
use super::{LinkError, Negotiation, Transport};
use crate::runtime::BoxFuture;

/// Makes links over WebRTC. Needs a tokio runtime with time and I/O enabled.
///
/// Dropping it leaves its links alone; [`shutdown`](Transport::shutdown) closes them.
#[derive(Debug)]
pub struct WebRtcTransport(Inner);

#[derive(Debug)]
struct Inner {
    config: WebRtcConfig,
    addrs: BindAddrs,
    names: Arc<Names>,
    registry: Arc<Registry>,
}

impl WebRtcTransport {
    /// A transport with these settings. Nothing is bound before the first negotiation.
    pub fn new(config: WebRtcConfig) -> Self {
        let addrs = BindAddrs {
            bind: config.bind.clone(),
            ports: config.port_range.clone(),
            loopback: config.loopback,
            next_port: Arc::default(),
        };
        Self(Inner { config, addrs, names: Arc::default(), registry: Arc::default() })
    }
}

impl Default for WebRtcTransport {
    fn default() -> Self {
        Self::new(WebRtcConfig::default())
    }
}

impl Inner {
    async fn build(&self) -> Result<NewPeer, LinkError> {
        Peer::build(&self.config, &self.addrs, &self.names, &self.registry).await
    }
}

impl Transport for WebRtcTransport {
    fn offer(&self) -> BoxFuture<'_, Result<Arc<dyn Negotiation>, LinkError>> {
        Box::pin(async {
            let pending = Pending::offer(&self.0).await?;
            Ok(Arc::new(pending) as Arc<dyn Negotiation>)
        })
    }

    fn answer<'a>(&'a self, offer: &'a str) -> BoxFuture<'a, Result<Arc<dyn Negotiation>, LinkError>> {
        Box::pin(async move {
            let pending = Pending::answer(&self.0, offer).await?;
            Ok(Arc::new(pending) as Arc<dyn Negotiation>)
        })
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.registry.shut_down())
    }
}
