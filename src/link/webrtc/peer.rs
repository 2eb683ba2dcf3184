//! A peer connection with an owner: made tuned, watched, and always closed.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::configuration::setting_engine::SctpMaxMessageSize;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use webrtc::data_channel::{DataChannel, RTCDataChannelInit};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCIceCandidateInit, RTCIceConnectionState, RTCIceGatheringState, RTCIceServer, RTCIceTransportPolicy,
    RTCPeerConnectionIceEvent, RTCPeerConnectionState, SettingEngineBuilder,
};
use webrtc::runtime::Runtime;

use super::addrs::BindAddrs;
use super::config::WebRtcConfig;
use super::engine::{Engine, Names};
use super::path::Path;
use crate::link::LinkError;

/// The label of the one channel of a link; its id is 0.
pub(super) const LABEL: &str = "everlink/1";
/// The largest message that the stack can be made to take in.
pub(super) const MAX_MESSAGE: usize = 256 * 1024;
/// What we take in at least: what an end may send to one that does not say what it takes.
const MIN_MESSAGE: usize = 64 * 1024;
/// Candidates that may wait for [`super::Negotiation::next`].
const MAX_NOTES: usize = 64;
/// A candidate line has about 100 bytes.
const MAX_CANDIDATE_BYTES: usize = 1024;
/// How often the agent looks at its pairs until one is chosen. It chooses only then, and a browser, which by then
/// has begun with DTLS, repeats what was lost after 50, 150 and 350 ms.
const LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(50);
/// Checks of a pair of candidates before it is given up: more than fit into half an hour.
const MAX_CHECKS: u16 = u16::MAX - 1;

/// What the stack reports while a link is set up.
#[derive(Debug)]
pub(super) enum Note {
    Candidate(String),
    Failed(LinkError),
}

/// Counts what is open, so that a transport can wait for the end of it all.
#[derive(Debug, Default)]
pub(super) struct Registry {
    open: watch::Sender<usize>,
    /// To close what is open. Short locks; swept whenever one is added.
    peers: Mutex<Vec<std::sync::Weak<Peer>>>,
    shut: AtomicBool,
}

impl Registry {
    fn enter(self: &Arc<Self>) -> Result<Entry, LinkError> {
        if self.shut.load(Ordering::Acquire) {
            return Err(LinkError::Closed);
        }
        self.open.send_modify(|open| *open += 1);
        Ok(Entry(Arc::clone(self)))
    }

    fn keep(&self, peer: &Arc<Peer>) {
        let mut peers = self.peers.lock().expect("no panic while peers are locked");
        peers.retain(|peer| peer.strong_count() > 0);
        peers.push(Arc::downgrade(peer));
    }

    /// Closes everything, refuses what comes, and waits until nothing is left.
    pub(super) async fn shut_down(&self) {
        self.shut.store(true, Ordering::Release);
        let peers = std::mem::take(&mut *self.peers.lock().expect("no panic while peers are locked"));
        for peer in peers.iter().filter_map(std::sync::Weak::upgrade) {
            peer.begin_close();
        }
        // The sender lives as long as `self`, so this ends only by the count.
        let _ = self.open.subscribe().wait_for(|open| *open == 0).await;
    }
}

/// One open peer connection in a [`Registry`].
#[derive(Debug)]
struct Entry(Arc<Registry>);

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

/// A peer connection. Closed when dropped, by a task that its [`Registry`] knows of.
pub(super) struct Peer {
    pub(super) pc: Arc<dyn PeerConnection>,
    pub(super) path: Arc<Path>,
    pub(super) breach: Arc<AtomicBool>,
    /// How far gathering has come: since the beginning, or since ICE last began anew.
    pub(super) gathered: watch::Sender<Gathered>,
    /// How many sockets were made so far.
    pub(super) sockets: Arc<AtomicUsize>,
    entry: Mutex<Option<Entry>>,
    closed: watch::Sender<bool>,
    pub(super) tasks: Handle,
}

/// A new peer connection, its channel, and what it reports.
pub(super) struct NewPeer {
    pub(super) peer: Arc<Peer>,
    pub(super) notes: mpsc::Receiver<Note>,
}

/// How far gathering has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    pub(super) candidates: Vec<String>,
    pub(super) complete: bool,
}

impl Gathered {
    /// Whether each of so many sockets has told its address, which they do at once.
    pub(super) fn has_told(&self, sockets: usize) -> bool {
        self.complete || (sockets > 0 && self.candidates.len() >= sockets)
    }
}

