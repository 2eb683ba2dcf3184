//! Why something about a tutorial did not come about: one enum for each operation.

use serde::{Deserialize, Serialize};

use super::phase::Phase;
use crate::error::{ChannelError, CloseReason, ConnectError, ServiceError};
use crate::identity::PublicKey;
use crate::store::StoreError;

/// Why a member is not, or no longer, in a room.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Left {
    /// It left by itself.
    #[error("left the room")]
    ByItself,
    /// The room has as many members as it takes.
    #[error(
        "the room is full: it takes {max} members; ask its host to raise the limit or to remove somebody"
    )]
    Full {
        /// How many it takes.
        max: usize,
    },
    /// The host removed this member.
    #[error("removed from the room by its host")]
    Removed,
    /// The same identity joined again, from elsewhere.
    #[error("the same identity joined from elsewhere, for example in another tab; use only one of them")]
    Displaced,
    /// The room is closed.
    #[error(transparent)]
    Closed(RoomClosed),
    /// The room speaks another version.
    #[error(
        "the room speaks version {theirs} of the tutorial format, this side {ours}: update the older side"
    )]
    Version {
        /// This side's.
        ours: u16,
        /// The room's.
        theirs: u16,
    },
    /// This member took too little of what the room sent it.
    #[error("too slow: what the room had to say no longer fits the queue; join again for the newest state")]
    TooSlow,
    /// The connection is closed.
    #[error("the connection ended: {0}")]
    ConnectionLost(CloseReason),
    /// The other end closed the channel: it is no room, or its process ends.
    #[error("the other end does not answer as a room; is the link that of a tutorial?")]
    NoRoom,
}

/// Why a room is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RoomClosed {
    /// Its host closed or deleted it.
    #[error("the room was closed by its host")]
    ByHost,
    /// Nobody did anything in it for its time.
    #[error("the room expired: nobody did anything in it for its time")]
    Expired,
    /// Its service ended: the host's client was shut down, or another process took it over.
    #[error("the room's host went away")]
    HostGone,
}

/// Why a member could not join.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The room could not be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection has no room for the channel, or has it in use.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The room refused, or ended.
    #[error(transparent)]
    Left(#[from] Left),
    /// The room did not answer in time.
    #[error("the other end did not answer as a room within {0:?}; is the link that of a tutorial?")]
    TimedOut(std::time::Duration),
    /// A name of no or too many characters, or with control characters.
    #[error("a name has 1 to {MAX_NAME} bytes and no control characters")]
    BadName,
}

/// The longest name of a member, in bytes.
pub const MAX_NAME: usize = 64;
/// The longest reason for a request or refusal, in bytes. Longer ones are cut.
pub const MAX_REASON: usize = 500;

/// Why a room could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoomError {
    /// The service cannot be exposed.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The room's record cannot be read.
    #[error("the room of an earlier run cannot be read: {0}")]
    Store(#[from] StoreError),
    /// A setting that makes no sense.
    #[error("{0}")]
    BadConfig(&'static str),
    /// The host's own membership did not come about: the room is full.
    #[error(transparent)]
    Join(Box<JoinError>),
    /// The host is a member already.
    #[error("the host's own membership was taken before: clone that handle")]
    AlreadyJoined,
    /// The room is closed.
    #[error(transparent)]
    Closed(RoomClosed),
}

/// Why control did not change as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Not in this phase: `invalid_operation`.
    #[error("{what} is not possible while {phase}")]
    WrongPhase {
        /// What was asked.
        what: &'static str,
        /// The phase then.
        phase: Phase,
    },
    /// The room refused.
    #[error(transparent)]
    Refused(Refusal),
    /// The state is larger than the room takes.
    #[error(transparent)]
    State(#[from] StateError),
    /// No answer in time. It may still come about; [`TutorialEvent`](super::TutorialEvent)s tell.
    #[error("no answer in time; it may still come about")]
    TimedOut,
    /// The room was started anew meanwhile.
    #[error("the room was started anew before it answered; ask again")]
    Interrupted,
    /// Out of the room.
    #[error(transparent)]
    Left(Left),
}

/// Why a room refused something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// Somebody leads, and goes on by the room's strategy.
    #[error("somebody else leads, and goes on by the room's rules")]
    Held {
        /// Who.
        holder: PublicKey,
    },
    /// The leader said no.
    #[error("denied by the leader{}", because(.reason))]
    Denied {
        /// Why, in its words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The leader did not answer in time.
    #[error("the leader did not answer in time")]
    Unanswered,
    /// Another wanted to lead at the same time, and by the room's rules neither gets it.
    #[error("two wanted to lead at once, and by the room's rules neither does")]
    BothDenied,
    /// Control is changing hands at this moment.
    #[error("control is changing hands; try again in a moment")]
    Busy,
    /// Only the leader may.
    #[error("only the leader may do this")]
    NotHolder,
    /// Only a moderator may.
    #[error("only a moderator may do this")]
    NotModerator,
    /// An observer never holds control.
    #[error("an observer never holds control")]
    Observer,
    /// The offer or request is no longer open.
    #[error("the offer or request is no longer open")]
    Gone,
    /// There is nobody to give control to.
    #[error("there is nobody who could take control")]
    Nobody,
    /// The same question is open already.
    #[error("this was asked before, and is not answered yet")]
    Pending,
    /// Asked of the past: control changed hands meanwhile.
    #[error("control changed hands meanwhile")]
    Late,
}

fn because(reason: &Option<String>) -> String {
    reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"))
}

/// Why a state was not sent.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Only the leader sends states.
    #[error("only the leader sends states; this member is {phase}")]
    NotActive {
        /// What it is.
        phase: Phase,
    },
    /// Larger than the room takes.
    #[error("a state of {size} bytes; the room takes {max}: send what changed, or where to find it")]
    TooLarge {
        /// Its bytes, as JSON.
        size: usize,
        /// What the room takes.
        max: usize,
    },
    /// It cannot be made into JSON.
    #[error("the state cannot be written as JSON: {0}")]
    NotJson(String),
    /// Out of the room.
    #[error(transparent)]
    Left(Left),
}
