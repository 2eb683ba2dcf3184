//! What a connection tells of its links: one goes dead for two seconds, another is replaced on
//! request, and the messages go on as if nothing had been.
//!
//! `cargo run --example reconnect_events`

use std::time::Duration;

use everlink::link::webrtc::{Impairment, WebRtcConfig, WebRtcTransport};
use everlink::signaling::MemorySignaling;
use everlink::{Client, ConnectionEvent, ConnectionState, Events, Identity, ServiceConfig};

/// Prints what happens until the connection is closed; returns how often it came back.
async fn watch(mut events: Events<ConnectionEvent>) -> u32 {
    let mut returns = 0;
    while let Some(event) = events.next().await {
        match event {
            ConnectionEvent::Connected { resumed: false, .. } => println!("connected"),
            ConnectionEvent::Connected { replayed, after, .. } => {
                println!("back after {after:.1?}, {replayed} messages sent again");
                returns += 1;
            }
            ConnectionEvent::Disconnected { cause } => println!("link lost: {cause:?}"),
            ConnectionEvent::Reconnecting { attempt, delay } => println!("attempt {attempt} in {delay:.1?}"),
            ConnectionEvent::AttemptFailed { attempt, error } => {
                println!("attempt {attempt} failed: {error}")
            }
            ConnectionEvent::Closed(reason) => println!("{reason}"),
            other => println!("{other:?}"),
        }
    }
    returns
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let signaling = MemorySignaling::new();
    let host = Client::new(Identity::generate(), signaling.clone());
    let config = ServiceConfig::new("alice".parse()?, "count@1.0.0".parse()?);
    let service = host.expose_service(config).await?;

    // The peer's network can be made bad at will. For tests and examples; leave it out otherwise.
    let network = Impairment::new(1);
    let mut webrtc = WebRtcConfig::default();
    webrtc.impairment = Some(network.clone());
    let transport = WebRtcTransport::new(webrtc);
    let peer = Client::builder(Identity::generate()).signaling(signaling).transport(transport).build();
    let mut connection = peer.connect_by_uuid(service.info().uuid).await?;
    let watching = tokio::spawn(watch(connection.events()));
    let numbers = connection.open_channel("numbers")?;

    // The host has one connection and one channel all the time, whatever the links do.
    let session = service.accept().await.ok_or("the service has stopped")?;
    let mut numbers_at_host = session.accept_channel().await.ok_or("the connection is closed")?;
    let counting = tokio::spawn(async move {
        let mut count = 0;
        while let Ok(number) = numbers_at_host.recv().await {
            assert_eq!(number.as_text(), Some(count.to_string().as_str()), "once and in order");
            count += 1;
        }
        count
    });

    network.set_blackout(true); // every packet is lost, and nobody is told
    for number in 0..100 {
        numbers.send(number.to_string()).await?; // queues
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while !matches!(connection.state(), ConnectionState::Reconnecting { .. }) {
        connection.state_changed().await;
    }
    network.set_blackout(false);
    connection.flush().await?; // waits until the host has all of them

    connection.reconnect_now(); // say, because the system has told of another network
    numbers.send("100").await?;
    while connection.state_changed().await != ConnectionState::Connected {}
    connection.flush().await?;

    connection.close().await;
    assert_eq!((counting.await?, watching.await?), (101, 2));
    tokio::join!(peer.shutdown(), host.shutdown());
    Ok(())
}
