//! What a host makes of a HELLO.

use super::handshake::{Hello, Incarnation, RefuseCode, SessionSecret};
use crate::identity::PublicKey;
use crate::link::Binding;

/// What a host knows of the session that a HELLO names.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// It is alive.
    Alive {
        peer: PublicKey,
        secret: SessionSecret,
        /// The peer has shown that it got the secret.
        confirmed: bool,
        /// The incarnations of the peer that had it, the present one last.
        incarnations: Vec<Incarnation>,
        /// The present one has acknowledged more than this HELLO claims.
        overtaken: bool,
    },
    /// The application closed it.
    Closed { peer: PublicKey },
    /// The application left it, to go on with it later.
    Away,
}

/// What to do with the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The session goes on over it.
    Resume,
    /// A new session begins with it.
    Begin,
    /// Close it without a word: there may be an answer later.
    Ignore,
    /// Say so and close it.
    Refuse(RefuseCode, &'static str),
}

/// Decides over a HELLO whose signature was checked.
pub(crate) fn decide(hello: &Hello, binding: Binding, known: Option<&Known>, has_room: bool) -> Decision {
    use Decision::{Begin, Ignore, Refuse, Resume};
    match known {
        Some(Known::Alive { peer, .. } | Known::Closed { peer }) if *peer != hello.key => {
            Refuse(RefuseCode::Rejected, "the session belongs to another key")
        }
        Some(Known::Away) => Ignore,
        Some(Known::Closed { .. }) => Refuse(RefuseCode::Closed, "the session was closed"),
        // The secret proves it; or the WELCOME of the first link was lost, so that the peer cannot
        // know the secret yet.
        Some(Known::Alive { secret, confirmed, incarnations, overtaken, .. })
            if hello.proves(secret, binding) || (!confirmed && hello.proof.is_none()) =>
        {
            // One that had it and lost it to a newer one stays away, or the two would take it from
            // each other for ever.
            match incarnations.iter().rposition(|known| *known == hello.incarnation) {
                Some(at) if at + 1 < incarnations.len() => {
                    Refuse(RefuseCode::Displaced, "a newer process took the session over")
                }
                // Nobody reads that on a link that was given up; a process that was put back does.
                Some(_) if *overtaken => {
                    Refuse(RefuseCode::UnknownSession, "this side was put back to an older state")
                }
                _ => Resume,
            }
        }
        Some(Known::Alive { .. }) => {
            Refuse(RefuseCode::Rejected, "the proof of the session's secret is wrong")
        }
        None if hello.proof.is_some() => Refuse(RefuseCode::UnknownSession, "the session is not known here"),
        None if !has_room => Refuse(RefuseCode::Full, "too many sessions"),
        None => Begin,
    }
}
