//! A client of a signaling server.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url};
use serde::Deserialize;

use super::sse::{SseEvent, SseParser};
use super::wire;
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
    // A std lock: held to copy a handle, never over an await.
    client: RwLock<(Client, Instant)>,
    url: Url,
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

/// How long a server may take to accept a connection.
#[cfg(not(target_arch = "wasm32"))]
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How long an answer may take, beyond what was asked to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Connections no older than this need no renewal: many dials of one client begin at once.
const RENEW_GAP: Duration = Duration::from_millis(100);
/// How long the answer to a probe may take.
const PROBE_WITHIN: Duration = Duration::from_secs(2);
/// How long the first bytes of an event stream may take; the server sends some at once.
const FIRST_BYTES_WITHIN: Duration = Duration::from_secs(4);
/// How long not to try streams again: the server may have been slow but once.
const POLL_FOR: Duration = Duration::from_secs(600);
/// How long a stream may be silent: three signs of life of the server's.
const SILENT_FOR: Duration = Duration::from_secs(25);
/// Below what the server keeps idle connections for, so that none is used that it is closing.
#[cfg(not(target_arch = "wasm32"))]
const IDLE_FOR: Duration = Duration::from_secs(20);
/// The largest answer: the list of a user with as many services as a key may have, with room.
const MAX_ANSWER: usize = 4 << 20;

impl HttpSignaling {
    /// A client of the server at `url`: `http://HOST:PORT` or `https://HOST`, with a path if the
    /// server is below one. Nothing is sent yet.
    ///
    /// # Errors
    /// When `url` is not such an address.
    pub fn new(url: &str) -> Result<Self, UrlError> {
        let fail = |problem: String| UrlError { url: url.chars().take(200).collect(), problem };
        let parsed = Url::parse(url).map_err(|error| fail(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(fail("it begins with neither http:// nor https://".to_owned()));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(fail("it has a query or a fragment".to_owned()));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(fail("it has a user or a password, which are not used".to_owned()));
        }
        let client = client(&parsed).map_err(|error| fail(innermost(&error)))?;
        let base = parsed.as_str().trim_end_matches('/').to_owned();
        let poll_interval = AtomicU64::new(2000);
        let polls_until = Mutex::default();
        let client = RwLock::new((client, runtime::now()));
        Ok(Self { shared: Arc::new(Shared { client, url: parsed, base, poll_interval, polls_until }) })
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
    fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Makes another client: what is kept open for reuse goes with the old one.
    fn renew_client(&self) {
        match client(&self.url) {
            Ok(fresh) => {
                let mut current = self.client.write().unwrap_or_else(PoisonError::into_inner);
                *current = (fresh, runtime::now());
            }
            Err(error) => tracing::warn!(%error, "connections to the signaling server may be stale"),
        }
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.poll_interval.load(Ordering::Relaxed))
    }
}

impl Signaling for HttpSignaling {
    fn network_changed(&self) {
        self.shared.renew_client();
        // A way that kept streams back may not be the way any more.
        *self.shared.polls_until() = None;
    }

    fn renew(&self) {
        let since = self.shared.client.read().unwrap_or_else(PoisonError::into_inner).1;
        if runtime::now().saturating_duration_since(since) >= RENEW_GAP {
            self.shared.renew_client();
        }
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
            let answer = async {
                let response = shared.send(&request, "application/json").await?;
                shared.body(response).await
            };
            let body = shared.within(within, answer).await?;
            wire::decode_response(request.request(), &body)
                .map_err(|error| shared.no_server(format!("an answer that makes no sense ({error})")))
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
            let answer = async {
                let response = shared.client().get(format!("{}/v1/health", shared.base)).send().await;
                shared.body(shared.check(response).await?).await
            };
            let body = shared.within(PROBE_WITHIN, answer).await?;
            match serde_json::from_slice(&body) {
                Ok(Health { server, protocol: 1 }) if server == "everlink" => Ok(()),
                Ok(Health { protocol, .. }) => Err(shared
                    .no_server(format!("a server of protocol version {protocol}, and this is version 1"))),
                Err(_) => Err(shared.no_server("an answer that makes no sense".to_owned())),
            }
        })
    }
}

#[derive(Deserialize)]
struct Health {
    server: String,
    protocol: u32,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    code: String,
    #[serde(default)]
    hint: String,
}

#[derive(Deserialize)]
struct Polled {
    ticket: String,
    events: Vec<PolledEvent>,
}

#[derive(Deserialize)]
struct PolledEvent {
    cursor: Cursor,
    event: serde_json::Value,
}

