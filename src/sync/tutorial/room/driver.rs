//! The one task of a room: it carries out what the machine wants, accepts members and keeps the time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::super::core::{ConnId, Outgoing, RoomOutput};
use super::super::error::RoomClosed;
use super::super::events::RoomEvent;
use super::super::pipe::{self, Blocked};
use super::{Shared, Way, attend};
use crate::durable::DurableService;
use crate::runtime::{self, BoxFuture};
use crate::store::{Batch, Change};

/// How long members may take to hear that the room is closed.
const GOODBYE: Duration = Duration::from_secs(3);

pub(super) async fn drive(shared: Arc<Shared>, service: DurableService) {
    let mut members: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
    let mut abandoned = shared.abandoned.subscribe();
    let closed = loop {
        if let Some(why) = carry_out(&shared).await {
            break why;
        }
        let deadline = shared.lock().machine.deadline();
        let deadline = deadline.map(|deadline| deadline.saturating_duration_since(runtime::now()));
        tokio::select! {
            () = shared.wake.notified() => {}
            accepted = service.accept() => match accepted {
                Some(connection) => members.push(Box::pin(attend::attend(shared.clone(), connection))),
                // The client ends. With a store, members and room go on when it is opened again.
                None if shared.store.is_some() => return end(&shared, RoomClosed::HostGone),
                None => shared.command(|machine, _| machine.close(RoomClosed::HostGone)),
            },
            Some(()) = members.next() => {}
            () = async { _ = abandoned.wait_for(|abandoned| *abandoned).await } => {
                return end(&shared, RoomClosed::HostGone);
            }
            () = runtime::sleep(deadline.unwrap_or_default()), if deadline.is_some() => {
                shared.command(|machine, now| machine.handle_timeout(now));
            }
        }
    };
    // What was said last goes out.
    let _ = runtime::timeout(GOODBYE, async { while members.next().await.is_some() {} }).await;
    if closed != RoomClosed::HostGone {
        forget(&shared).await;
    }
    if let Err(error) = service.stop().await {
        tracing::debug!(%error, "a closed room vanishes from the directory when its lease ends");
    }
    end(&shared, closed);
}

fn end(shared: &Shared, closed: RoomClosed) {
    shared.tell(RoomEvent::Closed(closed));
    shared.closed.send_replace(Some(closed));
}

/// Does what the machine wants, in its order. Returns the end, if it is one.
async fn carry_out(shared: &Shared) -> Option<RoomClosed> {
    let mut closed = None;
    loop {
        let output = shared.lock().machine.poll_output();
        match output {
            None => return closed,
            Some(RoomOutput::Send { conn, frame }) => say(shared, conn, frame),
            Some(RoomOutput::Drop(conn)) => {
                let way = shared.lock().ways.remove(&conn);
                match way {
                    Some(Way::Channel(sender)) => sender.close(),
                    Some(Way::Local(mailbox)) => {
                        mailbox.close();
                        shared.lock().local = false;
                    }
                    None => {}
                }
            }
            Some(RoomOutput::Save(record)) => {
                if let Some((store, key)) = &shared.store {
                    let change = Change::Put { key: key.clone(), value: record.encode().into() };
                    // A leader that a later run does not know of leads until its lease has ended; it is
                    // the disk's failure that is to be heard of, not a reason to end the lesson.
                    if let Err(error) = store.apply(Batch { changes: vec![change] }).await {
                        tracing::error!(%error, "the room cannot be kept; after a restart it is as it was");
                    }
                }
            }
            Some(RoomOutput::Event(event)) => shared.tell(event),
            Some(RoomOutput::Closed(why)) => closed = Some(why),
        }
    }
}

fn say(shared: &Shared, conn: ConnId, frame: Outgoing) {
    let way = shared.lock().ways.get(&conn).cloned();
    let sent = match way {
        Some(Way::Channel(sender)) => pipe::send(&sender, frame),
        Some(Way::Local(mailbox)) => mailbox.send(frame),
        None => Ok(()),
    };
    if let Err(Blocked) = sent {
        // It cannot be told that it is out, but by the end of its channel.
        shared.command(|machine, now| machine.handle_gone(conn, false, now));
        if let Some(Way::Channel(sender)) = shared.lock().ways.remove(&conn) {
            sender.close();
        }
    }
}

async fn forget(shared: &Shared) {
    if let Some((store, key)) = &shared.store {
        let mut after = key.to_vec();
        after.push(0);
        let change = Change::Remove { from: key.clone(), to: Bytes::from(after) };
        if let Err(error) = store.apply(Batch { changes: vec![change] }).await {
            tracing::warn!(%error, "the record of a closed room cannot be removed");
        }
    }
}
