//! The one event stream of a client, shared by all its dials and services.
//!
//! It is opened on first need, opened again after a break from where it stopped, and closed when
//! nothing needed it for a while: a joiner with a live link needs no signaling.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::caller::Caller;
use super::restart;
use super::{Cursor, Event, EventStream, OfferId, ServiceUuid, SignalingError};
use crate::collections::HashMap;
use crate::identity::{PublicKey, Signature};
use crate::retry::Retry;
use crate::runtime::sync::{Notify, mpsc};
use crate::runtime::{self, Instant, Task};

/// A client's event stream. Clones share it; with the last of them, and the last registration,
/// it ends.
#[derive(Clone)]
pub(crate) struct Subscription {
    life: Arc<Life>,
}

/// News of one offer.
#[derive(Debug)]
pub(crate) enum OfferNews {
    /// Somebody answered it.
    Answered { peer: PublicKey, sdp: String, signature: Signature },
    /// Candidates of the other party.
    Candidates(Vec<String>),
}

/// News of one service, the newest of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceNews {
    /// The directory forgot the lease.
    pub(crate) lease_lost: bool,
    /// The stream broke and is back, or events were missed: the directory may have restarted.
    pub(crate) reconnected: bool,
    /// The pool: offers left, peers that wait.
    pub(crate) counted: Option<(usize, usize)>,
}

/// Receives the news of one offer until dropped.
pub(crate) struct OfferRegistration {
    life: Arc<Life>,
    key: (OfferId, About),
    token: u64,
    news: mpsc::Receiver<OfferNews>,
}

/// What news of an offer are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum About {
    /// The link to be made of it.
    Link,
    /// The restart of another link, which goes by the same way.
    Restart,
}

/// Receives the news of one service until dropped.
pub(crate) struct ServiceRegistration {
    life: Arc<Life>,
    token: u64,
    mailbox: Arc<Mailbox>,
}

/// Held by every handle and registration, but not by the task: with the last, the task ends.
struct Life {
    hub: Arc<Hub>,
}

struct Hub {
    caller: Caller,
    seed: u64,
    // A std mutex: held for a map operation, never over an await.
    state: Mutex<State>,
    /// Something in the state changed that the task waits for.
    changed: Notify,
    /// The network changed: what is open may be dead.
    redial: Notify,
}

#[derive(Default)]
struct State {
    offers: HashMap<(OfferId, About), (u64, mpsc::Sender<OfferNews>)>,
    services: Vec<(u64, ServiceUuid, Arc<Mailbox>)>,
    next_token: u64,
    cursor: Option<Cursor>,
    task: Option<Task>,
    stopped: bool,
    is_open: bool,
}

#[derive(Default)]
struct Mailbox {
    news: Mutex<ServiceNews>,
    arrived: Notify,
}

impl Subscription {
    /// A subscription of the caller's identity. `seed` spreads its retries. Nothing is opened yet.
    pub(crate) fn new(caller: Caller, seed: u64) -> Self {
        let hub =
            Hub { caller, seed, state: Mutex::default(), changed: Notify::new(), redial: Notify::new() };
        Self { life: Arc::new(Life { hub: Arc::new(hub) }) }
    }

    /// Receives what happens to `offer` from now on, and what the directory kept for it.
    pub(crate) fn offer(&self, offer: OfferId) -> OfferRegistration {
        self.register_offer((offer, About::Link))
    }

    /// Receives the texts of a restart (see `restart`) that come by way of `offer`, as candidates.
    pub(crate) fn restart(&self, offer: OfferId) -> OfferRegistration {
        self.register_offer((offer, About::Restart))
    }

    fn register_offer(&self, key: (OfferId, About)) -> OfferRegistration {
        let (sender, news) = mpsc::channel(OFFER_NEWS);
        let token = self.register(|state, token| {
            state.offers.insert(key, (token, sender));
        });
        OfferRegistration { life: self.life.clone(), key, token, news }
    }

    /// Receives what happens to `service` from now on.
    pub(crate) fn service(&self, service: ServiceUuid) -> ServiceRegistration {
        let mailbox = Arc::new(Mailbox::default());
        let token = self.register(|state, token| state.services.push((token, service, mailbox.clone())));
        ServiceRegistration { life: self.life.clone(), token, mailbox }
    }

    /// The network of this machine changed, or it slept: an open stream may be dead and would be
    /// believed for as long as a server may be silent. It is opened anew, from where it stopped; a
    /// wait before that ends.
    pub(crate) fn network_changed(&self) {
        self.life.hub.caller.network_changed();
        self.life.hub.redial.notify_one();
    }

