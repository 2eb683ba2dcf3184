//! Records as lines of JSON, and back.

use std::collections::HashMap;
use std::io::{self, BufRead};

use serde::{Deserialize, Serialize};

use super::Happened;
use crate::error::SendError;

/// The records of one end, read back.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub(super) entries: Vec<Entry>,
    /// The labels by the numbers that entries have for them.
    pub(super) channels: Vec<String>,
}

/// Why a log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The file cannot be read.
    #[error("cannot read the history: {0}")]
    Io(String),
    /// A line is no record. The last line before a restart may be cut short; no other.
    #[error("line {line} of the history is no record: {what}")]
    BadLine {
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// One record. Small: a log of a long run has millions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Milliseconds since 1970.
    pub(super) at: u64,
    pub(super) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Started,
    Sending { channel: u32, message: u64 },
    Sent { channel: u32, message: u64, seq: u64 },
    Refused { channel: u32, message: u64 },
    Stored { channel: u32, message: u64 },
    Acked { channel: u32, message: u64 },
    Dropped { channel: u32, message: u64, certain: bool, cause: Box<str> },
    Received { channel: u32, message: u64 },
    Gap { channel: u32, from: u64, to: u64, cause: Box<str> },
    SessionLost,
    Note(Box<str>),
}

/// A line as it is written.
#[derive(Default, Serialize, Deserialize)]
struct Line<'a> {
    at: u64,
    what: &'a str,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    channel: Option<std::borrow::Cow<'a, str>>,
    /// A message's number, or the first of a gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    cause: Option<std::borrow::Cow<'a, str>>,
    /// False where the message may have arrived all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certain: Option<bool>,
}

/// Whether the message certainly did not arrive.
fn is_certain(error: &SendError) -> bool {
    !matches!(
        error,
        SendError::Closed(_) | SendError::ChannelClosed | SendError::SessionLost | SendError::Forgotten
    )
}

/// The record as a line, without its end.
pub(super) fn line(at: u64, what: &Happened<'_>) -> String {
    let on = |what, channel: &'_ str, message| Line {
        at,
        what,
        channel: Some(channel.to_owned().into()),
        message: Some(message),
        ..Line::default()
    };
    let plain = |what| Line { at, what, ..Line::default() };
    let line = match *what {
        Happened::Started => plain("started"),
        Happened::SessionLost => plain("session-lost"),
        Happened::Note(text) => Line { cause: Some(text.into()), ..plain("note") },
        Happened::Sending { channel, message } => on("sending", channel, message),
        Happened::Sent { channel, message, seq } => Line { seq: Some(seq), ..on("sent", channel, message) },
        Happened::Refused { channel, message } => on("refused", channel, message),
        Happened::Stored { channel, message } => on("stored", channel, message),
        Happened::Acked { channel, message } => on("acked", channel, message),
        Happened::Received { channel, message } => on("received", channel, message),
        Happened::Dropped { channel, message, error } => Line {
            cause: Some(error.to_string().into()),
            certain: Some(is_certain(error)),
            ..on("dropped", channel, message)
        },
        Happened::Gap { channel, from, to, cause } => Line {
            channel: Some(channel.into()),
            from: Some(from),
            to: Some(to),
            cause: Some(format!("{cause:?}").into()),
            ..plain("gap")
        },
    };
    // Text and numbers only, which JSON can always carry.
    serde_json::to_string(&line).expect("a record is representable")
}

