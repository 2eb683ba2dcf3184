//! `everlink demo`: the main job before one's eyes. A signaling server, a host and a peer in this
//! process, real WebRTC on loopback, and three ways to lose a link.

use std::io::{IsTerminal as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use everlink::link::webrtc::{Impairment, WebRtcConfig, WebRtcTransport};
use everlink::signaling::HttpSignaling;
use everlink::signaling::server::{Server, ServerConfig};
use everlink::{
    ChannelReceiver, ChannelSender, Client, ConnectionConfig, ConnectionEvent, DurableConnection, Identity,
    QueueConfig, ServiceConfig, Target,
};
use serde_json::json;

use crate::failure::Failure;
use crate::notices;
use crate::output::{Output, is_broken_pipe};
use everlink::testkit::Cuttable;

/// Messages each way.
const COUNT: u64 = 3000;
/// Between two messages, so that every cut falls among them.
const PACE: Duration = Duration::from_millis(2);
/// However slow the machine, it ends.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run(output: Output) -> Result<(), Failure> {
    let shown = tokio::time::timeout(PATIENCE, show(output)).await;
    shown.unwrap_or_else(|_| Err(failed("the messages did not arrive within a minute")))
}

fn failed(what: impl Into<String>) -> Failure {
    Failure::new(what, "RUST_LOG=debug shows more")
}

/// That nobody reads any more is no reason to stop: the exit code still tells the outcome.
fn written(line: std::io::Result<()>) -> Result<(), Failure> {
    match line {
        Err(error) if !is_broken_pipe(&error) => Err(failed(format!("cannot write: {error}"))),
        _ => Ok(()),
    }
}

/// Prints what happens, with the time since the beginning.
struct Stage {
    output: Output,
    begun: Instant,
    /// The line that is redrawn on a terminal.
    progress: bool,
}

impl Stage {
    fn says(&self, text: &str) -> Result<(), Failure> {
        if self.progress {
            eprint!("\r\x1b[K");
        }
        let at = self.begun.elapsed().as_secs_f64();
        written(self.output.line(&format!("{at:7.3} s  {text}"), json!({ "at": at, "event": text.trim() })))
    }

    fn progress(&self, there: &Tally, back: &Tally) {
        if self.progress {
            let (there, back) = (there.received(), back.received());
            eprint!("\r           host has {there:>4} of {COUNT}, peer has {back:>4} of {COUNT} ");
            let _ = std::io::stderr().flush();
        }
    }
}

/// What arrived at one end.
#[derive(Clone, Default)]
struct Tally(Arc<[AtomicU64; 3]>);

impl Tally {
    fn received(&self) -> u64 {
        self.0[0].load(Ordering::Relaxed)
    }

    fn doubled(&self) -> u64 {
        self.0[1].load(Ordering::Relaxed)
    }

    fn reordered(&self) -> u64 {
        self.0[2].load(Ordering::Relaxed)
    }

    /// Counts until the last number has come, and a moment longer for what should not come.
    async fn count(self, mut from: ChannelReceiver) {
        let mut seen = vec![false; COUNT as usize];
        let mut next = 0;
        loop {
            let wait = if self.received() < COUNT { PATIENCE } else { Duration::from_millis(300) };
            let Ok(Ok(message)) = tokio::time::timeout(wait, from.recv()).await else { return };
            let number: u64 = message.as_text().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
            match seen.get_mut(number as usize) {
                Some(seen) if !*seen => {
                    *seen = true;
                    self.0[0].fetch_add(1, Ordering::Relaxed);
                    self.0[2].fetch_add(u64::from(number != next), Ordering::Relaxed);
                    next = number + 1;
                }
                _ => _ = self.0[1].fetch_add(1, Ordering::Relaxed),
            }
        }
    }
}

async fn send(to: ChannelSender) {
    for number in 0..COUNT {
        if to.send(number.to_string()).await.is_err() {
            return; // the tally will show it
        }
        tokio::time::sleep(PACE).await;
    }
}

