//! The main job over real WebRTC on loopback. Every test waits for events under one deadline.
#![cfg(all(feature = "webrtc", feature = "testkit"))]
// Real sockets keep real time.
#![allow(clippy::disallowed_methods)]

mod common;

use std::time::{Duration, Instant};

use common::{chat, expect_numbers, fqn, send_numbers, user};
use everlink::link::Transport;
use everlink::link::webrtc::{Impairment, WebRtcConfig, WebRtcTransport};
use everlink::signaling::{MemorySignaling, Signaling};
use everlink::testkit::Cuttable;
use everlink::{
    ChannelConfig, Client, CloseReason, ConnectionConfig, ConnectionEvent, ConnectionState, DurableChannel,
    DurableConnection, DurableService, Identity, Message, ServiceConfig, ServiceEvent, SessionLost, Target,
};
use futures_util::future::join_all;

/// Runs a test that must not hang; then nothing of it may be left.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let before = files();
        tokio::time::timeout(Duration::from_secs(50), test).await.expect("the test hangs");
        // What was dropped rather than shut down is released in the background.
        let started = Instant::now();
        while (alive() > 0 || files() > before) && started.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(alive(), 0, "tasks are left");
        assert!(files() <= before, "{before} files were open, now {}", files());
    });
}

fn alive() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Open descriptors; nextest runs each test in a process of its own.
fn files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// WebRTC whose links can be cut from outside, at this end.
fn cuttable() -> Cuttable {
    cuttable_with(WebRtcConfig::loopback())
}

fn cuttable_with(config: WebRtcConfig) -> Cuttable {
    Cuttable::new(WebRtcTransport::new(config))
}

fn client(secret: u8, signaling: impl Signaling, transport: impl Transport) -> Client {
    Client::builder(Identity::from_secret([secret; 32])).signaling(signaling).transport(transport).build()
}

struct Pair {
    signaling: MemorySignaling,
    host: Client,
    peer: Client,
    /// What can be cut, at each end.
    links: [Cuttable; 2],
    service: DurableService,
    at_host: DurableConnection,
    at_peer: DurableConnection,
}

impl Pair {
    async fn new() -> Self {
        Self::with(chat(), ConnectionConfig::default(), [cuttable(), cuttable()]).await
    }

    async fn with(service: ServiceConfig, config: ConnectionConfig, links: [Cuttable; 2]) -> Self {
        let signaling = MemorySignaling::new();
        let host = client(1, signaling.clone(), links[0].clone());
        let peer = client(2, signaling.clone(), links[1].clone());
        let service = host.expose_service(service).await.expect("exposed");
        let at_peer = peer.connect_with(Target::Uuid(service.info().uuid), config).await.expect("connected");
        let at_host = service.accept().await.expect("a session");
        Self { signaling, host, peer, links, service, at_host, at_peer }
    }

    fn channel(&self, label: &str) -> (DurableChannel, DurableChannel) {
        (self.at_peer.open_channel(label).expect("opened"), self.at_host.open_channel(label).expect("opened"))
    }

    async fn end(self) {
        self.peer.shutdown().await;
        self.host.shutdown().await;
    }
}

/// `count` numbers each way, at once.
async fn talk(ours: &mut DurableChannel, theirs: &mut DurableChannel, count: u32) {
    send_numbers(ours, 0..count).await;
    send_numbers(theirs, 0..count).await;
    expect_numbers(theirs, 0..count).await;
    expect_numbers(ours, 0..count).await;
}

#[test]
fn a_host_and_a_peer_talk_and_close() {
    run(async {
        let pair = Pair::new().await;
        let mut ours = pair.at_peer.open_channel("c").expect("opened");
        let mut theirs = pair.at_host.accept_channel().await.expect("a channel");
        talk(&mut ours, &mut theirs, 2000).await;
        let large: Vec<u8> = (0..16_usize << 20).map(|at| (at * 31 % 251) as u8).collect();
        theirs.send(large.clone()).await.expect("taken");
        assert!(ours.recv().await.expect("received") == Message::from(large));
        // Asking for the next acknowledges the last.
        let flushed = async {
            pair.at_peer.flush().await.expect("flushed");
            pair.at_host.flush().await.expect("flushed");
        };
        tokio::select! {
            () = flushed => {}
            _ = futures_util::future::join(ours.recv(), theirs.recv()) => panic!("nothing more was sent"),
        }
        let expected = [CloseReason::Local, CloseReason::Peer];
        assert_eq!([pair.at_peer.close().await, pair.at_host.closed().await], expected);
        assert!(pair.service.connections().len() <= 1);
        let reached = [&pair.at_peer, &pair.at_host].map(DurableConnection::state);
        assert_eq!(reached, expected.map(ConnectionState::Closed), "it is final on both sides");
        pair.end().await;
    });
}

