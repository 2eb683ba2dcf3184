//! How soon messages flow again: after the link was closed under the connection, after blackouts, over a bad path,
//! and a thousand times over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use everlink::link::webrtc::Impairment;
use everlink::signaling::MemorySignaling;
use everlink::signaling::directory::Limits;
use everlink::{DurableChannel, DurableConnection};

use super::ends::{client, connect, expose, on_a_runtime, transport};
use super::idle::Process;
use super::loss;
use super::raw::{self, Tuning};
use super::report::{Report, Row, median};
use everlink::testkit::Cuttable;

pub fn run(report: &mut Report, quick: bool, lossy: Duration) -> Result<(), String> {
    closed_under_us(report, quick);
    let lossy = loss::begin(lossy, if quick { 3 } else { 10 });
    let seconds: &[u64] = if quick { &[5] } else { &[5, 20, 75] };
    // Side by side: they wait most of the time. A plain program may never end, and is left behind.
    let runs = seconds.iter().map(|&seconds| {
        let ours = std::thread::spawn(move || on_a_runtime(blackout(seconds)));
        let (told, raw) = std::sync::mpsc::channel();
        std::thread::spawn(move || raw_blackout(seconds, told));
        (seconds, ours, raw)
    });
    let runs: Vec<_> = runs.collect();
    for (seconds, ours, raw) in runs {
        let ours = ours.join().map_err(|_| format!("the blackout of {seconds} s failed"))?;
        let raw = raw.recv_timeout(PATIENCE).unwrap_or(f64::INFINITY);
        let aim = match seconds {
            5 => "<= 0.7; raw 2.0",
            20 => "<= 1; raw 11",
            _ => "<= 2; raw never",
        };
        let what = format!("first message after a blackout of {seconds} s");
        report.row(&Row { what: &what, unit: "s", ours: ours.first, raw: Some(raw), as_it_comes: None, aim });
        let what = format!("  lost, doubled or reordered of {}", ours.sent);
        report.row(&Row {
            what: &what,
            unit: "messages",
            ours: ours.wrong as f64,
            raw: None,
            as_it_comes: None,
            aim: "0",
        });
        if ours.wrong > 0 {
            report.broken(format!("{} messages went wrong over a blackout of {seconds} s", ours.wrong));
        }
    }
    loss::tell(report, &lossy.join().map_err(|_| "the path that loses packets failed".to_owned())?);
    thousand(report, if quick { 100 } else { 1000 });
    Ok(())
}

/// Sends numbers every 5 ms and counts what arrives wrong.
struct Numbers {
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
    wrong: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    sender: tokio::task::JoinHandle<()>,
    receiver: tokio::task::JoinHandle<()>,
    arrivals: tokio::sync::mpsc::UnboundedReceiver<Instant>,
}

impl Numbers {
    fn start(from: DurableChannel, mut to: DurableChannel) -> Self {
        let (arrived, arrivals) = tokio::sync::mpsc::unbounded_channel();
        let [sent, received, wrong] = [(); 3].map(|()| Arc::new(AtomicU64::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let (count, stopped) = (sent.clone(), stop.clone());
        let sender = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let number = count.fetch_add(1, Ordering::Relaxed);
                from.send(number.to_be_bytes().as_slice()).await.expect("the connection lives");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            from.close();
        });
        let (count, faults) = (received.clone(), wrong.clone());
        let receiver = tokio::spawn(async move {
            while let Ok(message) = to.recv().await {
                let number = count.fetch_add(1, Ordering::Relaxed);
                if message.as_bytes() != number.to_be_bytes() {
                    faults.fetch_add(1, Ordering::Relaxed);
                }
                let _ = arrived.send(Instant::now());
            }
        });
        Self { sent, received, wrong, stop, sender, receiver, arrivals }
    }

    /// The time from `since` to the next arrival.
    async fn next(&mut self, since: Instant) -> f64 {
        while let Some(at) = self.arrivals.recv().await {
            if at >= since {
                return (at - since).as_secs_f64();
            }
        }
        f64::INFINITY
    }

    /// Lets everything arrive. Returns how many were sent and how many went wrong.
    async fn end(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.sender.await;
        let _ = tokio::time::timeout(Duration::from_secs(20), self.receiver).await;
        let sent = self.sent.load(Ordering::Relaxed);
        let missing = sent.abs_diff(self.received.load(Ordering::Relaxed));
        (sent, missing + self.wrong.load(Ordering::Relaxed))
    }
}

fn channels(peer: &DurableConnection, host: &DurableConnection) -> (DurableChannel, DurableChannel) {
    let open = |connection: &DurableConnection| connection.open_channel("numbers").expect("a new channel");
    (open(peer), open(host))
}

