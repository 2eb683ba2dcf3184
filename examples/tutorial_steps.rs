//! A host pushes the steps of a tutorial, as JSON, to a learner who follows. The learner's network
//! fails in the middle; no step is missed, doubled or out of order.
//!
//! `cargo run --example tutorial_steps`

use std::time::Duration;

use everlink::link::webrtc::{Impairment, WebRtcConfig, WebRtcTransport};
use everlink::signaling::MemorySignaling;
use everlink::{Client, DurableConnection, Identity, QueueConfig, ServiceConfig};
use serde::{Deserialize, Serialize};

type Error = Box<dyn std::error::Error + Send + Sync>;

const TITLES: [&str; 6] = ["Install Rust", "cargo new", "Add everlink", "Host", "Connect", "Pull the plug"];

#[derive(Serialize, Deserialize)]
struct Step {
    number: usize,
    title: String,
}

/// The host's side of one learner.
async fn teach(learner: DurableConnection) -> Result<(), Error> {
    let steps = learner.open_channel("steps")?;
    for (index, title) in TITLES.into_iter().enumerate() {
        let step = Step { number: index + 1, title: title.into() };
        steps.send(serde_json::to_string(&step)?).await?;
        println!("host: pushed step {}", step.number);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    learner.flush().await?; // until the learner has taken the last step, however long that is
    learner.close().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let signaling = MemorySignaling::new();
    let host = Client::new(Identity::generate(), signaling.clone());
    let mut config = ServiceConfig::new("alice".parse()?, "tutorial@1.0.0".parse()?);
    // By default a message that waits for a link longer than a minute is dropped, and reported.
    // Here each step counts: keep them, and the learner's session, for an hour.
    config.connection.queue = QueueConfig::lossless();
    config.connection.park_for = Duration::from_secs(3600);
    let service = host.expose_service(config).await?;
    let uuid = service.info().uuid;
    let teaching = tokio::spawn(async move {
        let learner = service.accept().await.ok_or("the service has stopped")?;
        teach(learner).await // with many learners: `service.serve(…)`
    });

    // The learner's network can be made bad at will. Leave this out of an application.
    let network = Impairment::new(1);
    let mut webrtc = WebRtcConfig::default();
    webrtc.impairment = Some(network.clone());
    let peer = Client::builder(Identity::generate()).signaling(signaling);
    let peer = peer.transport(WebRtcTransport::new(webrtc)).build();
    let connection = peer.connect_by_uuid(uuid).await?;
    let mut steps = connection.accept_channel().await.ok_or("the connection is closed")?;

    let mut followed = 0;
    while let Ok(message) = steps.recv().await {
        let step: Step = serde_json::from_slice(message.as_bytes())?;
        println!("learner: step {}: {}", step.number, step.title);
        followed += 1;
        assert_eq!((step.number, step.title.as_str()), (followed, TITLES[followed - 1]));
        if followed == 2 {
            println!("learner: offline for two seconds");
            network.set_blackout(true);
            tokio::time::sleep(Duration::from_secs(2)).await;
            network.set_blackout(false);
            connection.reconnect_now(); // as when the system tells of a network; saves a moment
        }
    }
    assert_eq!(followed, TITLES.len());
    teaching.await??;
    tokio::join!(peer.shutdown(), host.shutdown());
    Ok(())
}
