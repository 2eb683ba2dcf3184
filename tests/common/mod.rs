//! A host and a peer over the memory link and memory signaling: the whole client, no socket.

#![allow(dead_code, missing_docs)]

use everlink::link::memory::MemoryNetwork;
use everlink::signaling::{MemorySignaling, ServiceFqn, Username};
use everlink::{Client, DurableChannel, DurableConnection, DurableService, Identity, ServiceConfig};

pub struct World {
    pub network: MemoryNetwork,
    pub signaling: MemorySignaling,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self { network: MemoryNetwork::new(seed), signaling: MemorySignaling::new() }
    }

    pub fn client(&self, secret: u8) -> Client {
        Client::builder(Identity::from_secret([secret; 32]))
            .signaling(self.signaling.clone())
            .transport(self.network.transport())
            .seed(u64::from(secret))
            .build()
    }
}

pub fn user(name: &str) -> Username {
    name.parse().expect("a good username")
}

pub fn fqn(name: &str) -> ServiceFqn {
    name.parse().expect("a good service name")
}

pub fn chat() -> ServiceConfig {
    ServiceConfig::new(user("alice"), fqn("chat@1.0.0"))
}

/// A host, a peer, their connection at both ends, and one channel.
pub struct Pair {
    pub world: World,
    pub host: Client,
    pub peer: Client,
    pub service: DurableService,
    pub at_host: DurableConnection,
    pub at_peer: DurableConnection,
}

impl Pair {
    pub async fn new(seed: u64) -> Self {
        Self::with(seed, chat(), everlink::ConnectionConfig::default()).await
    }

    pub async fn with(seed: u64, service: ServiceConfig, connection: everlink::ConnectionConfig) -> Self {
        let world = World::new(seed);
        let (host, peer) = (world.client(1), world.client(2));
        let service = host.expose_service(service).await.expect("exposed");
        let target = everlink::Target::Uuid(service.info().uuid);
        let at_peer = peer.connect_with(target, connection).await.expect("connected");
        let at_host = service.accept().await.expect("a session");
        Self { world, host, peer, service, at_host, at_peer }
    }

    /// The same channel at the peer and at the host.
    pub fn channel(&self, label: &str) -> (DurableChannel, DurableChannel) {
        let ours = self.at_peer.open_channel(label).expect("a new channel");
        let theirs = self.at_host.open_channel(label).expect("a new channel");
        (ours, theirs)
    }
}

pub async fn send_numbers(channel: &DurableChannel, numbers: std::ops::Range<u32>) {
    for number in numbers {
        channel.send(number.to_string()).await.expect("sent");
    }
}

pub async fn expect_numbers(channel: &mut DurableChannel, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let message = channel.recv().await.expect("received");
        assert_eq!(message.as_text(), Some(&*number.to_string()));
    }
}

/// Runs a property for each of so many seeds, in a runtime of its own with a paused clock, or for
/// the one in EVERLINK_SEED alone. Says which seed failed.
pub fn each_seed<F: Future<Output = ()>>(count: u64, property: impl Fn(u64) -> F) {
    let one = one_seed();
    for seed in one.map_or(0..count, |seed| seed..seed + 1) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let run = || runtime.block_on(property(seed));
        if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
            eprintln!("failed with EVERLINK_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// The seed that is asked for alone.
pub fn one_seed() -> Option<u64> {
    std::env::var("EVERLINK_SEED").ok().map(|seed| seed.parse().expect("EVERLINK_SEED is a number"))
}
