//! One connection to a room: its channel of control, and those on which it asks for content.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::super::content::{
    CONTENT_LABEL, ContentError, ContentErrorCode, ContentReply, ContentRequest, TutorialContent,
    serve_content,
};
use super::super::control::Presence;
use super::super::core::ConnId;
use super::super::pipe;
use super::{Shared, Way};
use crate::durable::{ChannelReceiver, ConnectionState, DurableChannel, DurableConnection};
use crate::error::{CloseReason, RecvError};
use crate::runtime::{self, BoxFuture};

/// How long a member that is out may take to hear it.
const GOODBYE: Duration = Duration::from_secs(3);

/// Of a room without content.
struct NoContent;

impl TutorialContent for NoContent {
    fn answer(&self, _: ContentRequest) -> BoxFuture<'static, Result<ContentReply, ContentError>> {
        let none = ContentError::new(ContentErrorCode::Unavailable, "the host of this room shows no content");
        Box::pin(async { Err(none) })
    }
}

pub(super) async fn attend(shared: Arc<Shared>, connection: DurableConnection) {
    // Where an earlier process had it, or the peer opens it at the same time, this takes it.
    let Ok(channel) = connection.open_channel_with(pipe::LABEL, pipe::channel_config()) else { return };
    let (mut conn, mut receiver) = greet(&shared, &connection, channel);
    let mut asked: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    let mut watched = connection.clone();
    let ended = loop {
        tokio::select! {
            said = receiver.recv() => match said {
                // What is no text is nothing that can be read, and is told so.
                Ok(message) => shared.command(|machine, now| {
                    machine.handle_frame(conn, message.as_text().unwrap_or_default(), now);
                }),
                Err(ended) => break ended,
            },
            state = watched.state_changed() => match state {
                ConnectionState::Connected => shared.presence(conn, Presence::Here),
                ConnectionState::Reconnecting { .. } => shared.presence(conn, Presence::Healing),
                ConnectionState::Connecting { .. } => {}
                // The channel says the same, after what arrived before.
                ConnectionState::Closed(reason) => break RecvError::Closed(reason),
            },
            Some(channel) = connection.accept_channel() => match channel.label() {
                CONTENT_LABEL => {
                    let content = shared.content.clone().unwrap_or_else(|| Arc::new(NoContent));
                    asked.push(Box::pin(serve_content(channel, content)));
                }
                // Joined again, over the same connection.
                pipe::LABEL => {
                    gone(&shared, conn, true);
                    (conn, receiver) = greet(&shared, &connection, channel);
                }
                _ => {}
            },
            Some(()) = asked.next() => {}
        }
    };
    // Whoever closes knows that it is out.
    let stopped = matches!(ended, RecvError::ChannelClosed | RecvError::Closed(CloseReason::Peer));
    gone(&shared, conn, stopped);
    let _ = runtime::timeout(GOODBYE, connection.flush()).await;
    connection.close().await;
}

fn greet(
    shared: &Shared,
    connection: &DurableConnection,
    channel: DurableChannel,
) -> (ConnId, ChannelReceiver) {
    let (sender, receiver) = channel.split();
    let mut inner = shared.lock();
    let conn = inner.next_conn;
    inner.next_conn += 1;
    inner.ways.insert(conn, Way::Channel(sender));
    inner.machine.handle_connected(conn, connection.peer());
    drop(inner);
    shared.wake.notify_one();
    (conn, receiver)
}

fn gone(shared: &Shared, conn: ConnId, stopped: bool) {
    shared.command(|machine, now| machine.handle_gone(conn, stopped, now));
    shared.lock().ways.remove(&conn);
}
