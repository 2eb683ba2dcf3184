//! Who is told when the network of this machine changes.

use std::sync::Arc;

use crate::network::NetworkChange;
use crate::runtime::sync::watch;
use crate::signaling::subscription::Subscription;

/// Tells of changes of the network: first whoever brings signaling back, then all the rest.
#[derive(Clone)]
pub(super) struct Network {
    subscription: Subscription,
    /// The last change, and how many there were.
    changes: Arc<watch::Sender<(u64, NetworkChange)>>,
}

impl Network {
    pub(super) fn new(subscription: Subscription) -> Self {
        Self { subscription, changes: Arc::new(watch::Sender::new((0, NetworkChange::Addresses))) }
    }

    pub(super) fn changes(&self) -> Changes {
        Changes(self.changes.subscribe())
    }

    pub(super) fn tell(&self, change: NetworkChange) {
        self.subscription.network_changed();
        self.changes.send_modify(|(number, last)| (*number, *last) = (*number + 1, change));
    }
}

/// Hears of changes of the network.
pub(super) struct Changes(watch::Receiver<(u64, NetworkChange)>);

impl Changes {
    /// The next change. Pending for ever once the client is gone. Cancel-safe.
    pub(super) async fn next(&mut self) -> NetworkChange {
        match self.0.changed().await {
            Ok(()) => self.0.borrow_and_update().1,
            Err(_) => std::future::pending().await,
        }
    }
}
