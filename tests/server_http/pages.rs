//! Pages beside the directory: typed, checked for changes, and never in its way.

use std::net::TcpListener;

use everlink::signaling::server::{Page, ServerConfig};

use crate::{Running, raw};

fn start(pages: Vec<Page>) -> Running {
    let mut config = ServerConfig::default();
    config.pages = pages;
    Running::with(TcpListener::bind("127.0.0.1:0").unwrap(), config)
}

fn header<'a>(reply: &'a raw::Reply, name: &str) -> Option<&'a str> {
    reply.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn a_page_comes_as_it_is_and_once() {
    let page = Page::new("/try", "text/html; charset=utf-8", "<p>hello")
        .with_header("content-security-policy", "default-src 'none'")
        .gzipped(&b"as if compressed"[..]);
    let server = start(vec![page]);
    let to = server.address;
    let plain = raw::ask(to, "GET", "/try?from=here", &[], b"").await;
    assert_eq!((plain.status, &plain.body[..]), (200, &b"<p>hello"[..]));
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("content-security-policy", "default-src 'none'"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-cache"),
        ("vary", "accept-encoding"),
    ] {
        assert_eq!(header(&plain, name), Some(value));
    }
    // What is said to programs is not said of pages: no other site reads them.
    assert!(!plain.head.contains("access-control"), "{}", plain.head);

    let gzip = raw::ask(to, "GET", "/try", &[("accept-encoding", "br, gzip;q=0.5")], b"").await;
    assert_eq!((header(&gzip, "content-encoding"), &gzip.body[..]), (Some("gzip"), &b"as if compressed"[..]));
    let refused = raw::ask(to, "GET", "/try", &[("accept-encoding", "gzip;q=0, br")], b"").await;
    assert_eq!((header(&refused, "content-encoding"), &refused.body[..]), (None, &b"<p>hello"[..]));

    let head = raw::ask(to, "HEAD", "/try", &[], b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    let known = raw::ask(to, "GET", "/try", &[("if-none-match", "*")], b"").await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    let other = raw::ask(to, "GET", "/try", &[("if-none-match", "\"an older one\"")], b"").await;
    assert_eq!(other.status, 200);

    let changed = start(vec![Page::new("/try", "text/html", "<p>goodbye")]);
    let changed = raw::ask(changed.address, "GET", "/try", &[], b"").await;
    assert_ne!(header(&changed, "etag").unwrap(), header(&plain, "etag").unwrap());
}

#[tokio::test]
async fn pages_are_not_in_the_way_of_the_directory() {
    let pages = vec![
        Page::new("/try", "text/html", "page"),
        Page::new("/v1/health", "text/html", "a page in the wrong place"),
        Page::new("/late", "text/html\nno: header", "page").with_status(503).with_header("bad name", "x"),
    ];
    let server = start(pages);
    let to = server.address;
    assert_eq!(raw::ask(to, "GET", "/v1/health", &[], b"").await.json()["server"], "everlink");
    for (method, path) in [("POST", "/try"), ("GET", "/try/x"), ("GET", "/")] {
        let reply = raw::ask(to, method, path, &[], b"").await;
        assert_eq!((reply.status, &*reply.code()), (404, "no_route"), "{method} {path}");
    }
    let moved = raw::ask(to, "GET", "/try/", &[], b"").await;
    assert_eq!((moved.status, header(&moved, "location")), (307, Some("../try")));
    let late = raw::ask(to, "GET", "/late", &[("if-none-match", "*")], b"").await;
    assert_eq!((late.status, &late.body[..]), (503, &b"page"[..]));
    assert_eq!(header(&late, "content-type"), Some("application/octet-stream"));
    assert_eq!((header(&late, "cache-control"), header(&late, "etag")), (Some("no-store"), None));
}
