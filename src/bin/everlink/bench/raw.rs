//! The yardstick: the same work done by a plain program on the `webrtc` crate, once as the stack
//! comes and once tuned like ours.
//!
//! Both ends run in this process, each on a thread and a current-thread runtime of its own, which
//! is as near to two processes as one gets: they share nothing but the loopback interface.
//! Everything here blocks the calling thread, which must not be one of an async runtime.

use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::task::AtomicWaker;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use tokio::sync::oneshot;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState,
    RTCSessionDescription, SettingEngineBuilder,
};
use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

#[path = "../../../link/webrtc/impairment.rs"]
#[allow(dead_code)]
pub mod impairment;
use self::impairment::{ImpairedSocket, Impairment};

/// How much care the raw program takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuning {
    /// Defaults of the stack, and the flow control of its own examples: stop at 1 MiB buffered,
    /// go on below 512 KiB.
    AsItComes,
    /// What everlink sets: 4 MiB socket buffers, a set-up without pauses, an 8 MiB receive
    /// buffer, credits of its own for a receiver that always drains, and a made-up packet when it
    /// has drained, without which the stack forgets messages for seconds once 256 wait.
    Alike,
}

/// One measurement of a stream in one direction.
#[derive(Clone, Copy, Debug)]
pub struct Throughput {
    /// Payload in 10^6 bytes a second.
    pub megabytes: f64,
    /// Messages a second.
    pub messages: f64,
}

/// Times of something done many times.
#[derive(Clone, Debug)]
pub struct Times {
    sorted: Vec<Duration>,
}

impl Times {
    /// Sorts what was measured; there must be something.
    pub fn new(mut times: Vec<Duration>) -> Self {
        assert!(!times.is_empty(), "nothing was measured");
        times.sort_unstable();
        Self { sorted: times }
    }

    /// The time that a share of `q` (0.0 to 1.0) did not exceed.
    pub fn quantile(&self, q: f64) -> Duration {
        self.sorted[((self.sorted.len() - 1) as f64 * q).round() as usize]
    }
}

/// Sends messages of `size` bytes for `run`, and measures what arrived after the first quarter of
/// it. `delay` is added to each direction of the path.
pub fn throughput(tuning: Tuning, size: usize, run: Duration, delay: Duration) -> Throughput {
    let ((), receiver) = two_ends(
        tuning,
        delay,
        move |end| Box::pin(async move { end.send_for(size, run).await }),
        move |end| Box::pin(async move { end.count(run).await }),
    );
    receiver
}

/// Sends `size` bytes to and fro `count` times.
pub fn round_trip(tuning: Tuning, size: usize, count: usize, delay: Duration) -> Times {
    let (times, ()) = two_ends(
        tuning,
        delay,
        move |end| {
            Box::pin(async move {
                let mut times = Vec::with_capacity(count);
                for _ in 0..count {
                    let begun = Instant::now();
                    end.send(BytesMut::zeroed(size)).await;
                    end.recv().await;
                    times.push(begun.elapsed());
                }
                end.send(BytesMut::new()).await;
                times
            })
        },
        |end| {
            Box::pin(async move {
                while let Some(message) = end.recv().await {
                    if message.is_empty() {
                        break;
                    }
                    end.send(message).await;
                }
            })
        },
    );
    Times::new(times)
}

/// Makes `count` connections one after the other: from the creation of the offer to the open
/// channel at the offering end.
pub fn connect(tuning: Tuning, count: usize, delay: Duration) -> Times {
    let one = |_| {
        let (took, ()) =
            two_ends(tuning, delay, |end| Box::pin(async move { end.opened_in }), |_| Box::pin(async {}));
        took
    };
    Times::new((0..count).map(one).collect())
}

/// Keeps `pairs` connections, tuned alike, open and idle on one runtime until `run` has passed,
/// for whoever measures the process meanwhile.
pub fn idle(pairs: usize, run: Duration) {
    let until = tokio::time::Instant::now() + run;
    on_a_runtime(async move {
        let mut kept = Vec::with_capacity(pairs);
        for _ in 0..pairs {
            let (a, b) = (End::new(Tuning::Alike, None).await, End::new(Tuning::Alike, None).await);
            a.take_answer(b.answer(a.offer().await).await).await;
            tokio::join!(a.open(), b.open());
            kept.push((a, b));
        }
        tokio::time::sleep_until(until).await;
        for (a, b) in kept {
            let _ = tokio::join!(a.pc.close(), b.pc.close());
        }
    });
}

type Work<T> = Pin<Box<dyn Future<Output = T>>>;

