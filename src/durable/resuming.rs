//! Saved sessions that go on: found in the store, and taken by one connection or service at a time.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::core::{BadRecord, Role, SavedSession, Session, SessionId, identity_prefix};
use crate::collections::BTreeSet;
use crate::config::ConnectionConfig;
use crate::identity::Identity;
use crate::runtime::{self, MaybeSend, MaybeSync};
use crate::store::{Store, StoreError};

/// The saved sessions of one identity.
///
/// Behind a trait object, which is made only where there is a store: so a page without one need not load what reads them.
pub(crate) trait Resuming: MaybeSend + MaybeSync {
    /// Where they are kept.
    fn store(&self) -> &Arc<dyn Store>;

    /// Takes the sessions of one role and target that nobody has, the oldest first; of the
    /// dialing side's only the first.
    fn take(&self, role: Role, target: &[u8]) -> Result<(Vec<SavedSession>, Taken), StoreError>;

    /// One that was taken, as a session that goes on.
    fn restore(&self, config: ConnectionConfig, saved: SavedSession, seed: u64)
    -> Result<Session, BadRecord>;

    /// The dialing side's saved session of a target, or a new one; and why it cannot be saved.
    fn dial(
        &self,
        target: Bytes,
        config: ConnectionConfig,
        seed: u64,
    ) -> (Session, Option<Taken>, Option<StoreError>);
}

/// The saved sessions of one identity in a store.
pub(crate) struct InStore {
    identity: Identity,
    store: Arc<dyn Store>,
    /// Those that go on in this process.
    taken: Arc<Mutex<BTreeSet<SessionId>>>,
}

/// Sessions that nobody else may take until this is dropped.
#[must_use]
pub(crate) struct Taken {
    ids: Vec<SessionId>,
    among: Arc<Mutex<BTreeSet<SessionId>>>,
}

impl InStore {
    pub(crate) fn new(identity: Identity, store: Arc<dyn Store>) -> Self {
        Self { identity, store, taken: Arc::default() }
    }
}

impl Resuming for InStore {
    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn take(&self, role: Role, target: &[u8]) -> Result<(Vec<SavedSession>, Taken), StoreError> {
        let mut taken = Taken { ids: Vec::new(), among: self.taken.clone() };
        let records = self.store.load(&identity_prefix(&self.identity.public_key()))?;
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

    fn restore(
        &self,
        config: ConnectionConfig,
        saved: SavedSession,
        seed: u64,
    ) -> Result<Session, BadRecord> {
        Session::restore(self.identity.clone(), config, saved, runtime::wall_clock(), runtime::now(), seed)
    }

    fn dial(
        &self,
        target: Bytes,
        config: ConnectionConfig,
        seed: u64,
    ) -> (Session, Option<Taken>, Option<StoreError>) {
        let now = runtime::now();
        let new = |config| Session::dialer(self.identity.clone(), config, now, seed);
        let (saved, taken) = match self.take(Role::Dialer, &target) {
            Ok((mut saved, taken)) => (saved.pop(), taken),
            Err(error) => return (new(config), None, Some(error)),
        };
        if let Some(saved) = saved {
            let id = saved.id;
            match self.restore(config.clone(), saved, seed) {
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
        session.keep(target, runtime::wall_clock());
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
