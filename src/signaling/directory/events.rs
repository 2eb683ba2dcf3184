//! What is known of each key: what it is to be told, whether it listens, and how much it asks.

use std::collections::HashSet;

use super::limits::millis;
use super::*;
use crate::signaling::auth::{Stamp, TOLERANCE_MS};
use crate::signaling::{Cursor, Event};

/// How long a nonce is remembered: until the request that had it is stale by any clock that was
/// accepted.
pub(super) const NONCE_FOR: u64 = 2 * TOLERANCE_MS + 1;

/// One key.
#[derive(Debug, Default)]
pub(super) struct KeyState {
    pub(super) names: usize,
    pub(super) services: BTreeSet<ServiceUuid>,
    /// Offers taken and not yet answered.
    pub(super) taken: usize,
    pub(super) waiting: usize,
    streams: usize,
    heard_at: u64,
    /// Thousandths of a request that may still come now.
    allowance: u64,
    nonces: HashSet<[u8; 16]>,
    /// The same, the first to be forgotten first.
    forget: VecDeque<(u64, [u8; 16], bool)>,
    events: VecDeque<Entry>,
    event_bytes: usize,
    /// Whether a timer for the oldest event is set.
    events_armed: bool,
    /// The highest event that went unread.
    lost: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    until: u64,
    bytes: usize,
    event: Event,
}

#[cfg(test)]
impl KeyState {
    /// The events it would be told.
    pub(super) fn told_events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().map(|entry| &entry.event)
    }

    /// Everything but how much it asked and when; nothing if there is nothing.
    pub(super) fn told(&self) -> Option<String> {
        let Self { names, services, taken, waiting, events, .. } = self;
        let nothing = names + services.len() + taken + waiting + events.len() == 0;
        (!nothing).then(|| format!("{names} {services:?} {taken} {waiting} {events:?}"))
    }
}

/// An open event stream: whose, and what it was shown. Close it by [`Directory::unlisten`].
#[derive(Debug, PartialEq)]
pub struct Listener {
    key: PublicKey,
    after: u64,
    /// To be said before all else.
    first: Option<Event>,
}

impl Listener {
    /// Whose events it shows.
    pub fn key(&self) -> PublicKey {
        self.key
    }
}

impl Directory {
    /// Lets a request in, or not: it must be new, and its key must not ask too much. Returns
    /// whether the key was absent until now.
    pub(super) fn admit(&mut self, stamp: &Stamp) -> Result<bool, SignalingError> {
        let per_minute = u64::from(self.limits.requests_per_minute.max(1));
        let full = per_minute * 1000;
        match self.keys.get(&stamp.key) {
            Some(state) => {
                if state.nonces.contains(&stamp.nonce) {
                    return Err(refuse(ErrorCode::Replayed, "the request was seen before"));
                }
                // Thousandths a millisecond: per_minute / 60,000 requests.
                let gained = (self.now - state.heard_at).saturating_mul(per_minute) / 60;
                if state.allowance.saturating_add(gained) < 1000 {
                    let missing = 1000 - state.allowance - gained;
                    let wait = std::time::Duration::from_millis((missing * 60).div_ceil(per_minute));
                    let message = format!("a key makes at most {per_minute} requests a minute");
                    return Err(refuse(ErrorCode::Quota, message).retry_after(wait));
                }
            }
            None if self.keys.len() >= self.limits.keys => {
                return Err(refuse(ErrorCode::Busy, "the server knows too many keys"));
            }
            None => {}
        }
        if self.nonces >= self.limits.nonces {
            return Err(refuse(ErrorCode::Busy, "the server has had too many requests"));
        }
        let now = self.now;
        let was_present = self.is_present(stamp.key);
        self.nonces += 1;
        let state = self.state(stamp.key);
        let gained = (now - state.heard_at).saturating_mul(per_minute) / 60;
        state.allowance = state.allowance.saturating_add(gained).min(full).saturating_sub(1000);
        state.heard_at = now;
        state.nonces.insert(stamp.nonce);
        state.forget.push_back((now + NONCE_FOR, stamp.nonce, false));
        Ok(!was_present)
    }

    /// Remembers over a restart that this request was seen, because it changed what is kept over one.
    pub(super) fn remember_nonce(&mut self, stamp: &Stamp) {
        let Some(state) = self.keys.get_mut(&stamp.key) else { return };
        if let Some((until, nonce, kept)) = state.forget.back_mut()
            && *nonce == stamp.nonce
        {
            *kept = true;
            self.changes.push_back(Change::put_nonce(&stamp.key, nonce, *until));
        }
    }