#[test]
fn a_returning_peer_is_the_same_connection_whichever_end_loses_the_link() {
    run(async {
        let pair = Pair::new().await;
        let (mut ours, mut theirs) = pair.channel("c");
        let (id, mut events) = (pair.at_host.id(), pair.at_peer.events());
        talk(&mut ours, &mut theirs, 10).await;
        for round in 0..10 {
            // From before the cut: the new link is under way while the old one is still closing.
            let since = Instant::now();
            assert!(pair.links[round % 2].cut().await > 0);
            talk(&mut ours, &mut theirs, 300).await;
            eprintln!(
                "{} closed: 600 messages within {:?} of it",
                ["remote", "local"][round % 2],
                since.elapsed()
            );
            assert!(since.elapsed() < Duration::from_secs(5));
        }
        assert_eq!(pair.service.connections(), [id]);
        let accepted = tokio::time::timeout(Duration::from_millis(50), pair.service.accept()).await;
        assert!(accepted.is_err(), "it was accepted again");
        let mut disconnected = 0;
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(10), events.next()).await {
            disconnected += usize::from(matches!(event, ConnectionEvent::Disconnected { .. }));
        }
        assert_eq!(disconnected, 10);
        pair.end().await;
    });
}

#[test]
fn cuts_in_the_middle_of_a_stream_lose_and_double_nothing() {
    run(async {
        let pair = Pair::new().await;
        let (ours, mut theirs) = pair.channel("c");
        let sending = send_numbers(&ours, 0..20_000);
        let receiving = async {
            for part in 0..10 {
                expect_numbers(&mut theirs, part * 2000..(part + 1) * 2000).await;
                pair.links[part as usize % 2].cut().await;
            }
        };
        tokio::join!(sending, receiving);
        pair.end().await;
    });
}

#[test]
fn five_joiners_at_once_get_in_on_a_pool_of_one() {
    run(async {
        let signaling = MemorySignaling::new();
        let host = client(1, signaling.clone(), cuttable());
        let service = host.expose_service(chat()).await.expect("exposed");
        let uuid = service.info().uuid;
        let peers: Vec<_> = (10..15).map(|secret| client(secret, signaling.clone(), cuttable())).collect();
        let joined = join_all(peers.iter().map(|peer| async move {
            let connection = peer.connect_by_uuid(uuid).await.expect("connected");
            let mut channel = connection.open_channel("c").expect("opened");
            channel.send("who is there?").await.expect("taken");
            (channel.recv().await.expect("an answer"), connection)
        }));
        let serving = async {
            for _ in 0..5 {
                let connection = service.accept().await.expect("a session");
                let mut channel = connection.accept_channel().await.expect("a channel");
                channel.recv().await.expect("a question");
                channel.send(connection.peer().to_string()).await.expect("taken");
                let (_, receiver) = channel.split();
                // Keeps the channel.
                tokio::spawn(async move {
                    let mut receiver = receiver;
                    while receiver.recv().await.is_ok() {}
                });
            }
        };
        let (joined, ()) = tokio::join!(joined, serving);
        for ((answer, _), peer) in joined.iter().zip(&peers) {
            assert_eq!(*answer, Message::from(peer.public_key().to_string()));
        }
        drop(joined);
        join_all(peers.into_iter().map(Client::shutdown)).await;
        host.shutdown().await;
    });
}

