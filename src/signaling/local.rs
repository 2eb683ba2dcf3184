//! A directory with those who wait for it: the one lock around it, parked requests, event streams
//! and the clock. Both [`MemorySignaling`](super::MemorySignaling) and the server are this with a
//! different way in.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::directory::{Change, Directory, Listener, Outcome, WaiterId};
use super::{Cursor, ErrorCode, Event, EventStream, Response, SignalingError, Verified};
use crate::identity::PublicKey;
use crate::runtime::sync::{oneshot, watch};
use crate::runtime::{self, BoxFuture, Instant, MaybeSend, MaybeSync};

/// Where the records of a directory are kept.
pub(crate) trait Keeper: MaybeSend + MaybeSync + 'static {
    /// Takes changes in their order; must not block. Returns their number.
    fn keep(&self, changes: Vec<Change>) -> u64;

    /// Resolves once everything up to that number is safe.
    fn kept(&self, number: u64) -> BoxFuture<'_, Result<(), SignalingError>>;
}

/// A directory in use.
pub(crate) struct Local {
    /// A std mutex: never held over an await, and each hold is short.
    inner: Mutex<Inner>,
    keeper: Arc<dyn Keeper>,
    /// Whether a task calls [`see_to_expiry`](Self::see_to_expiry), so that nobody else need.
    driven: bool,
    clock: Clock,
    /// When the directory next has something to do, for those who see to it.
    next_expiry: watch::Sender<Option<u64>>,
    /// Counts the times that all connections were broken.
    breaks: watch::Sender<u64>,
}

struct Inner {
    directory: Directory,
    parked: HashMap<WaiterId, oneshot::Sender<Result<Response, SignalingError>>>,
    streams: HashMap<PublicKey, watch::Sender<()>>,
}

/// Milliseconds since 1970, counted on by the monotonic clock.
#[derive(Clone, Copy)]
struct Clock {
    started: Instant,
    unix_start: u64,
}

impl Clock {
    fn now(&self) -> u64 {
        let passed = runtime::now().saturating_duration_since(self.started);
        self.unix_start + u64::try_from(passed.as_millis()).unwrap_or(u64::MAX / 2)
    }
}

impl Local {
    /// Serves `directory` from now on, which is `unix_start` by the wall clock. If it is `driven`,
    /// a task must [see to expiry](Self::see_to_expiry).
    pub(crate) fn new(
        directory: Directory,
        keeper: Arc<dyn Keeper>,
        unix_start: u64,
        driven: bool,
    ) -> Arc<Self> {
        let inner = Inner { directory, parked: HashMap::new(), streams: HashMap::new() };
        let local = Self {
            inner: Mutex::new(inner),
            keeper,
            driven,
            clock: Clock { started: runtime::now(), unix_start },
            next_expiry: watch::Sender::new(None),
            breaks: watch::Sender::new(0),
        };
        local.with(|_, _| ());
        Arc::new(local)
    }

    /// The directory's time.
    pub(crate) fn now(&self) -> u64 {
        self.clock.now()
    }

    /// Carries out a request. Dropped while it waits for an offer, it takes none.
    pub(crate) async fn call(self: &Arc<Self>, request: Verified) -> Result<Response, SignalingError> {
        let lasting = request.request.is_lasting();
        let author = request.stamp.map(|stamp| stamp.key);
        let mut breaks = self.breaks.subscribe();
        self.check_open()?;
        let ((outcome, receiver), number) = self.with(|inner, now| {
            let outcome = inner.directory.handle(now, request);
            let (answer, receiver) = oneshot::channel();
            if let Outcome::Parked(id) = outcome {
                inner.parked.insert(id, answer);
            }
            (outcome, receiver)
        });
        let mut parked = match outcome {
            Outcome::Parked(id) => Parked { local: self.clone(), id, author, receiver },
            Outcome::Reply(reply) => {
                if lasting && reply.is_ok() {
                    self.keeper.kept(number).await?;
                }
                return reply;
            }
        };
        tokio::select! {
            biased;
            answer = &mut parked.receiver => {
                answer.unwrap_or_else(|_| Err(unreachable("the request was dropped")))
            }
            () = self.drive() => Err(unreachable("the directory ended")),
            _ = breaks.changed() => Err(unreachable("the connection broke")),
        }
    }

    /// Opens an event stream. It ends after an error when connections break.
    pub(crate) fn listen(self: &Arc<Self>, request: &Verified) -> Result<EventStream, SignalingError> {
        let stream = self.open(request)?;
        let stream = futures_util::stream::unfold(Some(stream), |stream| async {
            let mut stream = stream?;
            match stream.next().await {
                Some(item) => Some((Ok(item), Some(stream))),
                None => Some((Err(unreachable("the connection broke")), None)),
            }
        });
        Ok(Box::pin(stream))
    }

    /// Opens an event stream.
    pub(crate) fn open(self: &Arc<Self>, request: &Verified) -> Result<Listening, SignalingError> {
        let breaks = self.breaks.subscribe();
        self.check_open()?;
        let (opened, _) = self.with(|inner, now| {
            let listener = inner.directory.listen(now, request)?;
            let stream = inner.streams.entry(listener.key()).or_insert_with(|| watch::Sender::new(()));
            Ok::<_, SignalingError>((listener, stream.subscribe()))
        });
        let (listener, woken) = opened?;
        let read = VecDeque::new();
        Ok(Listening { local: self.clone(), listener: Some(listener), woken, breaks, read })
    }

    /// What those who wait do about expiry meanwhile, if no task does.
    async fn drive(&self) {
        if self.driven {
            std::future::pending().await
        } else {
            self.see_to_expiry().await;
        }
    }

