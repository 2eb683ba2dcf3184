//! Requests over TCP and TLS, by reqwest.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Url};

use super::{Address, Ask, Reply};
use crate::runtime::{self, Instant};

/// How long a server may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// Connections no older than this need no renewal: many dials of one client begin at once.
const RENEW_GAP: Duration = Duration::from_millis(100);
/// Below what the server keeps idle connections for, so that none is used that it is closing.
const IDLE_FOR: Duration = Duration::from_secs(20);

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        Ok(Self {
            text: url.as_str().to_owned(),
            is_http: matches!(url.scheme(), "http" | "https"),
            has_query: url.query().is_some() || url.fragment().is_some(),
            has_user: !url.username().is_empty() || url.password().is_some(),
        })
    }
}

/// Carries requests to one server.
pub(super) struct Carrier {
    /// Its address.
    base: String,
    // A std lock: held to copy a handle, never over an await.
    client: RwLock<(Client, Instant)>,
}

impl Carrier {
    pub(super) fn new(base: &str) -> Result<Self, String> {
        let client = client(base)?;
        Ok(Self { base: base.to_owned(), client: RwLock::new((client, runtime::now())) })
    }

    /// Makes another client: what is kept open for reuse goes with the old one.
    pub(super) fn renew(&self) {
        match client(&self.base) {
            Ok(fresh) => {
                let mut current = self.client.write().unwrap_or_else(PoisonError::into_inner);
                *current = (fresh, runtime::now());
            }
            Err(error) => tracing::warn!(error, "connections to the signaling server may be stale"),
        }
    }

    /// As `renew`, unless that was done a moment ago.
    pub(super) fn renew_if_old(&self) {
        let since = self.client.read().unwrap_or_else(PoisonError::into_inner).1;
        if runtime::now().saturating_duration_since(since) >= RENEW_GAP {
            self.renew();
        }
    }

    /// Asks, and gives the answer as soon as it begins. Whatever fails says why.
    pub(super) async fn send(&self, ask: Ask<'_>) -> Result<Reply, String> {
        let client = self.client.read().unwrap_or_else(PoisonError::into_inner).0.clone();
        // Methods are those that `wire` knows.
        let method = Method::from_bytes(ask.method.as_bytes()).unwrap_or_default();
        let mut builder = client.request(method, ask.url);
        for (name, value) in ask.headers {
            builder = builder.header(name, value);
        }
        if !ask.body.is_empty() {
            builder = builder.body(ask.body);
        }
        let response = builder.send().await.map_err(|error| innermost(&error))?;
        let headers = response.headers();
        Ok(Reply {
            status: response.status().as_u16(),
            status_text: response.status().to_string(),
            protocol: header(headers, "everlink-protocol"),
            content_type: header(headers, "content-type"),
            retry_after: header(headers, "retry-after"),
            chunks: Box::pin(response.bytes_stream().map(|chunk| chunk.map_err(|error| innermost(&error)))),
        })
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// The cause at the bottom, which is what a person can do something about.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn client(base: &str) -> Result<Client, String> {
    build(base).map_err(|error| innermost(&error))
}

fn build(base: &str) -> Result<Client, reqwest::Error> {
    let mut builder = Client::builder()
        .connect_timeout(CONNECT_WITHIN)
        .pool_idle_timeout(IDLE_FOR)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(15))
        // A signature covers the path: elsewhere it is worth nothing.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("everlink/", env!("CARGO_PKG_VERSION")));
    let url = Url::parse(base).ok();
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default().trim_matches(['[', ']']);
    if host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback()) {
        // No proxy reaches this machine by such a name.
        builder = builder.no_proxy();
    }
    let provider = rustls::crypto::ring::default_provider();
    if base.starts_with("https:") {
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