impl Peer {
    pub(super) async fn build(
        config: &WebRtcConfig,
        addrs: &BindAddrs,
        names: &Arc<Names>,
        registry: &Arc<Registry>,
    ) -> Result<NewPeer, LinkError> {
        let tasks = Handle::try_current().map_err(|_| {
            LinkError::Failed("WebRtcTransport must be used inside a tokio runtime".to_owned())
        })?;
        let entry = registry.enter()?;
        let path = Arc::new(Path::new(config.suspect_after, config.give_up_after, config.keepalive));
        let (notes_in, notes) = mpsc::channel(MAX_NOTES);
        let gathered = watch::Sender::new(Gathered::default());
        let breach = Arc::new(AtomicBool::new(false));
        let sockets = Arc::new(AtomicUsize::new(0));
        let reporter = Reporter {
            notes: notes_in,
            gathered: gathered.clone(),
            path: Arc::clone(&path),
            breach: Arc::clone(&breach),
        };
        let engine = Engine {
            path: Arc::clone(&path),
            names: Arc::clone(names),
            socket_buffer: config.socket_buffer,
            sockets: Arc::clone(&sockets),
            impairment: config.impairment.clone(),
        };
        let builder = PeerConnectionBuilder::new()
            .with_configuration(configuration(config))
            .with_setting_engine(settings(config))
            .with_runtime(Arc::new(engine) as Arc<dyn Runtime>)
            .with_handler(Arc::new(reporter))
            .with_udp_addrs(vec![addrs.clone()])
            .with_data_channel_send_buffer_limit(config.send_buffer.max(1));
        let owner = tasks.clone();
        // On a task of its own, as a build that is given up half-way leaves a driver behind that
        // nothing ever ends. `entry` goes along, so that the registry waits for it.
        let built = tasks.spawn(async move {
            let pc = builder.build().await?;
            Ok::<_, rtc::shared::error::Error>(Arc::new(Self {
                pc: Arc::new(pc),
                path,
                breach,
                gathered,
                sockets,
                entry: Mutex::new(Some(entry)),
                closed: watch::channel(false).0,
                tasks: owner,
            }))
        });
        let peer = match built.await {
            Ok(Ok(peer)) => peer,
            Ok(Err(error)) => {
                return Err(LinkError::Failed(format!("no peer connection: {error}")));
            }
            Err(_) => return Err(LinkError::Failed("the tokio runtime is shutting down".into())),
        };
        registry.keep(&peer);
        Ok(NewPeer { peer, notes })
    }

    /// Opens a channel that both ends know by its number.
    pub(super) async fn channel(
        &self,
        label: &str,
        init: RTCDataChannelInit,
    ) -> Result<Arc<dyn DataChannel>, LinkError> {
        let channel = self.pc.create_data_channel(label, Some(init)).await;
        channel.map_err(|error| LinkError::Failed(format!("no data channel: {error}")))
    }

    /// Takes a candidate of the other end. `channel` is any of its channels.
    pub(super) async fn add_candidate(
        &self,
        channel: &dyn DataChannel,
        candidate: &str,
    ) -> Result<(), LinkError> {
        let bad = |what: String| Err(LinkError::BadDescription(what));
        if candidate.len() > MAX_CANDIDATE_BYTES {
            return bad("a candidate of more than 1 KiB".to_owned());
        }
        let value = candidate.strip_prefix("candidate:").unwrap_or(candidate);
        if let Err(error) = rtc::ice::candidate::unmarshal_candidate(value) {
            return bad(format!("not a candidate: {error}"));
        }
        let init = RTCIceCandidateInit {
            candidate: candidate.to_owned(),
            sdp_mid: Some("0".to_owned()),
            sdp_mline_index: Some(0),
            ..RTCIceCandidateInit::default()
        };
        let added = self.pc.add_ice_candidate(init).await;
        added.map_err(|error| LinkError::BadDescription(error.to_string()))?;
        // The stack tells its driver nothing of it, which would find it 200 ms later; setting a
        // threshold, to what it is, wakes it.
        let _ = channel.set_buffered_amount_low_threshold(0).await;
        Ok(())
    }

    /// Whether this end began to close it.
    pub(super) fn is_closing(&self) -> bool {
        self.entry.lock().expect("no panic while the entry is locked").is_none()
    }

