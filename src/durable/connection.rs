//! The handle of a durable connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::channel::DurableChannel;
use super::core::{Session, SessionId, Undelivered};
use super::dialer::Dialer;
use super::driver::{Adoption, Driver};
use super::events::{ConnectionEvent, ConnectionState, Events, Recovery};
use super::shared::Shared;
use crate::config::ChannelConfig;
use crate::error::{ChannelError, CloseReason, SendError};
use crate::identity::PublicKey;
use crate::runtime;
use crate::runtime::sync::{mpsc, watch};
use crate::store::Store;

/// A connection to a peer that outlives its links: cut, moved or put to sleep, it finds the peer
/// again and goes on where it stopped, with the same channels and nothing lost or doubled.
///
/// Cheap to clone. When the last clone and the last channel are dropped, the connection ends in the
/// background as by [`close`](Self::close); but on the dialing side with a
/// [`store`](crate::ClientBuilder::store) as by [`detach`](Self::detach), so that a restarted process
/// goes on with it. A host that ends goes on with its sessions when it ends by
/// [`Client::shutdown`](crate::Client::shutdown) or by being killed.
#[derive(Clone)]
pub struct DurableConnection {
    handle: Arc<Handle>,
    state: watch::Receiver<ConnectionState>,
}

/// Keeps the connection open for as long as anybody holds it.
pub(super) struct Handle {
    pub(super) shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.drop_handle();
    }
}

/// What a connection has done so far, and how it is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ConnectionStats {
    /// What it is now.
    pub state: ConnectionState,
    /// How it is linked now.
    pub rung: Rung,
    /// The smoothed time until the peer acknowledges a packet; `None` before the first.
    pub rtt: Option<Duration>,
    /// Bytes of packets handed to links, handshakes and repetitions included.
    pub bytes_sent: u64,
    /// Bytes of packets received.
    pub bytes_received: u64,
    /// Packets handed to links. Many small messages share one.
    pub packets_sent: u64,
    /// Messages received, each counted once.
    pub messages_received: u64,
    /// Messages sent again after a link was lost.
    pub replayed: u64,
    /// Messages of the peer that came twice and were delivered once.
    pub deduplicated: u64,
    /// Messages of this side that waited too long.
    pub expired: u64,
    /// Messages of this side that were dropped from a full queue.
    pub overflowed: u64,
    /// Messages of this side that newer ones of the same key took the place of.
    pub superseded: u64,
    /// How often the connection came back.
    pub reconnects: u64,
    /// Probes sent.
    pub probes: u64,
    /// How it last found its way back; `None` while it never had to.
    pub last_recovery: Option<Recovery>,
}

/// The rungs of the ladder to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rung {
    /// No link.
    None,
    /// A link that answers.
    Live,
    /// A link that does not answer; another is being made beside it.
    Suspect,
}

impl DurableConnection {
    /// The dialing side, with the task that owns it.
    pub(crate) fn dial(
        session: Session,
        dialer: Arc<dyn Dialer>,
        store: Option<Arc<dyn Store>>,
    ) -> (Self, runtime::Task) {
        let shared = Shared::new(session);
        let driver = Driver::dialing(shared.clone(), dialer).with_store(store);
        (Self::new(shared), runtime::spawn(driver.run()))
    }

    /// The accepting side; its links come by the returned sender.
    pub(super) fn accept(
        session: Session,
        store: Option<Arc<dyn Store>>,
    ) -> (Self, mpsc::Sender<Adoption>, Driver) {
        let shared = Shared::new(session);
        let (adopt, adoptions) = mpsc::channel(1);
        let driver = Driver::accepting(shared.clone(), adoptions).with_store(store);
        (Self::new(shared), adopt, driver)
    }

