//! `everlink send` and `everlink recv`: one file, whole and verified, whatever dies meanwhile.
//!
//! What both say on the channel of [`LABEL`], which is the version, too: the sender offers a file; the receiver
//! says by lengths and hashes what it safely has; the sender says from where it goes on, at the longest
//! beginning that its file shares with that, sends the rest in binary messages, and ends with the hash of it
//! all; the receiver verifies that, names the file, and says that it is done. Words are JSON in text messages.

mod progress;
pub mod recv;
pub mod send;

use std::io;

use everlink::{ChannelReceiver, ChannelSender, CloseReason, Message, RecvError};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;

/// The channel.
const LABEL: &str = "everlink-file/1";
/// A piece of the file in one message, which fits one packet.
const PIECE: usize = 60 << 10;
/// The longest word.
const MAX_WORD: usize = 64 << 10;
/// The most beginnings that a receiver offers.
const MAX_PREFIXES: usize = 33;

/// What sender and receiver say to each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Word {
    /// Sender: this is what I have for you.
    Offer { name: String, size: u64 },
    /// Receiver: of this file, or another of its name, I have these beginnings.
    Have { prefixes: Vec<Prefix> },
    /// Sender: from here on.
    From { offset: u64 },
    /// Sender: that was all.
    End { size: u64, sha256: String },
    /// Receiver: it is verified and in its place.
    Done,
    /// Either: it cannot be, because of this.
    Failed { message: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Prefix {
    length: u64,
    sha256: String,
}

/// Why a transfer stopped.
enum Stopped {
    /// Nothing here can help.
    Failed(Failure),
    /// The other side gave it up, and said why.
    Told(String),
    /// The connection or the channel is closed.
    Gone(RecvError),
}

impl Stopped {
    /// Whether the other side may come back and go on.
    fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Gone(RecvError::Closed(
                CloseReason::SessionLost { .. } | CloseReason::Unreachable { .. } | CloseReason::Expired(_)
            ))
        )
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Either a word or a piece of the file.
enum Heard {
    Word(Word),
    Piece(bytes::Bytes),
}

async fn hear(receiver: &mut ChannelReceiver) -> Result<Heard, Stopped> {
    let nonsense =
        || Failure::new("the other side does not speak as everlink does", "are both of one version?");
    match receiver.recv().await.map_err(Stopped::Gone)? {
        Message::Binary(piece) => Ok(Heard::Piece(piece)),
        Message::Text(text) if text.len() > MAX_WORD => Err(nonsense().into()),
        Message::Text(text) => match serde_json::from_str(&text).map_err(|_| nonsense())? {
            Word::Failed { message } => Err(Stopped::Told(message)),
            word => Ok(Heard::Word(word)),
        },
    }
}

/// As [`hear`], where only a word may come.
async fn hear_word(receiver: &mut ChannelReceiver) -> Result<Word, Stopped> {
    match hear(receiver).await? {
        Heard::Word(word) => Ok(word),
        Heard::Piece(_) => Err(out_of_place()),
    }
}

fn out_of_place() -> Stopped {
    Failure::new("the other side said something out of place", "are both of one version?").into()
}

async fn say(sender: &ChannelSender, word: &Word) -> Result<(), Stopped> {
    let text = serde_json::to_string(word).expect("words are plain data");
    sender.send(text).await.map(drop).map_err(|error| Failure::from(error).into())
}

/// Says why it cannot be, if the other side can still hear it.
async fn say_failed(sender: &ChannelSender, message: &str) {
    if let Ok(text) = serde_json::to_string(&Word::Failed { message: message.to_owned() })
        && let Ok(receipt) = sender.send(text).await
    {
        let _ = tokio::time::timeout(std::time::Duration::from_secs(3), receipt.acked()).await;
    }
}

fn hex(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads on until `piece` is full or the file ends.
fn fill(file: &mut impl io::Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match file.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Feeds `file` to `hasher` from `at` to `to`. Returns false if it ends before.
fn hash_on(file: &mut impl io::Read, hasher: &mut Sha256, at: u64, to: u64) -> io::Result<bool> {
    let mut piece = vec![0; 1 << 20];
    let mut left = to - at;
    while left > 0 {
        let most = left.min(piece.len() as u64) as usize;
        let length = fill(file, &mut piece[..most])?;
        if length == 0 {
            return Ok(false);
        }
        hasher.update(&piece[..length]);
        left -= length as u64;
    }
    Ok(true)
}
