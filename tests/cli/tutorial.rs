//! Tutorials hosted and followed by processes, over a real server and real links.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::process::{Running, World};

/// A repository that is a tutorial.
pub fn sample(world: &World) -> String {
    let path = world.path("greeting");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tutorial/sample.sh");
    assert!(Command::new("bash").args([script, &path]).status().unwrap().success());
    path
}

/// A host of the sample, and the uuid of its room.
fn host(world: &World, url: &str, more: &[&str]) -> (Running, String) {
    let path = world.path("greeting");
    let path = if PathBuf::from(&path).exists() { path } else { sample(world) };
    let host = world.start(&[&["tutorial", "host", &path, "--server", url, "--name", "Ada"], more].concat());
    let line = host.line();
    let uuid = line.strip_prefix("room ").unwrap_or_else(|| panic!("{line}: {}", host.stderr())).to_owned();
    assert!(host.line().starts_with("link everlink://"));
    assert!(host.line().starts_with("page http://"));
    (host, uuid)
}

fn follow(world: &World, url: &str, uuid: &str, name: &str, more: &[&str]) -> Running {
    world.start(&[&["tutorial", "follow", uuid, "--server", url, "--name", name], more].concat())
}

/// Reads lines until this one.
#[track_caller]
fn until(running: &Running, expected: &str) {
    let mut seen = Vec::new();
    loop {
        let line = running.line();
        if line == expected {
            return;
        }
        seen.push(line);
        assert!(seen.len() < 200, "{expected:?} is not in {seen:?}");
    }
}

/// Reads lines until all of these were there, in any order: they come from different sides.
#[track_caller]
fn until_all<const N: usize>(running: &Running, expected: [&str; N]) {
    let mut missing: Vec<&str> = expected.into();
    for _ in 0..200 {
        let line = running.line();
        missing.retain(|expected| *expected != line);
        if missing.is_empty() {
            return;
        }
    }
    panic!("{missing:?} do not come");
}

#[track_caller]
fn say(running: &mut Running, line: &str) {
    running.write(format!("{line}\n").as_bytes()).unwrap();
}

const STEP_1: &str = "step 1/7 section \"A greeting\"";
const STEP_2: &str = "step 2/7 action \"Set up the project\"";
const STEP_3: &str = "step 3/7 template \"Say hello\"";
const STEP_5: &str = "step 5/7 template \"Ask for a name\"";

#[test]
fn the_host_leads_and_a_follower_sees_each_step_its_text_and_its_files() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let (mut host, uuid) = host(&world, &url, &[]);
    until(&host, STEP_1);
    let work = world.path("work");
    let mut follower = follow(&world, &url, &uuid, "Bob", &["--work", &work]);
    until(&follower, "Ada leads");
    until(&follower, STEP_1);
    until(&host, "member Bob joined");
    say(&mut host, "next\nnext");
    until(&follower, STEP_3);
    say(&mut host, "solution");
    until(&follower, &format!("{STEP_3} solution"));
    say(&mut follower, "diff");
    until(&follower, "-    // TODO: greet");
    until(&follower, "+    println!(\"Hello!\");");
    say(&mut follower, "text");
    until(&follower, "# Say hello");
    // The files are those of what is shown: the solution.
    say(&mut follower, "checkout");
    until(&follower, "checkout 5 written, 0 unchanged, 0 removed");
    let main = PathBuf::from(&work).join("src/main.rs");
    assert!(fs::read_to_string(&main).unwrap().contains("Hello!"));
    // What the follower changes stays, until it says otherwise.
    fs::write(&main, "mine").unwrap();
    say(&mut host, "goto 2");
    until(&follower, STEP_2);
    say(&mut follower, "checkout");
    until(&follower, "checkout 1 written, 3 unchanged, 0 removed, kept your changes in src/main.rs");
    assert_eq!(fs::read_to_string(&main).unwrap(), "mine");
    say(&mut follower, "checkout --force");
    until(&follower, "checkout 1 written, 4 unchanged, 0 removed");
    assert_eq!(fs::read_to_string(&main).unwrap(), "fn main() {}\n");

    // Who follows does not lead, and is told what to do; nonsense as well.
    say(&mut follower, "next\nnonsense");
    follower.until("a refusal", |follower| follower.stderr().contains("Ada leads; r asks for control"));
    follower.until("a list of commands", |follower| {
        follower.stderr().contains("no command \"nonsense\"; there are next,")
    });
    say(&mut host, "quit");
    host.end().expect_success();
    let ended = follower.end();
    ended.expect_success();
    assert!(ended.stderr.contains("closed by its host"), "{}", ended.stderr);
}

