//! Every knob: its default, what it trades, and where it is dangerous.

use std::time::Duration;

use crate::identity::PublicKey;
use crate::link::LossyConfig;
use crate::signaling::{Metadata, ServiceFqn, Username};

/// How a [`DurableConnection`](crate::DurableConnection) behaves. `Default` suits interactive
/// applications on the open internet.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConnectionConfig {
    /// When to try again after a link was lost or could not be made.
    pub backoff: Backoff,
    /// How long one attempt may take, from the question to the signaling server to the open link.
    /// Default 30 s. Lower gives up on slow networks; a hung attempt never delays the next one,
    /// so there is little reason to lower it.
    pub connect_timeout: Duration,
    /// How a dead path is noticed.
    pub liveness: Liveness,
    /// What waits while there is no link, and what happens when it is full.
    pub queue: QueueConfig,
    /// What to do when the host has forgotten the session (it restarted without a persistent
    /// store, or the peer was away for longer than `park_for`). Default [`SessionLost::Fail`].
    pub on_session_lost: SessionLost,
    /// What to do when the store fails, with [`ClientBuilder::store`](crate::ClientBuilder::store).
    /// Default [`StoreFailure::Stop`].
    pub on_store_failure: StoreFailure,
    /// Host side: how long the session of a peer that is away is kept. Default 5 minutes.
    /// Longer survives longer sleeps and costs memory for each peer that never returns.
    pub park_for: Duration,
    /// How long [`close`](crate::DurableConnection::close) may take to hand over what is queued
    /// and to tell the peer. Default 5 s.
    pub close_timeout: Duration,
    /// The largest message taken and sent, in bytes. Default 16 MiB. A receiver must hold a
    /// message whole, so raise it only for peers you trust with that much of your memory.
    pub max_message: usize,
    /// The most channels that the peer may have open. Default 256.
    pub max_channels: usize,
    /// The only key to accept at the other end. Default `None`: a uuid commits to its owner's key
    /// by itself, while *for a name the signaling server's word is taken the first time*; set this
    /// if you know the key and do not trust the server.
    pub expect_peer: Option<PublicKey>,
    /// The access token of a private service that asks for one when it is found by name.
    pub token: Option<String>,
    /// The version of the protocol. Another one is for tests: see `testkit::speak`.
    pub(crate) version: u16,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            connect_timeout: Duration::from_secs(30),
            liveness: Liveness::default(),
            queue: QueueConfig::default(),
            on_session_lost: SessionLost::Fail,
            on_store_failure: StoreFailure::Stop,
            park_for: Duration::from_secs(300),
            close_timeout: Duration::from_secs(5),
            max_message: 16 << 20,
            max_channels: 256,
            expect_peer: None,
            token: None,
            version: crate::durable::core::VERSION,
        }
    }
}

/// When to try again: the first attempt at once, then after `min(base · 2ⁿ, max)`, shortened by a
/// random part of up to `jitter`, so that a crowd of peers does not return in step.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Backoff {
    /// The wait after the first failure. Default 1 s.
    pub base: Duration,
    /// The longest wait. Default 30 s; jitter stays inside it.
    pub max: Duration,
    /// The random part of each wait, 0 to 1. Default 0.2. 0 invites herds.
    pub jitter: f64,
    /// Attempts in a row without a working link before the connection is given up; default 10,
    /// about three minutes of waiting. `None` never gives up.
    pub max_attempts: Option<u32>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            max: Duration::from_secs(30),
            jitter: 0.2,
            max_attempts: Some(10),
        }
    }
}

/// How a dead path is noticed: by probes that stay unanswered, and, where the link
/// [can tell](crate::link::Link::heard), by checks beneath it. Never by what the stack says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Liveness {
    /// A probe this often while nothing else is under way. Default 20 s.
    pub idle_probe: Duration,
    /// A probe this often while something sent is unacknowledged. Default 250 ms.
    pub busy_probe: Duration,
    /// Without any acknowledgement for this long the path is taken for dead and a new link is
    /// dialed beside the old one. Default 1.2 s. Lower reacts faster and dials needlessly on
    /// paths whose round trip comes near it. Links that can tell (those over WebRTC can) are
    /// dead only if their path did not answer for as long either: on lossy ones a retransmission alone
    /// takes a second. Nothing acknowledged for 35 s is dead all the same.
    pub suspect_after: Duration,
}

impl Default for Liveness {
    fn default() -> Self {
        Self {
            idle_probe: Duration::from_secs(20),
            busy_probe: Duration::from_millis(250),
            suspect_after: Duration::from_millis(1200),
        }
    }
}

/// What may wait in a channel while there is no link. While connected, `send` waits for room and
/// nothing is ever dropped.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct QueueConfig {
    /// The most messages that wait. Default 1000.
    pub max_messages: usize,
    /// The most bytes that wait. Default 16 MiB. A single larger message is taken by an empty queue.
    pub max_bytes: usize,
    /// A message that waits for longer while disconnected is dropped and reported. Default 60 s;
    /// `None` keeps it for as long as the connection lives.
    pub max_age: Option<Duration>,
    /// What happens at the bound. Default [`WhenFull::DropOldest`].
    ///
    /// For a channel that never drops: `max_age: None` with `WhenFull::Wait`.
    pub when_full: WhenFull,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            max_messages: 1000,
            max_bytes: 16 << 20,
            max_age: Some(Duration::from_secs(60)),
            when_full: WhenFull::DropOldest,
        }
    }
}