/// Connects two ends over a path with this delay each way.
pub fn two_ends<A: Send + 'static, B: Send + 'static>(
    tuning: Tuning,
    delay: Duration,
    offering: impl FnOnce(Arc<End>) -> Work<A> + Send + 'static,
    answering: impl FnOnce(Arc<End>) -> Work<B> + Send + 'static,
) -> (A, B) {
    let impairment = (!delay.is_zero()).then(|| {
        let impairment = Impairment::new(0);
        impairment.set_delay(delay);
        impairment
    });
    between(tuning, impairment, offering, answering)
}

/// Connects two ends, each on a thread of its own, and has each do its work. The impairment is the
/// offering end's.
pub fn between<A: Send + 'static, B: Send + 'static>(
    tuning: Tuning,
    impairment: Option<Impairment>,
    offering: impl FnOnce(Arc<End>) -> Work<A> + Send + 'static,
    answering: impl FnOnce(Arc<End>) -> Work<B> + Send + 'static,
) -> (A, B) {
    let (offer_in, offer) = oneshot::channel();
    let (answer_in, answer) = oneshot::channel();
    let first = std::thread::spawn(move || {
        on_a_runtime(async move {
            let mut end = End::new(tuning, impairment).await;
            let begun = Instant::now();
            let offer = end.offer().await;
            offer_in.send(offer).expect("the other end waits for the offer");
            end.take_answer(answer.await.expect("the other end answers")).await;
            end.open().await;
            end.opened_in += begun.elapsed();
            // The stack tells nobody of a close that comes before the other end is open.
            end.recv().await.expect("the other end opens, too");
            let end = Arc::new(end);
            let done = offering(Arc::clone(&end)).await;
            end.pc.close().await.expect("a connection that worked closes");
            done
        })
    });
    let second = std::thread::spawn(move || {
        on_a_runtime(async move {
            let end = End::new(tuning, None).await;
            let answer = end.answer(offer.await.expect("the other end offers")).await;
            answer_in.send(answer).expect("the other end waits for the answer");
            end.open().await;
            end.send(BytesMut::from(&b"open"[..])).await;
            let end = Arc::new(end);
            let done = answering(Arc::clone(&end)).await;
            // The other end closes: closing here would throw away what it has not received.
            while end.recv().await.is_some() {}
            end.pc.close().await.expect("a connection that worked closes");
            done
        })
    });
    let first = first.join().expect("the offering end does not panic");
    (first, second.join().expect("the answering end does not panic"))
}

fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(work)
}

/// Credits: how far the sender may run ahead of the receiver, and how often it hears of it.
const WINDOW: u64 = 4 << 20;
const CREDIT_EVERY: u64 = 512 << 10;
/// What a message costs of the window. The stack numbers messages with 16 bits and, once 32,768 wait
/// to be read, never finds the next one again.
fn charge(size: usize) -> u64 {
    size.max(512) as u64
}
/// The limits of the stack's own flow-control example.
const HIGH: usize = 1 << 20;

/// One end of a raw connection.
pub struct End {
    tuning: Tuning,
    pc: Box<dyn PeerConnection>,
    channel: Arc<dyn DataChannel>,
    gathered: tokio::sync::Mutex<tokio::sync::mpsc::Receiver<()>>,
    open: Arc<AtomicBool>,
    closed: AtomicBool,
    pump: Arc<Pump>,
    /// From its creation to the open channel.
    pub opened_in: Duration,
}