    /// Takes a nonce over from an earlier run.
    pub(super) fn restore_nonce(&mut self, key: PublicKey, nonce: [u8; 16], until: u64) {
        self.nonces += 1;
        let state = self.state(key);
        if state.nonces.insert(nonce) {
            // Records come in no order, and the queue must have one.
            let at = state.forget.partition_point(|(other, ..)| *other <= until);
            state.forget.insert(at, (until, nonce, true));
        }
    }

    /// Whether a host can be expected to know its offers and to read an answer soon.
    pub(super) fn is_present(&self, key: PublicKey) -> bool {
        let absent_after = millis(self.limits.absent_after);
        self.keys.get(&key).is_some_and(|state| state.streams > 0 || self.now - state.heard_at < absent_after)
    }

    /// The host is back: whoever waited may have what is in its pools.
    pub(super) fn serve_all(&mut self, key: PublicKey) {
        let services: Vec<_> =
            self.keys.get(&key).into_iter().flat_map(|state| &state.services).copied().collect();
        for uuid in services {
            self.serve(uuid);
        }
    }

    /// What is known of a key, which it becomes worth knowing by this.
    pub(super) fn state(&mut self, key: PublicKey) -> &mut KeyState {
        if !self.keys.contains_key(&key) {
            // It may have been known before, and have had events since.
            let state = KeyState {
                lost: self.forgotten_events,
                heard_at: self.now,
                allowance: u64::from(self.limits.requests_per_minute.max(1)) * 1000,
                ..KeyState::default()
            };
            self.keys.insert(key, state);
            self.timers.insert((self.now + NONCE_FOR, Timer::Key(key)));
        }
        self.keys.entry(key).or_default()
    }

    /// Forgets old nonces, and the key itself if nothing else is known of it.
    pub(super) fn handle_key_check(&mut self, key: PublicKey) {
        let Some(state) = self.keys.get_mut(&key) else { return };
        while let Some((until, nonce, kept)) = state.forget.front().copied()
            && until <= self.now
        {
            state.forget.pop_front();
            state.nonces.remove(&nonce);
            self.nonces -= 1;
            if kept {
                self.changes.push_back(Change::remove_nonce(&key, &nonce));
            }
        }
        let idle = state.names + state.services.len() + state.taken + state.waiting + state.streams == 0
            && state.forget.is_empty()
            && state.events.is_empty();
        if idle {
            self.forgotten_events = self.forgotten_events.max(state.lost);
            self.keys.remove(&key);
        } else {
            self.timers.insert((self.now + NONCE_FOR, Timer::Key(key)));
        }
    }

    /// Opens the event stream of the request's author. The request must be
    /// [`Request::Events`].
    ///
    /// # Errors
    /// Those of a request: `replayed`, `quota`, `busy`; `malformed` if it is another request.
    pub fn listen(&mut self, now: u64, request: &Verified) -> Result<Listener, SignalingError> {
        self.expire(now);
        let Verified { request: Request::Events { cursor }, stamp: Some(stamp) } = request else {
            return Err(refuse(ErrorCode::Malformed, "this is no signed request for events"));
        };
        let returned = self.admit(stamp)?;
        let most = self.limits.streams_per_key;
        let state = self.state(stamp.key);
        if state.streams >= most {
            return Err(refuse(ErrorCode::Quota, format!("a key has at most {most} event streams")));
        }
        state.streams += 1;
        let mut listener = Listener { key: stamp.key, after: state.lost, first: Some(Event::Opened) };
        if let Some(cursor) = cursor {
            self.seek(&mut listener, cursor);
        }
        // Who returns without a cursor has started anew and knows nothing of its old offers.
        if returned && cursor.is_none() {
            self.drop_pools(stamp.key);
        }
        self.serve_all(stamp.key);
        Ok(listener)
    }

    /// Shows the listener what came after `cursor`, as if it had been opened with it.
    pub fn seek(&self, listener: &mut Listener, cursor: &Cursor) {
        let lost = self.keys.get(&listener.key).map_or(0, |state| state.lost);
        (listener.after, listener.first) = match position(self.instance, cursor) {
            Some(after) if after >= lost && after <= self.last_event => (after, None),
            _ => (lost, Some(Event::Missed)),
        };
    }

