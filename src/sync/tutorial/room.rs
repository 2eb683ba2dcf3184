//! The handle of a room's host.

mod attend;
mod driver;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;

use super::content::TutorialContent;
use super::control::{ConflictStrategy, Lease, Member, Presence, Role};
use super::core::{ConnId, RoomMachine, RoomRecord, RoomSettings};
use super::error::{RoomClosed, RoomError};
use super::events::{RoomEvent, RoomsEvent};
use super::link::TutorialLink;
use super::pipe::Mailbox;
use super::sync::{JoinConfig, LocalWay, TutorialState, TutorialSync};
use crate::client::Client;
use crate::config::{ConnectionConfig, ServiceConfig};
use crate::durable::{ChannelSender, DurableService, EventSource, Events};
use crate::identity::PublicKey;
use crate::runtime::sync::{Notify, watch};
use crate::runtime::{self, Task};
use crate::signaling::{Metadata, ServiceFqn, ServiceUuid, Username};
use crate::store::{Store, StoreError};

/// How a room is.
#[derive(Clone)]
#[non_exhaustive]
pub struct RoomConfig {
    /// The service that the room is. Default: one whose name holds 128 random bits. Give the same again, with a client
    /// of the same identity and [`store`](crate::ClientBuilder::store), and the room goes on after a restart: who leads, the newest state,
    /// the members' sessions.
    pub service: Option<ServiceFqn>,
    /// Facts about the room, at most 4 KiB of JSON; listed with it if it is public.
    pub metadata: Metadata,
    /// Whether the directory lists it. Default: false, so that only who has the link finds it.
    pub public: bool,
    /// How many members it takes, the host's own membership included. Default: 2. Each costs a connection.
    pub max_members: usize,
    /// How long after the last thing that anybody did it is closed. A leader who is there counts as doing. Default: 30 min.
    pub expires_after: Duration,
    /// Who gets control when two want it.
    pub conflicts: ConflictStrategy,
    /// How long a leader may be gone and keep control: 1 s at least. Default: 30 s. Longer keeps a class waiting for one that is not
    /// coming back, shorter takes control from one on a train; a leader that is gone for good is replaced after one to one and a half of it.
    pub lease: Duration,
    /// The largest state, in bytes of JSON. Default: 1 MiB; at most 8 MiB. Each member costs the host up to twice as much.
    pub max_state: usize,
    /// Who may revoke control, beside the host.
    pub moderators: Vec<PublicKey>,
    /// What members can ask about the tutorial itself. Default: nothing.
    pub content: Option<Arc<dyn TutorialContent>>,
    /// How the members' connections are.
    pub connection: ConnectionConfig,
}

impl Default for RoomConfig {
    fn default() -> Self {
        Self {
            service: None,
            metadata: Metadata::new(),
            public: false,
            max_members: 2,
            expires_after: Duration::from_secs(30 * 60),
            conflicts: ConflictStrategy::default(),
            lease: Duration::from_secs(30),
            max_state: 1 << 20,
            moderators: Vec::new(),
            content: None,
            connection: ConnectionConfig::default(),
        }
    }
}

impl fmt::Debug for RoomConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RoomConfig");
        shown
            .field("service", &self.service)
            .field("public", &self.public)
            .field("max_members", &self.max_members);
        shown.field("expires_after", &self.expires_after).field("conflicts", &self.conflicts);
        shown.field("lease", &self.lease).field("max_state", &self.max_state).finish_non_exhaustive()
    }
}

/// What a room is known by, and how it stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RoomInfo {
    /// Its service's uuid: what members join by.
    pub id: ServiceUuid,
    /// When it was opened, in milliseconds since 1970.
    pub created_at: u64,
    /// When it closes if nobody does anything, in milliseconds since 1970.
    pub expires_at: u64,
    /// When somebody last did something, in milliseconds since 1970.
    pub last_activity: u64,
    /// How many members it has.
    pub members: usize,
    /// Who leads.
    pub active: Option<PublicKey>,
    /// How often control has changed hands.
    pub epoch: u64,
    /// How many states were shown.
    pub states: u64,
    /// Facts about it.
    pub metadata: Metadata,
    /// Why it is closed, if it is.
    pub closed: Option<RoomClosed>,
}

