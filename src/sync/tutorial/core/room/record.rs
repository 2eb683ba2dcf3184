//! What of a room outlives its process.

use serde::{Deserialize, Serialize};

use super::super::super::control::ControlCause;
use super::{Current, Known, RoomMachine};
use crate::durable::WallClock;
use crate::identity::PublicKey;

/// A room, as it is kept in a store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RoomRecord {
    version: u16,
    epoch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    holder: Option<PublicKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    came_from: Option<PublicKey>,
    wished: u64,
    rev: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<PublicKey>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// In their order: who, whether it follows, and the name of its run.
    members: Vec<(PublicKey, bool, u64)>,
}

impl RoomRecord {
    /// The version of the record.
    pub(crate) const VERSION: u16 = 1;

    /// The record of a room's bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match record.version {
            Self::VERSION => Ok(record),
            other => Err(format!("format {other}, this release reads {}", Self::VERSION)),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        // Names, numbers and text only.
        serde_json::to_vec(self).expect("a record is JSON")
    }
}

impl RoomMachine {
    pub(super) fn record(&self) -> RoomRecord {
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_by_key(|(_, entry)| entry.order);
        RoomRecord {
            version: RoomRecord::VERSION,
            epoch: self.epoch,
            holder: self.holder,
            came_from: self.came_from,
            wished: self.wished,
            rev: self.rev,
            from: self.current.as_ref().map(|current| current.from),
            state: self.current.as_ref().map(|current| current.state.to_string()),
            members: members.into_iter().map(|(id, entry)| (*id, entry.following, entry.instance)).collect(),
        }
    }

    /// Goes on from an earlier run. A holder may still lead, so it keeps control until its lease would have ended.
    pub(super) fn restore(&mut self, record: RoomRecord, now: WallClock) {
        self.epoch = record.epoch;
        self.holder = record.holder;
        self.cause = ControlCause::Restored;
        self.came_from = record.came_from;
        self.wished = record.wished;
        self.leased_until = record.holder.map(|_| now.at + self.settings.lease.at_the_room());
        self.rev = record.rev;
        self.current = record.from.zip(record.state).map(|(from, state)| Current {
            rev: record.rev,
            epoch: record.epoch,
            from,
            state: state.into(),
        });
        for (order, (id, following, instance)) in (1..).zip(record.members) {
            self.joined_ever = order;
            self.known.insert(id, Known { order, following, instance });
        }
    }
}
