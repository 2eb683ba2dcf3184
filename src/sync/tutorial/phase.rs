//! The phases of a member, and the one table of who may do what and what may follow what.

use serde::{Deserialize, Serialize};

/// Where a member stands.
///
/// A connection that is healing is no phase: the member keeps the phase it had (and the role with
/// it, for as long as its lease lasts), and [`is_healing`](super::TutorialSync::is_healing) says so.
///
/// ```text
///                              lead()           ┌──────────────────────┐
///                        ┌──► InitializingPull ─┤                      ▼
/// Disconnected           │    pull…()           │   release(Idle)    Active ◄──┐
///   │                    │                  ┌───┼───────────────────   │       │ offered and accepted,
///   ▼                    │                  ▼   ▼                      │       │ requested and granted
/// Connecting ──────► ConnectedIdle ◄────► Passive ◄────────────────────┴───────┘
///                        │                  ▲
///                        └──► InitializingPush    follow(), push…()
///
/// from any of them to Disconnected
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Not in a room: before joining, after leaving, or after the room or the connection ended.
    Disconnected,
    /// Joining.
    Connecting,
    /// In the room; nobody leads, and this member has not chosen.
    ConnectedIdle,
    /// Has asked to lead and waits: for the state to begin with, or for the room's word.
    InitializingPull,
    /// Has asked to follow and waits until the room has its state, or its word.
    InitializingPush,
    /// Leads: what it sends is what all see.
    Active,
    /// Follows.
    Passive,
}

/// What a member may want to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    SendState,
    /// `lead`, `follow`, and with the first transfer of state `pull` and `push`.
    ChooseDirection,
    /// Offer, release or return control, answer a request for it.
    GiveControl,
    RequestControl,
    /// Accept or decline an offer.
    AnswerOffer,
    /// Anything that every member may.
    Ask,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Disconnected,
        Self::Connecting,
        Self::ConnectedIdle,
        Self::InitializingPull,
        Self::InitializingPush,
        Self::Active,
        Self::Passive,
    ];

    /// Its name, as in `@gitorial/sync`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::ConnectedIdle => "connected_idle",
            Self::InitializingPull => "initializing_pull",
            Self::InitializingPush => "initializing_push",
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }

    /// The one table of transitions.
    pub(crate) fn may_become(self, to: Self) -> bool {
        use Phase::*;
        match self {
            Disconnected => matches!(to, Connecting),
            Connecting => matches!(to, ConnectedIdle | Disconnected),
            ConnectedIdle => {
                matches!(to, InitializingPull | InitializingPush | Active | Passive | Disconnected)
            }
            InitializingPull | InitializingPush => {
                matches!(to, Active | Passive | ConnectedIdle | Disconnected)
            }
            Active => matches!(to, Passive | ConnectedIdle | Disconnected),
            Passive => matches!(to, Active | ConnectedIdle | Disconnected),
        }
    }

    /// The phases on the way to another, which is the last: by way of `ConnectedIdle` where there is no other.
    pub(crate) fn way_to(self, to: Self) -> impl Iterator<Item = Self> {
        let direct = self == to || self.may_become(to);
        let first = (!direct).then_some(if self == Self::Disconnected {
            Self::Connecting
        } else {
            Self::ConnectedIdle
        });
        let second = (!direct && self == Self::Disconnected && to != Self::ConnectedIdle)
            .then_some(Self::ConnectedIdle);
        first.into_iter().chain(second).chain((self != to).then_some(to))
    }

    /// The one table of permissions.
    pub(crate) fn allows(self, act: Act) -> bool {
        use Phase::*;
        match act {
            Act::SendState | Act::GiveControl => self == Active,
            Act::ChooseDirection => self == ConnectedIdle,
            Act::RequestControl => matches!(self, Passive | ConnectedIdle),
            Act::AnswerOffer => matches!(self, Passive),
            Act::Ask => !matches!(self, Disconnected | Connecting),
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_is_reached_by_steps_of_the_table_only() {
        for from in Phase::ALL {
            // Nobody joins who is in a room.
            let tos =
                Phase::ALL.into_iter().filter(|to| *to != Phase::Connecting || from == Phase::Disconnected);
            for to in tos {
                let mut at = from;
                for next in from.way_to(to) {
                    assert!(at.may_become(next), "{from} to {to}: {at} does not become {next}");
                    at = next;
                }
                assert_eq!(at, to);
            }
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_refused() {
        use Phase::*;
        for (from, to) in
            [(Disconnected, Active), (Connecting, Passive), (Active, InitializingPull), (Passive, Connecting)]
        {
            assert!(!from.may_become(to), "{from} {to}");
        }
        for phase in Phase::ALL {
            assert_eq!(phase.allows(Act::SendState), phase == Active);
            assert_eq!(phase.allows(Act::ChooseDirection), phase == ConnectedIdle);
            assert!(phase == Disconnected || phase.may_become(Disconnected), "{phase}");
        }
    }
}
