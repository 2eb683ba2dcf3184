//! Pages for people, beside the routes for programs.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// A page or file that a [`Server`](super::Server) shows to browsers, from memory. Browsers may
/// keep it and ask each time whether it has changed.
#[derive(Clone, Debug)]
pub struct Page {
    path: String,
    content_type: HeaderValue,
    body: Bytes,
    /// The body compressed, for those who take that.
    gzip: Option<Bytes>,
    etag: HeaderValue,
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Page {
    /// What is at `path`, such as `/try`. One that begins with `/v1/` is never shown: those are the
    /// directory's. A `content_type` that cannot be in a header becomes
    /// `application/octet-stream`.
    pub fn new(path: impl Into<String>, content_type: &str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let hash = URL_SAFE_NO_PAD.encode(&Sha256::digest(&body)[..15]);
        Self {
            path: path.into(),
            content_type: HeaderValue::from_str(content_type)
                .unwrap_or(HeaderValue::from_static("application/octet-stream")),
            body,
            gzip: None,
            etag: HeaderValue::from_str(&format!("\"{hash}\"")).expect("base64 is fit for a header"),
            status: StatusCode::OK,
            headers: Vec::new(),
        }
    }

    /// The same body compressed by gzip, for browsers that take it. Whether it is the same is not
    /// checked.
    #[must_use]
    pub fn gzipped(self, gzip: impl Into<Bytes>) -> Self {
        Self { gzip: Some(gzip.into()), ..self }
    }

    /// A further header, such as `content-security-policy`. One that cannot be is left out.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (name.parse(), HeaderValue::from_str(value)) {
            self.headers.push((name, value));
        }
        self
    }

    /// Another status than 200; browsers do not keep it then. One that cannot be is ignored.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = StatusCode::from_u16(status).unwrap_or(self.status);
        self
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn response(&self, asked: &HeaderMap) -> Response<Body> {
        let text = |name| asked.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or("");
        let known = text(header::IF_NONE_MATCH).split(',').any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == self.etag.as_bytes()
        });
        let gzip = self.gzip.as_ref().filter(|_| takes_gzip(text(header::ACCEPT_ENCODING)));
        let fresh = self.status == StatusCode::OK;
        let mut response = if known && fresh {
            Response::new(Body::empty())
        } else {
            Response::new(Body::from(gzip.unwrap_or(&self.body).clone()))
        };
        *response.status_mut() = if known && fresh { StatusCode::NOT_MODIFIED } else { self.status };
        let headers = response.headers_mut();
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", if fresh { "no-cache" } else { "no-store" }),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        if fresh {
            headers.insert(header::ETAG, self.etag.clone());
        }
        if self.gzip.is_some() {
            headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        if gzip.is_some() && !known {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        response
    }
}

/// Whether gzip is among the codings that somebody takes, and not with a weight of nothing.
fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        named && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)))
    })
}

/// All pages of a server.
pub(super) struct Pages(BTreeMap<String, Page>);

impl Pages {
    pub(super) fn new(pages: Vec<Page>) -> Self {
        let shown = pages.into_iter().filter(|page| !page.path.starts_with("/v1/"));
        Self(shown.map(|page| (page.path.clone(), page)).collect())
    }

    /// The page that is asked for, if there is one.
    pub(super) fn find(&self, method: &Method, path: &str, asked: &HeaderMap) -> Option<Response<Body>> {
        if method != Method::GET && method != Method::HEAD {
            return None;
        }
        if let Some(page) = self.0.get(path) {
            return Some(page.response(asked));
        }
        // `/try/` is meant for `/try`. Said relatively, as a proxy may have taken a prefix away.
        let name = path.strip_suffix('/').filter(|path| self.0.contains_key(*path))?.rsplit('/').next()?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        let to = HeaderValue::from_str(&format!("../{name}")).ok()?;
        response.headers_mut().insert(header::LOCATION, to);
        Some(response)
    }
}