    /// Ends what is over when its time comes, for ever. Any number may do this at once.
    pub(crate) async fn see_to_expiry(&self) {
        let mut next = self.next_expiry.subscribe();
        loop {
            let at = *next.borrow_and_update();
            match at {
                None => drop(next.changed().await),
                Some(at) => {
                    let wait = Duration::from_millis(at.saturating_sub(self.now()).max(1));
                    tokio::select! {
                        _ = next.changed() => {}
                        () = runtime::sleep(wait) => drop(self.with(|inner, now| inner.directory.expire(now))),
                    }
                }
            }
        }
    }

    /// Ends all event streams and parked requests, as if the network had.
    pub(crate) fn break_connections(&self) {
        self.breaks.send_modify(|breaks| *breaks = breaks.saturating_add(1));
    }

    /// Ends all event streams and parked requests for good, and refuses new ones.
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    pub(crate) fn close(&self) {
        self.breaks.send_replace(u64::MAX);
    }

    fn check_open(&self) -> Result<(), SignalingError> {
        if *self.breaks.borrow() == u64::MAX { Err(unreachable("it has ended")) } else { Ok(()) }
    }

    /// Does something under the lock and passes on everything that follows from it. Returns the
    /// number of the changes so far as well.
    fn with<T>(&self, act: impl FnOnce(&mut Inner, u64) -> T) -> (T, u64) {
        let now = self.now();
        let mut guard = self.lock("use the directory");
        let inner = &mut *guard;
        let done = act(inner, now);
        while let Some((id, result)) = inner.directory.poll_completion() {
            if let Some(waiter) = inner.parked.remove(&id) {
                // `Parked` holds the receiving end and sees to an answer that came too late.
                let _ = waiter.send(result);
            }
        }
        while let Some(key) = inner.directory.poll_woken() {
            if let Some(stream) = inner.streams.get(&key) {
                stream.send_replace(());
            }
        }
        let next = inner.directory.next_expiry();
        self.next_expiry.send_if_modified(|known| std::mem::replace(known, next) != next);
        // Under the lock, so that changes are kept in the order in which they were made.
        let changes: Vec<Change> = std::iter::from_fn(|| inner.directory.poll_change()).collect();
        let number = self.keeper.keep(changes);
        (done, number)
    }

    /// How many requests are parked and keys listen.
    #[cfg(test)]
    pub(crate) fn held(&self) -> (usize, usize) {
        let inner = self.lock("look");
        (inner.parked.len(), inner.streams.len())
    }

    fn lock(&self, _purpose: &'static str) -> MutexGuard<'_, Inner> {
        // A panic under the lock is a bug that was reported; the directory checks before it
        // changes, so what it holds is still the best there is.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A parked request; dropped unanswered, it is forgotten and its offer given back.
struct Parked {
    local: Arc<Local>,
    id: WaiterId,
    author: Option<PublicKey>,
    receiver: oneshot::Receiver<Result<Response, SignalingError>>,
}

impl Drop for Parked {
    fn drop(&mut self) {
        let id = self.id;
        let (waited, _) = self.local.with(|inner, now| {
            let waited = inner.parked.remove(&id).is_some();
            if waited {
                inner.directory.drop_waiter(now, id);
            }
            waited
        });
        if !waited
            && let (Ok(Ok(Response::Taken(taken))), Some(peer)) = (self.receiver.try_recv(), self.author)
        {
            self.local.with(|inner, now| inner.directory.give_back(now, peer, taken.id));
        }
    }
}

/// An open event stream.
pub(crate) struct Listening {
    local: Arc<Local>,
    /// Always there until dropped.
    listener: Option<Listener>,
    woken: watch::Receiver<()>,
    breaks: watch::Receiver<u64>,
    read: VecDeque<(Cursor, Event)>,
}

impl Listening {
    /// The next event; `None` when the connection was broken. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<(Cursor, Event)> {
        loop {
            if let Some(event) = self.read.pop_front() {
                return Some(event);
            }
            self.woken.mark_unchanged();
            let listener = self.listener.as_mut()?;
            self.read = self.local.lock("read events").directory.read_events(listener).into();
            if !self.read.is_empty() {
                continue;
            }
            tokio::select! {
                biased;
                _ = self.breaks.changed() => return None,
                _ = self.woken.changed() => {}
                () = self.local.drive() => {}
            }
        }
    }

    /// Goes on after `cursor`, whatever was read.
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    pub(crate) fn seek(&mut self, cursor: &Cursor) {
        self.read.clear();
        if let Some(listener) = self.listener.as_mut() {
            self.local.lock("seek").directory.seek(listener, cursor);
        }
    }

    /// What there is to read now.
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    pub(crate) fn read_now(&mut self) -> Vec<(Cursor, Event)> {
        let mut all: Vec<_> = self.read.drain(..).collect();
        if let Some(listener) = self.listener.as_mut() {
            all.extend(self.local.lock("read events").directory.read_events(listener));
        }
        all
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let Some(listener) = self.listener.take() else { return };
        let key = listener.key();
        self.local.with(|inner, now| {
            inner.directory.unlisten(now, listener);
            // One receiver is this stream's own.
            if inner.streams.get(&key).is_some_and(|stream| stream.receiver_count() <= 1) {
                inner.streams.remove(&key);
            }
        });
    }
}

pub(crate) fn unreachable(why: &str) -> SignalingError {
    SignalingError::Unreachable(why.to_owned())
}

/// The server's own fault.
#[cfg_attr(not(feature = "server"), allow(dead_code))]
pub(crate) fn internal(why: impl Into<String>) -> SignalingError {
    SignalingError::refused(ErrorCode::Internal, why)
}
