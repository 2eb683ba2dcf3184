//! Names and services in a [`Store`].
//!
//! Whatever came in while a batch was written goes into the next one together, so a hundred hosts
//! that refresh at once cost one sync of the disk and not a hundred.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use super::ServerError;
use crate::runtime::{self, BoxFuture};
use crate::signaling::SignalingError;
use crate::signaling::directory::Change;
use crate::signaling::local::{Keeper, internal};
use crate::store::{Batch, FileStore, Store, StoreError};

/// How long to wait before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A record's key and value.
type Record = (String, Vec<u8>);

/// Writes the changes of a directory.
pub(super) struct Journal {
    store: Box<dyn Store>,
    pending: Mutex<Pending>,
    /// There is something to write, or the end has come.
    work: Notify,
    written: watch::Sender<Written>,
}

#[derive(Default)]
struct Pending {
    batch: Batch,
    number: u64,
    ending: bool,
}

#[derive(Clone, Default)]
struct Written {
    number: u64,
    failures: u64,
    why: String,
    ended: bool,
}

impl Journal {
    /// Opens the journal in a directory, which is made if need be, and reads its records.
    pub(super) fn open(directory: &Path) -> Result<(Self, Vec<Record>), ServerError> {
        FileStore::open_directory(directory)
            .and_then(Self::over)
            .map_err(|error| ServerError::Data { path: directory.to_owned(), problem: problem(error) })
    }

    /// The journal in a store, and its records.
    fn over(store: impl Store) -> Result<(Self, Vec<Record>), StoreError> {
        let records = store.load(b"")?;
        let text = |key: Bytes| {
            String::from_utf8(key.into()).map_err(|error| StoreError::Corrupt {
                path: "the directory".to_owned(),
                problem: format!("a key is no text: {error}"),
            })
        };
        let records = records.into_iter().map(|(key, value)| Ok((text(key)?, value.into())));
        let records = records.collect::<Result<_, StoreError>>()?;
        let journal = Self {
            store: Box::new(store),
            pending: Mutex::default(),
            work: Notify::new(),
            written: watch::Sender::new(Written::default()),
        };
        Ok((journal, records))
    }

    /// Writes what comes, until [`end`](Self::end) and what is there then.
    pub(super) async fn write_all(&self) {
        let mut batch = Batch::default();
        loop {
            let (number, ending) = self.next(&mut batch).await;
            let wrote = if batch.is_empty() { Ok(()) } else { self.store.apply(batch.clone()).await };
            match wrote {
                Ok(()) => {
                    batch.changes.clear();
                    self.written.send_modify(|written| written.number = number);
                }
                Err(error) => {
                    tracing::error!(%error, "cannot write the directory; trying again");
                    self.written.send_modify(|written| {
                        written.failures += 1;
                        written.why = error.to_string();
                    });
                    if !ending {
                        // Woken early by the next change, which may well try at once.
                        runtime::timeout(RETRY, self.work.notified()).await;
                    }
                }
            }
            if ending {
                self.written.send_modify(|written| written.ended = true);
                return;
            }
        }
    }

    /// Lets [`write_all`](Self::write_all) end.
    pub(super) fn end(&self) {
        self.lock().ending = true;
        self.work.notify_one();
    }

    /// Adds what is to be written to the batch, and waits until it holds something. Returns the
    /// number of its last change, and whether it is the last batch.
    async fn next(&self, batch: &mut Batch) -> (u64, bool) {
        loop {
            {
                let mut pending = self.lock();
                batch.changes.append(&mut pending.batch.changes);
                if !batch.is_empty() || pending.ending {
                    return (pending.number, pending.ending);
                }
            }
            self.work.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let rest = std::mem::take(&mut self.lock().batch);
        if !rest.is_empty() {
            // Nobody was told of it, but there is nothing against keeping it.
            drop(self.store.apply(rest));
        }
    }
}

impl Keeper for Journal {
    fn keep(&self, changes: Vec<Change>) -> u64 {
        let mut pending = self.lock();
        if !changes.is_empty() {
            pending.number += 1;
            for Change { key, value } in changes {
                match value {
                    Some(value) => pending.batch.put(key.into(), value),
                    // The next key after it is it and a zero.
                    None => pending.batch.remove(key.clone().into(), format!("{key}\0").into()),
                }
            }
            self.work.notify_one();
        }
        pending.number
    }

