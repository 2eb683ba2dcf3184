//! A path that loses packets: how soon it is found dead, and how often wrongly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use everlink::signaling::MemorySignaling;
use everlink::testkit::{UdpProxy, Way};
use everlink::{ConnectionEvent, ConnectionState, DurableChannel, DurableConnection};

use super::ends::{client, connect, expose, on_a_runtime, transport};
use super::report::{Report, Row};

const LOSS: f64 = 0.05;
const DELAY: Duration = Duration::from_millis(20);
/// A message this often each way.
const EVERY: Duration = Duration::from_millis(100);

/// What was seen.
pub struct Seen {
    lasted: Duration,
    /// Alarms at both ends while the path was alive.
    alarms: u64,
    /// The longest wait for a message meanwhile.
    longest: Duration,
    /// How long after its end the path was taken for dead, each time.
    noticed: Vec<f64>,
    /// Messages lost, doubled or reordered.
    wrong: u64,
}

/// Begins to measure for so long, on a thread of its own: it waits most of the time.
pub fn begin(lasts: Duration, deaths: u32) -> std::thread::JoinHandle<Seen> {
    std::thread::spawn(move || on_a_runtime(measure(lasts, deaths)))
}

pub fn tell(report: &mut Report, seen: &Seen) {
    let minutes = seen.lasted.as_secs_f64() / 60.0;
    let mut row = |what: &str, unit: &str, ours: f64, aim: &str| {
        report.row(&Row { what, unit, ours, raw: None, as_it_comes: None, aim });
    };
    let latest = seen.noticed.iter().copied().fold(f64::NAN, f64::max);
    row(&format!("dead path noticed at 5 % loss, latest of {}", seen.noticed.len()), "s", latest, "<= 1.5");
    row(&format!("false alarms at 5 % loss in {minutes} min"), "", seen.alarms as f64, "0 in an hour");
    row("  longest wait for a message meanwhile", "s", seen.longest.as_secs_f64(), "");
    if seen.wrong > 0 {
        report.broken(format!("{} messages went wrong at 5 % loss", seen.wrong));
    }
}

async fn measure(lasts: Duration, deaths: u32) -> Seen {
    let (signaling, proxy) = (MemorySignaling::new(), UdpProxy::new(5));
    let host = client(&signaling, transport(None));
    let peer = client(&signaling, proxy.transport(transport(None)));
    let service = expose(&host).await;
    let (at_peer, at_host) = connect(&peer, &service).await;
    let open = |connection: &DurableConnection| connection.open_channel("numbers").expect("a new channel");
    let (ours, theirs) = (open(&at_peer), open(&at_host));
    proxy.update(Way::Both, |faults| (faults.loss, faults.delay) = (LOSS, DELAY));
    let alarms = [&at_peer, &at_host].map(count_alarms);
    let talk = Talk::default();
    let talking = [ours, theirs].map(|channel| tokio::spawn(talk.clone().run(channel)));

    tokio::time::sleep(lasts).await;
    let alarms = alarms.iter().map(|alarms| alarms.load(Ordering::Relaxed)).sum();
    let longest = Duration::from_micros(talk.longest.load(Ordering::Relaxed));
    let mut noticed = Vec::new();
    for round in 0..deaths {
        tokio::time::sleep(Duration::from_millis(1500 + 130 * u64::from(round))).await;
        let mut states = at_peer.clone();
        let died = Instant::now();
        proxy.blackout(true);
        while !matches!(states.state_changed().await, ConnectionState::Reconnecting { .. }) {}
        noticed.push(died.elapsed().as_secs_f64());
        proxy.blackout(false);
        while !matches!(states.state_changed().await, ConnectionState::Connected) {}
    }
    talk.stop.store(true, Ordering::Relaxed);
    let mut wrong = 0;
    for talking in talking {
        wrong += talking.await.expect("it does not panic");
    }
    peer.shutdown().await;
    host.shutdown().await;
    Seen { lasted: lasts, alarms, longest, noticed, wrong }
}

fn count_alarms(connection: &DurableConnection) -> Arc<AtomicU64> {
    let (mut events, alarms) = (connection.events(), Arc::<AtomicU64>::default());
    let counter = alarms.clone();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            let alarm = matches!(event, ConnectionEvent::Disconnected { .. });
            counter.fetch_add(u64::from(alarm), Ordering::Relaxed);
        }
    });
    alarms
}

#[derive(Clone, Default)]
struct Talk {
    stop: Arc<AtomicBool>,
    /// The longest wait for a message, in microseconds.
    longest: Arc<AtomicU64>,
}

impl Talk {
    /// Sends numbers, and reads those of the other end; returns how many of them went wrong.
    async fn run(self, channel: DurableChannel) -> u64 {
        let (sender, mut receiver) = channel.split();
        let send = async {
            let mut number = 0_u64;
            while !self.stop.load(Ordering::Relaxed) {
                sender.send(number.to_be_bytes().as_slice()).await.expect("the connection lives");
                number += 1;
                tokio::time::sleep(EVERY).await;
            }
            sender.close();
        };
        let read = async {
            let (mut number, mut wrong, mut since) = (0_u64, 0, Instant::now());
            while let Ok(message) = receiver.recv().await {
                wrong += u64::from(message.as_bytes() != number.to_be_bytes());
                number += 1;
                self.longest.fetch_max(since.elapsed().as_micros() as u64, Ordering::Relaxed);
                since = Instant::now();
            }
            wrong
        };
        tokio::join!(send, read).1
    }
}
