//! From a description to an open link.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;
use webrtc::data_channel::{DataChannel, DataChannelEvent, RTCDataChannelInit};
use webrtc::peer_connection::RTCSessionDescription;

use super::live::{Limits, Live};
use super::peer::{Gathered, LABEL, MAX_MESSAGE, NewPeer, Note, Peer};
use super::restart::Restart;
use super::{Inner, WebRtcConfig};
use crate::link::sdp::{self, Facts, MAX_CANDIDATES};
use crate::link::{Link, LinkError, Negotiation, NegotiationEvent};
use crate::runtime::{self, BoxFuture};

pub(super) struct Pending {
    /// Gone once the link is made or given up.
    setup: Mutex<Option<Setup>>,
    description: String,
    ours: Facts,
    theirs: OnceLock<Facts>,
    offering: bool,
    limits: Limits,
    gather_for: Duration,
    notes: tokio::sync::Mutex<mpsc::Receiver<Note>>,
    candidates: AtomicUsize,
    answered: AtomicBool,
}

#[derive(Clone)]
struct Setup {
    peer: Arc<Peer>,
    channel: Arc<dyn DataChannel>,
}

impl Pending {
    pub(super) async fn offer(inner: &Inner) -> Result<Self, LinkError> {
        let new = inner.build().await?;
        let channel = new.peer.channel(LABEL, main_channel()).await?;
        let offer = new.peer.pc.create_offer(None).await.map_err(failed)?;
        Self::described(&inner.config, new, channel, offer, None).await
    }

    pub(super) async fn answer(inner: &Inner, offer: &str) -> Result<Self, LinkError> {
        let theirs = sdp::read(offer)?;
        let remote = RTCSessionDescription::offer(offer.to_owned()).map_err(unusable)?;
        let new = inner.build().await?;
        let channel = new.peer.channel(LABEL, main_channel()).await?;
        new.peer.pc.set_remote_description(remote).await.map_err(unusable)?;
        let answer = new.peer.pc.create_answer(None).await.map_err(unusable)?;
        Self::described(&inner.config, new, channel, answer, Some(theirs)).await
    }

    async fn described(
        config: &WebRtcConfig,
        new: NewPeer,
        channel: Arc<dyn DataChannel>,
        description: RTCSessionDescription,
        theirs: Option<Facts>,
    ) -> Result<Self, LinkError> {
        let NewPeer { peer, notes } = new;
        let mut gathered = peer.gathered.subscribe();
        peer.pc.set_local_description(description).await.map_err(failed)?;
        // Servers may take their time; what they tell follows as candidates. An offer mostly
        // waits in a pool anyway, but somebody waits for an answer.
        let answering = theirs.is_some();
        let sockets = if answering { peer.sockets.load(Ordering::Acquire) } else { 0 };
        let enough = |gathered: &Gathered| gathered.has_told(sockets);
        let _ = runtime::timeout(config.gather_for, gathered.wait_for(enough)).await;
        let description = peer.pc.local_description().await.map(|description| description.sdp);
        let description =
            description.ok_or_else(|| LinkError::Failed("the stack has no description".to_owned()))?;
        let ours = sdp::read(&description)?;
        let their_known = OnceLock::new();
        if let Some(theirs) = theirs {
            let _ = their_known.set(theirs);
        }
        Ok(Self {
            setup: Mutex::new(Some(Setup { peer, channel })),
            description,
            ours,
            theirs: their_known,
            offering: !answering,
            limits: Limits {
                max_frame: config.max_frame.clamp(1024, MAX_MESSAGE),
                receive_window: config.receive_buffer.max(2 * MAX_MESSAGE as u32) / 2,
            },
            gather_for: config.gather_for,
            notes: tokio::sync::Mutex::new(notes),
            candidates: AtomicUsize::new(0),
            answered: AtomicBool::new(false),
        })
    }

