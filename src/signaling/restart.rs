//! An ICE restart of a live link, by way of the offer that is taken for a fresh one.
//!
//! A peer whose link is in doubt dials a fresh one. For that it takes an offer, and on the way that
//! this opens between the two, for candidates, it can also ask the host to begin ICE anew on the
//! old link: no other request, nothing of the host's pool, and a host that does not know of
//! restarts takes the text for a bad candidate. What is asked and answered is signed for the other
//! party: see `docs/PROTOCOL.md`. Candidates are hints here as they are elsewhere.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;

use super::caller::Caller;
use super::negotiate::{MAX_CANDIDATES, post};
use super::subscription::{OfferNews, OfferRegistration};
use super::{OfferId, ServiceUuid, wire};
use crate::collections::HashMap;
use crate::durable::dialer::Restart;
use crate::error::DialError;
use crate::identity::{Domain, PublicKey, Signature};
use crate::link::{Binding, IceCredentials, Link, LinkError, RestartEvent};
use crate::runtime::{self, BoxFuture};

/// How every text of a restart begins, and no candidate does.
pub(super) const PREFIX: &str = "restart:";
const ASK: &str = "restart:ask ";
const ANSWER: &str = "restart:answer ";
const CANDIDATE: &str = "restart:candidate ";

/// How long a restart may take at most, at either end.
const WITHIN: Duration = Duration::from_secs(10);
/// A dial must have taken an offer by then. If it takes longer, the network is down and nobody
/// moved, and what helps then is the old path or a fresh one.
const OFFER_WITHIN: Duration = Duration::from_secs(3);

/// How long after the dial's connection the other one may be.
const SPARE_WITHIN: Duration = Duration::from_millis(30);

/// What a restart goes by: an offer that a dial took.
pub(super) struct Way {
    pub(super) offer: OfferId,
    pub(super) service: ServiceUuid,
    pub(super) owner: PublicKey,
    pub(super) news: OfferRegistration,
}

/// What a signature covers.
#[derive(Clone, Copy)]
struct Meaning<'a> {
    service: &'a ServiceUuid,
    offer: &'a OfferId,
    binding: Binding,
    asked: &'a IceCredentials,
}

impl Meaning<'_> {
    fn parts(&self) -> [&[u8]; 5] {
        let Self { service, offer, binding, asked } = self;
        [service.as_bytes(), offer.as_bytes(), &binding.0, asked.ufrag().as_bytes(), asked.pwd().as_bytes()]
    }

    fn answered<'a>(&'a self, answered: &'a IceCredentials) -> [&'a [u8]; 7] {
        let [a, b, c, d, e] = self.parts();
        [a, b, c, d, e, answered.ufrag().as_bytes(), answered.pwd().as_bytes()]
    }
}

/// What a text says.
#[derive(Debug, PartialEq)]
enum Said {
    Ask { binding: Binding, asked: IceCredentials, signature: Signature },
    Answer { answered: IceCredentials, signature: Signature },
    Candidate(String),
}

fn ask_text(binding: Binding, asked: &IceCredentials, signature: &Signature) -> String {
    let binding = crate::base64url::encode(binding.0);
    format!("{ASK}{binding} {} {} {signature}", asked.ufrag(), asked.pwd())
}

fn answer_text(answered: &IceCredentials, signature: &Signature) -> String {
    format!("{ANSWER}{} {} {signature}", answered.ufrag(), answered.pwd())
}

/// Reads a text; `None` if it is none of a restart, or none that is known here.
fn read(text: &str) -> Option<Said> {
    fn words<const N: usize>(text: &str) -> Option<[&str; N]> {
        text.split(' ').collect::<Vec<_>>().try_into().ok()
    }
    if let Some(rest) = text.strip_prefix(ASK) {
        let [binding, ufrag, pwd, signature] = words(rest)?;
        let bytes = crate::base64url::decode(binding)?;
        let asked = IceCredentials::new(ufrag, pwd).ok()?;
        return Some(Said::Ask { binding: Binding(bytes), asked, signature: signature.parse().ok()? });
    }
    if let Some(rest) = text.strip_prefix(ANSWER) {
        let [ufrag, pwd, signature] = words(rest)?;
        let answered = IceCredentials::new(ufrag, pwd).ok()?;
        return Some(Said::Answer { answered, signature: signature.parse().ok()? });
    }
    text.strip_prefix(CANDIDATE).map(|candidate| Said::Candidate(candidate.to_owned()))
}

/// The next things said, those that can be read.
async fn hear(news: &mut OfferRegistration) -> Vec<Said> {
    loop {
        if let OfferNews::Candidates(texts) = news.recv().await {
            return texts.iter().take(MAX_CANDIDATES).filter_map(|text| read(text)).collect();
        }
    }
}

