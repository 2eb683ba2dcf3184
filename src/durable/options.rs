//! What a sender may ask for one message.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::SendError;
use crate::runtime::Instant;

/// What one message is worth, for [`DurableChannel::send_with`](crate::DurableChannel::send_with).
/// The default asks for nothing, which is what [`send`](crate::DurableChannel::send) does.
///
/// ```
/// use std::time::Duration;
///
/// use everlink::SendOptions;
///
/// // Where the cursor is: only the newest matters, and none at all after five seconds.
/// let options = SendOptions::new().supersede("cursor").deadline(Duration::from_secs(5));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendOptions {
    pub(super) deadline: Option<Duration>,
    pub(super) key: Option<Key>,
}

impl SendOptions {
    /// The longest key that [`supersede`](Self::supersede) takes, in bytes.
    pub const MAX_KEY: usize = 64;

    /// No deadline, and nothing is superseded.
    pub fn new() -> Self {
        Self::default()
    }

    /// Drops the message if it was not transmitted within `after` of the call, connected or not,
    /// time spent waiting for room in the queue included.
    ///
    /// One that was transmitted may have arrived: after a lost link it is dropped only when the
    /// peer, back again, shows that it has not. A dropped one is reported as
    /// [`SendError::Expired`] by its receipt, as [`ChannelEvent::Expired`](crate::ChannelEvent) on
    /// this side and as [`ChannelEvent::Gap`](crate::ChannelEvent) at the peer.
    pub fn deadline(self, after: Duration) -> Self {
        Self { deadline: Some(after), ..self }
    }

    /// Replaces a waiting message of the same key on the same channel, if there is one that was
    /// not transmitted, so that of each key only the newest waits, whatever is sent meanwhile.
    ///
    /// The newest takes its place at the end of the queue. One that was transmitted may have
    /// arrived: after a lost link it is replaced only when the peer, back again, shows that it has
    /// not. A replaced one is reported as [`SendError::Superseded`] by its receipt, as
    /// [`ChannelEvent::Superseded`](crate::ChannelEvent) on this side and as
    /// [`ChannelEvent::Gap`](crate::ChannelEvent) at the peer.
    ///
    /// A key has 1 to [`MAX_KEY`](Self::MAX_KEY) bytes; with another the send fails as
    /// [`SendError::BadKey`].
    pub fn supersede(self, key: impl AsRef<[u8]>) -> Self {
        Self { key: Some(Key(key.as_ref().into())), ..self }
    }

    /// The options as the core takes them, for a message sent `now`.
    pub(crate) fn terms(&self, now: Instant) -> Result<SendTerms, SendError> {
        if let Some(Key(key)) = &self.key
            && !(1..=Self::MAX_KEY).contains(&key.len())
        {
            return Err(SendError::BadKey(key.len()));
        }
        // A time beyond what a clock can say is no deadline.
        let deadline = self.deadline.and_then(|after| now.checked_add(after));
        Ok(SendTerms { deadline, key: self.key.clone() })
    }
}

/// Names what a message is the newest state of. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub Arc<[u8]>);

impl fmt::Debug for Key {
    /// The length: keys may hold what does not belong in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} B)", self.0.len())
    }
}

/// What was asked for one message, in the time of the core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SendTerms {
    /// Dropped from here on, if it was not transmitted.
    pub deadline: Option<Instant>,
    /// Replaces, and is replaced by, others of this key.
    pub key: Option<Key>,
}
