//! What survives the end of a process: whole clients with stores, over memory links with a paused clock.

mod common;

use std::time::Duration;

use common::{World, chat, expect_numbers, send_numbers};
use everlink::store::{MemoryStore, Store, StoreError};
use everlink::*;

/// A host and a peer with a store each; every life of them is a client of its own.
struct Lives {
    world: World,
    uuid: Option<everlink::signaling::ServiceUuid>,
}

struct Host {
    client: Client,
    service: DurableService,
    store: MemoryStore,
}

struct Peer {
    client: Client,
    connection: DurableConnection,
    store: MemoryStore,
}

impl Lives {
    fn new(seed: u64) -> Self {
        Self { world: World::new(seed), uuid: None }
    }

    fn client(&self, secret: u8, store: impl Store) -> Client {
        Client::builder(Identity::from_secret([secret; 32]))
            .signaling(self.world.signaling.clone())
            .transport(self.world.network.transport())
            .store(store)
            .build()
    }

    async fn host(&mut self, store: MemoryStore) -> Host {
        let client = self.client(1, store.clone());
        let mut config = chat();
        config.connection.queue = QueueConfig::lossless();
        let service = client.expose_service(config).await.expect("exposed");
        self.uuid = Some(service.info().uuid);
        Host { client, service, store }
    }

    fn peer_with(&self, store: MemoryStore, config: ConnectionConfig) -> Peer {
        let client = self.client(2, store.clone());
        let connection = client.connect_lazy(self.target(), config);
        Peer { client, connection, store }
    }

    fn peer(&self, store: MemoryStore) -> Peer {
        self.peer_with(store, lossless())
    }

    fn target(&self) -> Target {
        Target::Uuid(self.uuid.expect("there was a host"))
    }

    /// Both, connected.
    async fn pair(&mut self) -> (Host, DurableConnection, Peer) {
        let host = self.host(MemoryStore::new()).await;
        let peer = self.peer(MemoryStore::new());
        let at_host = host.service.accept().await.expect("a session");
        (host, at_host, peer)
    }
}

impl Host {
    async fn crash(self) -> MemoryStore {
        crash(self.client, self.store).await
    }
}

impl Peer {
    async fn crash(self) -> MemoryStore {
        crash(self.client, self.store).await
    }
}

/// What a crash now leaves. Nothing is written while the client is taken down, so nothing that
/// has to be stored first is told to anybody.
async fn crash(client: Client, store: MemoryStore) -> MemoryStore {
    let left = store.snapshot();
    store.fail(Some(StoreError::Failed("it crashed".into())));
    client.shutdown().await;
    left
}

fn lossless() -> ConnectionConfig {
    let mut config = ConnectionConfig::default();
    config.queue = QueueConfig::lossless();
    config.backoff.max_attempts = None;
    config
}

async fn send_stored(channel: &DurableChannel, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let receipt = channel.send(number.to_string()).await.expect("taken");
        receipt.stored().await.expect("stored");
    }
}

/// The channel that the scenes are about, at both ends.
fn chat_of(at_peer: &DurableConnection, at_host: &DurableConnection) -> (DurableChannel, DurableChannel) {
    let open = |connection: &DurableConnection| connection.open_channel("chat").expect("a channel");
    (open(at_peer), open(at_host))
}

/// Says something that is heard, committed there and forgotten here.
async fn talk(
    connection: &DurableConnection,
    ours: &DurableChannel,
    theirs: &mut DurableChannel,
    numbers: std::ops::Range<u32>,
) {
    send_stored(ours, numbers.clone()).await;
    expect_numbers(theirs, numbers).await;
    theirs.commit().await.expect("committed");
    connection.flush().await.expect("acknowledged");
}

async fn quiet(channel: &mut DurableChannel) {
    let more = tokio::time::timeout(Duration::from_secs(120), channel.recv()).await;
    assert!(more.is_err(), "it came again: {more:?}");
}