/// The peer's part: asks on the first way that a dial opens, and sees it through until the link has a path.
pub(super) async fn ask(
    caller: Caller,
    restart: Restart,
    way: impl Future<Output = Option<Way>>,
) -> Result<(), DialError> {
    let Restart { link, not_before, is_wanted } = restart;
    let way = beside_a_spare_connection(&caller, runtime::timeout(OFFER_WITHIN, way)).await.flatten();
    let Some(Way { offer, service, owner, mut news }) = way else {
        return failed("no dial got through to the directory in time");
    };
    runtime::sleep(not_before.saturating_duration_since(runtime::now())).await;
    if !is_wanted() {
        return failed("the link answered without one");
    }
    let asked = link.ask_restart().await?;
    let meaning = Meaning { service: &service, offer: &offer, binding: link.binding(), asked: &asked };
    let signature = caller.identity().sign(Domain::Restart, &meaning.parts());
    let candidates = vec![ask_text(meaning.binding, &asked, &signature)];
    let seen_through = async {
        tracing::debug!(%offer, "asks for a restart of the link");
        caller.ask(wire::candidates(offer, candidates)).await?;
        let mut early = Vec::new();
        let answered = loop {
            for said in hear(&mut news).await {
                match said {
                    Said::Answer { answered, signature } => {
                        let parts = meaning.answered(&answered);
                        if !owner.verifies(Domain::RestartAnswer, &parts, &signature) {
                            let what = "the signaling server gave consent to a restart that the service's owner did not sign";
                            return Err(DialError::Impersonation(what.into()));
                        }
                        early.push(Ok(answered));
                    }
                    Said::Candidate(candidate) => early.push(Err(candidate)),
                    Said::Ask { .. } => {}
                }
            }
            early.truncate(MAX_CANDIDATES);
            if let Some(at) = early.iter().position(Result::is_ok)
                && let Ok(answered) = early.swap_remove(at)
            {
                break answered;
            }
        };
        tracing::debug!(%offer, "restarts the link");
        link.finish_restart(&answered).await?;
        for candidate in early.into_iter().filter_map(Result::err) {
            add_candidate(&*link, &candidate).await;
        }
        trickle(&caller, offer, &*link, &mut news).await;
        Ok(())
    };
    runtime::timeout(WITHIN, seen_through).await.unwrap_or(Err(DialError::TimedOut))
}

/// Waits for `way`, and has another connection to the directory made meanwhile: the one that the dial
/// made is in use by its answer, and to make one then would cost a round trip.
async fn beside_a_spare_connection<T>(caller: &Caller, way: impl Future<Output = T>) -> T {
    let (mut way, mut spare) = (std::pin::pin!(way), std::pin::pin!(caller.probe().fuse()));
    let way = loop {
        tokio::select! {
            biased;
            way = &mut way => break way,
            // Pending from then on.
            _ = &mut spare => {}
        }
    };
    if !spare.is_terminated() {
        runtime::timeout(SPARE_WITHIN, spare).await;
    }
    way
}

/// The host's part: does what the owner of a live link of this service asks, once, by way of one offer.
pub(super) async fn serve(
    caller: &Caller,
    links: &LiveLinks,
    service: ServiceUuid,
    offer: OfferId,
    mut news: OfferRegistration,
) {
    let served = async {
        let mut early = Vec::new();
        let mut found = None;
        while found.is_none() {
            for said in hear(&mut news).await {
                match said {
                    Said::Ask { binding, asked, signature } if found.is_none() => {
                        let meaning = Meaning { service: &service, offer: &offer, binding, asked: &asked };
                        let Some((peer, link)) = links.find(binding) else {
                            return tracing::debug!(%offer, "a restart of a link that is not there");
                        };
                        if !peer.verifies(Domain::Restart, &meaning.parts(), &signature) {
                            return tracing::warn!(%offer, "somebody asks for the restart of another's link");
                        }
                        found = Some((link, asked));
                    }
                    Said::Candidate(candidate) => early.push(candidate),
                    Said::Ask { .. } | Said::Answer { .. } => {}
                }
            }
            early.truncate(MAX_CANDIDATES);
        }
        let Some((link, asked)) = found else { return };
        tracing::debug!(%offer, "restarts the link of a peer");
        let answered = match link.answer_restart(&asked).await {
            Ok(answered) => answered,
            Err(error) => return tracing::debug!(%error, "a link cannot be restarted"),
        };
        let meaning = Meaning { service: &service, offer: &offer, binding: link.binding(), asked: &asked };
        let signature = caller.identity().sign(Domain::RestartAnswer, &meaning.answered(&answered));
        for candidate in early {
            add_candidate(&*link, &candidate).await;
        }
        let mut texts = vec![answer_text(&answered, &signature)];
        // Nobody can have checked yet, so there is no path to hear of.
        texts.extend(ready_candidates(&*link).0);
        texts.truncate(MAX_CANDIDATES / 2);
        // It tries again if it must.
        let telling = post(caller, offer, texts);
        tokio::join!(telling, trickle(caller, offer, &*link, &mut news));
    };
    let _ = runtime::timeout(WITHIN, served).await;
}

