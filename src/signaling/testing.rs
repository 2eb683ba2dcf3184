//! Hosts and peers over memory signaling and memory links, for the tests of this module.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::caller::Caller;
use super::dial::{Pin, SignaledDialer};
use super::host::{Arrival, Host, HostConfig, Notice};
use super::subscription::Subscription;
use super::*;
use crate::durable::dialer::{DialFailure, Dialed, Dialer as _};
use crate::durable::service::schedule::ScheduleConfig;
use crate::identity::Identity;
use crate::link::LinkEvent;
use crate::link::memory::MemoryNetwork;
use crate::runtime;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct World {
    pub(crate) network: MemoryNetwork,
    pub(crate) signaling: MemorySignaling,
}

/// A party with its event stream.
pub(crate) struct Party {
    pub(crate) identity: Identity,
    pub(crate) caller: Caller,
    pub(crate) subscription: Subscription,
    network: MemoryNetwork,
}

pub(crate) struct Hosting {
    pub(crate) host: Host,
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    pub(crate) notices: mpsc::Receiver<Notice>,
    /// Must outlive the host's work.
    pub(crate) party: Party,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { network: MemoryNetwork::new(1), signaling: MemorySignaling::new() }
    }

    pub(crate) fn party(&self, secret: u8) -> Party {
        self.party_over(secret, self.signaling.clone())
    }

    pub(crate) fn party_over(&self, secret: u8, signaling: impl Signaling) -> Party {
        let identity = Identity::from_secret([secret; 32]);
        let caller = Caller::new(identity.clone(), Arc::new(signaling));
        let subscription = Subscription::new(caller.clone(), secret.into());
        Party { identity, caller, subscription, network: self.network.clone() }
    }

    pub(crate) fn host(&self) -> Hosting {
        self.party(1).host(config("chat@1.0.0"))
    }
}

pub(crate) fn config(service: &str) -> HostConfig {
    HostConfig {
        username: "alice".parse().unwrap(),
        service: service.parse().unwrap(),
        public: true,
        metadata: MetadataJson::default(),
        token: None,
        ttl: Duration::from_secs(60),
        connect_timeout: TIMEOUT,
        max_negotiations: 64,
        schedule: ScheduleConfig::default(),
        seed: 1,
    }
}

impl Party {
    pub(crate) fn host(self, config: HostConfig) -> Hosting {
        let (arrived, arrivals) = mpsc::channel(64);
        let (notify, notices) = mpsc::channel(1024);
        let transport = Arc::new(self.network.transport());
        let host = Host::start(self.caller.clone(), &self.subscription, transport, config, arrived, notify);
        Hosting { host, arrivals, notices, party: self }
    }

    pub(crate) fn dialer(&self, target: ServiceTarget) -> SignaledDialer {
        self.pinned_dialer(target, None)
    }

    pub(crate) fn pinned_dialer(&self, target: ServiceTarget, pin: Option<Pin>) -> SignaledDialer {
        let (caller, subscription) = (self.caller.clone(), self.subscription.clone());
        let transport = Arc::new(self.network.transport());
        SignaledDialer::new(caller, subscription, transport, target, pin, false, TIMEOUT, 7)
    }

    pub(crate) async fn dial(&self, target: ServiceTarget) -> Result<Dialed, DialFailure> {
        self.dialer(target).dial(1).await
    }
}

impl Hosting {
    pub(crate) fn by_uuid(&self) -> ServiceTarget {
        ServiceTarget::Uuid { uuid: self.host.uuid() }
    }

