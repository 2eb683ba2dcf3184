//! The records of a signaling server, in a store like any other.

use std::path::Path;

use redb::{ReadableTable as _, TableDefinition, WriteTransaction};

use super::{FileStore, FileStoreConfig, Kind, StoreError};

const DIRECTORY: Kind = Kind {
    file: "directory.redb",
    table: "everlink directory",
    upgrades: &[from_0_1_0],
    unnumbered: Some("everlink directory 1"),
};

/// Where 0.1.0 kept them.
const OLD: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("everlink directory 1");

impl FileStore {
    /// Opens the store of a server in a directory, which is made if need be. The directory itself
    /// bounds what is in it.
    ///
    /// # Errors
    /// As of [`open`](Self::open).
    pub(crate) fn open_directory(directory: &Path) -> Result<Self, StoreError> {
        Self::open_kind(DIRECTORY, directory, FileStoreConfig { max_bytes: u64::MAX })
    }
}

/// Moves the records to where they are bytes and the format has a number.
fn from_0_1_0(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    {
        let old = transaction.open_table(OLD)?;
        let mut new = transaction.open_table(DIRECTORY.records())?;
        for record in old.iter()? {
            let (key, value) = record?;
            new.insert(key.value().as_bytes(), value.value())?;
        }
    }
    transaction.delete_table(OLD)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Bytes;
    use redb::{Database, ReadableDatabase as _};

    use super::*;
    use crate::store::Store as _;

    /// What 0.1.0 did to write.
    fn write_as_0_1_0(path: &Path, records: &[(&str, &str)]) {
        let database = Database::create(path).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut table = transaction.open_table(OLD).unwrap();
            for (key, value) in records {
                table.insert(key, value.as_bytes()).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    #[test]
    fn what_0_1_0_wrote_is_read_and_written_on() {
        for records in [&[][..], &[("claim/alice", "{}"), ("service/1", "[1]")]] {
            let directory = tempfile::tempdir().unwrap();
            write_as_0_1_0(&directory.path().join(DIRECTORY.file), records);
            let expected: Vec<_> =
                records.iter().map(|(key, value)| (Bytes::from(*key), Bytes::from(*value))).collect();
            // Upgraded, and then as it is.
            for _ in 0..2 {
                let store = FileStore::open_directory(directory.path()).unwrap();
                assert_eq!(store.load(b"").unwrap(), expected);
            }
        }
    }

    #[test]
    fn an_upgrade_that_fails_leaves_what_0_1_0_wrote() {
        const BROKEN: Kind = Kind {
            upgrades: &[|transaction| {
                from_0_1_0(transaction)?;
                Err(redb::Error::Corrupted("half way".to_owned()))
            }],
            ..DIRECTORY
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(DIRECTORY.file);
        write_as_0_1_0(&path, &[("claim/alice", "{}")]);
        let config = FileStoreConfig::default();
        assert!(FileStore::open_kind(BROKEN, directory.path(), config).is_err());
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_read().unwrap();
        assert_eq!(transaction.open_table(OLD).unwrap().iter().unwrap().count(), 1);
    }

    #[test]
    fn sessions_are_no_directory_and_a_directory_no_sessions() {
        let directory = tempfile::tempdir().unwrap();
        drop(FileStore::open(directory.path()).unwrap());
        drop(FileStore::open_directory(directory.path()).unwrap());
        let path = |file: &str| directory.path().join(file);
        fs::rename(path("sessions.redb"), path("between")).unwrap();
        fs::rename(path("directory.redb"), path("sessions.redb")).unwrap();
        fs::rename(path("between"), path("directory.redb")).unwrap();
        assert!(FileStore::open(directory.path()).is_err());
        assert!(FileStore::open_directory(directory.path()).is_err());
    }
}