/// A room where a tutorial is shown, and its host's handle.
///
/// It is a service of the host's client: members join with [`TutorialSync::connect`] by its id, which nobody can guess. The
/// host can be a member itself: [`sync`](Self::sync).
///
/// Cheap to clone. Dropping the last handle closes the room, unless the host's client has a store: then it is left, to go on when it
/// is opened again ([`RoomConfig::service`]).
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use everlink::signaling::MemorySignaling;
/// use everlink::tutorial::{JoinConfig, RoomConfig, TutorialRoom, TutorialSync, TutorialSyncState};
/// use everlink::{Client, Identity};
///
/// let signaling = MemorySignaling::new();
/// # let transport = everlink::link::memory::MemoryNetwork::new(1).transport();
/// # let host = Client::builder(Identity::generate()).signaling(signaling.clone()).transport(transport.clone()).build();
/// # let guest = Client::builder(Identity::generate()).signaling(signaling).transport(transport).build();
/// # /*
/// let host = Client::new(Identity::generate(), signaling.clone());
/// let guest = Client::new(Identity::generate(), signaling);
/// # */
/// let room = TutorialRoom::open(&host, "alice".parse()?, RoomConfig::default()).await?;
/// let leader: TutorialSync = room.sync(JoinConfig::default()).await?;
/// let follower: TutorialSync = TutorialSync::connect(&guest, room.id(), JoinConfig::default()).await?;
/// leader.lead().await?;
/// leader.send_state(TutorialSyncState { tutorial_title: "Pulling the plug".into(), ..Default::default() })?;
/// let mut steps = follower.events();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TutorialRoom {
    handle: Arc<Handle>,
}

/// Closes the room, or leaves it to go on, when the last handle goes.
struct Handle {
    shared: Arc<Shared>,
    task: Mutex<Option<Task>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.shared.store.is_some() {
            self.shared.abandoned.send_replace(true);
        } else {
            self.shared.command(|machine, _| machine.close(RoomClosed::ByHost));
        }
    }
}

/// What the handles, the driver and the members' tasks share.
struct Shared {
    inner: Mutex<Inner>,
    /// There may be something to do.
    wake: Notify,
    events: EventSource<RoomEvent>,
    /// Of all rooms of the host, if it has several.
    all: Option<Arc<EventSource<RoomsEvent>>>,
    closed: watch::Sender<Option<RoomClosed>>,
    /// To be left as it is.
    abandoned: watch::Sender<bool>,
    /// Where the room's record is kept, and under what key.
    store: Option<(Arc<dyn Store>, Bytes)>,
    content: Option<Arc<dyn TutorialContent>>,
    id: ServiceUuid,
    me: PublicKey,
    metadata: Metadata,
    created_at: u64,
    expires_after: Duration,
}

struct Inner {
    machine: RoomMachine,
    ways: BTreeMap<ConnId, Way>,
    next_conn: ConnId,
    local: bool,
}

/// How to say something to a member.
#[derive(Clone)]
enum Way {
    Channel(ChannelSender),
    Local(Mailbox),
}

impl TutorialRoom {
    /// Opens a room in a user's name, which is claimed if it is free. Resolves when members can join.
    ///
    /// Cancel-safe: a dropped future leaves nothing behind.
    ///
    /// # Errors
    /// [`RoomError`]: a setting that makes no sense, or the service cannot be exposed.
    pub async fn open(client: &Client, user: Username, config: RoomConfig) -> Result<Self, RoomError> {
        Self::open_among(client, user, config, None).await
    }

    /// The same, for a host that hears of all its rooms by one way.
    pub(super) async fn open_among(
        client: &Client,
        user: Username,
        config: RoomConfig,
        all: Option<Arc<EventSource<RoomsEvent>>>,
    ) -> Result<Self, RoomError> {
        check(&config)?;
        let service = config.service.clone().unwrap_or_else(random_service);
        let key = Bytes::from(format!("everlink tutorial room {} {user}/{service}", client.public_key()));
        let store = client.store().map(|store| (store, key));
        let record = match &store {
            Some((store, key)) => read(&**store, key)?,
            None => None,
        };
        let mut exposed = ServiceConfig::new(user, service);
        exposed.metadata = config.metadata.clone();
        exposed.public = config.public;
        exposed.connection = config.connection.clone();
        let service = client.expose_service(exposed).await?;
        Ok(Self::over(client.public_key(), service, config, store, record, all))
    }

