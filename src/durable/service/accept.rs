//! Who is behind a link that came in: a peer that returns, a new one, or nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::ServiceShared;
use crate::collections::{BTreeMap, BTreeSet};
use crate::config::ConnectionConfig;
use crate::durable::connection::DurableConnection;
use crate::durable::core::{
    Decision, Decoder, Frame, Hello, Known, NetworkChange, Refuse, RefuseCode, SavedSession, Session,
    SessionId, SessionSecret, after, decide, session_prefix,
};
use crate::durable::driver::Adoption;
use crate::durable::events::ServiceEvent;
use crate::durable::resuming::Resuming;
use crate::durable::shared::Shared;
use crate::error::{CloseReason, DialError, Misbehaviour};
use crate::identity::{Identity, PublicKey};
use crate::link::{Link, LinkEvent};
use crate::runtime::sync::mpsc;
use crate::runtime::{self, Futures, Instant};
use crate::store::Batch;

/// Links whose HELLO is awaited at one time; further ones are closed.
const MAX_GREETING: usize = 256;
/// How long a HELLO may take on an open link.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Sessions of one key at one service.
const MAX_PER_PEER: usize = 64;
/// Sessions of one service.
const MAX_SESSIONS: usize = 10_000;
/// Sessions that nobody has accepted yet.
pub(crate) const MAX_WAITING: usize = 1024;
/// Closed sessions that are remembered, so that a returning peer learns of it.
const MAX_CLOSED: usize = 4096;

/// A link that an answered offer led to, and who signed the answer.
pub(crate) struct Incoming {
    pub(crate) link: Arc<dyn Link>,
    pub(crate) peer: PublicKey,
}

/// The sessions of one service.
pub(crate) struct Acceptor {
    identity: Identity,
    config: ConnectionConfig,
    shared: Arc<ServiceShared>,
    accepted: mpsc::Sender<DurableConnection>,
    sessions: BTreeMap<SessionId, Entry>,
    closed: VecDeque<(SessionId, PublicKey, Instant)>,
    /// Left by the application, in the store.
    away: BTreeSet<SessionId>,
    greeting: Futures<'static, Greeted>,
    drivers: Futures<'static, SessionId>,
    refusing: Futures<'static, ()>,
    keeper: Option<Keeper>,
}

/// Where the sessions of a service are kept, and as whose.
pub(crate) struct Keeper {
    pub(crate) resuming: Arc<dyn Resuming>,
    /// The service, as it stands in the records.
    pub(crate) target: bytes::Bytes,
}

struct Entry {
    shared: Arc<Shared>,
    peer: PublicKey,
    adopt: mpsc::Sender<Adoption>,
}

/// What came first on a link.
struct Greeted {
    link: Arc<dyn Link>,
    /// The HELLO's body and the size of its packet.
    hello: Result<(bytes::Bytes, usize), Misbehaviour>,
    peer: PublicKey,
}

impl Acceptor {
    pub(crate) fn new(
        identity: Identity,
        config: ConnectionConfig,
        shared: Arc<ServiceShared>,
        accepted: mpsc::Sender<DurableConnection>,
        keeper: Option<Keeper>,
    ) -> Self {
        Self {
            identity,
            config,
            shared,
            accepted,
            sessions: BTreeMap::new(),
            closed: VecDeque::new(),
            away: BTreeSet::new(),
            greeting: Futures::new(),
            drivers: Futures::new(),
            refusing: Futures::new(),
            keeper,
        }
    }

    /// A link came in.
    pub(crate) fn handle_incoming(&mut self, incoming: Incoming) {
        if self.greeting.len() >= MAX_GREETING {
            tracing::warn!("too many links wait for a HELLO; one is closed");
            self.hang_up(incoming.link);
            return;
        }
        self.greeting.push(Box::pin(greet(incoming)));
    }

    /// The network of this machine changed: every session probes its link.
    pub(crate) fn handle_network_change(&mut self, change: NetworkChange) {
        self.sessions.values().for_each(|entry| entry.shared.network_changed(change));
    }

    /// Waits for the next thing to happen among the links and sessions, and handles it. Stays
    /// pending while there is none. Cancel-safe.
    pub(crate) async fn step(&mut self) {
        tokio::select! {
            biased;
            // What others can bring about without end comes last.
            Some(id) = self.drivers.next() => self.handle_ended(id),
            Some(()) = self.refusing.next() => {}
            Some(greeted) = self.greeting.next() => self.handle_greeted(greeted),
            else => std::future::pending().await,
        }
    }

