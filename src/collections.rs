//! Maps and sets: those of the standard library, and where code must be small, sorted
//! sequences with the same behaviour as far as it is used.
//!
//! Each kind of key and value brings the code of a B-tree or a hash table anew, up to 6 KiB a piece for
//! a page to load. A [`HashMap`] is in no order that may be relied on, though it is in one in a page.

#[cfg(any(test, target_arch = "wasm32"))]
mod sorted;

#[cfg(target_arch = "wasm32")]
pub(crate) use self::sorted::{SortedMap as BTreeMap, SortedMap as HashMap, SortedSet as BTreeSet};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use std::collections::{BTreeMap, BTreeSet, HashMap};