    fn over(
        me: PublicKey,
        service: DurableService,
        config: RoomConfig,
        store: Option<(Arc<dyn Store>, Bytes)>,
        record: Option<RoomRecord>,
        all: Option<Arc<EventSource<RoomsEvent>>>,
    ) -> Self {
        let now = runtime::wall_clock();
        let incarnation = u64::from_be_bytes(runtime::random()) >> 11;
        let settings = RoomSettings {
            max_members: config.max_members,
            expires_after: config.expires_after,
            conflicts: config.conflicts,
            lease: Lease { absence: config.lease },
            max_state: config.max_state,
            kept: store.is_some(),
            moderators: config.moderators.iter().copied().chain([me]).collect(),
            offer_ttl: Duration::from_secs(30),
            request_ttl: Duration::from_secs(30),
            pull_ttl: Duration::from_secs(5),
        };
        let machine = RoomMachine::new(settings, record, incarnation, now);
        let inner = Inner { machine, ways: BTreeMap::new(), next_conn: 1, local: false };
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            wake: Notify::new(),
            events: EventSource::new(),
            all,
            closed: watch::Sender::new(None),
            abandoned: watch::Sender::new(false),
            store,
            content: config.content,
            id: service.info().uuid,
            me,
            metadata: config.metadata,
            created_at: now.millis,
            expires_after: config.expires_after,
        });
        let task = runtime::spawn(driver::drive(shared.clone(), service));
        Self { handle: Arc::new(Handle { shared, task: Mutex::new(Some(task)) }) }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// What members join by.
    pub fn id(&self) -> ServiceUuid {
        self.shared().id
    }

    /// A link to share, by this signaling server (`http(s)://host[:port]`).
    pub fn link(&self, server: &str) -> TutorialLink {
        TutorialLink { server: Some(server.trim_end_matches('/').into()), room: self.id() }
    }

    /// How the room stands.
    pub fn info(&self) -> RoomInfo {
        self.shared().info()
    }

    /// Who is in it, in the order of joining.
    pub fn members(&self) -> Vec<Member> {
        self.shared().lock().machine.members()
    }

    /// The host's own membership: it leads and follows as any other, and may revoke control. It takes one of the room's places.
    ///
    /// # Errors
    /// [`RoomError::AlreadyJoined`] if there is one; [`RoomError::Closed`].
    pub async fn sync<S: TutorialState>(&self, config: JoinConfig) -> Result<TutorialSync<S>, RoomError> {
        let shared = self.shared();
        let mailbox = Mailbox::default();
        let conn = {
            let mut inner = shared.lock();
            if let Some(why) = *shared.closed.borrow() {
                return Err(RoomError::Closed(why));
            }
            if std::mem::replace(&mut inner.local, true) {
                return Err(RoomError::AlreadyJoined);
            }
            let conn = inner.next_conn;
            inner.next_conn += 1;
            inner.ways.insert(conn, Way::Local(mailbox.clone()));
            inner.machine.handle_connected(conn, shared.me);
            conn
        };
        shared.wake.notify_one();
        let way = Box::new(Inside { shared: shared.clone(), conn });
        let sync = TutorialSync::local(shared.me, &config, way, mailbox);
        sync.joined(config.timeout).await.map_err(|error| RoomError::Join(Box::new(error)))?;
        Ok(sync)
    }

    /// Gives a member another role. [`Role::Leader`] and [`Role::Follower`] both make it one that may lead; who does is control's matter.
    /// A leader that becomes an observer loses control.
    pub fn set_role(&self, member: PublicKey, role: Role) {
        self.shared().command(|machine, now| machine.set_role(member, role, now));
    }

    /// Removes a member. One that leads has to stop first, or its lease to end. It can join again: the id is what it needs.
    pub fn remove(&self, member: PublicKey) {
        self.shared().command(|machine, now| machine.remove(member, now));
    }

    /// What happens in the room.
    pub fn events(&self) -> Events<RoomEvent> {
        self.shared().events.subscribe()
    }

    /// Closes the room: all members are told, and the service is withdrawn. What a store keeps of it is removed. Resolves when that is done,
    /// after some seconds at most.
    pub async fn close(&self) {
        self.shared().command(|machine, _| machine.close(RoomClosed::ByHost));
        let task = self.handle.task.lock().expect("no panic while locked").take();
        if let Some(task) = task {
            task.ended().await;
        }
        self.closed().await;
    }

    /// Waits until the room is closed, and says why. Cancel-safe.
    pub async fn closed(&self) -> RoomClosed {
        let mut closed = self.shared().closed.subscribe();
        let closed = closed.wait_for(Option::is_some).await;
        // The sender is in `self`.
        closed.ok().and_then(|closed| *closed).unwrap_or(RoomClosed::HostGone)
    }
}

