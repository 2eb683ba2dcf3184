//! What of a session is in a store: what goes there, when, and what waits for it.
//!
//! Nothing that a crash could undo is told to the peer: a message is transmitted when it is
//! stored, a cursor acknowledged when it is, a channel named and a handshake answered when the
//! records behind them are. One batch is under way at a time, and takes all that came up since
//! the last, so the disk's pace makes batches larger and not the connection slower.

use std::time::Duration;

use bytes::Bytes;

use super::channel::ChannelId;
use super::inbox::Inbox;
use super::outbox::Fate;
use super::records::{self, ChannelRecord, Kind, SessionRecord, key};
use super::session::{Output, Role, Session};
use crate::collections::BTreeMap;
use crate::config::StoreFailure;
use crate::durable::events::ConnectionEvent;
use crate::error::{CloseReason, SendError};
use crate::identity::PublicKey;
use crate::message::Message;
use crate::runtime::Instant;
use crate::store::{Batch, StoreError};

/// How long before a batch that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long mere tidying waits for something to go with.
const TIDY: Duration = Duration::from_secs(1);

/// The wall clock, to tell times to a later process: a moment and what it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WallClock {
    pub at: Instant,
    /// Milliseconds since 1970.
    pub millis: u64,
}

impl WallClock {
    pub(super) fn millis(&self, instant: Instant) -> u64 {
        match instant.checked_duration_since(self.at) {
            Some(since) => self.millis.saturating_add(since.as_millis() as u64),
            None => self.millis.saturating_sub(self.at.saturating_duration_since(instant).as_millis() as u64),
        }
    }

    /// A time as this process has it; one it cannot express is now.
    pub(super) fn instant(&self, millis: u64) -> Instant {
        let ago = Duration::from_millis(self.millis.saturating_sub(millis));
        let ahead = Duration::from_millis(millis.saturating_sub(self.millis));
        self.at.checked_sub(ago).and_then(|at| at.checked_add(ahead)).unwrap_or(self.at)
    }
}

/// The saving of one session.
pub(super) struct Saving {
    identity: PublicKey,
    /// Where its records are.
    prefix: Bytes,
    /// What it was made for.
    target: Bytes,
    clock: WallClock,
    /// There may be something to write.
    pub dirty: bool,
    gate: Gate,
    record: Option<SessionRecord>,
    channels: BTreeMap<ChannelId, ChannelRecord>,
    /// Records of a session that was lost.
    old: Option<Bytes>,
    /// The batch under way.
    writing: Option<Batch>,
    /// The last batch is built: nothing follows.
    over: bool,
    retry_at: Option<Instant>,
    tidy_at: Option<Instant>,
    failed: Option<StoreError>,
}

/// A message that was not delivered, given back.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Undelivered {
    /// The channel's label.
    pub label: String,
    /// The message.
    pub message: Message,
    /// It was on its way at some time, so the peer may have it all the same.
    pub may_have_arrived: bool,
}

/// Whether anything may go to the peer yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// Not until the session's own record is stored as it is now.
    Shut,
    /// The batch under way has that record.
    Opening,
}

impl Saving {
    /// What the store already has.
    pub(super) fn restore(&mut self, record: SessionRecord, channels: BTreeMap<ChannelId, ChannelRecord>) {
        (self.record, self.channels) = (Some(record), channels);
        self.gate = Gate::Open;
    }
}

impl Session {
    /// From now on the session lives in a store, too.
    pub(crate) fn keep(&mut self, target: Bytes, clock: WallClock) {
        let identity = self.identity.public_key();
        self.saving = Some(Saving {
            prefix: records::session_prefix(&identity, self.id),
            identity,
            target,
            clock,
            dirty: true,
            gate: Gate::Shut,
            record: None,
            channels: BTreeMap::new(),
            old: None,
            writing: None,
            over: false,
            retry_at: None,
            tidy_at: None,
            failed: None,
        });
        for channel in self.channels.values_mut() {
            channel.outbox.keep();
            if let Some(inbox) = &mut channel.inbox {
                inbox.keep();
            }
        }
        self.changed = true;
    }

    /// Whether the session outlives this process.
    pub(crate) fn is_kept(&self) -> bool {
        self.saving.is_some()
    }

    /// There may be something to write.
    pub(super) fn touch(&mut self) {
        if let Some(saving) = &mut self.saving {
            saving.dirty = true;
        }
    }

    /// What the peer is told from now on must not be forgotten by a restart: it waits until the
    /// session's record, as it is now, is stored.
    pub(super) fn hold(&mut self) {
        if let Some(saving) = &mut self.saving {
            (saving.gate, saving.dirty) = (Gate::Shut, true);
        }
    }

    /// Whether packets have to wait for the store.
    pub(super) fn is_held(&self) -> bool {
        self.saving.as_ref().is_some_and(|saving| saving.gate != Gate::Open)
    }

