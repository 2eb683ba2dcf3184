//! `everlink soak`: real processes, killed and cut off at random moments, and a judge who reads
//! what both ends wrote down.

mod figures;
mod plan;
mod processes;
mod run;
mod worker;

use std::path::{Path, PathBuf};
use std::time::Duration;

use everlink::ClientBuilder;
use everlink::store::FileStore;

use self::plan::Who;
use crate::failure::Failure;
use crate::output::Output;

/// Arguments of `everlink soak`.
#[derive(clap::Args, Clone, Debug)]
pub struct SoakArgs {
    /// Where chance begins; the default is another one each time, and is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Over how many minutes the messages and faults are spread. It ends when all of them have been.
    #[arg(long, default_value = "40", value_parser = minutes)]
    minutes: f64,
    /// How many messages at least, both directions together.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// How often a process is killed: host and peer twice as often as the server.
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// How often the link is cut: closed at either end, left in the dark, or moved to another port.
    #[arg(long, default_value_t = 1000)]
    cuts: u32,
    /// How often the path is bad for up to four seconds: it loses, delays, doubles and reorders packets.
    #[arg(long, default_value_t = 100)]
    storms: u32,
    /// Where keys, stores and histories go. The default is a directory for temporary files, which is
    /// removed if no promise was broken.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Is one of the processes of a soak.
    #[arg(long, hide = true, value_parser = role, requires = "work_dir")]
    worker: Option<Who>,
    #[command(flatten)]
    of_worker: WorkerArgs,
}

/// What a worker needs to know.
#[derive(clap::Args, Clone, Debug)]
pub struct WorkerArgs {
    #[arg(long, hide = true, default_value = ".")]
    work_dir: PathBuf,
    #[arg(long, hide = true, default_value = "")]
    server: String,
    #[arg(long, hide = true, default_value = "")]
    uuid: String,
    #[arg(long, hide = true, default_value = "")]
    other: String,
    #[arg(long, hide = true, default_value_t = 0)]
    life: u64,
    #[arg(long, hide = true, default_value_t = 1.0)]
    rate: f64,
    #[arg(long, hide = true, default_value_t = 0)]
    worker_seed: u64,
}

fn role(text: &str) -> Result<Who, String> {
    match text {
        "server" => Ok(Who::Server),
        "host" => Ok(Who::Host),
        "peer" => Ok(Who::Peer),
        _ => Err("server, host or peer".to_owned()),
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if minutes > 0.0 && minutes <= 10_080.0 => Ok(minutes),
        _ => Err("write a number of minutes above 0, up to 10080".to_owned()),
    }
}

/// A builder whose sessions outlive the process.
fn stored(builder: ClientBuilder, path: &Path) -> Result<ClientBuilder, Failure> {
    let store = FileStore::open(path)?;
    Ok(builder.store(store))
}

/// Runs a soak, or one of its workers.
pub async fn run(args: SoakArgs, output: Output) -> Result<(), Failure> {
    match args.worker {
        Some(Who::Server) => worker::run_server(&args.of_worker, output).await,
        Some(role) => worker::run(role, &args.of_worker).await,
        None => run::run(&args, output).await,
    }
}

impl SoakArgs {
    fn lasts(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }
}