impl fmt::Debug for TutorialRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TutorialRoom({}, {} members)", self.id(), self.members().len())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("the machine panicked")
    }

    /// Does something to the machine, and lets the driver do what follows from it.
    fn command<T>(&self, does: impl FnOnce(&mut RoomMachine, crate::durable::WallClock) -> T) -> T {
        // By a clock that may stand still in sleep, but never runs ahead: the lease of a leader must not end here before
        // it does there. A leader's clock is the other way round (`clock.rs`).
        let now = runtime::wall_clock();
        let done = does(&mut self.lock().machine, now);
        self.wake.notify_one();
        done
    }

    fn tell(&self, event: RoomEvent) {
        if let Some(all) = &self.all {
            all.publish(RoomsEvent::Room { room: self.id, event: event.clone() });
        }
        match event {
            RoomEvent::Closed(_) => self.events.close(event),
            event => self.events.publish(event),
        }
    }

    fn info(&self) -> RoomInfo {
        let closed = *self.closed.borrow();
        let inner = self.lock();
        let machine = &inner.machine;
        let last_activity = machine.last_act().millis;
        let expires_after = u64::try_from(self.expires_after.as_millis()).unwrap_or(u64::MAX);
        RoomInfo {
            id: self.id,
            created_at: self.created_at,
            expires_at: last_activity.saturating_add(expires_after),
            last_activity,
            members: machine.members().len(),
            active: machine.holder(),
            epoch: machine.epoch(),
            states: machine.rev(),
            metadata: self.metadata.clone(),
            closed,
        }
    }

    fn presence(&self, conn: ConnId, presence: Presence) {
        self.command(|machine, _| machine.handle_presence(conn, presence));
    }
}

/// The host's way into its own room.
struct Inside {
    shared: Arc<Shared>,
    conn: ConnId,
}

impl LocalWay for Inside {
    fn say(&self, text: &str) {
        self.shared.command(|machine, now| machine.handle_frame(self.conn, text, now));
    }
}

fn check(config: &RoomConfig) -> Result<(), RoomError> {
    let wrong = if config.max_members == 0 {
        "a room takes at least 1 member: raise max_members"
    } else if config.max_members > 10_000 {
        "a room takes at most 10,000 members: lower max_members"
    } else if config.lease < Duration::from_secs(1) || config.lease > Duration::from_secs(24 * 3600) {
        "a lease is 1 s to 24 h"
    } else if config.max_state > 8 << 20 {
        "a state is at most 8 MiB: lower max_state"
    } else if config.expires_after < Duration::from_secs(1) {
        "a room lasts at least 1 s: raise expires_after"
    } else {
        return Ok(());
    };
    Err(RoomError::BadConfig(wrong))
}

/// A name that nobody can guess: 128 random bits.
fn random_service() -> ServiceFqn {
    let id: String = runtime::random::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
    ServiceFqn::new(format!("tutorial-{id}"), "1.0.0").expect("letters, digits and a hyphen make a name")
}

fn read(store: &dyn Store, key: &Bytes) -> Result<Option<RoomRecord>, StoreError> {
    let records = store.load(key)?;
    let Some((_, bytes)) = records.into_iter().find(|(found, _)| found == key) else { return Ok(None) };
    let corrupt = |problem| StoreError::Corrupt { path: "the record of a tutorial's room".into(), problem };
    RoomRecord::decode(&bytes).map(Some).map_err(corrupt)
}
