//! Events over HTTP: as a stream of server-sent events, or by polling where a proxy keeps streams.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::json;

use crate::runtime::{self, Instant};
use crate::signaling::local::Listening;
use crate::signaling::{Cursor, ErrorCode, Event, SignalingError};

/// How long a client that polls may be away before it is forgotten.
const POLL_AGAIN_WITHIN: Duration = Duration::from_secs(30);
/// How long one poll may wait.
const MAX_POLL: Duration = Duration::from_secs(20);

/// The stream's response: each event with its cursor as id, and a comment when there was none for
/// a while.
pub(super) fn stream(listening: Listening, keep_alive: Duration) -> Response<Body> {
    // The first comment tells the client at once that nothing on the way keeps the stream.
    let start = (Some(listening), true);
    let chunks = futures_util::stream::unfold(start, move |(listening, first)| async move {
        let mut listening = listening?;
        if first {
            return Some((
                Ok::<_, Infallible>(Bytes::from_static(b": everlink\n\n")),
                (Some(listening), false),
            ));
        }
        let chunk = match runtime::timeout(keep_alive, listening.next()).await {
            None => Bytes::from_static(b":\n\n"),
            Some(None) => return None,
            Some(Some(event)) => {
                let mut text = frame(&event);
                for event in listening.read_now() {
                    text.push_str(&frame(&event));
                }
                text.into()
            }
        };
        Some((Ok(chunk), (Some(listening), false)))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Asks proxies of the nginx kind not to keep the stream until it ends.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn frame((cursor, event): &(Cursor, Event)) -> String {
    format!("id: {}\ndata: {}\n\n", cursor.0, json!(event))
}

/// Clients that poll. Each has a ticket from its first, signed, request; later ones carry that.
pub(super) struct Polls {
    /// A std mutex: held to take a listener out or put it back.
    all: Mutex<HashMap<String, Poll>>,
}

struct Poll {
    /// Absent while a poll is waiting.
    listening: Option<Listening>,
    seen: Instant,
}

impl Polls {
    pub(super) fn new() -> Self {
        Self { all: Mutex::default() }
    }

    /// Begins to poll; what is there is returned at once, with the ticket for the next time.
    pub(super) fn begin(&self, mut listening: Listening) -> serde_json::Value {
        let ticket = URL_SAFE_NO_PAD.encode(runtime::random::<24>());
        let events = listening.read_now();
        let poll = Poll { listening: Some(listening), seen: runtime::now() };
        self.lock().insert(ticket.clone(), poll);
        reply(&ticket, &events)
    }

    /// Goes on after `cursor`, waiting up to `wait` for something to say. Dropped meanwhile, the
    /// ticket is gone, and the client begins anew.
    pub(super) async fn go_on(
        self: &Arc<Self>,
        ticket: &str,
        cursor: Option<&Cursor>,
        wait: Duration,
    ) -> Result<serde_json::Value, SignalingError> {
        let gone =
            || SignalingError::refused(ErrorCode::NoRoute, "no such poll; begin with a signed request");
        let mut listening =
            self.lock().get_mut(ticket).and_then(|poll| poll.listening.take()).ok_or_else(gone)?;
        let guard = Forget { polls: self.clone(), ticket: Some(ticket.to_owned()) };
        if let Some(cursor) = cursor {
            // What was said may not have arrived.
            listening.seek(cursor);
        }
        let mut events = listening.read_now();
        if events.is_empty() {
            match runtime::timeout(wait.min(MAX_POLL), listening.next()).await {
                None => {}
                Some(None) => return Err(gone()),
                Some(Some(event)) => {
                    events.push(event);
                    events.extend(listening.read_now());
                }
            }
        }
        let ticket = guard.keep();
        if let Some(poll) = self.lock().get_mut(&ticket) {
            *poll = Poll { listening: Some(listening), seen: runtime::now() };
        }
        Ok(reply(&ticket, &events))
    }

    /// Forgets clients that have stopped to poll, for ever.
    pub(super) async fn see_to_expiry(&self) {
        loop {
            runtime::sleep(POLL_AGAIN_WITHIN / 6).await;
            let now = runtime::now();
            let stays = |poll: &Poll| {
                poll.listening.is_none() || now.saturating_duration_since(poll.seen) < POLL_AGAIN_WITHIN
            };
            // Dropped outside the lock: that locks the directory.
            let gone: Vec<Poll> = {
                let mut all = self.lock();
                let tickets: Vec<String> =
                    all.iter().filter(|(_, poll)| !stays(poll)).map(|(ticket, _)| ticket.clone()).collect();
                tickets.iter().filter_map(|ticket| all.remove(ticket)).collect()
            };
            drop(gone);
        }
    }

    pub(super) fn clear(&self) {
        let gone = std::mem::take(&mut *self.lock());
        drop(gone);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Poll>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a ticket unless it is kept.
struct Forget {
    polls: Arc<Polls>,
    ticket: Option<String>,
}

impl Forget {
    fn keep(mut self) -> String {
        self.ticket.take().unwrap_or_default()
    }
}

impl Drop for Forget {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.polls.lock().remove(&ticket);
        }
    }
}

fn reply(ticket: &str, events: &[(Cursor, Event)]) -> serde_json::Value {
    let events: Vec<_> =
        events.iter().map(|(cursor, event)| json!({"cursor": cursor, "event": event})).collect();
    json!({"ticket": ticket, "events": events})
}
