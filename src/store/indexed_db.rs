//! Sessions in the browser's IndexedDB, which survive a reload and a killed tab.
//!
//! Its records are read once, when it is opened, and kept in memory, too: [`Store::load`] does not
//! wait, and a browser answers nothing at once. All batches that came in during a transaction are
//! the next one together.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::{Batch, Change, Store, StoreError};
use crate::collections::BTreeMap;
use crate::runtime::BoxFuture;
use crate::runtime::sync::oneshot;
use crate::web::{Changes, Database, DatabaseError, Hold, global};

const RECORDS: &str = "records";
/// The format, which is the version of the database.
const FORMAT: u32 = 1;
/// Batches that go into one transaction at most.
const MAX_GROUP: usize = 1024;
/// How long a page that is being left may take to let go.
const LEAVES_WITHIN: Duration = Duration::from_secs(1);

/// How an [`IndexedDbStore`] works.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct IndexedDbStoreConfig {
    /// The most bytes of records, which take as much memory of the page. Default 64 MiB. When they
    /// are there, nothing is stored that makes it more ([`StoreError::Full`]), so connections accept
    /// no further messages until their peers have taken some.
    pub max_bytes: u64,
}

impl Default for IndexedDbStoreConfig {
    fn default() -> Self {
        Self { max_bytes: 64 << 20 }
    }
}

/// A [`Store`] in a database of the browser, of which one page at a time can have it.
///
/// What it confirmed survives a reload, a killed tab and, as far as browser and disk keep their
/// word, a loss of power (transactions are `strict`). It does not survive the person who clears the
/// data of the site, nor a browser that does so when the disk is full, unless
/// `navigator.storage.persist()` was granted to the page.
///
/// The secrets of sessions are in it: scripts of the same origin can read it.
///
/// Two pages are kept apart by the Web Locks of the browser. Where there are none (pages over plain
/// `http:` other than those of `localhost`), only within the page; then the later of two pages takes over the sessions of
/// the earlier one.
///
/// Cheap to clone. The database is free for another page when the last clone, and the last client
/// with it, are gone, or the page is.
///
/// ```no_run
/// # #[cfg(target_arch = "wasm32")]
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use everlink::signaling::MemorySignaling;
/// use everlink::store::IndexedDbStore;
/// use everlink::{Client, Identity};
///
/// let client = Client::builder(Identity::load_or_create("me").await?)
///     .signaling(MemorySignaling::new())
///     .store(IndexedDbStore::open("sessions").await?)
///     .build();
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct IndexedDbStore {
    inner: Rc<Inner>,
}

struct Inner {
    name: String,
    max_bytes: u64,
    /// Absent after a failure, until it is opened again.
    database: RefCell<Option<Rc<Database>>>,
    /// What is in the database.
    records: RefCell<BTreeMap<Bytes, Bytes>>,
    bytes: Cell<u64>,
    todo: RefCell<Vec<Work>>,
    writing: Cell<bool>,
    /// Dropped last: whoever waits for it shall find the database closed.
    _hold: Hold,
}

/// A batch, and who waits for it.
type Work = (Batch, oneshot::Sender<Result<(), StoreError>>);

impl IndexedDbStore {
    /// Opens the store of this name, which is made if need be.
    ///
    /// # Errors
    /// [`StoreError`]: `Unavailable` where there is no IndexedDB, `NotAccessible` where the browser
    /// does not let this site keep anything, `Locked` if another page has it, `Newer`, `Corrupt`,
    /// `Full`. What is there is left as it is.
    pub async fn open(name: &str) -> Result<Self, StoreError> {
        Self::open_with(name, IndexedDbStoreConfig::default()).await
    }

    /// Opens the store with settings.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub async fn open_with(name: &str, config: IndexedDbStoreConfig) -> Result<Self, StoreError> {
        let name = format!("everlink sessions {name}");
        // Before anything is waited for.
        if global("indexedDB").is_none() {
            return Err(told(&name, DatabaseError::Absent));
        }
        let hold = Hold::take(&name, LEAVES_WITHIN).await;
        let Some(hold) = hold else { return Err(StoreError::Locked(name)) };
        let opened = async {
            let database = Database::open(&name, FORMAT, RECORDS).await?;
            let records = database.read().await?;
            Ok((database, records))
        };
        let (database, records) = opened.await.map_err(|error| told(&name, error))?;
        let records = records.ok_or_else(|| StoreError::Corrupt {
            path: name.clone(),
            problem: "records are not bytes".to_owned(),
        })?;
        let records: BTreeMap<Bytes, Bytes> =
            records.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let bytes = records.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        let inner = Inner {
            name,
            max_bytes: config.max_bytes,
            database: RefCell::new(Some(Rc::new(database))),
            records: RefCell::new(records),
            bytes: Cell::new(bytes),
            todo: RefCell::default(),
            writing: Cell::new(false),
            _hold: hold,
        };
        Ok(Self { inner: Rc::new(inner) })
    }

    /// The bytes of all records, keys included.
    pub fn bytes(&self) -> u64 {
        self.inner.bytes.get()
    }
}

