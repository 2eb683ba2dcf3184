//! The member's end.

use std::fmt;
use std::time::Duration;

use super::wire::{decode_reply, encode_request};
use super::{
    ContentError, ContentErrorCode, ContentReply, ContentRequest, FileContent, Outline, StepPage, TreeEntry,
};
use crate::durable::DurableChannel;
use crate::sync::{RequestError, Requester};

/// How long a reply may take, waiting for a lost link included.
const REPLY_WITHIN: Duration = Duration::from_secs(60);
/// How often a question is asked again that a restart of the host interrupted. To ask twice does no harm.
const AGAIN: u32 = 3;

/// Asks the host of a room what the steps of its tutorial are.
///
/// Questions wait for a lost link to come back, up to 60 seconds, and survive a restart of the host. Many may be asked at
/// once. Clones share the channel, which closes when the last is dropped.
#[derive(Clone)]
#[must_use = "dropping it closes its channel"]
pub struct ContentClient {
    requester: Requester,
}

impl ContentClient {
    /// Asks on this channel, whose label is [`CONTENT_LABEL`](super::CONTENT_LABEL) and whose queue drops nothing
    /// ([`QueueConfig::lossless`](crate::QueueConfig::lossless)).
    ///
    /// # Panics
    /// Natively, outside of a tokio runtime: a task receives the replies.
    pub fn new(channel: DurableChannel) -> Self {
        Self { requester: Requester::new(channel) }
    }

    /// Which steps there are. Cancel-safe.
    ///
    /// # Errors
    /// [`ContentError`].
    pub async fn outline(&self) -> Result<Outline, ContentError> {
        match self.ask(ContentRequest::Outline).await? {
            ContentReply::Outline(outline) => Ok(outline),
            other => Err(unasked(&other)),
        }
    }

    /// The text and the changes of a step, counted from 0; with `solution` those of the solution of a template. Cancel-safe.
    ///
    /// # Errors
    /// [`ContentError`].
    pub async fn step(&self, index: u32, solution: bool) -> Result<StepPage, ContentError> {
        match self.ask(ContentRequest::Step { index, solution }).await? {
            ContentReply::Step(page) => Ok(page),
            other => Err(unasked(&other)),
        }
    }

    /// The files at a step. Cancel-safe.
    ///
    /// # Errors
    /// [`ContentError`].
    pub async fn tree(&self, index: u32) -> Result<Vec<TreeEntry>, ContentError> {
        match self.ask(ContentRequest::Tree { index }).await? {
            ContentReply::Tree(entries) => Ok(entries),
            other => Err(unasked(&other)),
        }
    }

    /// A file as it is at a step. Cancel-safe.
    ///
    /// # Errors
    /// [`ContentError`]; one over [`MAX_CONTENT_FILE`](super::MAX_CONTENT_FILE) is
    /// [`TooLarge`](ContentErrorCode::TooLarge).
    pub async fn file(&self, index: u32, path: impl Into<String>) -> Result<FileContent, ContentError> {
        match self.ask(ContentRequest::File { index, path: path.into() }).await? {
            ContentReply::File(file) => Ok(file),
            other => Err(unasked(&other)),
        }
    }

    async fn ask(&self, request: ContentRequest) -> Result<ContentReply, ContentError> {
        let message = encode_request(&request)?;
        let mut again = AGAIN;
        loop {
            match self.requester.request(message.clone(), REPLY_WITHIN).await {
                Ok(reply) => return decode_reply(&reply),
                Err(RequestError::Interrupted) if again > 0 => again -= 1,
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

impl fmt::Debug for ContentClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentClient({} in flight)", self.requester.in_flight())
    }
}

fn failed(error: RequestError) -> ContentError {
    match error {
        RequestError::Closed { reason, .. } => {
            ContentError::new(ContentErrorCode::Closed, reason.to_string())
        }
        RequestError::Unsent(error) => ContentError::new(ContentErrorCode::Closed, error.to_string()),
        RequestError::Protocol(error) => ContentError::new(ContentErrorCode::Closed, error.to_string()),
        RequestError::TimedOut { .. } => {
            ContentError::new(ContentErrorCode::Unavailable, "the host does not answer; try again")
        }
        RequestError::Interrupted | RequestError::Unanswered => {
            ContentError::new(ContentErrorCode::Unavailable, "the host gave the question up; try again")
        }
    }
}

fn unasked(reply: &ContentReply) -> ContentError {
    let what = match reply {
        ContentReply::Outline(_) => "an outline",
        ContentReply::Step(_) => "a step",
        ContentReply::Tree(_) => "a list of files",
        ContentReply::File(_) => "a file",
    };
    ContentError::new(
        ContentErrorCode::Unavailable,
        format!("the host answers with {what}, which was not asked"),
    )
}
