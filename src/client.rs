//! The client: one identity, one directory, one transport, and everything made with them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::config::{ConnectionConfig, ServiceConfig};
use crate::durable::core::{Role, SavedSession, Session, SessionId, identity_prefix};
use crate::durable::service::schedule::ScheduleConfig;
use crate::durable::service::{Acceptor, Incoming, Keeper, ServiceShared, StopReport};
use crate::durable::{ConnectionState, DurableConnection, DurableService, ServiceEvent, ServiceInfo};
use crate::error::{CloseReason, ConnectError, DialError, ServiceError};
use crate::identity::{Identity, PublicKey};
use crate::link::{IceServer, Transport};
use crate::network::NetworkChange;
use crate::runtime::{self, Task};
use crate::signaling::caller::Caller;
use crate::signaling::dial::SignaledDialer;
use crate::signaling::host::{Host, HostConfig, HostContext, Notice};
use crate::signaling::subscription::Subscription;
use crate::signaling::{
    Claim, ErrorCode, Request, Response, ServiceFqn, ServiceQuery, ServiceRecord, ServiceTarget, ServiceUuid,
    Signaling, SignalingError, Username,
};
use crate::store::{Store, StoreError};

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
    store: Option<Arc<dyn Store>>,
    /// Saved sessions that go on in this process.
    resumed: Arc<Mutex<BTreeSet<SessionId>>>,
    seed: Option<u64>,
    /// How many seeds were handed out: connections of one client must not be twins.
    seeds: AtomicU64,
}

/// Tells of changes of the network: first whoever brings signaling back, then all the rest.
#[derive(Clone)]
struct Network {
    subscription: Subscription,
    /// The last change, and how many there were.
    changes: Arc<watch::Sender<(u64, NetworkChange)>>,
}

impl Network {
    fn tell(&self, change: NetworkChange) {
        self.subscription.network_changed();
        self.changes.send_modify(|(number, last)| (*number, *last) = (*number + 1, change));
    }
}

