//! A host that sends back what it gets, and a peer that talks to it.
//!
//! `cargo run --example echo`

use everlink::signaling::MemorySignaling;
use everlink::{Client, DurableChannel, Identity, ServiceConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Where hosts and peers find each other. Both run in this process, so memory will do; between
    // machines it is `HttpSignaling::new("https://signal.example.org")?`.
    let signaling = MemorySignaling::new();

    // The host. A real one keeps its key, and so its uuid: `Identity::load_or_create("host.key")?`.
    let host = Client::new(Identity::generate(), signaling.clone());
    let config = ServiceConfig::new("alice".parse()?, "echo@1.0.0".parse()?);
    let service = host.expose_service(config).await?;
    let uuid = service.info().uuid;
    println!("host: echo@1.0.0 of alice is service {uuid}");
    let serving = tokio::spawn(service.serve(|connection| async move {
        println!("host: a peer is here: {}", connection.peer());
        while let Some(channel) = connection.accept_channel().await {
            // A task each, as channels do not wait for each other.
            tokio::spawn(echo(channel));
        }
        println!("host: the peer is gone");
    }));

    // The peer, who was told the uuid. `peer.connect("alice", "echo@1.0.0")` works, too.
    let peer = Client::new(Identity::generate(), signaling);
    let connection = peer.connect_by_uuid(uuid).await?;
    let mut channel = connection.open_channel("parrot")?;
    for word in ["hello", "is anybody there?", "goodbye"] {
        channel.send(word).await?;
        let answer = channel.recv().await?;
        println!("peer: sent {word:?}, got {:?}", answer.as_text());
        assert_eq!(answer.as_text(), Some(word));
    }

    connection.close().await; // final, at both ends
    peer.shutdown().await;
    host.shutdown().await; // stops the service, and with it `serve`
    serving.await?;
    Ok(())
}

/// Ends when the peer closes the channel or the connection. A lost link is no such end: `recv`
/// and `send` go on over the next one.
async fn echo(mut channel: DurableChannel) {
    while let Ok(message) = channel.recv().await {
        if channel.send(message).await.is_err() {
            break;
        }
    }
}
