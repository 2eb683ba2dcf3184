//! Queued messages that became too old while there was no link, that passed their own deadline, or
//! whose place a newer one took.

use super::channel::{Channel, ChannelId};
use super::session::Session;
use crate::durable::events::ChannelEvent;
use crate::runtime::Instant;

impl Session {
    /// When the next queued message is too old, which none is while there is a link, or passes
    /// its own deadline, which it does with a link as well.
    pub(super) fn expiry(&self) -> Option<Instant> {
        let aged = |channel: &Channel| channel.outbox.expires_at(channel.queue.max_age?, self.down_since?);
        let channels = self.channels.values();
        channels.flat_map(|channel| [aged(channel), channel.outbox.deadline()]).flatten().min()
    }

    /// Whether a message has passed its own deadline.
    pub(super) fn is_expiry_due(&self, now: Instant) -> bool {
        self.channels.values().any(|channel| channel.outbox.deadline().is_some_and(|at| at <= now))
    }

    pub(super) fn expire(&mut self, now: Instant) {
        let since = self.down_since;
        let ids: Vec<_> = self.channels.keys().copied().collect();
        ids.into_iter().for_each(|id| self.expire_channel(id, now, since, false));
    }

    /// `since` is when the link was lost, `resumed` whether the peer has said where it stopped.
    pub(super) fn expire_channel(
        &mut self,
        id: ChannelId,
        now: Instant,
        since: Option<Instant>,
        resumed: bool,
    ) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        let mut expired = channel.outbox.expire_due(now);
        if let (Some(since), Some(max_age)) = (since, channel.queue.max_age) {
            expired += channel.outbox.expire(now, max_age, since, resumed);
        }
        self.note_expired(id, expired);
    }

    pub(super) fn note_superseded(&mut self, id: ChannelId, count: u64) {
        if count == 0 {
            return;
        }
        self.counters.superseded += count;
        if let Some(channel) = self.channels.get(&id) {
            channel.signals.events.publish(ChannelEvent::Superseded { count });
            channel.signals.settled.notify_waiters();
        }
    }

    fn note_expired(&mut self, id: ChannelId, count: u64) {
        if count == 0 {
            return;
        }
        self.counters.expired += count;
        if let Some(channel) = self.channels.get(&id) {
            channel.signals.events.publish(ChannelEvent::Expired { count });
            channel.signals.settled.notify_waiters();
            channel.signals.writable.notify_waiters();
        }
    }
}
