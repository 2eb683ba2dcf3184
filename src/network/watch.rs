//! Feeds the pure half of this module: from the system's own news of addresses, from a look at the
//! way out, and from the clocks.

use std::time::Duration;

use super::NetworkChange;
use super::addresses::{Addresses, Sources};
use super::sleep::SleepWatch;
use crate::runtime;

/// How often to look at the clocks and the way out: a sleep, or another default route without
/// another address, is noticed this late. Two system calls each time.
const TICK: Duration = Duration::from_secs(2);
/// How often while addresses change: routes follow them, and of those nobody tells.
const QUICK_TICK: Duration = Duration::from_millis(250);
const QUICK_FOR: Duration = Duration::from_secs(3);
/// How long until news are asked for again when the system stopped telling.
const AGAIN: Duration = Duration::from_secs(30);

/// Tells of changes for as long as it is polled. Fails to nothing worse than silence: where the
/// system does not tell of addresses, the way out and the clocks are still looked at.
pub(crate) async fn watch(mut tell: impl FnMut(NetworkChange)) {
    let now = runtime::now();
    let mut addresses = Addresses::new(now);
    let mut sleep = SleepWatch::default();
    let mut news = system::News::new();
    addresses.handle_sources(now, system::sources());
    sleep.tick(now, runtime::unix_millis(), TICK);
    let mut every = TICK;
    let mut next_tick = now + every;
    let mut quick_until = now;
    loop {
        let wake = addresses.deadline().map_or(next_tick, |due| due.min(next_tick));
        let wait = wake.saturating_duration_since(runtime::now());
        let told = runtime::timeout(wait, news.next()).await;
        let now = runtime::now();
        match told {
            Some(system::Address::Up(ip)) => addresses.handle_up(now, ip),
            Some(system::Address::Down(ip)) => addresses.handle_down(now, ip),
            None => {}
        }
        if next_tick <= now {
            if let Some(slept) = sleep.tick(now, runtime::unix_millis(), every) {
                tracing::info!(?slept, "the machine slept");
                tell(NetworkChange::Wake);
            }
            addresses.handle_sources(now, system::sources());
            every = if now < quick_until { QUICK_TICK } else { TICK };
            next_tick = now + every;
        } else if told.is_some() {
            addresses.handle_sources(now, system::sources());
            quick_until = now + QUICK_FOR;
            next_tick = next_tick.min(now + QUICK_TICK);
        }
        if addresses.poll(now) {
            // A route comes a moment after its address, and is the same change.
            addresses.adopt_sources(system::sources());
            tracing::info!("the network of this machine changed");
            tell(NetworkChange::Addresses);
        }
    }
}

#[cfg(feature = "webrtc")]
mod system {
    //! The native side: the system tells of addresses through `if-watch`.

    use std::future::poll_fn;
    use std::net::{IpAddr, UdpSocket};

    use if_watch::IfEvent;
    use if_watch::tokio::IfWatcher;

    use super::{AGAIN, Sources};
    use crate::runtime::{self, Instant};

    pub(super) enum Address {
        Up(IpAddr),
        Down(IpAddr),
    }

    /// What the system tells of addresses; silent while it cannot be had.
    pub(super) struct News {
        watcher: Option<IfWatcher>,
        /// When to ask for it again.
        again: Instant,
    }

    impl News {
        pub(super) fn new() -> Self {
            Self { watcher: open(), again: runtime::now() + AGAIN }
        }

        /// The next news. Cancel-safe.
        pub(super) async fn next(&mut self) -> Address {
            loop {
                let Some(watcher) = &mut self.watcher else {
                    runtime::sleep(self.again.saturating_duration_since(runtime::now())).await;
                    self.again = runtime::now() + AGAIN;
                    self.watcher = open();
                    continue;
                };
                match poll_fn(|cx| watcher.poll_if_event(cx)).await {
                    Ok(IfEvent::Up(net)) => return Address::Up(net.addr()),
                    Ok(IfEvent::Down(net)) => return Address::Down(net.addr()),
                    Err(error) => {
                        tracing::warn!(%error, "the system no longer tells of its addresses");
                        self.watcher = None;
                        self.again = runtime::now() + AGAIN;
                    }
                }
            }
        }
    }

    fn open() -> Option<IfWatcher> {
        let opened = IfWatcher::new();
        if let Err(error) = &opened {
            tracing::warn!(%error, "changes of this machine's addresses will be noticed late");
        }
        opened.ok()
    }

    /// Where packets to far away would leave from. Nothing is sent: addresses for documentation,
    /// which nobody has, make the system look up its default routes.
    pub(super) fn sources() -> Sources {
        [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")].map(|(from, to)| {
            let socket = UdpSocket::bind(from).ok()?;
            socket.connect(to).ok()?;
            Some(socket.local_addr().ok()?.ip())
        })
    }
}

#[cfg(not(feature = "webrtc"))]
mod system {
    //! Nobody tells: there is the look at the clocks, and what the application tells.

    use std::net::IpAddr;

    use super::Sources;

    #[allow(dead_code)]
    pub(super) enum Address {
        Up(IpAddr),
        Down(IpAddr),
    }

    pub(super) struct News;

    impl News {
        pub(super) fn new() -> Self {
            Self
        }

        pub(super) async fn next(&mut self) -> Address {
            let _ = super::AGAIN;
            std::future::pending().await
        }
    }

    pub(super) fn sources() -> Sources {
        [None, None]
    }
}

#[cfg(all(test, feature = "webrtc"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_quiet_machine_has_no_news() {
        let mut told = 0;
        runtime::timeout(Duration::from_millis(2500), watch(|_| told += 1)).await;
        assert_eq!(told, 0);
    }

    #[test]
    fn the_way_out_is_the_same_when_asked_twice() {
        assert_eq!(system::sources(), system::sources());
    }
}
