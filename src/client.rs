//! The client: one identity, one directory, one transport, and everything made with them.

mod builder;
mod network;
mod service;
mod tasks;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub use self::builder::ClientBuilder;
use self::network::Network;
use self::service::{ServiceTask, check, first_publication, into_service_error};
use self::tasks::Tasks;
use crate::config::{ConnectionConfig, ServiceConfig};
use crate::durable::core::{Role, Session};
use crate::durable::service::schedule::ScheduleConfig;
use crate::durable::service::{Acceptor, Keeper, ServiceShared};
use crate::durable::{
    ConnectionState, DurableConnection, DurableService, Resuming, ServiceEvent, ServiceInfo,
};
use crate::error::{CloseReason, ConnectError, DialError, ServiceError};
use crate::identity::{Identity, PublicKey};
use crate::link::Transport;
use crate::network::NetworkChange;
use crate::runtime;
use crate::runtime::sync::{mpsc, oneshot, watch};
use crate::signaling::caller::Caller;
use crate::signaling::dial::SignaledDialer;
use crate::signaling::host::{Host, HostConfig, asked};
use crate::signaling::subscription::Subscription;
use crate::signaling::{
    Claim, MetadataJson, Request, Response, ServiceFqn, ServiceQuery, ServiceRecord, ServiceTarget,
    ServiceUuid, Signaling, SignalingError, Username,
};
#[cfg(feature = "tutorial")]
use crate::store::Store;

/// Exposes services and connects to them, in the name of one identity.
///
/// Cheap to clone. [`shutdown`](Self::shutdown) ends everything it started and waits for it.
/// Dropping the last clone does the same in the background: **services stop and connections close
/// then**, so keep the client for as long as you use them.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    identity: Identity,
    caller: Caller,
    transport: Arc<dyn Transport>,
    subscription: Subscription,
    /// Tells everything of changes of the network. There is one watcher a client, from the first
    /// need on.
    network: Network,
    watching: AtomicBool,
    /// Tells the services to stop, and new ones not to start.
    stopping: watch::Sender<bool>,
    tasks: Tasks,
    /// Until it is shut down.
    resuming: Mutex<Option<Arc<dyn Resuming>>>,
    seed: Option<u64>,
    /// How many seeds were handed out: connections of one client must not be twins.
    seeds: AtomicU64,
}

/// Which service to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// Exactly this service of this user.
    Service {
        /// The user.
        user: Username,
        /// The name and version.
        service: ServiceFqn,
    },
    /// The highest version of a user's service that a requirement allows.
    Query {
        /// The user.
        user: Username,
        /// Name and requirement, such as `chat@^1.2`.
        service: ServiceQuery,
    },
    /// The service with this uuid, which also says whose it is.
    Uuid(ServiceUuid),
}

impl From<ServiceUuid> for Target {
    fn from(uuid: ServiceUuid) -> Self {
        Self::Uuid(uuid)
    }
}

impl Client {
    /// A client over WebRTC.
    ///
    /// # Panics
    /// In a build without the feature `webrtc`; use [`builder`](Self::builder) there.
    pub fn new(identity: Identity, signaling: impl Signaling) -> Self {
        Self::builder(identity).signaling(signaling).build()
    }

    /// A client with parts of your own.
    pub fn builder(identity: Identity) -> ClientBuilder {
        ClientBuilder::new(identity)
    }

    /// Whose client it is.
    pub fn public_key(&self) -> PublicKey {
        self.inner.identity.public_key()
    }

    /// Where its sessions outlive the process.
    #[cfg(feature = "tutorial")]
    pub(crate) fn store(&self) -> Option<Arc<dyn Store>> {
        self.inner.resuming().map(|resuming| resuming.store().clone())
    }

    /// Takes or renews a username for this identity, for 365 days.
    ///
    /// # Errors
    /// `UsernameTaken` if it is another key's; otherwise as the directory says. Cancel-safe, but the
    /// claim may have been made.
    pub async fn claim_username(&self, username: Username) -> Result<Claim, SignalingError> {
        match self.inner.caller.ask(asked(Request::Claim { username })).await? {
            Response::Claimed(claim) => Ok(claim),
            other => Err(crate::signaling::caller::nonsense(&other)),
        }
    }

    /// The public services of a user.
    ///
    /// # Errors
    /// As the directory says; an unknown user has none. Cancel-safe.
    pub async fn services(&self, username: Username) -> Result<Vec<ServiceRecord>, SignalingError> {
        match self.inner.caller.ask(asked(Request::List { username })).await? {
            Response::Services(services) => Ok(services),
            other => Err(crate::signaling::caller::nonsense(&other)),
        }
    }

