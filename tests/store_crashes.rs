//! Stores whose process ends at any moment, and disks that take no more.
#![cfg(feature = "store")]

mod common;

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
#[cfg(target_os = "linux")]
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{World, chat};
use everlink::store::{Batch, Change, FileStore, MemoryStore, Store, StoreError};
use everlink::*;

/// Numbers that follow from a seed, well enough spread for sizes and moments.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

// ------------------------------------------------ every write of two clients

/// What both stores have at one moment, and what the applications know.
#[derive(Clone)]
struct Moment {
    peer: MemoryStore,
    host: MemoryStore,
    known: Known,
}

#[derive(Clone, Default, Debug)]
struct Known {
    stored: u64,
    received: u64,
    committed: u64,
}

/// Remembers the moment after each write of either store.
#[derive(Clone)]
struct Recorder {
    peer: MemoryStore,
    host: MemoryStore,
    known: Arc<Mutex<Known>>,
    moments: Arc<Mutex<Vec<Moment>>>,
}

struct Recorded(MemoryStore, Recorder);

impl Store for Recorded {
    fn load(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.0.load(prefix)
    }

    fn apply(&self, batch: Batch) -> std::pin::Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>> {
        let applied = self.0.apply(batch);
        let Recorder { peer, host, known, moments } = &self.1;
        let known = known.lock().unwrap().clone();
        moments.lock().unwrap().push(Moment { peer: peer.snapshot(), host: host.snapshot(), known });
        applied
    }
}

fn client(world: &World, secret: u8, store: impl Store) -> Client {
    Client::builder(Identity::from_secret([secret; 32]))
        .signaling(world.signaling.clone())
        .transport(world.network.transport())
        .store(store)
        .build()
}

fn lossless() -> ConnectionConfig {
    let mut config = ConnectionConfig::default();
    config.queue = QueueConfig::lossless();
    config.backoff.max_attempts = None;
    config
}

async fn connect(
    world: &World,
    host: impl Store,
    peer: impl Store,
) -> (Client, DurableService, Client, DurableConnection) {
    let host = client(world, 1, host);
    let mut config = chat();
    config.connection = lossless();
    let service = host.expose_service(config).await.expect("exposed");
    let peer = client(world, 2, peer);
    let at_peer = peer.connect_lazy(Target::Uuid(service.info().uuid), lossless());
    (host, service, peer, at_peer)
}

fn numbered(number: u64) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    let size = match number % 17 {
        0 => 40_000,
        rest => rest * 50,
    };
    bytes.resize(8 + size as usize, number as u8);
    bytes
}

fn number(message: &Message) -> u64 {
    let bytes = message.as_bytes();
    let number = u64::from_be_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, numbered(number), "message {number} changed");
    number
}

/// Both processes die right after a write, whichever it was: what was stored is delivered, in order,
/// and what was committed does not come again.
#[tokio::test(start_paused = true)]
async fn killed_at_every_write_it_goes_on_as_the_model_says() {
    const MESSAGES: u64 = 150;
    let recorder = Recorder {
        peer: MemoryStore::new(),
        host: MemoryStore::new(),
        known: Arc::default(),
        moments: Arc::default(),
    };
    let known = recorder.known.clone();
    let world = World::new(77);
    let (host, service, peer, at_peer) = connect(
        &world,
        Recorded(recorder.host.clone(), recorder.clone()),
        Recorded(recorder.peer.clone(), recorder.clone()),
    )
    .await;
    let ours = at_peer.open_channel("numbers").unwrap();
    let sending = async {
        let mut random = Seeded(1);
        for number in 0..MESSAGES {
            let receipt = ours.send(numbered(number)).await.expect("taken");
            // Some by themselves, some many together.
            if random.below(3) == 0 {
                receipt.stored().await.expect("stored");
                known.lock().unwrap().stored = number + 1;
                tokio::time::sleep(Duration::from_millis(random.below(30))).await;
            }
            if random.below(20) == 0 {
                world.network.cut_all();
            }
        }
    };
    let receiving = async {
        let at_host = service.accept().await.expect("a session");
        let mut theirs = at_host.open_channel("numbers").unwrap();
        let mut random = Seeded(2);
        for expected in 0..MESSAGES {
            assert_eq!(number(&theirs.recv().await.expect("received")), expected);
            known.lock().unwrap().received = expected + 1;
            if random.below(6) == 0 {
                theirs.commit().await.expect("committed");
                known.lock().unwrap().committed = expected + 1;
            }
        }
        (at_host, theirs)
    };
    let ((), _kept) = tokio::join!(sending, receiving);
    let moments = std::mem::take(&mut *recorder.moments.lock().unwrap());
    drop((host, peer));
    assert!(moments.len() > 100, "{} writes", moments.len());

    for (at, moment) in moments.into_iter().enumerate() {
        let Known { stored, received, committed } = moment.known;
        let world = World::new(at as u64);
        let (host, service, peer, at_peer) = connect(&world, moment.host, moment.peer).await;
        let ours = at_peer.open_channel("numbers").unwrap();
        // A message of the new life is the last, and shows that the session goes on.
        ours.send("end").await.expect("taken");
        let within = Duration::from_secs(60);
        let at_host = tokio::time::timeout(within, service.accept()).await.expect("soon").expect("a session");
        let mut theirs = at_host.open_channel("numbers").unwrap();
        let mut next = None;
        loop {
            let message = tokio::time::timeout(within, theirs.recv()).await;
            let message =
                message.unwrap_or_else(|_| panic!("write {at}: nothing after {next:?} of {stored}"));
            let message = message.unwrap_or_else(|error| panic!("write {at}: {error}"));
            if message.as_text() == Some("end") {
                break;
            }
            let number = number(&message);
            let first = next.is_none();
            assert!(!first || (committed..=received).contains(&number), "write {at}: {number} came first");
            assert!(first || next == Some(number), "write {at}: {number} came instead of {next:?}");
            next = Some(number + 1);
        }
        assert!(next.unwrap_or(received) >= stored, "write {at}: {next:?} of {stored} stored");
        host.shutdown().await;
        peer.shutdown().await;
    }
}