    fn setup(&self) -> std::sync::MutexGuard<'_, Option<Setup>> {
        self.setup.lock().expect("no panic while the set-up is locked")
    }

    async fn take_answer(&self, answer: &str) -> Result<(), LinkError> {
        if !self.offering {
            return Err(LinkError::Failed("the answering end takes no answer".to_owned()));
        }
        let theirs = sdp::read(answer)?;
        if theirs.fingerprint == self.ours.fingerprint {
            return Err(LinkError::BadDescription("our own fingerprint".to_owned()));
        }
        let remote = RTCSessionDescription::answer(answer.to_owned()).map_err(unusable)?;
        let Some(setup) = self.setup().clone() else { return Err(LinkError::Closed) };
        // A second answer would be a renegotiation, which a link never has.
        if self.answered.swap(true, Ordering::AcqRel) {
            return Err(LinkError::Failed("it was answered before".to_owned()));
        }
        let _ = self.theirs.set(theirs);
        setup.peer.pc.set_remote_description(remote).await.map_err(unusable)
    }

    async fn take_candidate(&self, candidate: &str) -> Result<(), LinkError> {
        let Some(setup) = self.setup().clone() else { return Ok(()) };
        let Some(theirs) = self.theirs.get() else {
            return Err(LinkError::Failed("a candidate came before the answer".to_owned()));
        };
        if theirs.candidates + self.candidates.fetch_add(1, Ordering::AcqRel) >= MAX_CANDIDATES {
            return Err(LinkError::BadDescription("more than 40 candidates".to_owned()));
        }
        setup.peer.add_candidate(&*setup.channel, candidate).await
    }

    async fn next_event(&self) -> NegotiationEvent {
        let Some(Setup { peer, channel }) = self.setup().clone() else {
            return std::future::pending().await;
        };
        let mut notes = self.notes.lock().await;
        loop {
            let failure = tokio::select! {
                biased;
                event = channel.poll() => match event {
                    Some(DataChannelEvent::OnOpen) => match self.establish() {
                        Some(link) => return NegotiationEvent::Established(link),
                        None => LinkError::Closed,
                    },
                    Some(DataChannelEvent::OnClose) => LinkError::ClosedByPeer,
                    None if peer.is_closing() => LinkError::Closed,
                    None => LinkError::Failed("the stack stopped".to_owned()),
                    Some(_) => continue,
                },
                note = notes.recv() => match note {
                    // Those that gathering was waited for stand in the description.
                    Some(Note::Candidate(candidate)) if self.is_described(&candidate) => continue,
                    Some(Note::Candidate(candidate)) => {
                        return NegotiationEvent::Candidate(candidate);
                    }
                    Some(Note::Failed(error)) => error,
                    None => LinkError::Failed("the stack stopped".to_owned()),
                },
            };
            *self.setup() = None;
            return NegotiationEvent::Failed(failure);
        }
    }

    fn is_described(&self, candidate: &str) -> bool {
        self.description.contains(candidate)
    }

    fn establish(&self) -> Option<Arc<dyn Link>> {
        let Setup { peer, channel } = self.setup().take()?;
        let theirs = self.theirs.get()?;
        let (offer, answer) = match self.offering {
            true => (&self.ours, theirs),
            false => (theirs, &self.ours),
        };
        let taken = [theirs.max_message, self.ours.max_message];
        let taken = taken.into_iter().filter(|size| *size > 0).min().unwrap_or(MAX_MESSAGE);
        let limits = Limits { max_frame: self.limits.max_frame.min(taken), ..self.limits };
        // Who answered says who opens DTLS.
        let they_open = if self.offering { theirs.active } else { !self.ours.active };
        let restart = Restart::new(
            peer.clone(),
            channel.clone(),
            if they_open { "active" } else { "passive" },
            self.gather_for,
        );
        Some(Arc::new(Live::new(peer, channel, sdp::binding(offer, answer), limits, restart)))
    }
}

impl Negotiation for Pending {
    fn description(&self) -> &str {
        &self.description
    }

    fn set_answer<'a>(&'a self, sdp: &'a str) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(self.take_answer(sdp))
    }

    fn add_candidate<'a>(&'a self, candidate: &'a str) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(self.take_candidate(candidate))
    }

    fn next(&self) -> BoxFuture<'_, NegotiationEvent> {
        Box::pin(self.next_event())
    }
}

fn main_channel() -> RTCDataChannelInit {
    RTCDataChannelInit { ordered: true, negotiated: Some(0), ..RTCDataChannelInit::default() }
}

fn failed(error: impl std::fmt::Display) -> LinkError {
    LinkError::Failed(error.to_string())
}

fn unusable(error: impl std::fmt::Display) -> LinkError {
    LinkError::BadDescription(error.to_string())
}
