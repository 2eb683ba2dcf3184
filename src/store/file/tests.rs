use super::*;

const FILE: &str = SESSIONS.file;

fn put(key: &str, value: impl Into<Bytes>) -> Batch {
    let mut batch = Batch::default();
    batch.put(Bytes::copy_from_slice(key.as_bytes()), value);
    batch
}

fn remove(from: &str, to: &str) -> Batch {
    let mut batch = Batch::default();
    batch.remove(Bytes::copy_from_slice(from.as_bytes()), Bytes::copy_from_slice(to.as_bytes()));
    batch
}

fn keys(store: &FileStore) -> Vec<String> {
    let records = store.load(b"").unwrap();
    records.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect()
}

#[tokio::test]
async fn what_was_stored_is_there_again() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("not/there/yet");
    let store = FileStore::open(&inner).unwrap();
    for key in ["a1", "a2", "a3", "b1"] {
        store.apply(put(key, "value")).await.unwrap();
    }
    store.apply(remove("a1", "a3")).await.unwrap();
    assert_eq!(store.bytes(), 14);
    drop(store);
    let store = FileStore::open(&inner).unwrap();
    assert_eq!(keys(&store), ["a3", "b1"]);
    assert_eq!(store.load(b"b").unwrap(), [(Bytes::from("b1"), Bytes::from("value"))]);
    assert_eq!(store.bytes(), 14);
}

#[test]
fn one_in_use_foreign_or_damaged_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let open = FileStore::open(directory.path()).unwrap();
    assert!(matches!(FileStore::open(directory.path()), Err(StoreError::Locked(_))));
    drop(open);
    assert!(FileStore::open(directory.path()).is_ok());

    let foreign = tempfile::tempdir().unwrap();
    let path = foreign.path().join(FILE);
    for bytes in [&b"not a database at all, but somebody's letters"[..], &[0; 5000], &[0xa5; 70_000], b""] {
        fs::write(&path, bytes).unwrap();
        let error = FileStore::open(foreign.path()).unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    fs::remove_file(&path).unwrap();
    drop(Database::create(&path).unwrap());
    assert!(matches!(FileStore::open(foreign.path()), Err(StoreError::Corrupt { .. })));

    let file = foreign.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(FileStore::open(&file), Err(StoreError::NotAccessible { .. })));
}

#[test]
fn a_later_format_is_refused_and_an_earlier_one_upgraded() {
    let directory = tempfile::tempdir().unwrap();
    drop(FileStore::open(directory.path()).unwrap());
    let path = directory.path().join(FILE);
    const UPGRADE: Upgrade = |transaction| {
        transaction.open_table(SESSIONS.records())?.insert(&b"upgraded"[..], &b"yes"[..])?;
        Ok(())
    };
    let later = Kind { upgrades: &[UPGRADE], ..SESSIONS };
    let (database, bytes) = open_database(later, &path, false).unwrap();
    assert_eq!(bytes, 11);
    drop(database);
    // Once is enough.
    assert!(open_database(later, &path, false).is_ok());
    let error = FileStore::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 2, supported: 1, .. }), "{error}");
    assert!(error.to_string().contains("update everlink"));
}

#[test]
fn bytes_flipped_anywhere_never_panic_and_never_pass_for_another_format() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for number in 0..50 {
        runtime.block_on(store.apply(put(&format!("key {number}"), vec![number; 2000]))).unwrap();
    }
    drop(store);
    let path = directory.path().join(FILE);
    let whole = fs::read(&path).unwrap();
    std::panic::set_hook(Box::new(|_| {}));
    for at in (0..whole.len()).step_by(whole.len() / 300) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x5a;
        fs::write(&path, &damaged).unwrap();
        // Either it is found out, or it was in a place that nobody reads.
        let opened = catch_unwind(|| FileStore::open(directory.path()).and_then(|store| store.load(b"")));
        assert!(opened.is_ok(), "byte {at}");
    }
    let _ = std::panic::take_hook();
}

#[cfg(unix)]
#[test]
fn only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("store");
    let _store = FileStore::open(&inner).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&inner), mode(&inner.join(FILE))), (0o700, 0o600));
}

#[tokio::test]
async fn a_full_store_takes_no_more_but_can_be_emptied() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open_with(directory.path(), FileStoreConfig { max_bytes: 10_000 }).unwrap();
    store.apply(put("a", vec![1; 6000])).await.unwrap();
    let error = store.apply(put("b", vec![1; 6000])).await.unwrap_err();
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert_eq!(keys(&store), ["a"]);
    store.apply(put("a", vec![1; 100])).await.unwrap();
    store.apply(put("b", vec![1; 6000])).await.unwrap();
    assert_eq!(keys(&store), ["a", "b"]);
}

#[tokio::test]
async fn one_batch_too_large_does_not_fail_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open_with(directory.path(), FileStoreConfig { max_bytes: 10_000 }).unwrap();
    let many: Vec<_> = (0..20)
        .map(|number| {
            store.apply(put(&format!("{number:02}"), vec![1; if number == 7 { 20_000 } else { 10 }]))
        })
        .collect();
    for (number, stored) in many.into_iter().enumerate() {
        assert_eq!(stored.await.is_ok(), number != 7, "batch {number}");
    }
}

#[test]
fn a_creation_that_was_cut_short_does_not_matter() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(format!("{FILE}.new")), "half of it").unwrap();
    assert!(FileStore::open(directory.path()).is_ok());
}
