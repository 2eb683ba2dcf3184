//! The task behind an exposed service: it carries out what its
//! [`Schedule`](crate::durable::service::schedule) decides, and turns each answer to one of its
//! offers into a link.
//!
//! Every offer and every negotiation is a future of its own: a peer that is slow, or lies, holds
//! up nobody else. No link that was handed over is ever touched again.

mod asked;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable};
use sha2::{Digest as _, Sha256};

pub(crate) use self::asked::{asked, read_answer};
use super::auth;
use super::caller::{Caller, nonsense};
use super::negotiate::{MAX_CANDIDATES, add_candidates, establish, post};
use super::restart::{self, LiveLinks};
use super::subscription::{OfferNews, OfferRegistration, ServiceNews, ServiceRegistration, Subscription};
use super::{
    ErrorCode, InstanceId, Lease, MetadataJson, NewOffer, OfferId, Publish, Request, Response, ServiceFqn,
    ServiceUuid, SignalingError, Username,
};
use crate::collections::HashMap;
use crate::durable::service::schedule::{Granted, Output, Refusal, Schedule, ScheduleConfig, Ticket};
use crate::error::DialError;
use crate::identity::{Domain, Identity, PublicKey, Signature};
use crate::link::{Link, LinkError, Negotiation, NegotiationEvent, Transport};
use crate::runtime::sync::{Notify, mpsc, oneshot};
use crate::runtime::{self, BoxFuture, Futures, Instant, MaybeSend, Task};

/// What to expose, and how.
#[derive(Clone, Debug)]
pub(crate) struct HostConfig {
    pub(crate) username: Username,
    pub(crate) service: ServiceFqn,
    pub(crate) public: bool,
    pub(crate) metadata: MetadataJson,
    /// What a private service asks of those who look it up by name.
    pub(crate) token: Option<String>,
    /// The lease to ask for.
    pub(crate) ttl: Duration,
    /// How long a negotiation may take.
    pub(crate) connect_timeout: Duration,
    /// Negotiations at one time; answers beyond that are dropped.
    pub(crate) max_negotiations: usize,
    pub(crate) schedule: ScheduleConfig,
    /// Spreads retries.
    pub(crate) seed: u64,
}

/// A peer that answered, with its link. The link's binding and the session handshake prove who it
/// is; until then `peer` is who signed the answer.
pub(crate) struct Arrival {
    pub(crate) link: Arc<dyn Link>,
    pub(crate) peer: PublicKey,
}

/// What became of the service, for its user.
#[derive(Clone, Debug)]
pub(crate) enum Notice {
    /// It is on the directory, for the first time or again after a break. Times are the server's,
    /// in milliseconds since 1970.
    Published { uuid: ServiceUuid, expires_at: u64 },
    /// Its lease was renewed in time.
    Refreshed { expires_at: u64 },
    /// It was taken over from another running host of this identity, or an earlier run.
    TookOver,
    /// Something failed that is tried again, or cost one peer its connection.
    Error { context: HostContext, error: DialError },
    /// The service is over: a retry could not help. Nothing follows.
    GaveUp(SignalingError),
}

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostContext {
    Claim,
    Publish,
    Refresh,
    Offer,
    Upload,
    Negotiation,
}

impl HostContext {
    /// As it is shown to users.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Publish => "publish",
            Self::Refresh => "ttl-refresh",
            Self::Offer => "offer-creation",
            Self::Upload => "refill",
            Self::Negotiation => "connection-setup",
        }
    }
}

/// A service being hosted. Dropped, it stops as by [`stop`](Self::stop), in the background.
#[must_use = "dropping a host withdraws its service"]
pub(crate) struct Host {
    #[cfg(test)]
    uuid: ServiceUuid,
    stop: oneshot::Sender<oneshot::Sender<Result<(), SignalingError>>>,
    network_changed: Arc<Notify>,
    task: Task,
}

