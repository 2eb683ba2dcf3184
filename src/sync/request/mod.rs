//! Requests and replies on a durable channel.

mod requester;
mod responder;
mod table;
mod wire;

pub use self::requester::Requester;
pub use self::responder::{Request, Responder};
use crate::error::{RecvError, SendError};

/// Why a request has no reply.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The time for it is over. The other side is told to give it up.
    #[error("no reply in time; the request {}", executed(*.may_have_been_executed))]
    TimedOut {
        /// False if it was not even sent.
        may_have_been_executed: bool,
    },
    /// The responder was killed or forgot the session when it had the request and no reply was on
    /// its way. It is not executed again; what was done of it is not known.
    #[error("the responder was started anew in the middle of the request, which may have been executed")]
    Interrupted,
    /// The responder has it and will not answer: its handler gave it up or panicked.
    #[error("the responder gave the request up without a reply")]
    Unanswered,
    /// It was never sent.
    #[error("the request was not sent: {0}")]
    Unsent(SendError),
    /// The channel or the connection is closed.
    #[error("{reason}; the request {}", executed(*.may_have_been_executed))]
    Closed {
        /// Which of them, and why.
        reason: RecvError,
        /// False if it was not even sent.
        may_have_been_executed: bool,
    },
    /// The other side does not keep to the format. The channel is closed.
    #[error(transparent)]
    Protocol(RequestProtocolError),
}

impl RequestError {
    /// Whether the request may have been executed, in whole or in part. If not, it is safe to send it again; if so, only
    /// when executing it twice does no harm.
    pub fn may_have_been_executed(&self) -> bool {
        match self {
            Self::TimedOut { may_have_been_executed } | Self::Closed { may_have_been_executed, .. } => {
                *may_have_been_executed
            }
            Self::Interrupted | Self::Unanswered | Self::Protocol(_) => true,
            Self::Unsent(_) => false,
        }
    }
}

fn executed(may_have_been: bool) -> &'static str {
    if may_have_been { "may have been executed" } else { "was not sent" }
}

/// Why there is no further request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponderError {
    /// The channel or the connection is closed.
    #[error(transparent)]
    Closed(RecvError),
    /// The other side does not keep to the format. The channel is closed.
    #[error(transparent)]
    Protocol(RequestProtocolError),
}

/// What one end of a channel of requests did that it must not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestProtocolError {
    /// Both ends ask, or both answer.
    #[error(
        "both ends of the channel play the same part: one must be the Requester, the other the Responder"
    )]
    SamePart,
    /// The other side speaks another version of the format.
    #[error("the other side speaks version {0} of the request format, this side 1: update the older side")]
    Version(u8),
    /// A frame of a number that was there before.
    #[error("frame {got} after frame {last}")]
    OutOfOrder {
        /// The number before.
        last: u64,
        /// The one that came.
        got: u64,
    },
    /// What came are no requests or replies: is the other end of the channel a `Requester` or `Responder`?
    #[error("no requests: {0}; is the other end of the channel a Requester or Responder?")]
    Malformed(&'static str),
    /// The channel is lossy.
    #[error("a lossy channel cannot carry requests: open it as a durable one")]
    Lossy,
}
