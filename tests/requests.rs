//! Requests and their replies, over memory links with a paused clock.

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Pair, chat, user};
use everlink::store::{Batch, MemoryStore, Store, StoreError};
use everlink::{
    BoxFuture, ChannelConfig, ConnectionConfig, DurableChannel, Message, QueueConfig, RequestError,
    RequestProtocolError, Requester, Responder, ResponderError, SendError, ServiceConfig, SessionLost,
    WhenFull,
};
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The same channel, which never drops, at the peer and at the host.
fn lossless(pair: &Pair, label: &str) -> (DurableChannel, DurableChannel) {
    let config = || ChannelConfig::queue(QueueConfig::lossless());
    let ours = pair.at_peer.open_channel_with(label, config()).expect("a new channel");
    (ours, pair.at_host.open_channel_with(label, config()).expect("a new channel"))
}

fn ends(pair: &Pair) -> (Requester, Responder) {
    let (ours, theirs) = lossless(pair, "requests");
    (Requester::new(ours), Responder::new(theirs))
}

#[tokio::test(start_paused = true)]
async fn each_request_gets_its_own_reply_whatever_the_order() {
    let pair = Pair::new(1).await;
    let (requester, responder) = ends(&pair);
    // The later ones are done first.
    let serving = tokio::spawn(responder.serve(100, |request: Message| async move {
        let number: u64 = request.as_text().unwrap().parse().unwrap();
        tokio::time::sleep(Duration::from_millis(1000 - number * 10)).await;
        (number * 2).to_string()
    }));
    let ask = |number: u64| {
        let requester = requester.clone();
        async move { requester.request(number.to_string(), MINUTE).await }
    };
    let replies = join_all((0..100).map(ask)).await;
    for (number, reply) in replies.into_iter().enumerate() {
        assert_eq!(reply.unwrap().as_text().unwrap(), (number * 2).to_string());
    }
    assert_eq!(requester.in_flight(), 0);
    // Binary comes as binary, empty as empty.
    let (ours, theirs) = lossless(&pair, "echo");
    tokio::spawn(Responder::new(theirs).serve(1, |request: Message| async move { request }));
    let echo = Requester::new(ours);
    for message in [Message::from(&b"\xff\0"[..]), Message::from(""), Message::from(Vec::new())] {
        assert_eq!(echo.request(message.clone(), MINUTE).await, Ok(message));
    }
    drop(requester);
    assert!(matches!(serving.await.unwrap(), ResponderError::Closed(_)));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_tells_the_other_side_and_a_late_reply_is_dropped() {
    let pair = Pair::new(2).await;
    let (requester, mut responder) = ends(&pair);
    let ask = tokio::spawn({
        let requester = requester.clone();
        async move { requester.request("slow", SECOND).await }
    });
    let mut request = responder.recv().await.unwrap();
    assert!(!request.is_cancelled());
    let error = ask.await.unwrap().unwrap_err();
    assert_eq!(error, RequestError::TimedOut { may_have_been_executed: true });
    // Heard while the next is waited for.
    tokio::select! {
        _ = responder.recv() => panic!("there is none"),
        () = request.cancelled() => {}
    }
    request.reply("late").await.unwrap();
    tokio::time::sleep(SECOND).await;
    // A dropped future says the same as a timeout.
    let dropped = tokio::time::timeout(SECOND, requester.request("dropped", MINUTE)).await;
    assert!(dropped.is_err());
    let again = tokio::spawn({
        let requester = requester.clone();
        async move { requester.request("again", MINUTE).await }
    });
    let mut dropped = responder.recv().await.unwrap();
    assert_eq!(dropped.message().as_text(), Some("dropped"));
    let request = responder.recv().await.unwrap();
    assert_eq!(request.message().as_text(), Some("again"));
    dropped.cancelled().await;
    drop(request);
    let answered = tokio::select! {
        _ = responder.recv() => panic!("there is none"),
        answered = again => answered.unwrap(),
    };
    assert_eq!(answered, Err(RequestError::Unanswered));
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_stopped_when_its_request_is_cancelled() {
    let pair = Pair::new(3).await;
    let (requester, responder) = ends(&pair);
    let running = Arc::new(());
    let guard = running.clone();
    tokio::spawn(responder.serve(2, move |request: Message| {
        let guard = guard.clone();
        assert!(Arc::strong_count(&guard) <= 4, "two handlers at a time");
        async move {
            if request.as_text() == Some("hang") {
                std::future::pending::<()>().await;
            }
            drop(guard);
            request
        }
    }));
    // More than are handled at once: those that time out make room.
    let hang = join_all((0..4).map(|_| requester.request("hang", SECOND))).await;
    assert!(hang.iter().all(|outcome| matches!(outcome, Err(RequestError::TimedOut { .. }))));
    assert_eq!(requester.request("go", SECOND).await, Ok("go".into()));
    assert_eq!(Arc::strong_count(&running), 2, "no handler is left");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_bounded() {
    let pair = Pair::new(4).await;
    let (ours, theirs) = lossless(&pair, "few");
    let requester = Requester::with_limit(ours, 2);
    let mut responder = Responder::new(theirs);
    let ask = |timeout| {
        let requester = requester.clone();
        tokio::spawn(async move { requester.request("?", timeout).await })
    };
    let (one, two, three) = (ask(MINUTE), ask(MINUTE), ask(SECOND));
    let (first, second) = (responder.recv().await.unwrap(), responder.recv().await.unwrap());
    assert_eq!(requester.in_flight(), 2);
    let error = three.await.unwrap().unwrap_err();
    assert_eq!(error, RequestError::TimedOut { may_have_been_executed: false }, "it was never sent");
    first.reply("1").await.unwrap();
    second.reply("2").await.unwrap();
    assert_eq!((one.await.unwrap(), two.await.unwrap()), (Ok("1".into()), Ok("2".into())));
}

#[tokio::test(start_paused = true)]
async fn what_a_restarted_responder_had_taken_is_interrupted_and_the_rest_executed() {
    let mut config = ConnectionConfig::default();
    config.on_session_lost = SessionLost::StartFresh;
    config.queue = QueueConfig::lossless();
    config.backoff.max_attempts = None;
    let pair = Pair::with(5, chat(), config).await;
    let (requester, mut responder) = ends(&pair);
    let ask = |text: &'static str| {
        let requester = requester.clone();
        tokio::spawn(async move { requester.request(text, Duration::from_secs(3600)).await })
    };
    let answered = ask("answered");
    responder.recv().await.unwrap().reply("!").await.unwrap();
    assert_eq!(answered.await.unwrap(), Ok("!".into()));
    let taken = ask("taken");
    let held = responder.recv().await.unwrap();
    // As a process that dies: nothing is said to the peer.
    pair.world.network.blackout(true);
    let later = ask("later");
    drop((pair.service, pair.at_host, responder, held));
    let _ = tokio::time::timeout(20 * SECOND, pair.host.shutdown()).await;
    tokio::time::sleep(40 * SECOND).await;
    pair.world.network.blackout(false);
    let again = pair.world.client(1);
    let service =
        again.expose_service(ServiceConfig::new(user("alice"), common::fqn("chat@1.0.0"))).await.unwrap();
    let at_host = service.accept().await.unwrap();
    let mut responder = Responder::new(at_host.accept_channel().await.unwrap());
    let started = tokio::time::Instant::now();
    // What was on its way or not yet sent when it died may come or not; what was taken does not.
    let serving = async {
        while let Ok(request) = responder.recv().await {
            assert_ne!(request.message().as_text(), Some("taken"));
            request.reply("anew").await.unwrap();
        }
    };
    let outcomes = async { (taken.await.unwrap(), later.await.unwrap()) };
    let (taken, later) = tokio::select! {
        () = serving => panic!("it ended"),
        outcomes = outcomes => outcomes,
    };
    assert_eq!(taken, Err(RequestError::Interrupted));
    assert!(matches!(later, Ok(_) | Err(RequestError::Interrupted)), "{later:?}");
    assert!(started.elapsed() < SECOND, "long before its timeout");
}

#[tokio::test(start_paused = true)]
async fn what_the_queue_drops_is_not_executed_and_told_at_once() {
    let mut config = ConnectionConfig::default();
    config.backoff.max_attempts = None;
    let pair = Pair::with(6, chat(), config).await;
    let mut queue = QueueConfig::default();
    queue.max_messages = 3;
    queue.when_full = WhenFull::DropOldest;
    let ours = pair.at_peer.open_channel_with("drops", ChannelConfig::queue(queue)).unwrap();
    let (requester, mut responder) =
        (Requester::new(ours), Responder::new(pair.at_host.open_channel("drops").unwrap()));
    let warm = tokio::spawn({
        let requester = requester.clone();
        async move { requester.request("warm", MINUTE).await }
    });
    responder.recv().await.unwrap().reply("").await.unwrap();
    warm.await.unwrap().unwrap();
    pair.world.network.blackout(true);
    tokio::time::sleep(40 * SECOND).await;
    let begun = tokio::time::Instant::now();
    let asked: Vec<_> = (0..5)
        .map(|number| {
            let requester = requester.clone();
            tokio::spawn(async move { requester.request(number.to_string(), 50 * SECOND).await })
        })
        .collect();
    let mut outcomes = join_all(asked).await.into_iter().map(Result::unwrap);
    let first = outcomes.next().unwrap();
    assert_eq!(first, Err(RequestError::Unsent(SendError::Overflow)));
    assert!(outcomes.all(|outcome| outcome.is_err()));
    assert!(begun.elapsed() >= 50 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn nonsense_ends_the_channel_and_nothing_else() {
    let pair = Pair::new(7).await;
    for nonsense in [&b""[..], b"\x11", b"\x71", b"\x1f", b"\x15short", b"\x16aaaaaaaabbbbbbbb\x02"] {
        let (ours, theirs) = pair.channel("mine");
        let requester = Requester::new(ours);
        let asking = requester.request("?", MINUTE);
        theirs.send(nonsense.to_vec()).await.unwrap();
        assert!(matches!(asking.await, Err(RequestError::Protocol(_))), "{nonsense:?}");
        // Whoever asks later hears of it, too.
        assert!(matches!(requester.request("?", MINUTE).await, Err(RequestError::Protocol(_))));
        drop((requester, theirs));
        let (ours, theirs) = pair.channel("theirs");
        ours.send(nonsense.to_vec()).await.unwrap();
        let mut responder = Responder::new(theirs);
        for _ in 0..2 {
            assert!(matches!(responder.recv().await, Err(ResponderError::Protocol(_))), "{nonsense:?}");
        }
        drop((ours, responder));
        tokio::time::sleep(SECOND).await;
    }
    let (ours, theirs) = pair.channel("both ask");
    let (one, other) = (Requester::new(ours), Requester::new(theirs));
    let both = tokio::join!(one.request("?", MINUTE), other.request("?", MINUTE));
    assert!(matches!(
        both.0,
        Err(RequestError::Protocol(RequestProtocolError::SamePart) | RequestError::Closed { .. })
    ));
    // The connection is fine.
    let (requester, responder) = ends(&pair);
    tokio::spawn(responder.serve(1, |request: Message| async move { request }));
    assert_eq!(requester.request("hello", MINUTE).await, Ok("hello".into()));
}

/// What is done to the ends and to the network.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// A request that is given up after so many milliseconds, by a timeout or by dropping it.
    Ask {
        patience: u64,
        drop: bool,
    },
    Cut,
    Network(bool),
    Wait(u64),
}

fn operations(rng: &mut StdRng) -> Vec<Op> {
    (0..rng.random_range(10..60))
        .map(|_| match rng.random_range(0..100) {
            0..60 => {
                let patience = [5, 100, 2_000, 600_000][rng.random_range(0..4)];
                Op::Ask { patience, drop: rng.random_range(0..5) == 0 }
            }
            60..75 => Op::Cut,
            75..82 => Op::Network(rng.random()),
            _ => Op::Wait([0, 1, 30, 1_500, 8_000][rng.random_range(0..5)]),
        })
        .collect()
}

/// Each request has one outcome, which tells the truth; none is executed twice.
async fn holds(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut config = ConnectionConfig::default();
    config.backoff.max_attempts = None;
    let mut service = chat();
    service.connection.park_for = Duration::from_secs(7200);
    let pair = Pair::with(seed, service, config).await;
    let delay = Duration::from_millis(rng.random_range(0..50));
    let often = rng.random_range(0..3) == 0;
    pair.world.network.update(|network| {
        network.delay = delay;
        network.cut_after = often.then_some(20..=60);
    });
    let (ours, theirs) = lossless(&pair, "requests");
    let requester = Requester::with_limit(ours, rng.random_range(1..20));
    let responder = Responder::new(theirs);
    let executed: Arc<Mutex<BTreeMap<usize, u32>>> = Arc::default();
    let (log, seed_of_handlers, concurrency) = (executed.clone(), rng.random(), rng.random_range(1..8));
    let mut chance = StdRng::seed_from_u64(seed_of_handlers);
    let serving = tokio::spawn(responder.serve(concurrency, move |request: Message| {
        let number: usize = request.as_text().unwrap().parse().unwrap();
        *log.lock().unwrap().entry(number).or_default() += 1;
        let work = [0, 0, 3, 150, 3_000][chance.random_range(0..5)];
        async move {
            tokio::time::sleep(Duration::from_millis(work)).await;
            format!("reply to {number}")
        }
    }));
    let ops = operations(&mut rng);
    let mut asked = Vec::new();
    for op in ops {
        match op {
            Op::Ask { patience, drop } => {
                let (requester, number) = (requester.clone(), asked.len());
                let patience = Duration::from_millis(patience);
                asked.push(tokio::spawn(async move {
                    if drop {
                        let asking = requester.request(number.to_string(), 7200 * SECOND);
                        tokio::time::timeout(patience, asking).await.ok()
                    } else {
                        Some(requester.request(number.to_string(), patience).await)
                    }
                }));
                tokio::task::yield_now().await;
            }
            Op::Cut => pair.world.network.cut_all(),
            Op::Network(up) => pair.world.network.blackout(!up),
            Op::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
        }
    }
    pair.world.network.blackout(false);
    pair.world.network.update(|network| network.cut_after = None);
    let outcomes = tokio::time::timeout(7200 * SECOND, join_all(asked)).await.expect("each has an outcome");
    // What is on its way still may be executed.
    tokio::time::sleep(MINUTE).await;
    let executed = executed.lock().unwrap().clone();
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let times = executed.get(&number).copied().unwrap_or(0);
        assert!(times <= 1, "{number} was executed {times} times");
        match outcome.unwrap() {
            Some(Ok(reply)) => {
                assert_eq!(reply.as_text().unwrap(), format!("reply to {number}"));
                assert_eq!(times, 1, "{number}");
            }
            Some(Err(error @ RequestError::TimedOut { may_have_been_executed })) => {
                assert!(may_have_been_executed || times == 0, "{number}: {error}");
            }
            Some(Err(error)) => panic!("{number}: {error}"),
            None => {}
        }
    }
    // The end still works, and nothing is held.
    assert_eq!(requester.in_flight(), 0);
    assert!(requester.request("1000000", 600 * SECOND).await.is_ok());
    drop(requester);
    tokio::time::timeout(600 * SECOND, serving).await.expect("it ends").unwrap();
}

#[test]
fn every_request_has_one_outcome_and_is_never_executed_twice() {
    common::each_seed(300, holds);
}

/// A host whose process can be killed: what it has on disk, and what is left of the rest.
struct Mortal {
    client: everlink::Client,
    service: everlink::DurableService,
    store: MemoryStore,
    serving: tokio::task::JoinHandle<()>,
}

/// A store that takes its time, as disks do: a crash in between undoes what is not in it yet.
struct Slow(MemoryStore);

impl Store for Slow {
    fn load(&self, prefix: &[u8]) -> Result<Vec<(bytes::Bytes, bytes::Bytes)>, StoreError> {
        self.0.load(prefix)
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'static, Result<(), StoreError>> {
        let store = self.0.clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            store.apply(batch).await
        })
    }
}