impl Shared {
    async fn send(&self, request: &SignedRequest, accept: &str) -> Result<reqwest::Response, SignalingError> {
        // Methods are those that `wire` knows.
        let method = Method::from_bytes(request.method().as_bytes()).unwrap_or_default();
        let mut builder = self
            .client()
            .request(method, format!("{}{}", self.base, request.path()))
            .header("authorization", request.authorization())
            .header("accept", accept);
        if !request.body().is_empty() {
            builder = builder.header("content-type", "application/json").body(request.body().to_vec());
        }
        self.check(builder.send().await).await
    }

    /// A good response of an everlink server, or why it is none.
    async fn check(
        &self,
        response: Result<reqwest::Response, reqwest::Error>,
    ) -> Result<reqwest::Response, SignalingError> {
        let response = response.map_err(|error| self.unreachable(&innermost(&error)))?;
        let (status, headers) = (response.status(), response.headers());
        let ours = headers.get("everlink-protocol").and_then(|value| value.to_str().ok());
        match ours {
            Some("1") if status.is_success() => return Ok(response),
            Some("1") => {}
            Some(_) => return Err(self.no_server("a server of another protocol version".to_owned())),
            // Something in between answers for a server that it cannot reach or that has enough.
            None if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(self.unreachable(&format!("something on the way answers {status}")));
            }
            None => return Err(self.no_server(format!("something else, with {status}"))),
        }
        let retry_after = retry_after(headers);
        let body = self.body(response).await?;
        let Ok(Refusal { error, code, hint }) = serde_json::from_slice(&body) else {
            return Err(self.no_server(format!("an answer that makes no sense, with {status}")));
        };
        match code.parse::<ErrorCode>() {
            Ok(code) => Err(SignalingError::Refused { code, message: error, hint, retry_after }),
            // Of a newer server.
            Err(()) if status.is_server_error() => Err(self.unreachable(&format!("{error} ({code})"))),
            Err(()) => Err(SignalingError::Refused {
                code: ErrorCode::Malformed,
                message: format!("{error} ({code})"),
                hint,
                retry_after,
            }),
        }
    }

    async fn body(&self, response: reqwest::Response) -> Result<Vec<u8>, SignalingError> {
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(|error| self.unreachable(&innermost(&error)))?);
            if body.len() > MAX_ANSWER {
                return Err(self.no_server("an answer without end".to_owned()));
            }
        }
        Ok(body)
    }

    async fn within<T>(
        &self,
        limit: Duration,
        answer: impl Future<Output = Result<T, SignalingError>>,
    ) -> Result<T, SignalingError> {
        match runtime::timeout(limit, answer).await {
            Some(result) => result,
            None => Err(self.unreachable(&format!("no answer within {} s", limit.as_secs()))),
        }
    }

    /// Opens a stream that the server pushes into.
    async fn stream(self: Arc<Self>, request: SignedRequest) -> Result<EventStream, SignalingError> {
        let response = self.within(ANSWER_WITHIN, self.send(&request, "text/event-stream")).await?;
        let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return Err(self.fall_back("something on the way does not let event streams pass"));
        }
        let mut chunks: BoxStream<'static, _> = Box::pin(response.bytes_stream());
        let Some(first) = runtime::timeout(FIRST_BYTES_WITHIN, chunks.next()).await else {
            return Err(self.fall_back("something on the way keeps event streams back"));
        };
        let pushed =
            Pushed { shared: self, chunks, first, parser: SseParser::default(), read: VecDeque::new() };
        let stream = futures_util::stream::unfold(Some(pushed), |pushed| async {
            let mut pushed = pushed?;
            match pushed.next().await {
                Ok(event) => Some((Ok(event), Some(pushed))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Box::pin(stream))
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
        let answer = async {
            let response = self.send(&request, "application/json").await?;
            self.polled(response).await
        };
        let Polled { ticket, events } = self.within(ANSWER_WITHIN, answer).await?;
        let cursor = match request.request() {
            Request::Events { cursor } => cursor.clone(),
            _ => None,
        };
        let polling = Polling { shared: self, ticket, cursor, read: events.into() };
        let stream = futures_util::stream::unfold(Some(polling), |polling| async {
            let mut polling = polling?;
            match polling.next().await {
                Ok(event) => Some((Ok(event), Some(polling))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Box::pin(stream))
    }

    async fn polled(&self, response: reqwest::Response) -> Result<Polled, SignalingError> {
        let body = self.body(response).await?;
        serde_json::from_slice(&body)
            .map_err(|error| self.no_server(format!("an answer that makes no sense ({error})")))
    }

    fn unreachable(&self, why: &str) -> SignalingError {
        SignalingError::Unreachable(format!("{}: {why}", self.base))
    }

    fn no_server(&self, what: String) -> SignalingError {
        SignalingError::NotAServer(format!("{} gives {what}", self.base))
    }
}

type Chunk = Result<bytes::Bytes, reqwest::Error>;

/// An event stream that the server pushes into.
struct Pushed {
    shared: Arc<Shared>,
    chunks: BoxStream<'static, Chunk>,
    first: Option<Chunk>,
    parser: SseParser,
    read: VecDeque<SseEvent>,
}

impl Pushed {
    async fn next(&mut self) -> Result<(Cursor, Event), SignalingError> {
        loop {
            while let Some(SseEvent { id, data }) = self.read.pop_front() {
                // Events that a newer server knows are none of ours.
                if let (Some(id), Ok(event)) = (id, serde_json::from_str(&data)) {
                    return Ok((Cursor(id), event));
                }
            }
            let chunk = match self.first.take() {
                Some(first) => Some(first),
                None => runtime::timeout(SILENT_FOR, self.chunks.next())
                    .await
                    .ok_or_else(|| self.shared.unreachable("the event stream fell silent"))?,
            };
            let chunk = chunk.ok_or_else(|| self.shared.unreachable("the event stream ended"))?;
            let chunk = chunk.map_err(|error| self.shared.unreachable(&innermost(&error)))?;
            let events =
                self.parser.push(&chunk).map_err(|error| self.shared.unreachable(&error.to_string()))?;
            self.read.extend(events);
        }
    }
}

/// An event stream that asks again and again.
struct Polling {
    shared: Arc<Shared>,
    ticket: String,
    cursor: Option<Cursor>,
    read: VecDeque<PolledEvent>,
}

impl Polling {
    async fn next(&mut self) -> Result<(Cursor, Event), SignalingError> {
        loop {
            while let Some(PolledEvent { cursor, event }) = self.read.pop_front() {
                self.cursor = Some(cursor.clone());
                if let Ok(event) = serde_json::from_value(event) {
                    return Ok((cursor, event));
                }
            }
            let asked = runtime::now();
            let shared = &self.shared;
            let interval = shared.poll_interval();
            let events = shared.within(ANSWER_WITHIN.saturating_add(interval), self.ask()).await?;
            if events.is_empty() {
                // Whatever is on the way may not have let the asking wait.
                let waited = runtime::now().saturating_duration_since(asked);
                runtime::sleep(interval.saturating_sub(waited)).await;
            }
            self.read.extend(events);
        }
    }

    async fn ask(&self) -> Result<Vec<PolledEvent>, SignalingError> {
        let Self { shared, ticket, cursor, .. } = self;
        let query =
            cursor.as_ref().map(|cursor| format!("?{}", wire::cursor_query(cursor))).unwrap_or_default();
        let wait = shared.poll_interval().as_millis().div_ceil(1000);
        let response = shared
            .client()
            .get(format!("{}/v1/events/{ticket}{query}", shared.base))
            .header("accept", "application/json")
            .header("prefer", format!("wait={wait}"))
            .send()
            .await;
        match shared.check(response).await {
            Ok(response) => Ok(shared.polled(response).await?.events),
            // The server restarted, or this was away for too long: a new stream begins anew.
            Err(error) if error.code() == Some(ErrorCode::NoRoute) => {
                Err(shared.unreachable("the server has forgotten this event stream"))
            }
            Err(error) => Err(error),
        }
    }
}

fn retry_after(headers: &HeaderMap<HeaderValue>) -> Option<Duration> {
    let seconds: u64 = headers.get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// The cause at the bottom, which is what a person can do something about.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(not(target_arch = "wasm32"))]
fn client(url: &Url) -> Result<Client, reqwest::Error> {
    let mut builder = Client::builder()
        .connect_timeout(CONNECT_WITHIN)
        .pool_idle_timeout(IDLE_FOR)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(15))
        // A signature covers the path: elsewhere it is worth nothing.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("everlink/", env!("CARGO_PKG_VERSION")));
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback()) {
        // No proxy reaches this machine by such a name.
        builder = builder.no_proxy();
    }
    let provider = rustls::crypto::ring::default_provider();
    if url.scheme() == "https" {
        // Whichever provider the application chose will do.
        let _ = provider.install_default();
        return builder.build();
    }
    // Reading the system's certificates takes longer than all else together, and here none is
    // ever checked.
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth());
    match config {
        Ok(config) => builder.tls_backend_preconfigured(config).build(),
        // The provider does TLS 1.2 and 1.3; if not, pay for the certificates.
        Err(_) => builder.build(),
    }
}

#[cfg(target_arch = "wasm32")]
fn client(_url: &Url) -> Result<Client, reqwest::Error> {
    Client::builder().build()
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
