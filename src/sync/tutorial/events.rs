//! What is told of a room, to its members and to its host.

use std::sync::Arc;

use super::control::{ControlCause, Member, OfferOutcome, Role, Ticket};
use super::error::{Left, RoomClosed};
use super::phase::Phase;
use crate::durable::Laggable;
use crate::identity::PublicKey;
use crate::signaling::ServiceUuid;

/// What happens to a member.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum TutorialEvent<S> {
    /// The member's phase changed.
    PhaseChanged {
        /// What it was.
        from: Phase,
        /// What it is.
        to: Phase,
        /// The cause in control, if it is that.
        cause: ControlCause,
    },
    /// There is a new state: the leader's, or that of the room at joining. Never the member's own.
    StateUpdated(Arc<S>),
    /// Control changed hands, or nobody has it now.
    ControlChanged {
        /// Which time it is.
        epoch: u64,
        /// Who leads now.
        holder: Option<PublicKey>,
        /// Why.
        cause: ControlCause,
    },
    /// The leader was gone for longer than its lease, or left the room: nobody leads.
    HolderLost {
        /// Who it was.
        holder: PublicKey,
    },
    /// This member may have control, if it wants.
    ControlOffered {
        /// To accept or decline it by.
        offer: Ticket,
        /// Who offers.
        from: PublicKey,
        /// What the offerer shows: where this member would go on.
        state: Option<Arc<S>>,
    },
    /// An offer that was made to this member is no longer open, for another reason than its answer.
    OfferEnded {
        /// Which.
        offer: Ticket,
    },
    /// This member leads, and another asks for control.
    ControlRequested {
        /// To grant or deny it by.
        request: Ticket,
        /// Who asks.
        from: PublicKey,
        /// Why, in its words.
        reason: Option<String>,
    },
    /// A request to this member is no longer open, for another reason than its answer.
    RequestEnded {
        /// Which.
        request: Ticket,
    },
    /// What became of this member's offer.
    OfferSettled {
        /// What.
        outcome: OfferOutcome,
    },
    /// Somebody is in the room, who was not.
    MemberJoined(Member),
    /// Somebody's role changed.
    RoleChanged {
        /// Whose.
        member: PublicKey,
        /// To what.
        role: Role,
    },
    /// Somebody's connection is lost and being mended.
    MemberHealing(PublicKey),
    /// It is mended.
    MemberHealed(PublicKey),
    /// Somebody left.
    MemberLeft(PublicKey),
    /// This member's connection is lost and being mended. The role is kept, for as long as its lease.
    Healing,
    /// It is mended.
    Healed,
    /// Something arrived that is void or not understood, and changed nothing.
    Rejected(Rejected),
    /// This member is out of the room; nothing follows.
    Left(Left),
    /// This subscriber was too slow; the oldest events were dropped. [`TutorialSync::state`](super::TutorialSync::state) and the
    /// others tell what is now.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// Something that arrived and was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// It cannot be read: `invalid_message`.
    #[error("a message that cannot be read")]
    InvalidMessage,
    /// A state of a time when somebody else, or nobody, led.
    #[error("a state of epoch {epoch}, which is over")]
    OldEpoch {
        /// Which epoch.
        epoch: u64,
    },
    /// A state or an answer of somebody who does not lead.
    #[error("an act of a leader by a member that does not lead")]
    NotHolder,
    /// A state that is older than what was there.
    #[error("a state that is older than the newest one")]
    OldState,
    /// A state that is larger than the room takes.
    #[error("a state of {size} bytes, more than the room takes")]
    StateTooLarge {
        /// Its bytes.
        size: usize,
    },
    /// A state of another shape than this application's.
    #[error("a state that this application cannot read")]
    InvalidState,
    /// Sent before joining.
    #[error("a message of somebody who has not joined")]
    NotJoined,
}

impl Rejected {
    /// The name of the code, `snake_case`.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidMessage => "invalid_message",
            Self::OldEpoch { .. } => "old_epoch",
            Self::NotHolder => "not_holder",
            Self::OldState => "old_state",
            Self::StateTooLarge { .. } => "state_too_large",
            Self::InvalidState => "invalid_state",
            Self::NotJoined => "not_joined",
        }
    }
}

/// What happens to a room, as its host sees it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RoomEvent {
    /// Somebody joined.
    MemberJoined(Member),
    /// Somebody's connection is lost and being mended.
    MemberHealing(PublicKey),
    /// It is mended.
    MemberHealed(PublicKey),
    /// Somebody left.
    MemberLeft(PublicKey),
    /// Somebody's role changed.
    RoleChanged {
        /// Whose.
        member: PublicKey,
        /// To what.
        role: Role,
    },
    /// Control changed hands, or nobody has it now.
    ControlTransferred {
        /// Which time it is.
        epoch: u64,
        /// Who had it.
        from: Option<PublicKey>,
        /// Who has it.
        to: Option<PublicKey>,
        /// Why.
        cause: ControlCause,
    },
    /// Something that a member sent is void or not understood, and changed nothing.
    Rejected {
        /// Whose.
        from: PublicKey,
        /// What.
        what: Rejected,
    },
    /// The room is closed; nothing follows.
    Closed(RoomClosed),
    /// This subscriber was too slow; the oldest events were dropped.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// What happens to the rooms of one host.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RoomsEvent {
    /// A room was opened.
    Opened(ServiceUuid),
    /// Something happened in a room. The last of each is [`RoomEvent::Closed`], which says whether it expired or was deleted.
    Room {
        /// In which.
        room: ServiceUuid,
        /// What.
        event: RoomEvent,
    },
    /// This subscriber was too slow; the oldest events were dropped.
    Lagged {
        /// How many.
        missed: u64,
    },
}

impl Laggable for RoomsEvent {
    fn lagged(missed: u64) -> Self {
        Self::Lagged { missed }
    }
}

impl<S> Laggable for TutorialEvent<S>
where
    TutorialEvent<S>: Clone,
{
    fn lagged(missed: u64) -> Self {
        Self::Lagged { missed }
    }
}

impl Laggable for RoomEvent {
    fn lagged(missed: u64) -> Self {
        Self::Lagged { missed }
    }
}
