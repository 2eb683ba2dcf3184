//! A client of a signaling server.
//!
//! What is asked and what the answers mean is here. How requests are carried is a [`Carrier`]'s
//! business: reqwest natively, `fetch` in a browser.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod web;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;

#[cfg(not(target_arch = "wasm32"))]
use self::native::Carrier;
#[cfg(target_arch = "wasm32")]
use self::web::Carrier;
use super::json::Json;
use super::sse::{SseEvent, SseParser};
use super::wire;
use super::wire::read::{self, Bad};
use super::{
    Cursor, ErrorCode, Event, EventStream, Request, Response, Signaling, SignalingError, SignedRequest,
};
use crate::runtime::{self, BoxFuture, BoxStream, Instant};

/// Signaling by a server that speaks HTTP. Clones share one pool of connections.
///
/// Events are pushed by the server. Where something on the way keeps the stream back, that is
/// noticed, and they are asked for from then on (see [`poll_interval`](Self::poll_interval)).
#[derive(Clone)]
pub struct HttpSignaling {
    shared: Arc<Shared>,
}

struct Shared {
    carrier: Carrier,
    /// Without a slash at its end.
    base: String,
    /// Milliseconds.
    poll_interval: AtomicU64,
    /// Something on the way keeps streams back; until when to believe so.
    polls_until: Mutex<Option<Instant>>,
}

/// Not the address of a signaling server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{url}` is not the address of a signaling server: {problem}; write one such as http://127.0.0.1:8080"
)]
pub struct UrlError {
    url: String,
    problem: String,
}

/// A request.
struct Ask<'a> {
    method: &'a str,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

/// An answer that began. Dropped, the rest is not read.
struct Reply {
    /// 0 for one that is no answer, such as a redirection that is not followed.
    status: u16,
    /// For people, with the number.
    status_text: String,
    protocol: Option<String>,
    content_type: Option<String>,
    retry_after: Option<String>,
    chunks: BoxStream<'static, Chunk>,
}

impl Reply {
    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn is_server_error(&self) -> bool {
        (500..600).contains(&self.status)
    }

    fn retry_after(&self) -> Option<Duration> {
        let seconds: u64 = self.retry_after.as_ref()?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}

/// A piece of an answer, or why there is none.
type Chunk = Result<Bytes, String>;

/// How long an answer may take, beyond what was asked to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long the answer to a probe may take.
const PROBE_WITHIN: Duration = Duration::from_secs(2);
/// How long the first bytes of an event stream may take; the server sends some at once.
const FIRST_BYTES_WITHIN: Duration = Duration::from_secs(4);
/// How long not to try streams again: the server may have been slow but once.
const POLL_FOR: Duration = Duration::from_secs(600);
/// How long a stream may be silent: three signs of life of the server's.
const SILENT_FOR: Duration = Duration::from_secs(25);
/// Too many requests: of HTTP, not of us.
const TOO_MANY_REQUESTS: u16 = 429;
/// The largest answer: the list of a user with as many services as a key may have, with room.
const MAX_ANSWER: usize = 4 << 20;

/// The address of a server as it is written, in its parts. Each carrier brings `parse`.
struct Address {
    text: String,
    is_http: bool,
    has_query: bool,
    has_user: bool,
}

impl HttpSignaling {
    /// A client of the server at `url`: `http://HOST:PORT` or `https://HOST`, with a path if the
    /// server is below one. Nothing is sent yet.
    ///
    /// # Errors
    /// When `url` is not such an address.
    pub fn new(url: &str) -> Result<Self, UrlError> {
        let fail = |problem: String| UrlError { url: url.chars().take(200).collect(), problem };
        let address = Address::parse(url).map_err(fail)?;
        if !address.is_http {
            return Err(fail("it begins with neither http:// nor https://".to_owned()));
        }
        if address.has_query {
            return Err(fail("it has a query or a fragment".to_owned()));
        }
        if address.has_user {
            return Err(fail("it has a user or a password, which are not used".to_owned()));
        }
        let base = address.text.trim_end_matches('/').to_owned();
        let carrier = Carrier::new(&base).map_err(fail)?;
        let poll_interval = AtomicU64::new(2000);
        let polls_until = Mutex::default();
        Ok(Self { shared: Arc::new(Shared { carrier, base, poll_interval, polls_until }) })
    }

