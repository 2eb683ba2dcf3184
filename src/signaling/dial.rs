//! Dialing by signaling: find the service, take an offer, prove it, answer it, get a link.
//!
//! Nothing that the server says is believed. The uuid commits to the owner's key, the owner's
//! signature covers the offer, and this end's signature covers the answer and the offer it
//! answers: see `docs/PROTOCOL.md`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::auth;
use super::caller::{Caller, nonsense};
use super::negotiate::establish;
use super::restart::{self, Way};
use super::subscription::Subscription;
use super::wire;
use super::{
    Answer, ErrorCode, OfferId, Response, ServiceRecord, ServiceTarget, ServiceUuid, SignalingError,
    TakenOffer,
};
use crate::durable::dialer::{DialFailure, Dialed, Dialer, Restart};
use crate::error::DialError;
use crate::identity::PublicKey;
use crate::link::{LinkError, Negotiation, Transport};
use crate::runtime::sync::{Notify, oneshot};
use crate::runtime::{self, BoxFuture, Futures, Instant, MaybeSend};

/// Dials one service through a directory.
pub(crate) struct SignaledDialer {
    inner: Arc<Inner>,
    connect_timeout: Duration,
    seed: u64,
}

/// What a dialer dials, once that is certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pin {
    /// The service. A name is looked up only until the first link: whoever reconnects wants the
    /// same service, not the newest.
    pub(crate) uuid: ServiceUuid,
    /// Its owner.
    pub(crate) owner: PublicKey,
}

struct Inner {
    caller: Caller,
    subscription: Subscription,
    transport: Arc<dyn Transport>,
    target: ServiceTarget,
    patient: bool,
    // A std mutex: held to copy it, never over an await.
    pin: Mutex<Option<Pin>>,
    /// A restart that waits for the next offer to go by. As above.
    restart: Mutex<Option<oneshot::Sender<Way>>>,
}

impl SignaledDialer {
    /// A dialer of `target`. With a `pin`, only that service of that owner is accepted. With one,
    /// or when `patient`, an unknown service counts as one that is away. An attempt takes at most `connect_timeout`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        caller: Caller,
        subscription: Subscription,
        transport: Arc<dyn Transport>,
        target: ServiceTarget,
        pin: Option<Pin>,
        patient: bool,
        connect_timeout: Duration,
        seed: u64,
    ) -> Self {
        let inner = Inner {
            caller,
            subscription,
            transport,
            target,
            patient,
            pin: Mutex::new(pin),
            restart: Mutex::default(),
        };
        Self { inner: Arc::new(inner), connect_timeout, seed }
    }

    /// The service and owner of the first link, or as given.
    #[cfg(test)]
    pub(crate) fn pin(&self) -> Option<Pin> {
        self.inner.pin()
    }
}

impl Dialer for SignaledDialer {
    fn dial(&self, attempt: u32) -> BoxFuture<'static, Result<Dialed, DialFailure>> {
        let inner = self.inner.clone();
        let limit = self.connect_timeout;
        let seed = self.seed.wrapping_add(attempt.into());
        Box::pin(async move {
            tracing::debug!(attempt, "dialing");
            let answered = Arc::new(AtomicBool::new(false));
            // A little short of the limit: whoever waits just as long for a connection shall hear why there is none.
            let within = limit - (limit / 20).min(KNOWS_WHY);
            let dialed = runtime::timeout(within, inner.race(limit, seed, &answered)).await;
            // Where everything went well that goes by the directory, it is the path that is not there.
            let result = dialed.unwrap_or_else(|| match answered.load(Ordering::Relaxed) {
                true => Err(LinkError::NoPath.into()),
                false => Err(DialError::TimedOut),
            });
            result.map_err(|error| inner.failure(error))
        })
    }

    fn restart(&self, restart: Restart) -> BoxFuture<'static, Result<(), DialFailure>> {
        let inner = self.inner.clone();
        if !crate::link::RESTARTS {
            // Known beforehand, so that a page need not load what does it.
            let failure = inner.failure(crate::link::no_restart().into());
            return Box::pin(std::future::ready(Err(failure)));
        }
        let (opened, way) = oneshot::channel();
        // The dial that follows opens one. Of several restarts the newest counts.
        *inner.restart.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        Box::pin(async move {
            // What the host says is awaited from the beginning, so that the stream it comes by is open.
            let _stream = inner.subscription.restart(OfferId::random());
            // What silenced the link may have silenced that, too: a NAT that has another address now.
            inner.subscription.renew();
            let restarted = restart::ask(inner.caller.clone(), restart, async { way.await.ok() }).await;
            restarted.map_err(|error| inner.failure(error))
        })
    }

    fn reachable(&self) -> BoxFuture<'static, ()> {
        Box::pin(self.inner.watch_way(self.seed))
    }
}