impl Host {
    /// Begins to host. Links come out of `arrivals`, which is waited for only by the peers that
    /// are on their way; news out of `notices`, which drop when it is full.
    pub(crate) fn start(
        caller: Caller,
        subscription: &Subscription,
        transport: Arc<dyn Transport>,
        config: HostConfig,
        arrivals: mpsc::Sender<Arrival>,
        notices: mpsc::Sender<Notice>,
    ) -> Self {
        let service = Service::new(caller.identity(), &config);
        let uuid = service.uuid;
        let (stop, stopped) = oneshot::channel();
        let worker = Worker {
            schedule: Schedule::new(config.schedule.clone(), runtime::now(), config.seed),
            shared: Arc::new(Shared {
                caller,
                transport,
                config,
                service,
                arrivals,
                subscription: subscription.clone(),
                links: LiveLinks::default(),
            }),
            notices,
            running: Futures::new(),
            releases: HashMap::default(),
            offers: HashMap::default(),
            negotiating: 0,
            restarting: 0,
            published: false,
            last_error: None,
            withdrawn: Ok(()),
            network_changed: Arc::new(Notify::new()),
        };
        let network_changed = worker.network_changed.clone();
        let registration = subscription.service(uuid);
        let task = runtime::spawn(worker.run(registration, stopped));
        Self {
            #[cfg(test)]
            uuid,
            stop,
            network_changed,
            task,
        }
    }

    /// The service's uuid, the same each time for one identity, username, name and version.
    #[cfg(test)]
    pub(crate) fn uuid(&self) -> ServiceUuid {
        self.uuid
    }

    /// What makes the service's uuid unguessable: the same each time for one identity, and for
    /// nobody else to derive.
    pub(crate) fn salt(identity: &Identity, username: &Username, service: &ServiceFqn) -> [u8; 16] {
        let service = service.to_string();
        identity.derive(Domain::ServiceSalt, &[username.as_str().as_bytes(), service.as_bytes()])
    }

    /// The network of this machine changed: the offers at the directory name addresses that may
    /// be gone, and are replaced.
    pub(crate) fn network_changed(&self) {
        self.network_changed.notify_one();
    }

    /// Withdraws the service and releases its offers; live links stay. Takes at most
    /// [`STOP_WITHIN`].
    ///
    /// # Errors
    /// The directory's last word, if it could not be told: the service then vanishes with its lease.
    pub(crate) async fn stop(self) -> Result<(), SignalingError> {
        let (done, result) = oneshot::channel();
        // A service that is over already has nothing to withdraw.
        let result = match self.stop.send(done) {
            Ok(()) => result.await.unwrap_or(Ok(())),
            Err(_) => Ok(()),
        };
        self.task.ended().await;
        result
    }
}

/// What never changes of a service.
struct Service {
    uuid: ServiceUuid,
    salt: String,
    token_hash: Option<String>,
    instance: InstanceId,
}

impl Service {
    fn new(identity: &Identity, config: &HostConfig) -> Self {
        let salt = Host::salt(identity, &config.username, &config.service);
        Self {
            uuid: ServiceUuid::derive(&identity.public_key(), &config.username, &config.service, &salt),
            salt: crate::base64url::encode(salt),
            instance: InstanceId::random(),
            token_hash: config.token.as_ref().map(|token| crate::base64url::encode(Sha256::digest(token))),
        }
    }
}

struct Shared {
    caller: Caller,
    transport: Arc<dyn Transport>,
    subscription: Subscription,
    config: HostConfig,
    service: Service,
    arrivals: mpsc::Sender<Arrival>,
    links: LiveLinks,
}

struct Worker {
    schedule: Schedule,
    shared: Arc<Shared>,
    notices: mpsc::Sender<Notice>,
    running: Futures<'static, Done>,
    /// What releases the future of each offer that is being made or waits for its answer.
    releases: HashMap<Ticket, AbortHandle>,
    offers: HashMap<Ticket, Held>,
    negotiating: usize,
    restarting: usize,
    published: bool,
    last_error: Option<SignalingError>,
    withdrawn: Result<(), SignalingError>,
    network_changed: Arc<Notify>,
}

/// An offer of ours, while nobody answered it.
struct Held {
    id: OfferId,
    sdp: String,
    signature: Signature,
    /// Told when the directory has it, and candidates can follow.
    pooled: Arc<Notify>,
}

/// An offer that was made, waiting for its answer.
struct Open {
    id: OfferId,
    negotiation: Arc<dyn Negotiation>,
    news: OfferRegistration,
    /// Who answers may also want another link restarted.
    restart: Option<OfferRegistration>,
}

