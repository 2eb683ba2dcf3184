//! Durable peer-to-peer connections over WebRTC.
//!
//! A *host* exposes a service under a name. A *peer* connects to it by that name or by its uuid.
//! From then on they share a [`DurableConnection`]: it outlives the links beneath it, and what is
//! sent on its channels arrives once and in order, or both sides are told that it did not.
//!
//! # Quick start
//!
//! Both ends in one process, over memory links, so that it runs anywhere. For the real thing leave
//! the `transport` out (the default is WebRTC) and give `HttpSignaling` in place of
//! [`MemorySignaling`](signaling::MemorySignaling).
//!
//! ```
//! use everlink::link::memory::MemoryNetwork;
//! use everlink::signaling::MemorySignaling;
//! use everlink::{Client, Identity, ServiceConfig};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (network, signaling) = (MemoryNetwork::new(1), MemorySignaling::new());
//! let client = || {
//!     Client::builder(Identity::generate())
//!         .signaling(signaling.clone())
//!         .transport(network.transport())
//!         .build()
//! };
//!
//! // The host.
//! let host = client();
//! let config = ServiceConfig::new("alice".parse()?, "chat@1.0.0".parse()?);
//! let service = host.expose_service(config).await?;
//!
//! // The peer, who was told the uuid. `connect("alice", "chat@1.0.0")` works, too.
//! let peer = client();
//! let connection = peer.connect_by_uuid(service.info().uuid).await?;
//! let channel = connection.open_channel("notes")?;
//! channel.send("first").await?;
//!
//! // The host again: one new session, and in it one new channel.
//! let session = service.accept().await.ok_or("the service has stopped")?;
//! let mut notes = session.accept_channel().await.ok_or("the connection is closed")?;
//! assert_eq!(notes.recv().await?.as_text(), Some("first"));
//!
//! // Every link breaks. Neither side has to do anything about it.
//! network.cut_all();
//! channel.send("second").await?;
//! assert_eq!(notes.recv().await?.as_text(), Some("second"));
//!
//! connection.close().await;
//! peer.shutdown().await;
//! host.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Three questions, three surfaces
//!
//! * *What is it now?* [`DurableConnection::state`], and
//!   [`state_changed`](DurableConnection::state_changed) to wait for another one. A level: whoever
//!   looks late still sees what holds.
//! * *What happened?* [`DurableConnection::events`], [`DurableChannel::events`] and
//!   [`DurableService::events`]. Edges, one for each transition. A subscriber that falls 256 behind
//!   loses the oldest, and a `Lagged` event says how many.
//! * *What did they say?* [`DurableChannel::recv`]. Lossless, in order. Asking for a message
//!   acknowledges the one before, so what is acknowledged was handled, not merely received.
//!
//! There are no callbacks, but for the handler given to [`DurableService::serve`]. Every async
//! method says in its documentation what dropping its future means; most are cancel-safe.
//!
//! ```
//! use everlink::{ConnectionEvent, DurableConnection};
//!
//! async fn watch(connection: DurableConnection) {
//!     let mut events = connection.events();
//!     while let Some(event) = events.next().await {
//!         match event {
//!             ConnectionEvent::Connected { resumed: true, replayed, after } => {
//!                 println!("back after {after:?}, {replayed} messages sent again");
//!             }
//!             ConnectionEvent::Disconnected { cause } => println!("link lost: {cause:?}"),
//!             ConnectionEvent::Closed(reason) => println!("over: {reason}"),
//!             _ => {}
//!         }
//!     }
//! }
//! ```
//!
//! # Channels
//!
//! A connection has any number of channels (up to [`ConnectionConfig::max_channels`] each way), named by
//! their labels. Either side opens one by [`open_channel`](DurableConnection::open_channel); the other
//! finds it by [`accept_channel`](DurableConnection::accept_channel) or by opening the same label.
//! Channels do not wait for each other. A message has up to [`ConnectionConfig::max_message`]
//! bytes (16 MiB); large ones travel in pieces, small ones share a packet.
//!
//! [`send`](DurableChannel::send) gives a [`Receipt`]. Drop it, or wait on
//! [`Receipt::acked`] to know that the peer's application has the message.
//! [`DurableConnection::flush`] waits for everything sent so far. A channel is a
//! `futures` `Stream` and `Sink`, too, and [`split`](DurableChannel::split) gives its two
//! directions to two tasks.
//!
//! # Queues
//!
//! While there is a link, `send` waits for room and nothing is ever dropped. While there is none,
//! messages queue, bounded by [`QueueConfig`]: 1,000 messages, 16 MiB, 60 seconds. At the bound the
//! oldest are dropped ([`WhenFull::DropOldest`]), and both sides hear of it: the sender by
//! [`ChannelEvent::Overflow`] or [`ChannelEvent::Expired`] and by the [`Receipt`], the receiver by
//! [`ChannelEvent::Gap`]. Only what was never transmitted is dropped.
//!
//! For a channel that never drops, and makes `send` wait instead:
//!
//! ```
//! # fn example(connection: everlink::DurableConnection) -> Result<(), everlink::ChannelError> {
//! use everlink::{ChannelConfig, QueueConfig};
//!
//! let ledger = connection.open_channel_with("ledger", ChannelConfig::queue(QueueConfig::lossless()))?;
//! # Ok(())
//! # }
//! ```
//!
//! A message may ask for more by [`send_with`](DurableChannel::send_with): a *deadline*, after which it
//! is not worth sending, and a *key*, of which only the newest message need arrive. Both hold with a
//! link, too, and whatever they drop is reported on both sides as well.
//!
//! ```
//! # async fn example(channel: everlink::DurableChannel) -> Result<(), everlink::SendError> {
//! use std::time::Duration;
//!
//! use everlink::SendOptions;
//!
//! channel.send_with("page 7", SendOptions::new().supersede("page")).await?;
//! channel.send_with("ring", SendOptions::new().deadline(Duration::from_secs(20))).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Which channel goes first is said by [`ChannelConfig::priority`]: a message of a
//! [`Control`](Priority::Control) channel leaves in the next packet, however much waits in a
//! [`Bulk`](Priority::Bulk) one.
//!
//! # Surviving a restart
//!
//! With a store, a session outlives its process. What was sent and is not acknowledged, and how far
//! the application has come in what it received, are on disk before the peer hears of them.
//!
//! ```no_run
//! # #[cfg(all(feature = "store", not(target_arch = "wasm32")))]
//! # async fn example(
//! #     signaling: everlink::signaling::MemorySignaling,
//! #     uuid: everlink::signaling::ServiceUuid,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use everlink::store::FileStore;
//! use everlink::{ChannelConfig, Client, ConnectionConfig, Identity, QueueConfig, Target};
//!
//! let client = Client::builder(Identity::load_or_create("identity.key")?)
//!     .signaling(signaling)
//!     .store(FileStore::open("sessions")?)
//!     .build();
//!
//! // The session of the last run, if it was not closed; otherwise a new one.
//! let connection = client.connect_lazy(Target::Uuid(uuid), ConnectionConfig::default());
//! let config = ChannelConfig::queue(QueueConfig::lossless());
//! let mut orders = connection.open_channel_with("orders", config)?; // under the label it had
//! orders.send("42 teapots").await?.stored().await?; // from here on it arrives, though we are killed
//!
//! let confirmation = orders.recv().await?;
//! orders.commit().await?; // from here on it does not come again, though we are killed
//! println!("{confirmation:?}");
//!
//! connection.detach().await; // leaves; `close` would be final
//! # Ok(())
//! # }
//! ```
//!
//! * A host goes on in [`Client::expose_service`]: the old sessions come first from
//!   [`DurableService::accept`], with their channels.
//! * Use the same identity, the same [`Target`] and the same labels. Open channels again with the same
//!   [`ChannelConfig`]: queue settings and priority are not stored.
//! * [`Receipt::stored`] says that a message survives a crash; one wait for the last of many is enough. Queue
//!   settings hold for stored messages, too: the default queue drops what waits for too long.
//! * A receiver that was killed sees again the message it was working on, and those whose acknowledgement
//!   was not on disk yet. [`commit`](DurableChannel::commit) records a message at once.
//! * [`detach`](DurableConnection::detach) and [`Client::shutdown`] leave a session to be resumed, and so does
//!   dropping the last handle on the dialing side; at a host that is a [`close`](DurableConnection::close), which ends it at
//!   both ends. A *channel* that is dropped before one of them is closed.
//! * A store that takes nothing stops the connection, or is given up, as
//!   [`ConnectionConfig::on_store_failure`] says.
//! * A session that cannot go on ends as [`CloseReason::SessionLost`], and
//!   [`take_undelivered`](DurableConnection::take_undelivered) gives its messages back.
//!
//! `docs/GUARANTEES.md` says what holds under which fault, and how an application gets exactly-once effects.
//!
//! # What each message is worth
//!
//! | ask for | by | then |
//! | --- | --- | --- |
//! | it must arrive | [`QueueConfig::lossless`] | nothing is dropped; `send` waits |
//! | not after a certain time | [`SendOptions::deadline`] | it is dropped if it was not transmitted by then |
//! | only the newest of its kind | [`SendOptions::supersede`] | a newer one takes its place in the queue |
//! | before the rest | [`ChannelConfig::priority`] | its channel goes first; a lane that is always busy starves those below |
//! | now or never | [`ChannelConfig::lossy`] | no queue, no replay |
//!
//! # Requests and streams
//!
//! * [`Requester`] and [`Responder`]: requests with replies, many in flight, each with a timeout, never executed twice.
//! * [`DurableStream`]: a stream of bytes with tokio's `AsyncRead` and `AsyncWrite`.
//!
//! Both go on over the next link where they stopped, and both want a channel with [`QueueConfig::lossless`].
//!
//! # Tutorials
//!
//! With the feature `tutorial`, the module [`tutorial`]: a room where one leads through a tutorial and the others follow, with control
//! handed over safely, on durable connections. `docs/TUTORIAL.md` tells how it works.
//!
//! # Lossy channels
//!
//! For what is stale when it comes late, such as a cursor's position.
//! [`ChannelConfig::lossy`] makes a channel that is a data channel of its own on each link, with no
//! queue, no replay and no acknowledgement. What is sent while there is no link is gone. A message has
//! at most 60 KiB.
//!
//! ```
//! # fn example(connection: everlink::DurableConnection) -> Result<(), everlink::ChannelError> {
//! use everlink::ChannelConfig;
//!
//! let cursors = connection.open_channel_with("cursors", ChannelConfig::lossy(false, 0))?;
//! # Ok(())
//! # }
//! ```
//!
//! # Services
//!
//! [`Client::expose_service`] claims the username if it is free, publishes the service, refreshes
//! its lease at 80 % and keeps [`ServiceConfig::pool_size`] offers ready. One offer serves any number
//! of joiners, one after the other. [`DurableService::accept`] gives each *new* session; a peer that
//! returns resumes its old one and is not accepted again. The uuid is derived from the owner's key,
//! so it is the same after every refresh and restart. Keep the key: [`Identity::load_or_create`].
//!
//! A service is private unless [`ServiceConfig::public`] says otherwise: it is found by its uuid, or
//! by its exact name and version, with [`ServiceConfig::token`] if one is set. A public one is listed by
//! [`Client::services`], and found by requirement: `chat@^1.2`, `chat@1`.
//!
//! A session whose peer is away is kept for [`ConnectionConfig::park_for`] (5 minutes; with a store, after a
//! restart of the host, for that time from then on). A peer that finds its session gone gets [`CloseReason::SessionLost`], or a new session with
//! [`SessionLost::StartFresh`].
//!
//! # Testing your own application
//!
//! [`MemoryNetwork`](link::memory::MemoryNetwork) and
//! [`MemorySignaling`](signaling::MemorySignaling) need no socket, and keep to tokio's clock: with
//! `#[tokio::test(start_paused = true)]` a test of a minute's outage takes
//! milliseconds.
//!
//! ```
//! use std::time::Duration;
//!
//! use everlink::link::memory::MemoryNetwork;
//! use everlink::signaling::MemorySignaling;
//! use everlink::{Client, ConnectionState, Identity, ServiceConfig};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
//! # runtime.block_on(async {
//! let (network, signaling) = (MemoryNetwork::new(7), MemorySignaling::new());
//! let client = |secret| {
//!     Client::builder(Identity::from_secret([secret; 32]))
//!         .signaling(signaling.clone())
//!         .transport(network.transport())
//!         .seed(7) // jitter, too, is the same each time
//!         .build()
//! };
//! let (host, peer) = (client(1), client(2));
//! let service = host.expose_service(ServiceConfig::new("alice".parse()?, "chat@1.0.0".parse()?)).await?;
//! let mut connection = peer.connect("alice", "chat@1.0.0").await?;
//!
//! network.blackout(true); // nothing gets through, and nobody is told
//! let channel = connection.open_channel("chat")?;
//! channel.send("hello").await?; // queues
//! assert!(matches!(connection.state_changed().await, ConnectionState::Reconnecting { .. }));
//! tokio::time::sleep(Duration::from_secs(20)).await;
//!
//! network.blackout(false);
//! let session = service.accept().await.ok_or("stopped")?;
//! let mut chat = session.accept_channel().await.ok_or("closed")?;
//! assert_eq!(chat.recv().await?.as_text(), Some("hello"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`MemorySignaling::set_reachable`](signaling::MemorySignaling::set_reachable) and
//! [`restart`](signaling::MemorySignaling::restart) put the directory to the test. For restarts without a
//! disk there is [`MemoryStore`](store::MemoryStore), whose `snapshot` is what a crash would leave.
//!
//! # Proving your own application
//!
//! The module `testkit` (feature `testkit`) has what everlink proves itself with: `UdpProxy`, a seeded bad
//! network for real WebRTC; `Cuttable`, links that end under you; `History` and `check`, which read what both ends wrote
//! down and name every message that was lost, doubled or reordered, or missing without a report. `everlink soak`
//! does that with processes that are killed.
//!
//! # Parts of your own
//!
//! [`signaling::Signaling`] carries requests to a directory, [`link::Transport`] makes links. Implement
//! either and give it to [`Client::builder`]. Nothing that signaling says is trusted: requests,
//! session descriptions and the session itself are signed by the two ends.
//!
//! # Features
//!
//! | feature | default | adds |
//! | --- | --- | --- |
//! | `webrtc` | yes | `link::webrtc`, the default transport; needs tokio. In a browser `link::web` |
//! | `http` | yes | `signaling::HttpSignaling` |
//! | `store` | yes | `store::FileStore`: sessions that survive a killed process |
//! | `tutorial` | yes | [`tutorial`]: one leads through a tutorial, the others follow |
//! | `server` | no | `signaling::server` |
//! | `metrics` | no | counters and histograms through the `metrics` facade: see [`metrics`] |
//! | `testkit` | no | `testkit`: a UDP proxy with faults, links to cut, a checker of histories |
//! | `cli` | no | the `everlink` binary; brings all of them but `metrics` |
//!
//! Features only add. Without any, memory links, memory signaling and memory stores are there.
//!
//! # In the browser
//!
//! On `wasm32-unknown-unknown` this is the same crate with the same features: pages connect to native hosts, to
//! other pages, and are hosts themselves.
//!
//! | natively | in a browser |
//! | --- | --- |
//! | `link::webrtc` | `link::web`, over the browser's `RTCPeerConnection`, or a polyfill's in Node |
//! | `signaling::HttpSignaling` | the same, by `fetch` |
//! | `store::FileStore` | `store::IndexedDbStore`: survives a reload and a killed tab |
//! | `Identity::load_or_create(path)?` | `Identity::load_or_create(name).await?`, in IndexedDB |
//! | tokio | the event loop: call it from a page's task, such as `wasm_bindgen_futures::spawn_local` |
//!
//! ```no_run
//! # #[cfg(all(target_arch = "wasm32", feature = "http", feature = "webrtc"))]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use everlink::signaling::HttpSignaling;
//! use everlink::store::IndexedDbStore;
//! use everlink::{Client, Identity};
//!
//! let client = Client::builder(Identity::load_or_create("me").await?)
//!     .signaling(HttpSignaling::new("https://signaling.example.org")?)
//!     .store(IndexedDbStore::open("sessions").await?)
//!     .build();
//! let connection = client.connect("alice", "chat@1.0.0").await?;
//! # Ok(())
//! # }
//! ```
//!
//! A page that is not seen has slow clocks, but hears what arrives, and stays connected. To make
//! the module small: `opt-level = "z"`, `lto`, `codegen-units = 1`, `panic = "abort"`, and `tracing` with
//! `release_max_level_off` among the dependencies of your own crate.
//!
//! The promises are in `docs/GUARANTEES.md`, the protocol in `docs/PROTOCOL.md`, the inner structure in
//! `ARCHITECTURE.md`, the threat model in `SECURITY.md`.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(missing_docs, clippy::disallowed_methods)]
// A page has one thread; the seams are `Arc`s for the sake of those that have more.
#![cfg_attr(target_arch = "wasm32", allow(clippy::arc_with_non_send_sync))]
// Few unit tests are built for a browser, and what the others need is left over.
#![cfg_attr(all(test, target_arch = "wasm32"), allow(dead_code))]

