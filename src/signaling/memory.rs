//! A directory in this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::directory::{Change, Directory, Limits};
use super::local::{Keeper, Local, unreachable};
use super::{EventStream, Response, Signaling, SignalingError, SignedRequest, Verified};
use crate::runtime::{self, BoxFuture};

/// Signaling within one process: a whole directory without a server, for tests of applications and
/// for hosts and peers that share a process. Clones share one directory.
///
/// Requests are signed, checked and bounded as a server would. Leases run by the runtime's clock,
/// so tokio's paused clock governs them. Nothing runs in the background.
#[derive(Clone)]
pub struct MemorySignaling {
    shared: Arc<Shared>,
}

struct Shared {
    limits: Limits,
    records: Arc<Records>,
    state: Mutex<State>,
}

struct State {
    local: Arc<Local>,
    reachable: bool,
}

impl MemorySignaling {
    /// An empty directory with the usual [`Limits`].
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    /// An empty directory with other limits.
    pub fn with_limits(limits: Limits) -> Self {
        let records = Arc::new(Records::default());
        let local = start(&limits, &records, runtime::unix_millis());
        let state = Mutex::new(State { local, reachable: true });
        Self { shared: Arc::new(Shared { limits, records, state }) }
    }

    /// Lets the directory be reached, or not: then every call fails with
    /// [`SignalingError::Unreachable`], as those under way do at once, and open event streams end.
    /// What it holds stays.
    pub fn set_reachable(&self, reachable: bool) {
        let mut state = self.state();
        state.reachable = reachable;
        if !reachable {
            state.local.break_connections();
        }
    }

    /// Ends every call under way and every open event stream once, as a passing fault of the
    /// network would.
    pub fn break_connections(&self) {
        self.state().local.break_connections();
    }

    /// Restarts the directory as a server with a data directory restarts: names and services are
    /// kept, offers and events are gone, connections break, and cursors from before are answered
    /// with [`Event::Missed`](super::Event::Missed).
    pub fn restart(&self) {
        let mut state = self.state();
        let now = state.local.now();
        state.local.break_connections();
        state.local = start(&self.shared.limits, &self.shared.records, now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self) -> Result<Arc<Local>, SignalingError> {
        let state = self.state();
        if state.reachable { Ok(state.local.clone()) } else { Err(unreachable("it was made unreachable")) }
    }
}

fn start(limits: &Limits, records: &Arc<Records>, now: u64) -> Arc<Local> {
    let instance = u64::from_be_bytes(runtime::random());
    let mut directory = Directory::new(limits.clone(), instance);
    // Records that were never out of this process cannot be corrupt.
    directory.restore(now, records.all()).expect("records are as they were written");
    Local::new(directory, records.clone(), now, false)
}

impl Default for MemorySignaling {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for MemorySignaling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemorySignaling").finish_non_exhaustive()
    }
}

impl Signaling for MemorySignaling {
    fn call(&self, request: SignedRequest) -> BoxFuture<'_, Result<Response, SignalingError>> {
        Box::pin(async move {
            let local = self.reach()?;
            local.call(verify(request)?).await
        })
    }

    fn events(&self, request: SignedRequest) -> BoxFuture<'_, Result<EventStream, SignalingError>> {
        Box::pin(async move {
            let local = self.reach()?;
            local.listen(&verify(request)?)
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), SignalingError>> {
        Box::pin(async move { self.reach().map(drop) })
    }
}

/// Signatures are checked by the wall clock that made them, leases by the directory's own.
fn verify(request: SignedRequest) -> Result<Verified, SignalingError> {
    request.verify(runtime::unix_millis())
}