impl Inner {
    /// Tries one offer, and another beside it when the first may be hopeless: its host may have
    /// died, and the successor is answering; or the network was dead when it began, and is back.
    ///
    /// `answered` is set once an answer is with the host.
    async fn race(
        self: &Arc<Self>,
        limit: Duration,
        seed: u64,
        answered: &Arc<AtomicBool>,
    ) -> Result<Dialed, DialError> {
        let mut tries = Futures::new();
        let mut started = 0;
        let mut patience = HEDGE_AFTER;
        if self.pin().is_some() {
            // What ended the last link may have ended the connections to the directory too, unseen,
            // and a question asked over a dead one would hang for as long as this attempt.
            self.caller.renew();
        }
        loop {
            let taken = Arc::new(Notify::new());
            if started < MAX_TRIES {
                tries.push(Box::pin(self.clone().try_once(limit, taken.clone(), answered.clone())));
                started += 1;
            }
            // Only an offer that was taken can be hopeless: waiting for one twice gains nothing.
            let stuck = async {
                taken.notified().await;
                runtime::sleep(patience).await;
            };
            let healed = async {
                runtime::sleep(PROBE_FAILS).await;
                self.watch_way(seed).await;
            };
            let another = async {
                tokio::select! { biased; () = stuck => {}, () = healed => {} }
            };
            tokio::select! {
                biased;
                Some(result) = tries.next() => match result {
                    Ok(dialed) => return Ok(dialed),
                    Err(error) if started < MAX_TRIES && is_used_up(&error) => {}
                    Err(error) if tries.is_empty() || self.failure(error.clone()).permanent => {
                        return Err(error);
                    }
                    Err(error) => {
                        tracing::debug!(%error, "one of several tries failed");
                        started = MAX_TRIES;
                    }
                },
                () = another, if started < MAX_TRIES => patience *= 2,
            }
        }
    }

    async fn try_once(
        self: Arc<Self>,
        limit: Duration,
        has_offer: Arc<Notify>,
        answered: Arc<AtomicBool>,
    ) -> Result<Dialed, DialError> {
        let pin = self.pin();
        let target = match pin {
            Some(Pin { uuid, .. }) => ServiceTarget::Uuid { uuid },
            None => self.target.clone(),
        };
        // Short of the limit, so that it ends with the directory's own words.
        let wait = limit.mul_f64(0.8).min(MAX_WAIT);
        let taken = match self.caller.ask(wire::take(target.clone(), wait)).await? {
            Response::Taken(taken) => taken,
            other => return Err(nonsense(&other).into()),
        };
        has_offer.notify_one();
        check(&target, pin, &taken)?;
        let TakenOffer { service, id, sdp, .. } = taken;

        // Registered before the answer is out, so that no candidate can come too early.
        let mut news = self.subscription.offer(id);
        let negotiation: Arc<dyn Negotiation> = self.transport.answer(&sdp).await?;
        let description = negotiation.description().to_owned();
        let restart = self.restart.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(restart) = restart.filter(|restart| !restart.is_closed()) {
            let news = self.subscription.restart(id);
            let _ = restart.send(Way { offer: id, service: service.uuid, owner: service.owner, news });
        }
        let signature = auth::sign_answer(self.caller.identity(), &service.uuid, &id, &sdp, &description);
        self.caller.ask(wire::answer(Answer { offer: id, sdp: description, signature })).await?;
        answered.store(true, Ordering::Relaxed);
        let link = establish(&self.caller, id, &*negotiation, &mut news, Vec::new()).await?;
        let pin = Pin { uuid: service.uuid, owner: service.owner };
        self.pin.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(pin);
        Ok(Dialed { link, peer: service.owner })
    }

    fn watch_way(&self, seed: u64) -> impl Future<Output = ()> + use<> {
        let caller = self.caller.clone();
        watch_way(StdRng::seed_from_u64(seed), move || {
            let caller = caller.clone();
            async move { caller.probe().await.is_ok() }
        })
    }

    fn failure(&self, error: DialError) -> DialFailure {
        let pinned = self.pin().is_some();
        let may_come = pinned || (self.patient && is_absence(&error));
        let (permanent, retry_after) = match &error {
            // What was reached before exists: its host or server is being restarted, and comes back.
            DialError::Signaling(SignalingError::Refused { code, retry_after, .. }) => {
                (!may_come && !code.is_temporary(), *retry_after)
            }
            DialError::Signaling(error) => (!pinned && !error.is_temporary(), None),
            DialError::Impersonation(_) => (!pinned, None),
            DialError::Link(LinkError::Unsupported(_)) => (true, None),
            _ => (false, None),
        };
        DialFailure { error, permanent, retry_after: retry_after.map(|after| after.min(RETRY_AFTER_MAX)) }
    }