async fn show(output: Output) -> Result<(), Failure> {
    let progress = !output.json && std::io::stderr().is_terminal();
    let stage = Stage { output, begun: Instant::now(), progress };
    let mut server = SignalingServer::start(None)?;
    let url = format!("http://{}", server.address);
    stage.says(&format!("signaling server on {url}"))?;

    let impairment = Impairment::new(0);
    let mut config = WebRtcConfig::loopback();
    config.impairment = Some(impairment.clone());
    let host_links = Cuttable::new(WebRtcTransport::new(config.clone()));
    let host = client(&url, host_links.clone())?;
    let peer = client(&url, WebRtcTransport::new(config))?;

    let mut service = ServiceConfig::new(name("demo")?, name("numbers@1.0.0")?);
    service.connection = lossless();
    let service = host.expose_service(service).await?;
    stage.says(&format!("host exposes demo/numbers@1.0.0 as {}", service.info().uuid))?;

    let begun = Instant::now();
    let target = Target::Uuid(service.info().uuid);
    let at_peer = peer.connect_with(target, lossless()).await?;
    let at_host = service.accept().await.ok_or_else(|| failed("the service ended"))?;
    let took = begun.elapsed().as_secs_f64() * 1e3;
    stage.says(&format!("peer connected over WebRTC in {took:.1} ms; {COUNT} messages go each way"))?;

    let open = |connection: &DurableConnection| connection.open_channel("numbers");
    let (ours, theirs) = (open(&at_peer), open(&at_host));
    let (to_host, from_host) = ours.map_err(|error| failed(error.to_string()))?.split();
    let (to_peer, from_peer) = theirs.map_err(|error| failed(error.to_string()))?.split();
    let (there, back) = (Tally::default(), Tally::default());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(send(to_host));
    tasks.spawn(send(to_peer));
    tasks.spawn(there.clone().count(from_peer));
    tasks.spawn(back.clone().count(from_host));

    let mut events = at_peer.events();
    let cuts = async {
        pause(1000).await;
        stage.says("CUT 1: the host's end closes the link under the connection")?;
        host_links.cut().await;
        pause(1000).await;
        stage.says("CUT 2: every packet is dropped for two seconds")?;
        impairment.set_blackout(true);
        pause(2000).await;
        impairment.set_blackout(false);
        stage.says("       packets pass again")?;
        pause(1000).await;
        stage.says("CUT 3: the signaling server is killed and started anew, and the link closed")?;
        server.restart().await?;
        host_links.cut().await;
        std::future::pending::<Result<(), Failure>>().await
    };
    let mut cuts = std::pin::pin!(cuts);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let (mut running, mut returns) = (tasks.len(), 0);
    while running > 0 {
        tokio::select! {
            result = &mut cuts => result?,
            Some(event) = events.next() => {
                returns += u64::from(matches!(event, ConnectionEvent::Connected { resumed: true, .. }));
                if let Some(text) = tell(&event) {
                    stage.says(&text)?;
                }
            }
            Some(_) = tasks.join_next() => running -= 1,
            _ = tick.tick() => stage.progress(&there, &back),
        }
    }
    at_peer.close().await;
    peer.shutdown().await;
    host.shutdown().await;
    verdict(&stage, &there, &back, returns)
}

fn verdict(stage: &Stage, there: &Tally, back: &Tally, returns: u64) -> Result<(), Failure> {
    let sum = |of: fn(&Tally) -> u64| of(there) + of(back);
    let (sent, received) = (2 * COUNT, sum(Tally::received));
    let (lost, doubled, reordered) = (sent - received, sum(Tally::doubled), sum(Tally::reordered));
    stage.says(&format!("the connection came back {returns} times; both sides have closed it"))?;
    let person = format!(
        "\nsent {sent}\nreceived {received}\nlost {lost}\nduplicated {doubled}\nreordered {reordered}"
    );
    let program = json!({
        "sent": sent, "received": received, "lost": lost, "duplicated": doubled, "reordered": reordered,
        "returns": returns,
    });
    written(stage.output.line(&person, program))?;
    if lost + doubled + reordered > 0 {
        return Err(failed("messages went wrong, which is a bug: please report it"));
    }
    Ok(())
}

/// An event as a person reads it.
fn tell(event: &ConnectionEvent) -> Option<String> {
    let text = match event {
        ConnectionEvent::Reconnecting { attempt, delay } if !delay.is_zero() => {
            format!("attempt {attempt} follows in {}", notices::seconds(*delay))
        }
        event => notices::in_words(event)?,
    };
    Some(format!("       {text}"))
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

fn name<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error: T::Err| failed(error.to_string()))
}

fn lossless() -> ConnectionConfig {
    let mut config = ConnectionConfig::default();
    config.queue = QueueConfig::lossless();
    config
}

fn client(url: &str, transport: impl everlink::link::Transport) -> Result<Client, Failure> {
    let signaling = HttpSignaling::new(url).map_err(|error| failed(error.to_string()))?;
    Ok(Client::builder(Identity::generate()).signaling(signaling).transport(transport).build())
}

/// A signaling server that keeps nothing on disk, so that a restart forgets everything.
struct SignalingServer {
    address: std::net::SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl SignalingServer {
    fn start(address: Option<std::net::SocketAddr>) -> Result<Self, Failure> {
        let wrong = |error: std::io::Error| failed(format!("cannot start a server on loopback: {error}"));
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpListener::bind(address.unwrap_or(any)).map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let server = Server::new(ServerConfig::default()).map_err(|error| failed(error.to_string()))?;
        let task = tokio::spawn(async move {
            if let Err(error) = server.run(listener, std::future::pending::<()>()).await {
                tracing::error!(%error, "the signaling server failed");
            }
        });
        Ok(Self { address, task })
    }

    async fn restart(&mut self) -> Result<(), Failure> {
        self.task.abort();
        let _ = (&mut self.task).await;
        // The system may hold on to the port for a moment.
        for _ in 0..50 {
            if let Ok(server) = Self::start(Some(self.address)) {
                *self = server;
                return Ok(());
            }
            pause(20).await;
        }
        Err(failed("the signaling server could not be started anew on its port"))
    }
}

impl Drop for SignalingServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