    /// How often to ask for events where they cannot be pushed: 2 s. Each asking waits as long at
    /// the server, so that events are still told at once where the way allows it. At most 20 s.
    #[must_use]
    pub fn poll_interval(self, interval: Duration) -> Self {
        self.set_poll_interval(interval);
        self
    }

    /// The address of the server.
    pub fn url(&self) -> &str {
        &self.shared.base
    }
}

impl std::fmt::Debug for HttpSignaling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HttpSignaling({})", self.shared.base)
    }
}

impl Shared {
    fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.poll_interval.load(Ordering::Relaxed))
    }
}

impl Signaling for HttpSignaling {
    fn network_changed(&self) {
        self.shared.carrier.renew();
        // A way that kept streams back may not be the way any more.
        *self.shared.polls_until() = None;
    }

    fn renew(&self) {
        self.shared.carrier.renew_if_old();
    }

    fn set_poll_interval(&self, interval: Duration) {
        let interval = interval.min(Duration::from_secs(20)).as_millis() as u64;
        self.shared.poll_interval.store(interval, Ordering::Relaxed);
    }

    fn call(&self, request: SignedRequest) -> BoxFuture<'_, Result<Response, SignalingError>> {
        Box::pin(async move {
            let within = match request.request() {
                Request::Take { wait, .. } => ANSWER_WITHIN.saturating_add(*wait),
                _ => ANSWER_WITHIN,
            };
            let shared = &self.shared;
            let body = shared.fetch(within, shared.signed(&request, "application/json")).await?;
            request.read(&body).map_err(|bad| shared.senseless(bad))
        })
    }

    fn events(&self, request: SignedRequest) -> BoxFuture<'_, Result<EventStream, SignalingError>> {
        Box::pin(async move {
            let polls_until = *self.shared.polls_until();
            if polls_until.is_some_and(|until| runtime::now() < until) {
                self.shared.clone().poll(request).await
            } else {
                self.shared.clone().stream(request).await
            }
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), SignalingError>> {
        Box::pin(async move {
            let shared = &self.shared;
            let url = format!("{}/v1/health", shared.base);
            let ask = Ask { method: "GET", url, headers: Vec::new(), body: Vec::new() };
            let body = shared.fetch(PROBE_WITHIN, ask).await?;
            let health = Json::parse(&body);
            let server = health.as_ref().and_then(|health| read::text(health, "server").ok());
            match health.and_then(|health| read::number(&health, "protocol").ok()) {
                Some(1) if server.as_deref() == Some("everlink") => Ok(()),
                Some(protocol) if server.is_some() => Err(shared
                    .no_server(format!("a server of protocol version {protocol}, and this is version 1"))),
                _ => Err(shared.no_server("an answer that makes no sense".to_owned())),
            }
        })
    }
}

/// An event as it was read. One of a newer server may be none that this version knows.
type Read = (Cursor, Json);

/// The ticket by which to ask for events, and those that there are.
fn read_polled(body: &[u8]) -> Result<(String, VecDeque<Read>), Bad> {
    let body = Json::parse(body).unwrap_or_default();
    let event = |event: &Json| Ok((Cursor(read::text(event, "cursor")?), read::member(event, "event")?));
    let events = read::list(&body, "events")?.iter().map(event).collect::<Result<_, Bad>>()?;
    Ok((read::text(&body, "ticket")?, events))
}