    fn handle_greeted(&mut self, greeted: Greeted) {
        let Greeted { link, hello, peer } = greeted;
        let binding = link.binding();
        let me = self.identity.public_key();
        let (body, received) = match hello {
            Ok(hello) => hello,
            Err(misbehaviour) => return self.blame(link, &misbehaviour),
        };
        let hello = match Hello::decode(self.config.version, &body, binding, me) {
            Ok(hello) if hello.key == peer => hello,
            Ok(_) => return self.blame(link, &Misbehaviour::BadSignature),
            Err(None) => return self.refuse_version(link, &body, peer),
            Err(Some(misbehaviour)) => return self.blame(link, &misbehaviour),
        };
        let known = self.known(&hello);
        match decide(&hello, binding, known.as_ref(), self.has_room(hello.key)) {
            Decision::Refuse(code, text) => self.refuse(link, &body, code, text),
            Decision::Ignore => self.hang_up(link),
            Decision::Resume => self.adopt(Adoption { link, hello, body, received, resumed: true }),
            Decision::Begin => self.begin(Adoption { link, hello, body, received, resumed: false }),
        }
    }

    fn known(&self, hello: &Hello) -> Option<Known> {
        let id = hello.session;
        match self.sessions.get(&id) {
            Some(entry) => entry.shared.lock().known(hello),
            None if self.away.contains(&id) => Some(Known::Away),
            None => {
                let closed = self.closed.iter().find(|(closed, ..)| *closed == id);
                closed.map(|(_, peer, _)| Known::Closed { peer: *peer })
            }
        }
    }

    fn has_room(&self, key: PublicKey) -> bool {
        self.accepted.capacity() > 0
            && self.sessions.len() < MAX_SESSIONS
            && self.sessions.values().filter(|entry| entry.peer == key).count() < MAX_PER_PEER
    }

    /// Hands the link to the session's driver, which hangs up the old one.
    fn adopt(&mut self, adoption: Adoption) {
        let Some(entry) = self.sessions.get(&adoption.hello.session) else { return };
        if let Err(refused) = entry.adopt.try_send(adoption) {
            // Another link of the same peer is being adopted this moment; the peer tries again.
            let (mpsc::error::TrySendError::Full(late) | mpsc::error::TrySendError::Closed(late)) = refused;
            self.hang_up(late.link);
        }
    }

    fn begin(&mut self, adoption: Adoption) {
        let Ok(slot) = self.accepted.clone().try_reserve_owned() else {
            return self.refuse(adoption.link, &adoption.body, RefuseCode::Full, "nobody accepts");
        };
        let (id, peer) = (adoption.hello.session, adoption.hello.key);
        let secret = SessionSecret(runtime::random());
        let seed = u64::from_be_bytes(runtime::random());
        let (identity, config) = (self.identity.clone(), self.config.clone());
        let mut session = Session::acceptor(identity, peer, id, secret, config, runtime::now(), seed);
        if let Some(keeper) = &self.keeper {
            session.keep(keeper.target.clone(), runtime::wall_clock());
        }
        let connection = self.start(id, peer, session);
        self.adopt(adoption);
        slot.send(connection);
    }

    /// Takes up the sessions that a store has of an earlier process. At most as many as may wait
    /// to be accepted, the newest first; the others wait in the store.
    pub(crate) fn resume(&mut self, mut saved: Vec<SavedSession>) {
        let Some(resuming) = self.keeper.as_ref().map(|keeper| keeper.resuming.clone()) else { return };
        let now = runtime::now();
        saved.sort_by_key(|session| std::cmp::Reverse(session.at()));
        for saved in saved {
            let id = saved.id;
            if let Some(Known::Closed { peer }) = saved.closed() {
                self.remember_closed(id, peer, now);
                continue;
            }
            let Ok(slot) = self.accepted.clone().try_reserve_owned() else {
                tracing::warn!(session = %id, "too many saved sessions at once; this one waits in the store");
                self.away.insert(id);
                continue;
            };
            let seed = u64::from_be_bytes(runtime::random());
            let restored = resuming.restore(self.config.clone(), saved, seed);
            match restored.map(|session| (session.peer(), session)) {
                Ok((Some(peer), session)) => slot.send(self.start(id, peer, session)),
                Ok((None, _)) => continue,
                Err(error) => {
                    tracing::error!(session = %id, error = error.0, "a saved session cannot be read; it is left as it is");
                    continue;
                }
            };
        }
    }

    fn start(&mut self, id: SessionId, peer: PublicKey, session: Session) -> DurableConnection {
        let store = self.keeper.as_ref().map(|keeper| keeper.resuming.store().clone());
        let (connection, adopt, driver) = DurableConnection::accept(session, store);
        let task = runtime::spawn(driver.run());
        self.drivers.push(Box::pin(async move {
            task.ended().await;
            id
        }));
        self.sessions.insert(id, Entry { shared: connection.shared().clone(), peer, adopt });
        self.shared.sessions.lock().expect("no panic while locked").insert(id);
        self.shared.events.publish(ServiceEvent::Connection(id));
        connection
    }

