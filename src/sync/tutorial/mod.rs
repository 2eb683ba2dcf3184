//! Tutorials that one leads and the others follow.
mod content;
mod control;
mod core;
mod error;
mod events;
mod phase;
mod state;

pub use self::content::*;
pub use self::control::{
    ConflictStrategy, ControlCause, ControlView, Member, OfferOutcome, OpenOffer, OpenRequest, Presence,
    ReleaseTo, Role, Ticket,
};
pub use self::error::{
    ControlError, JoinError, Left, MAX_NAME, MAX_REASON, Refusal, RoomClosed, RoomError, StateError,
};
pub use self::events::{Rejected, RoomEvent, TutorialEvent};
pub use self::phase::Phase;
pub use self::state::{StepContent, StepType, TutorialSyncState};
