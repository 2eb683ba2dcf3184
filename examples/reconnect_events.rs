//! What a connection tells of its links: one goes dead for two seconds, another is replaced on
//! request, and the messages go on as if nothing had been.
//!
//! `cargo run --example reconnect_events`

use std::time::Duration;

use everlink::link::webrtc::{Impairment, WebRtcConfig, WebRtcTransport};
use everlink::signaling::MemorySignaling;
use everlink::{Client, CloseReason, ConnectionEvent, ConnectionState, Events, Identity, ServiceConfig};

/// Prints what happens until there is a link (again), or the connection is closed for good.
async fn print(events: &mut Events<ConnectionEvent>) {
    while let Some(event) = events.next().await {
        match event {
            ConnectionEvent::Connected { resumed: false, .. } => return println!("connected"),
            ConnectionEvent::Connected { after, replayed, .. } => {
                return println!("back after {after:.1?}, {replayed} messages sent again");
            }
            ConnectionEvent::Disconnected { cause } => println!("link lost: {cause:?}"),
            ConnectionEvent::Reconnecting { attempt, delay } => println!("attempt {attempt} in {delay:.1?}"),
            other => println!("{other:?}"),
        }
    }
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
    let peer = Client::builder(Identity::generate()).signaling(signaling);
    let peer = peer.transport(WebRtcTransport::new(webrtc)).build();
    let mut connection = peer.connect_by_uuid(service.info().uuid).await?;
    let mut events = connection.events(); // the first to ask gets what has happened so far, too
    print(&mut events).await;

    // The host has one connection and one channel all the time, whatever the links do.
    let numbers = connection.open_channel("numbers")?;
    let session = service.accept().await.ok_or("the service has stopped")?;
    let mut at_host = session.accept_channel().await.ok_or("the connection is closed")?;
    let counting = tokio::spawn(async move {
        let mut count = 0;
        while let Ok(number) = at_host.recv().await {
            assert_eq!(number.as_text(), Some(count.to_string().as_str()), "once and in order");
            count += 1;
        }
        count
    });

    let dead_for_two_seconds = async {
        network.set_blackout(true); // every packet is lost, and nobody is told
        for number in 0..100 {
            numbers.send(number.to_string()).await?; // queues
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while !matches!(connection.state(), ConnectionState::Reconnecting { .. }) {
            connection.state_changed().await;
        }
        network.set_blackout(false);
        Ok::<_, everlink::SendError>(())
    };
    tokio::join!(dead_for_two_seconds, print(&mut events)).0?;
    connection.reconnect_now(); // say, because the system has told of another network
    numbers.send("100").await?;
    print(&mut events).await;

    connection.flush().await?; // waits until the host has taken everything
    assert_eq!(connection.close().await, CloseReason::Local);
    print(&mut events).await;
    assert_eq!(counting.await?, 101);
    tokio::join!(peer.shutdown(), host.shutdown());
    Ok(())
}
