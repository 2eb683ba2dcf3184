//! From exchanged descriptions to a link: both parties trade candidates until it is there.

use std::sync::Arc;
use std::time::Duration;

use super::caller::Caller;
use super::subscription::{OfferNews, OfferRegistration};
use super::{OfferId, wire};
use crate::link::{Link, LinkError, Negotiation, NegotiationEvent};
use crate::runtime::{self, BoxFuture};

/// Runs `negotiation` until its link is there, or it fails. `candidates` are this end's, found so
/// far. Does not end by itself: bound it. Dropping it leaves the negotiation as it is.
pub(super) async fn establish(
    caller: &Caller,
    offer: OfferId,
    negotiation: &dyn Negotiation,
    news: &mut OfferRegistration,
    mut candidates: Vec<String>,
) -> Result<Arc<dyn Link>, LinkError> {
    let mut posting: Option<BoxFuture<'_, ()>> = None;
    let mut posted = 0;
    loop {
        if posting.is_none() && !candidates.is_empty() {
            candidates.truncate(MAX_CANDIDATES - posted.min(MAX_CANDIDATES));
            let batch = std::mem::take(&mut candidates);
            posted += batch.len();
            posting = (!batch.is_empty()).then(|| Box::pin(post(caller, offer, batch)) as BoxFuture<'_, ()>);
        }
        tokio::select! {
            biased;
            event = negotiation.next() => match event {
                NegotiationEvent::Established(link) => return Ok(link),
                NegotiationEvent::Failed(error) => return Err(error),
                NegotiationEvent::Candidate(candidate) => candidates.push(candidate),
            },
            item = news.recv() => match item {
                OfferNews::Candidates(theirs) => add_candidates(negotiation, &theirs).await,
                // Only the first answer counts, and it is taken already.
                OfferNews::Answered { .. } => {}
            },
            () = async {
                match &mut posting {
                    Some(posting) => posting.await,
                    None => std::future::pending().await,
                }
            } => posting = None,
        }
    }
}

/// Gives the other end's candidates to the negotiation; a bad one costs only itself.
pub(super) async fn add_candidates(negotiation: &dyn Negotiation, candidates: &[String]) {
    for candidate in candidates.iter().take(MAX_CANDIDATES) {
        if let Err(error) = negotiation.add_candidate(candidate).await {
            tracing::debug!(%error, "a candidate that cannot be used");
        }
    }
}

/// Posts candidates, again and again while that fails for a time.
pub(super) async fn post(caller: &Caller, offer: OfferId, candidates: Vec<String>) {
    loop {
        match caller.ask(wire::candidates(offer, candidates.clone())).await {
            Ok(_) => return,
            Err(error) if error.is_temporary() && error.code().is_none() => runtime::sleep(POST_AGAIN).await,
            Err(error) => return tracing::debug!(%error, "candidates were refused"),
        }
    }
}

/// Candidates of one end; the directory takes no more.
pub(super) const MAX_CANDIDATES: usize = 64;
const POST_AGAIN: Duration = Duration::from_millis(500);
