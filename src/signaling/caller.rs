//! One identity speaking to one directory: signs what is asked and bounds how long it takes.

use std::sync::Arc;
use std::time::Duration;

use super::wire::{self, Asked};
use super::{Cursor, EventStream, Request, Response, SignalingError, SignedRequest};
use crate::identity::Identity;
use crate::runtime;
use crate::signaling::Signaling;

/// Asks a directory in the name of an identity. Clones share both.
#[derive(Clone)]
pub(crate) struct Caller {
    identity: Identity,
    signaling: Arc<dyn Signaling>,
}

impl Caller {
    pub(crate) fn new(identity: Identity, signaling: Arc<dyn Signaling>) -> Self {
        Self { identity, signaling }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Asks, and waits for the answer for a bounded time. Dropped, the directory may or may not
    /// have carried the request out.
    pub(crate) async fn ask(&self, asked: Asked) -> Result<Response, SignalingError> {
        let patience = match &asked.request {
            Request::Take { wait, .. } => *wait + ANSWER_WITHIN,
            _ => ANSWER_WITHIN,
        };
        let answer = self.signaling.call(self.signed(asked));
        runtime::timeout(patience, answer).await.unwrap_or_else(|| Err(silent()))
    }

    /// Opens the event stream after `cursor`.
    pub(crate) async fn events(&self, cursor: Option<Cursor>) -> Result<EventStream, SignalingError> {
        let opened = self.signaling.events(self.signed(wire::events(cursor)));
        runtime::timeout(ANSWER_WITHIN, opened).await.unwrap_or_else(|| Err(silent()))
    }

    /// How often to ask for events where they cannot be pushed.
    pub(crate) fn set_poll_interval(&self, interval: Duration) {
        self.signaling.set_poll_interval(interval);
    }

    /// Asks over new connections from now on.
    pub(crate) fn renew(&self) {
        self.signaling.renew();
    }

    /// The network of this machine changed.
    pub(crate) fn network_changed(&self) {
        self.signaling.network_changed();
    }

    /// Whether the directory answers.
    pub(crate) async fn probe(&self) -> Result<(), SignalingError> {
        self.signaling.probe().await
    }

    fn signed(&self, asked: Asked) -> SignedRequest {
        SignedRequest::sign_asked(&self.identity, asked, runtime::unix_millis(), runtime::random())
    }
}

/// The answer is not one to what was asked.
pub(crate) fn nonsense(response: &Response) -> SignalingError {
    let kind = match response {
        Response::Done => "nothing",
        Response::Claimed(_) => "a claim",
        Response::Owner(_) => "an owner",
        Response::Services(_) => "services",
        Response::Published(_) => "a lease",
        Response::Service(_) => "a service",
        Response::Taken(_) => "an offer",
    };
    SignalingError::NotAServer(format!("an answer to another question ({kind})"))
}

fn silent() -> SignalingError {
    SignalingError::Unreachable(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))
}

/// How long an answer may take, beyond what was asked to wait for.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