    /// The stream may be dead without a word, for all that is known: one that is open is opened anew,
    /// from where it stopped.
    pub(crate) fn renew(&self) {
        if self.life.hub.lock().is_open {
            self.life.hub.caller.renew();
            self.life.hub.redial.notify_one();
        }
    }

    /// Closes the stream for good and waits for its task. Registrations get no more news.
    pub(crate) async fn shutdown(&self) {
        let task = {
            let mut state = self.life.hub.lock();
            state.stopped = true;
            state.task.take()
        };
        self.life.hub.changed.notify_one();
        if let Some(task) = task {
            task.ended().await;
        }
    }

    /// Whether the stream is open.
    #[cfg(test)]
    pub(crate) fn is_open(&self) -> bool {
        self.life.hub.lock().is_open
    }

    /// How many offers and services are registered.
    #[cfg(test)]
    pub(crate) fn registrations(&self) -> usize {
        let state = self.life.hub.lock();
        state.offers.len() + state.services.len()
    }

    fn register(&self, insert: impl FnOnce(&mut State, u64)) -> u64 {
        let hub = &self.life.hub;
        let token = {
            let mut state = hub.lock();
            let token = state.next_token;
            state.next_token += 1;
            insert(&mut state, token);
            if state.task.is_none() && !state.stopped {
                state.task = Some(runtime::spawn(run(hub.clone())));
            }
            token
        };
        hub.changed.notify_one();
        token
    }
}

impl OfferRegistration {
    /// The next news. Cancel-safe. Pending for ever when the subscription was shut down.
    pub(crate) async fn recv(&mut self) -> OfferNews {
        match self.news.recv().await {
            Some(news) => news,
            None => std::future::pending().await,
        }
    }
}

impl Drop for OfferRegistration {
    fn drop(&mut self) {
        let mut state = self.life.hub.lock();
        if state.offers.get(&self.key).is_some_and(|(token, _)| *token == self.token) {
            state.offers.remove(&self.key);
        }
        drop(state);
        self.life.hub.changed.notify_one();
    }
}

impl ServiceRegistration {
    /// The next news, taken together if several came. Cancel-safe.
    pub(crate) async fn recv(&self) -> ServiceNews {
        loop {
            let news = std::mem::take(&mut *self.mailbox.lock());
            if news != ServiceNews::default() {
                return news;
            }
            self.mailbox.arrived.notified().await;
        }
    }
}

impl Drop for ServiceRegistration {
    fn drop(&mut self) {
        self.life.hub.lock().services.retain(|(token, ..)| *token != self.token);
        self.life.hub.changed.notify_one();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.hub.lock().stopped = true;
        self.hub.changed.notify_one();
    }
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, ServiceNews> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, put: impl FnOnce(&mut ServiceNews)) {
        put(&mut self.lock());
        self.arrived.notify_one();
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under it, and maps of registrations stay usable if something did.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dispatch(&self, cursor: Cursor, event: Event) {
        let mut state = self.lock();
        state.cursor = Some(cursor);
        let to_offer = |offer: OfferId, about: About, news: OfferNews| {
            // Late news, another client of the same identity, or somebody who floods an offer:
            // that offer alone goes without.
            let sent =
                state.offers.get(&(offer, about)).is_some_and(|(_, sender)| sender.try_send(news).is_ok());
            if !sent {
                tracing::debug!(%offer, "news of an offer that nobody waits for");
            }
        };
        let to_services = |service: Option<ServiceUuid>, put: fn(&mut ServiceNews)| {
            for (_, uuid, mailbox) in &state.services {
                if service.is_none_or(|service| service == *uuid) {
                    mailbox.put(put);
                }
            }
        };
        match event {
            Event::Answered { offer, peer, sdp, signature, .. } => {
                to_offer(offer, About::Link, OfferNews::Answered { peer, sdp, signature });
            }
            Event::Candidates { offer, candidates } => {
                let (restart, link): (Vec<_>, Vec<_>) =
                    candidates.into_iter().partition(|text| text.starts_with(restart::PREFIX));
                if restart.is_empty() || !link.is_empty() {
                    to_offer(offer, About::Link, OfferNews::Candidates(link));
                }
                if !restart.is_empty() {
                    to_offer(offer, About::Restart, OfferNews::Candidates(restart));
                }
            }
            Event::OfferWanted { uuid, offers, wanted } => {
                for (_, _, mailbox) in state.services.iter().filter(|(_, service, _)| *service == uuid) {
                    mailbox.put(|news| news.counted = Some((offers, wanted)));
                }
            }
            Event::LeaseLost { uuid } => to_services(Some(uuid), |news| news.lease_lost = true),
            Event::Missed => to_services(None, |news| news.reconnected = true),
            Event::Opened => {}
        }
    }

    fn tell_services_of_return(&self) {
        for (_, _, mailbox) in &self.lock().services {
            mailbox.put(|news| news.reconnected = true);
        }
    }

    /// Resolves once nothing was registered for [`LINGER`], or it is to stop.
    async fn unneeded(&self) {
        loop {
            let (stopped, needed) = {
                let state = self.lock();
                (state.stopped, !state.offers.is_empty() || !state.services.is_empty())
            };
            if stopped {
                return;
            }
            if needed {
                self.changed.notified().await;
            } else if runtime::timeout(LINGER, self.changed.notified()).await.is_none() {
                return;
            }
        }
    }

    /// Resolves once something is registered; false if it is to stop instead.
    async fn needed(&self) -> bool {
        loop {
            {
                let state = self.lock();
                if state.stopped {
                    return false;
                }
                if !state.offers.is_empty() || !state.services.is_empty() {
                    return true;
                }
            }
            self.changed.notified().await;
        }
    }
}

