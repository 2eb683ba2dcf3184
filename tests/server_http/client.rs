//! `HttpSignaling` and the server together.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use everlink::signaling::server::ServerConfig;
use everlink::signaling::{
    Answer, ErrorCode, Event, EventStream, HttpSignaling, Request, Response, ServiceTarget, ServiceUuid,
    Signaling as _, SignalingError, TakenOffer, Username,
};
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::person::{Person, person, take};
use crate::{Running, within};

async fn host(signaling: &HttpSignaling, who: &Person) -> ServiceUuid {
    let publish = who.publish("alice", "chat@1.0.0");
    let uuid = publish.uuid;
    let username = Username::new("alice").unwrap();
    let claim = signaling.call(who.request(Request::Claim { username })).await.unwrap();
    assert!(matches!(claim, Response::Claimed(_)));
    match signaling.call(who.request(Request::Publish(publish))).await.unwrap() {
        Response::Published(lease) => assert_eq!(lease.ttl, Duration::from_secs(60)),
        other => panic!("{other:?}"),
    }
    uuid
}

async fn events(signaling: &HttpSignaling, who: &Person) -> EventStream {
    signaling.events(who.request(Request::Events { cursor: None })).await.unwrap()
}

async fn join(signaling: &HttpSignaling, who: &Person, uuid: ServiceUuid) -> TakenOffer {
    let request = who.request(take(uuid, Duration::from_secs(5)));
    let Ok(Response::Taken(taken)) = signaling.call(request).await else { panic!("no offer") };
    let answer = who.answer(&uuid.to_string(), *taken.id.as_bytes(), &taken.sdp, "answer");
    let answer = Answer {
        offer: taken.id,
        sdp: "answer".into(),
        signature: answer["signature"].as_str().unwrap().parse().unwrap(),
    };
    signaling.call(who.request(Request::Answer(answer))).await.unwrap();
    taken
}

/// Makes an offer whenever one is wanted, until `answers` have come.
async fn serve(signaling: &HttpSignaling, who: &Person, uuid: ServiceUuid, answers: usize) {
    let mut events = events(signaling, who).await;
    let mut seen = 0;
    while seen < answers {
        match events.next().await.expect("an event").expect("a good one").1 {
            Event::OfferWanted { wanted, .. } if wanted > 0 => {
                let offers = (0..wanted).map(|_| who.new_offer(&uuid, "offer")).collect();
                signaling
                    .call(who.request(Request::AddOffers { instance: None, uuid, offers }))
                    .await
                    .unwrap();
            }
            Event::Answered { .. } => seen += 1,
            _ => {}
        }
    }
}

#[tokio::test]
async fn five_joiners_meet_a_host_that_has_no_offer_yet() {
    let server = Running::start(None).await;
    let alice = person(1);
    let hosting = HttpSignaling::new(&server.url()).unwrap();
    let joining = HttpSignaling::new(&format!("{}/", server.url())).unwrap();
    hosting.probe().await.unwrap();
    let uuid = host(&hosting, &alice).await;
    let joiners = futures_util::future::join_all((10..15).map(|number| {
        let joining = &joining;
        async move { join(joining, &person(number), uuid).await.id }
    }));
    let ((), ids) = tokio::join!(within(5, serve(&hosting, &alice, uuid, 5)), within(5, joiners));
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
    let list = joining.call(person(2).request(Request::List { username: Username::new("alice").unwrap() }));
    let Ok(Response::Services(services)) = list.await else { panic!() };
    assert_eq!(services[0].uuid, uuid);
    let withdraw = joining.call(person(2).request(Request::Withdraw { uuid })).await.unwrap_err();
    let SignalingError::Refused { code, hint, .. } = &withdraw else { panic!() };
    assert!(*code == ErrorCode::NotYours && !hint.is_empty() && !withdraw.is_temporary());
    server.stop().await;
}

