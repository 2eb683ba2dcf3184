//! A chat room at a host, and two peers in it with a script: `cargo run --example chat`

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use everlink::signaling::MemorySignaling;
use everlink::{ChannelSender, Client, DurableChannel, DurableConnection, Identity};
use everlink::{ServiceConfig, SessionId};

type Error = Box<dyn std::error::Error>;

/// Who is in the room, and the way to them.
#[derive(Clone, Default)]
struct Room(Arc<Mutex<HashMap<SessionId, ChannelSender>>>);

impl Room {
    fn members(&self) -> MutexGuard<'_, HashMap<SessionId, ChannelSender>> {
        self.0.lock().expect("no panic while locked")
    }

    /// Tells everybody, and everybody in the same order. A member whose link is broken gets what
    /// waits when it is back; one that has stopped reading, and so filled its queue, is put out.
    fn say(&self, line: String) {
        println!("{line}");
        for member in self.members().values() {
            if member.try_send(line.as_str()).is_err() {
                member.close();
            }
        }
    }

    /// One member, from entering to leaving. Their first message is their name.
    async fn host(self, connection: DurableConnection) {
        let Some(channel) = connection.accept_channel().await else { return };
        let (sender, mut receiver) = channel.split();
        let Ok(name) = receiver.recv().await else { return };
        let name = name.as_text().unwrap_or("somebody").to_owned();
        self.members().insert(connection.id(), sender);
        self.say(format!("* {name} is here"));
        while let Ok(message) = receiver.recv().await {
            self.say(format!("<{name}> {}", message.as_text().unwrap_or("(no text)")));
        }
        self.members().remove(&connection.id());
        self.say(format!("* {name} has left"));
    }
}

async fn enter(client: &Client, name: &str) -> Result<(DurableConnection, DurableChannel), Error> {
    let connection = client.connect("alice", "chat@1").await?;
    let channel = connection.open_channel("room")?;
    channel.send(name).await?;
    Ok((connection, channel))
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

    let (bobs, mut to_bob) = enter(&bob, "bob").await?;
    assert_eq!(to_bob.recv().await?.as_text(), Some("* bob is here"));
    let (carols, mut to_carol) = enter(&carol, "carol").await?;
    assert_eq!(to_carol.recv().await?.as_text(), Some("* carol is here"));
    bobs.reconnect_now(); // bob moves to another link; nobody in the room notices
    to_bob.send("hello, carol").await?;
    assert_eq!(to_carol.recv().await?.as_text(), Some("<bob> hello, carol"));
    carols.close().await;
    for line in ["* carol is here", "<bob> hello, carol", "* carol has left"] {
        assert_eq!(to_bob.recv().await?.as_text(), Some(line));
    }
    bob.shutdown().await; // peers first: each tells the host, and waits until it knows
    host.shutdown().await;
    Ok(())
}
