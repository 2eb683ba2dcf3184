//! A bad network made of UDP sockets, to run real WebRTC through.

mod fate;
mod paths;
mod transport;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

pub use self::fate::Faults;
use self::fate::{Fate, Line};
use self::paths::Paths;
pub use self::transport::ProxiedTransport;
use crate::link::Transport;
use crate::runtime::{self, Instant};

/// A seeded proxy in user space through which a transport's packets pass: loss, delay, jitter,
/// reordering, duplicates, a rate, blackouts and new addresses, changed at will while links live.
///
/// [`transport`](Self::transport) wraps one end's transport; the other end needs nothing and
/// notices nothing. What the wrapped end offers and hears as its addresses are the proxy's, so no
/// packet finds another way. Both ends must be on this machine or its local network: only host
/// candidates pass, those of STUN and TURN servers do not.
///
/// ```no_run
/// use std::time::Duration;
///
/// use everlink::link::webrtc::{WebRtcConfig, WebRtcTransport};
/// use everlink::testkit::{UdpProxy, Way};
/// # let signaling = everlink::signaling::MemorySignaling::new();
/// # let identity = everlink::Identity::generate();
///
/// let proxy = UdpProxy::new(7);
/// let transport = proxy.transport(WebRtcTransport::new(WebRtcConfig::loopback()));
/// let client = everlink::Client::builder(identity).signaling(signaling).transport(transport).build();
///
/// proxy.update(Way::Both, |faults| {
///     faults.loss = 0.05;
///     faults.delay = Duration::from_millis(40);
/// });
/// proxy.blackout(true); // nothing passes, and nobody is told
/// proxy.blackout(false);
/// proxy.rebind(); // from now on the other end sees this one under another port
/// ```
#[derive(Clone)]
pub struct UdpProxy(Arc<Shared>);

/// A direction through a [`UdpProxy`], as the end sees it whose transport is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What this end sends.
    Out,
    /// What this end receives.
    In,
    /// Both.
    Both,
}

/// What went through a [`UdpProxy`] so far, both ways together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyStats {
    /// Packets that came.
    pub packets: u64,
    /// Of them, lost on purpose.
    pub lost: u64,
    /// Of them, passed on twice.
    pub doubled: u64,
    /// Bytes that came.
    pub bytes: u64,
}

/// What every path of a proxy goes by.
struct Shared {
    began: Instant,
    // A std mutex: held to decide about one packet, never over an await.
    state: Mutex<State>,
}

struct State {
    /// Out and in.
    faults: [Faults; 2],
    lines: [Line; 2],
    stats: ProxyStats,
    paths: Vec<Weak<Paths>>,
}

impl UdpProxy {
    /// A proxy that does no harm yet. With one seed and one sequence of packets and faults, the
    /// same packets are lost, late and doubled.
    pub fn new(seed: u64) -> Self {
        let state = State {
            faults: Default::default(),
            lines: [Line::new(seed), Line::new(!seed)],
            stats: ProxyStats::default(),
            paths: Vec::new(),
        };
        Self(Arc::new(Shared { began: runtime::now(), state: Mutex::new(state) }))
    }

    /// `inner`, with every packet of its links through this proxy. Needs a tokio runtime with I/O
    /// and time enabled when links are made.
    pub fn transport(&self, inner: impl Transport) -> ProxiedTransport {
        ProxiedTransport::new(Arc::new(inner), self.clone())
    }

    /// Changes the faults of a direction for the packets that come from now on.
    pub fn update(&self, way: Way, change: impl Fn(&mut Faults)) {
        let mut state = self.0.lock();
        for (at, faults) in state.faults.iter_mut().enumerate() {
            if way == Way::Both || (way == Way::Out) == (at == OUT) {
                change(faults);
            }
        }
    }

    /// Begins or ends a blackout both ways. What was under way arrives.
    pub fn blackout(&self, dark: bool) {
        self.update(Way::Both, |faults| faults.blackout = dark);
    }

    /// Takes every fault away.
    pub fn heal(&self) {
        self.update(Way::Both, |faults| *faults = Faults::default());
    }

    /// What a NAT does that forgot: from now on the other end sees this one under another port,
    /// and what it sends to the old one is lost, silently. Returns how many addresses changed.
    pub fn rebind(&self) -> usize {
        let paths: Vec<Arc<Paths>> = self.0.lock().paths.iter().filter_map(Weak::upgrade).collect();
        paths.iter().map(|paths| paths.rebind()).sum()
    }

    /// What went through so far.
    pub fn stats(&self) -> ProxyStats {
        self.0.lock().stats
    }
}

const OUT: usize = 0;
const IN: usize = 1;

impl fmt::Debug for UdpProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("UdpProxy")
            .field("out", &state.faults[OUT])
            .field("in", &state.faults[IN])
            .field("stats", &state.stats)
            .finish()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        runtime::now().saturating_duration_since(self.began)
    }

    /// What becomes of a packet of `bytes` that goes `way` now.
    fn fate(&self, way: usize, bytes: usize) -> Fate {
        let now = self.now();
        let mut state = self.lock();
        let State { faults, lines, stats, .. } = &mut *state;
        let fate = lines[way].fate(&faults[way], now, bytes);
        stats.packets += 1;
        stats.bytes += bytes as u64;
        stats.lost += u64::from(fate.first.is_none());
        stats.doubled += u64::from(fate.second.is_some());
        fate
    }

    fn enter(&self, paths: &Arc<Paths>) {
        let mut state = self.lock();
        state.paths.retain(|paths| paths.strong_count() > 0);
        state.paths.push(Arc::downgrade(paths));
    }
}