// ------------------------------------------------- kill -9 of one that writes

const CHILD: &str = "EVERLINK_TEST_STORE_CHILD";
const PARTS: u64 = 5;
/// Batches that are kept.
const KEPT: u64 = 40;

fn key(batch: u64, part: u64) -> Bytes {
    format!("batch {batch:012} {part}").into_bytes().into()
}

fn value(batch: u64, part: u64) -> Bytes {
    vec![(batch + part) as u8; (batch * 131 + part * 977) as usize % 6000].into()
}

fn batch(number: u64) -> Batch {
    let mut changes: Vec<_> =
        (0..PARTS).map(|part| Change::Put { key: key(number, part), value: value(number, part) }).collect();
    changes.push(Change::Put {
        key: Bytes::from_static(b"newest"),
        value: number.to_be_bytes().to_vec().into(),
    });
    changes.push(Change::Remove { from: key(0, 0), to: key((number + 1).saturating_sub(KEPT), 0) });
    Batch { changes }
}

/// The newest batch, once it is clear that exactly the last ones are there, and whole.
fn newest(store: &FileStore) -> Option<u64> {
    let records = store.load(b"").expect("readable");
    let newest = records.iter().find(|(key, _)| &key[..] == b"newest");
    let newest = newest.map(|(_, value)| u64::from_be_bytes(value[..].try_into().expect("a number")));
    let Some(last) = newest else {
        assert!(records.is_empty());
        return None;
    };
    let batches = (last + 1).saturating_sub(KEPT).max(1)..=last;
    let expected: Vec<_> = batches
        .flat_map(|batch| (0..PARTS).map(move |part| (key(batch, part), value(batch, part))))
        .collect();
    let found: Vec<_> = records.into_iter().filter(|(key, _)| key.starts_with(b"batch")).collect();
    assert!(found == expected, "{} records of {}", found.len(), expected.len());
    newest
}

/// Not a test, but the process that the next one kills.
#[tokio::test]
async fn child_that_writes() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let store = FileStore::open(directory).expect("free again");
    let mut number = newest(&store).unwrap_or(0);
    let mut waiting = VecDeque::new();
    let begun = std::time::Instant::now();
    // Its parent kills it long before.
    while begun.elapsed() < Duration::from_secs(20) {
        number += 1;
        waiting.push_back((number, store.apply(batch(number))));
        // Several at once are written together.
        if waiting.len() > (number % 7) as usize
            && let Some((oldest, stored)) = waiting.pop_front()
        {
            stored.await.expect("stored");
            println!("confirmed {oldest}");
        }
    }
}

#[test]
fn killed_while_it_writes_it_has_every_confirmed_batch_and_each_whole() {
    const KILLS: u64 = 40;
    let directory = tempfile::tempdir().unwrap();
    let mut random = Seeded(3);
    let (mut total, mut unconfirmed) = (0, 0);
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes", "--nocapture", "--test-threads", "1"])
            .env(CHILD, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        // Sometimes while it opens the store, mostly while it writes.
        std::thread::sleep(Duration::from_millis(random.below(150)));
        child.kill().unwrap();
        child.wait().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let confirmed = lines.filter_map(|line| line.split_once("confirmed ")?.1.parse::<u64>().ok()).max();
        let store = FileStore::open(directory.path()).unwrap_or_else(|error| panic!("kill {kill}: {error}"));
        let there = newest(&store).unwrap_or(0);
        let least = confirmed.unwrap_or(total);
        assert!(there >= least, "kill {kill}: {least} was confirmed, {there} is the newest");
        unconfirmed += there - least;
        total = there;
    }
    println!("{KILLS} kills, {total} batches, {unconfirmed} of them stored without a word");
    assert!(total > KILLS, "it hardly wrote anything");
}