impl Log {
    /// Reads a history from its file.
    ///
    /// # Errors
    /// [`LogError`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn read(path: impl AsRef<std::path::Path>) -> Result<Self, LogError> {
        let path = path.as_ref();
        let file = std::fs::File::open(path)
            .map_err(|error| LogError::Io(format!("{}: {error}", path.display())))?;
        Self::from_reader(io::BufReader::new(file))
    }

    /// Reads a history, wherever it was kept.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn from_reader(mut reader: impl BufRead) -> Result<Self, LogError> {
        let mut log = Self::default();
        let mut names: HashMap<String, u32> = HashMap::new();
        let mut buffer = Vec::new();
        // A line that was cut short is forgiven when a restart follows, or nothing does.
        let mut torn: Option<LogError> = None;
        for number in 1.. {
            buffer.clear();
            let io = |error: io::Error| LogError::Io(error.to_string());
            if reader.read_until(b'\n', &mut buffer).map_err(io)? == 0 {
                break;
            }
            let text = buffer.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let bad = |what: String| LogError::BadLine { line: number, what };
            match serde_json::from_slice::<Line<'_>>(text) {
                Ok(line) => {
                    let entry = log.entry(line, &mut names).map_err(|what| bad(what.to_owned()))?;
                    if entry.what != What::Started
                        && let Some(error) = torn.take()
                    {
                        return Err(error);
                    }
                    torn = None;
                    log.entries.push(entry);
                }
                Err(error) => {
                    if let Some(before) = torn.replace(bad(error.to_string())) {
                        return Err(before);
                    }
                }
            }
        }
        Ok(log)
    }

    /// The highest number of a message of this channel that this end began to send, so that a
    /// restarted process can go on counting.
    pub fn last_sending(&self, channel: &str) -> Option<u64> {
        let channel = self.channels.iter().position(|name| name == channel)? as u32;
        let sending = |entry: &Entry| match entry.what {
            What::Sending { channel: on, message } if on == channel => Some(message),
            _ => None,
        };
        self.entries.iter().filter_map(sending).max()
    }

    fn entry(&mut self, line: Line<'_>, names: &mut HashMap<String, u32>) -> Result<Entry, &'static str> {
        let missing = "a field is missing";
        let mut channel = || {
            let name = line.channel.as_deref().ok_or(missing)?;
            if let Some(number) = names.get(name) {
                return Ok::<u32, &'static str>(*number);
            }
            let number = self.channels.len() as u32;
            self.channels.push(name.to_owned());
            names.insert(name.to_owned(), number);
            Ok(number)
        };
        let message = || line.message.ok_or(missing);
        let cause = || Ok::<Box<str>, &'static str>(line.cause.as_deref().ok_or(missing)?.into());
        let what = match line.what {
            "started" => What::Started,
            "session-lost" => What::SessionLost,
            "note" => What::Note(cause()?),
            "sending" => What::Sending { channel: channel()?, message: message()? },
            "sent" => What::Sent { channel: channel()?, message: message()?, seq: line.seq.ok_or(missing)? },
            "refused" => What::Refused { channel: channel()?, message: message()? },
            "stored" => What::Stored { channel: channel()?, message: message()? },
            "acked" => What::Acked { channel: channel()?, message: message()? },
            "received" => What::Received { channel: channel()?, message: message()? },
            "dropped" => What::Dropped {
                channel: channel()?,
                message: message()?,
                certain: line.certain.ok_or(missing)?,
                cause: cause()?,
            },
            "gap" => What::Gap {
                channel: channel()?,
                from: line.from.ok_or(missing)?,
                to: line.to.ok_or(missing)?,
                cause: cause()?,
            },
            _ => return Err("an unknown kind of record"),
        };
        Ok(Entry { at: line.at, what })
    }

    /// An entry for people.
    pub(super) fn show(&self, entry: &Entry) -> String {
        let name = |channel: &u32| self.channels.get(*channel as usize).map_or("?", String::as_str);
        let what = match &entry.what {
            What::Started => "started".to_owned(),
            What::SessionLost => "session lost".to_owned(),
            What::Note(text) => format!("note: {text}"),
            What::Sending { channel, message } => format!("{}: sending {message}", name(channel)),
            What::Sent { channel, message, seq } => {
                format!("{}: sent {message} as number {seq}", name(channel))
            }
            What::Refused { channel, message } => format!("{}: refused {message}", name(channel)),
            What::Stored { channel, message } => format!("{}: stored {message}", name(channel)),
            What::Acked { channel, message } => format!("{}: acked {message}", name(channel)),
            What::Received { channel, message } => format!("{}: received {message}", name(channel)),
            What::Dropped { channel, message, cause, .. } => {
                format!("{}: dropped {message}: {cause}", name(channel))
            }
            What::Gap { channel, from, to, cause } => {
                format!("{}: gap from number {from} to {to}: {cause}", name(channel))
            }
        };
        format!("{}.{:03} {what}", entry.at / 1000, entry.at % 1000)
    }
}

impl Entry {
    /// The channel and the message that it is about.
    pub(super) fn about(&self) -> Option<(u32, u64)> {
        match self.what {
            What::Sending { channel, message }
            | What::Sent { channel, message, .. }
            | What::Refused { channel, message }
            | What::Stored { channel, message }
            | What::Acked { channel, message }
            | What::Dropped { channel, message, .. }
            | What::Received { channel, message } => Some((channel, message)),
            _ => None,
        }
    }
}
