//! The network beneath the machine changed, or the machine slept.
//!
//! The link may be dead or as well as ever, and waiting to find out costs seconds. So the old path
//! is probed, brought to the new addresses if the link can do that, and a fresh link is dialed
//! beside it, all at once. Whichever first carries something acknowledged wins. Until then nothing
//! is lost but certainty: the session counts as connected while it did before.

use super::path::{LinkId, Whose};
use super::session::{Output, Role, Session};
use crate::durable::events::{DisconnectCause, RecoveryRung};
use crate::runtime::Instant;

/// What happened to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkChange {
    /// Its addresses or its default route are others, or were away for a while.
    Addresses,
    /// It slept.
    Wake,
    /// Nothing comes over the link any more, not even what costs no retransmission: it may be the
    /// peer whose network changed.
    Silence,
}

impl NetworkChange {
    pub(super) fn disconnect_cause(self) -> DisconnectCause {
        match self {
            Self::Addresses => DisconnectCause::NetworkChange,
            Self::Wake => DisconnectCause::Wake,
            Self::Silence => DisconnectCause::PathDead,
        }
    }
}

/// A link whose path may have died with the old network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub change: NetworkChange,
    since: Instant,
    /// Bytes handed to the link by then: only the acknowledgement of a later one answers.
    sent: u64,
}

impl Session {
    /// The network of this machine changed, or it slept: probe, and dial, at once.
    pub(crate) fn handle_network_change(&mut self, now: Instant, change: NetworkChange) {
        if self.closed.is_some() {
            return;
        }
        self.changed = true;
        let dials = self.role == Role::Dialer;
        if let Some(path) = self.path.as_mut().filter(|path| path.is_live()) {
            let link = path.id;
            if !path.suspect {
                let sent = path.sent;
                path.question.get_or_insert(Question { change, since: now, sent }).sent = sent;
                self.recoveries.feared = Some((&change.disconnect_cause()).into());
            }
            self.ping(now);
            if dials {
                self.outputs.push_back(Output::Restart(link));
            }
        }
        if !dials {
            return;
        }
        match self.dialing.retry_at {
            Some(_) => {
                // A network that flaps must not spend the attempts that are allowed.
                self.dialing.attempts = self.dialing.attempts.saturating_sub(1);
                self.attempt(now);
            }
            // Whatever is under way began in the network that is gone.
            None => self.dial(now),
        }
    }

    /// Whether a link is still to be brought to other addresses: its path has not answered.
    pub(crate) fn wants_restart(&self, link: LinkId) -> bool {
        let path = self.path.as_ref().filter(|path| path.id == link && path.is_live());
        self.closed.is_none() && path.is_some_and(|path| path.suspect || path.question.is_some())
    }

    /// The link was brought to other addresses, by whichever end. Believed when it answers.
    pub(crate) fn handle_moved(&mut self, now: Instant, link: LinkId) -> Whose {
        let in_doubt = self.wants_restart(link);
        match &mut self.path {
            Some(path) if path.id == link && path.is_live() => path.restarted = in_doubt,
            _ => return Whose::NotOurs,
        }
        self.ping(now);
        Whose::Ours
    }

    /// The peer acknowledged something: if it was sent after the change, the link is as well as ever.
    pub(super) fn settle_question(&mut self, now: Instant) {
        let Some(path) = &mut self.path else { return };
        let Some(question) = path.question.filter(|question| path.acked > question.sent) else { return };
        path.question = None;
        // It was needless to dial beside a link that only fell silent, unless its peer moved.
        if question.change == NetworkChange::Silence && !path.restarted {
            self.dialing.needless_at = Some(now);
        }
        // A path that was given up meanwhile is told of as such.
        if path.suspect {
            return;
        }
        let rung = path.answering_rung();
        self.recoveries.cause = Some((&question.change.disconnect_cause()).into());
        self.stop_dialing();
        self.recovered(now, question.since, rung, 0);
    }

    /// A fresh link comes in place of one that was never seen to fail, only in question.
    pub(super) fn replace_questioned(&mut self, now: Instant) {
        let question = self.path.as_ref().and_then(|path| path.question);
        if let Some(question) = question
            && self.down_since.is_none()
        {
            self.lose(now, question.change.disconnect_cause());
            self.down_since = Some(question.since);
        }
    }
}

impl super::path::Path {
    /// By which rung the link answers again.
    pub(super) fn answering_rung(&mut self) -> RecoveryRung {
        match std::mem::take(&mut self.restarted) {
            true => RecoveryRung::IceRestart,
            false => RecoveryRung::Probe,
        }
    }
}
