//! `everlink bench`: what the connection costs and gives, each figure beside that of a plain
//! program on the same WebRTC stack, measured in turn in the same run.
//!
//! The two ends of a pair are threads with a current-thread runtime each, here as in [`raw`].
//! Machines are noisy: what counts is the ratio of the medians.

mod connect;
mod ends;
mod idle;
mod loss;
mod raw;
mod recovery;
mod report;
mod store;
mod stream;
mod tutorial;

use report::Report;

/// Arguments of `everlink bench`.
#[derive(clap::Args, Clone, Debug)]
pub struct BenchArgs {
    /// One short round of everything but the long blackouts (about a minute).
    #[arg(long)]
    quick: bool,
    /// Only these parts: connect, recovery, stream, store, idle, tutorial.
    #[arg(long, value_delimiter = ',', value_parser = PARTS)]
    only: Vec<String>,
    /// Where the stores are that are measured. The default is the system's directory for temporary files.
    #[arg(long, value_name = "DIR")]
    dir: Option<std::path::PathBuf>,
    /// For how many minutes to count false alarms at 5 % packet loss. The default is 1, or 0.25 with `--quick`;
    /// what must hold is none in 60.
    #[arg(long, value_name = "MINUTES", value_parser = minutes)]
    loss_minutes: Option<f64>,
    /// Measures this process for another one.
    #[arg(long, hide = true)]
    child: Option<String>,
}

const PARTS: [&str; 6] = ["connect", "recovery", "stream", "store", "idle", "tutorial"];

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(minutes) if minutes > 0.0 && minutes <= 1440.0 => Ok(minutes),
        _ => Err("write a number of minutes above 0, up to 1440".to_owned()),
    }
}

impl BenchArgs {
    /// For how long packets are lost.
    fn lossy(&self) -> std::time::Duration {
        let minutes = self.loss_minutes.unwrap_or(if self.quick { 0.25 } else { 1.0 });
        std::time::Duration::from_secs_f64(minutes * 60.0)
    }
}

/// Measures and prints. An error says in one line what did not work.
pub fn run(args: &BenchArgs, json: bool) -> Result<(), String> {
    if let Some(child) = &args.child {
        return idle::child(child);
    }
    let mut report = Report::new(json);
    let wanted = |part: &str| args.only.is_empty() || args.only.iter().any(|only| only == part);
    if wanted("connect") {
        connect::run(&mut report, args.quick)?;
    }
    if wanted("stream") {
        stream::run(&mut report, args.quick);
    }
    if wanted("store") {
        store::run(&mut report, args.quick, args.dir.as_deref())?;
    }
    if wanted("recovery") {
        recovery::run(&mut report, args.quick, args.lossy())?;
    }
    if wanted("idle") {
        idle::run(&mut report, args.quick)?;
    }
    if wanted("tutorial") {
        tutorial::run(&mut report, args.quick)?;
    }
    report.end()
}
