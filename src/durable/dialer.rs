//! The seam through which a durable connection gets new links, whoever finds them.

use std::sync::Arc;
use std::time::Duration;

use crate::error::DialError;
use crate::identity::PublicKey;
use crate::link::{Link, LinkError};
use crate::runtime::{BoxFuture, Instant, MaybeSend, MaybeSync};

/// Makes links to one peer.
pub(crate) trait Dialer: MaybeSend + MaybeSync + 'static {
    /// Makes one link. Attempts may overlap. Dropping the future gives the attempt up and
    /// releases all that it held. It ends by itself within the dialer's connect timeout.
    fn dial(&self, attempt: u32) -> BoxFuture<'static, Result<Dialed, DialFailure>>;

    /// Brings a live link to the addresses that the machine has now, by an ICE restart or the like.
    /// `Ok` says that there is a path again, which is no proof that the link answers. Not every dialer can;
    /// by default it fails at once, and the fresh link that is dialed beside has to do. It may take
    /// a dial that begins later to get through. Dropping the future gives it up; it ends by itself in seconds.
    fn restart(&self, restart: Restart) -> BoxFuture<'static, Result<(), DialFailure>> {
        drop(restart);
        let error = DialError::Link(LinkError::Failed("this link cannot be restarted".into()));
        Box::pin(async move { Err(DialFailure { error, permanent: true, retry_after: None }) })
    }

    /// Resolves when the way to the peer was seen broken and works again: a reason to end a wait
    /// early. While the way works all the time it stays pending, so that a peer which is away
    /// is asked for at the pace of the backoff alone. Its cost is bounded: a few cheap probes a
    /// second. Dropping it ends them.
    fn reachable(&self) -> BoxFuture<'static, ()>;
}

/// A link to be restarted.
pub(crate) struct Restart {
    /// The link.
    pub(crate) link: Arc<dyn Link>,
    /// When the old path had its chance to answer. A restart interrupts what the link carries, so
    /// the other end must not hear of it before.
    pub(crate) not_before: Instant,
    /// Whether the old path has not answered yet. Asked before the other end hears of it.
    pub(crate) is_wanted: Box<dyn IsWanted>,
}

/// See [`Restart::is_wanted`].
pub(crate) trait IsWanted: Fn() -> bool + MaybeSend + MaybeSync {}

impl<F: Fn() -> bool + MaybeSend + MaybeSync> IsWanted for F {}

/// A link that was made.
pub(crate) struct Dialed {
    /// The link.
    pub(crate) link: Arc<dyn Link>,
    /// Who must be at its other end. Not proven yet: the session handshake over the link is what
    /// proves it.
    pub(crate) peer: PublicKey,
}

/// Why a dial failed, and whether another is worth it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DialFailure {
    pub(crate) error: DialError,
    /// Nothing will change by itself.
    pub(crate) permanent: bool,
    /// The signaling server asked for patience.
    pub(crate) retry_after: Option<Duration>,
}