fn texts(messages: &[Undelivered]) -> Vec<String> {
    let text = |message: &Undelivered| message.message.as_text().expect("text").to_owned();
    messages.iter().map(text).collect()
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_restarted_peer_goes_on_where_it_stopped() {
    let mut lives = Lives::new(1);
    let (host, at_host, peer) = lives.pair().await;
    let id = peer.connection.id();
    let (ours, mut theirs) = chat_of(&peer.connection, &at_host);
    send_stored(&ours, 0..100).await;
    expect_numbers(&mut theirs, 0..50).await;
    for (round, silent) in [(1, false), (2, true), (3, false)] {
        lives.world.network.blackout(silent);
        send_numbers(&theirs, (round - 1) * 10..round * 10).await;
    }
    lives.world.network.blackout(true);
    send_stored(&ours, 100..200).await;
    let left = peer.crash().await;
    lives.world.network.blackout(false);

    let peer = lives.peer(left);
    assert_eq!(peer.connection.id(), id);
    let mut ours = peer.connection.open_channel("chat").unwrap();
    send_stored(&ours, 200..210).await;
    expect_numbers(&mut theirs, 50..210).await;
    expect_numbers(&mut ours, 0..30).await;
    quiet(&mut theirs).await;
    assert_eq!(at_host.id(), id);
    drop(host);
}

#[tokio::test(start_paused = true)]
async fn a_restarted_host_goes_on_and_its_peer_only_sees_an_outage() {
    let mut lives = Lives::new(2);
    let (host, at_host, peer) = lives.pair().await;
    let (mut ours, mut theirs) = chat_of(&peer.connection, &at_host);
    send_numbers(&ours, 0..100).await;
    expect_numbers(&mut theirs, 0..60).await;
    theirs.commit().await.unwrap();
    send_stored(&theirs, 0..40).await;
    let left = host.crash().await;
    drop((theirs, at_host));
    send_numbers(&ours, 100..150).await;
    tokio::time::sleep(Duration::from_secs(30)).await;

    let host = lives.host(left).await;
    let at_host = host.service.accept().await.expect("the saved session");
    assert_eq!(at_host.id(), peer.connection.id());
    assert_eq!(at_host.peer(), peer.client.public_key());
    // The peer's channels are known, too.
    let mut theirs = at_host.accept_channel().await.expect("the saved channel");
    assert_eq!(theirs.label(), "chat");
    expect_numbers(&mut theirs, 60..150).await;
    send_stored(&theirs, 40..50).await;
    expect_numbers(&mut ours, 0..50).await;
    assert!(peer.connection.stats().reconnects > 0);
    quiet(&mut theirs).await;
    quiet(&mut ours).await;
}

#[tokio::test(start_paused = true)]
async fn both_restarted_again_and_again_lose_and_double_nothing() {
    let mut lives = Lives::new(3);
    let (mut host, mut at_host, mut peer) = lives.pair().await;
    for life in 0..6 {
        let (mut ours, mut theirs) = chat_of(&peer.connection, &at_host);
        // Half of each life's messages are left for the next.
        send_stored(&ours, life * 20..(life + 1) * 20).await;
        send_stored(&theirs, life * 20..(life + 1) * 20).await;
        let begin = if life == 0 { 0 } else { life * 20 - 10 };
        expect_numbers(&mut theirs, begin..life * 20 + 10).await;
        expect_numbers(&mut ours, begin..life * 20 + 10).await;
        theirs.commit().await.unwrap();
        ours.commit().await.unwrap();
        let (left, at_peer) = (host.store.snapshot(), peer.store.snapshot());
        drop((ours, theirs));
        host.client.shutdown().await;
        peer.client.shutdown().await;
        // In either order.
        if life % 2 == 0 {
            host = lives.host(left).await;
            peer = lives.peer(at_peer);
        } else {
            peer = lives.peer(at_peer);
            tokio::time::sleep(Duration::from_secs(20)).await;
            host = lives.host(left).await;
        }
        at_host = host.service.accept().await.expect("the saved session");
    }
    let mut ours = peer.connection.open_channel("chat").unwrap();
    expect_numbers(&mut ours, 110..120).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_detaches_can_come_back_in_the_same_process() {
    let mut lives = Lives::new(4);
    let (_host, at_host, peer) = lives.pair().await;
    let id = peer.connection.id();
    let (ours, mut theirs) = chat_of(&peer.connection, &at_host);
    send_numbers(&ours, 0..10).await;
    expect_numbers(&mut theirs, 0..5).await;
    lives.world.network.blackout(true);
    // Taken, and stored at the latest by the detach.
    send_numbers(&ours, 10..20).await;
    assert_eq!(peer.connection.detach().await, CloseReason::Detached);
    let late = ours.send("late").await.map(drop).unwrap_err();
    assert_eq!(late, SendError::Closed(CloseReason::Detached));
    lives.world.network.blackout(false);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!matches!(at_host.state(), ConnectionState::Closed(_)));

    let again = peer.client.connect_with(lives.target(), lossless()).await.unwrap();
    assert_eq!(again.id(), id);
    let ours = again.open_channel("chat").unwrap();
    send_numbers(&ours, 20..30).await;
    expect_numbers(&mut theirs, 5..30).await;

    // A host's session that is left comes back with the service only; the peer waits for it.
    assert_eq!(at_host.detach().await, CloseReason::Detached);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!matches!(again.state(), ConnectionState::Closed(_)), "{:?}", again.state());
}

