//! What applications do at either side.

use super::*;
use crate::config::ChannelConfig;
use crate::durable::SendOptions;
use crate::durable::events::ChannelEvent;
use crate::error::{CloseReason, SendError};
use crate::message::Message;

impl Pair {
    pub fn open(&mut self, side: Side, label: &str) -> ChannelId {
        self.open_with(side, label, ChannelConfig::default())
    }

    pub fn open_with(&mut self, side: Side, label: &str, config: ChannelConfig) -> ChannelId {
        let id = self.session(side).open(label, config).expect("a new channel");
        self.drain(side);
        id
    }

    /// A channel that both sides have open under one label.
    pub fn channel(&mut self, label: &str) -> (ChannelId, ChannelId) {
        (self.open(Dialer, label), self.open(Acceptor, label))
    }

    pub fn send(&mut self, side: Side, channel: ChannelId, message: impl Into<Message>) -> Option<u64> {
        self.send_with(side, channel, message, &SendOptions::new())
    }

    pub fn send_with(
        &mut self,
        side: Side,
        channel: ChannelId,
        message: impl Into<Message>,
        options: &SendOptions,
    ) -> Option<u64> {
        let now = self.now;
        let terms = options.terms(now).expect("good options");
        let sent = self.session(side).send(channel, message.into(), &terms, now);
        self.drain(side);
        sent.ok()?.ok()
    }

    /// Like the handle's `recv`: asking for the next message acknowledges the one before.
    pub fn recv(&mut self, side: Side, channel: ChannelId) -> Option<Message> {
        let now = self.now;
        let end = self.end(side);
        let session = end.session.as_mut()?;
        let reader = end.readers.entry(channel).or_default();
        let consumed = session.consumed(channel);
        if let (Some(last), Some(consumed)) = (reader.last.take(), &consumed)
            && consumed.mark(last)
        {
            session.handle_progress(now, channel);
        }
        if reader.batch.is_empty() {
            session.take(channel, &mut reader.batch);
        }
        let next = reader.batch.pop_front();
        if let Some(delivery) = &next {
            reader.last = Some((delivery.seq, cost(&delivery.message)));
        }
        self.drain(side);
        next.map(|delivery| delivery.message)
    }

    /// Acknowledges what was received last, without asking for more.
    pub fn acknowledge(&mut self, side: Side, channel: ChannelId) {
        let now = self.now;
        let end = self.end(side);
        let Some(session) = &mut end.session else { return };
        if let Some(last) = end.readers.entry(channel).or_default().last.take()
            && let Some(consumed) = session.consumed(channel)
        {
            consumed.mark(last);
            session.handle_consumed(now, true);
        }
        self.drain(side);
    }

    pub fn recv_all(&mut self, side: Side, channel: ChannelId) -> Vec<Message> {
        std::iter::from_fn(|| self.recv(side, channel)).collect()
    }

    pub fn close(&mut self, side: Side) {
        let now = self.now;
        self.session(side).close(now);
        self.drain(side);
    }

    pub fn close_channel(&mut self, side: Side, channel: ChannelId) {
        self.session(side).close_channel(channel);
        self.drain(side);
    }

    pub fn accept(&mut self, side: Side) -> Option<ChannelId> {
        self.session(side).accept()
    }

    /// Which message was acknowledged, or why it will not be; `None` while it is open.
    pub fn fate(&mut self, side: Side, channel: ChannelId, seq: u64) -> Option<Result<(), SendError>> {
        self.session(side).fate(channel, seq)
    }

    pub fn close_reason(&mut self, side: Side) -> Option<CloseReason> {
        self.session(side).close_reason().cloned()
    }

    pub fn channel_events(&mut self, side: Side, channel: ChannelId) -> Events<ChannelEvent> {
        self.session(side).signals(channel).expect("it is open").events.subscribe()
    }
}
