//! The runtime that the stack runs on: tokio, with larger socket buffers, a watched path, and
//! name look-ups that cannot hold up a negotiation.

use std::collections::HashMap;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

use super::impairment::{ImpairedSocket, Impairment};
use super::path::{Path, Verdict};
use super::stun::INDICATION;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One for each peer connection.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) path: Arc<Path>,
    pub(super) names: Arc<Names>,
    pub(super) socket_buffer: usize,
    /// How many sockets were made.
    pub(super) sockets: Arc<AtomicUsize>,
    pub(super) impairment: Option<Impairment>,
}

impl Runtime for Engine {
    fn spawn(&self, future: Boxed<'static, ()>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let options = socket2::SockRef::from(&socket);
        // The system gives what it allows; less than wanted is no failure.
        let _ = options.set_recv_buffer_size(self.socket_buffer);
        let _ = options.set_send_buffer_size(self.socket_buffer);
        let mut inner = TokioRuntime.wrap_udp_socket(socket)?;
        if let Some(impairment) = &self.impairment {
            inner = Arc::new(ImpairedSocket::new(inner, impairment.clone()));
        }
        self.sockets.fetch_add(1, Ordering::AcqRel);
        Ok(Arc::new(WatchedSocket { inner, path: Arc::clone(&self.path) }))
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(&'a self, addr: SocketAddr) -> Boxed<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        // A candidate could name any TCP service that this machine reaches.
        Box::pin(async move {
            Err(io::Error::new(io::ErrorKind::Unsupported, format!("no TCP candidates: {addr}")))
        })
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(self.names.resolve(host))
    }

    fn now(&self) -> Instant {
        self.path.now()
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        match self.path.handle_sleep(duration) {
            Duration::ZERO => Box::pin(std::future::ready(())),
            duration => TokioRuntime.sleep(duration),
        }
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }

    fn yield_now(&self) -> Boxed<'static, ()> {
        TokioRuntime.yield_now()
    }

    fn name(&self) -> &'static str {
        "everlink"
    }
}

/// A socket that tells a [`Path`] of what passes.
#[derive(Debug)]
struct WatchedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    path: Arc<Path>,
}

impl AsyncUdpSocket for WatchedSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        if self.path.is_needless(&self.inner, transmit) {
            return Poll::Ready(Ok(transmit.contents.len()));
        }
        let sent = self.inner.poll_send(cx, transmit);
        if sent.is_ready() {
            self.path.handle_sent(&self.inner, transmit);
        }
        match sent {
            // A network that is gone or changing refuses packets; to the stack, as to its peer,
            // they are lost. It would log each and gains nothing from knowing.
            Poll::Ready(Err(error)) => {
                tracing::trace!(%error, to = %transmit.destination, "a packet was not sent");
                Poll::Ready(Ok(transmit.contents.len()))
            }
            other => other,
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if self.path.handle_read(cx) {
            bufs[0][..INDICATION.len()].copy_from_slice(&INDICATION);
            meta[0] = RecvMeta::default();
            meta[0].len = INDICATION.len();
            meta[0].stride = INDICATION.len();
            // From nobody: it must not pass for a sign of life of the peer.
            meta[0].addr = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9));
            return Poll::Ready(Ok(1));
        }
        loop {
            let received = self.inner.poll_recv(cx, bufs, meta);
            let Poll::Ready(Ok(1)) = received else { return received };
            let (len, stride) = (meta[0].len, meta[0].stride);
            if self.path.handle_received(&bufs[0][..len], stride >= len) == Verdict::Deliver {
                return received;
            }
        }
    }
}

/// How long a look-up may hold up a negotiation, whose other candidates wait for it.
const LOOK_UP_FOR: Duration = Duration::from_millis(300);
/// How long an answer is used without asking again.
const FRESH_FOR: Duration = Duration::from_secs(60);
/// Names kept; there are as many as servers are configured.
const MAX_NAMES: usize = 64;

/// Addresses of STUN and TURN servers, kept over negotiations: a name service that is slow or away
/// must not delay a link that may not need it.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<String, (Instant, Vec<SocketAddr>)>>);

impl Names {
    async fn resolve(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        let known = self.known().get(host).cloned();
        let now = crate::runtime::now();
        if let Some((asked, addrs)) = &known
            && now.saturating_duration_since(*asked) < FRESH_FOR
        {
            return Ok(addrs.clone());
        }
        let looked_up = crate::runtime::timeout(LOOK_UP_FOR, tokio::net::lookup_host(host)).await;
        match (looked_up, known) {
            (Some(Ok(addrs)), _) => {
                let addrs: Vec<SocketAddr> = addrs.collect();
                let mut names = self.known();
                if names.len() < MAX_NAMES || names.contains_key(host) {
                    names.insert(host.to_owned(), (now, addrs.clone()));
                }
                Ok(addrs)
            }
            (_, Some((_, addrs))) => Ok(addrs),
            (Some(Err(error)), None) => Err(error),
            (None, None) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the name service did not answer within 300 ms"))
            }
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Vec<SocketAddr>)>> {
        self.0.lock().expect("no panic while names are locked")
    }
}
