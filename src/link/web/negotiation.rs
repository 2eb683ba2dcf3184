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
use crate::runtime::BoxFuture;
use crate::web::{self, settled};

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
        Self::described(config, peer, None).await
    }

    pub(super) async fn answer(
        config: &WebConfig,
        offer: &str,
        peer: impl FnOnce() -> Result<Rc<Peer>, LinkError>,
    ) -> Result<Self, LinkError> {
        check_support()?;
        let theirs = sdp::read(offer)?;
        let peer = peer()?;
        let answer = settled(peer.pc.answer(offer)).await.map_err(|error| unusable(&error))?;
        Self::described(config, peer, Some((answer, theirs, mid_of(offer)))).await
    }

    async fn described(
        config: &WebConfig,
        peer: Rc<Peer>,
        theirs: Option<(JsValue, Facts, String)>,
    ) -> Result<Self, LinkError> {
        let answer = theirs.as_ref().map(|(answer, ..)| answer);
        let described = peer.pc.describe(answer, millis(config.gather_for), millis(ANSWER_AFTER));
        let described = settled(described).await.map_err(|error| failed(&error))?;
        let description = described
            .as_string()
            .ok_or_else(|| LinkError::Failed("the browser has no description".to_owned()))?;
        // Those told of so far stand in it.
        peer.reports.candidates.borrow_mut().clear();
        let ours = sdp::read(&description)?;
        let offering = theirs.is_none();
        let (known, mid) = (OnceCell::new(), RefCell::default());
        if let Some((_, theirs, their_mid)) = theirs {
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
        let taken = settled(peer.pc.take("answer", answer)).await;
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
        let added = peer.pc.add_candidate(candidate, &self.mid.borrow());
        settled(added).await.map(drop).map_err(|error| unusable(&error))
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

fn millis(duration: Duration) -> u32 {
    duration.as_millis() as u32
}

/// The name of the one media section of a description.
fn mid_of(sdp: &str) -> String {
    let mid = sdp.lines().find_map(|line| line.trim_end().strip_prefix("a=mid:"));
    mid.unwrap_or("0").to_owned()
}

fn unusable(error: &JsValue) -> LinkError {
    LinkError::BadDescription(web::problem(error))
}
