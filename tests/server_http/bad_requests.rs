//! Every bad request has an error of its own, and changes nothing.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::person::{Person, now, person, text};
use crate::raw::{self, Reply};
use crate::{Running, within};

async fn signed(to: SocketAddr, who: &Person, method: &str, path: &str, body: &str) -> Reply {
    let authorization = who.signed_now(method, path, body.as_bytes());
    raw::ask(to, method, path, &[("authorization", &authorization)], body.as_bytes()).await
}

/// All that anyone can see of alice.
async fn visible(to: SocketAddr) -> Value {
    let owner = raw::ask(to, "GET", "/v1/usernames/alice", &[], b"").await.json();
    let services = raw::ask(to, "GET", "/v1/usernames/alice/services", &[], b"").await.json();
    json!([owner, services])
}

struct Scene {
    server: Running,
    host: Person,
    uuid: String,
    offer: String,
}

/// Alice hosts a chat with one offer.
async fn scene() -> Scene {
    let server = Running::start(None).await;
    let (to, host) = (server.address, person(1));
    let uuid = host.uuid("alice", "chat@1.0.0");
    assert_eq!(signed(to, &host, "PUT", "/v1/usernames/alice", "").await.status, 200);
    let mut publication = host.publication("alice", "chat@1.0.0");
    publication["offers"] = json!([host.offer(&uuid, [1; 16], "offer")]);
    let path = format!("/v1/services/{uuid}");
    let published = signed(to, &host, "PUT", &path, &publication.to_string()).await;
    assert_eq!((published.status, published.json()["offers"].as_u64()), (200, Some(1)));
    Scene { server, host, uuid, offer: text(&[1; 16]) }
}