impl Shared {
    fn signed<'a>(&self, request: &'a SignedRequest, accept: &str) -> Ask<'a> {
        let mut headers =
            vec![("authorization", request.authorization().to_owned()), ("accept", accept.to_owned())];
        if !request.body().is_empty() {
            headers.push(("content-type", "application/json".to_owned()));
        }
        let url = format!("{}{}", self.base, request.path());
        Ask { method: request.method(), url, headers, body: request.body().to_vec() }
    }

    /// The whole of a good answer. Boxed, like all that several ask for: each of them would bring
    /// the code anew.
    fn fetch<'a>(&'a self, within: Duration, ask: Ask<'a>) -> BoxFuture<'a, Result<Vec<u8>, SignalingError>> {
        Box::pin(async move {
            let answer = async { self.body(self.ask(ask).await?).await };
            self.within(within, Box::pin(answer)).await
        })
    }

    /// A good response of an everlink server, or why it is none.
    async fn ask(&self, ask: Ask<'_>) -> Result<Reply, SignalingError> {
        let reply = self.carrier.send(ask).await.map_err(|why| self.unreachable(&why))?;
        match reply.protocol.as_deref() {
            Some("1") if reply.is_success() => return Ok(reply),
            Some("1") => {}
            Some(_) => return Err(self.no_server("a server of another protocol version".to_owned())),
            // Something in between answers for a server that it cannot reach or that has enough.
            None if reply.is_server_error() || reply.status == TOO_MANY_REQUESTS => {
                return Err(self.unreachable(&format!("something on the way answers {}", reply.status_text)));
            }
            None => return Err(self.no_server(format!("something else, with {}", reply.status_text))),
        }
        let (status, is_server_error) = (reply.status_text.clone(), reply.is_server_error());
        let retry_after = reply.retry_after();
        let body = self.body(reply).await?;
        let body = Json::parse(&body).unwrap_or_default();
        let (Ok(error), Ok(code)) = (read::text(&body, "error"), read::text(&body, "code")) else {
            return Err(self.no_server(format!("an answer that makes no sense, with {status}")));
        };
        let hint = read::text(&body, "hint").unwrap_or_default();
        match code.parse::<ErrorCode>() {
            Ok(code) => Err(SignalingError::Refused { code, message: error, hint, retry_after }),
            // Of a newer server.
            Err(()) if is_server_error => Err(self.unreachable(&format!("{error} ({code})"))),
            Err(()) => Err(SignalingError::Refused {
                code: ErrorCode::Malformed,
                message: format!("{error} ({code})"),
                hint,
                retry_after,
            }),
        }
    }

    async fn body(&self, reply: Reply) -> Result<Vec<u8>, SignalingError> {
        let mut body = Vec::new();
        let mut chunks = reply.chunks;
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(|why| self.unreachable(&why))?);
            if body.len() > MAX_ANSWER {
                return Err(self.no_server("an answer without end".to_owned()));
            }
        }
        Ok(body)
    }

    async fn within<T>(
        &self,
        limit: Duration,
        answer: BoxFuture<'_, Result<T, SignalingError>>,
    ) -> Result<T, SignalingError> {
        match runtime::timeout(limit, answer).await {
            Some(result) => result,
            None => Err(self.unreachable(&format!("no answer within {} s", limit.as_secs()))),
        }
    }

    /// Opens a stream that the server pushes into.
    async fn stream(self: Arc<Self>, request: SignedRequest) -> Result<EventStream, SignalingError> {
        let ask = self.signed(&request, "text/event-stream");
        let reply = self.within(ANSWER_WITHIN, Box::pin(self.ask(ask))).await?;
        if !reply.content_type.as_ref().is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return Err(self.fall_back("something on the way does not let event streams pass"));
        }
        let mut chunks = reply.chunks;
        let Some(first) = runtime::timeout(FIRST_BYTES_WITHIN, chunks.next()).await else {
            return Err(self.fall_back("something on the way keeps event streams back"));
        };
        let source = Source::Pushed { chunks, first, parser: SseParser::default() };
        Ok(Feed { shared: self, source, read: VecDeque::new() }.into_stream())
    }

    fn polls_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.polls_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on events are asked for. The next stream does so: this request is used up.
    fn fall_back(&self, why: &str) -> SignalingError {
        tracing::info!(server = %self.base, why, "asking for events from now on");
        *self.polls_until() = Some(runtime::now() + POLL_FOR);
        self.unreachable(why)
    }

    /// Opens a stream that asks again and again.
    async fn poll(self: Arc<Self>, request: SignedRequest) -> Result<EventStream, SignalingError> {
        let body = self.fetch(ANSWER_WITHIN, self.signed(&request, "application/json")).await?;
        let (ticket, events) = self.polled(&body)?;
        let cursor = match request.request() {
            Request::Events { cursor } => cursor.clone(),
            _ => None,
        };
        let source = Source::Polled { ticket, cursor };
        Ok(Feed { shared: self, source, read: events }.into_stream())
    }

    /// Asks for the events after `cursor`, for which the server may wait as long as the interval.
    async fn poll_again(
        &self,
        ticket: &str,
        cursor: Option<&Cursor>,
        interval: Duration,
    ) -> Result<VecDeque<Read>, SignalingError> {
        let query = cursor.map(|cursor| format!("?{}", wire::cursor_query(cursor))).unwrap_or_default();
        let wait = (interval + Duration::from_millis(999)).as_secs();
        let ask = Ask {
            method: "GET",
            url: format!("{}/v1/events/{ticket}{query}", self.base),
            headers: vec![("accept", "application/json".to_owned()), ("prefer", format!("wait={wait}"))],
            body: Vec::new(),
        };
        match self.fetch(ANSWER_WITHIN.saturating_add(interval), ask).await {
            Ok(body) => Ok(self.polled(&body)?.1),
            // The server restarted, or this was away for too long: a new stream begins anew.
            Err(error) if error.code() == Some(ErrorCode::NoRoute) => {
                Err(self.unreachable("the server has forgotten this event stream"))
            }
            Err(error) => Err(error),
        }
    }

    fn polled(&self, body: &[u8]) -> Result<(String, VecDeque<Read>), SignalingError> {
        read_polled(body).map_err(|bad| self.senseless(bad))
    }

    fn senseless(&self, bad: Bad) -> SignalingError {
        self.no_server(format!("an answer that makes no sense ({bad})"))
    }

    fn unreachable(&self, why: &str) -> SignalingError {
        SignalingError::Unreachable(format!("{}: {why}", self.base))
    }

    fn no_server(&self, what: String) -> SignalingError {
        SignalingError::NotAServer(format!("{} gives {what}", self.base))
    }
}