/// Trades candidates until the link has a path. Does not end by itself: bound it.
async fn trickle(caller: &Caller, offer: OfferId, link: &dyn Link, news: &mut OfferRegistration) {
    let mut posting: Option<BoxFuture<'_, ()>> = None;
    let mut waiting: Vec<String> = Vec::new();
    let mut left = MAX_CANDIDATES / 2;
    loop {
        if posting.is_none() && !waiting.is_empty() {
            waiting.truncate(left);
            left -= waiting.len();
            let batch = std::mem::take(&mut waiting);
            posting = (!batch.is_empty()).then(|| Box::pin(post(caller, offer, batch)) as BoxFuture<'_, ()>);
        }
        tokio::select! {
            biased;
            event = link.restart_event() => match event {
                RestartEvent::Candidate(candidate) => {
                    waiting.push(format!("{CANDIDATE}{candidate}"));
                    let (more, done) = ready_candidates(link);
                    waiting.extend(more);
                    if done {
                        return;
                    }
                }
                RestartEvent::Done => return,
            },
            said = hear(news) => for said in said {
                if let Said::Candidate(candidate) = said {
                    add_candidate(link, &candidate).await;
                }
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

/// The candidates that are there already, as texts, and whether there is a path.
fn ready_candidates(link: &dyn Link) -> (Vec<String>, bool) {
    let mut texts = Vec::new();
    while texts.len() < MAX_CANDIDATES {
        match link.restart_event().now_or_never() {
            Some(RestartEvent::Candidate(candidate)) => texts.push(format!("{CANDIDATE}{candidate}")),
            Some(RestartEvent::Done) => return (texts, true),
            None => break,
        }
    }
    (texts, false)
}

async fn add_candidate(link: &dyn Link, candidate: &str) {
    if let Err(error) = link.add_restart_candidate(candidate).await {
        tracing::debug!(%error, "a candidate of a restart that cannot be used");
    }
}

fn failed(why: &str) -> Result<(), DialError> {
    Err(LinkError::Failed(why.into()).into())
}

/// The live links of a service, each with whose it is: the key that signed the answer it was made of.
#[derive(Default)]
pub(super) struct LiveLinks(Mutex<HashMap<Binding, Owned>>);

type Owned = (PublicKey, Weak<dyn Link>);

impl LiveLinks {
    pub(super) fn insert(&self, peer: PublicKey, link: &Arc<dyn Link>) {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, (_, link)| link.strong_count() > 0);
        links.insert(link.binding(), (peer, Arc::downgrade(link)));
    }

    fn find(&self, binding: Binding) -> Option<(PublicKey, Arc<dyn Link>)> {
        let links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (peer, link) = links.get(&binding)?;
        Some((*peer, link.upgrade()?))
    }
}

/// The worked example, for `vectors`.
#[cfg(test)]
pub(super) fn vectors(
    host: &crate::identity::Identity,
    peer: &crate::identity::Identity,
    service: &ServiceUuid,
    offer: &OfferId,
) -> serde_json::Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let credentials = |ufrag: &str, pwd: &str| IceCredentials::new(ufrag, pwd).expect("they are good");
    let asked = credentials("askasked", "0123456789abcdefghijklmn");
    let answered = credentials("ansanswe", "nmlkjihgfedcba9876543210");
    let meaning = Meaning { service, offer, binding: Binding([3; 32]), asked: &asked };
    let (ask, answer) = (meaning.parts(), meaning.answered(&answered));
    let candidate = "candidate:1 1 udp 2130706431 192.0.2.7 4000 typ host";
    serde_json::json!({
        "binding_hex": hex(&meaning.binding.0),
        "ask": {
            "ufrag": asked.ufrag(), "pwd": asked.pwd(), "digest": hex(&Domain::Restart.digest(&ask)),
            "text": ask_text(meaning.binding, &asked, &peer.sign(Domain::Restart, &ask)),
        },
        "answer": {
            "ufrag": answered.ufrag(), "pwd": answered.pwd(), "digest": hex(&Domain::RestartAnswer.digest(&answer)),
            "text": answer_text(&answered, &host.sign(Domain::RestartAnswer, &answer)),
        },
        "candidate": {"candidate": candidate, "text": format!("{CANDIDATE}{candidate}")},
    })
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