    /// What has to be written now, if nothing is being written.
    pub(super) fn poll_saving(&mut self, now: Instant) -> Option<Output> {
        let saving = self.saving.as_mut()?;
        if let Some(batch) = &mut saving.writing {
            // It failed, and the time to try again has come. What the peer has consumed meanwhile
            // goes with it: that may be the room it needs.
            saving.retry_at.take_if(|at| *at <= now)?;
            for channel in self.channels.values_mut() {
                channel.outbox.tidy(batch, &saving.prefix);
            }
            return Some(Output::Store(batch.clone()));
        }
        let tidy = saving.tidy_at.take_if(|at| *at <= now).is_some();
        saving.dirty |= tidy;
        if !std::mem::take(&mut saving.dirty) || saving.over {
            if self.detaching && self.closed.is_none() {
                self.finish(CloseReason::Detached);
                return self.outputs.pop_front();
            }
            return None;
        }
        let batch = self.batch(now, tidy || self.detaching);
        if batch.is_empty() {
            return self.poll_saving(now);
        }
        let saving = self.saving.as_mut()?;
        saving.writing = Some(batch.clone());
        Some(Output::Store(batch))
    }

    /// When the store wants to be looked at.
    pub(super) fn saving_deadline(&self) -> Option<Instant> {
        let saving = self.saving.as_ref()?;
        match saving.writing {
            Some(_) => saving.retry_at,
            None => saving.tidy_at.filter(|_| !saving.over),
        }
    }

    /// Everything that is not on its way to the store.
    fn batch(&mut self, now: Instant, tidy: bool) -> Batch {
        let mut batch = Batch::default();
        let closed = self.closed.clone();
        let record = self.record(now);
        let Some(saving) = &mut self.saving else { return batch };
        if let Some(old) = saving.old.take() {
            batch.remove(old.clone(), records::after(&old));
        }
        let prefix = saving.prefix.clone();
        if closed.as_ref().is_some_and(|reason| !keeps(reason)) {
            batch.remove(prefix.clone(), records::after(&prefix));
            // A peer that returns is to hear that it was closed, and not that it is unknown.
            if record.closed {
                batch.put(key(&prefix, Kind::Session, 0, 0), record.encode());
            }
            saving.over = true;
            return batch;
        }
        let mut untidy = false;
        let same = |known: &SessionRecord| SessionRecord { at: known.at, ..record.clone() } == *known;
        if !saving.record.as_ref().is_some_and(same) {
            batch.put(key(&prefix, Kind::Session, 0, 0), record.encode());
            saving.record = Some(record);
            if saving.gate == Gate::Shut {
                saving.gate = Gate::Opening;
            }
        }
        let gone: Vec<_> =
            saving.channels.keys().copied().filter(|id| !self.channels.contains_key(id)).collect();
        for id in gone {
            saving.channels.remove(&id);
            for kind in [Kind::Channel, Kind::Cursor, Kind::Base, Kind::Chunk, Kind::Gap] {
                batch.remove(key(&prefix, kind, id.0, 0), records::after_half(&prefix, kind, id.0));
            }
        }
        for (id, channel) in &mut self.channels {
            let record = ChannelRecord {
                label: channel.label.clone(),
                lossy: channel.lossy,
                peer_half: channel.peer_half,
                closed: channel.closed,
                transmitted: channel.outbox.transmitted_before(),
            };
            if saving.channels.get(id) != Some(&record) {
                batch.put(key(&prefix, Kind::Channel, id.0, 0), record.encode());
                saving.channels.insert(*id, record);
                channel.outbox.note_named();
            }
            untidy |= channel.outbox.submit(&mut batch, &prefix, saving.clock, tidy);
            if let Some((consumed, ended)) = channel.inbox.as_mut().and_then(Inbox::submit) {
                let value = records::put_cursor(consumed, ended);
                batch.put(key(&prefix, Kind::Cursor, id.0, 0), value);
            }
        }
        if untidy {
            saving.tidy_at.get_or_insert(now + TIDY);
        }
        batch
    }

    fn record(&self, now: Instant) -> SessionRecord {
        let (target, at) = match &self.saving {
            Some(saving) => (saving.target.clone(), saving.clock.millis(now)),
            None => (Bytes::new(), 0),
        };
        let told = matches!(self.closed, Some(CloseReason::Local | CloseReason::Peer));
        SessionRecord {
            role: self.role,
            peer: self.peer,
            secret: self.secret.clone(),
            confirmed: self.confirmed,
            closed: told && self.role == Role::Acceptor,
            live: self.linked,
            peer_max_message: self.peer_max_message,
            last_half: self.last_half,
            last_peer_half: self.last_peer_half,
            at,
            target,
        }
    }

    /// The batch under way is in the store, or is not.
    pub(crate) fn handle_stored(&mut self, now: Instant, result: Result<(), StoreError>) {
        let Some(saving) = &mut self.saving else { return };
        match result {
            Ok(()) => {
                saving.writing = None;
                saving.retry_at = None;
                if saving.gate == Gate::Opening {
                    saving.gate = Gate::Open;
                }
                // Something may have come up that the handshake has to wait for.
                saving.dirty = true;
                if saving.failed.take().is_some() {
                    self.event(ConnectionEvent::StoreRecovered);
                }
                let mut heard = false;
                for channel in self.channels.values_mut() {
                    let stored = channel.outbox.handle_stored();
                    let moved = channel.inbox.as_mut().is_some_and(Inbox::handle_stored);
                    heard |= moved;
                    if stored || moved {
                        channel.signals.settled.notify_waiters();
                    }
                }
                if let Some(path) = self.path.as_mut().filter(|_| heard) {
                    path.ack_now = true;
                }
            }
            Err(error) => self.store_failed(now, error),
        }
    }

