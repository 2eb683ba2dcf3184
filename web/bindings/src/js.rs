//! Promises and plain objects.

use std::future::Future;
use std::pin::Pin;

use everlink::Message;
use futures_util::future::{Either, select};
use js_sys::{Promise, Uint8Array};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::{JsFuture, future_to_promise};

/// What a promise comes to.
pub(crate) type Outcome = Result<JsValue, JsValue>;

/// Starts `work`, which is dropped when `cancelled` resolves first.
pub(crate) fn promise(cancelled: Option<Promise>, work: impl Future<Output = Outcome> + 'static) -> Promise {
    // Boxed, so that what follows is compiled once and not for each kind of work.
    start(cancelled, Box::pin(work))
}

fn start(cancelled: Option<Promise>, work: Pin<Box<dyn Future<Output = Outcome>>>) -> Promise {
    future_to_promise(async move {
        let Some(cancelled) = cancelled else { return work.await };
        match select(work, JsFuture::from(cancelled)).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => Err(JsValue::UNDEFINED),
        }
    })
}

#[wasm_bindgen(module = "/src/plain.js")]
extern "C" {
    fn plain(fields: &str, values: Box<[JsValue]>) -> JsValue;
    fn failure(kind: &str, code: &str, message: &str, fields: &str, values: Box<[JsValue]>) -> JsValue;
    /// A word of the library's (`fresh_link`) as JavaScript writes it (`fresh-link`).
    pub(crate) fn dashed(word: &str) -> JsValue;
}

/// A plain object of `fields`, which are apart by spaces: `name=word` is that word, `name` the next of the
/// values. What is `undefined` is left out.
pub(crate) fn object<const N: usize>(fields: &str, values: [JsValue; N]) -> JsValue {
    plain(fields, Box::new(values))
}

/// `{ kind, code, message }`, the code with dashes, and more, as for [`object`].
pub(crate) fn error(
    kind: &str,
    code: &str,
    message: &dyn std::fmt::Display,
    fields: &str,
    values: Box<[JsValue]>,
) -> JsValue {
    failure(kind, code, &message.to_string(), fields, values)
}

/// A count as a JavaScript number: exact up to 2^53.
pub(crate) fn number(count: u64) -> JsValue {
    JsValue::from_f64(count as f64)
}

/// A duration in milliseconds.
pub(crate) fn millis(duration: std::time::Duration) -> JsValue {
    JsValue::from_f64(duration.as_secs_f64() * 1000.0)
}

/// Whatever displays, as text.
pub(crate) fn text(value: &dyn std::fmt::Display) -> JsValue {
    JsValue::from_str(&value.to_string())
}

/// A string as text, everything else as the `Uint8Array` that TypeScript made sure of.
pub(crate) fn to_message(data: &JsValue) -> Message {
    match data.as_string() {
        Some(text) => text.into(),
        // Not `new`, which would copy it within JavaScript first.
        None => data.unchecked_ref::<Uint8Array>().to_vec().into(),
    }
}

/// Text as a string, bytes as a `Uint8Array` of its own.
pub(crate) fn from_message(message: &Message) -> JsValue {
    match message.as_text() {
        Some(text) => JsValue::from_str(text),
        None => Uint8Array::from(message.as_bytes()).into(),
    }
}