/// The stream's task.
async fn run(hub: Arc<Hub>) {
    let mut rng = StdRng::seed_from_u64(hub.seed);
    let mut retry = Retry::new(RETRY_BASE, RETRY_MAX);
    let mut broken = false;
    while hub.needed().await {
        let outcome = tokio::select! {
            biased;
            () = hub.unneeded() => {
                broken = false;
                retry.reset();
                continue;
            }
            () = hub.redial.notified() => {
                tracing::debug!("the event stream is opened anew");
                broken = true;
                retry.reset();
                continue;
            }
            outcome = listen(&hub, &mut retry, broken) => outcome,
        };
        broken = true;
        let wait = match outcome {
            // The first try after a live stream broke comes soon, but not for all at one moment.
            Ok(()) if retry.is_fresh() => {
                let wait = retry.failed(&mut rng);
                wait.mul_f64(rng.random_range(0.0..1.0))
            }
            Ok(()) => retry.failed(&mut rng),
            Err(error) => {
                tracing::debug!(%error, "the event stream could not be opened");
                let asked = match &error {
                    SignalingError::Refused { retry_after, .. } => *retry_after,
                    _ => None,
                };
                retry.failed(&mut rng).max(asked.unwrap_or_default().min(RETRY_AFTER_MAX))
            }
        };
        tokio::select! {
            biased;
            () = hub.unneeded() => {}
            () = hub.redial.notified() => retry.reset(),
            () = runtime::sleep(wait) => {}
        }
    }
}

/// Opens the stream and passes its events on until it breaks.
async fn listen(hub: &Hub, retry: &mut Retry, broken: bool) -> Result<(), SignalingError> {
    let cursor = hub.lock().cursor.clone();
    let mut stream: EventStream = hub.caller.events(cursor).await?;
    let opened = runtime::now();
    let _open = Open::new(hub);
    if broken {
        hub.tell_services_of_return();
    }
    while let Some(Ok((cursor, event))) = stream.next().await {
        // Every stream that opens says that much; only more than that is evidence of health.
        if !matches!(event, Event::Opened | Event::Missed) {
            retry.reset();
        }
        hub.dispatch(cursor, event);
    }
    if was_healthy(opened, runtime::now()) {
        retry.reset();
    }
    Ok(())
}

fn was_healthy(opened: Instant, now: Instant) -> bool {
    now.saturating_duration_since(opened) >= HEALTHY_AFTER
}

/// Marks the stream as open until dropped.
struct Open<'a>(&'a Hub);

impl<'a> Open<'a> {
    fn new(hub: &'a Hub) -> Self {
        let mut state = hub.lock();
        state.is_open = true;
        drop(state);
        Self(hub)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.lock().is_open = false;
    }
}

/// News of one offer that wait to be read; what comes beyond is dropped.
const OFFER_NEWS: usize = 64;
/// How long the stream stays open when nothing needs it.
const LINGER: Duration = Duration::from_secs(30);
const RETRY_BASE: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(10);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// A stream that was quiet but lasted this long was evidence of health.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