impl End {
    /// One end, whose sockets are on loopback.
    pub async fn new(tuning: Tuning, impairment: Option<Impairment>) -> Self {
        let begun = Instant::now();
        let (gathered_in, gathered) = tokio::sync::mpsc::channel(1);
        let open = Arc::new(AtomicBool::new(false));
        let alike = tuning == Tuning::Alike;
        let pump = Arc::<Pump>::default();
        let runtime = Tuned { alike, open: Arc::clone(&open), impairment, pump: Arc::clone(&pump) };
        let mut builder = PeerConnectionBuilder::new()
            .with_handler(Arc::new(Gathering(gathered_in)))
            .with_runtime(Arc::new(runtime) as Arc<dyn Runtime>)
            .with_udp_addrs(vec!["127.0.0.1:0"]);
        let mut init = RTCDataChannelInit::default();
        if alike {
            init.negotiated = Some(0);
            builder = builder.with_data_channel_send_buffer_limit(4 << 20).with_setting_engine(
                SettingEngineBuilder::new()
                    .with_multicast_dns_mode(MulticastDnsMode::Disabled)
                    .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(64 << 10))
                    .with_sctp_max_receive_buffer_size(8 << 20)
                    .build(),
            );
        } else {
            // Otherwise only one of both could create it. The default would take longer.
            init.negotiated = Some(0);
        }
        let pc = builder.build().await.expect("a peer connection on loopback");
        let channel = pc.create_data_channel("raw", Some(init)).await.expect("a data channel");
        Self {
            tuning,
            pc: Box::new(pc),
            channel,
            gathered: tokio::sync::Mutex::new(gathered),
            open,
            closed: AtomicBool::new(false),
            pump,
            opened_in: begun.elapsed(),
        }
    }

    async fn described(&self, description: RTCSessionDescription) -> String {
        self.pc.set_local_description(description).await.expect("our own description is good");
        self.gathered.lock().await.recv().await.expect("gathering ends");
        self.pc.local_description().await.expect("there is one").sdp
    }

    /// The offer, with all candidates.
    pub async fn offer(&self) -> String {
        self.described(self.pc.create_offer(None).await.expect("an offer")).await
    }

    async fn answer(&self, offer: String) -> String {
        let offer = RTCSessionDescription::offer(offer).expect("the stack reads its own SDP");
        self.pc.set_remote_description(offer).await.expect("a good offer");
        self.described(self.pc.create_answer(None).await.expect("an answer")).await
    }

    /// Takes the answer of the other end, with all candidates.
    pub async fn take_answer(&self, answer: String) {
        let answer = RTCSessionDescription::answer(answer).expect("the stack reads its own SDP");
        self.pc.set_remote_description(answer).await.expect("a good answer");
    }

    /// Waits until its channel is open.
    pub async fn open(&self) {
        while !matches!(self.channel.poll().await, Some(DataChannelEvent::OnOpen)) {}
        self.open.store(true, Ordering::Release);
    }

    /// Sends one message.
    pub async fn send(&self, message: BytesMut) {
        self.channel.send(message).await.expect("the connection holds");
    }

    /// The next message; `None` when the other end closed.
    pub async fn recv(&self) -> Option<BytesMut> {
        while !self.closed.load(Ordering::Acquire) {
            let mut event = self.channel.poll();
            let event = match futures_util::poll!(&mut event) {
                Poll::Ready(event) => event,
                Poll::Pending => {
                    self.pump.handle_drained();
                    event.await
                }
            };
            match event {
                Some(DataChannelEvent::OnMessage(message)) => {
                    self.pump.taken.fetch_add(1, Ordering::Relaxed);
                    return Some(message.data);
                }
                Some(DataChannelEvent::OnClose) | None => {
                    self.closed.store(true, Ordering::Release);
                }
                Some(_) => {}
            }
        }
        None
    }

    async fn send_for(&self, size: usize, run: Duration) {
        match self.tuning {
            Tuning::AsItComes => self.send_below_high(size, run).await,
            Tuning::Alike => self.send_by_credit(size, run).await,
        }
        self.send(BytesMut::new()).await;
        // Until the other end has it all.
        while self.recv().await.is_some_and(|message| !message.is_empty()) {}
    }

    async fn send_below_high(&self, size: usize, run: Duration) {
        let low = (HIGH / 2) as u32;
        self.channel.set_buffered_amount_low_threshold(low).await.expect("an open channel");
        let begun = Instant::now();
        while begun.elapsed() < run {
            if self.channel.outstanding_bytes().await.expect("an open channel") >= HIGH {
                let wait = async {
                    while !matches!(
                        self.channel.poll().await,
                        None | Some(DataChannelEvent::OnBufferedAmountLow)
                    ) {}
                };
                // The event can have come before it was waited for.
                let _ = tokio::time::timeout(Duration::from_millis(5), wait).await;
                continue;
            }
            self.send(BytesMut::zeroed(size)).await;
        }
    }

    async fn send_by_credit(&self, size: usize, run: Duration) {
        let credited = std::sync::atomic::AtomicU64::new(WINDOW);
        let more = tokio::sync::Notify::new();
        let sending = async {
            let (begun, mut sent) = (Instant::now(), 0);
            while begun.elapsed() < run {
                if sent + charge(size) > credited.load(Ordering::Acquire) {
                    more.notified().await;
                    continue;
                }
                self.send(BytesMut::zeroed(size)).await;
                sent += charge(size);
            }
        };
        let crediting = async {
            while let Some(credit) = self.recv().await {
                let Ok(bytes) = <[u8; 8]>::try_from(&credit[..]) else { return };
                credited.store(WINDOW + u64::from_be_bytes(bytes), Ordering::Release);
                more.notify_one();
            }
        };
        tokio::select! {
            () = sending => {}
            // The other end counts no more, or closed.
            () = crediting => {}
        }
    }

    async fn count(&self, run: Duration) -> Throughput {
        let (mut messages, mut bytes, mut charged, mut told) = (0_u64, 0_u64, 0_u64, 0_u64);
        let begun = Instant::now();
        let mut from = None;
        let mut until = begun;
        // As it comes, the stack can take minutes to hand over what has long arrived.
        let late = tokio::time::Instant::now() + 2 * run;
        while let Ok(Some(message)) = tokio::time::timeout_at(late, self.recv()).await {
            if message.is_empty() {
                break;
            }
            messages += 1;
            bytes += message.len() as u64;
            charged += charge(message.len());
            if self.tuning == Tuning::Alike && charged - told >= CREDIT_EVERY {
                told = charged;
                self.send(BytesMut::from(&charged.to_be_bytes()[..])).await;
            }
            let now = Instant::now();
            if from.is_none() && now - begun >= run / 4 {
                from = Some((now, messages, bytes));
            }
            until = now;
        }
        self.send(BytesMut::new()).await;
        let (from, messages_before, bytes_before) = from.unwrap_or((begun, 0, 0));
        let seconds = (until - from).as_secs_f64().max(1e-9);
        Throughput {
            megabytes: (bytes - bytes_before) as f64 / 1e6 / seconds,
            messages: (messages - messages_before) as f64 / seconds,
        }
    }
}

