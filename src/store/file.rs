//! Records on disk, in a redb database that a crash cannot tear: sessions, and the directory of a
//! signaling server.
//!
//! One thread writes. All batches that came in while it wrote go into the next transaction
//! together, so that a hundred connections cost one sync of the disk and not a hundred.

#[cfg(feature = "server")]
mod directory;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use bytes::Bytes;
use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition,
    TableError, TableHandle as _, WriteTransaction,
};
use tokio::sync::oneshot;

use super::{Batch, Change, Store, StoreError};
use crate::runtime::BoxFuture;

const ABOUT: TableDefinition<'_, &str, u32> = TableDefinition::new("everlink store");
/// Records are written once and read at a restart.
const CACHE: usize = 16 << 20;
/// Batches that go into one transaction at most.
const MAX_GROUP: usize = 1024;
/// A file smaller than this is not worth making smaller.
const SMALL: u64 = 64 << 20;

/// What brings a store of one format to the next.
type Upgrade = fn(&WriteTransaction) -> Result<(), redb::Error>;

/// A kind of store: what the file is called, and how its records are found in it.
#[derive(Clone, Copy, Debug)]
struct Kind {
    file: &'static str,
    /// The table with the records.
    table: &'static str,
    /// From each format to the next, the oldest first.
    upgrades: &'static [Upgrade],
    /// The first format, if it had no number: which table it is known by.
    unnumbered: Option<&'static str>,
}

impl Kind {
    fn records(&self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.table)
    }

    /// The number of the format written today.
    fn newest(&self) -> u32 {
        self.upgrades.len() as u32 + 1
    }
}

const SESSIONS: Kind =
    Kind { file: "sessions.redb", table: "everlink sessions", upgrades: &[], unnumbered: None };

/// How a [`FileStore`] works.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FileStoreConfig {
    /// The most bytes of records. Default 1 GiB. When they are there, nothing is stored that makes it
    /// more ([`StoreError::Full`]), so connections accept no further messages until their peers
    /// have taken some. The file itself can be up to twice as large, and is made smaller when the
    /// store is opened.
    pub max_bytes: u64,
}

impl Default for FileStoreConfig {
    fn default() -> Self {
        Self { max_bytes: 1 << 30 }
    }
}

/// A [`Store`] in a directory of its own: one file, locked against a second process, readable by
/// its owner only, since the secrets of the sessions are in it. Survives a `kill -9` and a loss
/// of power as far as the disk keeps what it has confirmed.
///
/// Cheap to clone. Clients of several identities can share one. The file is free for another
/// process when the last clone and the last client with it are gone.
///
/// ```no_run
/// use everlink::signaling::MemorySignaling;
/// use everlink::store::FileStore;
/// use everlink::{Client, Identity};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder(Identity::load_or_create("identity.key")?)
///     .signaling(MemorySignaling::new())
///     .store(FileStore::open("sessions")?)
///     .build();
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct FileStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    disk: Arc<Disk>,
    /// Dropped to end the thread.
    work: Option<mpsc::Sender<Work>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// A batch, and who waits for it.
type Work = (Batch, oneshot::Sender<Result<(), StoreError>>);

#[derive(Debug)]
struct Disk {
    kind: Kind,
    path: PathBuf,
    max_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Absent after a failure, until it is opened again.
    database: Option<Arc<Database>>,
    /// Of all keys and values.
    bytes: u64,
}

impl FileStore {
    /// Opens the store in a directory, which is made if need be.
    ///
    /// # Errors
    /// [`StoreError`]: in use, damaged, of a later release, or not to be read and written. What is
    /// there is left as it is.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(directory, FileStoreConfig::default())
    }

    /// Opens the store with settings.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub fn open_with(directory: impl AsRef<Path>, config: FileStoreConfig) -> Result<Self, StoreError> {
        Self::open_kind(SESSIONS, directory.as_ref(), config)
    }

    fn open_kind(kind: Kind, directory: &Path, config: FileStoreConfig) -> Result<Self, StoreError> {
        let path = directory.join(kind.file);
        make_directory(directory).map_err(|error| not_accessible(directory, &error))?;
        if !path.exists() {
            create(kind, directory, &path)?;
        }
        let (database, bytes) = open_database(kind, &path, true)?;
        let state = State { database: Some(Arc::new(database)), bytes };
        let disk = Arc::new(Disk { kind, path, max_bytes: config.max_bytes, state: Mutex::new(state) });
        let (work, todo) = mpsc::channel();
        let writer = std::thread::Builder::new()
            .name("everlink-store".to_owned())
            .spawn({
                let disk = disk.clone();
                move || write_all(&disk, &todo)
            })
            .map_err(|error| StoreError::Failed(format!("no thread to write with: {error}")))?;
        let inner = Inner { disk, work: Some(work), writer: Mutex::new(Some(writer)) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The bytes of all records, keys included.
    pub fn bytes(&self) -> u64 {
        self.inner.disk.lock().bytes
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.work = None;
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A write at most, and then the file is free for a successor.
            let _ = writer.join();
        }
    }
}

