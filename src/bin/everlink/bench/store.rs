//! What a persistent store costs, and how soon a killed process is back.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use everlink::store::FileStore;

use super::report::{Report, Row, median, quantile};
use super::stream::throughput;

/// Far more than a restart takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory that goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new(within: Option<&Path>) -> Result<Self, String> {
        let within = within.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let path = within.join(format!("everlink-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn run(report: &mut Report, quick: bool, directory: Option<&Path>) -> Result<(), String> {
    let scratch = Scratch::new(directory)?;
    stored_throughput(report, quick, &scratch)?;
    restarts(report, quick, &scratch)
}

fn stored_throughput(report: &mut Report, quick: bool, scratch: &Scratch) -> Result<(), String> {
    let (rounds, run) = if quick { (1, Duration::from_secs(2)) } else { (5, Duration::from_secs(4)) };
    let open = |name: &str| FileStore::open(scratch.path(name)).map_err(|error| error.to_string());
    let (mut stored, mut in_memory, mut sender) = (vec![], vec![], vec![]);
    for _ in 0..rounds {
        in_memory.push(throughput(1024, run, Duration::ZERO, [None, None]).messages);
        let stores = [Some(open("peer")?), Some(open("host")?)];
        stored.push(throughput(1024, run, Duration::ZERO, stores).messages);
        sender.push(throughput(1024, run, Duration::ZERO, [Some(open("peer")?), None]).messages);
    }
    let memory = Some(median(in_memory));
    let what = "1 KiB messages, stores at both ends (raw: memory only)";
    let aim = ">= 50 % of memory only, >= 20000";
    report.row(&Row { what, unit: "1/s", ours: median(stored), raw: memory, as_it_comes: None, aim });
    let what = "  a store at the sender alone";
    report.row(&Row { what, unit: "1/s", ours: median(sender), raw: memory, as_it_comes: None, aim: "-" });
    Ok(())
}

/// A process of this program, killed with its owner.
struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Process {
    fn start(args: &[&str]) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|error| format!("no process: {error}"))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a process without pipes".to_owned());
        };
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, stdin, lines })
    }

    fn write(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.stdin, "{line}").map_err(|error| format!("a peer does not read: {error}"))
    }

    /// Waits for a line that begins so, and returns the rest of it.
    fn until(&self, begin: &str) -> Result<String, String> {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).map_err(|_| format!("`{begin}` never came"))?;
            if let Some(rest) = line.strip_prefix(begin) {
                return Ok(rest.to_owned());
            }
        }
    }

    fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills host and peer (`kill -9`) and starts them again at once: from the start of the process
/// to the first message at the host.
fn restarts(report: &mut Report, quick: bool, scratch: &Scratch) -> Result<(), String> {
    let rounds = if quick { 3 } else { 20 };
    let server = Process::start(&["serve", "--listen", "127.0.0.1:0"])?;
    let url = server.until("listening on ")?;
    let (host_store, peer_store, key) =
        (scratch.path("host.cli"), scratch.path("peer.cli"), scratch.path("key"));
    let expose =
        ["expose", "bench/restart@1.0.0", "--server", &url, "--store", &host_store, "--identity", &key];
    let mut host = Process::start(&expose)?;
    let uuid = host.until("service ")?;
    let connect = ["connect", &uuid, "--server", &url, "--store", &peer_store];
    let mut peer = Process::start(&connect)?;
    let (mut of_host, mut of_peer) = (vec![], vec![]);
    for round in 0..rounds {
        peer.write(&format!("before {round}"))?;
        host.until(&format!("before {round}"))?;
        host.kill();
        peer.write(&format!("host {round}"))?;
        let begun = Instant::now();
        host = Process::start(&expose)?;
        host.until(&format!("host {round}"))?;
        of_host.push(begun.elapsed().as_secs_f64());

        peer.kill();
        let begun = Instant::now();
        peer = Process::start(&connect)?;
        peer.write(&format!("peer {round}"))?;
        host.until(&format!("peer {round}"))?;
        of_peer.push(begun.elapsed().as_secs_f64());
    }
    for (who, times) in [("host", of_host), ("peer", of_peer)] {
        let slowest = quantile(times.iter().copied(), 1.0);
        let what = format!("{who} killed and restarted -> first message, p50");
        let (ours, aim) = (median(times), "<= 2");
        report.row(&Row { what: &what, unit: "s", ours, raw: None, as_it_comes: None, aim });
        let what = "  the slowest".to_owned();
        report.row(&Row { what: &what, unit: "s", ours: slowest, raw: None, as_it_comes: None, aim });
    }
    Ok(())
}