#[test]
fn control_is_handed_over_asked_for_and_released() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let (mut host, uuid) = host(&world, &url, &["--strategy", "ask"]);
    let mut follower = follow(&world, &url, &uuid, "Bob", &[]);
    until(&follower, STEP_1);
    until(&host, "member Bob joined");
    // Offered, declined; offered, accepted.
    say(&mut host, "offer");
    until(&follower, "offer Ada offers you control: accept or decline");
    say(&mut follower, "decline");
    host.until("a decline", |host| host.stderr().contains("control was declined"));
    say(&mut host, "offer Bob");
    until(&follower, "offer Ada offers you control: accept or decline");
    say(&mut follower, "accept");
    until(&follower, "you lead");
    until(&host, "Bob leads");
    say(&mut follower, "goto 5");
    until(&follower, STEP_5);
    until(&host, STEP_5);
    // Asked for, denied; asked for, granted.
    say(&mut host, "request I know this");
    until(&follower, "request Ada asks for control (I know this): accept or decline");
    say(&mut follower, "decline");
    host.until("a denial", |host| host.stderr().contains("denied by the leader"));
    say(&mut host, "request");
    until(&follower, "request Ada asks for control: accept or decline");
    say(&mut follower, "accept");
    until(&host, "you lead");
    until(&follower, "Ada leads");
    say(&mut host, "next");
    until(&follower, "step 7/7 section \"The end\"");
    // Released: whoever wants leads.
    say(&mut host, "release");
    until(&follower, "nobody leads");
    say(&mut follower, "lead\nprevious");
    until(&host, "Bob leads");
    until(&host, STEP_5);
    // Who leaves leads no more.
    say(&mut follower, "quit");
    follower.end().expect_success();
    until(&host, "member Bob left");
    until(&host, "nobody leads");
    say(&mut host, "lead\ngoto 1");
    until(&host, STEP_1);
}

#[test]
fn a_follower_that_is_cut_off_or_killed_comes_back_to_the_newest_step() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let (mut host, uuid) = host(&world, &url, &[]);
    let key = world.path("bob.key");
    let more = ["--identity", &key, "--cuttable"];
    let mut follower = follow(&world, &url, &uuid, "Bob", &more);
    until(&follower, STEP_1);
    say(&mut follower, "cut");
    until(&follower, "connection lost, healing");
    say(&mut host, "next");
    until_all(&follower, ["connected again", STEP_2]);
    // Killed, without a word.
    follower.kill();
    say(&mut host, "next\nnext");
    let mut follower = follow(&world, &url, &uuid, "Bob", &more);
    until(&follower, STEP_5);
    // Its text comes over the new connection.
    say(&mut follower, "text");
    until(&follower, "# Ask for a name");
    say(&mut host, "previous");
    until(&follower, STEP_3);
}

#[test]
fn a_host_that_is_killed_goes_on_in_its_store() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let (store, key) = (world.path("room"), world.path("ada.key"));
    let more = ["--store", &store, "--identity", &key];
    let (mut first, uuid) = host(&world, &url, &more);
    until(&first, STEP_1);
    let mut follower = follow(&world, &url, &uuid, "Bob", &[]);
    until(&follower, STEP_1);
    say(&mut first, "goto 5");
    until(&follower, STEP_5);
    first.kill();
    let (mut second, again) = host(&world, &url, &more);
    assert_eq!(again, uuid);
    until(&second, STEP_5);
    say(&mut second, "previous");
    until(&second, STEP_3);
    until(&follower, STEP_3);
    // What the steps are is asked of the new process.
    say(&mut follower, "text");
    until(&follower, "# Say hello");
    // One that quits leaves the room for the next run, too.
    say(&mut second, "quit");
    second.end().expect_success();
    let (mut third, again) = host(&world, &url, &more);
    assert_eq!(again, uuid);
    until(&third, "you lead");
    until(&third, STEP_3);
    say(&mut third, "next");
    until(&follower, STEP_5);
}

#[test]
fn a_follower_goes_on_in_its_store_and_leads_again() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let (mut host, uuid) = host(&world, &url, &[]);
    let store = world.path("bob");
    let mut first = follow(&world, &url, &uuid, "Bob", &["--store", &store]);
    until(&first, STEP_1);
    say(&mut host, "offer Bob");
    until(&first, "offer Ada offers you control: accept or decline");
    say(&mut first, "accept\nnext");
    until(&host, STEP_2);
    first.kill();
    let mut second = follow(&world, &url, &uuid, "Bob", &["--store", &store]);
    // It has its place, and with it control: nobody else took it meanwhile.
    until(&second, "you lead");
    until(&second, STEP_2);
    say(&mut second, "next\ntext");
    until(&second, "# Say hello");
    until(&host, STEP_3);
}

#[test]
fn a_reader_who_goes_away_ends_it_quietly() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let (host, uuid) = host(&world, &url, &[]);
    let mut follower = follow(&world, &url, &uuid, "Bob", &[]);
    until(&follower, STEP_1);
    follower.close_stdout();
    // Each is a line that nobody reads, until nobody is there to read these.
    while follower.write(b"files\n").is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    until(&host, "member Bob left");
    let ended = follower.end();
    ended.expect_success();
    assert_eq!(ended.stderr, "");
}

