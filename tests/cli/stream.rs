//! Bytes through `--stream`.

use crate::process::{Running, World};

/// A host of a stream, and its uuid, which is on stderr.
fn expose(world: &World, url: &str, stdout: &str) -> (Running, String) {
    let host = world.start_into(&["expose", "alice/pipe@1.0.0", "--stream", "--server", url], stdout);
    host.until("a service", |host| host.stderr().contains('\n'));
    let uuid = host.stderr().lines().next().unwrap().strip_prefix("service ").unwrap().to_owned();
    (host, uuid)
}

fn noise(length: usize, seed: u8) -> Vec<u8> {
    (0..length as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 23) as u8 ^ seed).collect()
}

#[test]
fn bytes_go_both_ways_and_each_end_is_its_own() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let (at_host, at_peer) = (world.path("at_host"), world.path("at_peer"));
    let (mut host, uuid) = expose(&world, &url, &at_host);
    let mut peer = world.start_into(&["connect", &uuid, "--stream", "--server", &url], &at_peer);
    let (up, down) = (noise(5_000_000, 1), noise(3_000_000, 2));
    peer.write(&up).unwrap();
    peer.close_stdin();
    // The host reads the peer's end, and goes on.
    host.until("what was sent", |_| std::fs::metadata(&at_host).unwrap().len() == up.len() as u64);
    host.write(&down).unwrap();
    host.close_stdin();
    for process in [host, peer] {
        let ended = process.end();
        ended.expect_success();
        assert!(!ended.stderr.contains("everlink:"), "{}", ended.stderr);
    }
    assert!(std::fs::read(at_host).unwrap() == up);
    assert!(std::fs::read(at_peer).unwrap() == down);
}

#[test]
fn a_stream_that_breaks_off_is_a_failure_and_a_second_peer_is_turned_away() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let (mut host, uuid) = expose(&world, &url, &world.path("at_host"));
    let at_peer = world.path("at_peer");
    let peer = world.start_into(&["connect", &uuid, "--stream", "--server", &url], &at_peer);
    host.write(b"hello").unwrap();
    peer.until("a greeting", |_| std::fs::read(&at_peer).unwrap() == b"hello");
    world
        .run(&["connect", &uuid, "--stream", "--server", &url], b"me too")
        .expect_failure(1, &["closed by the peer"]);
    #[cfg(unix)]
    {
        let host = host.terminate();
        assert_eq!(host.code, Some(1), "{host:?}");
        assert!(host.stderr.contains("interrupted"), "{host:?}");
        let peer = peer.end();
        assert_eq!(peer.code, Some(1), "{peer:?}");
        assert!(peer.stderr.contains("broke off"), "{peer:?}");
    }
    // A host whose peer speaks in lines, and not in bytes.
    let (host, uuid) = expose(&world, &url, &world.path("at_host"));
    world.run(&["connect", &uuid, "--server", &url], b"a line\n");
    let host = host.end();
    assert_eq!(host.code, Some(1), "{host:?}");
    assert!(host.stderr.contains("no stream"), "{host:?}");
    for bad in ["--json", "--echo"] {
        let args = ["expose", "alice/pipe@1.0.0", "--stream", bad, "--server", &url];
        world.run(&args, b"").expect_failure(2, &["--stream", bad]);
    }
}