mod base64url;
mod client;
mod collections;
mod config;
mod durable;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod identity;
pub mod link;
mod message;
pub mod metrics;
mod network;
mod retry;
mod runtime;
pub mod signaling;
pub mod store;
mod sync;
#[cfg(feature = "testkit")]
pub mod testkit;
#[cfg(target_arch = "wasm32")]
mod web;

pub use client::{Client, ClientBuilder, Target};
pub use config::*;
pub use durable::*;
pub use error::*;
pub use identity::{Identity, ParseKeyError, PublicKey, Signature};
pub use message::{Message, Utf8Bytes};
pub use runtime::{BoxFuture, BoxStream, Instant, MaybeSend, MaybeSync};
pub use sync::*;

/// What the bindings wait with; no part of the API.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings {
    pub use crate::runtime::sync::{Mutex, Notify};
}

/// Compiles and runs the README's examples.
#[cfg(all(doctest, feature = "webrtc", feature = "store"))]
#[doc = include_str!("../README.md")]
mod readme {}

/// Compiles the examples of the guarantees.
#[cfg(doctest)]
#[doc = include_str!("../docs/GUARANTEES.md")]
mod guarantees {}

/// Compiles the examples of the guide to tutorials.
#[cfg(all(doctest, feature = "webrtc", feature = "http", feature = "tutorial"))]
#[doc = include_str!("../docs/TUTORIAL.md")]
mod tutorials {}

/// Compiles the examples of the migration guide.
#[cfg(all(doctest, feature = "webrtc", feature = "http"))]
#[doc = include_str!("../MIGRATION.md")]
mod migration {}

#[cfg(all(test, target_arch = "wasm32"))]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);
