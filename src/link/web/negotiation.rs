//! From a description to an open link.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use wasm_bindgen::JsValue;

use super::WebConfig;
use super::live::{Limits, Live};
use super::peer::{MAX_MESSAGE, Peer, check_support, failed};
use crate::link::sdp::{self, Facts, MAX_CANDIDATES};
use crate::link::{Link, LinkError, Negotiation, NegotiationEvent};
use crate::runtime::{self, BoxFuture};
use crate::web::{self, get, object};

/// A candidate line has about 100 bytes.
const MAX_CANDIDATE_BYTES: usize = 1024;
/// An answer goes out when no further candidate came for so long.
const ANSWER_AFTER: Duration = Duration::from_millis(20);

pub(super) struct Pending {
    /// Gone once the link is made or given up.
    peer: RefCell<Option<Rc<Peer>>>,
    description: String,
    ours: Facts,
    theirs: OnceCell<Facts>,
    /// The name of their one media section.
    mid: RefCell<String>,
    offering: bool,
    limits: Limits,
    candidates: Cell<usize>,
    answered: Cell<bool>,
}

impl Pending {
    pub(super) async fn offer(config: &WebConfig, peer: Rc<Peer>) -> Result<Self, LinkError> {
        let offer = peer.ask("createOffer", &[]).await.map_err(|error| failed(&error))?;
        Self::described(config, peer, &offer, None).await
    }

    pub(super) async fn answer(
        config: &WebConfig,
        offer: &str,
        peer: impl FnOnce() -> Result<Rc<Peer>, LinkError>,
    ) -> Result<Self, LinkError> {
        check_support()?;
        let theirs = sdp::read(offer)?;
        let peer = peer()?;
        let remote = description_of("offer", offer);
        peer.ask("setRemoteDescription", &[&remote]).await.map_err(|error| unusable(&error))?;
        let answer = peer.ask("createAnswer", &[]).await.map_err(|error| unusable(&error))?;
        Self::described(config, peer, &answer, Some((theirs, mid_of(offer)))).await
    }

    async fn described(
        config: &WebConfig,
        peer: Rc<Peer>,
        description: &JsValue,
        theirs: Option<(Facts, String)>,
    ) -> Result<Self, LinkError> {
        peer.ask("setLocalDescription", &[description]).await.map_err(|error| failed(&error))?;
        // Servers may take their time; what they tell follows as candidates. The other end waits for an
        // answer, so that goes with the first few: Chromium takes 0.1 s more for those of TCP alone.
        let reports = &peer.reports;
        let gathered = async {
            while !reports.gathered.get() && reports.ended.borrow().is_none() {
                if theirs.is_none() || reports.candidates.borrow().is_empty() {
                    reports.changed.notified().await;
                } else if runtime::timeout(ANSWER_AFTER, reports.changed.notified()).await.is_none() {
                    break;
                }
            }
        };
        let _ = runtime::timeout(config.gather_for, gathered).await;
        let sdp = get(&peer.pc, "localDescription").and_then(|local| get(&local, "sdp"));
        let sdp = sdp.and_then(|sdp| sdp.as_string());
        let description =
            sdp.ok_or_else(|| LinkError::Failed("the browser has no description".to_owned()))?;
        // Those told of so far stand in it.
        peer.reports.candidates.borrow_mut().clear();
        let ours = sdp::read(&description)?;
        let offering = theirs.is_none();
        let (known, mid) = (OnceCell::new(), RefCell::default());
        if let Some((theirs, their_mid)) = theirs {
            let _ = known.set(theirs);
            mid.replace(their_mid);
        }
        Ok(Self {
            peer: RefCell::new(Some(peer)),
            description,
            ours,
            theirs: known,
            mid,
            offering,
            limits: Limits {
                max_frame: config.max_frame.clamp(1024, MAX_MESSAGE),
                receive_window: config.receive_window.max(MAX_MESSAGE as u32),
                send_buffer: config.send_buffer.max(1),
            },
            candidates: Cell::new(0),
            answered: Cell::new(false),
        })
    }