    fn pin(&self) -> Option<Pin> {
        *self.pin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The directory does not know the service, or its owner.
pub(super) fn is_absence(error: &DialError) -> bool {
    use ErrorCode::{ServiceNotFound, UsernameUnclaimed};
    matches!(error, DialError::Signaling(error)
        if matches!(error.code(), Some(ServiceNotFound | UsernameUnclaimed)))
}

/// The offer went to somebody else or is gone: another may do at once.
fn is_used_up(error: &DialError) -> bool {
    use ErrorCode::{AlreadyAnswered, OfferNotFound, OfferTaken};
    matches!(error, DialError::Signaling(error)
        if matches!(error.code(), Some(AlreadyAnswered | OfferNotFound | OfferTaken)))
}

/// Whether the offer is one of the service that was asked for, by its owner's own signature.
fn check(target: &ServiceTarget, pin: Option<Pin>, taken: &TakenOffer) -> Result<(), DialError> {
    let lie = |what: &str| Err(DialError::Impersonation(format!("the signaling server {what}")));
    let TakenOffer { service, id, sdp, signature } = taken;
    if !commits(service) {
        return lie("gave a service uuid that does not follow from the owner it names");
    }
    match target {
        ServiceTarget::Uuid { uuid } if *uuid != service.uuid => {
            return lie("gave another service than the one with this uuid");
        }
        ServiceTarget::Name { username, service: query, .. }
            if *username != service.username || !query.matches(&service.service) =>
        {
            return lie("gave another service than the one with this name");
        }
        _ => {}
    }
    if pin.is_some_and(|pin| pin.owner != service.owner) {
        return lie("named another owner than before");
    }
    if !auth::verify_offer(&service.owner, &service.uuid, id, sdp, signature) {
        return lie("gave an offer that the service's owner did not sign");
    }
    Ok(())
}

/// Whether the record's uuid commits to all that it says of the service's identity.
fn commits(service: &ServiceRecord) -> bool {
    let derived = |salt| ServiceUuid::derive(&service.owner, &service.username, &service.service, &salt);
    crate::base64url::decode(&service.salt).map(derived) == Some(service.uuid)
}

/// Resolves when `probe` failed and then succeeds: see [`Dialer::reachable`].
///
/// A probe that has no answer within [`PROBE_FAILS`] has failed. Probes go out every 250 ms at
/// first and every second in the end, whatever became of those before: in a dead network one may
/// hang, and the next is the one that finds the network healed. A way so slow that no probe is
/// ever answered in time never counts as healed; the backoff is then left to itself, as it is
/// while all probes succeed.
async fn watch_way<F>(mut rng: StdRng, probe: impl Fn() -> F)
where
    F: Future<Output = bool> + MaybeSend,
{
    let started = runtime::now();
    let mut under_way = Futures::new();
    // When the newest probes of either fate were sent: one that got lost on a working way, and is
    // found out after a later one was answered, is no break.
    let (mut succeeded, mut failed) = (None, None);
    loop {
        let answer = probe();
        under_way.push(Box::pin(async move {
            let sent = runtime::now();
            (sent, runtime::timeout(PROBE_FAILS, answer).await == Some(true))
        }));
        let pause = runtime::sleep(pause(started, runtime::now(), failed.is_some(), &mut rng));
        let mut pause = std::pin::pin!(pause);
        loop {
            tokio::select! {
                biased;
                Some((sent, answered)) = under_way.next() => match answered {
                    true if failed.is_some_and(|failed| failed < sent) => return,
                    true => succeeded = succeeded.max(Some(sent)),
                    false if succeeded < Some(sent) => failed = failed.max(Some(sent)),
                    false => {}
                },
                () = &mut pause => break,
            }
        }
    }
}

/// The time between two probes: quick after a fresh break, when a heal soon is likely.
fn pause(started: Instant, now: Instant, failed: bool, rng: &mut StdRng) -> Duration {
    let passed = now.saturating_duration_since(started);
    let pause = match failed {
        true => (passed / 40).clamp(PROBE_EVERY_MIN, PROBE_EVERY_MAX),
        // Nothing is known to be broken: look now and then, after a first closer look.
        false if passed < PROBE_FAILS => PROBE_EVERY_MIN,
        false => PROBE_EVERY_MAX * 2,
    };
    pause.mul_f64(rng.random_range(0.8..=1.0))
}

/// How much sooner than it may a dial ends that fails.
const KNOWS_WHY: Duration = Duration::from_millis(100);
/// How long the first try of a dial is alone.
const HEDGE_AFTER: Duration = Duration::from_secs(2);
/// Tries of one dial.
const MAX_TRIES: u32 = 4;
/// The longest wait for an offer that a directory allows.
const MAX_WAIT: Duration = Duration::from_secs(30);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
const PROBE_FAILS: Duration = Duration::from_millis(750);
const PROBE_EVERY_MIN: Duration = Duration::from_millis(250);
const PROBE_EVERY_MAX: Duration = Duration::from_secs(1);

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
