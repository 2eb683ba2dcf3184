//! The channels of a session: opened, accepted, joined to the peer's halves, ended.

use std::sync::Arc;

use super::channel::{Channel, ChannelId, Signals};
use super::inbox::Inbox;
use super::session::{Output, Session};
use super::wire::{GapCause, MAX_LABEL};
use crate::config::{ChannelConfig, QueueConfig};
use crate::durable::events::ChannelEvent;
use crate::error::{ChannelError, Misbehaviour};
use crate::link::LossyConfig;
use crate::message::Utf8Bytes;

impl Session {
    /// Opens a channel, or takes the one that the peer opened under this label.
    pub(crate) fn open(&mut self, label: &str, config: ChannelConfig) -> Result<ChannelId, ChannelError> {
        if let Some(reason) = &self.closed {
            return Err(ChannelError::Closed(reason.clone()));
        }
        if let Some(reason) = self.leaving() {
            return Err(ChannelError::Closed(reason));
        }
        if label.is_empty() || label.len() > MAX_LABEL {
            return Err(ChannelError::BadLabel(label.len()));
        }
        let queue = config.queue.unwrap_or_else(|| self.config.queue.clone());
        if let Some(&id) = self.by_label.get(&Utf8Bytes::from(label))
            && let Some(channel) = self.channels.get_mut(&id)
        {
            if channel.claimed {
                return Err(ChannelError::AlreadyOpen(label.to_owned()));
            }
            if channel.lossy != config.lossy {
                return Err(ChannelError::OtherKind(label.to_owned()));
            }
            channel.claimed = true;
            channel.queue = queue;
            channel.priority = config.priority;
            self.incoming.retain(|waiting| *waiting != id);
            self.changed = true;
            return Ok(id);
        }
        // Half of what a peer tolerates, since it may open as many at the same time.
        if self.live_channels() >= self.config.max_channels {
            return Err(ChannelError::TooMany(self.config.max_channels));
        }
        let id = self.insert(label.into(), config.lossy, queue);
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.claimed = true;
            channel.priority = config.priority;
        }
        self.open_lossy(id);
        self.changed = true;
        self.touch();
        Ok(id)
    }

    /// Channels that count against the limit. One that the peer has ended and the application
    /// still holds is the application's own business.
    pub(super) fn live_channels(&self) -> usize {
        self.channels.values().filter(|channel| !(channel.claimed && channel.is_over())).count()
    }

    /// Whether a channel is of the lossy kind.
    pub(crate) fn is_lossy(&self, id: ChannelId) -> bool {
        self.channels.get(&id).is_some_and(|channel| channel.lossy.is_some())
    }

    pub(super) fn insert(
        &mut self,
        label: Utf8Bytes,
        lossy: Option<LossyConfig>,
        queue: QueueConfig,
    ) -> ChannelId {
        self.last_half += 1;
        let id = ChannelId(self.last_half);
        let mut channel = Channel::new(id, label.clone(), lossy, queue);
        if self.saving.is_some() {
            channel.outbox.keep();
        }
        self.channels.insert(id, channel);
        self.by_label.insert(label, id);
        id
    }

    /// The peer opened a half-channel: it belongs to the channel of that label, or makes one.
    pub(super) fn bind(
        &mut self,
        label: &Utf8Bytes,
        lossy: Option<LossyConfig>,
    ) -> Result<ChannelId, Misbehaviour> {
        // A channel closed here before the peer could answer still owns the label for the peer.
        let orphan = |channel: &Channel| channel.label == *label && channel.inbox.is_none();
        let closing = self.channels.iter().find(|(_, channel)| channel.closed && orphan(channel));
        if let Some((id, _)) = closing {
            return Ok(*id);
        }
        match self.by_label.get(label) {
            Some(id) if self.channels.get(id).is_some_and(|channel| channel.inbox.is_none()) => Ok(*id),
            Some(_) => Err(Misbehaviour::DuplicateLabel),
            // Both sides may have opened all they are allowed to before they heard of the other's.
            None if self.live_channels() >= self.config.max_channels.saturating_mul(2) => {
                Err(Misbehaviour::TooManyChannels(self.config.max_channels))
            }
            None => {
                let queue = self.config.queue.clone();
                let id = self.insert(label.clone(), lossy, queue);
                self.incoming.push_back(id);
                self.accepts.notify_waiters();
                Ok(id)
            }
        }
    }

    /// The next channel that the peer opened.
    pub(crate) fn accept(&mut self) -> Option<ChannelId> {
        let id = self.incoming.pop_front()?;
        self.channels.get_mut(&id)?.claimed = true;
        Some(id)
    }

    pub(crate) fn label(&self, id: ChannelId) -> Option<Utf8Bytes> {
        self.channels.get(&id).map(|channel| channel.label.clone())
    }

    pub(crate) fn signals(&self, id: ChannelId) -> Option<Arc<Signals>> {
        self.channels.get(&id).map(|channel| channel.signals.clone())
    }

    /// Ends a channel after what is queued; what arrives from now on is dropped.
    pub(crate) fn close_channel(&mut self, id: ChannelId) {
        // A session that is left goes on after a restart, with its channels.
        if self.detaching || self.is_kept() && self.closed.as_ref().is_some_and(super::saving::keeps) {
            return;
        }
        let Some(channel) = self.channels.get_mut(&id) else { return };
        if channel.closed {
            return;
        }
        channel.closed = true;
        let label = channel.label.clone();
        if let Some(inbox) = &mut channel.inbox {
            inbox.discard();
        }
        channel.outbox.end();
        channel.signals.wake_all();
        channel.signals.events.close(ChannelEvent::Closed);
        if self.by_label.get(&label) == Some(&id) {
            self.by_label.remove(&label);
        }
        self.changed = true;
        self.reap(id);
    }

    /// The peer ended the channel: nothing more can be sent on it.
    pub(super) fn handle_ended(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let label = channel.label.clone();
        channel.outbox.drop_all(GapCause::Closed);
        channel.outbox.end();
        channel.signals.wake_all();
        if !channel.closed {
            channel.signals.events.close(ChannelEvent::Closed);
        }
        if self.by_label.get(&label) == Some(&id) {
            self.by_label.remove(&label);
        }
        self.reap(id);
    }

    /// Forgets a channel that both sides have ended, and whose messages were read.
    pub(super) fn reap(&mut self, id: ChannelId) {
        self.touch();
        let Some(channel) = self.channels.get_mut(&id) else { return };
        // Never announced: the peer has not heard of it, and need not.
        if channel.is_over() && !channel.outbox.was_announced() && channel.outbox.waiting().messages == 0 {
            let unheard = channel.inbox.is_none() || channel.inbox.as_ref().is_some_and(Inbox::is_ended);
            if unheard {
                channel.outbox.forget_all();
            }
        }
        // The acknowledgement of the end must go out before the half is forgotten.
        let told = channel.inbox.as_mut().is_none_or(|inbox| inbox.is_told());
        if channel.is_finished() && told && (channel.closed || !channel.claimed) {
            let lossy = channel.lossy.is_some();
            let half = channel.inbox.as_ref().map(|inbox| inbox.half);
            self.channels.remove(&id);
            self.incoming.retain(|waiting| *waiting != id);
            if let Some(half) = half {
                self.by_half.remove(&half);
            }
            if lossy && let Some(link) = self.path.as_ref().map(|path| path.id) {
                let streams = [Some(self.stream(id.0, true)), half.map(|half| self.stream(half, false))];
                let close = streams.into_iter().flatten().map(|stream| Output::CloseLossy { link, stream });
                self.outputs.extend(close);
            }
        }
    }
}