    fn peer(&self) -> Option<Rc<Peer>> {
        self.peer.borrow().clone()
    }

    async fn take_answer(&self, answer: &str) -> Result<(), LinkError> {
        if !self.offering {
            return Err(LinkError::Failed("the answering end takes no answer".to_owned()));
        }
        let theirs = sdp::read(answer)?;
        if theirs.fingerprint == self.ours.fingerprint {
            return Err(LinkError::BadDescription("our own fingerprint".to_owned()));
        }
        let Some(peer) = self.peer() else { return Err(LinkError::Closed) };
        if self.answered.replace(true) {
            return Err(LinkError::Failed("it was answered before".to_owned()));
        }
        let _ = self.theirs.set(theirs);
        self.mid.replace(mid_of(answer));
        let remote = description_of("answer", answer);
        let taken = peer.ask("setRemoteDescription", &[&remote]).await;
        taken.map(drop).map_err(|error| unusable(&error))
    }

    async fn take_candidate(&self, candidate: &str) -> Result<(), LinkError> {
        let bad = |what: &str| Err(LinkError::BadDescription(what.to_owned()));
        if candidate.len() > MAX_CANDIDATE_BYTES {
            return bad("a candidate of more than 1 KiB");
        }
        let Some(peer) = self.peer() else { return Ok(()) };
        let Some(theirs) = self.theirs.get() else {
            return Err(LinkError::Failed("a candidate came before the answer".to_owned()));
        };
        let taken = self.candidates.replace(self.candidates.get() + 1);
        if theirs.candidates + taken >= MAX_CANDIDATES {
            return bad("more than 40 candidates");
        }
        // Some stacks give the whole line of the description.
        let candidate = candidate.strip_prefix("a=").unwrap_or(candidate);
        if !candidate.starts_with("candidate:") {
            return bad("not a candidate");
        }
        let init = object([
            ("candidate", candidate.into()),
            ("sdpMid", self.mid.borrow().as_str().into()),
            ("sdpMLineIndex", 0.into()),
        ]);
        peer.ask("addIceCandidate", &[&init]).await.map(drop).map_err(|error| unusable(&error))
    }

    async fn next_event(&self) -> NegotiationEvent {
        let Some(peer) = self.peer() else { return std::future::pending().await };
        loop {
            let reports = &peer.reports;
            if reports.open.get()
                && let Some(link) = self.establish()
            {
                return NegotiationEvent::Established(link);
            }
            let ended = reports.ended.borrow().clone();
            if let Some(error) = ended {
                self.peer.take();
                return NegotiationEvent::Failed(error);
            }
            let candidate = reports.candidates.borrow_mut().pop_front();
            if let Some(candidate) = candidate {
                return NegotiationEvent::Candidate(candidate);
            }
            reports.changed.notified().await;
        }
    }

    fn establish(&self) -> Option<Arc<dyn Link>> {
        let theirs = self.theirs.get()?;
        let peer = self.peer.take()?;
        let (offer, answer) = match self.offering {
            true => (&self.ours, theirs),
            false => (theirs, &self.ours),
        };
        let taken = [theirs.max_message, self.ours.max_message];
        let taken = taken.into_iter().filter(|size| *size > 0).min().unwrap_or(MAX_MESSAGE);
        let limits = Limits { max_frame: self.limits.max_frame.min(taken), ..self.limits };
        Some(Arc::new(Live::new(peer, sdp::binding(offer, answer), limits)))
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

fn description_of(kind: &str, sdp: &str) -> JsValue {
    object([("type", kind.into()), ("sdp", sdp.into())])
}

/// The name of the one media section of a description.
fn mid_of(sdp: &str) -> String {
    let mid = sdp.lines().find_map(|line| line.trim_end().strip_prefix("a=mid:"));
    mid.unwrap_or("0").to_owned()
}

fn unusable(error: &JsValue) -> LinkError {
    LinkError::BadDescription(web::problem(error))
}