impl std::fmt::Debug for IndexedDbStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IndexedDbStore({})", self.inner.name)
    }
}

impl Store for IndexedDbStore {
    fn load(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let records = self.inner.records.borrow();
        let range = records.range(Bytes::copy_from_slice(prefix)..);
        let found = range.take_while(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'static, Result<(), StoreError>> {
        let (done, stored) = oneshot::channel();
        self.inner.todo.borrow_mut().push((batch, done));
        if !self.inner.writing.replace(true) {
            // Ends with the last batch.
            wasm_bindgen_futures::spawn_local(write_all(self.inner.clone()));
        }
        let ended = || Err(StoreError::Failed("the page is being left".to_owned()));
        Box::pin(async move { stored.await.unwrap_or_else(|_| ended()) })
    }
}

/// Writes until nothing is left to write.
async fn write_all(inner: Rc<Inner>) {
    loop {
        let group: Vec<_> = {
            let mut todo = inner.todo.borrow_mut();
            let taken = todo.len().min(MAX_GROUP);
            todo.drain(..taken).collect()
        };
        if group.is_empty() {
            inner.writing.set(false);
            return;
        }
        let together = inner.write(&mut group.iter().map(|(batch, _)| batch)).await;
        let alone = together.is_err() && group.len() > 1;
        for (batch, done) in group {
            // One that asks for too much shall not take the others with it.
            let result = match alone {
                true => inner.write(&mut std::iter::once(&batch)).await,
                false => together.clone(),
            };
            let _ = done.send(result);
        }
    }
}

impl Inner {
    /// Writes batches as one.
    async fn write(&self, batches: &mut dyn Iterator<Item = &Batch>) -> Result<(), StoreError> {
        let changes: Vec<&Change> = batches.flat_map(|batch| &batch.changes).collect();
        let added: usize = changes.iter().map(|change| change_size(change)).sum();
        // A bound from above, exact enough: what is replaced is counted twice until it is gone.
        let before = self.bytes.get();
        let removes = changes.iter().any(|change| matches!(change, Change::Remove { .. }));
        if before + added as u64 > self.max_bytes && !removes {
            let problem = format!("it has {before} bytes of the {} allowed", self.max_bytes);
            return Err(StoreError::Full(problem));
        }
        let mut result = self.try_write(&changes).await;
        if let Err(DatabaseError::Closed(_)) = result
            && self.database.take().is_some()
        {
            // The browser has closed it; what was in it is still known here.
            result = self.try_write(&changes).await;
        }
        result.map_err(|error| told(&self.name, error))?;
        self.remember(&changes);
        Ok(())
    }

    async fn try_write(&self, changes: &[&Change]) -> Result<(), DatabaseError> {
        let known = self.database.borrow().clone();
        let all = Changes::default();
        let database = match known {
            Some(database) => database,
            None => {
                let database = Rc::new(Database::open(&self.name, FORMAT, RECORDS).await?);
                // It may have been cleared behind our back.
                all.clear();
                for (key, value) in &*self.records.borrow() {
                    all.put(key, value);
                }
                database
            }
        };
        for change in changes {
            match change {
                Change::Put { key, value } => all.put(key, value),
                Change::Remove { from, to } if from < to => all.remove(from, to),
                Change::Remove { .. } => {}
            }
        }
        database.write(&all).await?;
        self.database.replace(Some(database));
        Ok(())
    }

    /// What was written is what is there.
    fn remember(&self, changes: &[&Change]) {
        let mut records = self.records.borrow_mut();
        let mut bytes = self.bytes.get();
        let size = |key: &Bytes, value: &Bytes| (key.len() + value.len()) as u64;
        for change in changes {
            match change {
                Change::Put { key, value } => {
                    bytes += size(key, value);
                    if let Some(old) = records.insert(key.clone(), value.clone()) {
                        bytes -= size(key, &old);
                    }
                }
                Change::Remove { from, to } => {
                    if from >= to {
                        continue;
                    }
                    let doomed: Vec<_> =
                        records.range(from.clone()..to.clone()).map(|(key, _)| key.clone()).collect();
                    for key in doomed {
                        if let Some(old) = records.remove(&key) {
                            bytes -= size(&key, &old);
                        }
                    }
                }
            }
        }
        self.bytes.set(bytes);
    }
}

fn change_size(change: &Change) -> usize {
    match change {
        Change::Put { key, value } => key.len() + value.len(),
        Change::Remove { .. } => 0,
    }
}

/// The error of a store, which says which database and what to do.
pub(crate) fn told(name: &str, error: DatabaseError) -> StoreError {
    let path = name.to_owned();
    match error {
        DatabaseError::Absent => StoreError::Unavailable("there is no IndexedDB".to_owned()),
        DatabaseError::Denied(problem) => StoreError::NotAccessible { path, problem },
        DatabaseError::Newer(found) => StoreError::Newer { path, found, supported: FORMAT },
        DatabaseError::Blocked => StoreError::Locked(path),
        DatabaseError::Full(problem) => StoreError::Full(problem),
        DatabaseError::Closed(problem) | DatabaseError::Failed(problem) => {
            StoreError::Failed(format!("{path}: {problem}"))
        }
    }
}
