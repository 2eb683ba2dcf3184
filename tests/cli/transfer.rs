//! Files, by `send` and `recv`, in processes that are killed.

use std::fs;
use std::io::Write as _;

use everlink::signaling::HttpSignaling;
use everlink::{Client, Identity};
use serde_json::Value;

use crate::process::{Ended, Running, World};

const SERVICE: &str = "alice/inbox@1.0.0";

/// Where things are.
struct Files {
    world: World,
    _server: Running,
    url: String,
    inbox: String,
    source: String,
}

impl Files {
    fn new(length: usize) -> Self {
        let world = World::new();
        let (server, url) = world.serve(&[]);
        let (inbox, source) = (world.path("inbox"), world.path("a file.bin"));
        fs::create_dir(&inbox).unwrap();
        fs::write(&source, noise(length)).unwrap();
        Self { world, _server: server, url, inbox, source }
    }

    fn recv(&self, more: &[&str]) -> (Running, String) {
        let args = ["recv", SERVICE, "--server", &self.url, "--out", &self.inbox];
        let receiver = self.world.start(&[&args[..], more].concat());
        let line = receiver.line();
        (receiver, line.strip_prefix("service ").unwrap_or_else(|| panic!("{line}")).to_owned())
    }

    fn send(&self, target: &str) -> Running {
        self.world.start(&["send", &self.source, target, "--server", &self.url, "--json"])
    }

    fn part(&self) -> String {
        format!("{}/a file.bin.part", self.inbox)
    }

    fn arrived(&self) -> bool {
        fs::read(format!("{}/a file.bin", self.inbox))
            .is_ok_and(|file| file == fs::read(&self.source).unwrap())
    }

    /// Waits until the receiver has written so much.
    fn until_written(&self, process: &Running, length: u64) {
        process
            .until("some of the file", |_| fs::metadata(self.part()).is_ok_and(|part| part.len() >= length));
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 16).to_le_bytes()[..6]);
    }
    bytes.truncate(length);
    bytes
}

/// What a sender said at its end.
fn sent(ended: &Ended) -> Value {
    ended.expect_success();
    let last = ended.stdout.lines().last().unwrap();
    let told: Value = serde_json::from_str(last).unwrap();
    assert_eq!(told["event"], "sent", "{last}");
    told
}

#[test]
fn a_file_arrives_whole_whatever_its_size() {
    for length in [0, 1, 61_440, 61_441, 3_000_000] {
        let files = Files::new(length);
        let (receiver, uuid) = files.recv(&[]);
        let target = if length == 1 { SERVICE } else { &uuid };
        let told = sent(&files.send(target).end());
        assert_eq!((told["size"].as_u64(), told["resumed_from"].as_u64()), (Some(length as u64), Some(0)));
        let received = receiver.end();
        received.expect_success();
        assert!(
            received.stdout.starts_with("received ") && received.stdout.contains("a file.bin ("),
            "{received:?}"
        );
        assert!(received.stdout.contains(told["sha256"].as_str().unwrap()), "{received:?}");
        assert!(files.arrived());
        assert_eq!(fs::read_dir(&files.inbox).unwrap().count(), 1, "nothing else is left");
    }
}

#[test]
fn a_sender_that_was_killed_goes_on_where_it_stopped() {
    let files = Files::new(40_000_000);
    let (receiver, uuid) = files.recv(&[]);
    let mut least = 1_000_000;
    for _ in 0..3 {
        let sender = files.send(&uuid);
        files.until_written(&sender, least);
        sender.kill();
        least += 5_000_000;
    }
    let told = sent(&files.send(&uuid).end());
    assert!(told["resumed_from"].as_u64().unwrap() >= 10_000_000, "{told}");
    receiver.end().expect_success();
    assert!(files.arrived());
}

