//! Whole connections in virtual time.

use crate::durable::core::fuzzing::{run_bytes, run_hostile};

/// A list of operations on an honest connection, for which all promises hold, or what a hostile peer
/// says, which harms its own link and nothing else. The first byte says which.
pub fn session(data: &[u8]) {
    match data.split_first() {
        Some((kind, rest)) if kind % 2 == 0 => run_bytes(rest),
        Some((_, rest)) => run_hostile(rest),
        None => {}
    }
}
