//! A bad network on purpose, for tests and benchmarks.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, Sleep};
use webrtc::runtime::{AsyncUdpSocket, EcnCodepoint, RecvMeta, Transmit};

/// Bytes that may be delayed at once in each direction; more are dropped, as a router would.
const MAX_DELAYED: usize = 64 << 20;
/// Datagrams read in one go, so that a flood cannot hold the task.
const MAX_INTAKE: usize = 64;

/// A handle on what the sockets of a transport do to packets. For tests and benchmarks: given to
/// [`WebRtcConfig::impairment`](super::WebRtcConfig::impairment) and changed while links live.
///
/// It works on the packets that the transport sends and on those it receives; given to one end
/// only, the numbers are those of the path. A transport without one pays nothing.
#[derive(Clone)]
pub struct Impairment(Arc<Knobs>);

struct Knobs {
    blackout: AtomicBool,
    delay_nanos: AtomicU64,
    /// The bits of an `f64`.
    loss: AtomicU64,
    chance: Mutex<StdRng>,
}

impl Impairment {
    /// No impairment yet; `seed` governs which packets a [loss](Self::set_loss) takes.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Knobs {
            blackout: AtomicBool::new(false),
            delay_nanos: AtomicU64::new(0),
            loss: AtomicU64::new(0.0_f64.to_bits()),
            chance: Mutex::new(StdRng::seed_from_u64(seed)),
        }))
    }

    /// Drops every packet, both ways, while `on`; nobody is told.
    pub fn set_blackout(&self, on: bool) {
        self.0.blackout.store(on, Ordering::SeqCst);
    }

    /// Delays each packet by `each_way`, in both directions, to a precision of about 1 ms: the
    /// round trip grows by twice of it.
    pub fn set_delay(&self, each_way: Duration) {
        self.0.delay_nanos.store(each_way.as_nanos() as u64, Ordering::SeqCst);
    }

    /// Loses this share of the packets of each direction, from 0.0 to 1.0.
    pub fn set_loss(&self, rate: f64) {
        self.0.loss.store(rate.clamp(0.0, 1.0).to_bits(), Ordering::SeqCst);
    }

    fn is_dark(&self) -> bool {
        self.0.blackout.load(Ordering::Relaxed)
    }

    fn delay(&self) -> Duration {
        Duration::from_nanos(self.0.delay_nanos.load(Ordering::Relaxed))
    }

    fn loss(&self) -> f64 {
        f64::from_bits(self.0.loss.load(Ordering::Relaxed))
    }

    fn loses(&self, rate: f64) -> bool {
        let mut chance = self.0.chance.lock().expect("no panic while the generator is locked");
        chance.random_bool(rate)
    }
}

impl fmt::Debug for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Impairment")
            .field("blackout", &self.is_dark())
            .field("delay", &self.delay())
            .field("loss", &self.loss())
            .finish()
    }
}

/// A socket behind an [`Impairment`].
#[derive(Debug)]
pub(super) struct ImpairedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    impairment: Impairment,
    line: Mutex<Line>,
}

/// What is under way. The lock is held within one poll only.
#[derive(Debug, Default)]
struct Line {
    sent: Queue,
    received: Queue,
    timer: Option<Pin<Box<Sleep>>>,
    /// Who polls the receiving side, which also sends what is due.
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct Queue {
    packets: VecDeque<Packet>,
    bytes: usize,
}

/// One batch of equal datagrams, as the system hands them over.
#[derive(Debug)]
struct Packet {
    due: Instant,
    contents: Vec<u8>,
    segment_size: Option<usize>,
    addr: SocketAddr,
    ecn: Option<EcnCodepoint>,
}

impl Queue {
    fn push(&mut self, packet: Packet) {
        if self.bytes + packet.contents.len() <= MAX_DELAYED {
            self.bytes += packet.contents.len();
            self.packets.push_back(packet);
        }
    }

    fn pop(&mut self) {
        if let Some(packet) = self.packets.pop_front() {
            self.bytes -= packet.contents.len();
        }
    }

    fn due(&self) -> Option<Instant> {
        self.packets.front().map(|packet| packet.due)
    }
}

impl ImpairedSocket {
    pub(super) fn new(inner: Arc<dyn AsyncUdpSocket>, impairment: Impairment) -> Self {
        Self { inner, impairment, line: Mutex::default() }
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.line.lock().expect("no panic while the line is locked")
    }

