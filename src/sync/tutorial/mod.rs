//! Tutorials that one leads and the others follow: rooms, one holder of control at a time, states that only the leader shows.
//!
//! Begin with [`TutorialRoom`] and [`TutorialSync`]. `docs/TUTORIAL.md` tells how it works, what is promised and what is not.

mod clock;
mod content;
mod control;
mod core;
mod error;
mod events;
mod link;
mod phase;
mod pipe;
mod room;
mod rooms;
mod state;
mod sync;

pub use self::content::*;
pub use self::control::{
    ConflictStrategy, ControlCause, ControlView, Member, OfferOutcome, OpenOffer, OpenRequest, Presence,
    ReleaseTo, Role, Ticket,
};
pub use self::error::{
    ControlError, JoinError, Left, MAX_NAME, MAX_REASON, Refusal, RoomClosed, RoomError, StateError,
};
pub use self::events::{Rejected, RoomEvent, RoomsEvent, TutorialEvent};
pub use self::link::{ParseLinkError, TutorialLink};
pub use self::phase::Phase;
pub use self::room::{RoomConfig, RoomInfo, TutorialRoom};
pub use self::rooms::{RoomsStats, TutorialRooms};
pub use self::state::{StepContent, StepType, TutorialSyncState};
pub use self::sync::{JoinConfig, Steps, TutorialState, TutorialSync};

#[cfg(any(test, fuzzing))]
pub(crate) use self::core::fuzzing::tutorial as fuzz;
