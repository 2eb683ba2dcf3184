//! One enum per operation, around one [`CloseReason`] that says why a connection ended.

use crate::message::Message;
use crate::signaling::SignalingError;

/// Why a connection is closed, for good.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it.
    #[error("closed by this side")]
    Local,
    /// The peer closed it.
    #[error("closed by the peer")]
    Peer,
    /// The attempts of the backoff are spent.
    #[error("the peer could not be reached in {attempts} attempts; the last one failed because {last}")]
    Unreachable {
        /// How many were made.
        attempts: u32,
        /// Why the last one failed.
        last: DialError,
    },
    /// The connection can never be made, so no further attempt is worth it.
    #[error("the connection cannot be made: {0}")]
    Refused(DialError),
    /// The host no longer knows the session.
    #[error("the host no longer knows this session; {unacked} messages were not acknowledged")]
    SessionLost {
        /// Messages sent whose arrival is unknown.
        unacked: u64,
    },
    /// Another process took the session over: it runs with the same identity and a copy of the same
    /// store, and connected later. This one stays away.
    #[error(
        "another process with the same identity and a copy of the same store took the session over; run only one of them"
    )]
    Displaced,
    /// Host side: the peer did not come back in time.
    #[error("the peer did not come back within {}", shown(*.0))]
    Expired(std::time::Duration),
    /// The saved session cannot be read; or it was left ([`detach`](crate::DurableConnection::detach))
    /// and could not be saved.
    #[error("the session cannot be read or saved: {0}")]
    Store(crate::store::StoreError),
    /// This side left without closing: with a store the session goes on when it is resumed.
    #[error("left by this side, to be resumed later")]
    Detached,
    /// The client was shut down, or the last handle of the connection was dropped.
    #[error("the client was shut down")]
    Shutdown,
}

/// Why one attempt to reach the peer failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// The signaling server refused or could not be reached.
    #[error(transparent)]
    Signaling(#[from] SignalingError),
    /// No link came about, or it ended before the session was resumed.
    #[error("no link to the peer: {0}")]
    Link(#[from] crate::link::LinkError),
    /// The attempt took longer than [`ConnectionConfig::connect_timeout`](crate::ConnectionConfig::connect_timeout).
    #[error("no link came about in time")]
    TimedOut,
    /// Somebody answered who is not the owner of the service. The signaling server, or somebody
    /// between, put another description or another name in place of the real one.
    #[error("impersonation found out: {0}; do not trust this signaling server")]
    Impersonation(String),
    /// The two sides speak different versions of the protocol.
    #[error("the peer speaks protocol versions {theirs}, this side {ours}: update the older side")]
    Version {
        /// Ours.
        ours: u16,
        /// What the peer says of its own.
        theirs: String,
    },
    /// The host has reached its limit of sessions.
    #[error("the host has too many sessions; try again later")]
    HostFull,
    /// The peer broke the protocol while the session was made or resumed.
    #[error("the peer broke the protocol: {0}")]
    Misbehaviour(#[from] Misbehaviour),
    /// Nothing to dial: this is a host, which waits for its peer.
    #[error("the peer has to come back by itself")]
    Waiting,
}

/// What a peer did that the protocol forbids. Its link is closed; nothing else is touched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// A frame of an unknown type.
    #[error("unknown frame type {0:#04x}")]
    UnknownFrame(u8),
    /// A packet that ends within a frame.
    #[error("a truncated frame")]
    Truncated,
    /// A number larger than it can be.
    #[error("a number out of range")]
    OutOfRange,
    /// Text that is not UTF-8.
    #[error("text that is not UTF-8")]
    BadText,
    /// A label that is empty or longer than 255 bytes.
    #[error("a channel label of {0} bytes (1 to 255 are allowed)")]
    BadLabel(usize),
    /// A message larger than this side takes.
    #[error("a message of {0} bytes, more than this side takes")]
    TooLarge(u64),
    /// A message that is not the next one.
    #[error("message {got} where {expected} was due")]
    OutOfOrder {
        /// The one due.
        expected: u64,
        /// The one that came.
        got: u64,
    },
    /// A fragment that does not continue its message.
    #[error("a fragment that does not continue its message")]
    BadFragment,
    /// A channel that was never opened.
    #[error("data for channel {0}, which was never opened")]
    UnknownChannel(u32),
    /// A second channel under the label of an open one.
    #[error("a second channel with the label of an open one")]
    DuplicateLabel,
    /// More channels than allowed.
    #[error("more than {0} channels")]
    TooManyChannels(usize),
    /// Acknowledgement of something never sent.
    #[error("acknowledgement of message {0}, which was never sent")]
    AckOfUnsent(u64),
    /// A peer that has forgotten what it said before: its store was put back to an older state.
    #[error(
        "the peer acknowledged message {told} before and knows of {now} now: its store is older than that"
    )]
    Rewound {
        /// What it had acknowledged.
        told: u64,
        /// What it says now.
        now: u64,
    },
    /// More data than this side gave credit for.
    #[error("more data than this side gave credit for")]
    CreditExceeded,
    /// Something else than a handshake first, or a handshake later.
    #[error("a frame out of place in the handshake")]
    OutOfPlace,
    /// No HELLO within the time for it.
    #[error("no HELLO in time")]
    NoHello,
    /// The signature in the handshake is not the peer's over this very link.
    #[error("a handshake that is not signed by the peer for this link")]
    BadSignature,
    /// The proof of the session's secret is wrong: another peer's session, or a replay.
    #[error("a wrong proof for the session")]
    BadProof,
}

