//! How a client is put together.

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex};

use super::network::Network;
use super::tasks::Tasks;
use super::{Client, Inner};
use crate::durable::{InStore, Resuming};
use crate::identity::Identity;
use crate::link::{IceServer, Transport};
use crate::runtime;
use crate::runtime::sync::watch;
use crate::signaling::Signaling;
use crate::signaling::caller::Caller;
use crate::signaling::subscription::Subscription;
use crate::store::Store;

/// Builds a [`Client`] with other parts than the usual ones.
#[must_use]
pub struct ClientBuilder {
    identity: Identity,
    signaling: Option<Arc<dyn Signaling>>,
    transport: Option<Arc<dyn Transport>>,
    ice: Vec<IceServer>,
    resuming: Option<Arc<dyn Resuming>>,
    seed: Option<u64>,
}

impl ClientBuilder {
    pub(super) fn new(identity: Identity) -> Self {
        Self { identity, signaling: None, transport: None, ice: Vec::new(), resuming: None, seed: None }
    }

    /// The directory; there is no default.
    pub fn signaling(mut self, signaling: impl Signaling) -> Self {
        self.signaling = Some(Arc::new(signaling));
        self
    }

    /// How links are made. Default: WebRTC, in a browser the browser's own.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// STUN and TURN servers for the default transport. Default: none, which reaches peers on the
    /// same machine or network only.
    pub fn ice(mut self, servers: impl IntoIterator<Item = IceServer>) -> Self {
        self.ice.extend(servers);
        self
    }

    /// Keeps sessions where they survive the process: what is queued, what was received, and what
    /// proves who we are to the peer. Default: none, and a killed process loses its sessions.
    ///
    /// With a store, a message is transmitted only when it is stored (a few milliseconds later on
    /// most disks; throughput suffers little, as writes are batched), and after a restart
    /// [`Client::connect_lazy`] and [`Client::expose_service`] go on with every session that was not
    /// closed. See [`FileStore`](crate::store) for the file.
    pub fn store(mut self, store: impl Store) -> Self {
        self.resuming = Some(Arc::new(InStore::new(self.identity.clone(), Arc::new(store))));
        self
    }

    /// Makes everything that is left to chance, and is no secret, follow from this number: jitter
    /// and session names. For tests that replay.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The client.
    ///
    /// # Panics
    /// Without a [`signaling`](Self::signaling); or without a [`transport`](Self::transport) in a
    /// build that has no WebRTC.
    pub fn build(self) -> Client {
        let signaling = self.signaling.expect("ClientBuilder::signaling was not called");
        let transport = self.transport.unwrap_or_else(|| default_transport(self.ice));
        let caller = Caller::new(self.identity.clone(), signaling);
        let seed = self.seed.unwrap_or_else(|| u64::from_be_bytes(runtime::random()));
        let subscription = Subscription::new(caller.clone(), seed);
        let inner = Inner {
            resuming: Mutex::new(self.resuming),
            identity: self.identity,
            caller,
            transport,
            network: Network::new(subscription.clone()),
            watching: AtomicBool::new(false),
            subscription,
            stopping: watch::Sender::new(false),
            tasks: Tasks::default(),
            seed: self.seed,
            seeds: AtomicU64::new(0),
        };
        Client { inner: Arc::new(inner) }
    }
}

#[cfg(all(feature = "webrtc", not(target_arch = "wasm32")))]
fn default_transport(ice: Vec<IceServer>) -> Arc<dyn Transport> {
    use crate::link::webrtc::{WebRtcConfig, WebRtcTransport};
    Arc::new(WebRtcTransport::new(WebRtcConfig { ice_servers: ice, ..WebRtcConfig::default() }))
}

#[cfg(all(feature = "webrtc", target_arch = "wasm32"))]
fn default_transport(ice: Vec<IceServer>) -> Arc<dyn Transport> {
    use crate::link::web::{WebConfig, WebTransport};
    Arc::new(WebTransport::new(WebConfig { ice_servers: ice, ..WebConfig::default() }))
}

#[cfg(not(feature = "webrtc"))]
fn default_transport(_: Vec<IceServer>) -> Arc<dyn Transport> {
    panic!("this build has no WebRTC: enable the feature `webrtc` or give ClientBuilder::transport")
}