impl Store for FileStore {
    fn load(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let disk = &self.inner.disk;
        let database = disk.database()?;
        unbroken(&disk.path, || {
            let transaction = database.begin_read()?;
            let table = transaction.open_table(disk.kind.records())?;
            let mut found = Vec::new();
            for record in table.range(prefix..)? {
                let (key, value) = record?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                found.push((Bytes::copy_from_slice(key.value()), Bytes::copy_from_slice(value.value())));
            }
            Ok(found)
        })
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'static, Result<(), StoreError>> {
        let (done, stored) = oneshot::channel();
        if let Some(work) = &self.inner.work {
            let _ = work.send((batch, done));
        }
        let ended = || Err(StoreError::Failed("the thread that writes has ended".to_owned()));
        Box::pin(async move { stored.await.unwrap_or_else(|_| ended()) })
    }
}

impl Disk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database, opened again if a failure closed it.
    fn database(&self) -> Result<Arc<Database>, StoreError> {
        let mut state = self.lock();
        if let Some(database) = &state.database {
            return Ok(database.clone());
        }
        let (database, bytes) = open_database(self.kind, &self.path, false)?;
        state.bytes = bytes;
        Ok(state.database.insert(Arc::new(database)).clone())
    }

    /// Writes batches as one.
    fn write(&self, batches: &[&Batch]) -> Result<(), StoreError> {
        let database = self.database()?;
        let before = self.lock().bytes;
        let written = unbroken(&self.path, || write(self.kind, &database, batches, before, self.max_bytes));
        drop(database);
        match written {
            Ok(Some(bytes)) => {
                self.lock().bytes = bytes;
                Ok(())
            }
            Ok(None) => {
                let problem = format!("it has {before} bytes of the {} allowed", self.max_bytes);
                Err(StoreError::Full(problem))
            }
            Err(error) => {
                // After a failed write the database takes nothing more until it is opened again.
                self.lock().database = None;
                Err(error)
            }
        }
    }
}

/// The thread that writes, until the store is dropped.
fn write_all(disk: &Disk, todo: &mpsc::Receiver<Work>) {
    while let Ok(first) = todo.recv() {
        let mut group = vec![first];
        while group.len() < MAX_GROUP
            && let Ok(more) = todo.try_recv()
        {
            group.push(more);
        }
        let batches: Vec<_> = group.iter().map(|(batch, _)| batch).collect();
        let mut results = vec![disk.write(&batches); 1];
        if group.len() > 1 && results[0].is_err() {
            // One that asks for too much shall not take the others with it.
            results = batches.iter().map(|batch| disk.write(&[batch])).collect();
        }
        for (at, (_, done)) in group.into_iter().enumerate() {
            let result = results.get(at).or(results.first()).cloned();
            let _ = done.send(result.unwrap_or(Ok(())));
        }
    }
}

/// Writes, unless that makes more than `max_bytes` of what is there already; returns how much there
/// is then.
fn write(
    kind: Kind,
    database: &Database,
    batches: &[&Batch],
    before: u64,
    max_bytes: u64,
) -> Result<Option<u64>, redb::Error> {
    let transaction = database.begin_write()?;
    let (mut added, mut removed) = (0, 0);
    {
        let mut table = transaction.open_table(kind.records())?;
        for change in batches.iter().flat_map(|batch| &batch.changes) {
            match change {
                Change::Put { key, value } => {
                    added += (key.len() + value.len()) as u64;
                    if let Some(old) = table.insert(&key[..], &value[..])? {
                        removed += (key.len() + old.value().len()) as u64;
                    }
                }
                Change::Remove { from, to } => {
                    for record in table.extract_from_if(&from[..]..&to[..], |_, _| true)? {
                        let (key, value) = record?;
                        removed += (key.value().len() + value.value().len()) as u64;
                    }
                }
            }
        }
    }
    let after = (before + added).saturating_sub(removed);
    if after > max_bytes && after > before {
        transaction.abort()?;
        return Ok(None);
    }
    transaction.commit()?;
    Ok(Some(after))
}

