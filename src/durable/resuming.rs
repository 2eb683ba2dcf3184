//! Saved sessions that go on: found in the store, and taken by one connection or service at a time.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::core::{Role, SavedSession, Session, SessionId, identity_prefix};
use crate::collections::BTreeSet;
use crate::config::ConnectionConfig;
use crate::identity::Identity;
use crate::runtime;
use crate::store::{Store, StoreError};

/// The saved sessions of one identity.
pub(crate) struct Resuming {
    identity: Identity,
    /// Until the client is shut down.
    store: Mutex<Option<Arc<dyn Store>>>,
    /// Those that go on in this process.
    taken: Arc<Mutex<BTreeSet<SessionId>>>,
}

/// Sessions that nobody else may take until this is dropped.
#[must_use]
pub(crate) struct Taken {
    ids: Vec<SessionId>,
    among: Arc<Mutex<BTreeSet<SessionId>>>,
}

impl Resuming {
    pub(crate) fn new(identity: Identity, store: Option<Arc<dyn Store>>) -> Self {
        Self { identity, store: Mutex::new(store), taken: Arc::default() }
    }

    pub(crate) fn store(&self) -> Option<Arc<dyn Store>> {
        self.store.lock().expect("no panic while locked").clone()
    }

    /// Lets go of the store, so that it is free for another client though handles of this one are
    /// still about.
    pub(crate) fn release(&self) {
        *self.store.lock().expect("no panic while locked") = None;
    }

    /// Takes the sessions of one role and target that nobody has, the oldest first; of the
    /// dialing side's only the first.
    pub(crate) fn take(&self, role: Role, target: &[u8]) -> Result<(Vec<SavedSession>, Taken), StoreError> {
        let mut taken = Taken { ids: Vec::new(), among: self.taken.clone() };
        let Some(store) = self.store() else { return Ok((Vec::new(), taken)) };
        let records = store.load(&identity_prefix(&self.identity.public_key()))?;
        let (mut sessions, bad) = SavedSession::of(records, role, target);
        for (id, error) in bad {
            tracing::error!(session = %id, error = error.0, "a saved session cannot be read; it is left as it is");
        }
        let mut all = self.taken.lock().expect("no panic while locked");
        sessions.retain(|session| !all.contains(&session.id));
        if role == Role::Dialer {
            // One connection takes one; the oldest has waited longest.
            sessions.truncate(1);
        }
        taken.ids = sessions.iter().map(|session| session.id).collect();
        all.extend(taken.ids.iter().copied());
        drop(all);
        Ok((sessions, taken))
    }

    /// The dialing side's saved session of a target, or a new one; and why it cannot be saved.
    pub(crate) fn dial(
        &self,
        target: Bytes,
        config: ConnectionConfig,
        seed: u64,
    ) -> (Session, Option<Taken>, Option<StoreError>) {
        let now = runtime::now();
        let new = |config| Session::dialer(self.identity.clone(), config, now, seed);
        if self.store().is_none() {
            return (new(config), None, None);
        }
        let (saved, taken) = match self.take(Role::Dialer, &target) {
            Ok((mut saved, taken)) => (saved.pop(), taken),
            Err(error) => return (new(config), None, Some(error)),
        };
        let clock = runtime::wall_clock();
        if let Some(saved) = saved {
            let id = saved.id;
            match Session::restore(self.identity.clone(), config.clone(), saved, clock, now, seed) {
                Ok(session) => return (session, Some(taken), None),
                Err(error) => {
                    tracing::error!(session = %id, error = error.0, "a saved session cannot be read; it is left as it is");
                    let problem = format!("session {id}: {}", error.0);
                    let error = StoreError::Corrupt { path: "the store".into(), problem };
                    taken.for_good();
                    return (new(config), None, Some(error));
                }
            }
        }
        let mut session = new(config);
        session.keep(target, clock);
        (session, None, None)
    }
}

impl Taken {
    /// Nobody in this process finds them any more.
    fn for_good(mut self) {
        self.ids.clear();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut among = self.among.lock().expect("no panic while locked");
        self.ids.iter().for_each(|id| _ = among.remove(id));
    }
}