    /// Publishes a service (claiming the username if it is free), keeps its lease fresh and its
    /// offers ready until the service is stopped or dropped. Resolves once it is published.
    ///
    /// Cancel-safe: dropping the future withdraws what was published.
    ///
    /// # Errors
    /// [`ServiceError`]: what the directory refuses for good, such as a username of another key;
    /// and a directory that cannot be reached for `connection.connect_timeout`.
    pub async fn expose_service(&self, config: ServiceConfig) -> Result<DurableService, ServiceError> {
        check(&config)?;
        let mut stopping = self.inner.stopping.subscribe();
        if *stopping.borrow_and_update() {
            return Err(ServiceError::Shutdown);
        }
        let inner = &self.inner;
        let service = format!("{}/{}", config.user, config.service);
        let target = bytes::Bytes::from(service.clone().into_bytes());
        let (saved, taken) = match inner.resuming() {
            Some(resuming) => {
                resuming.take(Role::Acceptor, &target).map(|(saved, taken)| (saved, Some(taken)))?
            }
            None => (Vec::new(), None),
        };
        inner.watch_network();
        inner.caller.set_poll_interval(config.poll_interval);
        let (arrived, arrivals) = mpsc::channel(16);
        let (notify, mut notices) = mpsc::channel(64);
        let host = Host::start(
            inner.caller.clone(),
            &inner.subscription,
            inner.transport.clone(),
            inner.host_config(&config),
            arrived,
            notify,
        );
        let patience = config.connection.connect_timeout;
        let mut last = None;
        let published = runtime::timeout(patience, first_publication(&mut notices, &mut last)).await;
        let late = || Err(into_service_error(last.unwrap_or(DialError::TimedOut)));
        let (uuid, expires_at) = match published.unwrap_or_else(late) {
            Ok(published) => published,
            Err(error) => {
                let _ = host.stop().await;
                return Err(error);
            }
        };
        let shared = ServiceShared::new(ServiceInfo { service, uuid, expires_at });
        shared.events.publish(ServiceEvent::Published { uuid, expires_at });
        let (accepted, accepting) = mpsc::channel(crate::durable::service::MAX_WAITING);
        let keeper = inner.resuming().map(|resuming| Keeper { resuming, target });
        let mut acceptor =
            Acceptor::new(inner.identity.clone(), config.connection, shared.clone(), accepted, keeper);
        acceptor.resume(saved);
        let (stop, stopped) = oneshot::channel();
        let changes = inner.network.changes();
        let task =
            ServiceTask { host, acceptor, arrivals, notices, shared: shared.clone(), stopping, changes };
        inner.tasks.add(runtime::spawn(async move {
            task.run(stopped).await;
            drop(taken);
        }));
        Ok(DurableService::new(shared, accepting, stop))
    }

    /// Connects to a user's service by name and version: `chat@1.2.3` exactly, `chat@^1.2` or
    /// `chat@1` the highest that fits.
    ///
    /// Resolves once the first link is live; from then on the connection heals itself. Until then
    /// temporary failures are retried for [`ConnectionConfig::connect_timeout`]. Cancel-safe: a
    /// dropped future leaves nothing behind.
    ///
    /// Whose service a name stands for is the directory's word; see
    /// [`ConnectionConfig::expect_peer`].
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(&self, user: &str, service: &str) -> Result<DurableConnection, ConnectError> {
        let target = Target::Query { user: user.parse()?, service: service.parse()? };
        self.connect_with(target, ConnectionConfig::default()).await
    }

    /// Connects to the service with this uuid, and to nobody who is not its owner. Otherwise as
    /// [`connect`](Self::connect).
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_by_uuid(&self, uuid: ServiceUuid) -> Result<DurableConnection, ConnectError> {
        self.connect_with(Target::Uuid(uuid), ConnectionConfig::default()).await
    }