/// An event stream.
struct Feed {
    shared: Arc<Shared>,
    source: Source,
    read: VecDeque<Read>,
}

/// Where its events come from.
enum Source {
    /// The server pushes them.
    Pushed { chunks: BoxStream<'static, Chunk>, first: Option<Chunk>, parser: SseParser },
    /// They are asked for, again and again.
    Polled { ticket: String, cursor: Option<Cursor> },
}

impl Feed {
    /// Ends with the first error.
    fn into_stream(self) -> EventStream {
        Box::pin(futures_util::stream::unfold(Some(self), |feed| async {
            let mut feed = feed?;
            match feed.next().await {
                Ok(event) => Some((Ok(event), Some(feed))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    async fn next(&mut self) -> Result<(Cursor, Event), SignalingError> {
        loop {
            while let Some((id, event)) = self.read.pop_front() {
                if let Source::Polled { cursor, .. } = &mut self.source {
                    *cursor = Some(id.clone());
                }
                // Events that a newer server knows are none of ours.
                if let Ok(event) = read::event(&event) {
                    return Ok((id, event));
                }
            }
            let Self { shared, source, read } = self;
            match source {
                Source::Pushed { chunks, first, parser } => {
                    let chunk = match first.take() {
                        Some(first) => Some(first),
                        None => runtime::timeout(SILENT_FOR, chunks.next())
                            .await
                            .ok_or_else(|| shared.unreachable("the event stream fell silent"))?,
                    };
                    let chunk = chunk.ok_or_else(|| shared.unreachable("the event stream ended"))?;
                    let chunk = chunk.map_err(|why| shared.unreachable(&why))?;
                    let events =
                        parser.push(&chunk).map_err(|error| shared.unreachable(&error.to_string()))?;
                    read.extend(events.into_iter().filter_map(|SseEvent { id, data }| {
                        Some((Cursor(id?), Json::parse(data.as_bytes())?))
                    }));
                }
                Source::Polled { ticket, cursor } => {
                    let asked = runtime::now();
                    let interval = shared.poll_interval();
                    *read = shared.poll_again(ticket, cursor.as_ref(), interval).await?;
                    if read.is_empty() {
                        // Whatever is on the way may not have let the asking wait.
                        let waited = runtime::now().saturating_duration_since(asked);
                        runtime::sleep(interval.saturating_sub(waited)).await;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked_and_trimmed() {
        let url = |text: &str| HttpSignaling::new(text).map(|signaling| signaling.url().to_owned());
        assert_eq!(url("http://127.0.0.1:8080/").unwrap(), "http://127.0.0.1:8080");
        assert_eq!(url("http://example.com/below/").unwrap(), "http://example.com/below");
        for bad in [
            "",
            "example.com",
            "127.0.0.1:80",
            "ftp://a",
            "http://",
            "http://a?b",
            "http://a#b",
            "http://u:p@a",
        ] {
            let error = url(bad).unwrap_err().to_string();
            assert!(error.contains("http://127.0.0.1:8080"), "{error}");
        }
    }
}
