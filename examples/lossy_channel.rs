//! A lossy channel beside a durable one, on a network that loses every fifth packet: where the
//! mouse is may get lost, what was drawn may not.
//!
//! `cargo run --example lossy_channel`

use std::time::Duration;

use everlink::link::webrtc::{Impairment, WebRtcConfig, WebRtcTransport};
use everlink::signaling::MemorySignaling;
use everlink::{ChannelConfig, Client, Identity, ServiceConfig};

type Error = Box<dyn std::error::Error>;

const MOVES: u32 = 400;
const STROKES: u32 = 20;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let signaling = MemorySignaling::new();
    let host = Client::new(Identity::generate(), signaling.clone());
    let config = ServiceConfig::new("alice".parse()?, "whiteboard@1.0.0".parse()?);
    let service = host.expose_service(config).await?;

    // A bad network for the peer, to show something. An application has no use for it.
    let network = Impairment::new(1);
    let mut webrtc = WebRtcConfig::default();
    webrtc.impairment = Some(network.clone());
    let transport = WebRtcTransport::new(webrtc);
    let peer = Client::builder(Identity::generate()).signaling(signaling).transport(transport).build();

    let connection = peer.connect_by_uuid(service.info().uuid).await?;
    // Unordered, never sent again: a position that comes late is worth nothing.
    let cursor = connection.open_channel_with("cursor", ChannelConfig::lossy(false, 0))?;
    let strokes = connection.open_channel("strokes")?;

    // The host takes the channels in the order in which they were opened.
    let session = service.accept().await.ok_or("the service has stopped")?;
    let mut cursor_at_host = session.accept_channel().await.ok_or("closed")?;
    let mut strokes_at_host = session.accept_channel().await.ok_or("closed")?;
    assert!(cursor_at_host.is_lossy() && !strokes_at_host.is_lossy());

    let drawing = async {
        network.set_loss(0.2);
        for number in 0..MOVES {
            cursor.send(number.to_be_bytes().to_vec()).await?;
            if (number + 1) % (MOVES / STROKES) == 0 {
                strokes.send(format!("stroke {}", number / (MOVES / STROKES))).await?;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        network.set_loss(0.0);
        Ok::<_, Error>(())
    };
    let watching = async {
        let (mut moves, mut newest, mut drawn) = (0, 0, 0);
        while drawn < STROKES {
            tokio::select! {
                position = cursor_at_host.recv() => {
                    let number = u32::from_be_bytes(position?.as_bytes().try_into()?);
                    moves += 1;
                    newest = newest.max(number); // one that was overtaken is stale
                }
                stroke = strokes_at_host.recv() => {
                    assert_eq!(stroke?.as_text(), Some(format!("stroke {drawn}").as_str()));
                    drawn += 1;
                }
            }
        }
        Ok::<_, Error>((moves, newest))
    };
    let ((), (moves, newest)) = tokio::try_join!(drawing, watching)?;
    println!("strokes: all {STROKES} arrived, in order");
    println!("positions: {moves} of {MOVES} arrived, the newest is {newest}");
    assert!(MOVES / 2 < moves && moves < MOVES, "most arrive, and the lost ones are not sent again");

    peer.shutdown().await;
    host.shutdown().await;
    Ok(())
}
