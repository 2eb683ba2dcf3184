//! The page `/tutorial`: a tutorial that one leads and the others follow. `/tutorial#UUID` joins that room.
//!
//! What it shows was written by whoever hosts the room, so its policy is the strictest: nothing from elsewhere, nothing
//! inline, and text becomes markup nowhere but in the sanitiser.

use everlink::signaling::server::Page;

use super::try_page::missing;
use super::web::{File, HTML};

const POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
    img-src 'self' blob:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dompurify";

/// Everything beneath `/tutorial`. If it is not built, a page that says how to build it.
pub fn pages(files: Vec<File>) -> Vec<Page> {
    if !files.iter().any(|file| file.name == "index.html") {
        return vec![missing("/tutorial")];
    }
    let path = |file: &File| match file.kind {
        HTML => "/tutorial".to_owned(),
        _ => format!("/tutorial/{}", file.name),
    };
    files.into_iter().map(|file| (path(&file), file)).map(|(path, file)| file.page(&path, POLICY)).collect()
}
