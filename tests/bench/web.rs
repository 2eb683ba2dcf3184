//! The native end of `web/bench`: streams of 64 KiB messages from and to a page, by everlink and by a
//! plain program on the same WebRTC stack. Rates are in 10^6 bytes a second, without the first
//! quarter; each is written as a line to stdout.
//!
//! * `everlink SERVER`: exposes a service, writes its uuid, and serves one channel after the other. Its
//!   label is `up BYTES`, which receives so much and writes the rate, or `down BYTES`, which sends.
//! * `raw up BYTES`, `raw down BYTES`: writes its offer as a JSON string, reads the answer as one, and does
//!   the same over a data channel, whose number is 0.

use std::error::Error;
use std::io::{self, Write as _};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use everlink::link::webrtc::{WebRtcConfig, WebRtcTransport};
use everlink::signaling::HttpSignaling;
use everlink::{Client, DurableChannel, Identity, ServiceConfig};

#[path = "../../src/bin/everlink/bench/raw.rs"]
#[allow(dead_code)]
mod raw;

use raw::{End, Tuning};

type Outcome = Result<(), Box<dyn Error>>;

const SIZE: usize = 64 << 10;

// One thread, as a page has.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["everlink", server] => serve(server).await,
        ["raw", direction, bytes] => plain(direction, bytes.parse()?).await,
        _ => Err("see the top of tests/bench/web.rs for the usage".into()),
    }
}

fn tell(line: impl std::fmt::Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Counts what arrives.
struct Meter {
    bytes: usize,
    got: usize,
    /// Since when it counts.
    began: Option<Instant>,
}

impl Meter {
    fn new(bytes: usize) -> Self {
        Self { bytes, got: 0, began: None }
    }

    /// The rate, once everything is there.
    fn take(&mut self, len: usize) -> Option<f64> {
        self.got += len;
        if self.got >= self.bytes / 4 {
            self.began.get_or_insert_with(Instant::now);
        }
        let seconds = self.began.filter(|_| self.got >= self.bytes)?.elapsed().as_secs_f64();
        Some(self.bytes as f64 * 0.75 / 1e6 / seconds)
    }
}

async fn serve(server: &str) -> Outcome {
    // On the address of the plain end, so that the path is the same.
    let client = Client::builder(Identity::generate())
        .transport(WebRtcTransport::new(WebRtcConfig::loopback()))
        .signaling(HttpSignaling::new(server)?)
        .build();
    // A name belongs to one identity.
    let user = format!("bench{}", std::process::id());
    let config = ServiceConfig::new(user.parse()?, "stream@1.0.0".parse()?);
    let service = client.expose_service(config).await?;
    tell(service.info().uuid)?;
    service
        .serve(|connection| async move {
            while let Some(channel) = connection.accept_channel().await {
                if let Err(error) = stream(channel).await {
                    eprintln!("bench: {error}");
                }
            }
        })
        .await;
    Ok(())
}

async fn stream(mut channel: DurableChannel) -> Outcome {
    let label = channel.label().to_owned();
    let (direction, bytes) = label.split_once(' ').ok_or("a label is `up BYTES` or `down BYTES`")?;
    let bytes = bytes.parse()?;
    if direction == "down" {
        let message = Bytes::from(vec![7; SIZE]);
        for _ in 0..bytes / SIZE {
            channel.send(message.clone()).await?;
        }
        return Ok(());
    }
    let mut meter = Meter::new(bytes);
    loop {
        let message = channel.recv().await?;
        if let Some(rate) = meter.take(message.len()) {
            channel.commit().await?;
            return Ok(tell(rate)?);
        }
    }
}

async fn plain(direction: &str, bytes: usize) -> Outcome {
    let end = End::new(Tuning::Alike, None).await;
    tell(serde_json::to_string(&end.offer().await)?)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    end.take_answer(serde_json::from_str(&answer)?).await;
    end.open().await;
    if direction == "down" {
        for _ in 0..bytes / SIZE {
            end.send(BytesMut::zeroed(SIZE)).await;
        }
        // Until the page closes.
        while end.recv().await.is_some() {}
        return Ok(());
    }
    let mut meter = Meter::new(bytes);
    while let Some(message) = end.recv().await {
        if let Some(rate) = meter.take(message.len()) {
            tell(rate)?;
            break;
        }
    }
    Ok(())
}