    fn remember_closed(&mut self, id: SessionId, peer: PublicKey, now: Instant) {
        if self.closed.len() == MAX_CLOSED
            && let Some((oldest, ..)) = self.closed.pop_front()
        {
            self.forget(oldest);
        }
        self.closed.push_back((id, peer, now));
    }

    /// Nobody needs to know of a session any more.
    fn forget(&mut self, id: SessionId) {
        let Some(keeper) = &self.keeper else { return };
        let prefix = session_prefix(&self.identity.public_key(), id);
        let mut batch = Batch::default();
        batch.remove(prefix.clone(), after(&prefix));
        let forgotten = keeper.resuming.store().apply(batch);
        self.refusing.push(Box::pin(async move {
            if let Err(error) = forgotten.await {
                tracing::warn!(session = %id, %error, "a session that ended long ago stays in the store");
            }
        }));
    }

    /// A session is over, and its driver has released everything.
    fn handle_ended(&mut self, id: SessionId) {
        let Some(entry) = self.sessions.remove(&id) else { return };
        let now = runtime::now();
        let forget = self.config.park_for;
        let late = |since: Instant| now.saturating_duration_since(since) >= forget;
        while let Some((oldest, _, _)) = self.closed.pop_front_if(|(_, _, since)| late(*since)) {
            self.forget(oldest);
        }
        // A session that ran out of time is unknown; one that was closed says so to a late peer.
        let reason = entry.shared.lock().close_reason().cloned();
        if matches!(reason, Some(CloseReason::Detached)) {
            // Whoever has a store goes on with it when the service is exposed again.
            if self.keeper.is_some() && self.away.len() < MAX_CLOSED {
                self.away.insert(id);
            }
        } else if !matches!(reason, Some(CloseReason::Expired(_))) {
            self.remember_closed(id, entry.peer, now);
        }
        self.shared.sessions.lock().expect("no panic while locked").remove(&id);
        self.shared.events.publish(ServiceEvent::Disconnection(id));
    }

    fn blame(&mut self, link: Arc<dyn Link>, misbehaviour: &Misbehaviour) {
        tracing::warn!(%misbehaviour, "a link without a good HELLO is closed");
        self.hang_up(link);
    }

    /// The peer speaks another version: it is told ours, and the application of both.
    fn refuse_version(&mut self, link: Arc<dyn Link>, hello: &bytes::Bytes, peer: PublicKey) {
        let ours = self.config.version;
        let theirs = Hello::version(hello).map_or_else(|_| String::new(), |theirs| theirs.to_string());
        let error = DialError::Version { ours, theirs };
        tracing::warn!(%peer, %error, "a peer was refused");
        self.shared.events.publish(ServiceEvent::Refused { peer, error });
        self.refuse(link, hello, RefuseCode::Version, &ours.to_string());
    }

    fn refuse(&mut self, link: Arc<dyn Link>, hello: &[u8], code: RefuseCode, text: &str) {
        tracing::debug!(?code, text, "a peer was refused");
        let refuse = Refuse { code, text: text.to_owned() };
        let frame = refuse.encode(&self.identity, link.binding(), hello);
        self.refusing.push(Box::pin(async move {
            let _ = link.send(frame).await;
            // The peer hangs up when it has read it.
            runtime::timeout(HELLO_TIMEOUT, async {
                while !matches!(link.recv().await, LinkEvent::Down(_)) {}
            })
            .await;
            link.close().await;
        }));
    }

    fn hang_up(&mut self, link: Arc<dyn Link>) {
        self.refusing.push(Box::pin(async move { link.close().await }));
    }

    /// Ends every session and waits until their drivers have ended: for good, or so that those in
    /// a store go on when the service is exposed again.
    pub(crate) async fn shutdown(mut self, for_good: bool) {
        let end = |shared: &Shared| if for_good { shared.close() } else { shared.leave() };
        self.sessions.values().for_each(|entry| end(&entry.shared));
        while let Some(id) = self.drivers.next().await {
            self.handle_ended(id);
        }
        self.greeting.clear();
        while self.refusing.next().await.is_some() {}
    }
}

/// Waits for the HELLO.
async fn greet(incoming: Incoming) -> Greeted {
    let Incoming { link, peer } = incoming;
    let first = runtime::timeout(HELLO_TIMEOUT, async {
        loop {
            match link.recv().await {
                LinkEvent::Frame(packet) => return Some(packet),
                LinkEvent::Down(_) => return None,
                _ => {}
            }
        }
    });
    let hello = match first.await.flatten() {
        None => Err(Misbehaviour::NoHello),
        Some(packet) => {
            let length = packet.len();
            match Decoder::new(packet).frame() {
                Ok(Some(Frame::Hello(body))) => Ok((body, length)),
                Ok(_) => Err(Misbehaviour::OutOfPlace),
                Err(misbehaviour) => Err(misbehaviour),
            }
        }
    };
    Greeted { link, hello, peer }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
