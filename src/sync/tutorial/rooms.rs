//! Many rooms of one host.

use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::join_all;

use super::error::RoomError;
use super::events::RoomsEvent;
use super::room::{RoomConfig, RoomInfo, TutorialRoom};
use crate::client::Client;
use crate::collections::BTreeMap;
use crate::durable::{EventSource, Events};
use crate::signaling::{ServiceUuid, Username};

/// Opens rooms and keeps account of them: what a site does that gives each of its visitors a room.
///
/// Cheap to clone. The rooms stay open for as long as it lives, or until they expire or are deleted.
///
/// ```no_run
/// # async fn example(client: everlink::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use everlink::tutorial::{RoomConfig, TutorialRooms};
///
/// let rooms = TutorialRooms::new(&client, "alice".parse()?);
/// let room = rooms.create(RoomConfig::default()).await?;
/// println!("{}", room.link("https://example.org"));
/// assert_eq!(rooms.list().len(), 1);
/// assert!(rooms.delete(room.id()).await);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TutorialRooms {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    user: Username,
    rooms: Mutex<BTreeMap<ServiceUuid, TutorialRoom>>,
    opened: std::sync::atomic::AtomicU64,
    events: Arc<EventSource<RoomsEvent>>,
}

/// Figures over all rooms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomsStats {
    /// Rooms that are open.
    pub active: usize,
    /// Rooms that were ever opened.
    pub total: u64,
    /// Members in all of them.
    pub members: usize,
}

impl TutorialRooms {
    /// No rooms yet. They will be services of this user, whose name the client has or takes.
    pub fn new(client: &Client, user: Username) -> Self {
        let events = Arc::new(EventSource::new());
        let inner = Inner { client: client.clone(), user, rooms: Mutex::default(), opened: 0.into(), events };
        Self { inner: Arc::new(inner) }
    }

    fn rooms(&self) -> MutexGuard<'_, BTreeMap<ServiceUuid, TutorialRoom>> {
        let mut rooms = self.inner.rooms.lock().expect("no panic while locked");
        rooms.retain(|_, room| room.info().closed.is_none());
        rooms
    }

    /// Opens a room. Cancel-safe: a dropped future leaves nothing behind.
    ///
    /// # Errors
    /// As of [`TutorialRoom::open`].
    pub async fn create(&self, config: RoomConfig) -> Result<TutorialRoom, RoomError> {
        let (client, user) = (&self.inner.client, self.inner.user.clone());
        let room = TutorialRoom::open_among(client, user, config, Some(self.inner.events.clone())).await?;
        self.inner.events.publish(RoomsEvent::Opened(room.id()));
        self.rooms().insert(room.id(), room.clone());
        self.inner.opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(room)
    }

    /// The room of this id, if it is open.
    pub fn get(&self, id: ServiceUuid) -> Option<TutorialRoom> {
        self.rooms().get(&id).cloned()
    }

    /// The rooms that are open.
    pub fn list(&self) -> Vec<RoomInfo> {
        self.rooms().values().map(TutorialRoom::info).collect()
    }

    /// Closes a room; all its members are told. False if there is none of this id.
    pub async fn delete(&self, id: ServiceUuid) -> bool {
        let room = self.rooms().remove(&id);
        match room {
            Some(room) => {
                room.close().await;
                true
            }
            None => false,
        }
    }

    /// What happens in all of them.
    pub fn events(&self) -> Events<RoomsEvent> {
        self.inner.events.subscribe()
    }

    /// Figures over all of them.
    pub fn stats(&self) -> RoomsStats {
        let rooms = self.rooms();
        RoomsStats {
            active: rooms.len(),
            total: self.inner.opened.load(std::sync::atomic::Ordering::Relaxed),
            members: rooms.values().map(|room| room.members().len()).sum(),
        }
    }

    /// Closes all of them. More can be opened after it.
    pub async fn stop(&self) {
        let rooms: Vec<_> = std::mem::take(&mut *self.rooms()).into_values().collect();
        join_all(rooms.iter().map(TutorialRoom::close)).await;
    }
}

impl std::fmt::Debug for TutorialRooms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TutorialRooms({:?})", self.stats())
    }
}
