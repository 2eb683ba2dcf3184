//! Hosts and peers in processes of their own.

use crate::process::World;

#[test]
fn what_a_peer_says_comes_back() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let (host, uuid) = world.expose("alice/chat@1.0.0", &url, &["--echo"]);
    // By uuid and by name; a last line without an end; no line at all.
    let said: [(&str, &[u8], &str); 5] = [
        (&uuid, b"one\ntwo\n", "one\ntwo\n"),
        ("alice/chat@1.0.0", b"\n  three\t\r\nfour", "\n  three\t\r\nfour\n"),
        (&uuid, b"not \xff text\n\xe2\x98\x83\n", "base64:bm90IP8gdGV4dA==\n\u{2603}\n"),
        (&uuid, b"\n", "\n"),
        (&uuid, b"", ""),
    ];
    for (target, input, expected) in said {
        let peer = world.run(&["connect", target, "--server", &url], input);
        peer.expect_success();
        assert_eq!(peer.stdout, expected);
        assert_eq!(peer.stderr, "");
        for line in expected.split_terminator('\n') {
            assert_eq!(host.line(), line, "at the host");
        }
    }
}

#[test]
fn long_lines_and_many_lines_come_whole_and_in_order() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let (_host, uuid) = world.expose("alice/chat@1.0.0", &url, &["--echo"]);
    let connect = ["connect", &uuid, "--server", &url];

    let many: String = (0..5000).map(|number| format!("{number}\n")).collect();
    let peer = world.run(&connect, many.as_bytes());
    peer.expect_success();
    assert!(peer.stdout == many, "{} of {} bytes came back", peer.stdout.len(), many.len());

    let long = format!("{}\nshort\n", "x".repeat(3 << 20));
    let peer = world.run(&connect, long.as_bytes());
    peer.expect_success();
    assert!(peer.stdout == long, "{} of {} bytes came back", peer.stdout.len(), long.len());

    // One byte more than a message may have: what came before it is sent, and the line is named.
    let too_long = format!("first\n{}\n", "x".repeat((16 << 20) + 1));
    let peer = world.run(&connect, too_long.as_bytes());
    assert_eq!((peer.code, peer.stdout.as_str()), (Some(1), "first\n"));
    assert!(peer.stderr.contains("line 2 has more than 16 MiB"), "{}", peer.stderr);
}

#[test]
fn sides_of_different_releases_part_and_both_are_told_why() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    // The newer side is the host, and then the peer.
    let sides: [(&[&str], &[&str], [&str; 2]); 2] =
        [(&["--speak", "7"], &[], ["7", "2"]), (&[], &["--speak", "7"], ["2", "7"])];
    for (host, peer, [at_host, at_peer]) in sides {
        let host = [&["expose", "alice/chat@1.0.0", "--server", &url, "--json"], host].concat();
        let host = world.start(&host);
        let json = |line: String| serde_json::from_str::<serde_json::Value>(&line).expect(&line);
        let uuid = json(host.line())["uuid"].as_str().unwrap().to_owned();
        let peer = world.run(&[&["connect", &uuid, "--server", &url], peer].concat(), b"hello\n");
        let words = |theirs: &str, ours: &str| {
            format!("the peer speaks protocol versions {theirs}, this side {ours}: update the older side")
        };
        peer.expect_failure(1, &[&words(at_host, at_peer)]);
        let refused = json(host.line());
        assert_eq!(refused["event"], "refused");
        assert_eq!(refused["error"], words(at_peer, at_host).as_str());
        host.until("it is in the log", |host| host.stderr().contains(&words(at_peer, at_host)));
        assert!(host.terminate().stdout.is_empty(), "it is no session, and is not tried again");
    }
}

#[test]
fn programs_read_json() {
    let world = World::new();
    let server = world.start(&["serve", "--listen", "127.0.0.1:0", "--json"]);
    let json = |line: String| serde_json::from_str::<serde_json::Value>(&line).expect(&line);
    let listening = json(server.line());
    let url = listening["url"].as_str().unwrap();
    let host = world.start(&["expose", "alice/chat@1.0.0", "--echo", "--server", url, "--json"]);
    let service = json(host.line());
    let uuid = service["uuid"].as_str().unwrap();
    let peer = world.run(&["connect", uuid, "--server", url, "--json", "--channel", "talk"], b"hi\n\xff\n");
    peer.expect_success();
    let events: Vec<_> = peer.stdout.lines().map(|line| json(line.to_owned())).collect();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).cloned().collect::<Vec<_>>();
    assert_eq!(of("connected")[0]["peer"], service["key"]);
    let messages = of("message");
    assert_eq!(messages[0]["text"], "hi");
    assert_eq!(messages[1]["base64"], "/w==");
    assert!(messages.iter().all(|message| message["channel"] == "talk"));
    assert_eq!(events.last().unwrap()["event"], "closed");

    let mut at_host = Vec::new();
    while at_host.last().is_none_or(|event: &serde_json::Value| event["event"] != "disconnection") {
        at_host.push(json(host.line()));
    }
    assert_eq!(at_host[0]["event"], "connection");
    let said: Vec<_> = at_host.iter().filter(|event| event["event"] == "message").collect();
    assert_eq!((&said[0]["text"], &said[1]["base64"]), (&"hi".into(), &"/w==".into()), "{at_host:?}");
    assert!(at_host.iter().all(|event| event["session"] == at_host[0]["session"]), "{at_host:?}");
}

