//! Ordered maps and sets: those of the standard library, and where code must be small, sorted
//! sequences with the same behaviour as far as it is used.
//!
//! Each kind of key and value brings the code of a B-tree anew, 6 KiB a piece for a page to load.

#[cfg(any(test, target_arch = "wasm32"))]
mod sorted;

#[cfg(target_arch = "wasm32")]
pub(crate) use self::sorted::{SortedMap as BTreeMap, SortedSet as BTreeSet};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use std::collections::{BTreeMap, BTreeSet};
