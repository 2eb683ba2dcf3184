//! The event stream in raw HTTP: pushed, resumed, kept alive, ended with the server.

use everlink::signaling::{HttpSignaling, Request, Signaling as _, Username};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::person::{Person, person, text};
use crate::raw;
use crate::{Running, within};

struct Stream {
    socket: TcpStream,
    text: String,
}

impl Stream {
    async fn open(server: &Running, who: &Person, cursor: Option<&str>, headers: &[(&str, &str)]) -> Self {
        let path = cursor.map_or("/v1/events".to_owned(), |cursor| format!("/v1/events?cursor={cursor}"));
        let authorization = who.signed_now("GET", &path, b"");
        let headers =
            [&[("authorization", authorization.as_str()), ("accept", "text/event-stream")], headers].concat();
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(raw::head("GET", &path, &headers, None).as_bytes()).await.unwrap();
        Self { socket, text: String::new() }
    }

    /// Reads until there is a line that begins so, and returns its rest and that of its id.
    async fn event(&mut self) -> (String, Value) {
        loop {
            if let Some(end) =
                self.text.find("data: ").and_then(|at| Some(at + self.text[at..].find("\n\n")? + 2))
            {
                let event: String = self.text.drain(..end).collect();
                let line =
                    |field: &str| event.lines().find_map(|line| line.strip_prefix(field)).unwrap().to_owned();
                return (line("id: "), serde_json::from_str(&line("data: ")).unwrap());
            }
            assert!(self.more().await, "the stream ended: {}", self.text);
        }
    }

    async fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let length = within(5, self.socket.read(&mut buffer)).await.unwrap_or(0);
        // Chunk sizes stand on lines of their own and disturb nothing here.
        self.text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        length > 0
    }
}

async fn host(server: &Running, who: &Person) -> String {
    let signaling = HttpSignaling::new(&server.url()).unwrap();
    let publish = who.publish("alice", "chat@1.0.0");
    let uuid = publish.uuid.to_string();
    let username = Username::new("alice").unwrap();
    signaling.call(who.request(Request::Claim { username })).await.unwrap();
    signaling.call(who.request(Request::Publish(publish))).await.unwrap();
    uuid
}

async fn add(server: &Running, who: &Person, uuid: &str, number: u8) {
    let path = format!("/v1/services/{uuid}/offers");
    let body = json!({"offers": [who.offer(uuid, [number; 16], "offer")]}).to_string();
    let authorization = who.signed_now("POST", &path, body.as_bytes());
    let reply =
        raw::ask(server.address, "POST", &path, &[("authorization", &authorization)], body.as_bytes()).await;
    assert_eq!(reply.status, 200);
}

async fn take(server: &Running, who: &Person, uuid: &str) -> raw::Reply {
    take_at(server.address, who, uuid).await
}

async fn take_at(server: std::net::SocketAddr, who: &Person, uuid: &str) -> raw::Reply {
    let body = json!({"target": {"uuid": uuid}, "wait_ms": 5000}).to_string();
    let authorization = who.signed_now("POST", "/v1/take", body.as_bytes());
    raw::ask(server, "POST", "/v1/take", &[("authorization", &authorization)], body.as_bytes()).await
}

#[tokio::test]
async fn events_are_pushed_and_a_stream_goes_on_where_it_stopped() {
    let server = Running::start(None).await;
    let (alice, bob) = (person(1), person(2));
    let uuid = host(&server, &alice).await;
    let mut stream = Stream::open(&server, &alice, None, &[]).await;
    let (opened, event) = stream.event().await;
    assert_eq!(event["type"], "opened");
    assert!(stream.text.is_empty() || !stream.text.contains("data"));
    add(&server, &alice, &uuid, 1).await;
    assert_eq!(take(&server, &bob, &uuid).await.status, 200);
    let (cursor, event) = stream.event().await;
    assert_eq!((&event["type"], &event["uuid"]), (&json!("offer_wanted"), &json!(uuid)));
    drop(stream);

    // While nobody listens.
    let path = format!("/v1/offers/{}/answer", text(&[1; 16]));
    let body = bob.answer(&uuid, [1; 16], "offer", "answer").to_string();
    let authorization = bob.signed_now("POST", &path, body.as_bytes());
    let reply =
        raw::ask(server.address, "POST", &path, &[("authorization", &authorization)], body.as_bytes()).await;
    assert_eq!(reply.status, 200);
    let answered = |event: &Value| {
        assert_eq!(event["type"], "answered");
        assert_eq!(event["peer"], json!(text(&bob.public())));
        assert_eq!((&event["sdp"], &event["offer"]), (&json!("answer"), &json!(text(&[1; 16]))));
    };
    answered(&Stream::open(&server, &alice, Some(&cursor), &[]).await.event().await.1);
    // By a browser's header as well, which wins over the query.
    answered(
        &Stream::open(&server, &alice, Some(&opened), &[("last-event-id", &cursor)]).await.event().await.1,
    );
    // From the start: all that is kept.
    let mut again = Stream::open(&server, &alice, Some(&opened), &[]).await;
    assert_eq!(again.event().await.1["type"], "offer_wanted");
    answered(&again.event().await.1);
    // Nobody else sees any of it.
    let mut stranger = Stream::open(&server, &person(3), Some(&opened), &[]).await;
    while !stranger.text.contains(":\n\n") {
        assert!(stranger.more().await);
    }
    assert!(!stranger.text.contains("data"), "{}", stranger.text);
    // A cursor of another run is no error.
    let mut other = Stream::open(&server, &alice, Some("0123-4"), &[]).await;
    assert_eq!(other.event().await.1["type"], "missed");
    drop((again, stranger, other));
    server.stop().await;
}