    pub(crate) async fn published(&mut self) {
        loop {
            match self.notices.recv().await.unwrap() {
                Notice::Published { uuid, .. } => return assert_eq!(uuid, self.host.uuid()),
                Notice::Error { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Notices so far.
    pub(crate) fn notices(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.notices.try_recv().ok()).collect()
    }

    pub(crate) async fn arrival(&mut self) -> Arrival {
        self.arrivals.recv().await.unwrap()
    }
}

pub(crate) fn by_name(service: &str) -> ServiceTarget {
    let (username, service) = ("alice".parse().unwrap(), service.parse().unwrap());
    ServiceTarget::Name { username, service, token: None }
}

/// A frame gets from one end to the other.
pub(crate) async fn check_link(from: &Arc<dyn crate::link::Link>, to: &Arc<dyn crate::link::Link>) {
    assert_eq!(from.binding(), to.binding());
    from.send(BytesMut::from("hello")).await.unwrap();
    let LinkEvent::Frame(frame) = to.recv().await else { panic!("no frame") };
    assert_eq!(frame, "hello");
}

pub(crate) async fn never<F: Future>(within: Duration, future: F) -> bool {
    runtime::timeout(within, future).await.is_none()
}

type OnResponse = dyn Fn(Response) -> Response + Send + Sync;
type OnEvent = dyn Fn(Event) -> Event + Send + Sync;

/// A server that changes what it passes on, and counts what it is asked.
#[derive(Clone)]
pub(crate) struct Meddler {
    inner: MemorySignaling,
    on_response: Arc<OnResponse>,
    on_event: Arc<OnEvent>,
    pub(crate) calls: Arc<AtomicUsize>,
    pub(crate) streams: Arc<AtomicUsize>,
    pub(crate) probes: Arc<AtomicUsize>,
    pub(crate) renewals: Arc<AtomicUsize>,
}

impl Meddler {
    pub(crate) fn new(inner: &MemorySignaling) -> Self {
        Self {
            inner: inner.clone(),
            on_response: Arc::new(|response| response),
            on_event: Arc::new(|event| event),
            calls: Arc::default(),
            streams: Arc::default(),
            probes: Arc::default(),
            renewals: Arc::default(),
        }
    }

    pub(crate) fn responses(mut self, change: impl Fn(Response) -> Response + Send + Sync + 'static) -> Self {
        self.on_response = Arc::new(change);
        self
    }

    pub(crate) fn events(mut self, change: impl Fn(Event) -> Event + Send + Sync + 'static) -> Self {
        self.on_event = Arc::new(change);
        self
    }
}

impl Signaling for Meddler {
    fn renew(&self) {
        self.renewals.fetch_add(1, Ordering::Relaxed);
        self.inner.renew();
    }

    fn call(&self, request: SignedRequest) -> BoxFuture<'_, Result<Response, SignalingError>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { self.inner.call(request).await.map(|response| (self.on_response)(response)) })
    }

    fn events(&self, request: SignedRequest) -> BoxFuture<'_, Result<EventStream, SignalingError>> {
        self.streams.fetch_add(1, Ordering::Relaxed);
        let change = self.on_event.clone();
        Box::pin(async move {
            let stream = self.inner.events(request).await?;
            let stream = stream.map(move |item| item.map(|(cursor, event)| (cursor, change(event))));
            Ok(Box::pin(stream) as EventStream)
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), SignalingError>> {
        self.probes.fetch_add(1, Ordering::Relaxed);
        self.inner.probe()
    }
}

/// An address behind which the server can be replaced by another.
#[derive(Clone)]
pub(crate) struct Switch {
    current: Arc<std::sync::Mutex<MemorySignaling>>,
}

impl Switch {
    pub(crate) fn new(first: &MemorySignaling) -> Self {
        Self { current: Arc::new(std::sync::Mutex::new(first.clone())) }
    }

    pub(crate) fn switch(&self, to: &MemorySignaling) {
        let before = std::mem::replace(&mut *self.current.lock().unwrap(), to.clone());
        before.break_connections();
    }

    fn current(&self) -> MemorySignaling {
        self.current.lock().unwrap().clone()
    }
}

impl Signaling for Switch {
    fn call(&self, request: SignedRequest) -> BoxFuture<'_, Result<Response, SignalingError>> {
        Box::pin(async move { self.current().call(request).await })
    }

    fn events(&self, request: SignedRequest) -> BoxFuture<'_, Result<EventStream, SignalingError>> {
        Box::pin(async move { self.current().events(request).await })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), SignalingError>> {
        Box::pin(async move { self.current().probe().await })
    }
}