#[tokio::test(start_paused = true)]
async fn close_is_final_over_a_restart() {
    let mut lives = Lives::new(5);
    let (host, at_host, peer) = lives.pair().await;
    let ours = peer.connection.open_channel("chat").unwrap();
    drop(at_host.open_channel("chat").unwrap());
    lives.world.network.blackout(true);
    send_stored(&ours, 0..5).await;
    assert_eq!(at_host.close().await, CloseReason::Local);
    let left = host.crash().await;
    tokio::time::sleep(Duration::from_secs(60)).await;

    lives.world.network.blackout(false);
    let host = lives.host(left).await;
    assert_eq!(peer.connection.closed().await, CloseReason::Peer);
    assert_eq!(texts(&peer.connection.take_undelivered()), numbers(0..5));
    assert!(peer.connection.take_undelivered().is_empty());
    // It was the last of it, on both sides.
    let again = peer.client.connect_with(lives.target(), lossless()).await.unwrap();
    assert_ne!(again.id(), peer.connection.id());
    let at_host = host.service.accept().await.unwrap();
    assert_eq!(at_host.id(), again.id());
    let mut theirs = at_host.open_channel("chat").unwrap();
    send_numbers(&again.open_channel("chat").unwrap(), 7..8).await;
    expect_numbers(&mut theirs, 7..8).await;

    // A peer that closes leaves nothing to come back to.
    assert_eq!(again.close().await, CloseReason::Local);
    let left = peer.crash().await;
    let peer = lives.peer(left);
    assert_ne!(peer.connection.id(), again.id());
}

#[tokio::test(start_paused = true)]
async fn a_host_that_forgot_the_session_gives_the_messages_back() {
    let mut lives = Lives::new(6);
    let (host, at_host, peer) = lives.pair().await;
    let (ours, mut theirs) = chat_of(&peer.connection, &at_host);
    talk(&peer.connection, &ours, &mut theirs, 0..10).await;
    drop((theirs, at_host));
    host.crash().await;
    let receipt = ours.send("10").await.unwrap();
    send_stored(&ours, 11..30).await;
    let left = peer.crash().await;

    let _host = lives.host(MemoryStore::new()).await;
    let peer = lives.peer(left);
    assert_eq!(peer.connection.closed().await, CloseReason::SessionLost { unacked: 20 });
    assert_eq!(texts(&peer.connection.take_undelivered()), numbers(10..30));
    drop(receipt);
    // The next connection begins anew.
    let again = peer.client.connect_with(lives.target(), lossless()).await.unwrap();
    assert_ne!(again.id(), peer.connection.id());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_stops_the_connection_until_it_works_again() {
    let mut lives = Lives::new(7);
    let (_host, at_host, peer) = lives.pair().await;
    let (mut ours, mut theirs) = chat_of(&peer.connection, &at_host);
    send_stored(&ours, 0..10).await;
    expect_numbers(&mut theirs, 0..10).await;
    let mut events = peer.connection.events();
    let full = StoreError::Full("a test".into());
    peer.store.fail(Some(full.clone()));
    // The first is taken before anybody knows. It waits for the store, unsent.
    let waiting = ours.send("10").await.unwrap();
    let stored = tokio::time::timeout(Duration::from_secs(10), waiting.stored()).await;
    assert!(stored.is_err(), "{stored:?}");
    assert_eq!(ours.send("refused").await.map(drop).unwrap_err(), SendError::Store(full.clone()));
    assert!(matches!(ours.try_send("refused"), Err(TrySendError::Failed(_, SendError::Store(_)))));
    // What the peer receives meanwhile is not acknowledged, but not lost either.
    send_numbers(&theirs, 0..5).await;
    expect_numbers(&mut ours, 0..5).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(theirs.buffered().messages, 5, "nothing is acknowledged that a crash would lose");
    let quiet = tokio::time::timeout(Duration::from_secs(60), theirs.recv()).await;
    assert!(quiet.is_err(), "it was sent before it was stored: {quiet:?}");

    peer.store.fail(None);
    waiting.stored().await.unwrap();
    send_numbers(&ours, 11..20).await;
    expect_numbers(&mut theirs, 10..20).await;
    let (mut failed, mut recovered) = (0, 0);
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(1), events.next()).await {
        match event {
            ConnectionEvent::StoreFailed { error, goes_on } => {
                assert_eq!((error, goes_on), (full.clone(), false));
                failed += 1;
            }
            ConnectionEvent::StoreRecovered => recovered += 1,
            _ => {}
        }
    }
    assert_eq!((failed, recovered), (1, 1));
    ours.commit().await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(theirs.buffered().messages, 0);
}

