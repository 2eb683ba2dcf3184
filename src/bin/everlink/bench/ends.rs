//! Two everlink clients, each on a thread of its own, with a connection between them.

use std::pin::Pin;

use everlink::link::Transport;
use everlink::link::webrtc::{Impairment, WebRtcConfig, WebRtcTransport};
use everlink::signaling::{HttpSignaling, MemorySignaling};
use everlink::store::FileStore;
use everlink::{
    Client, ConnectionConfig, DurableChannel, DurableConnection, DurableService, Identity, QueueConfig,
    ServiceConfig, Target,
};

pub type Work<T> = Pin<Box<dyn Future<Output = T>>>;

/// Runs `work` on a current-thread runtime, as the raw program's ends do.
pub fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(work)
}

pub fn transport(impairment: Option<&Impairment>) -> WebRtcTransport {
    let mut config = WebRtcConfig::loopback();
    config.impairment = impairment.cloned();
    WebRtcTransport::new(config)
}

pub fn client(signaling: &MemorySignaling, transport: impl Transport) -> Client {
    Client::builder(Identity::generate()).signaling(signaling.clone()).transport(transport).build()
}

fn kept_client(signaling: &MemorySignaling, transport: impl Transport, store: Option<FileStore>) -> Client {
    let builder = Client::builder(Identity::generate()).signaling(signaling.clone()).transport(transport);
    match store {
        Some(store) => builder.store(store).build(),
        None => builder.build(),
    }
}

pub fn http_client(url: &str) -> Client {
    let signaling = HttpSignaling::new(url).expect("the server printed its address");
    Client::builder(Identity::generate()).signaling(signaling).transport(transport(None)).build()
}

pub fn service() -> ServiceConfig {
    let mut service = ServiceConfig::new(
        "bench".parse().expect("a good username"),
        "bench@1.0.0".parse().expect("a good service name"),
    );
    service.connection = connection();
    service
}

pub fn connection() -> ConnectionConfig {
    let mut config = ConnectionConfig::default();
    config.queue = QueueConfig::lossless();
    config.backoff.max_attempts = None;
    config
}

pub async fn expose(client: &Client) -> DurableService {
    client.expose_service(service()).await.expect("the directory takes the service")
}

pub async fn connect(client: &Client, service: &DurableService) -> (DurableConnection, DurableConnection) {
    let target = Target::Uuid(service.info().uuid);
    let peer = client.connect_with(target, connection()).await.expect("the host is there");
    (peer, service.accept().await.expect("the service runs"))
}

/// One end of a pair at work.
pub struct End {
    pub channel: DurableChannel,
}

/// Connects two clients and has each end do its work. `peer` ends first, and then both close.
pub fn two_ends<A: Send + 'static, B: Send + 'static>(
    impairment: Option<Impairment>,
    peer: impl FnOnce(End) -> Work<A> + Send + 'static,
    host: impl FnOnce(End) -> Work<B> + Send + 'static,
) -> (A, B) {
    two_kept_ends(impairment, [None, None], peer, host)
}

/// The same with stores, of the peer and of the host.
pub fn two_kept_ends<A: Send + 'static, B: Send + 'static>(
    impairment: Option<Impairment>,
    [peer_store, host_store]: [Option<FileStore>; 2],
    peer: impl FnOnce(End) -> Work<A> + Send + 'static,
    host: impl FnOnce(End) -> Work<B> + Send + 'static,
) -> (A, B) {
    let signaling = MemorySignaling::new();
    let (exposed, expose_done) = tokio::sync::oneshot::channel();
    let at_host = signaling.clone();
    let host = std::thread::spawn(move || {
        on_a_runtime(async move {
            let client = kept_client(&at_host, transport(None), host_store);
            let service = expose(&client).await;
            exposed.send(service.info().uuid).expect("the peer waits");
            let connection = service.accept().await.expect("the service runs");
            let channel = connection.open_channel("bench").expect("a new channel");
            let done = host(End { channel }).await;
            connection.closed().await;
            client.shutdown().await;
            done
        })
    });
    let peer = std::thread::spawn(move || {
        on_a_runtime(async move {
            let client = kept_client(&signaling, transport(impairment.as_ref()), peer_store);
            let target = Target::Uuid(expose_done.await.expect("the host exposes"));
            let connected = client.connect_with(target, self::connection()).await;
            let connection = connected.expect("the host is there");
            let channel = connection.open_channel("bench").expect("a new channel");
            let done = peer(End { channel }).await;
            connection.close().await;
            client.shutdown().await;
            done
        })
    });
    let done = peer.join().expect("the peer does not panic");
    (done, host.join().expect("the host does not panic"))
}
