//! The sockets: accepted within a bound, given up when they dawdle, all ended with the server.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::runtime;

/// How long a client may take over the head of a request, or be idle between two.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How long what was sent may go unacknowledged.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED_FOR: Duration = Duration::from_secs(20);
/// How long running requests may take when the server ends.
const LINGER: Duration = Duration::from_secs(3);
/// How long to wait after an error of `accept`, such as that of having no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts and serves connections until `shutdown`, and returns when the last has ended.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    max_connections: usize,
    shutdown: impl Future<Output = ()>,
) {
    let room = Arc::new(Semaphore::new(max_connections.clamp(1, Semaphore::MAX_PERMITS)));
    let ending = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            // The semaphore is never closed, so there is a permit in the end.
            let permit = room.clone().acquire_owned().await;
            (listener.accept().await, permit)
        };
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            (accepted, permit) = accepted => match accepted {
                Ok((socket, _)) => {
                    let connection = serve_one(socket, router.clone(), ending.subscribe());
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    runtime::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    ending.send_replace(true);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if runtime::timeout(LINGER, all_ended).await.is_none() {
        connections.shutdown().await;
    }
}

async fn serve_one(socket: TcpStream, router: Router, mut ending: watch::Receiver<bool>) {
    // Answers and events are small and awaited: none shall wait for another packet.
    let _ = socket.set_nodelay(true);
    // A host whose machine lost power says nothing. Without this its event stream counts as open
    // until the system gives up, which takes a quarter of an hour.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(UNACKNOWLEDGED_FOR));
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    let server_ends = async {
        let _ = ending.wait_for(|ending| *ending).await;
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = server_ends => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended badly");
    }
}
