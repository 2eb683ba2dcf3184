//! A side that is of another release.

use crate::config::ConnectionConfig;

/// Has connections with these settings speak another version of the protocol, and only that one, as
/// those of another release do. Everlink itself speaks the one that `docs/PROTOCOL.md` describes.
///
/// Only the number is another: what such connections say among themselves is what it always is. Two
/// sides with different numbers part, and each is told of both.
///
/// ```
/// use everlink::signaling::MemorySignaling;
/// use everlink::testkit::{MemoryNetwork, speak};
/// use everlink::{
///     Client, CloseReason, ConnectError, ConnectionConfig, DialError, Identity, ServiceConfig, ServiceEvent, Target,
/// };
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
/// # runtime.block_on(async {
/// let (network, signaling) = (MemoryNetwork::new(1), MemorySignaling::new());
/// let client = |secret| {
///     let builder = Client::builder(Identity::from_secret([secret; 32]));
///     builder.signaling(signaling.clone()).transport(network.transport()).build()
/// };
/// let (host, peer) = (client(1), client(2));
/// let mut newer = ServiceConfig::new("alice".parse()?, "chat@1.0.0".parse()?);
/// speak(&mut newer.connection, 7);
/// let service = host.expose_service(newer).await?;
/// let mut events = service.events();
///
/// let target = Target::Uuid(service.info().uuid);
/// let refused = peer.connect_with(target, ConnectionConfig::default()).await;
/// let Err(ConnectError::Closed(CloseReason::Refused(at_peer))) = refused else { panic!("{refused:?}") };
/// assert!(matches!(&at_peer, DialError::Version { theirs, .. } if theirs == "7"), "{at_peer}");
///
/// let at_host = loop {
///     if let ServiceEvent::Refused { error, .. } = events.next().await.ok_or("no event")? {
///         break error;
///     }
/// };
/// assert!(matches!(at_host, DialError::Version { ours: 7, .. }), "{at_host}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn speak(config: &mut ConnectionConfig, version: u16) {
    config.version = version;
}