#[tokio::test]
async fn a_joiner_that_goes_away_takes_no_offer_with_it() {
    let server = Running::start(None).await;
    let (alice, bob) = (person(1), person(2));
    let signaling = HttpSignaling::new(&server.url()).unwrap();
    let uuid = host(&signaling, &alice).await;
    let mut stream = events(&signaling, &alice).await;
    let mut waiting = Box::pin(signaling.call(bob.request(take(uuid, Duration::from_secs(10)))));
    loop {
        tokio::select! {
            event = stream.next() => {
                if let Event::OfferWanted { wanted: 1, .. } = event.unwrap().unwrap().1 {
                    break;
                }
            }
            reply = &mut waiting => panic!("{reply:?}"),
        }
    }
    drop(waiting);
    // The lease says when the server has noticed.
    within(5, async {
        loop {
            let publish = alice.request(Request::Publish(alice.publish("alice", "chat@1.0.0")));
            let Ok(Response::Published(lease)) = signaling.call(publish).await else { panic!() };
            if lease.wanted == 0 {
                return;
            }
        }
    })
    .await;
    let offers = vec![alice.new_offer(&uuid, "offer")];
    signaling.call(alice.request(Request::AddOffers { instance: None, uuid, offers })).await.unwrap();
    let request = bob.request(take(uuid, Duration::ZERO));
    assert!(matches!(signaling.call(request).await, Ok(Response::Taken(_))));
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn what_is_away_or_something_else_is_told_apart() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let signaling = HttpSignaling::new(&format!("http://{nobody}")).unwrap();
    for error in [
        signaling.probe().await.unwrap_err(),
        signaling.call(person(1).request(Request::Events { cursor: None })).await.unwrap_err(),
        signaling.events(person(1).request(Request::Events { cursor: None })).await.err().unwrap(),
    ] {
        assert!(
            matches!(&error, SignalingError::Unreachable(text) if text.contains(&nobody.to_string())),
            "{error}"
        );
        assert!(error.is_temporary());
    }
    for (answer, temporary) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", false),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\neverlink-protocol: 2\r\ncontent-length: 2\r\n\r\n{}", false),
        ("HTTP/1.1 200 OK\r\neverlink-protocol: 1\r\ncontent-length: 2\r\n\r\n[]", false),
        ("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 429 Slow Down\r\ncontent-length: 0\r\n\r\n", true),
        ("220 mail.example.com ESMTP\r\n", true),
        ("", true),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let signaling = HttpSignaling::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let serving = async {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let _ = socket.read(&mut [0; 4096]).await;
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        };
        let resolve = Request::Owner { username: Username::new("alice").unwrap() };
        let asking = async { (signaling.probe().await, signaling.call(person(1).request(resolve)).await) };
        let (probed, called) =
            tokio::select! { () = serving => unreachable!(), both = within(5, asking) => both };
        for error in [probed.unwrap_err(), called.unwrap_err()] {
            assert_eq!(error.is_temporary(), temporary, "{answer}: {error}");
        }
    }
}

/// Passes bytes on, but no event streams: those it answers itself.
async fn hostile_proxy(listener: TcpListener, to: SocketAddr, instead: &'static str) {
    loop {
        let (mut near, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut head = vec![0; 8192];
            let length = near.read(&mut head).await.unwrap_or(0);
            if String::from_utf8_lossy(&head[..length]).contains("text/event-stream") {
                let _ = near.write_all(instead.as_bytes()).await;
                return;
            }
            let mut far = TcpStream::connect(to).await.unwrap();
            let _ = far.write_all(&head[..length]).await;
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        });
    }
}

