//! Where sessions live on when the process does not.
//!
//! A store keeps records, keys with values, and applies batches of changes whole or not at all.
//! What the records mean is the session's business; they are bound to an identity by their keys.
//! [`MemoryStore`] is for tests and for handing sessions from one client of a process to the
//! next, `FileStore` for everything else, and in a browser `IndexedDbStore`.

#[cfg(all(feature = "store", not(target_arch = "wasm32")))]
mod file;
#[cfg(target_arch = "wasm32")]
mod indexed_db;
mod memory;

use bytes::Bytes;

#[cfg(all(feature = "store", not(target_arch = "wasm32")))]
pub use file::{FileStore, FileStoreConfig};
#[cfg(target_arch = "wasm32")]
pub(crate) use indexed_db::told;
#[cfg(target_arch = "wasm32")]
pub use indexed_db::{IndexedDbStore, IndexedDbStoreConfig};
pub use memory::MemoryStore;

use crate::runtime::{BoxFuture, MaybeSend, MaybeSync};

/// Keeps the records of sessions.
///
/// One store serves all connections of a client; each has at most one batch under way, so a store
/// that writes all it was given in one transaction gets group commit for nothing.
pub trait Store: MaybeSend + MaybeSync + 'static {
    /// Every record whose key begins with `prefix`, in the order of keys. Called when a session may
    /// be resumed, not while it runs; it may read from a disk.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is resumed then.
    fn load(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError>;

    /// Applies the changes of a batch in their order, all of them or none. Resolves when a crash
    /// can no longer undo them. The batch is applied even if the future is dropped.
    fn apply(&self, batch: Batch) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// Changes that belong together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// In their order.
    pub changes: Vec<Change>,
}

/// One change of a store.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Sets a record.
    Put {
        /// Its key.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// Removes the records with keys of `from` and above, and below `to`.
    Remove {
        /// The first key.
        from: Bytes,
        /// The key after the last.
        to: Bytes,
    },
}

impl Batch {
    pub(crate) fn put(&mut self, key: Bytes, value: impl Into<Bytes>) {
        self.changes.push(Change::Put { key, value: value.into() });
    }

    pub(crate) fn remove(&mut self, from: Bytes, to: Bytes) {
        self.changes.push(Change::Remove { from, to });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Why sessions could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process or page of a browser, or another store of this one, has it open.
    #[error("{0} is in use by another process or page; stop that one, or choose another directory")]
    Locked(String),
    /// Nothing can be kept where this runs.
    #[error(
        "sessions cannot be kept here: {0}; without a store, or with a MemoryStore, they last as long as the program"
    )]
    Unavailable(String),
    /// It may not be read or written. In a browser: in a private window, or by its settings.
    #[error("{path} cannot be used: {problem}; may this user read and write it?")]
    NotAccessible {
        /// Where.
        path: String,
        /// What the system says.
        problem: String,
    },
    /// It is no store, or a damaged one. Nothing in it was changed.
    #[error(
        "{path} is damaged or no store of everlink ({problem}); it is left as it is: move it away or choose another directory"
    )]
    Corrupt {
        /// Where.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// A later release wrote it.
    #[error(
        "{path} has format {found}, this release reads up to {supported}: update everlink, or choose another directory"
    )]
    Newer {
        /// Where.
        path: String,
        /// Its format.
        found: u32,
        /// The newest format known here.
        supported: u32,
    },
    /// The disk, or the size that the store may have, is full.
    #[error("no room in the store: {0}; free some space, or allow it more")]
    Full(String),
    /// Reading or writing failed.
    #[error("the store cannot be written: {0}")]
    Failed(String),
}