/// An offer with its answer.
struct Answered {
    open: Open,
    peer: PublicKey,
    sdp: String,
    signature: Signature,
    /// Candidates found so far and not posted; and the peer's.
    ours: Vec<String>,
    theirs: Vec<String>,
}

enum Done {
    Claimed(Result<Response, SignalingError>),
    Published(Result<Response, SignalingError>),
    Made(Ticket, Result<Open, LinkError>),
    Answered(Ticket, Box<Answered>),
    /// The transport gave the offer up.
    Lost(Ticket, LinkError),
    Uploaded(Result<Response, SignalingError>),
    Negotiated(Result<(), DialError>),
    /// A peer was heard that may have wanted a restart.
    Restarted,
    Withdrawn(Result<Response, SignalingError>),
    Nothing,
}

impl Worker {
    async fn run(
        mut self,
        registration: ServiceRegistration,
        stopped: oneshot::Receiver<oneshot::Sender<Result<(), SignalingError>>>,
    ) {
        let done = {
            let stopped = std::pin::pin!(stopped);
            self.serve(&registration, stopped).await
        };
        drop(registration);
        if let Some(done) = done {
            // Whoever stopped it may have stopped waiting.
            let _ = done.send(self.withdrawn);
        }
    }

    /// Runs until the service is over. Returns whom to tell.
    async fn serve(
        &mut self,
        registration: &ServiceRegistration,
        mut stopped: std::pin::Pin<&mut oneshot::Receiver<oneshot::Sender<Result<(), SignalingError>>>>,
    ) -> Option<oneshot::Sender<Result<(), SignalingError>>> {
        let mut stopping = None;
        let mut stop_by = None;
        let network_changed = self.network_changed.clone();
        loop {
            let deadline = loop {
                match self.schedule.poll_output(runtime::now()) {
                    Output::Timeout(at) => break at,
                    output => self.carry_out(output),
                }
            };
            if self.schedule.is_over() {
                return stopping.flatten();
            }
            let deadline = deadline.into_iter().chain(stop_by).min();
            tokio::select! {
                biased;
                asked = &mut stopped, if stopping.is_none() => {
                    // An error is a dropped handle: the same, with nobody to tell.
                    stopping = Some(asked.ok());
                    stop_by = Some(runtime::now() + STOP_WITHIN);
                    self.schedule.stop();
                }
                Some(done) = self.running.next() => self.handle(done),
                () = network_changed.notified() => self.schedule.handle_network_change(runtime::now()),
                news = registration.recv() => self.handle_news(news),
                () = sleep_until(deadline) => {
                    if stop_by.is_some_and(|by| by <= runtime::now()) {
                        let message = format!("no answer within {} s", STOP_WITHIN.as_secs());
                        self.withdrawn = Err(SignalingError::Unreachable(message));
                        return stopping.flatten();
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Claim => {
                let request = Request::Claim { username: self.shared.config.username.clone() };
                self.ask(request, Done::Claimed);
            }
            Output::Publish(tickets) => {
                let request = Request::Publish(self.publication(self.described(&tickets)));
                self.ask(request, Done::Published);
            }
            Output::Make(ticket) => {
                let making = make(self.shared.clone());
                self.run_offer(ticket, async move { Done::Made(ticket, making.await) });
            }
            Output::Upload(tickets) => {
                let offers = self.described(&tickets);
                let request = Request::AddOffers {
                    uuid: self.shared.service.uuid,
                    instance: Some(self.shared.service.instance),
                    offers,
                };
                self.ask(request, Done::Uploaded);
            }
            Output::TakeBack(tickets) => {
                let offers = tickets.iter().filter_map(|ticket| self.offers.get(ticket)).map(|held| held.id);
                let request =
                    Request::WithdrawOffers { uuid: self.shared.service.uuid, offers: offers.collect() };
                // Unanswered or refused, they vanish when they expire.
                self.ask(request, |_| Done::Nothing);
            }
            Output::Drop(ticket) => {
                self.offers.remove(&ticket);
                if let Some(release) = self.releases.remove(&ticket) {
                    release.abort();
                }
            }
            Output::Withdraw => {
                self.ask(Request::Withdraw { uuid: self.shared.service.uuid }, Done::Withdrawn);
            }
            Output::GiveUp => {
                if let Some(error) = self.last_error.take() {
                    self.tell(Notice::GaveUp(error));
                }
            }
            Output::Timeout(_) => {}
        }
    }

    fn handle(&mut self, done: Done) {
        let now = runtime::now();
        match done {
            Done::Claimed(Ok(Response::Claimed(_))) => self.schedule.handle_claimed(now),
            Done::Claimed(result) => self.announce_failed(HostContext::Claim, result),
            Done::Published(Ok(Response::Published(lease))) => self.handle_lease(&lease),
            Done::Published(result) => {
                let context = if self.published { HostContext::Refresh } else { HostContext::Publish };
                self.announce_failed(context, result);
            }
            Done::Made(ticket, Ok(open)) => {
                let sdp = open.negotiation.description().to_owned();
                let Shared { caller, service, .. } = &*self.shared;
                let signature = auth::sign_offer(caller.identity(), &service.uuid, &open.id, &sdp);
                let pooled = Arc::new(Notify::new());
                self.offers.insert(ticket, Held { id: open.id, sdp, signature, pooled: pooled.clone() });
                let waiting = await_answer(self.shared.clone(), open, pooled);
                self.run_offer(ticket, async move {
                    match waiting.await {
                        Ok(answered) => Done::Answered(ticket, Box::new(answered)),
                        Err(error) => Done::Lost(ticket, error),
                    }
                });
                self.schedule.handle_offer_made(now, ticket);
            }
            Done::Made(ticket, Err(error)) => {
                self.releases.remove(&ticket);
                self.schedule.handle_offer_failed(now, ticket);
                self.tell(Notice::Error { context: HostContext::Offer, error: error.into() });
            }
            Done::Answered(ticket, answered) => self.handle_answer(ticket, *answered),
            Done::Lost(ticket, error) => {
                self.schedule.handle_offer_lost(ticket);
                self.tell(Notice::Error { context: HostContext::Offer, error: error.into() });
            }
            Done::Uploaded(Ok(_)) => {
                self.offers.values().for_each(|held| held.pooled.notify_one());
                self.schedule.handle_uploaded();
            }
            Done::Uploaded(Err(error)) if error.code() == Some(ErrorCode::Displaced) => {
                // Said again to the announcement that follows at once, and final there.
                self.schedule.handle_upload_failed(now, Refusal::LeaseLost);
            }
            Done::Uploaded(Err(error)) => {
                self.schedule.handle_upload_failed(now, refusal(&error));
                self.tell(Notice::Error { context: HostContext::Upload, error: error.into() });
            }
            Done::Negotiated(result) => {
                self.negotiating -= 1;
                if let Err(error) = result {
                    self.tell(Notice::Error { context: HostContext::Negotiation, error });
                }
            }
            Done::Restarted => self.restarting -= 1,
            Done::Withdrawn(result) => {
                let unknown = |error: &SignalingError| error.code() == Some(ErrorCode::ServiceNotFound);
                self.withdrawn = match result {
                    Err(error) if !unknown(&error) => Err(error),
                    _ => Ok(()),
                };
                self.schedule.handle_withdrawn();
            }
            Done::Nothing => {}
        }
    }

    fn handle_lease(&mut self, lease: &Lease) {
        let granted = Granted { ttl: lease.ttl, offers: lease.offers, wanted: lease.wanted };
        let again = self.schedule.handle_published(runtime::now(), granted);
        self.offers.values().for_each(|held| held.pooled.notify_one());
        let expires_at = lease.expires_at;
        self.tell(if self.published && !again {
            Notice::Refreshed { expires_at }
        } else {
            Notice::Published { uuid: self.shared.service.uuid, expires_at }
        });
        if lease.took_over {
            self.tell(Notice::TookOver);
        }
        self.published = true;
    }

    fn announce_failed(&mut self, context: HostContext, result: Result<Response, SignalingError>) {
        let error = match result {
            Ok(response) => nonsense(&response),
            Err(error) => error,
        };
        // Claiming on demand is how it goes, not a failure.
        let refusal = refusal(&error);
        if refusal != Refusal::Unclaimed {
            self.tell(Notice::Error { context, error: error.clone().into() });
        }
        self.last_error = Some(error);
        self.schedule.handle_announce_failed(runtime::now(), refusal);
    }

    fn handle_answer(&mut self, ticket: Ticket, mut answered: Answered) {
        self.releases.remove(&ticket);
        let held = self.offers.remove(&ticket);
        let (true, Some(held)) = (self.schedule.handle_answered(ticket), held) else { return };
        if self.negotiating >= self.shared.config.max_negotiations {
            let error = LinkError::Failed("too many peers connect at once".into());
            return self.tell(Notice::Error { context: HostContext::Negotiation, error: error.into() });
        }
        self.negotiating += 1;
        let shared = self.shared.clone();
        let is_linked = Arc::new(Notify::new());
        if crate::link::RESTARTS
            && let Some(news) = answered.open.restart.take()
            && self.restarting < shared.config.max_negotiations
        {
            self.serve_restart(held.id, news, is_linked.clone());
        }
        self.running.push(Box::pin(async move {
            let limit = shared.config.connect_timeout;
            let result = runtime::timeout(limit, complete(&shared, &held.sdp, answered)).await;
            if matches!(result, Some(Ok(()))) {
                is_linked.notify_one();
            }
            // The peer's answer was there, so it is the path that was not.
            Done::Negotiated(result.unwrap_or(Err(LinkError::NoPath.into())))
        }));
    }

    /// Restarts the link that the peer has already, if it asks for that before it has the new one.
    fn serve_restart(&mut self, offer: OfferId, news: OfferRegistration, is_linked: Arc<Notify>) {
        self.restarting += 1;
        let shared = self.shared.clone();
        self.running.push(Box::pin(async move {
            let Shared { caller, links, service, .. } = &*shared;
            let served = restart::serve(caller, links, service.uuid, offer, news);
            tokio::select! { () = served => {}, () = is_linked.notified() => {} }
            Done::Restarted
        }));
    }

    fn handle_news(&mut self, news: ServiceNews) {
        let now = runtime::now();
        if news.lease_lost {
            self.schedule.handle_lease_lost(now);
        }
        if news.reconnected {
            self.schedule.handle_reconnected(now);
        }
        if let Some((offers, wanted)) = news.counted {
            self.schedule.handle_counted(offers, wanted);
        }
    }

    fn ask(
        &mut self,
        request: Request,
        done: impl FnOnce(Result<Response, SignalingError>) -> Done + MaybeSend + 'static,
    ) {
        let shared = self.shared.clone();
        self.running.push(Box::pin(async move { done(shared.caller.ask(asked(request)).await) }));
    }

    /// Runs a future of an offer that ends when the offer is dropped.
    fn run_offer(&mut self, ticket: Ticket, future: impl Future<Output = Done> + MaybeSend + 'static) {
        let (release, registration) = AbortHandle::new_pair();
        self.releases.insert(ticket, release);
        let future = Abortable::new(future, registration);
        self.running.push(Box::pin(async move { future.await.unwrap_or(Done::Nothing) }));
    }

    fn described(&self, tickets: &[Ticket]) -> Vec<NewOffer> {
        let held = tickets.iter().filter_map(|ticket| self.offers.get(ticket));
        held.map(|held| NewOffer { id: held.id, sdp: held.sdp.clone(), signature: held.signature }).collect()
    }

    fn publication(&self, offers: Vec<NewOffer>) -> Publish {
        let Shared { config, service, .. } = &*self.shared;
        Publish {
            username: config.username.clone(),
            service: config.service.clone(),
            uuid: service.uuid,
            salt: service.salt.clone(),
            instance: Some(service.instance),
            public: config.public,
            token_hash: service.token_hash.clone(),
            metadata: config.metadata.clone(),
            ttl: config.ttl,
            offers,
        }
    }

    fn tell(&self, notice: Notice) {
        if let Notice::Error { context, error } = &notice {
            tracing::debug!(context = context.as_str(), %error, "hosting");
        }
        if let Err(mpsc::error::TrySendError::Full(notice)) = self.notices.try_send(notice) {
            tracing::warn!(?notice, "nobody reads the notices of a service");
        }
    }
}

async fn make(shared: Arc<Shared>) -> Result<Open, LinkError> {
    let id = OfferId::random();
    // Registered before anybody can know of it.
    let news = shared.subscription.offer(id);
    let restart = crate::link::RESTARTS.then(|| shared.subscription.restart(id));
    let made = runtime::timeout(shared.config.connect_timeout, shared.transport.offer()).await;
    let negotiation = made.unwrap_or_else(|| Err(LinkError::Failed("no offer was made in time".into())))?;
    Ok(Open { id, negotiation, news, restart })
}

/// Waits for the answer to an offer, while the transport finds candidates.
async fn await_answer(
    shared: Arc<Shared>,
    mut open: Open,
    pooled: Arc<Notify>,
) -> Result<Answered, LinkError> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut is_pooled = false;
    let mut posting: Option<BoxFuture<'static, ()>> = None;
    loop {
        if is_pooled && posting.is_none() && !ours.is_empty() {
            let (shared, offer, candidates) = (shared.clone(), open.id, std::mem::take(&mut ours));
            posting = Some(Box::pin(async move { post(&shared.caller, offer, candidates).await }));
        }
        tokio::select! {
            biased;
            item = open.news.recv() => match item {
                OfferNews::Answered { peer, sdp, signature } => {
                    if let Some(posting) = posting {
                        // Short, as it was posted when it could be; and bounded.
                        runtime::timeout(shared.config.connect_timeout, posting).await;
                    }
                    return Ok(Answered { open, peer, sdp, signature, ours, theirs });
                }
                OfferNews::Candidates(more) => {
                    theirs.extend(more);
                    theirs.truncate(MAX_CANDIDATES);
                }
            },
            event = open.negotiation.next() => match event {
                NegotiationEvent::Candidate(candidate) if ours.len() < MAX_CANDIDATES => ours.push(candidate),
                NegotiationEvent::Candidate(_) => {}
                NegotiationEvent::Failed(error) => return Err(error),
                NegotiationEvent::Established(_) => {
                    return Err(LinkError::Failed("a link before its answer".into()));
                }
            },
            () = pooled.notified(), if !is_pooled => is_pooled = true,
            () = async {
                match &mut posting {
                    Some(posting) => posting.await,
                    None => std::future::pending().await,
                }
            } => posting = None,
        }
    }
}

/// Proves an answer, and brings it to a link that is handed over.
async fn complete(shared: &Shared, offer_sdp: &str, answered: Answered) -> Result<(), DialError> {
    let Answered { open, peer, sdp, signature, ours, theirs } = answered;
    let Open { id, negotiation, mut news, restart: _ } = open;
    if !auth::verify_answer(&peer, &shared.service.uuid, &id, offer_sdp, &sdp, &signature) {
        let what = "the signaling server passed on an answer that its peer did not sign";
        return Err(DialError::Impersonation(what.into()));
    }
    negotiation.set_answer(&sdp).await?;
    add_candidates(&*negotiation, &theirs).await;
    let link = establish(&shared.caller, id, &*negotiation, &mut news, ours).await?;
    shared.links.insert(peer, &link);
    // A service that accepts nobody any more wants no link either: dropped, it closes.
    let _ = shared.arrivals.send(Arrival { link, peer }).await;
    Ok(())
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => runtime::sleep(at.saturating_duration_since(runtime::now())).await,
        None => std::future::pending().await,
    }
}

fn refusal(error: &SignalingError) -> Refusal {
    use ErrorCode::{BadMethod, BadSignature, NoRoute, Replayed, ServiceNotFound, Stale, UsernameUnclaimed};
    match error {
        SignalingError::NotAServer(_) => Refusal::Dubious,
        SignalingError::Refused { code, retry_after, .. } => match code {
            UsernameUnclaimed => Refusal::Unclaimed,
            ServiceNotFound => Refusal::LeaseLost,
            // Each request has a nonce of its own: a proxy sent it twice, and the first may count.
            Replayed => Refusal::Temporary(None),
            Stale | BadSignature | NoRoute | BadMethod => Refusal::Dubious,
            code if code.is_temporary() => Refusal::Temporary(*retry_after),
            _ => Refusal::Permanent,
        },
        _ => Refusal::Temporary(None),
    }
}

/// How long a withdrawal may take.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(5);

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
