//! What happened, as streams of events, and what is, as a watched state.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;

use super::core::{GapCause, SessionId};
use crate::error::{CloseReason, DialError};
use crate::runtime::Instant;
use crate::signaling::ServiceUuid;

/// What a connection is now.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConnectionState {
    /// No link yet.
    Connecting {
        /// Which attempt is under way, from 1.
        attempt: u32,
    },
    /// A link is live and the session established on it.
    Connected,
    /// The link was lost, or its path looks dead; messages queue.
    Reconnecting {
        /// Which attempt is under way or comes next; 0 at a host, which waits for its peer.
        attempt: u32,
        /// When it starts, or started; at a host, when it stops waiting.
        retry_at: Instant,
    },
    /// The end.
    Closed(CloseReason),
}

/// Why a link was lost.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DisconnectCause {
    /// The link ended, as it says.
    LinkDown(crate::link::LinkError),
    /// Probes were not acknowledged.
    PathDead,
    /// The peer broke the protocol.
    Misbehaviour(crate::error::Misbehaviour),
    /// The peer came back on a new link.
    Replaced,
    /// The application asked for a new link.
    Requested,
    /// The addresses or the default route of this machine changed, and the link did not answer
    /// over the new ones before a fresh one did.
    NetworkChange,
    /// The machine slept, and the link did not answer afterwards.
    Wake,
}

/// Why a connection had to find its way back: [`DisconnectCause`] without its details, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecoveryCause {
    /// The link ended, as it said.
    LinkDown,
    /// Probes were not acknowledged.
    PathDead,
    /// The addresses or the default route of this machine changed.
    NetworkChange,
    /// The machine slept.
    Wake,
    /// [`reconnect_now`](crate::DurableConnection::reconnect_now) was called.
    Requested,
    /// The peer broke the protocol.
    Misbehaviour,
    /// The peer came back on a new link, for a reason of its own.
    Replaced,
    /// The process was restarted and took up a saved session.
    Restart,
}

impl RecoveryCause {
    /// Every cause.
    pub const ALL: &'static [Self] = &[
        Self::LinkDown,
        Self::PathDead,
        Self::NetworkChange,
        Self::Wake,
        Self::Requested,
        Self::Misbehaviour,
        Self::Replaced,
        Self::Restart,
    ];

    /// The name it has in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LinkDown => "link_down",
            Self::PathDead => "path_dead",
            Self::NetworkChange => "network_change",
            Self::Wake => "wake",
            Self::Requested => "requested",
            Self::Misbehaviour => "misbehaviour",
            Self::Replaced => "replaced",
            Self::Restart => "restart",
        }
    }
}

impl From<&DisconnectCause> for RecoveryCause {
    fn from(cause: &DisconnectCause) -> Self {
        match cause {
            DisconnectCause::LinkDown(_) => Self::LinkDown,
            DisconnectCause::PathDead => Self::PathDead,
            DisconnectCause::Misbehaviour(_) => Self::Misbehaviour,
            DisconnectCause::Replaced => Self::Replaced,
            DisconnectCause::Requested => Self::Requested,
            DisconnectCause::NetworkChange => Self::NetworkChange,
            DisconnectCause::Wake => Self::Wake,
        }
    }
}

/// How a connection found its way back, the cheapest way first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecoveryRung {
    /// A probe was answered on the old link.
    Probe,
    /// The old link answered after an ICE restart.
    IceRestart,
    /// A fresh link took over.
    FreshLink,
    /// A restarted process resumed its saved session.
    Resumed,
}

impl RecoveryRung {
    /// Every rung.
    pub const ALL: &'static [Self] = &[Self::Probe, Self::IceRestart, Self::FreshLink, Self::Resumed];

    /// The name it has in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::IceRestart => "ice_restart",
            Self::FreshLink => "fresh_link",
            Self::Resumed => "resumed",
        }
    }
}

/// One recovery: why it was needed, what brought it, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// Why.
    pub cause: RecoveryCause,
    /// What brought it.
    pub rung: RecoveryRung,
    /// The time from when the trouble was noticed.
    pub after: Duration,
    /// How many messages of this side were sent again.
    pub replayed: u64,
}

