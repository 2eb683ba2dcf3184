//! Names and services on disk, in a redb database that a crash cannot tear.
//!
//! One thread writes. Whatever came in while it wrote goes into the next transaction together, so
//! a hundred hosts that refresh at once cost one sync of the disk and not a hundred.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition,
};
use tokio::sync::watch;

use super::ServerError;
use crate::runtime::BoxFuture;
use crate::signaling::SignalingError;
use crate::signaling::directory::Change;
use crate::signaling::local::{Keeper, internal};

const FILE: &str = "directory.redb";
const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("everlink directory 1");
/// The records are few and read once.
const CACHE: usize = 8 << 20;
/// How long to wait before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A record's key and value.
type Record = (String, Vec<u8>);

/// Writes the changes of a directory.
pub(super) struct Journal {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    pending: Mutex<Pending>,
    /// There is something to write, or the end has come.
    work: Condvar,
    written: watch::Sender<Written>,
}

#[derive(Default)]
struct Pending {
    changes: Vec<Change>,
    number: u64,
    ending: bool,
}

#[derive(Clone, Default)]
struct Written {
    number: u64,
    failures: u64,
    why: String,
}

impl Journal {
    /// Opens the journal in a directory, which is made if need be, and reads its records.
    pub(super) fn open(directory: &Path) -> Result<(Self, Vec<Record>), ServerError> {
        let path = directory.join(FILE);
        let fail = |problem: String| ServerError::Data { path: path.clone(), problem };
        fs::create_dir_all(directory)
            .map_err(|error| fail(format!("{error}; choose a directory that can be made and written to")))?;
        if !path.exists() {
            create(directory, &path)
                .map_err(|why| fail(format!("{why}; is there room, and may it be written to?")))?;
        }
        let database = match Database::builder().set_cache_size(CACHE).open(&path) {
            Ok(database) => database,
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                return Err(fail("another server is using it; stop that one, or choose another".to_owned()));
            }
            Err(DatabaseError::Storage(StorageError::Io(error)))
                if error.kind() != std::io::ErrorKind::InvalidData =>
            {
                return Err(fail(format!("{error}; may it be read and written to?")));
            }
            Err(error) => return Err(fail(damaged(&error))),
        };
        let records = read(&database).map_err(|error| fail(damaged(&error)))?;
        let shared = Arc::new(Shared {
            pending: Mutex::default(),
            work: Condvar::new(),
            written: watch::Sender::new(Written::default()),
        });
        let writer = std::thread::Builder::new()
            .name("everlink-journal".to_owned())
            .spawn({
                let shared = shared.clone();
                move || write_all(&database, &shared)
            })
            .map_err(|error| fail(format!("cannot start the thread that writes: {error}")))?;
        Ok((Self { shared, writer: Mutex::new(Some(writer)) }, records))
    }

    /// Writes what is left and closes the database.
    pub(super) async fn finish(&self) {
        self.shared.lock().ending = true;
        self.shared.work.notify_one();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let mut written = self.shared.written.subscribe();
            // The thread's end of the channel says when it is done; joining it then is at once.
            let _ = written.wait_for(|written| written.number == u64::MAX).await;
            let _ = writer.join();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.lock().ending = true;
        self.shared.work.notify_one();
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A write at most, and then the files are free for a successor.
            let _ = writer.join();
        }
    }
}

impl Keeper for Journal {
    fn keep(&self, changes: Vec<Change>) -> u64 {
        let mut pending = self.shared.lock();
        if !changes.is_empty() {
            pending.number += 1;
            pending.changes.extend(changes);
            self.shared.work.notify_one();
        }
        pending.number
    }