#[tokio::test(start_paused = true)]
async fn told_to_go_on_in_memory_it_does_and_says_so() {
    let mut lives = Lives::new(8);
    let host = lives.host(MemoryStore::new()).await;
    let mut config = lossless();
    config.on_store_failure = StoreFailure::GoOnInMemory;
    let peer = lives.peer_with(MemoryStore::new(), config.clone());
    let at_host = host.service.accept().await.unwrap();
    let (ours, mut theirs) = chat_of(&peer.connection, &at_host);
    send_stored(&ours, 0..10).await;
    expect_numbers(&mut theirs, 0..10).await;
    let mut events = peer.connection.events();
    let error = StoreError::Failed("a test".into());
    peer.store.fail(Some(error.clone()));
    let receipt = ours.send("10").await.unwrap();
    assert_eq!(receipt.stored().await, Err(SendError::NotStored));
    send_numbers(&ours, 11..100).await;
    expect_numbers(&mut theirs, 10..100).await;
    theirs.commit().await.unwrap();
    assert!(matches!(events.next().await, Some(ConnectionEvent::Connected { .. })));
    assert_eq!(events.next().await, Some(ConnectionEvent::StoreFailed { error, goes_on: true }));

    // The store knows an older state, with which nobody goes on as if nothing had been.
    peer.store.fail(None);
    // A client whose store was given up closes when it is shut down; a crash does not.
    lives.world.network.blackout(true);
    lives.world.network.cut_all();
    let left = peer.crash().await;
    lives.world.network.blackout(false);
    let peer = lives.peer_with(left, config);
    let unacked = peer.connection.closed().await;
    assert!(matches!(unacked, CloseReason::SessionLost { .. }), "{unacked}");
    // The host is told at once, whichever side found out.
    let at_host = at_host.closed().await;
    assert!(matches!(at_host, CloseReason::SessionLost { .. } | CloseReason::Peer), "{at_host}");
}