/// What a restart keeps.
#[derive(Default)]
pub(crate) struct Records {
    all: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Records {
    fn all(&self) -> BTreeMap<String, Vec<u8>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Keeper for Records {
    fn keep(&self, changes: Vec<Change>) -> u64 {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        for Change { key, value } in changes {
            match value {
                Some(value) => drop(all.insert(key, value)),
                None => drop(all.remove(&key)),
            }
        }
        0
    }

    fn kept(&self, _number: u64) -> BoxFuture<'_, Result<(), SignalingError>> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use std::time::Duration;

    use futures_util::StreamExt as _;

    use super::*;
    use crate::identity::{Domain, Identity};
    use crate::signaling::auth::{sign_answer, sign_offer};
    use crate::signaling::{
        Answer, Cursor, ErrorCode, Event, MetadataJson, NewOffer, OfferId, Publish, Request, ServiceFqn,
        ServiceTarget, ServiceUuid, TakenOffer, Username,
    };

    fn signed(who: &Identity, request: Request) -> SignedRequest {
        SignedRequest::sign(who, request, runtime::unix_millis(), runtime::random())
    }

    async fn ask(to: &MemorySignaling, who: &Identity, request: Request) -> Result<Response, SignalingError> {
        to.call(signed(who, request)).await
    }

    async fn listen(to: &MemorySignaling, who: &Identity, cursor: Option<Cursor>) -> EventStream {
        to.events(signed(who, Request::Events { cursor })).await.unwrap()
    }

    fn publication(who: &Identity) -> Publish {
        let (username, service) =
            (Username::new("alice").unwrap(), ServiceFqn::new("chat", "1.0.0").unwrap());
        let salt = who.derive(Domain::ServiceSalt, &[]);
        Publish {
            instance: None,
            uuid: ServiceUuid::derive(&who.public_key(), &username, &service, &salt),
            username,
            service,
            salt: OfferId::from_bytes(salt).to_string(),
            public: true,
            token_hash: None,
            metadata: MetadataJson::default(),
            ttl: Duration::from_secs(60),
            offers: Vec::new(),
        }
    }

    fn offers(who: &Identity, uuid: ServiceUuid) -> Request {
        let (id, sdp) = (OfferId::random(), "offer".to_owned());
        Request::AddOffers {
            instance: None,
            uuid,
            offers: vec![NewOffer { id, signature: sign_offer(who, &uuid, &id, &sdp), sdp }],
        }
    }

    async fn host(to: &MemorySignaling, who: &Identity) -> ServiceUuid {
        let publish = publication(who);
        let uuid = publish.uuid;
        ask(to, who, Request::Claim { username: publish.username.clone() }).await.unwrap();
        ask(to, who, Request::Publish(publish)).await.unwrap();
        uuid
    }

    fn take(uuid: ServiceUuid, seconds: u64) -> Request {
        Request::Take { target: ServiceTarget::Uuid { uuid }, wait: Duration::from_secs(seconds) }
    }

    fn taken(reply: Result<Response, SignalingError>) -> TakenOffer {
        match reply {
            Ok(Response::Taken(taken)) => taken,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_peer_has_its_offer_and_the_host_its_answer() {
        let signaling = MemorySignaling::new();
        let (alice, bob) = (Identity::from_secret([1; 32]), Identity::from_secret([2; 32]));
        let uuid = host(&signaling, &alice).await;
        let mut events = listen(&signaling, &alice, None).await;
        let peer = async {
            let taken = taken(ask(&signaling, &bob, take(uuid, 30)).await);
            let signature = sign_answer(&bob, &uuid, &taken.id, &taken.sdp, "answer");
            let answer = Answer { offer: taken.id, sdp: "answer".into(), signature };
            ask(&signaling, &bob, Request::Answer(answer)).await.unwrap();
        };
        let host = async {
            while let Some(Ok((_, event))) = events.next().await {
                match event {
                    Event::OfferWanted { wanted: 1, .. } => {
                        drop(ask(&signaling, &alice, offers(&alice, uuid)).await.unwrap());
                    }
                    Event::Answered { peer, sdp, .. } => return (peer, sdp),
                    _ => {}
                }
            }
            panic!("the stream ended")
        };
        let ((), answered) = tokio::join!(peer, host);
        assert_eq!(answered, (bob.public_key(), "answer".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn time_passes_with_the_clock_though_nothing_runs_in_the_background() {
        let signaling = MemorySignaling::new();
        let alice = Identity::from_secret([1; 32]);
        let uuid = host(&signaling, &alice).await;
        let mut events = listen(&signaling, &alice, None).await;
        let before = runtime::now();
        let error = ask(&signaling, &alice, take(uuid, 5)).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::NoOffer));
        assert_eq!((runtime::now() - before).as_secs(), 5);
        let mut seen = Vec::new();
        while !seen.contains(&Event::LeaseLost { uuid }) {
            seen.push(events.next().await.unwrap().unwrap().1);
        }
        assert_eq!((runtime::now() - before).as_secs(), 60);
        // Days later requests are still signed with the time of the wall clock.
        tokio::time::advance(Duration::from_secs(1_000_000)).await;
        host(&signaling, &alice).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_call_takes_no_offer() {
        let signaling = MemorySignaling::new();
        let (alice, bob) = (Identity::from_secret([1; 32]), Identity::from_secret([2; 32]));
        let uuid = host(&signaling, &alice).await;
        let first = runtime::timeout(Duration::from_secs(1), ask(&signaling, &bob, take(uuid, 30))).await;
        assert!(first.is_none());
        // Served, and dropped before it could look.
        let mut second = Box::pin(ask(&signaling, &bob, take(uuid, 30)));
        assert!(futures_util::poll!(&mut second).is_pending());
        ask(&signaling, &alice, offers(&alice, uuid)).await.unwrap();
        drop(second);
        taken(ask(&signaling, &bob, take(uuid, 0)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn out_of_reach_everything_fails_at_once_and_nothing_is_forgotten() {
        let signaling = MemorySignaling::new();
        let alice = Identity::from_secret([1; 32]);
        let uuid = host(&signaling, &alice).await;
        let mut events = listen(&signaling, &alice, None).await;
        let waiting = ask(&signaling, &alice, take(uuid, 30));
        let (reply, ()) = tokio::join!(waiting, async { signaling.set_reachable(false) });
        assert!(matches!(reply, Err(SignalingError::Unreachable(_))));
        while let Some(item) = events.next().await {
            if let Err(error) = item {
                assert!(matches!(error, SignalingError::Unreachable(_)));
            }
        }
        assert!(signaling.probe().await.is_err());
        assert!(ask(&signaling, &alice, take(uuid, 0)).await.unwrap_err().is_temporary());
        signaling.set_reachable(true);
        signaling.probe().await.unwrap();
        let target = ServiceTarget::Uuid { uuid };
        ask(&signaling, &alice, Request::Resolve { target }).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_keeps_services_and_says_what_was_missed() {
        let signaling = MemorySignaling::new();
        let alice = Identity::from_secret([1; 32]);
        let uuid = host(&signaling, &alice).await;
        ask(&signaling, &alice, offers(&alice, uuid)).await.unwrap();
        let mut events = listen(&signaling, &alice, None).await;
        let (cursor, event) = events.next().await.unwrap().unwrap();
        assert_eq!(event, Event::Opened);
        signaling.restart();
        assert!(events.next().await.unwrap().is_err());
        assert!(events.next().await.is_none());
        let mut events = listen(&signaling, &alice, Some(cursor)).await;
        assert_eq!(events.next().await.unwrap().unwrap().1, Event::Missed);
        let target = ServiceTarget::Uuid { uuid };
        ask(&signaling, &alice, Request::Resolve { target }).await.unwrap();
        let error = ask(&signaling, &alice, take(uuid, 0)).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::NoOffer), "offers do not outlive it");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_for_those_who_left() {
        let signaling = MemorySignaling::new();
        let alice = Identity::from_secret([1; 32]);
        let uuid = host(&signaling, &alice).await;
        for _ in 0..10 {
            drop(listen(&signaling, &alice, None).await);
            let waiting = ask(&signaling, &alice, take(uuid, 30));
            assert!(runtime::timeout(Duration::from_millis(1), waiting).await.is_none());
        }
        assert_eq!(signaling.reach().unwrap().held(), (0, 0));
    }
}