/// Why `connect` failed. Temporary causes were retried before it says so.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The directory knows no such service. Check the uuid or name; is the host running, on the
    /// same signaling server?
    #[error("no such service: check the name or uuid, and that its host is running on this signaling server")]
    ServiceNotFound,
    /// The name or version cannot be a service.
    #[error(transparent)]
    BadName(#[from] crate::signaling::NameError),
    /// The connection ended before a first link was live.
    #[error(transparent)]
    Closed(CloseReason),
}

impl From<CloseReason> for ConnectError {
    fn from(reason: CloseReason) -> Self {
        use crate::signaling::ErrorCode::ServiceNotFound;
        match &reason {
            CloseReason::Refused(DialError::Signaling(error)) if error.code() == Some(ServiceNotFound) => {
                Self::ServiceNotFound
            }
            _ => Self::Closed(reason),
        }
    }
}

/// Why a service could not be exposed or stopped.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The directory refused for good, or could not be reached in time.
    #[error(transparent)]
    Signaling(#[from] SignalingError),
    /// The saved sessions cannot be read.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// Another running host with the same identity took the service over. Run only one.
    #[error("another running host with the same identity took the service over; run only one of them")]
    Displaced,
    /// No offer could be made.
    #[error("no offer could be made: {0}")]
    Link(#[from] crate::link::LinkError),
    /// The configuration cannot work.
    #[error("bad configuration: {0}")]
    BadConfig(&'static str),
    /// The client is shut down.
    #[error("the client was shut down")]
    Shutdown,
}

/// Why a message was not, or will not be, delivered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is closed.
    #[error("the connection is closed: {0}")]
    Closed(CloseReason),
    /// The channel is closed, by this side or the peer.
    #[error("the channel is closed")]
    ChannelClosed,
    /// The message is larger than [`ConnectionConfig::max_message`](crate::ConnectionConfig::max_message) here or at the peer.
    #[error("the message has {len} bytes, more than the {max} allowed")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// Taken before the peer was known, and larger than it takes.
    #[error("the message is larger than the peer takes")]
    TooLargeForPeer,
    /// There is no link, the queue is full and [`WhenFull::Reject`](crate::WhenFull::Reject) says so.
    #[error("the queue is full while there is no link")]
    QueueFull,
    /// Dropped to make room for newer messages while there was no link.
    #[error("dropped from a full queue while there was no link")]
    Overflow,
    /// Waited for longer than [`QueueConfig::max_age`](crate::QueueConfig::max_age) without a link,
    /// or passed its own [deadline](crate::SendOptions::deadline).
    #[error("expired before it was sent")]
    Expired,
    /// A newer message of the same [key](crate::SendOptions::supersede) took its place.
    #[error("a newer message of the same key took its place")]
    Superseded,
    /// The [key](crate::SendOptions::supersede) is empty or longer than
    /// [`SendOptions::MAX_KEY`](crate::SendOptions::MAX_KEY).
    #[error("a supersede key has 1 to 64 bytes, this one {0}")]
    BadKey(usize),
    /// On its way when the host forgot the session: it may or may not have arrived.
    #[error("the session was lost while the message was on its way")]
    SessionLost,
    /// The store does not take it, and [`StoreFailure::Stop`](crate::StoreFailure::Stop) says that
    /// nothing goes on without. Sending works again when the store does.
    #[error("the message was not accepted: {0}")]
    Store(crate::store::StoreError),
    /// The store failed before it took the message; the connection goes on in memory, as
    /// [`StoreFailure::GoOnInMemory`](crate::StoreFailure::GoOnInMemory) says.
    #[error("the store failed before it took the message")]
    NotStored,
    /// Too many messages were dropped since to tell what became of this one.
    #[error("the fate of the message is no longer known")]
    Forgotten,
}

/// Why `try_send` did not take a message.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrySendError {
    /// No room now. Here is the message.
    #[error("no room in the queue")]
    Full(Message),
    /// It can never be sent, as the error says. Here is the message.
    #[error("{1}")]
    Failed(Message, SendError),
}

impl TrySendError {
    /// The message.
    pub fn into_message(self) -> Message {
        match self {
            Self::Full(message) | Self::Failed(message, _) => message,
        }
    }
}

/// Why there is no further message.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The connection is closed, and everything that arrived before was received.
    #[error("the connection is closed: {0}")]
    Closed(CloseReason),
    /// The channel was closed, and everything that arrived before was received.
    #[error("the channel is closed")]
    ChannelClosed,
}

/// Why a channel could not be opened.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// This side has a channel of that label already.
    #[error("a channel with the label `{0}` is open already")]
    AlreadyOpen(String),
    /// The label is empty or longer than 255 bytes.
    #[error("a label has 1 to 255 bytes, this one {0}")]
    BadLabel(usize),
    /// [`ConnectionConfig::max_channels`](crate::ConnectionConfig::max_channels) are open.
    #[error("{0} channels are open, which is the limit")]
    TooMany(usize),
    /// The peer opened a channel of that label as the other kind (durable or lossy).
    #[error("the peer opened `{0}` as the other kind of channel (durable or lossy)")]
    OtherKind(String),
    /// The connection is closed.
    #[error("the connection is closed: {0}")]
    Closed(CloseReason),
}

/// A time for people.
fn shown(time: std::time::Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.subsec_millis()),
        seconds => format!("{seconds} s"),
    }
}