/// How often each request was executed, over all processes.
type Executed = Arc<Mutex<BTreeMap<usize, u32>>>;

async fn start(world: &common::World, store: MemoryStore, executed: Executed, seed: u64) -> Mortal {
    let client = everlink::Client::builder(everlink::Identity::from_secret([1; 32]))
        .signaling(world.signaling.clone())
        .transport(world.network.transport())
        .store(Slow(store.clone()))
        .seed(seed)
        .build();
    let mut config = chat();
    config.connection.park_for = Duration::from_secs(86_400);
    config.connection.queue = QueueConfig::lossless();
    let service = client.expose_service(config).await.expect("exposed");
    // A process that was killed has the session already.
    let restored = tokio::time::timeout(SECOND, service.accept()).await.ok().flatten();
    let serving = tokio::spawn(async move {
        let Some(connection) = restored else { return };
        serve(connection, executed, seed).await;
    });
    Mortal { client, service, store, serving }
}

async fn serve(connection: everlink::DurableConnection, executed: Executed, seed: u64) {
    let mut chance = StdRng::seed_from_u64(seed);
    let channel = connection.open_channel("requests").expect("the channel");
    let concurrency = chance.random_range(1..6);
    let handler = move |request: Message| {
        let number: usize = request.as_text().unwrap().parse().unwrap();
        *executed.lock().unwrap().entry(number).or_default() += 1;
        let work = [0, 0, 3, 150, 3_000][chance.random_range(0..5)];
        async move {
            tokio::time::sleep(Duration::from_millis(work)).await;
            format!("reply to {number}")
        }
    };
    Responder::new(channel).serve(concurrency, handler).await;
}

