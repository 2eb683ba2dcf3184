//! What a connection costs that does nothing, measured in processes of their own.

use std::process::Command;
use std::time::{Duration, Instant};

use everlink::DurableConnection;
use everlink::signaling::MemorySignaling;
use serde_json::{Value, json};

use super::ends::{client, connect, expose, on_a_runtime, transport};
use super::raw;
use super::report::{Report, Row, median};

/// What the system says of this process; zeroes where there is no `/proc`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Bytes of memory in use.
    pub resident: u64,
    pub descriptors: u64,
    /// Time of processors used.
    pub busy: Duration,
}

impl Process {
    pub fn now() -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let pages: u64 = read("statm").split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        // Nanoseconds on a processor of every thread; finer than the ticks in `stat`.
        let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let nanos = threads.filter_map(|thread| {
            let schedule = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            schedule.split(' ').next()?.parse::<u64>().ok()
        });
        let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
        Self { resident: pages * 4096, descriptors, busy: Duration::from_nanos(nanos.sum()) }
    }
}

/// Pairs whose processor time is measured.
const PAIRS: usize = 20;
/// Pairs beside which their memory is measured: what a process needs once is no pair's. One peer may
/// have 64 sessions at a service.
const MORE: usize = 60;

pub fn run(report: &mut Report, quick: bool) -> Result<(), String> {
    let seconds = if quick { 10 } else { 60 };
    let ours = measure("ours", PAIRS, seconds)?;
    let raw = measure("raw", PAIRS, seconds)?;
    let (more_ours, more_raw) = (measure("ours", MORE, 1)?, measure("raw", MORE, 1)?);
    let number = |value: &Value, key: &str| value[key].as_f64().unwrap_or(f64::NAN);
    let pairs = PAIRS as f64;
    let memory = |few: &Value, many: &Value| {
        (number(many, "resident") - number(few, "resident")) / (MORE - PAIRS) as f64 / 1024.0
    };
    report.row(&Row {
        what: "idle pair of ends, memory",
        unit: "KiB",
        ours: memory(&ours, &more_ours),
        raw: Some(memory(&raw, &more_raw)),
        as_it_comes: None,
        aim: "<= raw + 64 (32 an end)",
    });
    let busy = |value| number(value, "busy") / pairs / 2.0 * 100.0;
    report.row(&Row {
        what: "idle end, processor",
        unit: "% of a core",
        ours: busy(&ours),
        raw: Some(busy(&raw)),
        as_it_comes: None,
        aim: "<= 0.015",
    });
    report.row(&Row {
        what: "idle end, probes",
        unit: "a minute",
        ours: number(&ours, "probes") / pairs / 2.0 * 60.0,
        raw: None,
        as_it_comes: None,
        aim: "<= 4",
    });
    report.row(&Row {
        what: "first message after idleness, p50",
        unit: "ms",
        ours: number(&ours, "first_ms"),
        raw: None,
        as_it_comes: None,
        aim: "",
    });
    Ok(())
}

/// Runs this program again to measure `what` alone.
pub fn measure(what: &str, pairs: usize, seconds: u64) -> Result<Value, String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let output = Command::new(program)
        .args(["bench", "--child", &format!("{what}:{pairs}:{seconds}")])
        // Memory in use, and not what the allocator keeps for later.
        .envs([
            ("MALLOC_ARENA_MAX", "1"),
            ("MALLOC_TRIM_THRESHOLD_", "0"),
            ("MALLOC_MMAP_THRESHOLD_", "32768"),
        ])
        .output()
        .map_err(|error| format!("cannot run the measuring process: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).map_err(|_| format!("the measuring process failed: {}", output.status))
}

/// The measuring process: prints one JSON object.
pub fn child(what: &str) -> Result<(), String> {
    let bad = || format!("`{what}` is not something to measure");
    let mut parts = what.split(':');
    let mut part = || parts.next().ok_or_else(bad);
    let what = part()?;
    let pairs: usize = part()?.parse().map_err(|_| bad())?;
    let run = Duration::from_secs(part()?.parse().map_err(|_| bad())?);
    let before = Process::now();
    let (figures, rest) = match what {
        "ours" => on_a_runtime(ours(pairs, run, before)),
        "members" | "guests" => {
            let resident = on_a_runtime(super::tutorial::idle(pairs, what == "members", before))?;
            ((resident, 0.0), Rest::default())
        }
        "raw" => {
            let begun = std::thread::spawn(move || raw::idle(pairs, SETTLE * 2 + run));
            let figures = std::thread::spawn(move || sample(run, before)).join().map_err(|_| bad())?;
            begun.join().map_err(|_| bad())?;
            print(figures, Rest::default());
            return Ok(());
        }
        _ => return Err(bad()),
    };
    print(figures, rest);
    Ok(())
}

/// How long to wait until everything is open and quiet.
const SETTLE: Duration = Duration::from_secs(3);

/// Blocks: waits, and measures for `run`.
fn sample(run: Duration, before: Process) -> (u64, f64) {
    std::thread::sleep(SETTLE);
    let begun = Process::now();
    std::thread::sleep(run);
    figures(run, before, begun)
}

fn figures(run: Duration, before: Process, begun: Process) -> (u64, f64) {
    let now = Process::now();
    (now.resident.saturating_sub(before.resident), (now.busy - begun.busy).as_secs_f64() / run.as_secs_f64())
}

/// What only ours has.
#[derive(Default)]
struct Rest {
    /// Probes a second, of all ends together.
    probes: f64,
    /// How long the first message takes after all that idleness, in milliseconds.
    first_ms: f64,
}

fn print((resident, busy): (u64, f64), Rest { probes, first_ms }: Rest) {
    println!("{}", json!({ "resident": resident, "busy": busy, "probes": probes, "first_ms": first_ms }));
}

async fn ours(pairs: usize, run: Duration, before: Process) -> ((u64, f64), Rest) {
    let signaling = MemorySignaling::new();
    let (host, peer) = (client(&signaling, transport(None)), client(&signaling, transport(None)));
    let service = expose(&host).await;
    let mut kept = vec![];
    for _ in 0..pairs {
        kept.push(connect(&peer, &service).await);
    }
    tokio::time::sleep(SETTLE).await;
    let probes = |kept: &[(DurableConnection, DurableConnection)]| {
        let ends = kept.iter().flat_map(|(peer, host)| [peer, host]);
        ends.map(|end| end.stats().probes).sum::<u64>()
    };
    let (begun, probed) = (Process::now(), probes(&kept));
    tokio::time::sleep(run).await;
    let figures = figures(run, before, begun);
    let rate = (probes(&kept) - probed) as f64 / run.as_secs_f64();
    let mut took = vec![];
    for (at_peer, at_host) in &kept {
        let open = |connection: &DurableConnection| connection.open_channel("first").expect("a new channel");
        let (from, mut to) = (open(at_peer), open(at_host));
        let begun = Instant::now();
        from.send("awake?").await.expect("the connection lives");
        to.recv().await.expect("the connection lives");
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    drop(kept);
    peer.shutdown().await;
    host.shutdown().await;
    (figures, Rest { probes: rate, first_ms: median(took) })
}
