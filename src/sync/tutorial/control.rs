//! Who leads, who may, and how control changes hands: what is told of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::identity::PublicKey;

/// Names an offer of control, or a request for it, within its room.
pub type Ticket = u64;

/// Who gets control when two want it.
///
/// It decides about [`request_control`](super::TutorialSync::request_control) while somebody leads, and about a
/// [`lead`](super::TutorialSync::lead) that was made before its maker could know that somebody else leads by now.
/// When nobody leads, whoever asks first gets control, by any strategy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictStrategy {
    /// Who joined the room first: a request is granted if its maker was here before the leader. Of two that
    /// want to lead at once, the one whose wish arrives first.
    #[default]
    FirstComeFirstServed,
    /// Nobody. A request is denied; of two that want to lead at once, neither does.
    DenyBoth,
    /// The leader is asked, and grants or denies.
    UserChoice,
    /// The leader goes on; whoever asks is denied.
    ActiveWins,
    /// Whose wish is older, by the clocks of those who wish (but no older than their joining). For members
    /// that trust each other: a clock set back wins.
    TimestampWins,
}

/// What a member is in its room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Holds control.
    Leader,
    /// May be given control and ask for it.
    Follower,
    /// Sees everything, and never holds control.
    Observer,
    /// As a follower, and may revoke control.
    Moderator,
}

/// A member of a room, as the room tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Member {
    /// Its key: who it is, proven by its connection.
    pub id: PublicKey,
    /// How it wants to be called. Its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is in the room.
    pub role: Role,
    /// Whether it may revoke control, also while it leads.
    pub moderator: bool,
    /// Whether it is there.
    pub presence: Presence,
}

/// Whether a member is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It is.
    Here,
    /// Its connection is lost and being mended. It keeps its place.
    Healing,
}

/// Why control is where it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ControlCause {
    /// The room is new.
    #[default]
    Opened,
    /// The holder chose to lead.
    Led,
    /// Somebody chose to follow, and the holder was there to lead.
    Followed,
    /// The holder accepted an offer.
    Offered,
    /// The holder's request was granted.
    Requested,
    /// Control went back to whom it came from.
    Returned,
    /// The leader gave it up.
    Released,
    /// A moderator took it.
    Revoked,
    /// The leader was gone for longer than its lease.
    LeaseEnded,
    /// The leader left the room.
    HolderLeft,
    /// Two wanted it, and by the room's strategy neither gets it.
    Denied,
    /// The leader, or the room, came back after a restart.
    Restored,
}

/// Where a leader goes that releases control, and with it the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseTo {
    /// To `ConnectedIdle`, all of them: each may choose anew.
    #[default]
    Idle,
    /// To `Passive`, all of them: whoever wants control requests it, and gets it.
    Passive,
}

/// Who has control, and what is pending about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ControlView {
    /// Grows with each change of hands: what is of an older one is void.
    pub epoch: u64,
    /// Who leads.
    pub holder: Option<PublicKey>,
    /// Why it is so.
    pub cause: ControlCause,
    /// The offer that is open, if it concerns this member: its own, or one that it may accept.
    pub offer: Option<OpenOffer>,
    /// The requests that wait for the leader's word, for the leader to see.
    pub requests: Vec<OpenRequest>,
}

/// An offer of control that nobody has answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OpenOffer {
    /// Its name.
    pub offer: Ticket,
    /// Who offers.
    pub from: PublicKey,
    /// To whom: one member, or whoever accepts first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<PublicKey>,
}

/// A request for control that the leader has not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OpenRequest {
    /// Its name.
    pub request: Ticket,
    /// Who asks.
    pub from: PublicKey,
    /// Why, in its words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of an offer of control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum OfferOutcome {
    /// Accepted: the other leads now.
    Accepted {
        /// Who.
        by: PublicKey,
    },
    /// Declined by whom it was for; or, if it was for all, by each of them.
    Declined {
        /// Who; the last, if it was for all.
        by: PublicKey,
        /// Why, in its words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Nobody answered in time.
    Expired,
    /// It was taken back, or control went elsewhere.
    Withdrawn,
}

/// The times of a room's control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// How long a leader may be gone and keep control.
    pub absence: Duration,
}

impl Lease {
    /// How often a leader asks for more time.
    pub(crate) fn renew_every(self) -> Duration {
        self.absence / 4
    }

    /// For how long after the sending of what the room has heard a leader leads.
    pub(crate) fn at_the_leader(self) -> Duration {
        self.absence + self.renew_every()
    }

    /// For how long after hearing of it the room takes a leader for one: longer, so that the leader knows first, even if
    /// its clock runs a tenth slower than the room's.
    pub(crate) fn at_the_room(self) -> Duration {
        self.at_the_leader() + self.renew_every()
    }
}