// --------------------------------------------------- disks that take no more

/// A small disk in memory, taken down in the end.
#[cfg(target_os = "linux")]
struct SmallDisk {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

#[cfg(target_os = "linux")]
impl SmallDisk {
    /// None, told on stderr, where this user may not mount.
    fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        std::fs::create_dir(&path).unwrap();
        let size = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "everlink-test"]).arg(&path).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { path, _directory: directory }),
            failed => {
                eprintln!("SKIPPED: a small disk cannot be mounted here, which needs root: {failed:?}");
                None
            }
        }
    }

    fn remount(&self, how: &str) {
        let remounted =
            Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.path).output().unwrap();
        assert!(remounted.status.success(), "{remounted:?}");
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

#[cfg(target_os = "linux")]
fn put(name: &str, size: usize) -> Batch {
    let (key, value) = (Bytes::copy_from_slice(name.as_bytes()), vec![7; size].into());
    Batch { changes: vec![Change::Put { key, value }] }
}

#[cfg(target_os = "linux")]
fn names(store: &FileStore) -> usize {
    store.load(b"").expect("readable").len()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_told_and_used_again_when_there_is_room() {
    let Some(disk) = SmallDisk::mount("6m") else { return };
    let ballast = disk.path.join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    let store = FileStore::open(disk.path.join("store")).unwrap();
    let mut taken = 0;
    let error = loop {
        match store.apply(put(&format!("{taken:04}"), 20_000)).await {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 1000, "the disk never fills");
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert!(error.to_string().contains("free some space"), "{error}");
    assert_eq!(names(&store), taken, "what was confirmed is there");
    // Again and again it says so, and does no harm.
    for _ in 0..3 {
        assert!(matches!(store.apply(put("more", 20_000)).await, Err(StoreError::Full(_))));
    }
    std::fs::remove_file(&ballast).unwrap();
    store.apply(put("more", 20_000)).await.expect("there is room");
    assert_eq!(names(&store), taken + 1);
    drop(store);
    assert_eq!(names(&FileStore::open(disk.path.join("store")).unwrap()), taken + 1);

    // A disk without room for a new store.
    std::fs::write(&ballast, vec![0; 100]).unwrap();
    let rest = std::fs::OpenOptions::new().append(true).open(&ballast).unwrap();
    while std::io::Write::write(&mut &rest, &[0; 4096]).is_ok_and(|written| written > 0) {}
    let error = FileStore::open(disk.path.join("new")).unwrap_err();
    assert!(matches!(error, StoreError::Full(_)), "{error}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_disk_that_becomes_read_only_is_told_and_used_again_afterwards() {
    let Some(disk) = SmallDisk::mount("8m") else { return };
    let path = disk.path.join("store");
    drop(FileStore::open(&path).unwrap());
    disk.remount("ro");
    let error = FileStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::NotAccessible { .. }), "{error}");
    let error = FileStore::open(disk.path.join("new")).unwrap_err();
    assert!(matches!(error, StoreError::NotAccessible { .. }), "{error}");
    disk.remount("rw");
    let store = FileStore::open(&path).unwrap();
    store.apply(put("a", 100)).await.unwrap();
    assert_eq!(names(&store), 1);
}

/// The promise of the connection above: it stops, says so, and goes on.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_waits_for_room_on_its_disk_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount("6m") else { return };
    let ballast = disk.path.join("ballast");
    let world = World::new(5);
    let store = FileStore::open(disk.path.join("store")).unwrap();
    let (_host, service, _peer, at_peer) = connect(&world, MemoryStore::new(), store).await;
    let ours = at_peer.open_channel("numbers").unwrap();
    let at_host = service.accept().await.unwrap();
    let mut theirs = at_host.open_channel("numbers").unwrap();
    let mut filling = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write(&mut filling, &[0; 4096]).is_ok_and(|written| written > 0) {}
    let mut sent = 0;
    let refused = async {
        loop {
            match ours.send(numbered(sent)).await {
                Ok(_) => sent += 1,
                Err(error) => break error,
            }
            tokio::task::yield_now().await;
        }
    };
    let refused = tokio::time::timeout(Duration::from_secs(20), refused).await.expect("refused");
    assert!(matches!(refused, SendError::Store(StoreError::Full(_))), "{refused}");
    std::fs::remove_file(&ballast).unwrap();
    drop(filling);
    let again = async {
        while ours.send(numbered(sent)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again).await.expect("it goes on by itself");
    for expected in 0..=sent {
        let message = tokio::time::timeout(Duration::from_secs(20), theirs.recv()).await.expect("soon");
        assert_eq!(number(&message.expect("received")), expected);
    }
}