impl QueueConfig {
    /// A queue that never drops a message: no age limit, and `send` waits when it is full.
    pub fn lossless() -> Self {
        Self { max_age: None, when_full: WhenFull::Wait, ..Self::default() }
    }
}

/// What `send` does when the queue is full and there is no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Waits for room.
    Wait,
    /// Drops the oldest waiting message, reports it on both sides, and takes the new one.
    DropOldest,
    /// Refuses the new one.
    Reject,
}

/// What to do when the host has forgotten the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionLost {
    /// The connection closes with
    /// [`CloseReason::SessionLost`](crate::CloseReason::SessionLost), saying how many messages
    /// were not acknowledged.
    Fail,
    /// A new session begins with the same channels. Messages that were on their way are reported
    /// as lost, since they may or may not have arrived; those never sent go out.
    StartFresh,
}

/// What to do when the store takes nothing more: its disk is full, say, or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFailure {
    /// Accept no message, and acknowledge none of the peer's, until the store works again; it is
    /// tried every second. Nothing that was promised is broken.
    Stop,
    /// Go on without a store, as if there had never been one. A restart then finds the session as
    /// it was before, and the peer refuses to go on with that: it ends as lost.
    GoOnInMemory,
}

/// How one channel behaves.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ChannelConfig {
    /// What waits while there is no link; `None` takes the connection's.
    pub queue: Option<QueueConfig>,
    /// `Some` makes it a *lossy* channel: a data channel of its own, bound anew on every link,
    /// without queue, replay or acknowledgement. Messages sent while there is no link are gone.
    pub lossy: Option<LossyConfig>,
    /// What this side sends first when more waits than a packet takes. Default
    /// [`Priority::Normal`]. Each side chooses for what it sends itself; the peer is not told.
    /// Without meaning for a lossy channel.
    pub priority: Priority,
}

/// Which channels go first when more waits than a packet takes.
///
/// Strict between the lanes: nothing of a lower one goes out while a higher one has something that the
/// peer's window lets go. *That starves the lower ones for as long as the higher ones keep the link
/// busy*, so the higher ones are for what is small and rare. Within a lane channels take turns,
/// packet by packet. A large message yields as well: what goes before it goes in the next packet,
/// not after its last piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Priority {
    /// Before all else: small messages on which the rest depends.
    Control,
    /// The default.
    #[default]
    Normal,
    /// When nothing else waits: files, backlogs.
    Bulk,
}

impl Priority {
    pub(crate) const LANES: usize = 3;

    pub(crate) fn lane(self) -> usize {
        self as usize
    }
}

impl ChannelConfig {
    /// A durable channel with its own queue.
    pub fn queue(queue: QueueConfig) -> Self {
        Self { queue: Some(queue), ..Self::default() }
    }

    /// A lossy channel: late messages arrive out of order if `ordered` is false, and a lost one is
    /// sent again at most `max_retransmits` times.
    pub fn lossy(ordered: bool, max_retransmits: u16) -> Self {
        Self { lossy: Some(LossyConfig { ordered, max_retransmits }), ..Self::default() }
    }

    /// A durable channel of this priority, with the connection's queue.
    pub fn priority(priority: Priority) -> Self {
        Self { priority, ..Self::default() }
    }
}

/// What to expose and how.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ServiceConfig {
    /// The owner's name; claimed if it is free.
    pub user: Username,
    /// The service's name and version.
    pub service: ServiceFqn,
    /// Whether it is listed. Default false: found by uuid or exact name only.
    pub public: bool,
    /// Whoever looks a private service up by name must know this. Default `None`.
    pub token: Option<String>,
    /// Facts listed with a public service, at most 4 KiB of JSON.
    pub metadata: Metadata,
    /// How long the directory keeps the service without hearing of us. Default 5 minutes. The
    /// server may shorten it; what it grants is what counts.
    pub ttl: Duration,
    /// The part of the granted time that is left when it is refreshed. Default 0.2: refresh at 80 %.
    pub refresh_margin: f64,
    /// Offers kept ready at the server. Default 1, which serves any number of joiners; more saves
    /// each of a crowd of simultaneous joiners some milliseconds, and costs a socket each.
    pub pool_size: usize,
    /// How often to ask the server where push is not to be had. Default 2 s.
    pub poll_interval: Duration,
    /// How the connections of this service behave.
    pub connection: ConnectionConfig,
}

impl ServiceConfig {
    /// The defaults for a private service.
    pub fn new(user: Username, service: ServiceFqn) -> Self {
        Self {
            user,
            service,
            public: false,
            token: None,
            metadata: Metadata::new(),
            ttl: Duration::from_secs(300),
            refresh_margin: 0.2,
            pool_size: 1,
            poll_interval: Duration::from_secs(2),
            connection: ConnectionConfig::default(),
        }
    }
}
