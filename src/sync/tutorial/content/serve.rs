//! The host's end.

use std::sync::Arc;
use std::time::Duration;

use super::wire::{decode_request, encode_reply};
use super::{ContentError, ContentErrorCode, ContentReply, TutorialContent};
use crate::durable::DurableChannel;
use crate::message::Message;
use crate::runtime;
use crate::sync::Responder;

/// How many requests of one member are answered at once.
const CONCURRENCY: usize = 4;
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Answers one member until the channel ends. Dropping the future closes the channel.
pub(crate) async fn serve_content(channel: DurableChannel, content: Arc<dyn TutorialContent>) {
    let answer = |request: Message| {
        let content = content.clone();
        async move { encode_reply(answer(&*content, &request).await) }
    };
    // However it ended: the member learns it from its channel, and the room from the connection.
    let _ended = Responder::new(channel).serve(CONCURRENCY, answer).await;
}

async fn answer(content: &dyn TutorialContent, request: &Message) -> Result<ContentReply, ContentError> {
    let request = decode_request(request)?;
    let answered = runtime::timeout(ANSWER_WITHIN, content.answer(request)).await;
    answered.unwrap_or_else(|| {
        Err(ContentError::new(ContentErrorCode::Unavailable, "the host could not read it in time; try again"))
    })
}