/// Whichever side is put back to an older state, and whatever it queues before the other hears of it.
#[tokio::test(start_paused = true)]
async fn a_store_put_back_to_an_older_state_is_never_passed_over_in_silence() {
    for queued in [0, 5, 20, 60] {
        for host_rewound in [false, true] {
            let mut lives = Lives::new(9);
            let (host, at_host, peer) = lives.pair().await;
            let (ours, mut theirs) = chat_of(&peer.connection, &at_host);
            talk(&peer.connection, &ours, &mut theirs, 0..10).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let old = if host_rewound { host.store.snapshot() } else { peer.store.snapshot() };
            talk(&peer.connection, &ours, &mut theirs, 10..30).await;
            tokio::time::sleep(Duration::from_secs(2)).await;

            let (at_peer, at_host) = if host_rewound {
                drop((theirs, at_host));
                host.crash().await;
                send_stored(&ours, 100..100 + queued).await;
                let host = lives.host(old).await;
                let at_host = host.service.accept().await.unwrap();
                let ends = (peer.connection.closed().await, at_host.closed().await);
                assert_eq!(texts(&peer.connection.take_undelivered()), numbers(100..100 + queued));
                ends
            } else {
                drop(ours);
                lives.world.network.blackout(true);
                peer.crash().await;
                let peer = lives.peer(old);
                let ours = peer.connection.open_channel("chat").unwrap();
                send_stored(&ours, 100..100 + queued).await;
                tokio::time::sleep(Duration::from_secs(5)).await;
                lives.world.network.blackout(false);
                let ends = (peer.connection.closed().await, at_host.closed().await);
                assert_eq!(texts(&peer.connection.take_undelivered()), numbers(100..100 + queued));
                ends
            };
            let lost = |reason: &CloseReason| matches!(reason, CloseReason::SessionLost { .. });
            // A peer that finds out tells the host that it is over.
            let told = matches!(at_host, CloseReason::Peer);
            assert!(
                lost(&at_peer) && (lost(&at_host) || told),
                "{queued} {host_rewound}: {at_peer}, {at_host}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_is_not_received_again() {
    let mut lives = Lives::new(10);
    let (host, at_host, peer) = lives.pair().await;
    let (ours, mut theirs) = chat_of(&peer.connection, &at_host);
    send_stored(&ours, 0..10).await;
    expect_numbers(&mut theirs, 0..7).await;
    theirs.commit().await.unwrap();
    let left = host.store.snapshot();
    // Received, but not committed.
    expect_numbers(&mut theirs, 7..8).await;
    drop((theirs, at_host));
    host.crash().await;
    let host = lives.host(left).await;
    let at_host = host.service.accept().await.unwrap();
    let mut theirs = at_host.open_channel("chat").unwrap();
    expect_numbers(&mut theirs, 7..10).await;
    quiet(&mut theirs).await;
    drop((peer, ours));
}

/// On disk and by the real clock: the thread that writes knows no other.
#[cfg(feature = "store")]
#[tokio::test]
async fn sessions_in_files_go_on_after_a_restart_of_both() {
    use everlink::store::FileStore;
    let directory = tempfile::tempdir().unwrap();
    let open = |name: &str| FileStore::open(directory.path().join(name)).expect("free again");
    let world = Lives::new(11);
    let mut config = chat();
    config.connection.queue = QueueConfig::lossless();
    // A client that was shut down has let go of its store, though somebody still has a clone.
    let mut clones = Vec::new();
    for life in 0..5 {
        let host = world.client(1, open("host"));
        let service = host.expose_service(config.clone()).await.unwrap();
        let peer = world.client(2, open("peer"));
        let at_peer =
            peer.connect_with(Target::Uuid(service.info().uuid), lossless()).await.expect("connected");
        let at_host = service.accept().await.expect("a session");
        assert_eq!(at_host.id(), at_peer.id());
        let (mut ours, mut theirs) = chat_of(&at_peer, &at_host);
        send_numbers(&ours, life * 200..(life + 1) * 200).await;
        send_numbers(&theirs, life * 200..(life + 1) * 200).await;
        let begin = if life == 0 { 0 } else { life * 200 - 100 };
        expect_numbers(&mut theirs, begin..life * 200 + 100).await;
        expect_numbers(&mut ours, begin..life * 200 + 100).await;
        theirs.commit().await.unwrap();
        ours.commit().await.unwrap();
        clones.extend([host.clone(), peer.clone()]);
        host.shutdown().await;
        peer.shutdown().await;
    }
}

/// An older state, messages on top of it, and a second restart before the other side has heard of it.
#[tokio::test(start_paused = true)]
async fn an_older_state_is_found_out_after_further_restarts_too() {
    let mut lives = Lives::new(12);
    let (_host, at_host, peer) = lives.pair().await;
    let (ours, mut theirs) = chat_of(&peer.connection, &at_host);
    talk(&peer.connection, &ours, &mut theirs, 0..10).await;
    let old = peer.store.snapshot();
    talk(&peer.connection, &ours, &mut theirs, 10..30).await;
    lives.world.network.blackout(true);
    peer.crash().await;

    let peer = lives.peer(old);
    let ours = peer.connection.open_channel("chat").unwrap();
    send_stored(&ours, 100..160).await;
    let left = peer.crash().await;
    let peer = lives.peer(left);
    lives.world.network.blackout(false);
    let ended = tokio::time::timeout(Duration::from_secs(120), peer.connection.closed()).await;
    assert!(matches!(ended, Ok(CloseReason::SessionLost { .. })), "{ended:?}: messages were passed over");
    // Those of the older state come back, too, and are told apart.
    let mut given_back = peer.connection.take_undelivered();
    given_back.retain(|message| !message.may_have_arrived);
    assert_eq!(texts(&given_back), numbers(100..160));
}