#[test]
fn two_services_of_one_identity_have_their_own_peers() {
    run(async {
        let signaling = MemorySignaling::new();
        let (host, peer) = (client(1, signaling.clone(), cuttable()), client(2, signaling, cuttable()));
        let expose = |name| host.expose_service(ServiceConfig::new(user("alice"), fqn(name)));
        let services = [expose("a@1.0.0").await.expect("exposed"), expose("b@1.0.0").await.expect("exposed")];
        for service in [&services[1], &services[0], &services[1]] {
            let joined = peer.connect_by_uuid(service.info().uuid).await.expect("connected");
            assert_eq!(service.accept().await.expect("a session").id(), joined.id());
        }
        peer.shutdown().await;
        host.shutdown().await;
    });
}

#[test]
fn refreshing_keeps_the_uuid_and_the_links() {
    run(async {
        let mut config = chat();
        // The directory grants ten seconds at least.
        config.ttl = Duration::from_secs(10);
        config.refresh_margin = 0.9;
        let pair = Pair::with(config, ConnectionConfig::default(), [cuttable(), cuttable()]).await;
        let (mut ours, mut theirs) = pair.channel("c");
        let (uuid, mut events) = (pair.service.info().uuid, pair.service.events());
        let mut refreshed = 0;
        while refreshed < 3 {
            match events.next().await.expect("it goes on") {
                ServiceEvent::TtlRefreshed { .. } => refreshed += 1,
                ServiceEvent::Published { .. } | ServiceEvent::Connection(_) => {}
                other => panic!("{other:?}"),
            }
            talk(&mut ours, &mut theirs, 10).await;
        }
        assert_eq!(pair.service.info().uuid, uuid);
        assert_eq!(pair.links[1].made(), 1, "the link was replaced");
        pair.end().await;
    });
}

#[test]
fn a_directory_that_restarts_in_the_middle_touches_no_link() {
    run(async {
        let pair = Pair::new().await;
        let (mut ours, mut theirs) = pair.channel("c");
        let mut events = pair.service.events();
        talk(&mut ours, &mut theirs, 10).await;
        pair.signaling.restart();
        talk(&mut ours, &mut theirs, 1000).await;
        assert_eq!(pair.links[1].made(), 1, "the link was replaced");
        // And whoever comes now finds the service.
        let late = client(3, pair.signaling.clone(), cuttable());
        late.connect_by_uuid(pair.service.info().uuid).await.expect("connected");
        while !matches!(events.next().await.expect("it goes on"), ServiceEvent::Connection(id) if id != pair.at_host.id())
        {
        }
        late.shutdown().await;
        pair.end().await;
    });
}

#[test]
fn a_host_that_restarts_is_found_again_by_the_same_uuid() {
    run(async {
        let mut config = ConnectionConfig::default();
        config.on_session_lost = SessionLost::StartFresh;
        // Its packets stop with it, as if it was killed.
        let impairment = Impairment::new(1);
        let mut dying = WebRtcConfig::loopback();
        dying.impairment = Some(impairment.clone());
        let pair = Pair::with(chat(), config, [cuttable_with(dying), cuttable()]).await;
        let (mut ours, mut theirs) = pair.channel("c");
        talk(&mut ours, &mut theirs, 10).await;
        let uuid = pair.service.info().uuid;
        impairment.set_blackout(true);
        drop((theirs, pair.at_host, pair.service));
        pair.host.shutdown().await;

        let again = client(1, pair.signaling.clone(), cuttable());
        let service = again.expose_service(chat()).await.expect("exposed");
        assert_eq!(service.info().uuid, uuid);
        send_numbers(&ours, 0..10).await;
        let at_host = service.accept().await.expect("a session");
        let mut theirs = at_host.accept_channel().await.expect("the channel");
        let mut lost = 0;
        let mut events = pair.at_peer.events();
        while let Some(event) = events.next().await {
            match event {
                ConnectionEvent::SessionLost { .. } => lost += 1,
                ConnectionEvent::Connected { .. } if lost > 0 => break,
                _ => {}
            }
        }
        assert_eq!(lost, 1);
        send_numbers(&ours, 10..20).await;
        // Those that were on their way when it died were reported, the rest arrives in order.
        let mut last = None;
        while last != Some(Message::from("19")) {
            last = Some(theirs.recv().await.expect("received"));
        }
        pair.peer.shutdown().await;
        again.shutdown().await;
    });
}