    /// `contents` without the datagrams that get lost.
    fn survivors(&self, contents: &[u8], segment_size: usize) -> Vec<u8> {
        let rate = self.impairment.loss();
        if rate == 0.0 {
            return contents.to_vec();
        }
        let mut left = Vec::with_capacity(contents.len());
        for datagram in contents.chunks(segment_size.max(1)) {
            if !self.impairment.loses(rate) {
                left.extend_from_slice(datagram);
            }
        }
        left
    }

    /// Sends what is due, as far as the system takes it now.
    fn send_due(&self, line: &mut Line, cx: &mut Context<'_>, now: Instant) {
        while let Some(packet) = line.sent.packets.front().filter(|packet| packet.due <= now) {
            if !self.impairment.is_dark() {
                let transmit = Transmit {
                    destination: packet.addr,
                    ecn: packet.ecn,
                    contents: &packet.contents,
                    segment_size: packet.segment_size,
                    src_ip: None,
                };
                // It also waits when this task has had its share of the processor.
                if self.inner.poll_send(cx, &transmit).is_pending() {
                    return;
                }
            }
            line.sent.pop();
        }
    }
}

/// What was sent before a socket was closed is still under way, a goodbye among it.
impl Drop for ImpairedSocket {
    fn drop(&mut self) {
        let mut line = std::mem::take(&mut *self.line());
        let Some(last) = line.sent.packets.back().map(|packet| packet.due) else { return };
        self.send_due(&mut line, &mut Context::from_waker(Waker::noop()), last);
    }
}

// The simulated line keeps real time: packets cross real sockets.
#[allow(clippy::disallowed_methods)]
impl AsyncUdpSocket for ImpairedSocket {
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
        let all = transmit.contents.len();
        if self.impairment.is_dark() {
            return Poll::Ready(Ok(all));
        }
        let delay = self.impairment.delay();
        let mut line = self.line();
        if delay.is_zero() && line.sent.packets.is_empty() && self.impairment.loss() == 0.0 {
            return self.inner.poll_send(cx, transmit);
        }
        let segment_size = transmit.segment_size.unwrap_or(all);
        let contents = self.survivors(transmit.contents, segment_size);
        if !contents.is_empty() {
            line.sent.push(Packet {
                due: Instant::now() + delay,
                // A batch that shrank to one datagram must not ask to be cut.
                segment_size: transmit.segment_size.filter(|size| *size < contents.len()),
                contents,
                addr: transmit.destination,
                ecn: transmit.ecn,
            });
            if let Some(waker) = &line.waker {
                waker.wake_by_ref();
            }
        }
        Poll::Ready(Ok(all))
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut line = self.line();
        line.waker = Some(cx.waker().clone());
        for _ in 0..MAX_INTAKE {
            match self.inner.poll_recv(cx, &mut bufs[..1], &mut meta[..1]) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(0)) => continue,
                Poll::Ready(Ok(_)) => {}
            }
            if self.impairment.is_dark() {
                continue;
            }
            let contents = self.survivors(&bufs[0][..meta[0].len], meta[0].stride);
            if !contents.is_empty() {
                line.received.push(Packet {
                    due: Instant::now() + self.impairment.delay(),
                    contents,
                    segment_size: Some(meta[0].stride),
                    addr: meta[0].addr,
                    ecn: meta[0].ecn,
                });
            }
        }
        loop {
            let now = Instant::now();
            self.send_due(&mut line, cx, now);
            while let Some(packet) = line.received.packets.front().filter(|p| p.due <= now) {
                if self.impairment.is_dark() {
                    line.received.pop();
                    continue;
                }
                let len = packet.contents.len();
                bufs[0][..len].copy_from_slice(&packet.contents);
                meta[0] = RecvMeta::default();
                meta[0].len = len;
                meta[0].stride = packet.segment_size.unwrap_or(len).clamp(1, len.max(1));
                meta[0].addr = packet.addr;
                meta[0].ecn = packet.ecn;
                line.received.pop();
                return Poll::Ready(Ok(1));
            }
            let next = [line.sent.due(), line.received.due()].into_iter().flatten().min();
            // What is overdue waits for the socket, which wakes us.
            let Some(due) = next.filter(|due| *due > now) else { return Poll::Pending };
            let timer = line.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            timer.as_mut().reset(due);
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}
