//! A link: one ordered, reliable path for frames between two machines, for as long as it lasts.
//!
//! A durable connection outlives many links. A link promises little: frames that arrive do so
//! whole and in order, and a link that was closed stays closed. It may die without saying so.
//!
//! [`Transport`] makes links by the offer/answer exchange of WebRTC. [`memory`] is a transport
//! inside one process, for tests; `webrtc` is the real one, and in a browser `web`.

mod ice;
pub mod memory;
#[cfg(feature = "webrtc")]
mod sdp;
#[cfg(all(feature = "webrtc", target_arch = "wasm32"))]
pub mod web;
#[cfg(all(feature = "webrtc", not(target_arch = "wasm32")))]
pub mod webrtc;

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

pub use self::ice::{IceCredentials, IceServer};
use crate::runtime::{BoxFuture, Instant, MaybeSend, MaybeSync};

/// Identifies the two ends of one link to both of them: a hash over both DTLS fingerprints,
/// the offerer's first. Whoever sits in between has other fingerprints and so another binding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Binding(pub [u8; 32]);

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Binding({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// Why a link could not be made, or ended. Always worth another try on a new link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The other end closed it.
    #[error("the other end closed the link")]
    ClosedByPeer,
    /// This end closed it.
    #[error("the link is closed")]
    Closed,
    /// Both ends described themselves, and no packet came through between them.
    #[error(
        "no path to the other end was found: if it is there, UDP is blocked between the two; allow it, or \
         give both ends a TURN server (`ice_servers`)"
    )]
    NoPath,
    /// The path failed, or something else did, as the transport's own words say.
    #[error("the link failed: {0}")]
    Failed(String),
    /// The description of the other end cannot be used.
    #[error("the other end's session description is unusable: {0}")]
    BadDescription(String),
    /// There is no WebRTC where this runs. The exception: another try fails, too.
    #[error("no WebRTC here: {0}")]
    Unsupported(String),
}

/// What a link has to say.
#[derive(Debug)]
#[non_exhaustive]
pub enum LinkEvent {
    /// One frame, whole.
    Frame(Bytes),
    /// One message of the lossy stream with this number.
    Lossy {
        /// The number given to [`Link::open_lossy`].
        stream: u16,
        /// The message.
        data: Bytes,
    },
    /// The path beneath looks dead. Not final: probe it.
    Suspect,
    /// The path beneath answers again.
    Recovered,
    /// An ICE restart found a path: what is sent from now on goes another way. No
    /// [`Recovered`](Self::Recovered) follows.
    Moved,
    /// The end. No event follows.
    Down(LinkError),
}

/// How a lossy stream treats loss and order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossyConfig {
    /// Late messages are dropped instead of being delivered out of order.
    pub ordered: bool,
    /// How often a lost message is sent again; 0 is never.
    pub max_retransmits: u16,
}

