//! Queued messages that became too old while there was no link.

use super::channel::ChannelId;
use super::session::Session;
use crate::durable::events::ChannelEvent;
use crate::runtime::Instant;

impl Session {
    /// When the next queued message is too old. Nothing expires while there is a link.
    pub(super) fn expiry(&self) -> Option<Instant> {
        let since = self.down_since?;
        let channels = self.channels.values();
        channels.filter_map(|channel| channel.outbox.expires_at(channel.queue.max_age?, since)).min()
    }

    pub(super) fn expire(&mut self, now: Instant) {
        let Some(since) = self.down_since else { return };
        let ids: Vec<_> = self.channels.keys().copied().collect();
        for id in ids {
            let Some(channel) = self.channels.get_mut(&id) else { continue };
            let Some(max_age) = channel.queue.max_age else { continue };
            let expired = channel.outbox.expire(now, max_age, since, false);
            self.note_expired(id, expired);
        }
    }

    pub(super) fn note_expired(&mut self, id: ChannelId, count: u64) {
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