    /// As [`connect`](Self::connect), with settings of its own.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect_with(
        &self,
        to: Target,
        config: ConnectionConfig,
    ) -> Result<DurableConnection, ConnectError> {
        let patience = config.connect_timeout;
        let mut connection = self.dial(to, config, false);
        let connected = runtime::timeout(patience, async {
            loop {
                match connection.state_changed().await {
                    ConnectionState::Connected => return Ok(()),
                    ConnectionState::Closed(reason) => return Err(ConnectError::from(reason)),
                    _ => {}
                }
            }
        });
        match connected.await {
            Some(result) => result.map(|()| connection),
            None => {
                let last = connection.shared().give_up();
                Err(ConnectError::from(last))
            }
        }
    }

    /// Returns at once, without waiting for a link; sends queue until there is one. A service that
    /// is not known yet counts as one that is away.
    ///
    /// With a [`store`](ClientBuilder::store), a session to the same target that was not closed goes on
    /// where it stopped, in this and the other ways to connect: channels under their labels
    /// ([`open_channel`](DurableConnection::open_channel)), messages not acknowledged yet, and the
    /// place in what the peer sends. One connection takes one session, the oldest first. If the
    /// store cannot be read, the connection is closed with [`CloseReason::Store`].
    pub fn connect_lazy(&self, to: Target, config: ConnectionConfig) -> DurableConnection {
        self.dial(to, config, true)
    }

    /// A `patient` connection takes an unknown service for one that is away.
    fn dial(&self, to: Target, config: ConnectionConfig, patient: bool) -> DurableConnection {
        let inner = &self.inner;
        let target = match to {
            Target::Uuid(uuid) => ServiceTarget::Uuid { uuid },
            Target::Query { user, service } => {
                ServiceTarget::Name { username: user, service, token: config.token.clone() }
            }
            Target::Service { user, service } => {
                ServiceTarget::Name { username: user, service: service.into(), token: config.token.clone() }
            }
        };
        let seed = inner.next_seed();
        let dialer = SignaledDialer::new(
            inner.caller.clone(),
            inner.subscription.clone(),
            inner.transport.clone(),
            target.clone(),
            None,
            patient,
            config.connect_timeout,
            seed,
        );
        let target = bytes::Bytes::from(crate::signaling::wire::target(&target));
        let resuming = inner.resuming();
        let (mut session, taken, failure) = match &resuming {
            Some(resuming) => resuming.dial(target, config, seed),
            None => (Session::dialer(inner.identity.clone(), config, runtime::now(), seed), None, None),
        };
        session.set_incarnation(runtime::random());
        let store = resuming.map(|resuming| resuming.store().clone());
        let (connection, task) = DurableConnection::dial(session, Arc::new(dialer), store);
        if let Some(error) = failure {
            connection.shared().abort(CloseReason::Store(error));
        }
        if *inner.stopping.borrow() {
            connection.shared().abort(CloseReason::Shutdown);
        }
        inner.watch_network();
        let mut stopping = inner.stopping.subscribe();
        let mut changes = inner.network.changes();
        let shared = connection.shared().clone();
        inner.tasks.add(runtime::spawn(async move {
            let mut driver = std::pin::pin!(task.ended());
            loop {
                tokio::select! {
                    biased;
                    () = &mut driver => break,
                    () = async { _ = stopping.wait_for(|stopping| *stopping).await } => {
                        shared.leave();
                        driver.await;
                        break;
                    }
                    change = changes.next() => shared.network_changed(change),
                }
            }
            drop(taken);
        }));
        connection
    }

    /// Says that the network of this machine changed, for programs that learn it before this
    /// library does, or where it cannot (a mobile system that tells its applications; transports
    /// of your own). Signaling is connected anew, links are probed, and fresh ones made beside them.
    /// Links that still work stay. Changes of addresses and default routes, and sleep, are noticed
    /// without it.
    pub fn network_changed(&self) {
        self.inner.network.tell(NetworkChange::Addresses);
    }

    /// Ends everything this client started: services are withdrawn, connections closed (with a
    /// store [detached](DurableConnection::detach): they go on after a restart), and every
    /// task, socket and negotiation is gone when it returns, and the store is free for another client. Takes a few seconds at most while
    /// peers or the directory do not answer.
    pub async fn shutdown(self) {
        self.inner.stopping.send_replace(true);
        self.inner.tasks.ended().await;
        self.inner.subscription.shutdown().await;
        self.inner.transport.shutdown().await;
        // The store is free for another client though handles of this one are still about.
        *self.inner.resuming.lock().expect("no panic while locked") = None;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
    }
}

impl Inner {
    fn resuming(&self) -> Option<Arc<dyn Resuming>> {
        self.resuming.lock().expect("no panic while locked").clone()
    }

    /// Watches the network of this machine, unless that was begun already or nothing runs over it.
    fn watch_network(&self) {
        if !self.transport.is_networked() || self.watching.swap(true, Ordering::Relaxed) {
            return;
        }
        let network = self.network.clone();
        let mut stopping = self.stopping.subscribe();
        self.tasks.add(runtime::spawn(async move {
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => {}
                () = crate::network::watch(|change| network.tell(change)) => {}
            }
        }));
    }

    fn next_seed(&self) -> u64 {
        match self.seed {
            // Spread out, so that the seeds of neighbouring clients do not meet.
            Some(seed) => {
                let number = self.seeds.fetch_add(1, Ordering::Relaxed) + 1;
                seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            }
            None => u64::from_be_bytes(runtime::random()),
        }
    }

    fn host_config(&self, config: &ServiceConfig) -> HostConfig {
        HostConfig {
            username: config.user.clone(),
            service: config.service.clone(),
            public: config.public,
            metadata: MetadataJson::from(&config.metadata),
            token: config.token.clone(),
            ttl: config.ttl,
            connect_timeout: config.connection.connect_timeout,
            max_negotiations: 256,
            schedule: ScheduleConfig {
                refresh_margin: config.refresh_margin,
                pool_size: config.pool_size,
                ..ScheduleConfig::default()
            },
            seed: self.next_seed(),
        }
    }
}
