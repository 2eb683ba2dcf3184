//! Sessions as a store has them: read from their records, and made to go on.

use bytes::Bytes;

use super::channel::{Channel, ChannelId};
use super::inbox::Inbox;
use super::outbox::Outbox;
use super::records::{self, BadRecord, ChannelRecord, Kind, SessionRecord};
use super::saving::WallClock;
use super::session::{Role, Session};
use super::{Known, SessionId};
use crate::collections::BTreeMap;
use crate::config::ConnectionConfig;
use crate::identity::Identity;
use crate::runtime::Instant;

/// A session as a store has it.
#[derive(Debug)]
pub(crate) struct SavedSession {
    pub(crate) id: SessionId,
    session: SessionRecord,
    channels: BTreeMap<u32, SavedChannel>,
}

#[derive(Debug, Default)]
struct SavedChannel {
    record: Option<ChannelRecord>,
    cursor: Option<(u64, bool)>,
    base: u64,
    chunks: BTreeMap<u64, Bytes>,
    gaps: BTreeMap<u64, Bytes>,
}

impl SavedSession {
    /// The sessions among the records of one identity, in no order; the second part are those that
    /// cannot be read.
    pub(crate) fn read(records: Vec<(Bytes, Bytes)>) -> (Vec<SavedSession>, Vec<(SessionId, BadRecord)>) {
        let mut sessions: BTreeMap<SessionId, Vec<(Bytes, Bytes)>> = BTreeMap::new();
        let mut bad = Vec::new();
        for (key, value) in records {
            match key.get(16..32).and_then(|id| <[u8; 16]>::try_from(id).ok()) {
                Some(id) => sessions.entry(SessionId(id)).or_default().push((key.slice(32..), value)),
                None => bad.push((SessionId([0; 16]), BadRecord("a key that is too short"))),
            }
        }
        let mut good = Vec::new();
        for (id, records) in sessions {
            match Self::assemble(id, records) {
                Ok(session) => good.push(session),
                Err(error) => bad.push((id, error)),
            }
        }
        (good, bad)
    }

    /// Those of one role and target among the records of an identity, the oldest first; the second
    /// part are those that cannot be read.
    pub(crate) fn of(
        records: Vec<(Bytes, Bytes)>,
        role: Role,
        target: &[u8],
    ) -> (Vec<SavedSession>, Vec<(SessionId, BadRecord)>) {
        let (mut sessions, bad) = Self::read(records);
        sessions.retain(|saved| saved.session.role == role && saved.session.target[..] == *target);
        sessions.sort_by_key(|saved| saved.session.at);
        (sessions, bad)
    }

    fn assemble(id: SessionId, records: Vec<(Bytes, Bytes)>) -> Result<Self, BadRecord> {
        let mut session = None;
        let mut channels: BTreeMap<u32, SavedChannel> = BTreeMap::new();
        for (rest, value) in records {
            let (kind, half, seq) = records::split_key(&rest)?;
            if kind == Kind::Session {
                session = Some(SessionRecord::decode(&value)?);
                continue;
            }
            if half == 0 || (seq == 0) == matches!(kind, Kind::Chunk | Kind::Gap) {
                return Err(BadRecord("a number that cannot be"));
            }
            let channel = channels.entry(half).or_default();
            match kind {
                Kind::Session => {}
                Kind::Channel => channel.record = Some(ChannelRecord::decode(&value)?),
                Kind::Cursor => channel.cursor = Some(records::cursor(&value)?),
                Kind::Base => channel.base = records::base(&value)?,
                Kind::Chunk => _ = channel.chunks.insert(seq, value),
                Kind::Gap => _ = channel.gaps.insert(seq, value),
            }
        }
        let session = session.ok_or(BadRecord("a session without its record"))?;
        Ok(Self { id, session, channels })
    }

    /// When it was last written, in milliseconds since 1970.
    pub(crate) fn at(&self) -> u64 {
        self.session.at
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn role(&self) -> Role {
        self.session.role
    }

    /// The peer, if the application closed the session.
    pub(crate) fn closed(&self) -> Option<Known> {
        let peer = self.session.peer.filter(|_| self.session.closed)?;
        Some(Known::Closed { peer })
    }
}

impl Session {
    /// A session as a store had it, on either side.
    pub(crate) fn restore(
        identity: Identity,
        config: ConnectionConfig,
        saved: SavedSession,
        clock: WallClock,
        now: Instant,
        seed: u64,
    ) -> Result<Self, BadRecord> {
        let SavedSession { id, session: record, channels } = saved;
        let mut session = match (record.role, record.peer, &record.secret) {
            (Role::Dialer, peer, secret) => {
                let mut session = Self::dialer(identity, config, now, seed);
                (session.id, session.secret) = (id, secret.clone());
                session.peer = peer.or(session.peer);
                session
            }
            (Role::Acceptor, Some(peer), Some(secret)) => {
                Self::acceptor(identity, peer, id, secret.clone(), config, now, seed)
            }
            (Role::Acceptor, ..) => return Err(BadRecord("a host's session without its peer")),
        };
        session.confirmed = record.confirmed;
        if record.peer_max_message > 0 {
            session.peer_max_message = record.peer_max_message;
        }
        session.last_half = record.last_half;
        session.last_peer_half = record.last_peer_half;
        // There may be a session at the host, which has to be told of a close.
        session.dialing.connected_once = record.secret.is_some();
        (session.restored, session.linked) = (true, false);
        session.keep(record.target.clone(), clock);
        let mut records = BTreeMap::new();
        for (half, saved) in channels {
            let channel_record = saved.record.ok_or(BadRecord("a channel without its record"))?;
            if half > record.last_half {
                return Err(BadRecord("a channel that was never opened"));
            }
            let channel = session.restore_channel(half, channel_record.clone(), saved.cursor, |half| {
                let transmitted = (!record.live).then_some(channel_record.transmitted);
                Outbox::restored(half, saved.base, saved.chunks, saved.gaps, transmitted, clock)
            })?;
            records.insert(channel, channel_record);
        }
        if let Some(saving) = &mut session.saving {
            saving.restore(record, records);
        }
        if session.role == Role::Acceptor {
            session.park(now);
        }
        Ok(session)
    }

    fn restore_channel(
        &mut self,
        half: u32,
        record: ChannelRecord,
        cursor: Option<(u64, bool)>,
        outbox: impl FnOnce(u32) -> Result<Outbox, BadRecord>,
    ) -> Result<ChannelId, BadRecord> {
        let id = ChannelId(half);
        let queue = self.config.queue.clone();
        let mut channel = Channel::new(id, record.label.clone(), record.lossy, queue);
        channel.outbox = outbox(half)?;
        (channel.closed, channel.peer_half) = (record.closed, record.peer_half);
        if let Some((peer_half, first)) = record.peer_half {
            let (consumed, ended) = cursor.unwrap_or((first - 1, false));
            let mut inbox = Inbox::restored(peer_half, consumed, ended);
            if channel.closed {
                inbox.discard();
            }
            channel.inbox = Some(inbox);
            if peer_half > self.last_peer_half || self.by_half.insert(peer_half, id).is_some() {
                return Err(BadRecord("a half that belongs to no channel, or to two"));
            }
        }
        if !channel.is_over() {
            if self.by_label.insert(record.label, id).is_some() {
                return Err(BadRecord("two channels of one label"));
            }
            if channel.inbox.is_some() {
                self.incoming.push_back(id);
            }
        }
        self.channels.insert(id, channel);
        Ok(id)
    }
}