/// The next change. Pending for ever once the client is gone.
async fn next_change(changes: &mut watch::Receiver<(u64, NetworkChange)>) -> NetworkChange {
    match changes.changed().await {
        Ok(()) => changes.borrow_and_update().1,
        Err(_) => std::future::pending().await,
    }
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

/// Tasks with an owner that awaits them.
#[derive(Default)]
struct Tasks(Mutex<Vec<Task>>);

impl Tasks {
    fn add(&self, task: Task) {
        let mut tasks = self.0.lock().expect("no panic while locked");
        tasks.retain_mut(|task| !task.is_ended());
        tasks.push(task);
    }

    async fn ended(&self) {
        loop {
            let task = self.0.lock().expect("no panic while locked").pop();
            let Some(task) = task else { return };
            task.ended().await;
        }
    }
}

/// Builds a [`Client`] with other parts than the usual ones.
#[must_use]
pub struct ClientBuilder {
    identity: Identity,
    signaling: Option<Arc<dyn Signaling>>,
    transport: Option<Arc<dyn Transport>>,
    ice: Vec<IceServer>,
    store: Option<Arc<dyn Store>>,
    seed: Option<u64>,
}

impl ClientBuilder {
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
        self.store = Some(Arc::new(store));
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
        let changes = Arc::new(watch::Sender::new((0, NetworkChange::Addresses)));
        let inner = Inner {
            identity: self.identity,
            caller,
            transport,
            network: Network { subscription: subscription.clone(), changes },
            watching: AtomicBool::new(false),
            subscription,
            stopping: watch::Sender::new(false),
            tasks: Tasks::default(),
            store: self.store,
            resumed: Arc::default(),
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
        ClientBuilder { identity, signaling: None, transport: None, ice: Vec::new(), store: None, seed: None }
    }

    /// Whose client it is.
    pub fn public_key(&self) -> PublicKey {
        self.inner.identity.public_key()
    }

    /// Takes or renews a username for this identity, for 365 days.
    ///
    /// # Errors
    /// `UsernameTaken` if it is another key's; otherwise as the directory says. Cancel-safe, but the
    /// claim may have been made.
    pub async fn claim_username(&self, username: Username) -> Result<Claim, SignalingError> {
        match self.inner.caller.ask(Request::Claim { username }).await? {
            Response::Claimed(claim) => Ok(claim),
            other => Err(crate::signaling::caller::nonsense(&other)),
        }
    }

    /// The public services of a user.
    ///
    /// # Errors
    /// As the directory says; an unknown user has none. Cancel-safe.
    pub async fn services(&self, username: Username) -> Result<Vec<ServiceRecord>, SignalingError> {
        match self.inner.caller.ask(Request::List { username }).await? {
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
        let saved = inner.saved(Role::Acceptor, &target)?;
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
        let keeper = inner.store.clone().map(|store| Keeper { store, target });
        let mut acceptor =
            Acceptor::new(inner.identity.clone(), config.connection, shared.clone(), accepted, keeper);
        let resumed = inner.resumed.clone();
        let taken: Vec<_> = saved.iter().map(|session| session.id).collect();
        acceptor.resume(saved);
        let (stop, stopped) = oneshot::channel();
        let changes = inner.network.changes.subscribe();
        let task =
            ServiceTask { host, acceptor, arrivals, notices, shared: shared.clone(), stopping, changes };
        inner.tasks.add(runtime::spawn(async move {
            task.run(stopped).await;
            let mut resumed = resumed.lock().expect("no panic while locked");
            taken.iter().for_each(|id| _ = resumed.remove(id));
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
        let (mut session, failure) = inner.session(&target, config, seed);
        session.set_incarnation(runtime::random());
        let id = session.id();
        let (connection, task) = DurableConnection::dial(session, Arc::new(dialer), inner.store.clone());
        if let Some(error) = failure {
            connection.shared().abort(CloseReason::Store(error));
        }
        if *inner.stopping.borrow() {
            connection.shared().abort(CloseReason::Shutdown);
        }
        inner.watch_network();
        let mut stopping = inner.stopping.subscribe();
        let mut changes = inner.network.changes.subscribe();
        let shared = connection.shared().clone();
        let resumed = inner.resumed.clone();
        inner.tasks.add(runtime::spawn(async move {
            let mut driver = std::pin::pin!(task.ended());
            loop {
                tokio::select! {
                    () = &mut driver => break,
                    () = async { _ = stopping.wait_for(|stopping| *stopping).await } => {
                        shared.leave();
                        driver.await;
                        break;
                    }
                    change = next_change(&mut changes) => shared.network_changed(change),
                }
            }
            resumed.lock().expect("no panic while locked").remove(&id);
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
    /// task, socket and negotiation is gone when it returns. Takes a few seconds at most while
    /// peers or the directory do not answer.
    pub async fn shutdown(self) {
        self.inner.stopping.send_replace(true);
        self.inner.tasks.ended().await;
        self.inner.subscription.shutdown().await;
        self.inner.transport.shutdown().await;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stopping.send_replace(true);
    }
}

impl Inner {
    /// Watches the network of this machine, unless that was begun already or nothing runs over it.
    fn watch_network(&self) {
        if !self.transport.is_networked() || self.watching.swap(true, Ordering::Relaxed) {
            return;
        }
        let network = self.network.clone();
        let mut stopping = self.stopping.subscribe();
        self.tasks.add(runtime::spawn(async move {
            tokio::select! {
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

    /// The saved sessions of one role and target that do not go on in this process yet; they are
    /// taken for it.
    fn saved(&self, role: Role, target: &[u8]) -> Result<Vec<SavedSession>, StoreError> {
        let Some(store) = &self.store else { return Ok(Vec::new()) };
        let records = store.load(&identity_prefix(&self.identity.public_key()))?;
        let (sessions, bad) = SavedSession::read(records);
        for (id, error) in bad {
            tracing::error!(session = %id, error = error.0, "a saved session cannot be read; it is left as it is");
        }
        let mut resumed = self.resumed.lock().expect("no panic while locked");
        let mut sessions: Vec<_> = sessions
            .into_iter()
            .filter(|session| session.role() == role && session.target()[..] == *target)
            .filter(|session| !resumed.contains(&session.id))
            .collect();
        sessions.sort_by_key(SavedSession::at);
        if role == Role::Dialer {
            // One connection takes one; the oldest has waited longest.
            sessions.truncate(1);
        }
        resumed.extend(sessions.iter().map(|session| session.id));
        Ok(sessions)
    }

    /// The saved session of a target, or a new one; and why it cannot be saved.
    fn session(
        &self,
        target: &ServiceTarget,
        config: ConnectionConfig,
        seed: u64,
    ) -> (Session, Option<StoreError>) {
        let now = runtime::now();
        let new = |config| Session::dialer(self.identity.clone(), config, now, seed);
        if self.store.is_none() {
            return (new(config), None);
        }
        let target = bytes::Bytes::from(serde_json::to_vec(target).unwrap_or_default());
        let saved = match self.saved(Role::Dialer, &target) {
            Ok(mut saved) => saved.pop(),
            Err(error) => return (new(config), Some(error)),
        };
        let clock = runtime::wall_clock();
        if let Some(saved) = saved {
            let id = saved.id;
            match Session::restore(self.identity.clone(), config.clone(), saved, clock, now, seed) {
                Ok(session) => return (session, None),
                Err(error) => {
                    tracing::error!(session = %id, error = error.0, "a saved session cannot be read; it is left as it is");
                    let problem = format!("session {id}: {}", error.0);
                    let error = StoreError::Corrupt { path: "the store".into(), problem };
                    return (new(config), Some(error));
                }
            }
        }
        let mut session = new(config);
        session.keep(target, clock);
        (session, None)
    }

    fn host_config(&self, config: &ServiceConfig) -> HostConfig {
        HostConfig {
            username: config.user.clone(),
            service: config.service.clone(),
            public: config.public,
            metadata: config.metadata.clone(),
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

fn check(config: &ServiceConfig) -> Result<(), ServiceError> {
    if !(0.0..1.0).contains(&config.refresh_margin) {
        return Err(ServiceError::BadConfig("refresh_margin must be at least 0 and less than 1"));
    }
    if config.ttl < Duration::from_secs(1) {
        return Err(ServiceError::BadConfig("ttl must be at least a second"));
    }
    if config.token.is_some() && config.public {
        return Err(ServiceError::BadConfig("a public service is listed for everybody and has no token"));
    }
    Ok(())
}

/// The first publication, or why it fails for good; `last` keeps the latest trouble on the way.
async fn first_publication(
    notices: &mut mpsc::Receiver<Notice>,
    last: &mut Option<DialError>,
) -> Result<(ServiceUuid, u64), ServiceError> {
    while let Some(notice) = notices.recv().await {
        match notice {
            Notice::Published { uuid, expires_at } => return Ok((uuid, expires_at)),
            Notice::GaveUp(error) => return Err(error.into()),
            Notice::Error { error, .. } => *last = Some(error),
            Notice::Refreshed { .. } | Notice::TookOver => {}
        }
    }
    Err(ServiceError::Shutdown)
}

fn into_service_error(error: DialError) -> ServiceError {
    match error {
        DialError::Signaling(error) => error.into(),
        DialError::Link(error) => error.into(),
        other => SignalingError::Unreachable(other.to_string()).into(),
    }
}

/// The task of one service: passes links from the host to the sessions, and news to the user.
struct ServiceTask {
    host: Host,
    acceptor: Acceptor,
    arrivals: mpsc::Receiver<crate::signaling::host::Arrival>,
    notices: mpsc::Receiver<Notice>,
    shared: Arc<ServiceShared>,
    stopping: watch::Receiver<bool>,
    changes: watch::Receiver<(u64, NetworkChange)>,
}

impl ServiceTask {
    async fn run(mut self, mut stopped: oneshot::Receiver<StopReport>) {
        let mut stopping = self.stopping.clone();
        // Only who says `stop` means it for good: dropped or shut down, kept sessions go on later.
        let mut for_good = false;
        let report = loop {
            tokio::select! {
                report = &mut stopped => {
                    for_good = report.is_ok();
                    break report.ok();
                }
                _ = stopping.wait_for(|stopping| *stopping) => break None,
                Some(arrival) = self.arrivals.recv() => {
                    let (link, peer) = (arrival.link, arrival.peer);
                    self.acceptor.handle_incoming(Incoming { link, peer });
                }
                Some(notice) = self.notices.recv() => {
                    if self.handle_notice(notice) {
                        break None;
                    }
                }
                change = next_change(&mut self.changes) => {
                    self.host.network_changed();
                    self.acceptor.handle_network_change(change);
                }
                () = self.acceptor.step() => {}
            }
        };
        let (withdrawn, ()) = futures_util::join!(self.host.stop(), self.acceptor.shutdown(for_good));
        self.shared.events.close(ServiceEvent::Closed);
        if let Some(report) = report {
            let _ = report.send(withdrawn.map_err(ServiceError::from));
        }
    }

    /// Returns whether the service is over.
    fn handle_notice(&mut self, notice: Notice) -> bool {
        let mut over = false;
        if let Notice::GaveUp(error) = &notice {
            let error = match error.code() {
                Some(ErrorCode::Displaced) => ServiceError::Displaced,
                _ => error.clone().into(),
            };
            *self.shared.ended.lock().expect("no panic while locked") = Some(error);
        }
        let event = match notice {
            Notice::Published { uuid, expires_at } => {
                self.expires(expires_at);
                ServiceEvent::Published { uuid, expires_at }
            }
            Notice::Refreshed { expires_at } => {
                self.expires(expires_at);
                ServiceEvent::TtlRefreshed { expires_at }
            }
            Notice::TookOver => {
                // After a crash this is how every restart looks.
                tracing::info!(
                    "the service was taken over from another running host with the same identity, or an earlier run"
                );
                ServiceEvent::TookOver
            }
            Notice::GaveUp(error) if error.code() == Some(ErrorCode::Displaced) => {
                tracing::error!("another host with the same identity took the service over; this one ends");
                over = true;
                ServiceEvent::Displaced
            }
            Notice::Error { context, error } => {
                // One peer that did not get through is everyday life; the rest concerns them all.
                if context == HostContext::Negotiation {
                    tracing::info!(%error, "a peer on its way got no link");
                } else {
                    tracing::warn!(context = context.as_str(), %error, "a service had trouble");
                }
                ServiceEvent::Error { context: context.as_str(), message: error.to_string() }
            }
            Notice::GaveUp(error) => {
                tracing::error!(%error, "a service cannot go on");
                over = true;
                ServiceEvent::Error { context: "publish", message: error.to_string() }
            }
        };
        self.shared.events.publish(event);
        over
    }

    fn expires(&self, at: u64) {
        self.shared.info.lock().expect("no panic while locked").expires_at = at;
    }
}