    fn kept(&self, number: u64) -> BoxFuture<'_, Result<(), SignalingError>> {
        let mut written = self.written.subscribe();
        Box::pin(async move {
            let failures = written.borrow().failures;
            let decided = |now: &Written| now.number >= number || now.failures > failures || now.ended;
            match written.wait_for(decided).await {
                Ok(now) if now.number >= number => Ok(()),
                Ok(now) if now.failures > failures => {
                    Err(internal(format!("the server cannot write: {}", now.why)))
                }
                _ => Err(internal("the server is ending")),
            }
        })
    }
}

/// What is wrong with a data directory, and what to do.
fn problem(error: StoreError) -> String {
    match error {
        StoreError::Locked(_) => "another server is using it; stop that one, or choose another".to_owned(),
        StoreError::NotAccessible { problem, .. } => {
            format!("{problem}; choose a directory that can be made, read and written to")
        }
        StoreError::Corrupt { path, problem } => format!(
            "{path} is damaged or not of everlink ({problem}); restore it from a backup, or move it away \
             to start empty"
        ),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::MemoryStore;

    fn change(key: &str, value: Option<&str>) -> Change {
        Change { key: key.to_owned(), value: value.map(|value| value.as_bytes().to_vec()) }
    }

    fn keys(records: &[Record]) -> Vec<&str> {
        records.iter().map(|(key, _)| key.as_str()).collect()
    }

    #[tokio::test]
    async fn what_was_kept_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("not/there/yet");
        let (journal, records) = Journal::open(&inner).unwrap();
        assert!(records.is_empty());
        let writes = async {
            let number = journal.keep(vec![change("a", Some("1")), change("b", Some("2"))]);
            journal.kept(number).await.unwrap();
            journal.keep(vec![change("a", None), change("c", Some("3"))]);
            journal.end();
        };
        futures_util::join!(journal.write_all(), writes);
        drop(journal);
        let (journal, records) = Journal::open(&inner).unwrap();
        assert_eq!(keys(&records), ["b", "c"]);
        // Dropped without an end, it has still what it was given.
        journal.keep(vec![change("d", Some("4"))]);
        drop(journal);
        let (_, records) = Journal::open(&inner).unwrap();
        assert_eq!(keys(&records), ["b", "c", "d"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_fails_is_told_and_tried_again() {
        let store = MemoryStore::new();
        let (journal, _) = Journal::over(store.clone()).unwrap();
        let full = || store.fail(Some(StoreError::Full("a test".into())));
        full();
        let writes = async {
            let number = journal.keep(vec![change("a", Some("1"))]);
            let error = journal.kept(number).await.unwrap_err().to_string();
            assert!(error.contains("cannot write") && error.contains("a test"), "{error}");
            store.fail(None);
            journal.kept(number).await.unwrap();
            assert_eq!(store.len(), 1);
            full();
            let number = journal.keep(vec![change("b", Some("2"))]);
            journal.end();
            number
        };
        let (number, ()) = futures_util::join!(writes, journal.write_all());
        assert!(journal.kept(number).await.is_err());
    }

    #[test]
    fn one_in_use_foreign_or_damaged_is_refused_and_left_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let (_open, _) = Journal::open(directory.path()).unwrap();
        let problem = |path: &Path| Journal::open(path).err().unwrap().to_string();
        assert!(problem(directory.path()).contains("another server"));

        let foreign = tempfile::tempdir().unwrap();
        let path = foreign.path().join("directory.redb");
        fs::write(&path, b"not a database at all, but somebody's letters").unwrap();
        let told = problem(foreign.path());
        assert!(told.contains("backup"), "{told}");
        assert_eq!(fs::read(&path).unwrap(), b"not a database at all, but somebody's letters");

        let file = foreign.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(problem(&file).contains("choose a directory"));
    }
}