/// What happened to a connection. One event for each transition.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// A link is live.
    Connected {
        /// Whether a session went on; false the first time and after a lost session.
        resumed: bool,
        /// How many messages of this side are sent again.
        replayed: u64,
        /// How long there was none.
        after: Duration,
    },
    /// The link was lost, or its path looks dead.
    Disconnected {
        /// Why.
        cause: DisconnectCause,
    },
    /// An attempt at a new link starts, or will after `delay`.
    Reconnecting {
        /// Which, from 1.
        attempt: u32,
        /// How long until it starts.
        delay: Duration,
    },
    /// An attempt failed.
    AttemptFailed {
        /// Which.
        attempt: u32,
        /// Why.
        error: DialError,
    },
    /// The connection found its way back. Follows the [`Connected`](Self::Connected) of the
    /// recovery; it comes without one when the link was only in question (after a change of the
    /// network, or a sleep) and turned out to work.
    Recovered(Recovery),
    /// The session was taken over from another process of the dialing peer: from an earlier run of
    /// it, or from one that still runs with a copy of the same store. That one gets
    /// [`CloseReason::Displaced`] when it comes back, and stays away. Both the newer process and
    /// the host are told, before [`Connected`](Self::Connected).
    TookOver,
    /// The host had forgotten the session, and a new one begins.
    SessionLost {
        /// Messages whose arrival is unknown.
        unacked: u64,
    },
    /// The store takes nothing.
    StoreFailed {
        /// Why.
        error: crate::store::StoreError,
        /// Whether the connection goes on in memory, or waits for the store.
        goes_on: bool,
    },
    /// The store works again.
    StoreRecovered,
    /// The end; nothing follows.
    Closed(CloseReason),
    /// This subscriber was too slow; the oldest events were dropped.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// What happened to a channel.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ChannelEvent {
    /// The peer has the channel too.
    Open,
    /// Messages of this side were dropped from a full queue while there was no link.
    Overflow {
        /// How many.
        dropped: u64,
    },
    /// Messages of this side waited too long while there was no link, or passed their own
    /// [deadline](crate::SendOptions::deadline).
    Expired {
        /// How many.
        count: u64,
    },
    /// Newer messages of the same [key](crate::SendOptions::supersede) took the place of messages
    /// of this side before those were sent.
    Superseded {
        /// How many.
        count: u64,
    },
    /// Messages of the peer that will never come. Neighbours that nobody has seen yet are told as
    /// one, like the counts above.
    Gap {
        /// The first one's number.
        from: u64,
        /// The last one's number.
        to: u64,
        /// Why.
        cause: GapCause,
    },
    /// What waits fell below half of what may wait.
    BufferedLow,
    /// The channel is closed; nothing follows.
    Closed,
    /// This subscriber was too slow; the oldest events were dropped.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// What happened to a service.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ServiceEvent {
    /// The directory has it.
    Published {
        /// Its uuid, the same after each refresh and restart.
        uuid: ServiceUuid,
        /// When the lease ends, in milliseconds since 1970 by the server's clock.
        expires_at: u64,
    },
    /// A new session, to be had from `accept`.
    Connection(SessionId),
    /// A session ended for good.
    Disconnection(SessionId),
    /// A peer was refused for good, as it speaks another version of the protocol: `error` names both
    /// versions. The peer is told the same, and does not try again.
    Refused {
        /// Its key, as its answer to the offer was signed.
        peer: crate::identity::PublicKey,
        /// Why.
        error: DialError,
    },
    /// The lease was renewed in place.
    TtlRefreshed {
        /// When it ends now.
        expires_at: u64,
    },
    /// Something failed; it is retried unless `Closed` follows.
    Error {
        /// What was being done.
        context: &'static str,
        /// What went wrong.
        message: String,
    },
    /// The service was taken over from another running host with the same identity, or from an
    /// earlier run of this one whose lease had not ended. That one gets [`Displaced`](Self::Displaced).
    TookOver,
    /// Another running host with the same identity took the service over. This one ends; `Closed`
    /// follows, and nothing brings it back by itself.
    Displaced,
    /// The service has stopped; nothing follows.
    Closed,
    /// This subscriber was too slow; the oldest events were dropped.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// An event that can say how many others were dropped before it.
pub(crate) trait Laggable: Clone {
    fn lagged(missed: u64) -> Self;

    /// Takes `next` up into this event, which nobody has seen yet, if one can say what both do.
    fn join(&mut self, _next: &Self) -> bool {
        false
    }
}

macro_rules! laggable {
    ($($event:ident)*) => {
        $(impl Laggable for $event {
            fn lagged(missed: u64) -> Self { Self::Lagged { missed } }
        })*
    };
}
laggable!(ConnectionEvent ServiceEvent);

impl Laggable for ChannelEvent {
    fn lagged(missed: u64) -> Self {
        Self::Lagged { missed }
    }

    /// Drops may come by the thousand. Each is told, but not each by an event of its own.
    fn join(&mut self, next: &Self) -> bool {
        match (self, next) {
            (Self::Overflow { dropped: all }, Self::Overflow { dropped: more })
            | (Self::Expired { count: all }, Self::Expired { count: more })
            | (Self::Superseded { count: all }, Self::Superseded { count: more }) => *all += more,
            (Self::Gap { to: end, cause: one, .. }, Self::Gap { from, to, cause })
                if one == cause && *end + 1 == *from =>
            {
                *end = *to;
            }
            _ => return false,
        }
        true
    }
}

