//! Requests by the `fetch` of a browser or of Node. What talks to it is `fetch.js`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use js_sys::{Array, Promise, Uint8Array};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_futures::JsFuture;

use super::{Address, Ask, Chunk, Reply};
use crate::web::{self, settled};

#[wasm_bindgen(module = "/src/signaling/http/fetch.js")]
extern "C" {
    fn address(text: &str) -> Option<String>;

    type Exchange;
    #[wasm_bindgen(constructor)]
    fn new() -> Exchange;
    #[wasm_bindgen(method)]
    fn send(this: &Exchange, method: &str, url: &str, headers: &Array, body: Option<Vec<u8>>) -> Promise;
    #[wasm_bindgen(method, getter)]
    fn status(this: &Exchange) -> u16;
    #[wasm_bindgen(method, getter, js_name = statusText)]
    fn status_text(this: &Exchange) -> String;
    #[wasm_bindgen(method)]
    fn header(this: &Exchange, name: &str) -> Option<String>;
    #[wasm_bindgen(method)]
    fn read(this: &Exchange) -> Promise;
    #[wasm_bindgen(method)]
    fn end(this: &Exchange);
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let parts = address(text).ok_or("it is no URL")?;
        let (protocol, rest) = parts.split_once(' ').unwrap_or_default();
        let (user, href) = rest.split_once(' ').unwrap_or_default();
        Ok(Self {
            text: href.to_owned(),
            is_http: matches!(protocol, "http:" | "https:"),
            has_query: text.contains(['?', '#']),
            has_user: !user.is_empty(),
        })
    }
}

/// Carries requests to one server.
pub(super) struct Carrier;

impl Carrier {
    pub(super) fn new(_base: &str) -> Result<Self, String> {
        Ok(Self)
    }

    /// The browser keeps its connections, and looks after them when the network changes.
    pub(super) fn renew(&self) {}

    /// As `renew`.
    pub(super) fn renew_if_old(&self) {}

    /// Asks, and gives the answer as soon as it begins. Whatever fails says why.
    pub(super) async fn send(&self, ask: Ask<'_>) -> Result<Reply, String> {
        let body = Body { exchange: Exchange::new(), next: None };
        let exchange = &body.exchange;
        let headers = ask.headers.iter().map(|(name, value)| Array::of2(&(*name).into(), &value.into()));
        let content = (!ask.body.is_empty()).then_some(ask.body);
        let begun = settled(exchange.send(ask.method, &ask.url, &headers.collect(), content)).await;
        begun.map_err(|error| web::problem(&error))?;
        Ok(Reply {
            status: exchange.status(),
            status_text: exchange.status_text(),
            protocol: exchange.header("everlink-protocol"),
            content_type: exchange.header("content-type"),
            retry_after: exchange.header("retry-after"),
            chunks: Box::pin(body),
        })
    }
}

/// The body of an answer. Dropped, it ends the request, however far that came.
struct Body {
    exchange: Exchange,
    next: Option<JsFuture>,
}

impl Stream for Body {
    type Item = Chunk;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Chunk>> {
        let Self { exchange, next } = &mut *self;
        let reading = next.get_or_insert_with(|| settled(exchange.read()));
        let read = ready!(Pin::new(reading).poll(cx));
        *next = None;
        Poll::Ready(match read {
            Ok(piece) if piece.is_undefined() => None,
            Ok(piece) => Some(Ok(Bytes::from(Uint8Array::new(&piece).to_vec()))),
            Err(error) => Some(Err(web::problem(&error))),
        })
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.exchange.end();
    }
}