/// A live link. Implementations close it when the last reference is dropped.
pub trait Link: MaybeSend + MaybeSync + 'static {
    /// The identity of this link, equal at both ends.
    fn binding(&self) -> Binding;

    /// The largest frame that [`send`](Link::send) takes, in bytes.
    fn max_frame(&self) -> usize;

    /// How many bytes of frames the other end may have under way to us at once, from its
    /// [`send`](Link::send) to our [`recv`](Link::recv), so that the receive buffer beneath never
    /// fills. A frame counts as 512 bytes at least: WebRTC stacks number messages with 16 bits
    /// and go wrong when too many wait to be read, however small they are.
    fn receive_window(&self) -> u32;

    /// Hands one frame to the link; resolves when its send buffer had room for it, which says
    /// nothing about arrival. Dropping the future may lose or send the frame.
    fn send(&self, frame: BytesMut) -> BoxFuture<'_, Result<(), LinkError>>;

    /// The next event. Cancel-safe. Must be polled always, or the path beneath stalls.
    /// After [`LinkEvent::Down`] it stays pending.
    fn recv(&self) -> BoxFuture<'_, LinkEvent>;

    /// When the path beneath last proved that it carries packets both ways, if the link can tell: when
    /// an answer to a check of its own arrived that no retransmission delays. Frames may stall for
    /// seconds on such a path. Whoever asks is in doubt, so a link that can tell goes on checking
    /// for half a second, often enough for an answer among them where many packets get lost. Default: `None`.
    fn heard(&self) -> Option<Instant> {
        None
    }

    /// Opens the lossy stream `stream`, which the other end opens by the same number. Returns at
    /// once; messages sent before it is open at both ends are lost. One that is open stays as it is.
    fn open_lossy(&self, stream: u16, config: LossyConfig);

    /// Sends on a lossy stream, or drops the message if the stream is not open or is full.
    fn send_lossy(&self, stream: u16, data: BytesMut);

    /// Closes a lossy stream.
    fn close_lossy(&self, stream: u16);

    /// Whether the path is dead for certain: the address of this machine that it began from is
    /// gone. Default: `false`.
    fn is_stranded(&self) -> bool {
        false
    }

    /// First step of an ICE restart, at the end that wants it: what the other end has to know. Nothing
    /// changes yet, so it may end here; asking again makes credentials anew. Default: an error, as for every link that cannot be brought
    /// to other addresses.
    fn ask_restart(&self) -> BoxFuture<'_, Result<IceCredentials, LinkError>> {
        Box::pin(std::future::ready(Err(no_restart())))
    }

    /// The other end's step: ICE begins anew, from the addresses that this machine has now, and looks for `theirs`.
    /// What the link carries waits meanwhile; its [`binding`](Self::binding) and all above stay.
    /// From now on the link is lost if no path is found: it then says so in a few seconds. A
    /// dropped future changes nothing: what was begun goes on. Default: an error.
    ///
    /// # Errors
    /// One that says that it cannot be done; the link is then as it was, or ends.
    fn answer_restart<'a>(
        &'a self,
        theirs: &'a IceCredentials,
    ) -> BoxFuture<'a, Result<IceCredentials, LinkError>> {
        let _ = theirs;
        Box::pin(std::future::ready(Err(no_restart())))
    }

    /// Last step, at the end that asked, with what the other one answered; otherwise as
    /// [`answer_restart`](Self::answer_restart).
    fn finish_restart<'a>(&'a self, theirs: &'a IceCredentials) -> BoxFuture<'a, Result<(), LinkError>> {
        let _ = theirs;
        Box::pin(std::future::ready(Err(no_restart())))
    }

    /// Takes a candidate of the other end for a restart under way. A bad one is an error and
    /// changes nothing. Default: an error.
    fn add_restart_candidate<'a>(&'a self, candidate: &'a str) -> BoxFuture<'a, Result<(), LinkError>> {
        let _ = candidate;
        Box::pin(std::future::ready(Err(no_restart())))
    }

    /// News of a restart under way. Cancel-safe. For one caller at a time; pending after
    /// [`RestartEvent::Done`] until another restart begins. Default: pending for ever.
    fn restart_event(&self) -> BoxFuture<'_, RestartEvent> {
        Box::pin(std::future::pending())
    }

    /// Closes the link and releases everything it held. Idempotent. What was sent and has not
    /// arrived is lost.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Whether any transport of this platform has links that can be brought to other addresses.
pub(crate) const RESTARTS: bool = cfg!(not(target_arch = "wasm32"));

pub(crate) fn no_restart() -> LinkError {
    LinkError::Failed("this link cannot be restarted".to_owned())
}

/// News of an ICE restart.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestartEvent {
    /// A candidate of this end; pass it to the other one.
    Candidate(String),
    /// There is a path again.
    Done,
}

/// News of a negotiation.
#[non_exhaustive]
pub enum NegotiationEvent {
    /// A candidate found after the description was made; pass it to the other end.
    Candidate(String),
    /// The link is open.
    Established(Arc<dyn Link>),
    /// It will not come to a link.
    Failed(LinkError),
}

/// One end's part in making one link. Dropped before it is established, it releases everything.
pub trait Negotiation: MaybeSend + MaybeSync + 'static {
    /// This end's session description (SDP), with the candidates known so far.
    fn description(&self) -> &str;

    /// Offering end: takes the answer.
    fn set_answer<'a>(&'a self, sdp: &'a str) -> BoxFuture<'a, Result<(), LinkError>>;

    /// Takes a later candidate of the other end. A bad one is an error and changes nothing.
    fn add_candidate<'a>(&'a self, candidate: &'a str) -> BoxFuture<'a, Result<(), LinkError>>;

    /// The next event. Cancel-safe. Stays pending after `Established` or `Failed`.
    fn next(&self) -> BoxFuture<'_, NegotiationEvent>;
}

/// Makes links.
pub trait Transport: MaybeSend + MaybeSync + 'static {
    /// Begins as the offering end.
    fn offer(&self) -> BoxFuture<'_, Result<Arc<dyn Negotiation>, LinkError>>;

    /// Begins as the answering end of `offer`.
    fn answer<'a>(&'a self, offer: &'a str) -> BoxFuture<'a, Result<Arc<dyn Negotiation>, LinkError>>;

    /// Whether its links run over the network of this machine, so that a client has to watch it
    /// for changes. True, unless they stay within the process.
    fn is_networked(&self) -> bool {
        true
    }

    /// Closes every link and negotiation of this transport, refuses new ones, and resolves when
    /// everything is released. Cancel-safe: what was begun goes on.
    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
