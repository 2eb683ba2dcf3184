//! What happens to a connection, in words.

use std::time::Duration;

use everlink::{ConnectionEvent, DisconnectCause, Events};
use serde_json::{Value, json};

use crate::failure::complain;
use crate::output::Output;

/// Tells what happens to a connection until it ends: a person on stderr, a program on stdout.
pub async fn tell(mut events: Events<ConnectionEvent>, output: Output, who: Value) {
    while let Some(event) = events.next().await {
        if output.json {
            if let Some(mut told) = as_json(&event) {
                if let (Some(told), Some(who)) = (told.as_object_mut(), who.as_object()) {
                    told.extend(who.clone());
                }
                // Whoever writes messages learns that nobody reads them.
                let _ = tokio::task::block_in_place(|| output.event(told));
            }
        } else if let Some(told) = in_words(&event) {
            complain(&told);
        }
    }
}

/// What a person wants to know.
pub fn in_words(event: &ConnectionEvent) -> Option<String> {
    Some(match event {
        ConnectionEvent::Connected { resumed: true, replayed, after } => {
            let again = match replayed {
                0 => String::new(),
                1 => ", 1 message sent again".to_owned(),
                more => format!(", {more} messages sent again"),
            };
            format!("connected again after {}{again}", seconds(*after))
        }
        ConnectionEvent::Disconnected { cause } => {
            format!("link lost ({}), looking for another", because(cause))
        }
        ConnectionEvent::AttemptFailed { attempt, error } => format!("attempt {attempt} failed: {error}"),
        ConnectionEvent::SessionLost { unacked } => {
            format!("the host forgot the session; the fate of {unacked} messages is unknown")
        }
        ConnectionEvent::StoreFailed { error, goes_on: true } => {
            format!("{error}; going on in memory, a restart will not resume this session")
        }
        ConnectionEvent::StoreFailed { error, goes_on: false } => {
            format!("{error}; nothing more is accepted until it works again, which is tried every second")
        }
        ConnectionEvent::StoreRecovered => "the store works again".to_owned(),
        ConnectionEvent::TookOver => {
            "the session was taken over from another process with the same identity, or an earlier run of this one".to_owned()
        }
        _ => return None,
    })
}

fn as_json(event: &ConnectionEvent) -> Option<Value> {
    Some(match event {
        ConnectionEvent::Connected { resumed, replayed, after } => json!({
            "event": "connected", "resumed": resumed, "replayed": replayed, "after_ms": millis(*after),
        }),
        ConnectionEvent::Disconnected { cause } => {
            json!({ "event": "disconnected", "cause": because(cause) })
        }
        ConnectionEvent::Reconnecting { attempt, delay } => {
            json!({ "event": "reconnecting", "attempt": attempt, "delay_ms": millis(*delay) })
        }
        ConnectionEvent::AttemptFailed { attempt, error } => {
            json!({ "event": "attempt_failed", "attempt": attempt, "error": error.to_string() })
        }
        ConnectionEvent::SessionLost { unacked } => json!({ "event": "session_lost", "unacked": unacked }),
        ConnectionEvent::StoreFailed { error, goes_on } => {
            json!({ "event": "store_failed", "error": error.to_string(), "goes_on": goes_on })
        }
        ConnectionEvent::StoreRecovered => json!({ "event": "store_recovered" }),
        ConnectionEvent::TookOver => json!({ "event": "took_over" }),
        ConnectionEvent::Recovered(recovery) => json!({
            "event": "recovered", "cause": recovery.cause.as_str(), "rung": recovery.rung.as_str(),
            "after_ms": millis(recovery.after), "replayed": recovery.replayed,
        }),
        _ => return None,
    })
}

/// Why a link was lost.
pub fn because(cause: &DisconnectCause) -> String {
    match cause {
        DisconnectCause::LinkDown(error) => error.to_string(),
        DisconnectCause::PathDead => "the peer does not answer".to_owned(),
        DisconnectCause::Misbehaviour(what) => format!("the peer broke the protocol: {what}"),
        DisconnectCause::Replaced => "the peer came back on a new link".to_owned(),
        DisconnectCause::NetworkChange => "the network of this machine changed".to_owned(),
        DisconnectCause::Wake => "the machine slept".to_owned(),
        DisconnectCause::Requested => "a new link was asked for".to_owned(),
        other => format!("{other:?}"),
    }
}

/// A time as people read it.
pub fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

/// Milliseconds, to a thousandth.
fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}
