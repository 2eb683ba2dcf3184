//! A host or a peer of a soak, as a process of its own: sends numbers both ways, writes down what
//! happens, and does to its own network what it is told on stdin.

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use everlink::link::webrtc::{WebRtcConfig, WebRtcTransport};
use everlink::signaling::{HttpSignaling, ServiceUuid};
use everlink::testkit::{Cuttable, Faults, Happened, History, UdpProxy, Way};
use everlink::{
    ChannelConfig, ChannelEvent, ChannelReceiver, ChannelSender, Client, ConnectionConfig, DurableConnection,
    Identity, PublicKey, QueueConfig, Receipt, ServiceConfig, Target, WhenFull,
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::WorkerArgs;
use super::plan::{Storm, Who};
use crate::args::Serve;
use crate::failure::Failure;
use crate::output::Output;
use crate::serve;

/// The channel that never drops.
const MAIN: &str = "main";
/// The channel whose queue is small on purpose.
const SMALL: &str = "small";
/// Messages a second on it.
const SMALL_RATE: f64 = 50.0;
/// Every so many messages one is large and travels in pieces.
const LARGE_EVERY: u64 = 500;

struct Worker {
    history: History,
    links: Cuttable,
    proxy: UdpProxy,
    /// Messages of this process so far.
    sent: watch::Sender<u64>,
    received: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    /// Numbers of this life begin here.
    first: u64,
    rate: f64,
}

/// One event for the soak, which reads stdout.
fn say(event: Value) {
    let mut line = event.to_string();
    line.push('\n');
    // Nobody reads any more: the soak is gone, and so is the reason to live.
    if std::io::stdout().lock().write_all(line.as_bytes()).is_err() {
        std::process::exit(1);
    }
}

/// `everlink serve`, but that it ends with the soak.
pub async fn run_server(args: &WorkerArgs, output: Output) -> Result<(), Failure> {
    let _commands = commands();
    let data = Some(args.work_dir.join("server.data"));
    serve::run(Serve { listen: args.server.clone(), data, web: None }, output).await
}

pub async fn run(role: Who, args: &WorkerArgs) -> Result<(), Failure> {
    let fail = |error: &dyn std::fmt::Display| Failure::new(error.to_string(), "");
    let path = |name: &str| args.work_dir.join(format!("{}{name}", role.name()));
    let identity = Identity::load_or_create(path(".key")).map_err(|error| fail(&error))?;
    let signaling = HttpSignaling::new(&args.server).map_err(|error| fail(&error))?;
    let other: PublicKey = args.other.parse().map_err(|error: everlink::ParseKeyError| fail(&error))?;
    let proxy = UdpProxy::new(args.worker_seed);
    let webrtc = WebRtcTransport::new(WebRtcConfig::loopback());
    // One proxy is the whole path.
    let links = match role {
        Who::Peer => Cuttable::new(proxy.transport(webrtc)),
        _ => Cuttable::new(webrtc),
    };
    let builder = Client::builder(identity).signaling(signaling).transport(links.clone());
    let client = super::stored(builder, &path(".store"))?.build();
    let worker = Arc::new(Worker {
        history: History::open(path(".history")).map_err(|error| fail(&error))?,
        links,
        proxy,
        sent: watch::Sender::new(0),
        received: watch::Sender::new(0),
        stop: watch::Sender::new(false),
        first: args.life << 32,
        rate: args.rate,
    });

    let mut commands = commands();
    let (found, mut connections) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    match role {
        Who::Peer => {
            let uuid: ServiceUuid = args.uuid.parse().map_err(|_| fail(&"--uuid is no uuid"))?;
            let connection = client.connect_lazy(Target::Uuid(uuid), connection_config());
            let _ = found.send(connection).await;
        }
        _ => drop(tasks.spawn(expose(client.clone(), other, found.clone()))),
    }
    tasks.spawn(progress(worker.clone()));
    let mut current: Option<DurableConnection> = None;
    loop {
        tokio::select! {
            Some(connection) = connections.recv() => {
                current = Some(connection.clone());
                tasks.spawn(talk(worker.clone(), connection));
            }
            Some(command) = commands.recv() => match command.split_whitespace().collect::<Vec<_>>()[..] {
                ["quit"] => break,
                ["stop"] => drop(worker.stop.send_replace(true)),
                ["state"] => {
                    let reconnects = current.as_ref().map(|connection| connection.stats().reconnects);
                    say(json!({ "event": "state", "reconnects": reconnects }));
                }
                ref fault => {
                    let fault: Vec<String> = fault.iter().map(|word| (*word).to_owned()).collect();
                    tasks.spawn(suffer(worker.clone(), current.clone(), fault));
                }
            },
            Some(Err(error)) = tasks.join_next() => return Err(fail(&error)),
        }
    }
    client.shutdown().await;
    Ok(())
}

fn connection_config() -> ConnectionConfig {
    let mut config = ConnectionConfig::default();
    config.backoff.max_attempts = None;
    config.queue = QueueConfig::lossless();
    config
}

/// Lines of stdin. When it ends, so does this process: the soak is gone.
fn commands() -> mpsc::Receiver<String> {
    let (sender, commands) = mpsc::channel(64);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
        std::process::exit(1);
    });
    commands
}