#[tokio::test]
async fn what_is_no_request_is_told_so() {
    let Scene { server, uuid, host, .. } = scene().await;
    let to = server.address;
    let before = visible(to).await;
    let service = format!("/v1/services/{uuid}");
    let offers = format!("{service}/offers");
    let mut unknown_field = host.publication("alice", "chat@1.0.0");
    unknown_field["surprise"] = json!(1);
    let unknown_field = unknown_field.to_string();
    let cases = [
        ("GET", "/", "", 404, "no_route"),
        ("GET", "/v1/health/x", "", 404, "no_route"),
        ("GET", "/v1/services", "", 404, "no_route"),
        ("POST", "/v1/usernames/alice", "", 405, "bad_method"),
        ("HEAD", "/v1/usernames/alice", "", 405, ""),
        ("BREW", &service, "", 405, "bad_method"),
        ("PUT", "/v1/usernames/-x-", "", 400, "bad_name"),
        ("GET", "/v1/usernames/%61lice", "", 400, "bad_name"),
        ("GET", "/v1/services/0", "", 400, "bad_name"),
        ("POST", "/v1/take", "", 400, "malformed"),
        ("POST", "/v1/take", "{", 400, "malformed"),
        ("POST", "/v1/take", "\u{0}\u{1}", 400, "malformed"),
        ("POST", "/v1/take", "{}", 400, "malformed"),
        ("POST", "/v1/take", r#"{"target":{"uuid":"x"},"wait_ms":-1}"#, 400, "malformed"),
        ("PUT", &service, &unknown_field, 400, "malformed"),
        ("POST", &offers, r#"{"offers":[{"id":"x"}]}"#, 400, "malformed"),
        ("GET", "/v1/events?cursor=%f", "", 400, "malformed"),
        ("GET", "/v1/events/ticket?cursor=1", "", 404, "no_route"),
        ("DELETE", &service, "{}", 400, "malformed"),
    ];
    for (method, path, body, status, code) in cases {
        let reply = signed(to, &host, method, path, body).await;
        assert_eq!(reply.status, status, "{method} {path} {body}");
        if !code.is_empty() {
            assert_eq!(reply.code(), code, "{method} {path} {body}");
        }
    }
    let nested = "[".repeat(500_000);
    assert_eq!(signed(to, &host, "POST", "/v1/take", &nested).await.code(), "malformed");
    let bytes = [&raw::head("POST", "/v1/take", &[], Some(3))[..], "\u{fffd}"].concat();
    assert_eq!(raw::send(to, bytes.as_bytes()).await.code(), "malformed");
    assert_eq!(visible(to).await, before);
    server.stop().await;
}

#[tokio::test]
async fn who_is_not_who_they_say_is_told_so() {
    let Scene { server, host, uuid, offer } = scene().await;
    let to = server.address;
    let before = visible(to).await;
    let path = format!("/v1/services/{uuid}");
    let ask = async |authorization: Option<String>| {
        let headers: Vec<_> = authorization.iter().map(|value| ("authorization", value.as_str())).collect();
        raw::ask(to, "DELETE", &path, &headers, b"").await.code()
    };
    assert_eq!(ask(None).await, "unsigned");
    assert_eq!(ask(Some("Bearer secret".into())).await, "unsigned");
    assert_eq!(ask(Some("Everlink a.b.c.d".into())).await, "unsigned");
    assert_eq!(ask(Some(host.signed_now("GET", &path, b""))).await, "bad_signature");
    assert_eq!(ask(Some(host.signed_now("DELETE", "/v1/services/x", b""))).await, "bad_signature");
    assert_eq!(ask(Some(host.signed_now("DELETE", &path, b"x"))).await, "bad_signature");
    let forged =
        host.signed_now("DELETE", &path, b"").replace(&text(&host.public()), &text(&person(2).public()));
    assert_eq!(ask(Some(forged)).await, "bad_signature");
    for time in [now() - 301_000, now() + 301_000] {
        assert_eq!(ask(Some(host.sign("DELETE", &path, b"", time, [3; 16]))).await, "stale");
    }
    assert_eq!(ask(Some(person(2).signed_now("DELETE", &path, b""))).await, "not_yours");

    // A captured request, again.
    let claim = host.signed_now("PUT", "/v1/usernames/alice", b"");
    let headers = [("authorization", claim.as_str())];
    assert_eq!(raw::ask(to, "PUT", "/v1/usernames/alice", &headers, b"").await.status, 200);
    let renewed = visible(to).await;
    let again = raw::ask(to, "PUT", "/v1/usernames/alice", &headers, b"").await;
    assert_eq!((again.status, again.code()), (409, "replayed".into()));
    assert_eq!(visible(to).await, renewed);
    assert_eq!(renewed[1], before[1]);

    // Others than the two parties of an offer.
    let stranger = person(3);
    let candidates = format!("/v1/offers/{offer}/candidates");
    let reply = signed(to, &stranger, "POST", &candidates, r#"{"candidates":["x"]}"#).await;
    assert_eq!((reply.status, reply.code()), (403, "not_yours".into()));
    let answer = stranger.answer(&uuid, [1; 16], "offer", "answer").to_string();
    let reply = signed(to, &stranger, "POST", &format!("/v1/offers/{offer}/answer"), &answer).await;
    assert_eq!(reply.code(), "not_yours");
    let claim = signed(to, &stranger, "PUT", "/v1/usernames/alice", "").await;
    assert_eq!((claim.status, claim.code()), (409, "username_taken".into()));
    // The offer is still there for its one peer, once.
    let body = json!({"target": {"uuid": uuid}, "wait_ms": 0}).to_string();
    assert_eq!(signed(to, &person(4), "POST", "/v1/take", &body).await.json()["sdp"], "offer");
    let none = signed(to, &person(4), "POST", "/v1/take", &body).await;
    assert_eq!((none.status, none.code()), (503, "no_offer".into()));
    let answer = person(4).answer(&uuid, [1; 16], "offer", "answer").to_string();
    let path = format!("/v1/offers/{offer}/answer");
    assert_eq!(signed(to, &host, "POST", &path, &answer).await.code(), "offer_taken");
    assert_eq!(signed(to, &person(4), "POST", &path, &answer).await.status, 200);
    assert_eq!(signed(to, &person(4), "POST", &path, &answer).await.code(), "already_answered");
    server.stop().await;
}

#[tokio::test]
async fn a_publication_that_is_wrong_in_any_way_leaves_the_old_one() {
    let Scene { server, host, uuid, .. } = scene().await;
    let to = server.address;
    let before = visible(to).await;
    let path = format!("/v1/services/{uuid}");
    let spoilt = |field: &str, value: Value| {
        let mut publication = host.publication("alice", "chat@1.0.0");
        publication[field] = value;
        publication.to_string()
    };
    let mut changed = host.offer(&uuid, [2; 16], "offer 2");
    changed["sdp"] = json!("offer of somebody else");
    let large = host.offer(&uuid, [2; 16], &"x".repeat(65_537));
    let cases = [
        (spoilt("salt", json!(text(&[6; 16]))), "bad_uuid"),
        (spoilt("salt", json!("short")), "malformed"),
        (spoilt("service", json!("chat@1")), "malformed"),
        (spoilt("username", json!("bobby")), "username_unclaimed"),
        (spoilt("uuid", json!(host.uuid("alice", "talk@1.0.0"))), "malformed"),
        (spoilt("metadata", json!({"a": "b".repeat(5000)})), "too_large"),
        (spoilt("token_hash", json!(text(&[1; 32]))), "malformed"),
        (spoilt("offers", json!([changed])), "bad_signature"),
        (spoilt("offers", json!([large])), "too_large"),
        (spoilt("offers", json!([host.offer(&uuid, [2; 16], "")])), "bad_description"),
    ];
    for (body, code) in cases {
        assert_eq!(signed(to, &host, "PUT", &path, &body).await.code(), code, "{:.200}", body);
    }
    let thief = person(2);
    let theirs = thief.publication("alice", "chat@1.0.0").to_string();
    let path = format!("/v1/services/{}", thief.uuid("alice", "chat@1.0.0"));
    assert_eq!(signed(to, &thief, "PUT", &path, &theirs).await.code(), "not_yours");
    assert_eq!(visible(to).await, before);
    let body = json!({"target": {"uuid": uuid}, "wait_ms": 0}).to_string();
    assert_eq!(signed(to, &person(4), "POST", "/v1/take", &body).await.json()["sdp"], "offer");
    server.stop().await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_read() {
    let Scene { server, host, .. } = scene().await;
    let to = server.address;
    let announced = raw::head("POST", "/v1/take", &[], Some(1 << 30));
    let reply = raw::send(to, announced.as_bytes()).await;
    assert_eq!((reply.status, reply.code()), (413, "too_large".into()));
    let mut chunked =
        b"POST /v1/take HTTP/1.1\r\nhost: test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..300 {
        chunked.extend_from_slice(b"1000\r\n");
        chunked.extend_from_slice(&[b' '; 0x1000]);
        chunked.extend_from_slice(b"\r\n");
    }
    let mut socket = tokio::net::TcpStream::connect(to).await.unwrap();
    let (mut reading, mut writing) = socket.split();
    let mut answer = vec![0; 8192];
    let read = async {
        let length = reading.read(&mut answer).await.unwrap();
        raw::parse(&answer[..length])
    };
    let (_, reply) = tokio::join!(writing.write_all(&chunked), within(5, read));
    assert_eq!((reply.status, reply.code()), (413, "too_large".into()));
    let path = format!("/v1/usernames/{}", "a".repeat(3000));
    let reply = signed(to, &host, "GET", &path, "").await;
    assert_eq!((reply.status, reply.code()), (413, "too_large".into()));
    let candidates = json!({"candidates": ["x".repeat(2000)]}).to_string();
    let path = format!("/v1/offers/{}/candidates", text(&[1; 16]));
    assert_eq!(signed(to, &host, "POST", &path, &candidates).await.code(), "too_large");
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_http_ends_that_connection_only() {
    let Scene { server, .. } = scene().await;
    let to = server.address;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello"[..],
        b"GET\r\n\r\n",
        &[0; 100],
        &[b'A'; 200_000],
    ] {
        let mut socket = tokio::net::TcpStream::connect(to).await.unwrap();
        let _ = socket.write_all(bytes).await;
        let _ = socket.shutdown().await;
        let mut all = Vec::new();
        let _ = within(5, socket.read_to_end(&mut all)).await;
        assert!(all.is_empty() || all.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&all));
    }
    // Half a request, and gone.
    let mut socket = tokio::net::TcpStream::connect(to).await.unwrap();
    socket.write_all(raw::head("POST", "/v1/take", &[], Some(100)).as_bytes()).await.unwrap();
    drop(socket);
    assert_eq!(raw::ask(to, "GET", "/v1/health", &[], b"").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn anyone_may_ask_who_it_is_also_from_a_browser() {
    let server = Running::start(None).await;
    let health = raw::ask(server.address, "GET", "/v1/health", &[], b"").await;
    let json = health.json();
    assert_eq!((&json["server"], &json["protocol"]), (&json!("everlink"), &json!(1)));
    assert!(health.head.contains("everlink-protocol: 1"));
    assert!(health.head.contains("access-control-allow-origin: *"));
    let headers = [("origin", "http://page"), ("access-control-request-method", "PUT")];
    let preflight = raw::ask(server.address, "OPTIONS", "/v1/usernames/alice", &headers, b"").await;
    assert_eq!(preflight.status, 204);
    assert!(preflight.head.contains("access-control-allow-headers: authorization, content-type"));
    assert!(preflight.head.contains("access-control-allow-methods: get, put, post, delete"));
    server.stop().await;
}
