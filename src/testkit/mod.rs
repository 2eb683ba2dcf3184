//! Faults on purpose, and a judge of what an application made of them (feature `testkit`).
//!
//! | to test | take |
//! | --- | --- |
//! | your application, in virtual time, without a socket | [`MemoryNetwork`] and [`MemorySignaling`](crate::signaling::MemorySignaling) |
//! | links that end under you | [`Cuttable`] around any transport |
//! | real WebRTC over a bad network | `UdpProxy` around a transport (native) |
//! | a peer of a release to come | [`speak`] in its settings |
//! | that nothing was lost, doubled or reordered | [`History`] at both ends, then [`check`] |
//!
//! Everything is seeded: a run that failed is repeated by its seed, as far as the clock allows. In
//! virtual time that is exactly; over real sockets the fate of each packet is the same, and the
//! packets are not.
//!
//! # Seeded faults in virtual time
//!
//! A link is reliable and ordered, so what can befall it is delay, an end, and silence. A
//! [`MemoryNetwork`] has all three: cuts that both ends notice
//! ([`cut_all`](MemoryNetwork::cut_all), or [`MemoryConfig::cut_after`] a seeded number of frames),
//! blackouts that nobody is told of ([`blackout`](MemoryNetwork::blackout)), and links that stay
//! open and carry nothing ([`MemoryConfig::survives`]).
//!
//! ```
//! use everlink::signaling::MemorySignaling;
//! use everlink::testkit::{Happened, History, MemoryConfig, MemoryNetwork, check};
//! use everlink::{Client, ConnectionConfig, Identity, ServiceConfig, Target};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
//! # runtime.block_on(async {
//! let seed = 7;
//! let mut faults = MemoryConfig::default();
//! faults.cut_after = Some(5..=50); // each link is cut after that many frames
//! let (network, signaling) = (MemoryNetwork::with_config(seed, faults), MemorySignaling::new());
//! let client = |secret| {
//!     Client::builder(Identity::from_secret([secret; 32]))
//!         .signaling(signaling.clone())
//!         .transport(network.transport())
//!         .seed(seed)
//!         .build()
//! };
//! let (host, peer) = (client(1), client(2));
//! let service = host.expose_service(ServiceConfig::new("alice".parse()?, "chat@1.0.0".parse()?)).await?;
//! // Lazily: even the first link may be cut before it is of use.
//! let connection = peer.connect_lazy(Target::Uuid(service.info().uuid), ConnectionConfig::default());
//! let ours = connection.open_channel("chat")?;
//! let session = service.accept().await.ok_or("stopped")?;
//! let mut theirs = session.accept_channel().await.ok_or("closed")?;
//!
//! let (at_peer, at_host) = (History::in_memory(), History::in_memory());
//! for number in 0..100_u64 {
//!     at_peer.record(Happened::Sending { channel: "chat", message: number })?;
//!     let receipt = ours.send(number.to_string()).await?;
//!     at_peer.record(Happened::Sent { channel: "chat", message: number, seq: receipt.seq() })?;
//!     receipt.stored().await?;
//!     at_peer.record(Happened::Stored { channel: "chat", message: number })?;
//!     let message = theirs.recv().await?;
//!     let number = message.as_text().ok_or("no text")?.parse()?;
//!     at_host.record(Happened::Received { channel: "chat", message: number })?;
//! }
//! assert!(network.links_made() > 1, "it was cut");
//! let verdict = check(seed, &at_peer.log()?, &at_host.log()?);
//! assert!(verdict.is_clean(), "{verdict}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cuttable;
mod history;
#[cfg(not(target_arch = "wasm32"))]
mod proxy;
mod version;

pub use self::cuttable::Cuttable;
pub use self::history::{Counts, Happened, History, Log, LogError, Verdict, Violation, ViolationKind, check};
#[cfg(not(target_arch = "wasm32"))]
pub use self::proxy::{Faults, ProxiedTransport, ProxyStats, UdpProxy, Way};
pub use self::version::speak;
pub use crate::link::memory::{MemoryConfig, MemoryNetwork, MemoryTransport};
