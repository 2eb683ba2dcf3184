//! An exposed service: the sessions of its peers, and the handle to accept them by.

mod accept;
pub(crate) mod schedule;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};

use futures_util::stream::{FuturesUnordered, StreamExt as _};

pub(crate) use self::accept::{Acceptor, Incoming, Keeper, MAX_WAITING};
use super::connection::DurableConnection;
use super::core::SessionId;
use super::events::{EventSource, Events, ServiceEvent};
use crate::collections::BTreeSet;
use crate::error::ServiceError;
use crate::runtime::sync::{mpsc, oneshot};
use crate::runtime::{self, MaybeSend};
use crate::signaling::ServiceUuid;

/// What a service is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceInfo {
    /// `user/name@version`.
    pub service: String,
    /// The uuid: derived from the owner's key and the name, so it is the same after each refresh
    /// and restart, and whoever knows it can check that the owner is who answers.
    pub uuid: ServiceUuid,
    /// When the lease ends, in milliseconds since 1970 by the server's clock.
    pub expires_at: u64,
}

/// A service that is being exposed: published, refreshed before its lease ends, with an offer
/// always ready, until [`stop`](Self::stop).
///
/// Dropping it stops it in the background: it is withdrawn, and its connections are closed, or with a
/// [`store`](crate::ClientBuilder::store) left, to go on when the service is exposed again.
#[must_use = "dropping a DurableService withdraws it"]
pub struct DurableService {
    shared: Arc<ServiceShared>,
    accepted: runtime::sync::Mutex<mpsc::Receiver<DurableConnection>>,
    stop: Mutex<Option<oneshot::Sender<StopReport>>>,
}

/// Where the task of a service says how its stop went.
pub(crate) type StopReport = oneshot::Sender<Result<(), ServiceError>>;

/// What the handle and the task of a service share.
pub(crate) struct ServiceShared {
    pub(crate) info: Mutex<ServiceInfo>,
    pub(crate) sessions: Mutex<BTreeSet<SessionId>>,
    pub(crate) events: EventSource<ServiceEvent>,
    /// Why it ended by itself, if it did.
    pub(crate) ended: Mutex<Option<ServiceError>>,
}

impl ServiceShared {
    pub(crate) fn new(info: ServiceInfo) -> Arc<Self> {
        Arc::new(Self {
            info: Mutex::new(info),
            sessions: Mutex::new(BTreeSet::new()),
            events: EventSource::new(),
            ended: Mutex::new(None),
        })
    }
}

impl DurableService {
    pub(crate) fn new(
        shared: Arc<ServiceShared>,
        accepted: mpsc::Receiver<DurableConnection>,
        stop: oneshot::Sender<StopReport>,
    ) -> Self {
        Self { shared, accepted: runtime::sync::Mutex::new(accepted), stop: Mutex::new(Some(stop)) }
    }

    /// What the service is known by now.
    pub fn info(&self) -> ServiceInfo {
        self.shared.info.lock().expect("no panic while locked").clone()
    }

    /// The next *new* session, or `None` when the service has stopped. A peer that reconnects
    /// resumes its old session, with the same connection and channels, and never shows up here.
    /// With a [`store`](crate::ClientBuilder::store) the sessions of an earlier process come first:
    /// their channels are there under their labels, and wait for the peer to return.
    ///
    /// At most 1,024 sessions wait to be accepted; further peers are refused for the time being.
    /// Cancel-safe.
    pub async fn accept(&self) -> Option<DurableConnection> {
        self.accepted.lock().await.recv().await
    }

    /// Accepts in a loop and runs `handler` for each session, all of them concurrently, until the
    /// service stops; then waits for the handlers to end. A handler that holds on to its
    /// connection keeps it open.
    ///
    /// ```no_run
    /// # async fn example(service: everlink::DurableService) {
    /// service
    ///     .serve(|connection| async move {
    ///         while let Some(mut channel) = connection.accept_channel().await {
    ///             while let Ok(message) = channel.recv().await {
    ///                 let _ = channel.send(message).await;
    ///             }
    ///         }
    ///     })
    ///     .await;
    /// # }
    /// ```
    pub async fn serve<F, Fut>(self, mut handler: F)
    where
        F: FnMut(DurableConnection) -> Fut,
        Fut: Future<Output = ()> + MaybeSend,
    {
        let mut handlers = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.accept() => match accepted {
                    Some(connection) => handlers.push(handler(connection)),
                    None => break,
                },
                Some(()) = handlers.next() => {}
            }
        }
        while handlers.next().await.is_some() {}
    }

    /// The sessions that are alive, connected or waiting for their peer.
    pub fn connections(&self) -> Vec<SessionId> {
        self.shared.sessions.lock().expect("no panic while locked").iter().copied().collect()
    }

    /// What happens to the service.
    pub fn events(&self) -> Events<ServiceEvent> {
        self.shared.events.subscribe()
    }

    /// Stops for good: withdraws the service from the directory, closes its connections gracefully (with
    /// a store, too), and waits for both, for some seconds at most.
    ///
    /// # Errors
    /// The directory's last word if it could not be told; the service then vanishes from it when
    /// the lease ends. It is stopped here all the same. Or why it had ended by itself before:
    /// [`ServiceError::Displaced`], or what the directory refused for good.
    pub async fn stop(self) -> Result<(), ServiceError> {
        let stop = self.stop.lock().expect("no panic while locked").take();
        let (done, stopped) = oneshot::channel();
        match stop.map(|stop| stop.send(done)) {
            Some(Ok(())) => stopped.await.unwrap_or(Ok(())),
            // It has ended by itself.
            _ => self.shared.ended.lock().expect("no panic while locked").clone().map_or(Ok(()), Err),
        }
    }
}

impl fmt::Debug for DurableService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableService({:?})", self.info())
    }
}
