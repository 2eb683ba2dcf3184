//! Streams of bytes, over memory links with a paused clock.

mod common;

use std::io::ErrorKind;
use std::time::Duration;

use common::Pair;
use everlink::{ChannelConfig, ConnectionConfig, DurableStream, QueueConfig, StreamError};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

const SECOND: Duration = Duration::from_secs(1);

fn streams(pair: &Pair, label: &str) -> (DurableStream, DurableStream) {
    let config = || ChannelConfig::queue(QueueConfig::lossless());
    let ours = pair.at_peer.open_channel_with(label, config()).expect("a new channel");
    let theirs = pair.at_host.open_channel_with(label, config()).expect("a new channel");
    (DurableStream::new(ours), DurableStream::new(theirs))
}

fn inner(error: &std::io::Error) -> &StreamError {
    error.get_ref().and_then(|inner| inner.downcast_ref()).expect("a StreamError")
}

#[tokio::test(start_paused = true)]
async fn bytes_go_both_ways_and_each_end_is_its_own() {
    let pair = Pair::new(1).await;
    let (mut ours, mut theirs) = streams(&pair, "s");
    ours.write_all(b"question\n").await.unwrap();
    let mut line = String::new();
    theirs.read_line(&mut line).await.unwrap();
    assert_eq!(line, "question\n", "without a flush: there was room");
    ours.shutdown().await.unwrap();
    assert_eq!(theirs.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(theirs.read(&mut [0; 8]).await.unwrap(), 0, "the end stays");
    tokio::time::timeout(SECOND, ours.acked()).await.expect("the end was read").unwrap();
    let error = ours.write_all(b"more").await.unwrap_err();
    assert_eq!((error.kind(), inner(&error)), (ErrorKind::BrokenPipe, &StreamError::Ended));
    // The other direction goes on.
    pair.world.network.cut_all();
    theirs.write_all(&[7; 1000]).await.unwrap();
    theirs.shutdown().await.unwrap();
    let mut answer = Vec::new();
    ours.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [7; 1000]);
    ours.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_stops_the_writer() {
    let pair = Pair::new(2).await;
    let (mut ours, mut theirs) = streams(&pair, "s");
    let mut written = 0;
    while let Ok(wrote) = tokio::time::timeout(SECOND, ours.write(&[1; 10_000])).await {
        written += wrote.unwrap();
        assert!(written < 32 << 20, "it takes no end of bytes");
    }
    let writing = tokio::spawn(async move {
        ours.flush().await.unwrap();
        ours.shutdown().await.unwrap();
        ours
    });
    let mut came = Vec::new();
    theirs.read_to_end(&mut came).await.unwrap();
    assert_eq!(came.len(), written);
    drop(writing.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_end_is_an_error() {
    let pair = Pair::new(3).await;
    // Dropped without shutdown.
    let (mut ours, mut theirs) = streams(&pair, "dropped");
    ours.write_all(b"half").await.unwrap();
    let (reading, writing) = ours.split();
    drop(writing);
    let mut came = Vec::new();
    let error = theirs.read_to_end(&mut came).await.unwrap_err();
    assert_eq!((error.kind(), &came[..]), (ErrorKind::UnexpectedEof, &b"half"[..]));
    assert_eq!(inner(&error), &StreamError::Unended);
    drop((reading, theirs));
    // No stream at the other end.
    for nonsense in [&b""[..], b"hello", b"\x11\0\0\0\0\0\0\0\x05x", b"\x31\0\0\0\0\0\0\0\0x", b"\x12"] {
        let (plain, theirs) = pair.channel("nonsense");
        plain.send(nonsense.to_vec()).await.unwrap();
        let mut theirs = DurableStream::new(theirs);
        for _ in 0..2 {
            let error = theirs.read(&mut [0; 8]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{nonsense:?}: {error}");
        }
        drop((plain, theirs));
        tokio::time::sleep(SECOND).await;
    }
    let lossy = pair.at_peer.open_channel_with("lossy", ChannelConfig::lossy(false, 0)).unwrap();
    let mut lossy = DurableStream::new(lossy);
    assert_eq!(inner(&lossy.write(b"x").await.unwrap_err()), &StreamError::Lossy);
    // The connection is closed.
    let (mut ours, mut theirs) = streams(&pair, "closed");
    ours.write_all(b"x").await.unwrap();
    pair.at_peer.close().await;
    assert_eq!(theirs.read_u8().await.unwrap(), b'x');
    let error = theirs.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    assert!(matches!(inner(&error), StreamError::Read(_)));
    assert_eq!(ours.write(b"x").await.unwrap_err().kind(), ErrorKind::ConnectionAborted);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_a_queue_dropped_are_missed() {
    let mut config = ConnectionConfig::default();
    config.backoff.max_attempts = None;
    let pair = Pair::with(4, common::chat(), config).await;
    let mut queue = QueueConfig::default();
    queue.max_messages = 3;
    let ours = pair.at_peer.open_channel_with("drops", ChannelConfig::queue(queue)).unwrap();
    let (mut ours, mut theirs) =
        (DurableStream::new(ours), DurableStream::new(pair.at_host.open_channel("drops").unwrap()));
    ours.write_all(b"a").await.unwrap();
    assert_eq!(theirs.read_u8().await.unwrap(), b'a');
    pair.world.network.blackout(true);
    tokio::time::sleep(40 * SECOND).await;
    for _ in 0..10 {
        let _ = ours.write(b"b").await;
    }
    pair.world.network.blackout(false);
    let error = loop {
        match theirs.read_u8().await {
            Ok(byte) => assert_eq!(byte, b'b'),
            Err(error) => break error,
        }
    };
    assert!(matches!(inner(&error), StreamError::Gap { .. }), "{error}");
}

/// Byte `at` of a stream.
fn byte(seed: u64, at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(seed) >> 24) as u8
}

async fn write_all(mut stream: everlink::DurableWriteHalf, seed: u64, total: u64, mut rng: StdRng) {
    let mut at = 0;
    while at < total {
        let size = [1, 10, 1_000, 61_440, 200_000][rng.random_range(0..5)];
        let size = rng.random_range(1..=size).min(total - at);
        let piece: Vec<u8> = (at..at + size).map(|at| byte(seed, at)).collect();
        stream.write_all(&piece).await.expect("written");
        at += size;
        match rng.random_range(0..10) {
            0 => stream.flush().await.expect("flushed"),
            1 => tokio::time::sleep(Duration::from_millis(rng.random_range(0..400))).await,
            _ => {}
        }
    }
    stream.shutdown().await.expect("ended");
    stream.acked().await.expect("read");
}

async fn read_all(mut stream: everlink::DurableReadHalf, seed: u64, total: u64, mut rng: StdRng) {
    let mut at = 0;
    let mut buffer = vec![0; 100_000];
    loop {
        let most = rng.random_range(1..=buffer.len());
        let read = stream.read(&mut buffer[..most]).await.expect("read");
        if read == 0 {
            break;
        }
        for came in &buffer[..read] {
            assert_eq!(*came, byte(seed, at), "byte {at}");
            at += 1;
        }
        if rng.random_range(0..20) == 0 {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..600))).await;
        }
    }
    assert_eq!(at, total);
}

async fn holds(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut config = ConnectionConfig::default();
    config.backoff.max_attempts = None;
    let mut service = common::chat();
    service.connection.park_for = Duration::from_secs(7200);
    let pair = Pair::with(seed, service, config).await;
    let (delay, often) = (Duration::from_millis(rng.random_range(0..50)), rng.random_range(0..2) == 0);
    pair.world.network.update(|network| {
        network.delay = delay;
        network.cut_after = often.then_some(20..=200);
    });
    let ((our_read, our_write), (their_read, their_write)) = {
        let (ours, theirs) = streams(&pair, "s");
        (ours.split(), theirs.split())
    };
    let (up, down) = (rng.random_range(0..2_000_000), rng.random_range(0..2_000_000));
    let mut chance = || StdRng::seed_from_u64(rng.random());
    let talk = async {
        tokio::join!(
            write_all(our_write, seed, up, chance()),
            read_all(their_read, seed, up, chance()),
            write_all(their_write, seed + 1, down, chance()),
            read_all(our_read, seed + 1, down, chance()),
        )
    };
    let mut weather = StdRng::seed_from_u64(seed);
    let trouble = async {
        for _ in 0..weather.random_range(0..20) {
            tokio::time::sleep(Duration::from_millis(weather.random_range(0..3_000))).await;
            match weather.random_range(0..4) {
                0 => pair.world.network.blackout(true),
                1 => pair.world.network.blackout(false),
                _ => pair.world.network.cut_all(),
            }
        }
        pair.world.network.blackout(false);
    };
    let both = async { tokio::join!(talk, trouble) };
    tokio::time::timeout(7200 * SECOND, both).await.expect("it hangs");
}

#[test]
fn bytes_come_in_order_whatever_happens_to_the_links() {
    common::each_seed(40, holds);
}