    /// Begins to close, once; returns at once.
    pub(super) fn begin_close(&self) {
        let Some(entry) = self.entry.lock().expect("no panic while the entry is locked").take() else {
            return;
        };
        /// Tells of the end even if the runtime drops the task.
        struct End(watch::Sender<bool>, #[allow(dead_code)] Entry);
        impl Drop for End {
            fn drop(&mut self) {
                self.0.send_replace(true);
            }
        }
        let (pc, end) = (Arc::clone(&self.pc), End(self.closed.clone(), entry));
        // The registry owns this task: it waits for the entry that the task holds.
        self.tasks.spawn(async move {
            if let Err(error) = pc.close().await {
                tracing::debug!(%error, "closing a peer connection");
            }
            drop(pc);
            drop(end);
        });
    }

    /// Closes and waits until everything is released.
    pub(super) async fn close(&self) {
        self.begin_close();
        // Only fails without a sender, and `self` has one.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.begin_close();
    }
}

fn configuration(config: &WebRtcConfig) -> webrtc::peer_connection::RTCConfiguration {
    let servers = config.ice_servers.iter().map(|server| RTCIceServer {
        urls: server.urls.clone(),
        username: server.username.clone(),
        credential: server.credential.clone(),
    });
    let policy = match config.relay_only {
        true => RTCIceTransportPolicy::Relay,
        false => RTCIceTransportPolicy::All,
    };
    RTCConfigurationBuilder::default()
        .with_ice_servers(servers.collect())
        .with_ice_transport_policy(policy)
        .build()
}

fn settings(config: &WebRtcConfig) -> webrtc::peer_connection::SettingEngine {
    let mdns = match config.mdns {
        true => MulticastDnsMode::QueryOnly,
        false => MulticastDnsMode::Disabled,
    };
    let soon = std::time::Duration::from_millis(100);
    SettingEngineBuilder::new()
        .with_multicast_dns_mode(mdns)
        .with_include_loopback_candidate(true)
        // `Path` sees silence sooner and stops the agent's clock in it, so that these only end a
        // negotiation that never found a path.
        .with_ice_timeouts(
            Some(config.give_up_after),
            Some(std::time::Duration::from_secs(1)),
            Some(config.keepalive),
        )
        .with_ice_connection_attempts(Some(LOOK_INTERVAL), Some(MAX_CHECKS))
        // The agent would wait 0.5, 1 and 2 s for something better to turn up.
        .with_srflx_acceptance_min_wait(Some(soon))
        .with_prflx_acceptance_min_wait(Some(soon))
        .with_relay_acceptance_min_wait(Some(5 * soon))
        // The stack keeps a buffer of this size for each link.
        .with_sctp_max_message_size(SctpMaxMessageSize::Bounded(
            config.max_frame.clamp(MIN_MESSAGE, MAX_MESSAGE) as u32,
        ))
        // A restart is for other addresses: sockets of those that are there then.
        .with_discard_local_candidates_during_ice_restart(true)
        .with_sctp_max_receive_buffer_size(config.receive_buffer.max(2 * MAX_MESSAGE as u32))
        .build()
}

/// Hears the stack's events, on its driver's task: it must never wait.
struct Reporter {
    notes: mpsc::Sender<Note>,
    gathered: watch::Sender<Gathered>,
    path: Arc<Path>,
    breach: Arc<AtomicBool>,
}

type Done<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

// Written out as `async_trait` would.
impl PeerConnectionEventHandler for Reporter {
    fn on_ice_candidate<'a, 'b>(&'a self, event: RTCPeerConnectionIceEvent) -> Done<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        if let Ok(init) = event.candidate.to_json() {
            // A full queue means that nobody listens any more.
            let _ = self.notes.try_send(Note::Candidate(init.candidate.clone()));
            self.gathered.send_modify(|gathered| gathered.candidates.push(init.candidate));
        }
        Box::pin(std::future::ready(()))
    }

    fn on_ice_gathering_state_change<'a, 'b>(&'a self, state: RTCIceGatheringState) -> Done<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_modify(|gathered| gathered.complete = true);
        }
        Box::pin(std::future::ready(()))
    }

    fn on_ice_connection_state_change<'a, 'b>(&'a self, state: RTCIceConnectionState) -> Done<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        match state {
            RTCIceConnectionState::Checking => self.path.handle_checking(),
            RTCIceConnectionState::Connected => self.path.handle_connected(),
            _ => {}
        }
        Box::pin(std::future::ready(()))
    }

    fn on_connection_state_change<'a, 'b>(&'a self, state: RTCPeerConnectionState) -> Done<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        let error = match state {
            RTCPeerConnectionState::Failed => {
                let reason = "no path to the other end answered, or its certificate is not the \
                              one of its description";
                LinkError::Failed(reason.to_owned())
            }
            // Before the channel is open, it is told of no close.
            RTCPeerConnectionState::Closed => LinkError::ClosedByPeer,
            _ => return Box::pin(std::future::ready(())),
        };
        let _ = self.notes.try_send(Note::Failed(error));
        Box::pin(std::future::ready(()))
    }

    fn on_data_channel<'a, 'b>(&'a self, _channel: Arc<dyn DataChannel>) -> Done<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        // Ours are all agreed on beforehand. Whoever announces others is no everlink, or wants
        // our memory.
        self.breach.store(true, Ordering::Release);
        self.path.changed.notify_waiters();
        let _ = self.notes.try_send(Note::Failed(breach()));
        Box::pin(std::future::ready(()))
    }
}

pub(super) fn breach() -> LinkError {
    LinkError::Failed("the other end opened a channel that was not agreed on".to_owned())
}
