//! The one task of a membership: it receives, keeps the time, and watches the connection.

use std::sync::Arc;
use std::time::Duration;

use super::super::core::Link;
use super::super::error::Left;
use super::super::pipe::Mailbox;
use super::{Shared, TutorialState, Way};
use crate::durable::{ChannelReceiver, ConnectionState, DurableConnection};
use crate::error::RecvError;
use crate::message::{Message, Utf8Bytes};
use crate::runtime;
use crate::runtime::sync::mpsc;

/// Where frames come from.
pub(super) enum Ways {
    Channel(ChannelReceiver),
    Local(Mailbox),
}

/// How long a room may take to hear a goodbye.
const GOODBYE: Duration = Duration::from_secs(3);

enum Input {
    Said(Utf8Bytes),
    Ended(Left),
    Link(Link),
    Nothing,
    Time,
}

pub(super) async fn drive<S: TutorialState>(shared: Arc<Shared<S>>, mut ways: Ways, own: bool) {
    let mut connection = shared.connection.clone();
    loop {
        let (left, deadline, full) = {
            let mut inner = shared.lock();
            let deadline = inner.machine.deadline().map(|deadline| inner.clock.until(deadline));
            hand_out(&mut inner);
            (inner.machine.left().is_some(), deadline, !inner.untaken.is_empty())
        };
        if left {
            break;
        }
        let room_for_steps = async {
            let sender = shared.lock().steps.clone();
            match sender {
                // Whoever reads them is gone: then nobody waits for steps.
                Some(sender) => _ = sender.reserve().await,
                None => std::future::pending().await,
            }
        };
        // What is told of the link first, so that it is mended before what comes over it; the time before what arrives, so that
        // a flood does not keep a leader from asking for more.
        let input = tokio::select! {
            biased;
            link = link_changed(&mut connection) => Input::Link(link),
            () = runtime::sleep(deadline.unwrap_or_default()), if deadline.is_some() => Input::Time,
            said = receive(&mut ways), if !full => said,
            () = shared.wake.notified() => Input::Nothing,
            () = room_for_steps, if full => Input::Nothing,
        };
        match input {
            Input::Said(text) => shared.command(|inner, now| inner.machine.handle_frame(&text, now)),
            Input::Ended(left) => {
                shared.command(|inner, now| inner.machine.handle_link(Link::Ended(left), now))
            }
            Input::Link(link) => shared.command(|inner, now| inner.machine.handle_link(link, now)),
            Input::Time => shared.command(|inner, now| inner.machine.handle_timeout(now)),
            Input::Nothing => {}
        }
    }
    say_goodbye(&shared, connection, own).await;
}

/// What was said last goes out; then this side is gone.
async fn say_goodbye<S: TutorialState>(shared: &Shared<S>, connection: Option<DurableConnection>, own: bool) {
    if let Way::Channel(sender) = &shared.way {
        sender.close();
    }
    if let Some(connection) = connection.filter(|_| own) {
        let _ = runtime::timeout(GOODBYE, connection.flush()).await;
        let _ = connection.close().await;
    }
}

/// Gives the reader of steps what it has room for.
fn hand_out<S>(inner: &mut super::Inner<S>) {
    let Some(steps) = inner.steps.clone() else { return inner.untaken.clear() };
    while let Some(state) = inner.untaken.front() {
        match steps.try_send(state.clone()) {
            Ok(()) => _ = inner.untaken.pop_front(),
            Err(mpsc::error::TrySendError::Full(_)) => return,
            Err(mpsc::error::TrySendError::Closed(_)) => {
                inner.steps = None;
                inner.untaken.clear();
            }
        }
    }
}

async fn receive(ways: &mut Ways) -> Input {
    match ways {
        Ways::Channel(receiver) => match receiver.recv().await {
            Ok(Message::Text(text)) => Input::Said(text),
            // No text is nothing that can be read, and is told so.
            Ok(Message::Binary(_)) => Input::Said("".into()),
            Err(RecvError::Closed(reason)) => Input::Ended(Left::ConnectionLost(reason)),
            Err(RecvError::ChannelClosed) => Input::Ended(Left::NoRoom),
        },
        Ways::Local(mailbox) => match mailbox.recv().await {
            Some(text) => Input::Said(text),
            None => Input::Ended(Left::NoRoom),
        },
    }
}

async fn link_changed(connection: &mut Option<DurableConnection>) -> Link {
    let Some(connection) = connection else { return std::future::pending().await };
    loop {
        match connection.state_changed().await {
            ConnectionState::Connected => return Link::Up,
            ConnectionState::Reconnecting { .. } => return Link::Healing,
            ConnectionState::Connecting { .. } => {}
            // What arrived before it is received first; then the channel says the same.
            ConnectionState::Closed(_) => return std::future::pending().await,
        }
    }
}