    fn kept(&self, number: u64) -> BoxFuture<'_, Result<(), SignalingError>> {
        let mut written = self.shared.written.subscribe();
        Box::pin(async move {
            let failures = written.borrow().failures;
            match written.wait_for(|now| now.number >= number || now.failures > failures).await {
                Ok(now) if now.number >= number => Ok(()),
                Ok(now) => Err(internal(format!("the server cannot write: {}", now.why))),
                Err(_) => Err(internal("the server is ending")),
            }
        })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a database under another name first: under its own it is whole or not there.
fn create(directory: &Path, path: &Path) -> Result<(), String> {
    let temporary: PathBuf = directory.join(format!("{FILE}.new"));
    let make = || -> Result<(), redb::Error> {
        if temporary.exists() {
            fs::remove_file(&temporary)?;
        }
        let database = Database::builder().set_cache_size(CACHE).create(&temporary)?;
        let transaction = database.begin_write()?;
        transaction.open_table(RECORDS)?;
        transaction.commit()?;
        drop(database);
        fs::rename(&temporary, path)?;
        #[cfg(unix)]
        fs::File::open(directory)?.sync_all()?;
        Ok(())
    };
    make().map_err(|error| error.to_string())
}

fn read(database: &Database) -> Result<Vec<Record>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = transaction.open_table(RECORDS)?;
    let mut records = Vec::new();
    for record in table.iter()? {
        let (key, value) = record?;
        records.push((key.value().to_owned(), value.value().to_owned()));
    }
    Ok(records)
}

fn damaged(error: &dyn std::fmt::Display) -> String {
    format!(
        "it is damaged or not a directory of this version of everlink ({error}); restore it from a backup, \
         or move it away to start empty"
    )
}

/// The thread that writes, until the journal ends.
fn write_all(database: &Database, shared: &Shared) {
    let mut batch = Vec::new();
    loop {
        let mut pending = shared.lock();
        while pending.changes.is_empty() && batch.is_empty() && !pending.ending {
            pending = shared.work.wait(pending).unwrap_or_else(PoisonError::into_inner);
        }
        batch.append(&mut pending.changes);
        let (number, ending) = (pending.number, pending.ending);
        drop(pending);
        match write(database, &batch) {
            Ok(()) => {
                batch.clear();
                shared.written.send_modify(|written| written.number = number);
            }
            Err(error) => {
                tracing::error!(%error, "cannot write the directory; trying again");
                shared.written.send_modify(|written| {
                    written.failures += 1;
                    written.why = error.to_string();
                });
                if !ending {
                    // Woken early by the next change, which may well try at once.
                    let pending = shared.lock();
                    drop(shared.work.wait_timeout(pending, RETRY));
                }
            }
        }
        if ending {
            shared.written.send_modify(|written| written.number = u64::MAX);
            return;
        }
    }
}

fn write(database: &Database, changes: &[Change]) -> Result<(), redb::Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(RECORDS)?;
        for Change { key, value } in changes {
            match value {
                Some(value) => drop(table.insert(key.as_str(), value.as_slice())?),
                None => drop(table.remove(key.as_str())?),
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, value: Option<&str>) -> Change {
        Change { key: key.to_owned(), value: value.map(|value| value.as_bytes().to_vec()) }
    }

    #[tokio::test]
    async fn what_was_kept_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("not/there/yet");
        let (journal, records) = Journal::open(&inner).unwrap();
        assert!(records.is_empty());
        let number = journal.keep(vec![change("a", Some("1")), change("b", Some("2"))]);
        journal.kept(number).await.unwrap();
        journal.keep(vec![change("a", None), change("c", Some("3"))]);
        journal.finish().await;
        let (_, records) = Journal::open(&inner).unwrap();
        let keys: Vec<_> = records.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["b", "c"]);
    }

    #[test]
    fn one_in_use_foreign_or_damaged_is_refused_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let (_open, _) = Journal::open(directory.path()).unwrap();
        let problem = |path: &Path| Journal::open(path).err().unwrap().to_string();
        assert!(problem(directory.path()).contains("another server"));

        let foreign = tempfile::tempdir().unwrap();
        let path = foreign.path().join(FILE);
        for bytes in [&b"not a database at all, but somebody's letters"[..], &[0; 5000], &[0xa5; 70_000]] {
            fs::write(&path, bytes).unwrap();
            let problem = problem(foreign.path());
            assert!(problem.contains("backup"), "{problem}");
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
        fs::remove_file(&path).unwrap();
        let other = Database::create(&path).unwrap();
        drop(other);
        assert!(problem(foreign.path()).contains("not a directory of this version"));

        let file = foreign.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(problem(&file).contains("choose a directory"));
    }

    #[test]
    fn a_creation_that_was_cut_short_does_not_matter() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(format!("{FILE}.new")), "half of it").unwrap();
        assert!(Journal::open(directory.path()).is_ok());
    }
}
