//! Which of several running hosts of one identity has a service: the newest.
//!
//! One that lost it stays refused, also over a restart of the directory: so two hosts that run by
//! mistake do not take it from each other for ever, and each learns of the other.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::refuse;
use crate::signaling::{ErrorCode, InstanceId, SignalingError};

/// Hosts remembered that lost a service.
const MAX_DISPLACED: usize = 16;

/// The running hosts of a service.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Hosts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    present: Option<InstanceId>,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    displaced: VecDeque<InstanceId>,
}

impl Hosts {
    /// Whether `instance` may act for the service.
    pub(super) fn check(&self, instance: Option<InstanceId>) -> Result<(), SignalingError> {
        if instance.is_some_and(|instance| self.displaced.contains(&instance)) {
            let message = "another running host with the same identity took this service over";
            return Err(refuse(ErrorCode::Displaced, message));
        }
        Ok(())
    }

    /// `instance`, which was checked, has the service now. Returns whether another had it before.
    pub(super) fn take_over(&mut self, instance: Option<InstanceId>) -> bool {
        let Some(instance) = instance else { return false };
        match self.present.replace(instance) {
            Some(before) if before != instance => {
                if self.displaced.len() == MAX_DISPLACED {
                    self.displaced.pop_front();
                }
                self.displaced.push_back(before);
                true
            }
            _ => false,
        }
    }

    /// Whether there was ever more than one.
    pub(super) fn were_several(&self) -> bool {
        !self.displaced.is_empty()
    }
}
