//! From nothing to the first message, with the signaling server in another process.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::ends::{connection, expose, http_client, on_a_runtime};
use super::raw::{self, Tuning};
use super::report::{Report, Row, quantile};
use everlink::Target;

/// A signaling server that ends with this value.
pub struct Server {
    process: Child,
    pub url: String,
}

impl Server {
    pub fn start() -> Result<Self, String> {
        let program =
            std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
        let mut process = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start a signaling server: {error}"))?;
        let mut line = String::new();
        let output = process.stdout.take().expect("it is piped");
        let read = BufReader::new(output).read_line(&mut line);
        read.map_err(|error| format!("the signaling server says nothing: {error}"))?;
        let url = line.trim().strip_prefix("listening on ").unwrap_or_default().to_owned();
        Ok(Self { process, url })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub fn run(report: &mut Report, quick: bool) -> Result<(), String> {
    let server = Server::start()?;
    let count = if quick { 20 } else { 200 };
    let url = server.url.clone();
    let (exposed, uuid) = std::sync::mpsc::channel();
    let host = std::thread::spawn(move || {
        on_a_runtime(async move {
            let client = http_client(&url);
            let service = expose(&client).await;
            exposed.send(service.info().uuid).expect("the peer waits");
            let mut sessions = tokio::task::JoinSet::new();
            for _ in 0..count {
                let connection = service.accept().await.expect("the service runs");
                sessions.spawn(async move {
                    let mut channel = connection.accept_channel().await?;
                    let message = channel.recv().await.ok()?;
                    channel.send(message).await.ok()?;
                    connection.closed().await;
                    Some(())
                });
            }
            sessions.join_all().await;
            client.shutdown().await;
        });
    });
    let uuid = uuid.recv().map_err(|_| "the host could not expose its service".to_owned())?;
    let url = server.url.clone();
    let times = on_a_runtime(async move {
        let client = http_client(&url);
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            let connected = client.connect_with(Target::Uuid(uuid), connection()).await;
            let connection = connected.expect("the host is there");
            let mut channel = connection.open_channel("first").expect("a new channel");
            channel.send("hello").await.expect("it is connected");
            channel.recv().await.expect("it is connected");
            // Half of the way back is not the first message's; it is too short to matter.
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            connection.close().await;
        }
        client.shutdown().await;
        times
    });
    host.join().map_err(|_| "the host failed".to_owned())?;
    let alike = raw::connect(Tuning::Alike, if quick { 5 } else { 50 }, Duration::ZERO);
    let came = raw::connect(Tuning::AsItComes, if quick { 2 } else { 10 }, Duration::ZERO);
    for (q, what, aim) in [
        (0.5, "connect_by_uuid to first message, p50", "<= 50; raw has no signaling"),
        (0.99, "connect_by_uuid to first message, p99", "<= 150"),
    ] {
        let millis = |times: &raw::Times| Some(times.quantile(q).as_secs_f64() * 1e3);
        let (ours, raw, as_it_comes) = (quantile(times.iter().copied(), q), millis(&alike), millis(&came));
        report.row(&Row { what, unit: "ms", ours, raw, as_it_comes, aim });
    }
    Ok(())
}
