//! Requests by the `fetch` of a browser or of Node.

use bytes::Bytes;
use js_sys::Uint8Array;
use wasm_bindgen::JsValue;

use super::{Address, Ask, Reply};
use crate::web::{self, call, get, object, settled};

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let url = web::construct("URL", &[&text.into()]).map_err(|_| "it is no URL".to_owned())?;
        let part = |name| get(&url, name).and_then(|part| part.as_string()).unwrap_or_default();
        let has = |name| !part(name).is_empty();
        Ok(Self {
            text: part("href"),
            is_http: matches!(&*part("protocol"), "http:" | "https:"),
            has_query: text.contains(['?', '#']),
            has_user: has("username") || has("password"),
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
        if web::global("fetch").is_none() {
            return Err("there is no fetch where this runs".to_owned());
        }
        let abort = Abort(web::construct("AbortController", &[]).map_err(|error| web::problem(&error))?);
        let headers = object([]);
        for (name, value) in ask.headers {
            web::set(&headers, name, &value.into());
        }
        let options = object([
            ("method", ask.method.into()),
            ("headers", headers),
            ("cache", "no-store".into()),
            ("credentials", "omit".into()),
            // A signature covers the path: elsewhere it is worth nothing.
            ("redirect", "manual".into()),
            ("referrerPolicy", "no-referrer".into()),
        ]);
        if let Some(signal) = get(&abort.0, "signal") {
            web::set(&options, "signal", &signal);
        }
        if !ask.body.is_empty() {
            web::set(&options, "body", &Uint8Array::from(&ask.body[..]));
        }
        let fetched = call(&js_sys::global(), "fetch", &[&ask.url.into(), &options]);
        // A browser does not tell a page whether the server was away or did not allow the page.
        let response = settled(fetched).await.map_err(|error| web::problem(&error))?;
        let header = |name: &str| {
            let headers = get(&response, "headers")?;
            call(&headers, "get", &[&name.into()]).ok()?.as_string()
        };
        let status = get(&response, "status").and_then(|status| status.as_f64()).unwrap_or(0.0) as u16;
        let status_text = match status {
            // All that a page learns of one that is not followed.
            0 => "a redirection".to_owned(),
            _ => {
                let text = get(&response, "statusText").and_then(|text| text.as_string());
                format!("{status} {}", text.unwrap_or_default()).trim_end().to_owned()
            }
        };
        let (protocol, content_type) = (header("everlink-protocol"), header("content-type"));
        let retry_after = header("retry-after");
        // Absent where there is nothing to read.
        let reader = get(&response, "body").and_then(|body| call(&body, "getReader", &[]).ok());
        let chunks = futures_util::stream::unfold(reader.map(|reader| (reader, abort)), |source| async {
            let (reader, abort) = source?;
            match read(&reader).await {
                Ok(Some(chunk)) => Some((Ok(chunk), Some((reader, abort)))),
                Ok(None) => None,
                Err(error) => Some((Err(web::problem(&error)), None)),
            }
        });
        Ok(Reply { status, status_text, protocol, content_type, retry_after, chunks: Box::pin(chunks) })
    }
}

/// The next piece of a body, or its end.
async fn read(reader: &JsValue) -> Result<Option<Bytes>, JsValue> {
    let read = settled(call(reader, "read", &[])).await?;
    let piece = get(&read, "value");
    Ok(piece.map(|piece| Bytes::from(Uint8Array::new(&piece).to_vec())))
}

/// Ends a request with its last holder, however far it came.
struct Abort(JsValue);

impl Drop for Abort {
    fn drop(&mut self) {
        let _ = call(&self.0, "abort", &[]);
    }
}
