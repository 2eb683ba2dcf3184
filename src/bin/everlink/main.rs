//! The `everlink` program: a signaling server, hosts and peers for the command line, a
//! demonstration and a benchmark.
//!
//! Results go to stdout, everything else to stderr. It ends with 0 when it has done what it was
//! asked, with 1 and one line that says why and what to do when it could not, and with 2 when it
//! did not understand.

// What the lint keeps out of the library's pure modules is this program's own business: it runs on
// tokio, owns its tasks by `JoinSet`s and measures by the real clock.
#![allow(clippy::disallowed_methods)]

mod args;
mod bench;
mod connect;
mod demo;
mod expose;
mod failure;
mod input;
mod notices;
mod output;
mod pipe;
mod publish;
mod serve;
mod soak;
mod stop;
mod transfer;
mod tutorial;
mod whoami;

use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command, TutorialCommand};
use crate::failure::Failure;
use crate::output::Output;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return failure::usage(&error),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(log).init();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Where logs go: nowhere while a screen is drawn where they would be seen.
fn log() -> Box<dyn std::io::Write> {
    use std::io::IsTerminal as _;
    let stderr = std::io::stderr();
    if tutorial::terminal::is_taken() && stderr.is_terminal() {
        Box::new(std::io::sink())
    } else {
        Box::new(stderr)
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let output = Output::new(args.json);
    match args.command {
        Command::Serve(args) => on_tokio(serve::run(args, output)),
        Command::Expose(args) => on_tokio(expose::run(args, output)),
        Command::Connect(args) => on_tokio(connect::run(args, output)),
        Command::Send(args) => on_tokio(transfer::send::run(args, output)),
        Command::Recv(args) => on_tokio(transfer::recv::run(args, output)),
        Command::Whoami(args) => whoami::run(&args, output),
        Command::Tutorial(args) => match args.command {
            TutorialCommand::Host(args) => on_tokio(tutorial::host::run(args, output)),
            TutorialCommand::Follow(args) => on_tokio(tutorial::follow::run(args, output)),
        },
        Command::Demo => on_tokio(demo::run(output)),
        Command::Soak(args) => on_tokio(soak::run(args, output)),
        Command::Bench(args) => bench::run(&args, output.json).map_err(|what| Failure::new(what, "")),
    }
}

/// Runs `work` and drops whatever outlives it, such as a thread that waits for stdin.
fn on_tokio<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::new(format!("cannot start: {error}"), "raise the limit of threads or descriptors")
    })?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}