fn closed_under_us(report: &mut Report, quick: bool) {
    let cuts = if quick { 5 } else { 50 };
    let (times, sent, wrong) = on_a_runtime(async move {
        let signaling = MemorySignaling::new();
        let cuttable = Cuttable::new(transport(None));
        let (host, peer) = (client(&signaling, cuttable.clone()), client(&signaling, transport(None)));
        let service = expose(&host).await;
        let (at_peer, at_host) = connect(&peer, &service).await;
        let (from, to) = channels(&at_peer, &at_host);
        let mut numbers = Numbers::start(from, to);
        let mut times = vec![];
        for _ in 0..cuts {
            tokio::time::sleep(Duration::from_millis(60)).await;
            let begun = Instant::now();
            cuttable.cut().await;
            // What was under way when it closed does not count: only a new link carries more.
            let mut states = at_peer.clone();
            while states.stats().reconnects <= times.len() as u64 {
                states.state_changed().await;
            }
            let reconnected = Instant::now();
            times.push((reconnected - begun).as_secs_f64() + numbers.next(reconnected).await);
        }
        let (sent, wrong) = numbers.end().await;
        peer.shutdown().await;
        host.shutdown().await;
        (times, sent, wrong)
    });
    report.row(&Row {
        what: "first message after the remote end closed the link",
        unit: "s",
        ours: median(times),
        raw: None,
        as_it_comes: None,
        aim: "<= 0.5",
    });
    if wrong > 0 {
        report.broken(format!("{wrong} of {sent} messages went wrong when the link was closed"));
    }
}

struct Outcome {
    first: f64,
    sent: u64,
    wrong: u64,
}

async fn blackout(seconds: u64) -> Outcome {
    let signaling = MemorySignaling::new();
    let impairment = Impairment::new(0);
    let (host, peer) =
        (client(&signaling, transport(Some(&impairment))), client(&signaling, transport(Some(&impairment))));
    let service = expose(&host).await;
    let (at_peer, at_host) = connect(&peer, &service).await;
    let (from, to) = channels(&at_peer, &at_host);
    let mut numbers = Numbers::start(from, to);
    tokio::time::sleep(Duration::from_secs(1)).await;
    impairment.set_blackout(true);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let healed = Instant::now();
    impairment.set_blackout(false);
    let first = numbers.next(healed).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (sent, wrong) = numbers.end().await;
    peer.shutdown().await;
    host.shutdown().await;
    Outcome { first, sent, wrong }
}

/// How long after healing a plain program may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The same for a plain program: tells the seconds from healing to the next message.
fn raw_blackout(seconds: u64, told: std::sync::mpsc::Sender<f64>) {
    let impairment = raw::impairment::Impairment::new(0);
    let switch = impairment.clone();
    let lasts = Duration::from_secs(seconds);
    let ((), ()) = raw::between(
        Tuning::Alike,
        Some(impairment),
        move |end| {
            Box::pin(async move {
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_secs(1) + lasts + PATIENCE {
                    end.send(BytesMut::zeroed(8)).await;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        },
        move |end| {
            Box::pin(async move {
                let switched = async {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    switch.set_blackout(true);
                    tokio::time::sleep(lasts).await;
                    switch.set_blackout(false);
                    Instant::now()
                };
                let mut switched = std::pin::pin!(switched);
                let healed = loop {
                    tokio::select! {
                        healed = &mut switched => break healed,
                        _ = end.recv() => {}
                    }
                };
                if let Ok(Some(_)) = tokio::time::timeout(PATIENCE, end.recv()).await {
                    let _ = told.send(healed.elapsed().as_secs_f64());
                }
            })
        },
    );
}

/// Closes the link a thousand times and looks what stays.
fn thousand(report: &mut Report, reconnects: u64) {
    let (before, after, tasks) = on_a_runtime(async move {
        // Nobody may ask the directory that often, so this one lets everybody.
        let mut limits = Limits::default();
        limits.requests_per_minute = u32::MAX;
        let signaling = MemorySignaling::with_limits(limits);
        let cuttable = Cuttable::new(transport(None));
        let (host, peer) = (client(&signaling, cuttable.clone()), client(&signaling, transport(None)));
        let service = expose(&host).await;
        let (at_peer, at_host) = connect(&peer, &service).await;
        let (from, mut to) = channels(&at_peer, &at_host);
        let metrics = tokio::runtime::Handle::current().metrics();
        let warm = reconnects / 5;
        let (mut before, mut tasks) = (Process::now(), [0; 2]);
        for at in 0..reconnects + warm {
            if at == warm {
                before = Process::now();
                tasks[0] = metrics.num_alive_tasks();
            }
            cuttable.cut().await;
            from.send(at.to_be_bytes().as_slice()).await.expect("the connection lives");
            let message = to.recv().await.expect("the connection lives");
            assert_eq!(message.as_bytes(), at.to_be_bytes(), "a message went wrong");
        }
        // An offer that was taken and never answered is kept for half a minute, and then released.
        let mut after = Process::now();
        for _ in 0..45 {
            tasks[1] = metrics.num_alive_tasks();
            after = Process::now();
            if tasks[1] <= tasks[0] && after.descriptors <= before.descriptors {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        peer.shutdown().await;
        host.shutdown().await;
        (before, after, tasks)
    });
    let mut grown = |what: &str, unit: &str, from: f64, to: f64, allowed: f64| {
        let what = format!("{reconnects} reconnects: {what}");
        report.row(&Row { what: &what, unit, ours: to - from, raw: None, as_it_comes: None, aim: "flat" });
        if to - from > allowed {
            report.broken(format!("{what} grew from {from} to {to}"));
        }
    };
    grown(
        "resident memory grown by",
        "KiB",
        before.resident as f64 / 1024.0,
        after.resident as f64 / 1024.0,
        16384.0,
    );
    grown("descriptors grown by", "", before.descriptors as f64, after.descriptors as f64, 8.0);
    grown("tasks grown by", "", tasks[0] as f64, tasks[1] as f64, 8.0);
}
