//! Requests in, responses out: `docs/PROTOCOL.md`, part I.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::json;

use super::events::{self, Polls};
use super::pages::Pages;
use crate::runtime;
use crate::signaling::local::Local;
use crate::signaling::wire::{self, HttpForm};
use crate::signaling::{Cursor, ErrorCode, SignalingError, SignedRequest, Verified};

/// The largest body: a pool of a dozen of the largest descriptions.
const MAX_BODY: usize = 1 << 20;
/// How long a client may take over a body.
const BODY_WITHIN: Duration = Duration::from_secs(15);
/// The longest path and query.
const MAX_PATH: usize = 2048;

pub(super) struct Shared {
    pub(super) local: Arc<Local>,
    pub(super) polls: Arc<Polls>,
    pub(super) keep_alive: Duration,
    pub(super) pages: Pages,
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    // One way in, so that every answer is made here: also those to what is no request.
    Router::new().fallback(handle).with_state(shared)
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response<Body> {
    if let Some(page) = shared.pages.find(request.method(), request.uri().path(), request.headers()) {
        return page;
    }
    let mut response = match answer(&shared, request).await {
        Ok(response) => response,
        Err(error) => refusal(&error),
    };
    let headers = response.headers_mut();
    // Says to whom one speaks, and for browsers that any page may.
    for (name, value) in [
        ("everlink-protocol", "1"),
        ("access-control-allow-origin", "*"),
        ("access-control-expose-headers", "everlink-protocol, retry-after"),
        ("cache-control", "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn answer(shared: &Shared, request: Request<Body>) -> Result<Response<Body>, SignalingError> {
    let (head, body) = request.into_parts();
    if head.method == Method::OPTIONS {
        return Ok(preflight());
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    if path.len() > MAX_PATH {
        return Err(SignalingError::refused(
            ErrorCode::TooLarge,
            format!("a path has at most {MAX_PATH} bytes"),
        ));
    }
    if head.method == Method::GET && path == "/v1/health" {
        return Ok(health());
    }
    let body = read(body, &head.headers).await?;
    if head.method == Method::GET
        && let Some(rest) = path.strip_prefix("/v1/events/")
    {
        return go_on(shared, rest, &head.headers).await;
    }
    let form = HttpForm { method: head.method.as_str().to_owned(), path: path.to_owned(), body: body.into() };
    let request = wire::decode(&form)?;
    let verified = match head.headers.get(header::AUTHORIZATION) {
        None => Verified::anonymous(request)?,
        Some(value) => {
            let text = value.to_str().unwrap_or_default();
            SignedRequest::from_parts(request, form, text)?.verify(runtime::unix_millis())?
        }
    };
    if !verified.asks_for_events() {
        let response = shared.local.call(verified).await?;
        return Ok(json_response(StatusCode::OK, wire::encode_response(&response)));
    }
    let mut listening = shared.local.open(&verified)?;
    if let Some(cursor) = head.headers.get("last-event-id").and_then(|value| value.to_str().ok()) {
        listening.seek(&Cursor(cursor.to_owned()));
    }
    if wants_stream(&head.headers) {
        Ok(events::stream(listening, shared.keep_alive))
    } else {
        Ok(json_response(StatusCode::OK, shared.polls.begin(listening).to_string()))
    }
}

/// The body, which must be small and prompt.
async fn read(body: Body, headers: &HeaderMap) -> Result<Bytes, SignalingError> {
    let too_large = || {
        SignalingError::refused(
            ErrorCode::TooLarge,
            format!("the body of a request has at most {MAX_BODY} bytes"),
        )
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > MAX_BODY) {
        return Err(too_large());
    }
    match runtime::timeout(BODY_WITHIN, axum::body::to_bytes(body, MAX_BODY)).await {
        Some(Ok(bytes)) => Ok(bytes),
        Some(Err(error)) if is_length_limit(&error) => Err(too_large()),
        Some(Err(_)) => Err(SignalingError::refused(ErrorCode::Malformed, "the body broke off")),
        None => Err(SignalingError::refused(ErrorCode::Malformed, "the body took too long")),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.to_string().contains("length limit exceeded") {
            return true;
        }
        source = error.source();
    }
    false
}

/// A poll after the first.
async fn go_on(shared: &Shared, rest: &str, headers: &HeaderMap) -> Result<Response<Body>, SignalingError> {
    let (ticket, query) = rest.split_once('?').unwrap_or((rest, ""));
    let cursor = wire::cursor_in(query)?;
    let wait = headers
        .get("prefer")
        .and_then(|value| value.to_str().ok()?.strip_prefix("wait=")?.parse().ok())
        .map_or(Duration::ZERO, Duration::from_secs);
    let reply = shared.polls.go_on(ticket, cursor.as_ref(), wait).await?;
    Ok(json_response(StatusCode::OK, reply.to_string()))
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    !accepts.contains("application/json")
}

fn health() -> Response<Body> {
    let version = env!("CARGO_PKG_VERSION");
    let time = runtime::unix_millis();
    let body = json!({"server": "everlink", "protocol": 1, "version": version, "time": time});
    json_response(StatusCode::OK, body.to_string())
}

fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    for (name, value) in [
        ("access-control-allow-methods", "GET, PUT, POST, DELETE"),
        ("access-control-allow-headers", "authorization, content-type, last-event-id, prefer"),
        ("access-control-max-age", "86400"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// An error as `{error, code, hint}`.
fn refusal(error: &SignalingError) -> Response<Body> {
    let (code, message, hint, retry_after) = match error {
        SignalingError::Refused { code, message, hint, retry_after } => {
            (*code, message.as_str(), hint.as_str(), *retry_after)
        }
        // Its connections were broken, which it only does when it ends.
        _ => (ErrorCode::Busy, "the server is ending", "Try again later.", Some(Duration::from_secs(1))),
    };
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({"error": message, "code": code.as_str(), "hint": hint});
    let mut response = json_response(status, body.to_string());
    if let Some(after) = retry_after {
        let seconds = after.as_millis().div_ceil(1000).to_string();
        if let Ok(value) = HeaderValue::from_str(&seconds) {
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
    }
    response
}

fn json_response(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
