//! What the pages are made of: the npm package and what `web/build.sh` makes beside it.
//!
//! Building it takes a WebAssembly toolchain, so it is no part of the program: it is read from a directory when the
//! server starts.

use std::path::{Path, PathBuf};

use everlink::signaling::server::Page;

use crate::failure::Failure;

/// More of a package than there is.
const MAX_BYTES: u64 = 16 << 20;
const MAX_FILES: usize = 64;

pub const HTML: &str = "text/html; charset=utf-8";
pub const SCRIPT: &str = "text/javascript; charset=utf-8";
pub const STYLE: &str = "text/css; charset=utf-8";
pub const ICON: &str = "image/svg+xml";
pub const MODULE: &str = "application/wasm";

/// A file of it.
pub struct File {
    pub name: String,
    pub kind: &'static str,
    pub body: Vec<u8>,
    pub gzip: Option<Vec<u8>>,
}

impl File {
    /// It at `path`, with a policy.
    pub fn page(self, path: &str, policy: &str) -> Page {
        let made = page(path, self.kind, policy, self.body);
        match self.gzip {
            Some(gzip) => made.gzipped(gzip),
            None => made,
        }
    }
}

/// A page with what every page of this server says.
pub fn page(path: &str, kind: &str, policy: &str, body: impl Into<bytes::Bytes>) -> Page {
    Page::new(path, kind, body)
        .with_header("content-security-policy", policy)
        .with_header("cross-origin-opener-policy", "same-origin")
}

/// What is there.
pub struct Package {
    /// The npm package.
    pub library: Vec<File>,
    /// The page `/tutorial`, with its module. Empty if it was not built.
    pub tutorial: Vec<File>,
}

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
        let library = files(directory).map_err(wrong)?;
        for name in ["index.js", "everlink_bg.wasm"] {
            if !library.iter().any(|file| file.name == name) {
                return Err(wrong(format!("there is no {name}")));
            }
        }
        let page = directory.join("page");
        let tutorial = match page.is_dir() {
            true => {
                let mut tutorial = files(&page).map_err(wrong)?;
                let modules = files(&directory.join("tutorial")).map_err(wrong)?;
                tutorial.extend(modules.into_iter().filter(|file| file.kind == MODULE));
                tutorial
            }
            false => Vec::new(),
        };
        Ok(Self { library, tutorial })
    }
}

/// The files of a directory that a browser needs, by name.
fn files(directory: &Path) -> Result<Vec<File>, String> {
    let broken = |error: std::io::Error| error.to_string();
    let (mut files, mut bytes) = (Vec::new(), 0);
    let mut entries: Vec<_> =
        std::fs::read_dir(directory).map_err(broken)?.collect::<Result<_, _>>().map_err(broken)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let (Some(name), Some(kind)) = (path.file_name().and_then(|name| name.to_str()), kind(&path)) else {
            continue;
        };
        bytes += std::fs::metadata(&path).map_err(broken)?.len();
        if bytes > MAX_BYTES || files.len() == MAX_FILES {
            return Err("there is far too much in it".to_owned());
        }
        files.push(File {
            name: name.to_owned(),
            kind,
            body: std::fs::read(&path).map_err(broken)?,
            gzip: std::fs::read(directory.join(format!("{name}.gz"))).ok(),
        });
    }
    Ok(files)
}

/// What a browser is told that a file is; `None` for what it does not need.
fn kind(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()? {
        "js" => Some(SCRIPT),
        "wasm" => Some(MODULE),
        "html" => Some(HTML),
        "css" => Some(STYLE),
        "svg" => Some(ICON),
        "woff2" => Some("font/woff2"),
        _ => None,
    }
}
