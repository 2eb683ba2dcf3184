//! The page `/try`: two browsers that talk, and a link to cut. The page is part of the program; the npm package that it
//! runs on is not.

use everlink::signaling::server::Page;

use super::web::{File, HTML, ICON, SCRIPT, STYLE, page};

/// Nothing from elsewhere, and nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page's own files, beneath `/try/`.
const FILES: [(&str, &str, &str); 8] = [
    ("style.css", STYLE, include_str!("try/style.css")),
    ("icon.svg", ICON, include_str!("try/icon.svg")),
    ("main.js", SCRIPT, include_str!("try/main.js")),
    ("cut.js", SCRIPT, include_str!("try/cut.js")),
    ("side.js", SCRIPT, include_str!("try/side.js")),
    ("talk.js", SCRIPT, include_str!("try/talk.js")),
    ("wire.js", SCRIPT, include_str!("try/wire.js")),
    ("qr.js", SCRIPT, include_str!("try/qr.js")),
];

/// Everything beneath `/try`. Without the package a page that says how to get it.
pub fn pages(library: Option<Vec<File>>) -> Vec<Page> {
    let own = FILES.map(|(name, kind, body)| page(&format!("/try/{name}"), kind, POLICY, body));
    let Some(library) = library else {
        return own.into_iter().chain([missing("/try")]).collect();
    };
    let index = page("/try", HTML, POLICY, include_str!("try/index.html"));
    let library = library.into_iter().map(|file| {
        let path = format!("/try/lib/{}", file.name);
        file.page(&path, POLICY)
    });
    own.into_iter().chain([index]).chain(library).collect()
}

/// What is shown where a page would need the package. It uses files beneath `/try/`.
pub fn missing(path: &str) -> Page {
    page(path, HTML, POLICY, include_str!("try/missing.html")).with_status(503)
}