#[tokio::test]
async fn where_no_stream_passes_events_are_asked_for() {
    let server = Running::start(None).await;
    let (alice, bob) = (person(1), person(2));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let instead =
        "HTTP/1.1 200 OK\r\neverlink-protocol: 1\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n";
    let proxy = tokio::spawn(hostile_proxy(listener, server.address, instead));
    let signaling = HttpSignaling::new(&url).unwrap().poll_interval(Duration::from_millis(200));
    let direct = HttpSignaling::new(&server.url()).unwrap();
    let uuid = host(&direct, &alice).await;
    let first = signaling.events(alice.request(Request::Events { cursor: None })).await.err().unwrap();
    assert!(first.is_temporary(), "{first}");
    let joiner = within(5, join(&direct, &bob, uuid));
    tokio::join!(within(5, serve(&signaling, &alice, uuid, 1)), joiner);
    proxy.abort();
    server.stop().await;
}

#[tokio::test]
#[ignore = "waits four seconds, as a client does before it gives a silent stream up"]
async fn where_streams_are_kept_back_events_are_asked_for() {
    let server = Running::start(None).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let silent = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut [0; 8192]).await;
        let head = "HTTP/1.1 200 OK\r\neverlink-protocol: 1\r\ncontent-type: text/event-stream\r\n\r\n";
        let _ = socket.write_all(head.as_bytes()).await;
        tokio::spawn(hostile_proxy(listener, server.address, ""));
        let _ = socket.read(&mut [0; 8192]).await;
    });
    let signaling = HttpSignaling::new(&url).unwrap();
    let request = || person(1).request(Request::Events { cursor: None });
    let error = within(6, signaling.events(request())).await.err().unwrap();
    assert!(error.is_temporary() && error.to_string().contains("keeps event streams back"), "{error}");
    let mut polled = signaling.events(request()).await.unwrap();
    assert_eq!(polled.next().await.unwrap().unwrap().1, Event::Opened);
    silent.abort();
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_their_turn() {
    let mut config = ServerConfig::default();
    config.max_connections = 1;
    let server = Running::with(std::net::TcpListener::bind("127.0.0.1:0").unwrap(), config);
    let signaling = HttpSignaling::new(&server.url()).unwrap();
    signaling.probe().await.unwrap();
    // Its connection is idle, and takes the only place.
    let mut second = TcpStream::connect(server.address).await.unwrap();
    second.write_all(b"GET /v1/health HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let early = tokio::time::timeout(Duration::from_millis(100), second.read_to_end(&mut answer)).await;
    assert!(early.is_err() && answer.is_empty());
    drop(signaling);
    within(5, second.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_dies_ends_its_streams() {
    let server = Running::start(None).await;
    let signaling = HttpSignaling::new(&server.url()).unwrap();
    let mut stream = events(&signaling, &person(1)).await;
    assert_eq!(stream.next().await.unwrap().unwrap().1, Event::Opened);
    server.task.abort();
    let error = within(2, stream.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, SignalingError::Unreachable(_)), "{error}");
    assert!(stream.next().await.is_none());
}

/// Prints a figure; bounds it loosely, as machines are shared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_takes_a_few_milliseconds() {
    let server = Running::start(None).await;
    let (alice, bob) = (person(1), person(2));
    let (hosting, joining) =
        (HttpSignaling::new(&server.url()).unwrap(), HttpSignaling::new(&server.url()).unwrap());
    let uuid = host(&hosting, &alice).await;
    let mut stream = events(&hosting, &alice).await;
    let mut times = Vec::new();
    for _ in 0..30 {
        let offers = vec![alice.new_offer(&uuid, &"o".repeat(1500))];
        hosting.call(alice.request(Request::AddOffers { instance: None, uuid, offers })).await.unwrap();
        let started = Instant::now();
        join(&joining, &bob, uuid).await;
        while !matches!(stream.next().await.unwrap().unwrap().1, Event::Answered { .. }) {}
        times.push(started.elapsed());
    }
    times.sort();
    println!("take + answer + push: p50 {:?}, p90 {:?}", times[15], times[27]);
    assert!(times[15] < Duration::from_millis(100), "{:?}", times[15]);
    let target = ServiceTarget::Uuid { uuid };
    joining.call(bob.request(Request::Resolve { target })).await.unwrap();
    drop(stream);
    server.stop().await;
}