#[test]
fn a_receiver_that_was_killed_goes_on_where_it_stopped() {
    let files = Files::new(40_000_000);
    let (receiver, uuid) = files.recv(&[]);
    let sender = files.send(&uuid);
    files.until_written(&sender, 1_000_000);
    receiver.kill();
    let (receiver, again) = files.recv(&[]);
    assert_eq!(again, uuid);
    files.until_written(&sender, 10_000_000);
    receiver.kill();
    let (receiver, _) = files.recv(&[]);
    // The sender was never stopped.
    let told = sent(&sender.end());
    assert!(told["resumed_from"].as_u64().unwrap() >= 10_000_000, "{told}");
    receiver.end().expect_success();
    assert!(files.arrived());
}

#[test]
fn both_were_killed_and_what_is_there_is_no_beginning() {
    let files = Files::new(20_000_000);
    let (receiver, uuid) = files.recv(&[]);
    let sender = files.send(&uuid);
    files.until_written(&sender, 5_000_000);
    sender.kill();
    receiver.kill();
    // Somebody spoilt it in the middle, as a power cut does.
    let mut part = fs::read(files.part()).unwrap();
    let middle = part.len() / 2;
    part[middle] ^= 1;
    fs::write(files.part(), part).unwrap();
    let (receiver, uuid) = files.recv(&[]);
    let told = sent(&files.send(&uuid).end());
    let from = told["resumed_from"].as_u64().unwrap();
    assert!(from > 0 && from <= middle as u64, "up to what is spoilt: {from} of {middle}");
    receiver.end().expect_success();
    assert!(files.arrived());
}

#[test]
fn what_is_there_is_not_overwritten_unless_it_is_forced() {
    let files = Files::new(100_000);
    let place = format!("{}/a file.bin", files.inbox);
    fs::write(&place, "mine").unwrap();
    let (receiver, uuid) = files.recv(&[]);
    let sender = files.send(&uuid).end();
    assert_eq!(sender.code, Some(1));
    assert!(
        sender.stderr.contains("the receiver says") && sender.stderr.contains("exists already"),
        "{sender:?}"
    );
    let receiver = receiver.end();
    assert_eq!(receiver.code, Some(1));
    assert!(receiver.stderr.contains("--force"), "{receiver:?}");
    assert_eq!(fs::read(&place).unwrap(), b"mine");

    let (receiver, uuid) = files.recv(&["--force", "--keep"]);
    for _ in 0..2 {
        sent(&files.send(&uuid).end());
        assert!(receiver.line().starts_with("received "));
        assert!(files.arrived());
    }
    #[cfg(unix)]
    receiver.terminate().expect_success();

    // Without it, too, the same file again is no conflict.
    let (receiver, uuid) = files.recv(&[]);
    let told = sent(&files.send(&uuid).end());
    assert_eq!(told["resumed_from"].as_u64(), Some(100_000));
    receiver.end().expect_success();
}

#[test]
fn a_file_that_changes_meanwhile_is_found_out() {
    let files = Files::new(60_000_000);
    let (receiver, uuid) = files.recv(&[]);
    let sender = files.send(&uuid);
    files.until_written(&sender, 1_000_000);
    fs::OpenOptions::new().append(true).open(&files.source).unwrap().write_all(b"more").unwrap();
    for (ended, words) in [(sender.end(), "changed while"), (receiver.end(), "the sender says")] {
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(words) && ended.stderr.contains("changed while"), "{ended:?}");
    }
    assert!(!files.arrived());
    // What was received is still good for something.
    let (receiver, uuid) = files.recv(&[]);
    let told = sent(&files.send(&uuid).end());
    assert!(told["resumed_from"].as_u64().unwrap() > 0);
    receiver.end().expect_success();
    assert!(files.arrived());
}

#[cfg(unix)]
#[test]
fn a_receiver_that_cannot_write_tells_both() {
    let files = Files::new(3_000_000);
    let args = ["recv", SERVICE, "--server", &files.url, "--out", &files.inbox];
    let receiver = files.world.start_limited(1024, &args);
    let uuid = receiver.line().strip_prefix("service ").unwrap().to_owned();
    for ended in [files.send(&uuid).end(), receiver.end()] {
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.stderr.contains("cannot write") && ended.stderr.contains("a file.bin.part"),
            "{ended:?}"
        );
    }
    // With room for it, it goes on.
    let (receiver, uuid) = files.recv(&[]);
    let told = sent(&files.send(&uuid).end());
    assert!(told["resumed_from"].as_u64().unwrap() >= 1_000_000, "{told}");
    receiver.end().expect_success();
    assert!(files.arrived());
}

