//! ICE begun anew on an open link, when the address of an end changed: other sockets, credentials
//! and candidates, and the same DTLS and SCTP.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rtc::peer_connection::configuration::RTCOfferOptions;
use webrtc::data_channel::DataChannel;
use webrtc::peer_connection::RTCSessionDescription;

use super::peer::{Gathered, Peer};
use crate::link::sdp::{self, MAX_CANDIDATES};
use crate::link::{IceCredentials, LinkError, RestartEvent};
use crate::runtime;

/// What an open link knows of its restarts.
pub(super) struct Restart {
    peer: Arc<Peer>,
    channel: Arc<dyn DataChannel>,
    /// The other end's part in DTLS, which stays.
    their_setup: &'static str,
    gather_for: Duration,
    /// Held while one step is carried out.
    turn: Arc<tokio::sync::Mutex<()>>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What was asked with, until it is answered.
    offer: Option<RTCSessionDescription>,
    under_way: bool,
    /// How many of our candidates were told.
    told: usize,
    /// How many of theirs were taken.
    taken: usize,
}

impl Restart {
    pub(super) fn new(
        peer: Arc<Peer>,
        channel: Arc<dyn DataChannel>,
        their_setup: &'static str,
        gather_for: Duration,
    ) -> Self {
        Self { peer, channel, their_setup, gather_for, turn: Arc::default(), state: Arc::default() }
    }

    /// Makes credentials, and leaves the link as it is.
    pub(super) async fn ask(&self) -> Result<IceCredentials, LinkError> {
        let _turn = self.take_turn()?;
        let options = RTCOfferOptions { ice_restart: true };
        let offer = self.peer.pc.create_offer(Some(options)).await.map_err(failed)?;
        let ours = sdp::credentials(&offer.sdp)?;
        lock(&self.state).offer = Some(offer);
        Ok(ours)
    }

    pub(super) async fn answer(&self, theirs: &IceCredentials) -> Result<IceCredentials, LinkError> {
        let turn = self.take_turn()?;
        let offer = self.their_description(theirs, "actpass").await?;
        let offer = RTCSessionDescription::offer(offer).map_err(unusable)?;
        let (peer, state, gather_for) = (self.peer.clone(), self.state.clone(), self.gather_for);
        // On a task of its own, as a step that is given up half-way leaves a link that is neither here nor
        // there. The registry waits for the peer connection that it holds.
        let answered = self.peer.tasks.spawn(async move {
            let _turn = turn;
            let sockets = begin(&peer, &state);
            let answered = answer(&peer, offer, sockets, gather_for).await;
            if answered.is_err() {
                peer.begin_close();
            }
            answered
        });
        answered.await.unwrap_or(Err(LinkError::Closed))
    }

    pub(super) async fn finish(&self, theirs: &IceCredentials) -> Result<(), LinkError> {
        let turn = self.take_turn()?;
        let answer = self.their_description(theirs, self.their_setup).await?;
        let answer = RTCSessionDescription::answer(answer).map_err(unusable)?;
        let Some(offer) = lock(&self.state).offer.take() else {
            return Err(LinkError::Failed("no restart was asked for".to_owned()));
        };
        let (peer, state) = (self.peer.clone(), self.state.clone());
        // As above.
        let finished = self.peer.tasks.spawn(async move {
            let _turn = turn;
            begin(&peer, &state);
            let finished = async {
                peer.pc.set_local_description(offer).await.map_err(failed)?;
                peer.pc.set_remote_description(answer).await.map_err(unusable)
            };
            let finished = finished.await;
            if finished.is_err() {
                peer.begin_close();
            }
            finished
        });
        finished.await.unwrap_or(Err(LinkError::Closed))
    }

    pub(super) async fn add_candidate(&self, candidate: &str) -> Result<(), LinkError> {
        {
            let mut state = lock(&self.state);
            if !state.under_way {
                return Err(LinkError::Failed("no restart is under way".to_owned()));
            }
            if state.taken >= MAX_CANDIDATES {
                return Err(LinkError::BadDescription("more than 40 candidates".to_owned()));
            }
            state.taken += 1;
        }
        self.peer.add_candidate(&*self.channel, candidate).await
    }

    pub(super) async fn next_event(&self) -> RestartEvent {
        let mut gathered = self.peer.gathered.subscribe();
        loop {
            // Asked for before the state is looked at, so that no change falls in between.
            let mut changed = std::pin::pin!(self.peer.path.changed.notified());
            changed.as_mut().enable();
            if let Some(news) = self.news(&gathered.borrow_and_update()) {
                return news;
            }
            tokio::select! {
                _ = gathered.changed() => {}
                () = changed => {}
            }
        }
    }

    fn news(&self, gathered: &Gathered) -> Option<RestartEvent> {
        let mut state = lock(&self.state);
        if !state.under_way {
            return None;
        }
        if let Some(candidate) = gathered.candidates.get(state.told) {
            state.told += 1;
            return Some(RestartEvent::Candidate(candidate.clone()));
        }
        let done = !self.peer.path.is_restarting();
        state.under_way = !done;
        done.then_some(RestartEvent::Done)
    }

    fn take_turn(&self) -> Result<tokio::sync::OwnedMutexGuard<()>, LinkError> {
        if self.peer.is_closing() {
            return Err(LinkError::Closed);
        }
        let busy = |_| LinkError::Failed("another restart is under way".to_owned());
        self.turn.clone().try_lock_owned().map_err(busy)
    }

    async fn their_description(&self, theirs: &IceCredentials, setup: &str) -> Result<String, LinkError> {
        let current = self.peer.pc.current_remote_description().await;
        let current = current.ok_or_else(|| LinkError::Failed("the link was never described".to_owned()))?;
        if sdp::credentials(&current.sdp).as_ref() == Ok(theirs) {
            return Err(LinkError::BadDescription("the ICE credentials in use".to_owned()));
        }
        Ok(sdp::restarted(&current.sdp, theirs, setup))
    }
}

/// What was known is void from here on. Returns how many sockets were made before.
fn begin(peer: &Peer, state: &Mutex<State>) -> usize {
    peer.path.handle_restart();
    *lock(state) = State { under_way: true, ..State::default() };
    peer.gathered.send_replace(Gathered::default());
    peer.sockets.load(Ordering::Acquire)
}

async fn answer(
    peer: &Peer,
    offer: RTCSessionDescription,
    sockets_before: usize,
    gather_for: Duration,
) -> Result<IceCredentials, LinkError> {
    let mut gathered = peer.gathered.subscribe();
    peer.pc.set_remote_description(offer).await.map_err(unusable)?;
    let answer = peer.pc.create_answer(None).await.map_err(unusable)?;
    let ours = sdp::credentials(&answer.sdp)?;
    peer.pc.set_local_description(answer).await.map_err(failed)?;
    let enough = |gathered: &Gathered| {
        let sockets = peer.sockets.load(Ordering::Acquire).saturating_sub(sockets_before);
        gathered.has_told(sockets)
    };
    let _ = runtime::timeout(gather_for, gathered.wait_for(enough)).await;
    Ok(ours)
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no panic while the state of a restart is locked")
}

fn failed(error: impl std::fmt::Display) -> LinkError {
    LinkError::Failed(error.to_string())
}

fn unusable(error: impl std::fmt::Display) -> LinkError {
    LinkError::BadDescription(error.to_string())
}