#[test]
fn several_peers_and_two_services_of_one_user() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    // One identity in two processes, as the default makes it.
    let (first, one) = world.expose("alice/one@1.0.0", &url, &["--echo"]);
    let (_second, two) = world.expose("alice/two@1.0.0", &url, &["--echo"]);
    let say = |who: usize| {
        let service = if who.is_multiple_of(2) { &one } else { &two };
        let text: String = (0..50).map(|number| format!("{who} says {number}\n")).collect();
        let peer = world.run(&["connect", service, "--server", &url], text.as_bytes());
        peer.expect_success();
        assert_eq!(peer.stdout, text);
    };
    std::thread::scope(|scope| {
        for who in 0..6 {
            scope.spawn(move || say(who));
        }
    });
    let mut heard: Vec<String> = (0..150).map(|_| first.line()).collect();
    heard.sort_unstable();
    heard.dedup();
    assert_eq!(heard.len(), 150);
}

#[test]
fn a_reader_who_goes_away_ends_the_peer_quietly() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let (_host, uuid) = world.expose("alice/chat@1.0.0", &url, &["--echo"]);
    let mut peer = world.start(&["connect", &uuid, "--server", &url]);
    peer.write(b"one\n").unwrap();
    assert_eq!(peer.line(), "one");
    peer.close_stdout();
    // Input without an end, as of `yes`.
    while peer.write(b"more\n").is_ok() {}
    let ended = peer.end();
    ended.expect_success();
    assert_eq!(ended.stderr, "");
}

#[cfg(unix)]
#[test]
fn whoever_is_asked_to_end_says_goodbye() {
    let world = World::new();
    let (server, url) = world.serve(&[]);
    let (host, uuid) = world.expose("alice/chat@1.0.0", &url, &["--echo"]);
    let connect = ["connect", uuid.as_str(), "--server", &url];
    let (mut leaving, mut staying, mut done) =
        (world.start(&connect), world.start(&connect), world.start(&[&connect[..], &["--stay"]].concat()));
    for peer in [&mut leaving, &mut staying, &mut done] {
        peer.write(b"hello\n").unwrap();
        assert_eq!(peer.line(), "hello");
    }
    done.close_stdin();
    leaving.terminate().expect_success();

    // The host goes: its peers hear of it and end, though their input has not.
    let goodbye = host.terminate();
    goodbye.expect_success();
    assert!(goodbye.stderr.contains("left"), "{}", goodbye.stderr);
    for peer in [staying, done] {
        let ended = peer.end();
        ended.expect_success();
        assert!(ended.stderr.contains("the peer closed"), "{}", ended.stderr);
    }
    // It was withdrawn.
    world.run(&connect, b"a\n").expect_failure(1, &["no such service"]);
    let ended = server.terminate();
    ended.expect_success();
    assert_eq!(ended.stderr, "");
}

#[cfg(unix)]
#[test]
fn a_server_that_restarts_keeps_names_and_disturbs_no_conversation() {
    let world = World::new();
    let data = world.path("data");
    let (server, url) = world.serve(&["--data", &data]);
    let (_host, uuid) = world.expose("alice/chat@1.0.0", &url, &["--echo"]);
    let mut peer = world.start(&["connect", &uuid, "--server", &url]);
    peer.write(b"before\n").unwrap();
    assert_eq!(peer.line(), "before");
    server.kill();
    peer.write(b"meanwhile\n").unwrap();
    assert_eq!(peer.line(), "meanwhile");

    let address = url.strip_prefix("http://").unwrap();
    let server = world.start(&["serve", "--listen", address, "--data", &data]);
    assert_eq!(server.line(), format!("listening on {url}"));
    let mallory = world.path("mallory.key");
    let args = ["expose", "alice/chat@1.0.0", "--server", &url, "--identity", &mallory];
    world.run(&args, b"").expect_failure(1, &["username_taken"]);
    // The service comes back under its uuid by itself; connecting waits for its host.
    let late = world.run(&["connect", &uuid, "--server", &url], b"late\n");
    late.expect_success();
    assert_eq!(late.stdout, "late\n");

    peer.write(b"after\n").unwrap();
    peer.close_stdin();
    let ended = peer.end();
    ended.expect_success();
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("after\n", ""));
}
