//! What each end did and saw, written down as it happens.

mod check;
mod log;

use std::fmt;
use std::io;
#[cfg(not(target_arch = "wasm32"))]
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use self::check::{Counts, Verdict, Violation, ViolationKind, check};
pub use self::log::{Log, LogError};
use crate::durable::GapCause;
use crate::error::SendError;
use crate::runtime;

/// One thing that happened at one end. The application numbers its messages; a number is used
/// once in each channel and direction, restarts included.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Happened<'a> {
    /// This process began. From the second one on: it was killed and started again.
    Started,
    /// `send` is about to be called. Written before, because who is killed in `send` cannot say
    /// whether the message was taken.
    Sending {
        /// The channel's label.
        channel: &'a str,
        /// The message's number.
        message: u64,
    },
    /// `send` took the message.
    Sent {
        /// The channel's label.
        channel: &'a str,
        /// The message's number.
        message: u64,
        /// [`Receipt::seq`](crate::Receipt::seq), by which gaps name it.
        seq: u64,
    },
    /// `send` refused the message: it must never arrive.
    Refused {
        /// The channel's label.
        channel: &'a str,
        /// The message's number.
        message: u64,
    },
    /// [`Receipt::stored`](crate::Receipt::stored) resolved: from now on it must arrive although
    /// this process is killed. Leave it out without a persistent store.
    Stored {
        /// The channel's label.
        channel: &'a str,
        /// The message's number.
        message: u64,
    },
    /// [`Receipt::acked`](crate::Receipt::acked) resolved.
    Acked {
        /// The channel's label.
        channel: &'a str,
        /// The message's number.
        message: u64,
    },
    /// The receipt told that it will not be delivered.
    Dropped {
        /// The channel's label.
        channel: &'a str,
        /// The message's number.
        message: u64,
        /// What the receipt said.
        error: &'a SendError,
    },
    /// `recv` gave the message. Write it before asking for the next.
    Received {
        /// The channel's label.
        channel: &'a str,
        /// The message's number.
        message: u64,
    },
    /// [`ChannelEvent::Gap`](crate::ChannelEvent::Gap).
    Gap {
        /// The channel's label.
        channel: &'a str,
        /// The first missing message, as its sender's receipts number it.
        from: u64,
        /// The last one.
        to: u64,
        /// Why.
        cause: GapCause,
    },
    /// The session was lost, by [`ConnectionEvent::SessionLost`](crate::ConnectionEvent::SessionLost) or
    /// [`CloseReason::SessionLost`](crate::CloseReason::SessionLost): what was on its way may or may
    /// not have arrived.
    SessionLost,
    /// Anything else worth reading beside a violation, such as a fault made on purpose.
    Note(&'a str),
}

/// Writes down what happens at one end; both ends' records then go to [`check`].
///
/// Shared by reference between tasks. A record is one JSON object on a line of its own, written at
/// once, so that a process killed at any moment leaves a usable file.
///
/// The order of calls is what the verdict rests on: [`Sending`](Happened::Sending) before `send`,
/// [`Received`](Happened::Received) before the next `recv`, in the order in which they happen.
/// Let everything arrive before the end: what is owed and was not received counts as lost.
pub struct History {
    // A std mutex: held to write one line, never over an await.
    out: Mutex<Out>,
}

enum Out {
    Memory(Vec<u8>),
    #[cfg(not(target_arch = "wasm32"))]
    File(std::fs::File, std::path::PathBuf),
}

impl History {
    /// A history in memory, for both ends in one process.
    pub fn in_memory() -> Self {
        Self { out: Mutex::new(Out::Memory(Vec::new())) }
    }

    /// A history in a file, which is made or continued, and records that this process has
    /// [`Started`](Happened::Started). One process at a time writes a file.
    ///
    /// # Errors
    /// What the file system says.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: impl AsRef<std::path::Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        if file.metadata()?.len() > 0 {
            // Closes a line that a killed process did not finish; empty lines are passed over.
            file.write_all(b"\n")?;
        }
        let history = Self { out: Mutex::new(Out::File(file, path.to_owned())) };
        history.record(Happened::Started)?;
        Ok(history)
    }

    /// Writes down what happened, stamped with the wall clock. Blocks as a small write does.
    ///
    /// # Errors
    /// What the file system says; a history in memory always works.
    pub fn record(&self, what: Happened<'_>) -> io::Result<()> {
        let mut line = log::line(runtime::unix_millis(), &what);
        line.push('\n');
        match &mut *self.lock() {
            Out::Memory(text) => text.extend_from_slice(line.as_bytes()),
            #[cfg(not(target_arch = "wasm32"))]
            Out::File(file, _) => file.write_all(line.as_bytes())?,
        }
        Ok(())
    }

    /// What was recorded so far.
    ///
    /// # Errors
    /// [`LogError`]: a file that cannot be read, or that somebody else has written into.
    pub fn log(&self) -> Result<Log, LogError> {
        match &*self.lock() {
            Out::Memory(text) => Log::from_reader(text.as_slice()),
            #[cfg(not(target_arch = "wasm32"))]
            Out::File(_, path) => Log::read(path),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