#[tokio::test]
async fn a_silent_stream_shows_signs_of_life() {
    let server = Running::start(None).await;
    let mut stream = Stream::open(&server, &person(1), None, &[]).await;
    while stream.text.matches("\n:\n\n").count() < 2 {
        assert!(stream.more().await);
    }
    assert!(stream.text.to_lowercase().contains("content-type: text/event-stream"));
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn one_may_ask_again_and_again_instead() {
    let server = Running::start(None).await;
    let (alice, bob) = (person(1), person(2));
    let uuid = host(&server, &alice).await;
    let authorization = alice.signed_now("GET", "/v1/events", b"");
    let headers = [("authorization", authorization.as_str()), ("accept", "application/json")];
    let first = raw::ask(server.address, "GET", "/v1/events", &headers, b"").await.json();
    assert_eq!(first["events"][0]["event"]["type"], "opened");
    let path = format!(
        "/v1/events/{}?cursor={}",
        first["ticket"].as_str().unwrap(),
        first["events"][0]["cursor"].as_str().unwrap()
    );
    let none = raw::ask(server.address, "GET", &path, &[], b"").await.json();
    assert_eq!(none["events"], json!([]));
    let waiting = raw::ask(server.address, "GET", &path, &[("prefer", "wait=5")], b"");
    let (told, taken) = tokio::join!(within(3, waiting), async {
        let taking = take(&server, &bob, &uuid);
        let adding = async {
            tokio::task::yield_now().await;
            add(&server, &alice, &uuid, 1).await;
        };
        tokio::join!(taking, adding).0
    });
    assert_eq!((taken.status, &told.json()["events"][0]["event"]["type"]), (200, &json!("offer_wanted")));
    // With the same cursor, as if the answer had been lost.
    let again = raw::ask(server.address, "GET", &path, &[], b"").await.json();
    assert_eq!(again["events"][0]["event"]["type"], "offer_wanted");
    let foreign = raw::ask(server.address, "GET", "/v1/events/AAAAAAAA", &[], b"").await;
    assert_eq!((foreign.status, foreign.code()), (404, "no_route".into()));
    server.stop().await;
}

#[tokio::test]
async fn the_end_of_the_server_ends_streams_and_waiting_and_leaves_no_task() {
    let handle = tokio::runtime::Handle::current();
    let before = handle.metrics().num_alive_tasks();
    let server = Running::start(None).await;
    let alice = person(1);
    let uuid = host(&server, &alice).await;
    let mut stream = Stream::open(&server, &alice, None, &[]).await;
    stream.event().await;
    // One that is parked, and one that is idle.
    let bob = person(2);
    let waiting = take_at(server.address, &bob, &uuid);
    let _idle = TcpStream::connect(server.address).await.unwrap();
    let address = server.address;
    let stopping = async {
        loop {
            let (_, event) = stream.event().await;
            if event["wanted"] == 1 {
                break;
            }
        }
        within(2, server.stop()).await;
    };
    let (reply, ()) = tokio::join!(waiting, stopping);
    assert_eq!((reply.status, reply.code()), (503, "busy".into()));
    while stream.more().await {}
    assert!(TcpStream::connect(address).await.is_err());
    // The client's own pool may take a moment.
    for _ in 0..100 {
        if handle.metrics().num_alive_tasks() <= before {
            return;
        }
        tokio::task::yield_now().await;
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    panic!("{} tasks are left", handle.metrics().num_alive_tasks() - before);
}