/// The responder is killed again and again; what it has stored is all that the next one knows.
async fn survives(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let world = common::World::new(seed);
    let executed = Executed::default();
    let mut host = start(&world, MemoryStore::new(), executed.clone(), seed).await;
    let peer = world.client(2);
    let mut config = ConnectionConfig::default();
    config.backoff.max_attempts = None;
    config.backoff.max = SECOND;
    config.queue = QueueConfig::lossless();
    let target = everlink::Target::Uuid(host.service.info().uuid);
    let connection = peer.connect_with(target, config).await.expect("connected");
    let requester = Requester::new(connection.open_channel("requests").unwrap());
    let at_host = host.service.accept().await.expect("a session");
    host.serving = tokio::spawn(serve(at_host, executed.clone(), seed));
    let forever = 86_400 * SECOND;
    let mut asked = Vec::new();
    for round in 0..rng.random_range(1..5u64) {
        for _ in 0..rng.random_range(1..20) {
            let (requester, number) = (requester.clone(), asked.len());
            asked.push(tokio::spawn(async move { requester.request(number.to_string(), forever).await }));
            if rng.random() {
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..100))).await;
            }
        }
        if rng.random() {
            tokio::time::sleep(Duration::from_millis(rng.random_range(0..4_000))).await;
        }
        // At this moment it is killed: nothing of it runs on, or reaches anybody.
        host.serving.abort();
        let left = host.store.snapshot();
        world.network.blackout(true);
        let Mortal { client, service, serving, .. } = host;
        let _ = serving.await;
        drop(service);
        let _ = tokio::time::timeout(20 * SECOND, client.shutdown()).await;
        // Long enough that what it said in the dark never arrives.
        tokio::time::sleep(40 * SECOND).await;
        world.network.blackout(false);
        host = start(&world, left, executed.clone(), seed + round + 1).await;
    }
    let outcomes =
        tokio::time::timeout(3_600 * SECOND, join_all(asked)).await.expect("long before their timeouts");
    let executed = executed.lock().unwrap().clone();
    let mut interrupted = 0;
    for (number, outcome) in outcomes.into_iter().enumerate() {
        let times = executed.get(&number).copied().unwrap_or(0);
        assert!(times <= 1, "{number} was executed {times} times");
        match outcome.unwrap() {
            Ok(reply) => {
                assert_eq!(reply.as_text().unwrap(), format!("reply to {number}"));
                assert_eq!(times, 1, "{number}");
            }
            Err(RequestError::Interrupted) => interrupted += 1,
            Err(error) => panic!("{number}: {error}"),
        }
    }
    INTERRUPTED.fetch_add(interrupted, std::sync::atomic::Ordering::Relaxed);
    // It is as good as new.
    assert!(requester.request("1000000", MINUTE).await.is_ok());
}

static INTERRUPTED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

#[test]
fn a_responder_that_is_killed_and_restored_executes_nothing_twice_and_leaves_nothing_open() {
    common::each_seed(100, survives);
    let interrupted = INTERRUPTED.load(std::sync::atomic::Ordering::Relaxed);
    eprintln!("{interrupted} interrupted");
    assert!(
        common::one_seed().is_some() || interrupted > 0,
        "none was caught in the middle: the test proves nothing"
    );
}