/// Exposes the service, however long the server is away, and passes on the sessions of `other`.
async fn expose(client: Client, other: PublicKey, found: mpsc::Sender<DurableConnection>) {
    let mut config = ServiceConfig::new(
        "soak".parse().expect("a username"),
        "numbers@1.0.0".parse().expect("a service's name"),
    );
    config.connection = connection_config();
    let service = loop {
        match client.expose_service(config.clone()).await {
            Ok(service) => break service,
            Err(error) => say(json!({ "event": "note", "text": format!("not exposed: {error}") })),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    say(json!({ "event": "exposed", "uuid": service.info().uuid }));
    while let Some(connection) = service.accept().await {
        // Others only look whether the service is there.
        if connection.peer() != other {
            // Dropping it would keep its session in the store.
            tokio::spawn(async move { drop(connection.close().await) });
        } else if found.send(connection).await.is_err() {
            return;
        }
    }
}

async fn progress(worker: Arc<Worker>) {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (sent, received) = (*worker.sent.borrow(), *worker.received.borrow());
        say(json!({ "event": "progress", "sent": sent, "received": received }));
    }
}

/// Sends and receives on both channels until everything has arrived or the connection ends.
async fn talk(worker: Arc<Worker>, connection: DurableConnection) {
    let mut small = QueueConfig::default();
    (small.max_messages, small.when_full) = (20, WhenFull::DropOldest);
    let mut tasks = JoinSet::new();
    let mut senders = Vec::new();
    for (label, queue, rate) in [(MAIN, QueueConfig::lossless(), worker.rate), (SMALL, small, SMALL_RATE)] {
        let channel = match connection.open_channel_with(label, ChannelConfig::queue(queue)) {
            Ok(channel) => channel,
            Err(error) => return say(json!({ "event": "lost", "reason": error.to_string() })),
        };
        tasks.spawn(watch_gaps(worker.clone(), label, channel.events()));
        let (sender, receiver) = channel.split();
        tasks.spawn(receive(worker.clone(), label, receiver));
        let (taken, receipts) = mpsc::channel(4096);
        let (stored, waiting) = mpsc::channel(4096);
        let mut sending = JoinSet::new();
        sending.spawn(send(worker.clone(), label, sender.clone(), rate, taken));
        sending.spawn(store(worker.clone(), label, receipts, stored));
        sending.spawn(acknowledge(worker.clone(), label, waiting));
        senders.push((sender, sending));
    }
    let drained = async {
        for (sender, mut sending) in senders {
            while sending.join_next().await.is_some() {}
            // What an earlier process queued, too.
            while sender.buffered().messages > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        say(json!({ "event": "drained" }));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = drained => {}
        reason = connection.closed() => {
            write(worker.history.record(Happened::SessionLost));
            say(json!({ "event": "lost", "reason": reason.to_string() }));
        }
    }
}

/// A history with holes proves nothing.
fn write(written: std::io::Result<()>) {
    if let Err(error) = written {
        say(json!({ "event": "lost", "reason": format!("the history cannot be written: {error}") }));
        std::process::exit(1);
    }
}

/// The number, and then a length and bytes that follow from it.
fn payload(number: u64) -> Vec<u8> {
    let length = match number % LARGE_EVERY {
        LARGE_EVERY_REST => 150_000,
        other => 8 + (other as usize * 37) % 300,
    };
    let mut bytes = vec![number as u8; length];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

const LARGE_EVERY_REST: u64 = LARGE_EVERY - 1;

async fn send(
    worker: Arc<Worker>,
    channel: &'static str,
    sender: ChannelSender,
    rate: f64,
    taken: mpsc::Sender<(u64, Receipt)>,
) {
    let (begun, mut count) = (Instant::now(), 0);
    let mut stop = worker.stop.subscribe();
    loop {
        let due = (begun.elapsed().as_secs_f64() * rate) as u64 + 1;
        while count < due && !*stop.borrow() {
            let message = worker.first + count;
            count += 1;
            write(worker.history.record(Happened::Sending { channel, message }));
            match sender.send(payload(message)).await {
                Ok(receipt) => {
                    write(worker.history.record(Happened::Sent { channel, message, seq: receipt.seq() }));
                    worker.sent.send_modify(|sent| *sent += 1);
                    if taken.send((message, receipt)).await.is_err() {
                        return;
                    }
                }
                Err(_) => {
                    write(worker.history.record(Happened::Refused { channel, message }));
                    return;
                }
            }
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(Duration::from_millis(5)) => {}
        }
    }
}

async fn store(
    worker: Arc<Worker>,
    channel: &'static str,
    mut receipts: mpsc::Receiver<(u64, Receipt)>,
    stored: mpsc::Sender<(u64, Receipt)>,
) {
    while let Some((message, receipt)) = receipts.recv().await {
        match receipt.stored().await {
            Ok(()) => write(worker.history.record(Happened::Stored { channel, message })),
            Err(error) => write(worker.history.record(Happened::Dropped { channel, message, error: &error })),
        }
        if stored.send((message, receipt)).await.is_err() {
            return;
        }
    }
}

async fn acknowledge(
    worker: Arc<Worker>,
    channel: &'static str,
    mut waiting: mpsc::Receiver<(u64, Receipt)>,
) {
    while let Some((message, receipt)) = waiting.recv().await {
        match receipt.acked().await {
            Ok(()) => write(worker.history.record(Happened::Acked { channel, message })),
            Err(error) => write(worker.history.record(Happened::Dropped { channel, message, error: &error })),
        }
    }
}

async fn receive(worker: Arc<Worker>, channel: &'static str, mut receiver: ChannelReceiver) {
    let mut first = true;
    loop {
        let received = match receiver.recv().await {
            Ok(received) => received,
            Err(error) => {
                return say(json!({ "event": "note", "text": format!("{channel} ended: {error}") }));
            }
        };
        let bytes = received.as_bytes();
        let number = bytes.first_chunk().map(|number| u64::from_be_bytes(*number));
        let Some(message) = number.filter(|number| bytes == payload(*number)) else {
            say(json!({ "event": "lost", "reason": "a message arrived that was never sent so" }));
            return;
        };
        write(worker.history.record(Happened::Received { channel, message }));
        if std::mem::take(&mut first) && *worker.received.borrow() == 0 {
            say(json!({ "event": "first" }));
        }
        worker.received.send_modify(|received| *received += 1);
    }
}

async fn watch_gaps(worker: Arc<Worker>, channel: &'static str, mut events: everlink::Events<ChannelEvent>) {
    while let Some(event) = events.next().await {
        match event {
            ChannelEvent::Gap { from, to, cause } => {
                write(worker.history.record(Happened::Gap { channel, from, to, cause }));
            }
            ChannelEvent::Lagged { missed } => {
                say(json!({ "event": "note", "text": format!("{missed} events of {channel} were missed") }));
            }
            _ => {}
        }
    }
}

/// Does to the network what it is told, and tells how long the first message after it took.
async fn suffer(worker: Arc<Worker>, connection: Option<DurableConnection>, fault: Vec<String>) {
    write(worker.history.record(Happened::Note(&fault.join(" "))));
    let words: Vec<&str> = fault.iter().map(String::as_str).collect();
    let mut since = Instant::now();
    let mut recovered = json!({ "event": "recovered" });
    let reconnects =
        |connection: &Option<DurableConnection>| connection.as_ref().map_or(0, |at| at.stats().reconnects);
    match words[..] {
        ["cut"] => {
            let before = reconnects(&connection);
            let closed = worker.links.cut().await;
            // What was under way does not count: only a new link carries more.
            if let Some(mut connection) = connection.filter(|_| closed > 0) {
                while connection.stats().reconnects <= before {
                    tokio::select! {
                        _ = connection.state_changed() => {}
                        () = tokio::time::sleep(Duration::from_millis(50)) => {}
                    }
                }
            }
        }
        ["dark", millis] => {
            let lasts = Duration::from_millis(millis.parse().unwrap_or(0));
            worker.proxy.blackout(true);
            tokio::time::sleep(lasts).await;
            worker.proxy.blackout(false);
            since = Instant::now();
        }
        ["rebind"] => {
            worker.proxy.rebind();
            since = Instant::now();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ["storm", ..] => {
            let Some(storm) = Storm::parse(&fault.join(" ")) else {
                return say(json!({ "event": "note", "text": "not a storm" }));
            };
            let (before, packets) = (reconnects(&connection), worker.proxy.stats());
            worker.proxy.update(Way::Both, |faults| {
                (faults.loss, faults.reorder) = (storm.loss, storm.reorder);
                (faults.delay, faults.jitter) = (storm.delay, storm.jitter);
                faults.duplicate = storm.duplicate;
            });
            tokio::time::sleep(storm.lasts).await;
            // A blackout that began meanwhile goes on.
            worker.proxy.update(Way::Both, |faults| {
                let dark = faults.blackout;
                *faults = Faults::default();
                faults.blackout = dark;
            });
            since = Instant::now();
            let now = worker.proxy.stats();
            recovered["packets_lost"] = (now.lost - packets.lost).into();
            recovered["packets_doubled"] = (now.doubled - packets.doubled).into();
            recovered["reconnects"] = reconnects(&connection).saturating_sub(before).into();
        }
        _ => return say(json!({ "event": "note", "text": "an unknown command" })),
    }
    let mut received = worker.received.subscribe();
    received.borrow_and_update();
    if received.changed().await.is_ok() {
        recovered["seconds"] = since.elapsed().as_secs_f64().into();
        say(recovered);
    }
}