/// A stream of events, from the moment of subscribing on; the first subscriber also gets the last
/// few before. Ends after the closing event. A subscriber that lags by 256 events loses the oldest
/// and is told so by a `Lagged` event.
pub struct Events<T> {
    queue: Arc<Mutex<Queue<T>>>,
}

struct Queue<T> {
    events: VecDeque<T>,
    missed: u64,
    closed: bool,
    waker: Option<Waker>,
}

/// The most events kept for a subscriber.
const KEPT: usize = 256;

impl<T: Laggable> Queue<T> {
    fn new() -> Self {
        Self { events: VecDeque::new(), missed: 0, closed: false, waker: None }
    }

    fn push(&mut self, event: T) {
        if self.events.back_mut().is_some_and(|last| last.join(&event)) {
            return;
        }
        if self.events.len() == KEPT {
            self.events.pop_front();
            self.missed += 1;
        }
        self.events.push_back(event);
    }
}

#[allow(private_bounds)]
impl<T: Laggable> Events<T> {
    /// The next event, or `None` after the last. Cancel-safe.
    pub async fn next(&mut self) -> Option<T> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut queue = self.queue.lock().expect("no panic while locked");
        if queue.missed > 0 {
            let missed = std::mem::take(&mut queue.missed);
            return Poll::Ready(Some(T::lagged(missed)));
        }
        match queue.events.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if queue.closed => Poll::Ready(None),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[allow(private_bounds)]
impl<T: Laggable> Stream for Events<T> {
    type Item = T;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll(cx)
    }
}

impl<T> std::fmt::Debug for Events<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}

/// Where events come from.
pub(crate) struct EventSource<T> {
    inner: Mutex<Source<T>>,
}

struct Source<T> {
    subscribers: Vec<Weak<Mutex<Queue<T>>>>,
    /// What happened before anybody subscribed.
    early: Option<Queue<T>>,
    closed: bool,
}

impl<T: Laggable> EventSource<T> {
    pub(crate) fn new() -> Self {
        let source = Source { subscribers: Vec::new(), early: Some(Queue::new()), closed: false };
        Self { inner: Mutex::new(source) }
    }

    pub(crate) fn subscribe(&self) -> Events<T> {
        let mut source = self.inner.lock().expect("no panic while locked");
        let mut queue = source.early.take().unwrap_or_else(Queue::new);
        queue.closed = source.closed;
        let queue = Arc::new(Mutex::new(queue));
        source.subscribers.push(Arc::downgrade(&queue));
        Events { queue }
    }

    pub(crate) fn publish(&self, event: T) {
        self.each(|queue| queue.push(event.clone()));
        if let Some(early) = &mut self.inner.lock().expect("no panic while locked").early {
            early.push(event);
        }
    }

    /// Publishes the last event.
    pub(crate) fn close(&self, event: T) {
        self.publish(event);
        self.inner.lock().expect("no panic while locked").closed = true;
        self.each(|queue| queue.closed = true);
    }

    fn each(&self, mut tell: impl FnMut(&mut Queue<T>)) {
        let mut source = self.inner.lock().expect("no panic while locked");
        source.subscribers.retain(|subscriber| {
            let Some(queue) = subscriber.upgrade() else { return false };
            let mut queue = queue.lock().expect("no panic while locked");
            tell(&mut queue);
            if let Some(waker) = queue.waker.take() {
                waker.wake();
            }
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(events: &mut Events<ConnectionEvent>) -> Vec<ConnectionEvent> {
        let mut cx = Context::from_waker(Waker::noop());
        std::iter::from_fn(|| match events.poll(&mut cx) {
            Poll::Ready(event) => event,
            Poll::Pending => None,
        })
        .collect()
    }

    fn attempt(attempt: u32) -> ConnectionEvent {
        ConnectionEvent::Reconnecting { attempt, delay: Duration::ZERO }
    }

    #[test]
    fn the_first_subscriber_misses_nothing_and_a_slow_one_is_told() {
        let source = EventSource::new();
        source.publish(attempt(0));
        let mut first = source.subscribe();
        let mut second = source.subscribe();
        source.publish(attempt(1));
        assert_eq!(drain(&mut first), [attempt(0), attempt(1)]);
        assert_eq!(drain(&mut second), [attempt(1)]);

        (0..300).for_each(|number| source.publish(attempt(number)));
        let seen = drain(&mut first);
        assert_eq!(seen[0], ConnectionEvent::Lagged { missed: 44 });
        assert_eq!(seen.len(), 257);

        source.close(ConnectionEvent::Closed(CloseReason::Local));
        drain(&mut first);
        assert!(matches!(first.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(None)));
    }
}
