//! A chat room at a host, and two peers in it who follow a script.
//!
//! `cargo run --example chat`

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use everlink::signaling::MemorySignaling;
use everlink::{ChannelSender, Client, DurableChannel, DurableConnection, Identity, ServiceConfig};

type Error = Box<dyn std::error::Error>;

/// Who is in the room, and the way to them.
#[derive(Clone, Default)]
struct Room(Arc<Mutex<HashMap<String, ChannelSender>>>);

impl Room {
    /// Tells everybody, in the same order as everybody else. A member whose link is broken gets
    /// what waits for it when it is back; one that has stopped reading is put out.
    fn say(&self, line: String) {
        println!("{line}");
        for member in self.0.lock().expect("no panic while locked").values() {
            if member.try_send(line.as_str()).is_err() {
                member.close();
            }
        }
    }

    /// One member, from entering to leaving.
    async fn host(self, connection: DurableConnection) {
        let Some(channel) = connection.accept_channel().await else { return };
        let (sender, mut receiver) = channel.split();
        // The first message is the name. (A real room would go by `connection.peer()`, a key.)
        let Ok(name) = receiver.recv().await else { return };
        let name = name.as_text().unwrap_or("somebody").to_owned();
        self.0.lock().expect("no panic while locked").insert(name.clone(), sender);
        self.say(format!("* {name} is here"));
        while let Ok(message) = receiver.recv().await {
            self.say(format!("<{name}> {}", message.as_text().unwrap_or("(no text)")));
        }
        self.0.lock().expect("no panic while locked").remove(&name);
        self.say(format!("* {name} has left"));
    }
}

/// Enters the room under a name.
async fn enter(client: &Client, name: &str) -> Result<(DurableConnection, DurableChannel), Error> {
    let connection = client.connect("alice", "chat@1").await?;
    let channel = connection.open_channel("room")?;
    channel.send(name).await?;
    Ok((connection, channel))
}

async fn expect(channel: &mut DurableChannel, lines: &[&str]) -> Result<(), Error> {
    for line in lines {
        assert_eq!(channel.recv().await?.as_text(), Some(*line));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let signaling = MemorySignaling::new();
    let [host, bob, carol] = [(); 3].map(|()| Client::new(Identity::generate(), signaling.clone()));
    let mut config = ServiceConfig::new("alice".parse()?, "chat@1.0.0".parse()?);
    config.public = true; // listed, and found by a requirement such as `chat@1`
    let service = host.expose_service(config).await?;
    let room = Room::default();
    tokio::spawn(service.serve(move |connection| room.clone().host(connection)));

    let (bobs, mut at_bob) = enter(&bob, "bob").await?;
    expect(&mut at_bob, &["* bob is here"]).await?;
    let (carols, mut at_carol) = enter(&carol, "carol").await?;
    expect(&mut at_carol, &["* carol is here"]).await?;
    at_bob.send("hello, carol").await?;
    expect(&mut at_carol, &["<bob> hello, carol"]).await?;
    bobs.reconnect_now(); // bob moves to another link; nobody in the room notices
    at_carol.send("hello, bob, I must go").await?;
    expect(&mut at_carol, &["<carol> hello, bob, I must go"]).await?;
    carols.close().await;
    expect(&mut at_bob, &["* carol is here", "<bob> hello, carol", "<carol> hello, bob, I must go"]).await?;
    expect(&mut at_bob, &["* carol has left"]).await?;

    tokio::join!(bob.shutdown(), carol.shutdown());
    host.shutdown().await;
    Ok(())
}
