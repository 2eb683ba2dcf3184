//! Every start that cannot work ends with one line that says why and what to do.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::process::World;

const UNKNOWN: &str = "00000000-0000-8000-8000-000000000000";

#[test]
fn what_is_not_understood_ends_with_2() {
    let world = World::new();
    let long = "x".repeat(300);
    let cases: &[(&[&str], &[&str])] = &[
        (&["frobnicate"], &["frobnicate", "everlink --help"]),
        (&["serve", "--frob"], &["--frob", "everlink serve --help"]),
        (&["serve", "--listen", "80"], &["127.0.0.1:3000"]),
        (&["serve", "--listen", "127.0.0.1:65536"], &["127.0.0.1:3000"]),
        (&["expose"], &["USER/SERVICE@VERSION", "everlink expose --help"]),
        (&["expose", "chat@1.0.0"], &["alice/chat@1.0.0"]),
        (&["expose", "Alice/chat@1.0.0"], &["`Alice` is no username", "3 to 32"]),
        (&["expose", "alice/chat"], &["no version", "chat@1.0.0"]),
        (&["expose", "alice/chat@1"], &["`1` is no version", "1.0.0"]),
        (&["expose", "alice/ch at@1.0.0"], &["no service name"]),
        (&["expose", "alice/chat@1.0.0", "--public", "--token", "t"], &["--public", "--token"]),
        (&["connect"], &["UUID", "everlink connect --help"]),
        (&["connect", "nonsense"], &["neither", "alice/chat@1.0.0"]),
        (&["connect", "alice/chat@latest"], &["no version requirement"]),
        (&["connect", UNKNOWN, "--server", "localhost"], &["http://127.0.0.1:8080"]),
        (&["connect", UNKNOWN, "--server", "ftp://localhost"], &["http://127.0.0.1:8080"]),
        (&["connect", UNKNOWN, "--peer", "somebody"], &["public key"]),
        (&["connect", UNKNOWN, "--channel", ""], &["1 to 255 bytes"]),
        (&["connect", UNKNOWN, "--channel", &long], &["1 to 255 bytes"]),
        (&["connect", UNKNOWN, "--ice", "turn:example.org"], &["turn:USER:PASSWORD@HOST:PORT"]),
        (&["connect", UNKNOWN, "--bind", "localhost"], &["IP address"]),
    ];
    for (args, words) in cases {
        world.run(args, b"").expect_failure(2, words);
    }
}

#[test]
fn a_server_that_is_away_or_none_of_ours_is_told_at_once() {
    let world = World::new();
    // Taken, so that nobody else listens there, and then closed.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = format!("http://{free}");
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let strange = format!("http://{}", stranger.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in stranger.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi");
        }
    });
    for command in [["expose", "alice/chat@1.0.0"], ["connect", UNKNOWN], ["connect", "alice/chat@1.0.0"]] {
        let args = [&command[..], &["--server", &away]].concat();
        world
            .run(&args, b"a\n")
            .expect_failure(1, &["cannot be reached", &away, "everlink serve", "--server"]);
        let args = [&command[..], &["--server", &strange]].concat();
        world.run(&args, b"a\n").expect_failure(1, &[&strange, "everlink signaling server?", "--server"]);
    }
}

#[test]
fn what_the_server_refuses_is_told_with_what_to_do() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let (_host, _) = world.expose("alice/chat@1.0.0", &url, &["--token", "secret"]);
    let mallory = world.path("mallory.key");
    let server = ["--server", url.as_str()];

    let args = [&["expose", "alice/chat@2.0.0", "--identity", &mallory], &server[..]].concat();
    world.run(&args, b"").expect_failure(1, &["alice", "username_taken", "another username"]);
    for target in [UNKNOWN, "alice/other@1.0.0", "nobody/chat@1.0.0", "alice/chat@1.0.1"] {
        let args = [&["connect", target], &server[..]].concat();
        world.run(&args, b"a\n").expect_failure(1, &["no such service", "uuid"]);
    }
    let args = [&["connect", "alice/chat@^1"], &server[..]].concat();
    world.run(&args, b"a\n").expect_failure(1, &["no such service", "exact version"]);
    for token in [&[][..], &["--token", "guess"]] {
        let args = [&["connect", "alice/chat@1.0.0"], token, &server[..]].concat();
        world.run(&args, b"a\n").expect_failure(1, &["token_needed"]);
    }
    let args = [&["connect", "alice/chat@1.0.0", "--token", "secret"], &server[..]].concat();
    world.run(&args, b"a\n").expect_success();
}

#[test]
fn a_peer_who_is_not_the_expected_one_hears_nothing() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let (host, uuid) = world.expose("alice/chat@1.0.0", &url, &[]);
    let key = world.run(&["whoami"], b"").stdout;
    let other = world.run(&["whoami", "--identity", &world.path("other.key")], b"").stdout;
    let connect = |target: &str, key: &str| {
        world.run(&["connect", target, "--server", &url, "--peer", key.trim_end()], b"for alice\n")
    };
    for target in [uuid.as_str(), "alice/chat@1.0.0"] {
        connect(target, &other).expect_failure(1, &["impersonation"]);
        connect(target, &key).expect_success();
        assert_eq!(host.line(), "for alice");
    }
}

#[test]
fn a_port_that_is_taken_and_data_that_is_none_are_told() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    world.run(&["serve", "--listen", &address], b"").expect_failure(1, &[&address, "--listen", "port 0"]);
    let file = world.path("file");
    std::fs::write(&file, "something else").unwrap();
    world.run(&["serve", "--listen", "127.0.0.1:0", "--data", &file], b"").expect_failure(1, &[&file]);
}

#[test]
fn a_key_file_that_is_no_good_is_left_alone() {
    let world = World::new();
    let path = world.path("key");
    let commands: [&[&str]; 3] = [&["whoami"], &["expose", "alice/chat@1.0.0"], &["connect", UNKNOWN]];
    let all_fail = |words: &[&str]| {
        let before = std::fs::read(&path).unwrap();
        for command in commands {
            world.run(&[command, &["--identity", &path]].concat(), b"").expect_failure(1, words);
        }
        assert_eq!(std::fs::read(&path).unwrap(), before);
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        world.run(&["whoami", "--identity", &path], b"").expect_success();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        all_fail(&["others may read", "chmod 600", &path]);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&path, "everlink-secret-key-1 AAAA\n").unwrap();
        all_fail(&["damaged", "backup", &path]);
    }
    let directory = world.path("");
    world.run(&["whoami", "--identity", &directory], b"").expect_failure(1, &["not a file"]);
}
