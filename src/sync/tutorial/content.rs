//! What the steps of a tutorial are: its outline, texts, changes and files, asked for by members and answered by the host.
//!
//! It travels as requests and replies ([`Requester`](crate::Requester)) of JSON on a channel of its own, [`CONTENT_LABEL`], beside
//! the state, which only says which step is shown.

mod client;
mod serve;
// Tests that need a clock that stands still, which there is natively only.
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
mod wire;

use serde::{Deserialize, Serialize};

use super::StepType;
use crate::base64url::padded;
use crate::runtime::{BoxFuture, MaybeSend, MaybeSync};

pub use self::client::ContentClient;
pub(crate) use self::serve::serve_content;

/// The label of the channel on which content is asked for.
pub const CONTENT_LABEL: &str = "everlink.tutorial.content/1";
/// The largest file that is sent, in bytes: 1 MiB.
pub const MAX_CONTENT_FILE: u64 = 1 << 20;
/// The largest reply, in bytes of JSON: 4 MiB.
pub const MAX_CONTENT_REPLY: usize = 4 << 20;
/// The longest path that can be asked for, in bytes: 4 KiB.
pub const MAX_CONTENT_PATH: usize = 4 << 10;

/// Answers what members ask of a tutorial. Implemented by whoever has one: `everlink tutorial host` reads a git repository.
///
/// Requests of several members come at once, and up to four of each. A request that takes longer than 30
/// seconds is given up: its future is dropped, and the member told. Whatever computes or reads for long belongs on a thread of its own.
pub trait TutorialContent: MaybeSend + MaybeSync + 'static {
    /// Answers one request, by the variant of [`ContentReply`] that belongs to it. A path has been checked by [`check_path`].
    fn answer(&self, request: ContentRequest) -> BoxFuture<'static, Result<ContentReply, ContentError>>;
}

/// What a member asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContentRequest {
    /// Which steps there are.
    Outline,
    /// The text and the changes of a step.
    Step {
        /// Its place among the steps, from 0.
        index: u32,
        /// Of a template: its solution instead.
        #[serde(default)]
        solution: bool,
    },
    /// Which files there are at a step.
    Tree {
        /// Its place among the steps, from 0.
        index: u32,
    },
    /// A file as it is at a step.
    File {
        /// The place of the step, from 0.
        index: u32,
        /// Its path, with `/` between its parts.
        path: String,
    },
}

/// What the host answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContentReply {
    /// To [`ContentRequest::Outline`].
    Outline(Outline),
    /// To [`ContentRequest::Step`].
    Step(StepPage),
    /// To [`ContentRequest::Tree`], by path.
    Tree(Vec<TreeEntry>),
    /// To [`ContentRequest::File`].
    File(FileContent),
}

/// A tutorial and its steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Outline {
    /// What it is called.
    pub title: String,
    /// Where it is published, if anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repo_url: Option<String>,
    /// Its steps, in order.
    pub steps: Vec<StepSummary>,
}

/// One step of an [`Outline`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepSummary {
    /// Its place, from 0.
    pub index: u32,
    /// Its name, which stays the same when steps are added before it.
    pub id: String,
    /// What people read.
    pub title: String,
    /// What it is for.
    #[serde(rename = "type")]
    pub kind: StepType,
    /// Its commit, in hexadecimal digits.
    pub commit_hash: String,
    /// The title of the section that it belongs to, if there is one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
}

/// A step as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepPage {
    /// Its place, from 0. Of a solution: the solution's own.
    pub index: u32,
    /// Its name.
    pub id: String,
    /// What people read.
    pub title: String,
    /// What it is for.
    #[serde(rename = "type")]
    pub kind: StepType,
    /// Its commit, in hexadecimal digits.
    pub commit_hash: String,
    /// Its text in Markdown. It is a stranger's: whoever shows it as HTML must remove what could run.
    #[serde(default)]
    pub markdown: String,
    /// What it changes, by path.
    #[serde(default)]
    pub files: Vec<FileChange>,
}

