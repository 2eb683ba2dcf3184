//! The signaling server over real sockets, spoken to in raw HTTP and by our own client.
#![cfg(all(feature = "server", feature = "http"))]
// Tests own their tasks and read the clock they measure by.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod bad_requests;
mod client;
mod pages;
mod person;
mod raw;
mod restart;
mod streams;
mod vectors;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use everlink::signaling::server::{Server, ServerConfig, ServerError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server on a port of its own.
pub struct Running {
    pub address: SocketAddr,
    pub task: JoinHandle<Result<(), ServerError>>,
    stop: oneshot::Sender<()>,
}

impl Running {
    pub async fn start(data: Option<&Path>) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), data)
    }

    pub fn on(listener: TcpListener, data: Option<&Path>) -> Self {
        let mut config = ServerConfig::default();
        config.data = data.map(Path::to_path_buf);
        Self::with(listener, config)
    }

    pub fn with(listener: TcpListener, mut config: ServerConfig) -> Self {
        config.keep_alive = Duration::from_millis(100);
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let server = Server::new(config).unwrap();
        let task = tokio::spawn(server.run(listener, async {
            let _ = stopped.await;
        }));
        Self { address, task, stop }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

pub async fn within<T>(seconds: u64, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(seconds), future).await.expect("it took too long")
}
