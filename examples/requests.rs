//! Requests with replies, many at a time, over a link that is cut meanwhile.
//!
//! `cargo run --example requests`

use std::time::Duration;

use everlink::link::memory::MemoryNetwork;
use everlink::signaling::MemorySignaling;
use everlink::{ChannelConfig, Client, Identity, Message, QueueConfig, Requester, Responder, ServiceConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Links in this process, so that they can be cut at will. Leave `transport` out for WebRTC.
    let (network, signaling) = (MemoryNetwork::new(1), MemorySignaling::new());
    let client = || {
        let builder = Client::builder(Identity::generate()).signaling(signaling.clone());
        builder.transport(network.transport()).build()
    };
    // No request may be dropped while there is no link.
    let lossless = || ChannelConfig::queue(QueueConfig::lossless());

    let host = client();
    let service = host.expose_service(ServiceConfig::new("alice".parse()?, "math@1.0.0".parse()?)).await?;
    let uuid = service.info().uuid;
    let serving = tokio::spawn(async move {
        let Some(connection) = service.accept().await else { return };
        let Ok(channel) = connection.open_channel_with("square", lossless()) else { return };
        // Up to 8 at a time.
        let end = Responder::new(channel)
            .serve(8, |request: Message| async move {
                match request.as_text().and_then(|text| text.parse::<u64>().ok()) {
                    Some(number) => {
                        tokio::time::sleep(Duration::from_millis(20)).await; // hard work
                        format!("{}", number * number)
                    }
                    None => "not a number".to_owned(),
                }
            })
            .await;
        println!("host: {end}");
    });

    let peer = client();
    let connection = peer.connect_by_uuid(uuid).await?;
    let requester = Requester::new(connection.open_channel_with("square", lossless())?);
    let asked: Vec<_> = (0..100u64)
        .map(|number| {
            let requester = requester.clone();
            tokio::spawn(async move { requester.request(number.to_string(), Duration::from_secs(30)).await })
        })
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        println!("peer: {} requests are in flight, and every link is cut", requester.in_flight());
        network.cut_all();
    }
    for (number, reply) in asked.into_iter().enumerate() {
        let reply = reply.await??;
        assert_eq!(reply.as_text(), Some(format!("{}", number * number).as_str()));
    }
    println!("peer: 100 requests, 100 replies, {} reconnects", connection.stats().reconnects);
    // What takes too long is given up, and the error tells what that means.
    let error = requester.request("7", Duration::from_millis(1)).await.unwrap_err();
    println!("peer: {error}");

    connection.close().await;
    serving.await?;
    peer.shutdown().await;
    host.shutdown().await;
    Ok(())
}