#[test]
fn what_cannot_be_sent_or_received_is_told_at_once() {
    let files = Files::new(10);
    let (world, url) = (&files.world, files.url.as_str());
    let send = |file: &str| world.run(&["send", file, "alice/nobody@1.0.0", "--server", url], b"");
    send(&world.path("missing")).expect_failure(1, &["cannot read", "missing"]);
    send(&files.inbox).expect_failure(1, &["is not a file"]);
    send(&files.source).expect_failure(1, &["no such service"]);
    let recv = |more: &[&str]| world.run(&[&["recv", SERVICE, "--server", url], more].concat(), b"");
    recv(&["--out", &world.path("no/such/place")]).expect_failure(1, &["no/such", "--out"]);
    recv(&["--out", &files.source, "--keep"]).expect_failure(1, &["not a directory"]);
    world.run(&["send", &files.source], b"").expect_failure(2, &["send --help"]);
}

/// A sender of its own kind, which says what it likes.
async fn says(url: &str, words: &[&str]) -> String {
    let client = Client::new(Identity::generate(), HttpSignaling::new(url).unwrap());
    let connection = client.connect("alice", "inbox@1.0.0").await.unwrap();
    let mut channel = connection.open_channel("everlink-file/1").unwrap();
    for word in words {
        if let Some(binary) = word.strip_prefix("bytes:") {
            channel.send(binary.as_bytes().to_vec()).await.unwrap();
        } else {
            channel.send(*word).await.unwrap();
        }
    }
    let mut heard = String::new();
    while let Ok(word) = channel.recv().await {
        heard.push_str(word.as_text().unwrap());
    }
    client.shutdown().await;
    heard
}

#[test]
fn a_sender_that_lies_gets_nowhere() {
    let files = Files::new(1000);
    let (receiver, uuid) = files.recv(&["--keep"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let answer = |words: &[&str]| runtime.block_on(says(&files.url, words));
    for name in ["../evil", "/tmp/evil", "..", ".hidden", "a\\\\b", "a\\u0000b", "", "x\\u202etxt"] {
        let offer = format!(r#"{{"type":"offer","name":"{name}","size":4}}"#);
        let heard = answer(&[&offer, r#"{"type":"from","offset":0}"#, "bytes:evil"]);
        assert!(heard.contains("the announced name"), "{name}: {heard}");
    }
    let offer = r#"{"type":"offer","name":"evil","size":4}"#;
    let from = r#"{"type":"from","offset":0}"#;
    let end = r#"{"type":"end","size":4,"sha256":"00"}"#;
    for (words, expected) in [
        (&["nonsense"][..], "here files are received"),
        (&["bytes:nonsense"], "here files are received"),
        (&[end], "here files are received"),
        (&[offer, offer], "out of place"),
        (&[offer, r#"{"type":"from","offset":3}"#], "where nothing ends"),
        (&[offer, from, "bytes:12345"], "more than it had offered"),
        (&[offer, from, "bytes:123", end], "out of place"),
        (&[offer, from, "bytes:1234", end], "checksum"),
        (&[offer, from, r#"{"type":"done"}"#], "out of place"),
        (&[offer, from, "{"], "does not speak"),
    ] {
        let heard = answer(words);
        assert!(heard.contains(expected), "{words:?}: {heard}");
    }
    drop(runtime);
    // It is none the worse for it.
    sent(&files.send(&uuid).end());
    while !receiver.line().starts_with("received ") {}
    assert!(files.arrived());
    let left = fs::read_dir(&files.inbox).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name != "a file.bin" && name != "evil.part").collect();
    assert!(left.is_empty(), "{left:?}");
}