    fn new(shared: Arc<Shared>) -> Self {
        let state = shared.state.subscribe();
        Self { handle: Arc::new(Handle { shared }), state }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// The session's name, the same at both ends and over all links.
    pub fn id(&self) -> SessionId {
        self.shared().id()
    }

    /// The peer's key. Until a [`connect_lazy`](crate::Client::connect_lazy) connection has found
    /// its peer this is all zeroes.
    pub fn peer(&self) -> PublicKey {
        self.shared().lock().peer().unwrap_or(PublicKey::from_bytes([0; 32]))
    }

    /// The key of this side.
    #[cfg(feature = "tutorial")]
    pub(crate) fn own_key(&self) -> PublicKey {
        self.shared().lock().own_key()
    }

    /// What the connection is now.
    pub fn state(&self) -> ConnectionState {
        self.state.borrow().clone()
    }

    /// Waits for a state that this handle has not seen, and returns it. After the end it returns
    /// the closed state at once. States in between may be skipped; [`events`](Self::events) has
    /// them all. Cancel-safe.
    pub async fn state_changed(&mut self) -> ConnectionState {
        if !matches!(*self.state.borrow(), ConnectionState::Closed(_))
            || self.state.has_changed().unwrap_or(false)
        {
            // The sender lives as long as the handle does.
            let _ = self.state.changed().await;
        }
        self.state.borrow_and_update().clone()
    }

    /// What happens to the connection from now on.
    pub fn events(&self) -> Events<ConnectionEvent> {
        self.shared().events.subscribe()
    }

    /// Opens the durable channel of this label, or takes the one that the peer opened under it.
    /// Works without a link, too: messages queue.
    ///
    /// # Errors
    /// [`ChannelError`], among them `AlreadyOpen`: one side has one channel of a label.
    pub fn open_channel(&self, label: &str) -> Result<DurableChannel, ChannelError> {
        self.open_channel_with(label, ChannelConfig::default())
    }

    /// Opens a channel with its own queue, or a lossy one.
    ///
    /// # Errors
    /// As of [`open_channel`](Self::open_channel).
    pub fn open_channel_with(
        &self,
        label: &str,
        config: ChannelConfig,
    ) -> Result<DurableChannel, ChannelError> {
        let id = self.shared().command(|session| session.open(label, config))?;
        Ok(DurableChannel::new(self.handle.clone(), id))
    }

    /// The next channel that the peer opened and this side has not, or `None` when the connection
    /// is closed. Cancel-safe.
    pub async fn accept_channel(&self) -> Option<DurableChannel> {
        let accepts = self.shared().lock().accepts().clone();
        loop {
            let mut notified = std::pin::pin!(accepts.notified());
            notified.as_mut().enable();
            {
                let mut session = self.shared().lock();
                if let Some(id) = session.accept() {
                    drop(session);
                    return Some(DurableChannel::new(self.handle.clone(), id));
                }
                if session.close_reason().is_some() {
                    return None;
                }
            }
            notified.await;
        }
    }

    /// Looks for a new link at once: a wait between attempts ends, and a link that seems to work
    /// gets a fresh one beside it. Nothing is lost by it. At a host it does nothing: only the
    /// peer can dial.
    pub fn reconnect_now(&self) {
        self.shared().command(|session| session.reconnect_now(runtime::now()));
    }

    /// Waits until everything queued so far, in every channel, is acknowledged: the peer's
    /// application has received it. Cancel-safe.
    ///
    /// # Errors
    /// The first message's that was dropped meanwhile, or why the connection closed.
    pub async fn flush(&self) -> Result<(), SendError> {
        let newest = self.shared().lock().newest();
        for (channel, seq) in newest {
            super::channel::settled(self.shared(), channel, |session| session.fate(channel, seq)).await?;
        }
        Ok(())
    }

    /// Closes the connection for good, on both sides: what is queued still goes out, the peer is
    /// told, and neither side reconnects. Takes at most
    /// [`close_timeout`](crate::ConnectionConfig::close_timeout); a peer that was not reached by then learns
    /// it when it comes back. To know that the peer's application has received everything, `flush` first.
    ///
    /// Cancel-safe: the close goes on without the future.
    pub async fn close(&self) -> CloseReason {
        self.shared().close();
        self.shared().closed().await
    }

    /// Leaves without closing: resolves when everything taken so far is in the store and the link is
    /// given up. The peer takes it for an outage and waits. After that, or after a restart of the
    /// process, [`connect_lazy`](crate::Client::connect_lazy) to the same target goes on with the same session,
    /// and at a host [`expose_service`](crate::Client::expose_service) does: channels by their
    /// labels, messages that are not acknowledged, and what the peer sent meanwhile.
    ///
    /// Without a store there is nothing to go on with: what was not acknowledged is gone with the
    /// process, and the peer gives the session up after [`park_for`](crate::ConnectionConfig::park_for) or its
    /// attempts. `close` is the other way to end a connection: final, on both sides.
    ///
    /// A store that fails does not keep it from ending: the reason is then
    /// [`CloseReason::Store`], and what could not be stored, as receipts tell
    /// ([`Receipt::stored`](crate::Receipt::stored)), is not there after a restart.
    ///
    /// Cancel-safe: it goes on without the future.
    pub async fn detach(&self) -> CloseReason {
        self.shared().detach();
        self.shared().closed().await
    }

    /// Once the connection has ended for good: the messages that were taken and not acknowledged, in the
    /// order of each channel, so that the application can send them another way. Empty before, and
    /// when asked again, and empty for a session that goes on from its store (detached,
    /// unreachable); but when a lost session began afresh
    /// ([`SessionLost::StartFresh`](crate::SessionLost::StartFresh)), those given up with it.
    pub fn take_undelivered(&self) -> Vec<Undelivered> {
        self.shared().lock().take_undelivered()
    }

    /// Waits until the connection is closed, by whomever. Cancel-safe.
    pub async fn closed(&self) -> CloseReason {
        self.shared().closed().await
    }

    /// Figures so far.
    pub fn stats(&self) -> ConnectionStats {
        let session = self.shared().lock();
        let (counters, rung, rtt) = (session.counters(), session.rung(), session.rtt());
        let last_recovery = session.last_recovery();
        drop(session);
        ConnectionStats {
            state: self.state(),
            rung,
            rtt,
            bytes_sent: counters.bytes_sent,
            bytes_received: counters.bytes_received,
            packets_sent: counters.packets_sent,
            messages_received: counters.messages_received,
            replayed: counters.replayed,
            deduplicated: counters.deduplicated,
            expired: counters.expired,
            overflowed: counters.overflowed,
            superseded: counters.superseded,
            reconnects: counters.reconnects,
            probes: counters.probes,
            last_recovery,
        }
    }
}

impl fmt::Debug for DurableConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableConnection({}, {:?})", self.id(), self.state())
    }
}
