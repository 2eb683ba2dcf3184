//! `--store`: sessions that outlive their processes.

use std::fs;

use crate::process::{Running, World};

fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|number| format!("{number}\n")).collect()
}

/// Reads so many lines, which are numbers.
fn read(from: &Running, count: usize) -> Vec<u32> {
    (0..count).map(|_| from.line().parse().expect("a number")).collect()
}

/// Waits until a program that was started with `--json` has said that so many lines are stored.
fn until_stored(peer: &Running, messages: u64) {
    loop {
        let event: serde_json::Value = serde_json::from_str(&peer.line()).unwrap();
        if event["event"] == "stored" && event["messages"] == messages {
            return;
        }
    }
}

#[cfg(unix)]
#[test]
fn a_peer_killed_with_lines_queued_delivers_each_once_when_it_is_started_again() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let (at_host, at_peer) = (world.path("host.store"), world.path("peer.store"));
    let (host, uuid) = world.expose("alice/log@1.0.0", &url, &["--store", &at_host]);
    let connect = ["connect", &uuid, "--server", &url, "--store", &at_peer, "--json"];
    let mut peer = world.start(&connect);
    peer.write(lines(0..10).as_bytes()).unwrap();
    let mut heard = read(&host, 10);

    // Asked to end, the host leaves and does not close: its peer waits for it.
    let left = host.terminate();
    left.expect_success();
    assert!(left.stderr.contains("is kept for the next run"), "{}", left.stderr);
    peer.write(lines(10..500).as_bytes()).unwrap();
    until_stored(&peer, 500);
    peer.kill();

    // Once more with nobody there, so that a restart of a restart is seen, too.
    let mut peer = world.start(&connect);
    peer.write(lines(500..600).as_bytes()).unwrap();
    until_stored(&peer, 100);
    peer.kill();

    let (host, again) = world.expose("alice/log@1.0.0", &url, &["--store", &at_host]);
    assert_eq!(uuid, again);
    let mut peer = world.start(&connect);
    peer.write(lines(600..610).as_bytes()).unwrap();
    peer.close_stdin();
    heard.extend(read(&host, 600));
    assert_eq!(heard, (0..610).collect::<Vec<_>>());
    peer.end().expect_success();
    let ended = host.terminate();
    ended.expect_success();
    assert_eq!(ended.stdout, "", "something came twice");
}

#[test]
fn a_host_killed_in_the_middle_loses_nothing_and_its_peer_does_not_notice() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let at_host = world.path("host.store");
    let expose = |url: &str| world.expose("alice/log@1.0.0", url, &["--store", &at_host]);
    let (mut host, uuid) = expose(&url);
    let mut peer = world.start(&["connect", &uuid, "--server", &url, "--store", &world.path("peer.store")]);
    const ROUND: u32 = 2000;
    let mut heard: Vec<u32> = Vec::new();
    let take = |heard: &mut Vec<u32>, number: u32| {
        // What was printed just before the kill may come again, in its order, and nothing else.
        let next = heard.last().map_or(0, |last| last + 1);
        assert!(number <= next, "{number} came after {:?}: something was lost", heard.last());
        heard.truncate(number as usize);
        heard.push(number);
    };
    for round in 0..3 {
        peer.write(lines(round * ROUND..(round + 1) * ROUND).as_bytes()).unwrap();
        for _ in 0..ROUND / 2 {
            take(&mut heard, host.line().parse().unwrap());
        }
        for line in host.kill().stdout.lines() {
            take(&mut heard, line.parse().unwrap());
        }
        host = expose(&url).0;
    }
    peer.close_stdin();
    while heard.len() < 3 * ROUND as usize {
        take(&mut heard, host.line().parse().unwrap());
    }
    peer.end().expect_success();
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_what_was_not_delivered_for_the_next_run() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let at_host = world.path("host.store");
    let (host, uuid) = world.expose("alice/log@1.0.0", &url, &["--store", &at_host]);
    let at_peer = world.path("peer.store");
    let connect = ["connect", &uuid, "--server", &url, "--store", &at_peer];
    let mut peer = world.start(&[&connect[..], &["--json"]].concat());
    peer.write(b"1\n").unwrap();
    assert_eq!(read(&host, 1), [1]);
    host.terminate().expect_success();
    peer.write(b"2\n3\n").unwrap();
    until_stored(&peer, 3);
    let ended = peer.terminate();
    ended.expect_success();
    // News of the connection may come after it.
    let lines = ended.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let closed = lines.into_iter().find(|line| line["event"] == "closed").expect("it is told");
    assert!(closed["unacked"].as_u64() >= Some(2), "{closed}");

    let (host, _) = world.expose("alice/log@1.0.0", &url, &["--store", &at_host]);
    world.run(&connect, b"4\n").expect_success();
    assert_eq!(read(&host, 3), [2, 3, 4]);
}

#[test]
fn a_store_that_cannot_be_used_ends_it_with_one_line() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let in_use = world.path("in-use");
    let (_host, uuid) = world.expose("alice/log@1.0.0", &url, &["--store", &in_use]);
    let damaged = world.path("damaged");
    fs::create_dir(&damaged).unwrap();
    let file = format!("{damaged}/sessions.redb");
    fs::write(&file, "somebody's letters").unwrap();
    let no_directory = world.path("file");
    fs::write(&no_directory, "").unwrap();
    for (store, words) in [
        (&in_use, ["in use by another process", "choose another directory"]),
        (&damaged, ["damaged or no store of everlink", "left as it is"]),
        (&no_directory, ["cannot be used", "may this user read and write it"]),
    ] {
        let connect = ["connect", &uuid, "--server", &url, "--store", store];
        world.run(&connect, b"a\n").expect_failure(1, &words);
        let expose = ["expose", "alice/other@1.0.0", "--server", &url, "--store", store];
        world.run(&expose, b"").expect_failure(1, &words);
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "somebody's letters");
    for command in [["connect", &uuid], ["expose", "alice/log@1.0.0"]] {
        let args = [&command[..], &["--stream", "--store", "x"]].concat();
        world.run(&args, b"").expect_failure(2, &["--stream", "--store"]);
    }
}
