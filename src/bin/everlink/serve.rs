//! `everlink serve`.

mod try_page;
mod tutorial_page;
mod web;

use std::io::{ErrorKind, Write as _};
use std::net::TcpListener;

use everlink::signaling::server::{Server, ServerConfig};
use serde_json::json;

use crate::args::Serve;
use crate::failure::Failure;
use crate::output::Output;
use crate::stop::Stop;

pub async fn run(args: Serve, output: Output) -> Result<(), Failure> {
    let mut stop = Stop::listen();
    let mut config = ServerConfig::default();
    config.data = args.data;
    let package = web::Package::find(args.web)?;
    let tries = package.is_some();
    let (library, tutorial) = package.map(|package| (package.library, package.tutorial)).unzip();
    config.pages = try_page::pages(library);
    config.pages.extend(tutorial_page::pages(tutorial.unwrap_or_default()));
    let server = Server::new(config).map_err(|error| Failure::new(error.to_string(), ""))?;
    let cannot = |error: std::io::Error| {
        let todo = match error.kind() {
            ErrorKind::AddrInUse => {
                "stop the program that uses it, or choose another with --listen (port 0 picks a free one)"
            }
            ErrorKind::AddrNotAvailable => "choose an address of this machine with --listen",
            ErrorKind::PermissionDenied => "choose a port above 1023 with --listen",
            _ => "choose another address with --listen",
        };
        Failure::new(format!("cannot listen on {}: {error}", args.listen), todo)
    };
    let listener = TcpListener::bind(&args.listen).map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let url = format!("http://{address}");
    // A server whose stdout nobody reads still serves.
    let _ = output.line(&format!("listening on {url}"), json!({ "event": "listening", "url": url }));
    if tries {
        // Stdout is for programs that wait for the line above.
        let _ = writeln!(std::io::stderr(), "two browsers, one link to cut: {url}/try");
    }
    server
        .run(listener, async move { stop.wished().await })
        .await
        .map_err(|error| Failure::new(error.to_string(), ""))
}