    /// Closes an event stream.
    pub fn unlisten(&mut self, now: u64, listener: Listener) {
        self.expire(now);
        if let Some(state) = self.keys.get_mut(&listener.key) {
            state.streams = state.streams.saturating_sub(1);
            // It was there until now.
            state.heard_at = self.now;
        }
    }

    /// What the listener has not been shown yet: at most 64 events, the oldest first.
    pub fn read_events(&self, listener: &mut Listener) -> Vec<(Cursor, Event)> {
        let cursor = |number: u64| Cursor(format!("{:016x}-{number}", self.instance));
        let mut batch = Vec::new();
        let state = self.keys.get(&listener.key);
        let lost = state.map_or(0, |state| state.lost);
        if listener.after < lost {
            listener.after = lost;
            listener.first = Some(Event::Missed);
        }
        if let Some(first) = listener.first.take() {
            batch.push((cursor(listener.after), first));
        }
        let events = state.into_iter().flat_map(|state| &state.events);
        for entry in events.filter(|entry| entry.number > listener.after).take(64) {
            batch.push((cursor(entry.number), entry.event.clone()));
        }
        if let Some((Cursor(last), _)) = batch.last()
            && let Some(number) = last.split_once('-').and_then(|(_, number)| number.parse().ok())
        {
            listener.after = number;
        }
        batch
    }

    /// Whether the listener has something to read.
    pub fn has_events(&self, listener: &Listener) -> bool {
        listener.first.is_some()
            || self.keys.get(&listener.key).is_some_and(|state| {
                state.lost > listener.after
                    || state.events.back().is_some_and(|entry| entry.number > listener.after)
            })
    }

    /// Keeps an event for a key until it is read or too old.
    pub(super) fn push(&mut self, key: PublicKey, event: Event) {
        let until = self.now.saturating_add(millis(self.limits.event_ttl));
        let (most, most_bytes) = (self.limits.events_per_key, self.limits.event_bytes_per_key);
        self.last_event += 1;
        let number = self.last_event;
        let state = self.state(key);
        // How a pool stood earlier is of no interest once it is known how it stands now.
        if let Event::OfferWanted { uuid, .. } = &event {
            let superseded = |entry: &Entry| matches!(&entry.event, Event::OfferWanted { uuid: other, .. } if other == uuid);
            if let Some(at) = state.events.iter().rposition(superseded)
                && let Some(entry) = state.events.remove(at)
            {
                state.event_bytes -= entry.bytes;
            }
        }
        let bytes = size(&event);
        state.event_bytes += bytes;
        state.events.push_back(Entry { number, until, bytes, event });
        while (state.events.len() > most || state.event_bytes > most_bytes)
            && let Some(entry) = state.events.pop_front()
        {
            state.event_bytes -= entry.bytes;
            state.lost = entry.number;
        }
        let listens = state.streams > 0;
        if !std::mem::replace(&mut state.events_armed, true) {
            self.timers.insert((until, Timer::Events(key)));
        }
        if listens {
            self.woken.insert(key);
        }
    }

    /// The next key with an open stream that has something new to read.
    pub fn poll_woken(&mut self) -> Option<PublicKey> {
        self.woken.pop_first()
    }

    pub(super) fn handle_old_events(&mut self, key: PublicKey) {
        let now = self.now;
        let Some(state) = self.keys.get_mut(&key) else { return };
        while let Some(entry) = state.events.front()
            && entry.until <= now
        {
            state.event_bytes -= entry.bytes;
            state.lost = entry.number;
            state.events.pop_front();
        }
        match state.events.front() {
            Some(entry) => {
                self.timers.insert((entry.until, Timer::Events(key)));
            }
            None => state.events_armed = false,
        }
    }
}

/// The event that a cursor of this run stands after.
fn position(instance: u64, cursor: &Cursor) -> Option<u64> {
    let (run, number) = cursor.0.split_once('-')?;
    (u64::from_str_radix(run, 16).ok()? == instance).then(|| number.parse().ok())?
}

fn size(event: &Event) -> usize {
    128 + match event {
        Event::Answered { sdp, .. } => sdp.len(),
        Event::Candidates { candidates, .. } => candidates.iter().map(|text| text.len() + 24).sum(),
        _ => 0,
    }
}
