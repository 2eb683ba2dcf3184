//! The page `/try`: two browsers that talk, and a link to cut.
//!
//! The page is part of the program. The npm package that it runs on is not, since building it takes
//! a WebAssembly toolchain: it is read from a directory when the server starts.

use std::path::{Path, PathBuf};

use everlink::signaling::server::Page;

use crate::failure::Failure;

/// More of a package than there is.
const MAX_BYTES: u64 = 16 << 20;
const MAX_FILES: usize = 64;

/// Nothing from elsewhere, and nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// The page's own files, beneath `/try/`.
const FILES: [(&str, &str, &str); 8] = [
    ("style.css", STYLE, include_str!("try/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("try/icon.svg")),
    ("main.js", SCRIPT, include_str!("try/main.js")),
    ("cut.js", SCRIPT, include_str!("try/cut.js")),
    ("side.js", SCRIPT, include_str!("try/side.js")),
    ("talk.js", SCRIPT, include_str!("try/talk.js")),
    ("wire.js", SCRIPT, include_str!("try/wire.js")),
    ("qr.js", SCRIPT, include_str!("try/qr.js")),
];

/// The files of the npm package.
pub struct Package(Vec<Page>);

impl Package {
    /// Reads the package in a directory, or the one beside this program if there is one.
    pub fn find(named: Option<PathBuf>) -> Result<Option<Self>, Failure> {
        match named {
            Some(directory) => Self::read(&directory).map(Some),
            None => {
                let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join("web")));
                match beside.filter(|directory| directory.join("index.js").is_file()) {
                    Some(directory) => Self::read(&directory).map(Some),
                    None => Ok(None),
                }
            }
        }
    }

    fn read(directory: &Path) -> Result<Self, Failure> {
        let todo = "build it with `bash web/build.sh`, and give `web/dist` with --web";
        let wrong = |why: String| {
            Failure::new(format!("no package of everlink in {}: {why}", directory.display()), todo)
        };
        let broken = |error: std::io::Error| wrong(error.to_string());
        let (mut pages, mut bytes) = (Vec::new(), 0);
        let mut entries: Vec<_> =
            std::fs::read_dir(directory).map_err(broken)?.collect::<Result<_, _>>().map_err(broken)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let (Some(name), Some(kind)) = (path.file_name().and_then(|name| name.to_str()), kind(&path))
            else {
                continue;
            };
            bytes += std::fs::metadata(&path).map_err(broken)?.len();
            if bytes > MAX_BYTES || pages.len() == MAX_FILES {
                return Err(wrong("there is far too much in it".to_owned()));
            }
            let mut page = page(&format!("/try/lib/{name}"), kind, std::fs::read(&path).map_err(broken)?);
            if let Ok(gzip) = std::fs::read(directory.join(format!("{name}.gz"))) {
                page = page.gzipped(gzip);
            }
            pages.push(page);
        }
        for name in ["index.js", "everlink_bg.wasm"] {
            if !pages.iter().any(|page| page.path().ends_with(&format!("/{name}"))) {
                return Err(wrong(format!("there is no {name}")));
            }
        }
        Ok(Self(pages))
    }
}

/// What a browser is told that a file of the package is; `None` for what it does not need.
fn kind(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()? {
        "js" => Some(SCRIPT),
        "wasm" => Some("application/wasm"),
        _ => None,
    }
}

fn page(path: &str, kind: &str, body: impl Into<bytes::Bytes>) -> Page {
    Page::new(path, kind, body)
        .with_header("content-security-policy", POLICY)
        .with_header("cross-origin-opener-policy", "same-origin")
}

/// Everything beneath `/try`. Without the package a page that says how to get it.
pub fn pages(package: Option<Package>) -> Vec<Page> {
    let own = FILES.map(|(name, kind, body)| page(&format!("/try/{name}"), kind, body));
    let Some(Package(files)) = package else {
        let missing = page("/try", HTML, include_str!("try/missing.html")).with_status(503);
        return own.into_iter().chain([missing]).collect();
    };
    let index = page("/try", HTML, include_str!("try/index.html"));
    own.into_iter().chain([index]).chain(files).collect()
}