#[test]
fn a_blackout_heals_without_loss() {
    run(async {
        let impairment = Impairment::new(2);
        let mut config = WebRtcConfig::loopback();
        config.impairment = Some(impairment.clone());
        let pair = Pair::with(chat(), ConnectionConfig::default(), [cuttable(), cuttable_with(config)]).await;
        let (mut ours, mut theirs) = pair.channel("c");
        let mut state = pair.at_peer.clone();
        talk(&mut ours, &mut theirs, 10).await;
        impairment.set_blackout(true);
        let dark = Instant::now();
        send_numbers(&ours, 0..500).await;
        send_numbers(&theirs, 0..500).await;
        while !matches!(state.state_changed().await, ConnectionState::Reconnecting { .. }) {}
        eprintln!("noticed after {:?}", dark.elapsed());
        assert!(dark.elapsed() < Duration::from_millis(2500));
        tokio::time::sleep_until((dark + Duration::from_secs(3)).into()).await;
        impairment.set_blackout(false);
        let healed = Instant::now();
        expect_numbers(&mut theirs, 0..1).await;
        eprintln!("the first message {:?} after healing", healed.elapsed());
        expect_numbers(&mut theirs, 1..500).await;
        expect_numbers(&mut ours, 0..500).await;
        assert!(healed.elapsed() < Duration::from_secs(10));
        talk(&mut ours, &mut theirs, 100).await;
        pair.end().await;
    });
}

#[test]
fn a_lossy_channel_delivers_over_every_link() {
    run(async {
        let pair = Pair::new().await;
        let mut ours =
            pair.at_peer.open_channel_with("mouse", ChannelConfig::lossy(false, 0)).expect("opened");
        let mut theirs = pair.at_host.accept_channel().await.expect("a channel");
        assert!(ours.is_lossy() && theirs.is_lossy());
        for round in 0..3 {
            // What is sent before the stream is open at both ends is lost.
            for back in [false, true] {
                let (from, to) = if back { (&theirs, &mut ours) } else { (&ours, &mut theirs) };
                let mut every = tokio::time::interval(Duration::from_millis(20));
                let text = format!("{round}");
                loop {
                    tokio::select! {
                        message = to.recv() => if message.expect("received") == Message::from(text.clone()) { break },
                        _ = every.tick() => drop(from.send(text.clone()).await.expect("taken")),
                    }
                }
            }
            pair.links[0].cut().await;
        }
        pair.end().await;
    });
}

#[cfg(all(feature = "server", feature = "http"))]
#[test]
fn over_a_real_server_that_restarts() {
    use everlink::signaling::HttpSignaling;
    use everlink::signaling::server::{Server, ServerConfig};
    use std::net::TcpListener;

    run(async {
        let directory = tempfile::tempdir().unwrap();
        let start = |listener: TcpListener| {
            let mut config = ServerConfig::default();
            config.data = Some(directory.path().to_path_buf());
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let server = Server::new(config).unwrap();
            let running = tokio::spawn(server.run(listener, async { drop(stopped.await) }));
            (stop, running)
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, running) = start(listener);
        let signaling = || HttpSignaling::new(&format!("http://{address}")).unwrap();
        let links = [cuttable(), cuttable()];
        let (host, peer) =
            (client(1, signaling(), links[0].clone()), client(2, signaling(), links[1].clone()));
        let service = host.expose_service(chat()).await.expect("exposed");
        let started = Instant::now();
        let at_peer = peer.connect_by_uuid(service.info().uuid).await.expect("connected");
        eprintln!("connected in {:?}", started.elapsed());
        let at_host = service.accept().await.expect("a session");
        let mut ours = at_peer.open_channel("c").expect("opened");
        let mut theirs = at_host.accept_channel().await.expect("a channel");
        talk(&mut ours, &mut theirs, 100).await;

        drop(stop);
        running.await.unwrap().unwrap();
        talk(&mut ours, &mut theirs, 1000).await;
        assert_eq!(links[1].made(), 1, "the link was replaced");
        let (stop, running) = start(TcpListener::bind(address).unwrap());
        links[1].cut().await;
        talk(&mut ours, &mut theirs, 100).await;
        let late = client(3, signaling(), cuttable());
        late.connect_by_uuid(service.info().uuid).await.expect("connected");

        late.shutdown().await;
        peer.shutdown().await;
        host.shutdown().await;
        drop(stop);
        running.await.unwrap().unwrap();
    });
}