/// Opens the database at `path`, brings it to the newest format, and counts its bytes.
fn open_database(kind: Kind, path: &Path, shrink: bool) -> Result<(Database, u64), StoreError> {
    let mut database = match catch_unwind(|| Database::builder().set_cache_size(CACHE).open(path)) {
        Ok(Ok(database)) => database,
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => {
            return Err(StoreError::Locked(path.display().to_string()));
        }
        Ok(Err(DatabaseError::Storage(StorageError::Io(error))))
            if error.kind() != std::io::ErrorKind::InvalidData =>
        {
            return Err(failed(path, &error));
        }
        Ok(Err(error)) => return Err(corrupt(path, &error)),
        Err(_) => return Err(corrupt(path, &"it cannot be read")),
    };
    let format = unbroken(path, || format_of(kind, &database)).map_err(|error| match error {
        StoreError::Failed(problem) => corrupt(path, &problem),
        other => other,
    })?;
    let newest = kind.newest();
    if format > newest {
        return Err(StoreError::Newer { path: path.display().to_string(), found: format, supported: newest });
    }
    if format == 0 {
        return Err(corrupt(path, &"no format is numbered 0"));
    }
    let bytes = unbroken(path, || {
        if format < newest {
            let transaction = database.begin_write()?;
            kind.upgrades[format as usize - 1..].iter().try_for_each(|upgrade| upgrade(&transaction))?;
            transaction.open_table(ABOUT)?.insert("format", newest)?;
            transaction.commit()?;
        }
        let transaction = database.begin_read()?;
        let mut bytes = 0;
        for record in transaction.open_table(kind.records())?.iter()? {
            let (key, value) = record?;
            bytes += (key.value().len() + value.value().len()) as u64;
        }
        Ok(bytes)
    })?;
    let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
    if shrink && size > SMALL && size / 4 > bytes {
        // Only a matter of space: a disk too full for it is no reason not to go on.
        if let Ok(Err(error)) = catch_unwind(AssertUnwindSafe(|| database.compact())) {
            tracing::warn!(%error, "a store could not be made smaller");
        }
    }
    Ok((database, bytes))
}

fn format_of(kind: Kind, database: &Database) -> Result<u32, redb::Error> {
    let transaction = database.begin_read()?;
    let about = match (transaction.open_table(ABOUT), kind.unnumbered) {
        (Err(TableError::TableDoesNotExist(_)), Some(first))
            if transaction.list_tables()?.any(|table| table.name() == first) =>
        {
            return Ok(1);
        }
        (about, _) => about?,
    };
    let format = about.get("format")?.map_or(0, |format| format.value());
    if format <= kind.newest() {
        // A store of another kind has numbers, too.
        transaction.open_table(kind.records())?;
    }
    Ok(format)
}

/// Makes a database under another name first: under its own it is whole or not there.
fn create(kind: Kind, directory: &Path, path: &Path) -> Result<(), StoreError> {
    let temporary = directory.join(format!("{}.new", kind.file));
    let io = |error: std::io::Error| failed(path, &error);
    if temporary.exists() {
        fs::remove_file(&temporary).map_err(io)?;
    }
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&temporary).map_err(io)?;
    unbroken(path, || {
        let database = Database::builder().set_cache_size(CACHE).create_file(file)?;
        let transaction = database.begin_write()?;
        transaction.open_table(kind.records())?;
        transaction.open_table(ABOUT)?.insert("format", kind.newest())?;
        transaction.commit()?;
        Ok(())
    })?;
    fs::rename(&temporary, path).map_err(io)?;
    #[cfg(unix)]
    fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(io)?;
    Ok(())
}

fn make_directory(directory: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Does something with the database, whose answer to damage may be a panic.
fn unbroken<T>(path: &Path, does: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(does)) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(redb::Error::Io(error))) => Err(failed(path, &error)),
        Ok(Err(error @ redb::Error::Corrupted(_))) => Err(corrupt(path, &error)),
        Ok(Err(error)) => Err(StoreError::Failed(format!("{}: {error}", path.display()))),
        Err(_) => Err(corrupt(path, &"it cannot be read")),
    }
}

fn failed(path: &Path, error: &std::io::Error) -> StoreError {
    use std::io::ErrorKind::{
        FileTooLarge, NotADirectory, NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem,
        StorageFull,
    };
    match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => {
            StoreError::Full(format!("{}: {error}", path.display()))
        }
        PermissionDenied | ReadOnlyFilesystem | NotFound | NotADirectory => not_accessible(path, error),
        _ => StoreError::Failed(format!("{}: {error}", path.display())),
    }
}

fn not_accessible(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::NotAccessible { path: path.display().to_string(), problem: error.to_string() }
}

fn corrupt(path: &Path, problem: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt { path: path.display().to_string(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests;
