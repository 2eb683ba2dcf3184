//! An application with the signaling server inside: one program to start, nothing else to run.
//!
//! `cargo run --example embedded_server --features server`

use std::net::TcpListener;

use everlink::signaling::HttpSignaling;
use everlink::signaling::server::{Server, ServerConfig};
use everlink::{Client, Identity, ServiceConfig};
use tokio::sync::oneshot;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // You bring the listener and the reason to stop. Port 0 lets the system pick a free one.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    // With `config.data = Some("/var/lib/my-app".into())` names and services survive a restart.
    let server = Server::new(ServerConfig::default())?;
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(server.run(listener, async move {
        let _ = stopped.await;
    }));
    println!("signaling server at {url}");

    // The host, in the same program here. It speaks HTTP like everybody else.
    let host = Client::new(Identity::generate(), HttpSignaling::new(&url)?);
    let mut config = ServiceConfig::new("alice".parse()?, "status@1.2.0".parse()?);
    config.public = true;
    config.metadata.insert("about".into(), "says how things are".into());
    let service = host.expose_service(config).await?;
    tokio::spawn(service.serve(|connection| async move {
        if let Ok(status) = connection.open_channel("status") {
            let _ = status.send("all is well").await;
        }
        connection.closed().await;
    }));

    // A peer, which would be another program on another machine. It looks around first.
    let peer = Client::new(Identity::generate(), HttpSignaling::new(&url)?);
    let services = peer.services("alice".parse()?).await?;
    for found in &services {
        println!("alice offers {} {:?}", found.service, found.metadata);
    }
    assert_eq!(services.len(), 1);

    // Any 1.x will do. The server brings the two together; what they say never passes through it.
    let connection = peer.connect("alice", "status@^1").await?;
    let mut status = connection.accept_channel().await.ok_or("the host has closed the connection")?;
    let message = status.recv().await?;
    println!("alice says: {:?}", message.as_text());
    assert_eq!(message.as_text(), Some("all is well"));

    connection.close().await;
    peer.shutdown().await;
    host.shutdown().await; // withdraws the service, so do it while the server is there
    let _ = stop.send(());
    server.await??;
    Ok(())
}
