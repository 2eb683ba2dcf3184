//! A store in memory: outlives clients, not the process.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::{Batch, Change, Store, StoreError};
use crate::collections::BTreeMap;
use crate::runtime::BoxFuture;

/// A [`Store`] in memory, for tests of restarts without a disk. Clones share their records.
///
/// Its records are as good as the process: use `FileStore` to survive a crash.
///
/// ```
/// use everlink::store::{MemoryStore, StoreError};
///
/// let store = MemoryStore::new();
/// let copy = store.snapshot(); // what a crash now would leave
/// store.fail(Some(StoreError::Full("a test".into()))); // every write fails from now on
/// store.fail(None);
/// # drop(copy);
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    records: BTreeMap<Bytes, Bytes>,
    failure: Option<StoreError>,
    batches: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store of its own with the records of this moment.
    pub fn snapshot(&self) -> Self {
        let inner = Inner { failure: None, ..self.lock().clone() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Lets every write fail with this error from now on, or none.
    pub fn fail(&self, failure: Option<StoreError>) {
        self.lock().failure = failure;
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.lock().records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many batches were applied.
    pub fn batches(&self) -> u64 {
        self.lock().batches
    }

    pub(crate) fn apply_now(&self, batch: Batch) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if let Some(failure) = &inner.failure {
            return Err(failure.clone());
        }
        inner.batches += 1;
        for change in batch.changes {
            match change {
                Change::Put { key, value } => _ = inner.records.insert(key, value),
                Change::Remove { from, to } => {
                    let doomed: Vec<_> = inner.records.range(from..to).map(|(key, _)| key.clone()).collect();
                    doomed.iter().for_each(|key| _ = inner.records.remove(key));
                }
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while locked")
    }
}

impl Store for MemoryStore {
    fn load(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let inner = self.lock();
        let range = inner.records.range(Bytes::copy_from_slice(prefix)..);
        let found = range.take_while(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'static, Result<(), StoreError>> {
        Box::pin(std::future::ready(self.apply_now(batch)))
    }
}
