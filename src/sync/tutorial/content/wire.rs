//! Requests and replies as JSON.

use serde::{Deserialize, Serialize};

use super::{
    ContentError, ContentErrorCode, ContentReply, ContentRequest, MAX_CONTENT_PATH, MAX_CONTENT_REPLY,
    check_path,
};
use crate::message::Message;

/// No request is larger: a path of the longest, every byte of it escaped.
const MAX_REQUEST: usize = MAX_CONTENT_PATH * 6 + 256;

/// What is answered: one member, by the name of what it is.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Failed {
    Error(ContentError),
}

pub(super) fn encode_request(request: &ContentRequest) -> Result<Message, ContentError> {
    if let ContentRequest::File { path, .. } = request {
        check_path(path)?;
    }
    json(request)
}

pub(super) fn decode_request(message: &Message) -> Result<ContentRequest, ContentError> {
    if message.len() > MAX_REQUEST {
        let words = format!("a request has at most {MAX_REQUEST} bytes, this one {}", message.len());
        return Err(ContentError::new(ContentErrorCode::TooLarge, words));
    }
    let request = serde_json::from_slice(message.as_bytes()).map_err(|error| {
        ContentError::new(ContentErrorCode::BadRequest, format!("not a request for content: {error}"))
    })?;
    if let ContentRequest::File { path, .. } = &request {
        check_path(path)?;
    }
    Ok(request)
}

pub(super) fn encode_reply(reply: Result<ContentReply, ContentError>) -> Message {
    let encoded = reply.and_then(|reply| json(&reply)).and_then(|message| match message.len() {
        ..=MAX_CONTENT_REPLY => Ok(message),
        length => Err(too_large(length)),
    });
    encoded.unwrap_or_else(|error| {
        // Two strings are always JSON.
        json(&Failed::Error(error)).unwrap_or_else(|_| Message::from(""))
    })
}

pub(super) fn decode_reply(message: &Message) -> Result<ContentReply, ContentError> {
    if message.len() > MAX_CONTENT_REPLY {
        return Err(too_large(message.len()));
    }
    let error = match serde_json::from_slice(message.as_bytes()) {
        Ok(reply) => return Ok(reply),
        Err(error) => error,
    };
    match serde_json::from_slice(message.as_bytes()) {
        Ok(Failed::Error(error)) => Err(error),
        Err(_) => {
            let words = format!("the host's reply makes no sense, it may be of another version: {error}");
            Err(ContentError::new(ContentErrorCode::Unavailable, words))
        }
    }
}

fn json(value: &impl Serialize) -> Result<Message, ContentError> {
    serde_json::to_string(value).map(Message::from).map_err(|error| {
        ContentError::new(ContentErrorCode::Unavailable, format!("it cannot be written as JSON: {error}"))
    })
}

fn too_large(length: usize) -> ContentError {
    let words = format!("the reply has {length} bytes, more than the {MAX_CONTENT_REPLY} allowed");
    ContentError::new(ContentErrorCode::TooLarge, words)
}