    fn store_failed(&mut self, now: Instant, error: StoreError) {
        let Some(saving) = &mut self.saving else { return };
        saving.retry_at = Some(now + RETRY);
        let first = saving.failed.replace(error.clone()).is_none();
        if self.closed.is_some() || self.detaching {
            tracing::warn!(session = %self.id, %error, "a session could not be saved at its end");
            // Nobody is there to wait for a better disk.
            self.saving = None;
            if self.closed.is_none() {
                self.finish(CloseReason::Store(error));
            }
            return;
        }
        if !first {
            return;
        }
        let goes_on = self.config.on_store_failure == StoreFailure::GoOnInMemory;
        self.event(ConnectionEvent::StoreFailed { error, goes_on });
        if goes_on {
            self.saving = None;
            self.forsaken = true;
            for channel in self.channels.values_mut() {
                channel.outbox.keep_no_more();
                if let Some(inbox) = &mut channel.inbox {
                    inbox.keep_no_more();
                }
            }
            if let Some(path) = &mut self.path {
                path.ack_now = true;
            }
        }
        for channel in self.channels.values() {
            channel.signals.wake_all();
        }
    }

    /// Why no message is accepted: the store does not take it.
    pub(super) fn store_failure(&self) -> Option<SendError> {
        let failed = self.saving.as_ref()?.failed.clone()?;
        Some(SendError::Store(failed))
    }

    /// Whether nothing is left to be written.
    pub(crate) fn is_saved(&self) -> bool {
        self.saving.as_ref().is_none_or(|saving| saving.writing.is_none() && !saving.dirty)
    }

    /// What became of the storing of a message.
    pub(crate) fn storing(&self, id: ChannelId, seq: u64) -> Option<Result<(), SendError>> {
        let outbox = self.channels.get(&id).map(|channel| &channel.outbox);
        let dropped = outbox.is_some_and(|outbox| matches!(outbox.fate(seq), Fate::Dropped(_)));
        if !dropped && !self.forsaken && outbox.is_some_and(|outbox| outbox.is_stored(seq)) {
            return Some(Ok(()));
        }
        let fate = self.fate(id, seq);
        if fate.is_none() && self.forsaken { Some(Err(SendError::NotStored)) } else { fate }
    }

    /// Whether a restart would not bring back what was received up to `seq`.
    pub(crate) fn is_committed(&self, id: ChannelId, seq: u64) -> bool {
        let inbox = self.channels.get(&id).and_then(|channel| channel.inbox.as_ref());
        self.closed.is_some() || inbox.is_none_or(|inbox| inbox.durable() >= seq)
    }

    /// The records of a session that was lost go, and those of its successor begin.
    pub(super) fn save_anew(&mut self) {
        let Some(saving) = &mut self.saving else { return };
        let old = std::mem::replace(&mut saving.prefix, records::session_prefix(&saving.identity, self.id));
        saving.old.get_or_insert(old);
        // What is being written belongs to the old one; it is removed with it.
        saving.record = None;
        saving.channels.clear();
        saving.dirty = true;
        self.hold();
        for channel in self.channels.values_mut() {
            channel.outbox.keep();
        }
    }

    // -------------------------------------------------------------- leaving

    /// Leaves without closing: the session goes on where it stopped when it is resumed. Without
    /// a store there is nothing to resume, and the peer gives it up in its own time.
    pub(crate) fn detach(&mut self) {
        if self.closed.is_some() || self.detaching {
            return;
        }
        self.changed = true;
        if self.saving.is_none() {
            return self.finish(CloseReason::Detached);
        }
        self.detaching = true;
        self.touch();
        for channel in self.channels.values() {
            channel.signals.wake_all();
        }
    }

    /// What was taken and not delivered, once the session has ended or begun anew.
    pub(crate) fn take_undelivered(&mut self) -> Vec<Undelivered> {
        let mut undelivered = std::mem::take(&mut self.undelivered);
        // What a restart brings back is not given away as well.
        let kept = self.is_kept() && self.closed.as_ref().is_some_and(keeps);
        if self.closed.is_some() && !kept {
            for channel in self.channels.values_mut() {
                let label = channel.label.to_string();
                undelivered.extend(channel.outbox.give_back().into_iter().map(|(message, sent)| {
                    Undelivered { label: label.clone(), message, may_have_arrived: sent }
                }));
            }
        }
        undelivered
    }
}

/// Whether a session that ended so goes on after a restart.
pub(super) fn keeps(reason: &CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::Detached
            | CloseReason::Shutdown
            | CloseReason::Unreachable { .. }
            | CloseReason::Refused(_)
            | CloseReason::Store(_)
    )
}