/// What a step does to a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileChange {
    /// Where it is now, or was, if it is deleted. A stranger's: see [`check_path`].
    pub path: String,
    /// Where it was, if it is renamed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_path: Option<String>,
    /// What is done to it.
    pub status: FileStatus,
    /// Its content is no text, and there is no diff.
    #[serde(default)]
    pub binary: bool,
    /// It is over [`MAX_CONTENT_FILE`], or its diff did not fit into the reply: there is no diff.
    #[serde(default)]
    pub too_large: bool,
    /// Lines added, if there is a diff.
    #[serde(default)]
    pub additions: u32,
    /// Lines deleted, if there is a diff.
    #[serde(default)]
    pub deletions: u32,
    /// The hunks of a unified diff, from the first `@@`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileStatus {
    /// It was not there before.
    Added,
    /// It is changed.
    Modified,
    /// It is gone.
    Deleted,
    /// It is elsewhere, and perhaps changed.
    Renamed,
}

/// A file of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TreeEntry {
    /// Its path, with `/` between its parts. A stranger's: see [`check_path`].
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// Whether it is a program.
    #[serde(default)]
    pub executable: bool,
    /// Names its content: the same hash is the same content.
    pub hash: String,
}

/// What is in a file: `text` or `base64`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FileContent {
    /// Its path.
    pub path: String,
    /// Its content, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its content otherwise, in base64 with padding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

impl FileContent {
    /// Bytes as the content of `path`.
    pub fn new(path: impl Into<String>, bytes: Vec<u8>) -> Self {
        let path = path.into();
        match String::from_utf8(bytes) {
            Ok(text) => Self { path, text: Some(text), base64: None },
            Err(error) => {
                let base64 = padded::encode(error.as_bytes());
                Self { path, text: None, base64: Some(base64) }
            }
        }
    }

    /// Its bytes; `None` if it has neither `text` nor good `base64`.
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self.text {
            Some(text) => Some(text.into_bytes()),
            None => padded::decode(&self.base64?),
        }
    }
}

/// Why there is no content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ContentError {
    /// What kind of error.
    pub code: ContentErrorCode,
    /// What is wrong, and what to do about it. It can be the host's words: show it as text.
    #[serde(default)]
    pub message: String,
}

impl ContentError {
    /// An error in words.
    pub fn new(code: ContentErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// The kinds of [`ContentError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContentErrorCode {
    /// No such step or file.
    NotFound,
    /// The file, the reply or the request is over its limit.
    TooLarge,
    /// It is no text, and was asked for as such.
    Binary,
    /// A path that is none, or leads out of the tutorial.
    BadPath,
    /// The request is none.
    BadRequest,
    /// There is no content now: the host has none, cannot read it, or did not answer in time. May work later.
    Unavailable,
    /// The channel or the connection is closed.
    Closed,
    /// A kind that this version does not know.
    #[serde(other)]
    Other,
}

impl ContentErrorCode {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::TooLarge => "too_large",
            Self::Binary => "binary",
            Self::BadPath => "bad_path",
            Self::BadRequest => "bad_request",
            Self::Unavailable => "unavailable",
            Self::Closed => "closed",
            Self::Other => "other",
        }
    }
}

/// Whether a path names a file below where it starts: 1 to [`MAX_CONTENT_PATH`] bytes, parts with `/` between them, of which none is
/// empty, `.` or `..`, and no `\`, no control character.
///
/// That is what a host checks. Whoever *writes* a file of that path must check more: names that its system reserves, links in the way.
///
/// # Errors
/// [`ContentErrorCode::BadPath`].
pub fn check_path(path: &str) -> Result<(), ContentError> {
    let wrong = if path.is_empty() {
        "it is empty"
    } else if path.len() > MAX_CONTENT_PATH {
        "it is longer than 4096 bytes"
    } else if path.contains(|c: char| c == '\\' || c.is_control()) {
        "it has a backslash or a control character"
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "it must be relative, with no empty part, `.` or `..`"
    } else {
        return Ok(());
    };
    // The path itself may be long, or steer a terminal.
    Err(ContentError::new(ContentErrorCode::BadPath, format!("bad path: {wrong}")))
}