struct Gathering(tokio::sync::mpsc::Sender<()>);

// Written out as `async_trait` would.
impl PeerConnectionEventHandler for Gathering {
    fn on_ice_gathering_state_change<'a, 'b>(
        &'a self,
        state: RTCIceGatheringState,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        if state == RTCIceGatheringState::Complete {
            let _ = self.0.try_send(());
        }
        Box::pin(std::future::ready(()))
    }
}

/// Tokio with the tuning that works from outside.
#[derive(Debug)]
struct Tuned {
    alike: bool,
    open: Arc<AtomicBool>,
    impairment: Option<Impairment>,
    pump: Arc<Pump>,
}

/// Asks for a packet that says nothing.
#[derive(Debug, Default)]
struct Pump {
    taken: AtomicU32,
    wanted: AtomicBool,
    reader: AtomicWaker,
}

impl Pump {
    fn handle_drained(&self) {
        if self.taken.load(Ordering::Relaxed) >= 64 {
            self.taken.store(0, Ordering::Relaxed);
            self.wanted.store(true, Ordering::Release);
            self.reader.wake();
        }
    }
}

#[derive(Debug)]
struct PumpedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    pump: Arc<Pump>,
}

/// A STUN binding indication.
const INDICATION: [u8; 20] = [0, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

impl AsyncUdpSocket for PumpedSocket {
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
        self.inner.poll_send(cx, transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.pump.reader.register(cx.waker());
        if self.pump.wanted.swap(false, Ordering::AcqRel) {
            bufs[0][..INDICATION.len()].copy_from_slice(&INDICATION);
            meta[0] = RecvMeta::default();
            (meta[0].len, meta[0].stride) = (INDICATION.len(), INDICATION.len());
            return Poll::Ready(Ok(1));
        }
        self.inner.poll_recv(cx, bufs, meta)
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl Runtime for Tuned {
    fn spawn(&self, future: Boxed<'static, ()>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        if self.alike {
            let options = socket2::SockRef::from(&socket);
            let _ = options.set_recv_buffer_size(4 << 20);
            let _ = options.set_send_buffer_size(4 << 20);
        }
        let socket = TokioRuntime.wrap_udp_socket(socket)?;
        let inner = match &self.impairment {
            Some(impairment) => Arc::new(ImpairedSocket::new(socket, impairment.clone())),
            None => socket,
        };
        Ok(match self.alike {
            true => Arc::new(PumpedSocket { inner, pump: Arc::clone(&self.pump) }),
            false => inner,
        })
    }

    fn wrap_tcp_listener(&self, listener: std::net::TcpListener) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(&'a self, addr: SocketAddr) -> Boxed<'a, io::Result<Arc<dyn AsyncTcpStream>>> {
        TokioRuntime.connect_tcp(addr)
    }

    fn resolve_host<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<SocketAddr>>> {
        TokioRuntime.resolve_host(host)
    }

    fn sleep(&self, duration: Duration) -> Boxed<'static, ()> {
        // The driver forgets to send what its events produced, and waits for this to end.
        let cap = match self.alike && !self.open.load(Ordering::Acquire) {
            true => Duration::from_millis(1),
            false => Duration::MAX,
        };
        TokioRuntime.sleep(duration.min(cap))
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
}
