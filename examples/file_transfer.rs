//! A file through a stream of bytes, over a link that is cut meanwhile.
//!
//! `cargo run --example file_transfer`
//!
//! For files between machines, with resume after a crash of either side, there is `everlink send`.

use std::time::Duration;

use everlink::link::memory::MemoryNetwork;
use everlink::signaling::MemorySignaling;
use everlink::{ChannelConfig, Client, DurableStream, Identity, QueueConfig, ServiceConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Links in this process, so that they can be cut at will. Leave `transport` out for WebRTC.
    let (network, signaling) = (MemoryNetwork::new(1), MemorySignaling::new());
    let client = || {
        let builder = Client::builder(Identity::generate()).signaling(signaling.clone());
        builder.transport(network.transport()).build()
    };
    // A stream cannot do without the bytes in the middle.
    let lossless = || ChannelConfig::queue(QueueConfig::lossless());

    let host = client();
    let service = host.expose_service(ServiceConfig::new("alice".parse()?, "files@1.0.0".parse()?)).await?;
    let uuid = service.info().uuid;
    let receiving = tokio::spawn(async move {
        let connection = service.accept().await.ok_or("stopped")?;
        let mut stream = DurableStream::new(connection.open_channel_with("file", lossless())?);
        let mut file = Vec::new(); // or a tokio::fs::File, and tokio::io::copy
        stream.read_to_end(&mut file).await?;
        stream.write_all(format!("{} bytes, thanks", file.len()).as_bytes()).await?;
        stream.shutdown().await?;
        stream.acked().await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(file)
    });

    let peer = client();
    let connection = peer.connect_by_uuid(uuid).await?;
    let mut stream = DurableStream::new(connection.open_channel_with("file", lossless())?);
    let cutting = tokio::spawn({
        let network = network.clone();
        async move {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                network.cut_all();
            }
        }
    });
    let file: Vec<u8> = (0..50_000_000u32).map(|n| (n >> 8) as u8).collect();
    stream.write_all(&file).await?;
    stream.shutdown().await?; // the end of this direction; the other goes on
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    println!("peer: {answer}; {} reconnects", connection.stats().reconnects);
    drop(stream);
    assert!(receiving.await?.map_err(|error| error.to_string())? == file);

    cutting.await?;
    connection.close().await;
    peer.shutdown().await;
    host.shutdown().await;
    Ok(())
}