#[test]
fn programs_read_json() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let path = sample(&world);
    let host = world.start(&["tutorial", "host", &path, "--server", &url, "--json"]);
    let json = |line: String| serde_json::from_str::<Value>(&line).expect(&line);
    let room = json(host.line());
    assert_eq!(
        (&room["event"], &room["steps"], &room["title"]),
        (&"room".into(), &7.into(), &"greeting".into())
    );
    // By the link, which names the server.
    let mut follower =
        world.start(&["tutorial", "follow", room["link"].as_str().unwrap(), "--observer", "--json"]);
    say(&mut follower, "files\nlead\nquit");
    let ended = follower.end();
    ended.expect_success();
    let events: Vec<Value> = ended.stdout.lines().map(|line| json(line.to_owned())).collect();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    assert_eq!(of("room")[0]["uuid"], room["uuid"]);
    assert_eq!(of("leader")[0]["you"], false);
    let step = of("step")[0];
    assert_eq!(
        (&step["number"], &step["type"], &step["solution"]),
        (&1.into(), &"section".into(), &false.into())
    );
    assert_eq!(of("notice").len(), 1, "an observer does not lead: {events:?}");
}

#[test]
fn what_is_wrong_is_said_in_a_line() {
    let world = World::new();
    let path = sample(&world);
    let folder = world.path("");
    let empty = world.path("empty");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tutorial/sample.sh");
    assert!(Command::new("bash").args([script, &empty, "empty"]).status().unwrap().success());
    let nobody = ["--server", "http://127.0.0.1:9"];
    let fails = |args: &[&str], code: i32, words: &[&str]| {
        world.run(&[&["tutorial"], args, &nobody[..]].concat(), b"").expect_failure(code, words);
    };
    // All of these before the server is asked.
    fails(&["host", "/nowhere"], 1, &["there is no /nowhere"]);
    fails(&["host", &folder], 1, &["is not a git repository", "name the folder"]);
    fails(&["host", &empty], 1, &["is empty"]);
    fails(
        &["host", &path, "--branch", "nope"],
        1,
        &["no branch \"nope\"", "--branch: broken, climbing, gitorial"],
    );
    fails(&["host", &path, "--branch", "plain"], 1, &["none of the 2 commits", "section:"]);
    fails(&["host", &path], 1, &["cannot be reached", "everlink serve"]);
    fails(&["host"], 2, &["PATH"]);
    fails(&["host", &path, "--limit", "1"], 2, &["from 2 to 10000"]);
    fails(&["host", &path, "--strategy", "luck"], 2, &["luck"]);
    fails(&["host", &path, "--name", ""], 2, &["a name has 1 to 64 bytes"]);
    fails(&["host", &path, "--work", &format!("{path}/README.md")], 1, &["work folder", "--work"]);
    fails(&["follow"], 2, &["UUID|LINK"]);
    fails(&["follow", "everlink://"], 2, &["no link to a tutorial"]);
    fails(&["follow", "079c21be-1ecb-8ef5-bf2a-2ffb3623dfff"], 1, &["cannot be reached", "everlink serve"]);
    let (_server, url) = world.serve(&[]);
    let absent = ["tutorial", "follow", "079c21be-1ecb-8ef5-bf2a-2ffb3623dfff", "--server", &url];
    world.run(&absent, b"").expect_failure(1, &["no such service"]);
    // A room that is full.
    let (host, uuid) = self::host(&world, &url, &["--limit", "2"]);
    let follower = follow(&world, &url, &uuid, "Bob", &[]);
    until(&follower, STEP_1);
    world.run(&["tutorial", "follow", &uuid, "--server", &url], b"").expect_failure(1, &["the room is full"]);
    drop(host);
}

#[test]
fn a_service_that_is_no_room_is_given_up() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let (_host, uuid) = world.expose("alice/chat@1.0.0", &url, &[]);
    let other = world.run(&["tutorial", "follow", &uuid, "--server", &url], b"");
    other.expect_failure(1, &["did not answer as a room", "is the link that of a tutorial?"]);
}

#[test]
fn a_file_of_gigabytes_and_names_that_climb_are_refused_and_the_rest_is_written() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    for (branch, title, refused) in [
        ("large", "A large file", "refused big.bin (it is larger than 1 MiB)"),
        (
            "climbing",
            "Names that climb",
            "refused .git/escaped.txt (it is in a .git folder), CON (it has the name of a device of Windows)",
        ),
    ] {
        let (mut host, uuid) = host(&world, &url, &["--branch", branch]);
        say(&mut host, "goto 8");
        let work = world.path(branch);
        let mut follower = follow(&world, &url, &uuid, "Bob", &["--work", &work]);
        until(&follower, &format!("step 8/8 action {title:?}"));
        say(&mut follower, "checkout");
        until(&follower, &format!("checkout 1 written, 0 unchanged, 0 removed, {refused}"));
        assert_eq!(fs::read_to_string(PathBuf::from(&work).join("README.md")).unwrap(), "# Readme\n");
        assert_eq!(fs::read_dir(&work).unwrap().count(), 2, "the README and our own folder");
    }
    assert!(!PathBuf::from(world.path("escaped.txt")).exists());
}
