//! The records of a store.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf as _, Bytes};

use super::identity;
use crate::config::ConnectionConfig;
use crate::durable::core::{Output, SavedSession, Session, WallClock, session_prefix};
use crate::durable::core::{Role, SessionId, Undelivered};
use crate::runtime::Instant;
use crate::store::{Batch, Change};

type Records = BTreeMap<Bytes, Bytes>;

/// Records, each a kind, a half-channel, a number (255: eight bytes of one), and the value with its
/// length in two bytes. A store with them is refused with a word, or its sessions can be restored, used,
/// saved, and restored again as they were.
pub fn records(data: &[u8]) {
    let session = SessionId([4; 16]);
    let prefix = session_prefix(&identity(1).public_key(), session);
    let mut rest = Bytes::copy_from_slice(data);
    let mut records = Records::new();
    while let Some((key, value)) = record(&mut rest) {
        records.insert([&prefix[..], &key].concat().into(), value);
    }
    let (_, bad) = SavedSession::read(records.clone().into_iter().collect());
    assert!(bad.iter().all(|(_, bad)| !bad.0.is_empty()));
    let Some(first) = undelivered(&records) else { return };
    let again = used(&mut records);
    assert_eq!(again.len(), first.len(), "messages are lost or doubled by a restart");
    let saved = undelivered(&records).expect("what we wrote can be read");
    assert_eq!(saved, first, "what is saved is not what was restored");
}

/// One record at the beginning of `rest`, its key after the session's prefix.
fn record(rest: &mut Bytes) -> Option<(Vec<u8>, Bytes)> {
    let (kind, half, seq) = (rest.try_get_u8().ok()?, rest.try_get_u8().ok()?, rest.try_get_u8().ok()?);
    let seq = if seq == 255 { rest.try_get_u64().ok()? } else { seq.into() };
    let length = usize::from(rest.try_get_u16().ok()?).min(rest.len());
    let value = rest.split_to(length);
    let mut key = vec![kind % 7];
    if kind % 7 != 0 {
        key.extend_from_slice(&u32::from(half % 8).to_be_bytes());
    }
    if matches!(kind % 7, 4 | 5) {
        key.extend_from_slice(&seq.to_be_bytes());
    }
    Some((key, value))
}

/// The input that stands for these records of one session.
#[cfg(test)]
pub(super) fn input(records: &Records) -> Vec<u8> {
    let mut input = vec![];
    for (key, value) in records {
        let key = &key[32..];
        let number = |range: std::ops::Range<usize>| key.get(range).map_or(&[0][..], |bytes| bytes);
        input.extend_from_slice(&[key[0], *number(1..5).last().unwrap_or(&0), 255]);
        input.extend_from_slice(key.get(5..13).unwrap_or(&[0; 8]));
        input.extend_from_slice(&(value.len() as u16).to_be_bytes());
        input.extend_from_slice(value);
    }
    input
}

/// A moment that is the same in every run of a process.
pub(super) fn clock() -> WallClock {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    #[allow(clippy::disallowed_methods)] // never compared with the real time
    let start = START.get_or_init(|| Instant::now() + Duration::from_secs(3600));
    WallClock { at: *start, millis: 1_733_404_800_000 }
}

fn restored(records: &Records) -> Option<(Role, Session)> {
    let (sessions, _) = SavedSession::read(records.clone().into_iter().collect());
    let saved = sessions.into_iter().next()?;
    if saved.closed().is_some() {
        return None;
    }
    let (role, clock) = (saved.role(), clock());
    Some((role, Session::restore(identity(1).clone(), config(), saved, clock, clock.at, 1).ok()?))
}

pub(super) fn config() -> ConnectionConfig {
    let mut config = ConnectionConfig::default();
    // Nothing is to expire while the two restarts are compared.
    config.queue.max_age = None;
    config
}

/// What a session made of these records gives back.
fn undelivered(records: &Records) -> Option<Vec<Undelivered>> {
    let (_, mut session) = restored(records)?;
    session.abort(crate::CloseReason::Shutdown);
    let mut messages = session.take_undelivered();
    messages.iter_mut().for_each(|message| message.may_have_arrived = false);
    Some(messages)
}

/// Restores the session, lets it save itself, and leaves it.
fn used(records: &mut Records) -> Vec<Undelivered> {
    let (role, mut session) = restored(records).expect("it was before");
    let now = clock().at;
    if role == Role::Dialer {
        session.start(now);
    }
    save(&mut session, records, now);
    session.detach();
    save(&mut session, records, now);
    assert!(session.is_saved());
    session.take_undelivered()
}

/// Carries out what the session wants of its store.
pub(super) fn save(session: &mut Session, records: &mut Records, now: Instant) {
    for _ in 0..1000 {
        match session.poll_output(now) {
            Output::Store(batch) => {
                apply(records, batch);
                session.handle_stored(now, Ok(()));
            }
            Output::Timeout(_) => return,
            _ => {}
        }
    }
    panic!("the session never comes to rest");
}

fn apply(records: &mut Records, batch: Batch) {
    for change in batch.changes {
        match change {
            Change::Put { key, value } => _ = records.insert(key, value),
            Change::Remove { from, to } => records.retain(|key, _| *key < from || *key >= to),
        }
    }
}
