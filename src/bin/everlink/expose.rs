//! `everlink expose`.

use std::io::{self, Write as _};
use std::time::Duration;

use everlink::store::FileStore;
use everlink::{CloseReason, DurableChannel, DurableConnection, DurableService, DurableStream, ServiceEvent};
use serde_json::json;
use tokio::task::JoinSet;

use crate::args::Expose;
use crate::failure::{Failure, complain};
use crate::output::{Output, written};
use crate::publish::publish;
use crate::stop::Stop;
use crate::{notices, pipe};

/// How long a peer may take to open the channel of a stream.
const SPEAK_WITHIN: Duration = Duration::from_secs(10);

pub async fn run(args: Expose, output: Output) -> Result<(), Failure> {
    let mut stop = Stop::listen();
    let store = args.store.as_ref().map(FileStore::open).transpose()?;
    let keeps = store.is_some();
    let published = publish(args.publish, store, |config| {
        config.public = args.public;
        config.ttl = args.ttl;
    });
    let published = published.await?;
    let (service, info) = (&published.service, &published.info);
    if args.stream {
        // Stdout is the peer's.
        let _ = writeln!(io::stderr(), "service {}", info.uuid);
        let ended = stream(service, output, &mut stop).await;
        return published.end(ended).await;
    }
    let mut told = output.line(&format!("service {}", info.uuid), published.told.clone());

    let mut events = service.events();
    let mut last_error = None;
    let mut sessions = JoinSet::new();
    let ended = loop {
        if told.is_err() {
            break written(told);
        }
        told = tokio::select! {
            () = stop.wished() => break Ok(()),
            accepted = service.accept() => match accepted {
                Some(connection) => {
                    sessions.spawn(session(connection, output, args.echo));
                    Ok(())
                }
                None => break Err(Failure::new("the service had to stop", last_error.unwrap_or_default())),
            },
            Some(ended) = sessions.join_next() => ended.unwrap_or(Ok(())),
            Some(event) = events.next() => {
                let told = match event {
                    // People are told by the log.
                    ServiceEvent::Refused { peer, error } => {
                        Some((json!({ "event": "refused", "peer": peer, "error": error.to_string() }), None))
                    }
                    ServiceEvent::Error { message, .. } => {
                        last_error.get_or_insert(message);
                        None
                    }
                    ServiceEvent::TookOver => Some((
                        json!({ "event": "took_over", "uuid": info.uuid }),
                        Some("this service was taken over from another running host with the same identity, or an earlier run"),
                    )),
                    ServiceEvent::Displaced => {
                        let what = "another running host with the same identity took this service over; run only one of them";
                        last_error = Some(what.to_owned());
                        Some((json!({ "event": "displaced", "uuid": info.uuid }), Some(what)))
                    }
                    _ => None,
                };
                match told {
                    Some((program, _)) if output.json => tokio::task::block_in_place(|| output.event(program)),
                    Some((_, words)) => {
                        words.into_iter().for_each(complain);
                        Ok(())
                    }
                    None => Ok(()),
                }
            }
        };
    };
    if keeps {
        published.leave().await;
        return ended;
    }
    published.end(ended).await
}

/// Pipes bytes to and from the first peer that opens a channel.
async fn stream(service: &DurableService, output: Output, stop: &mut Stop) -> Result<(), Failure> {
    loop {
        let (connection, channel) = tokio::select! {
            found = first_channel(service) => match found {
                Some(found) => found,
                None => return Err(Failure::new("the service had to stop", "")),
            },
            () = stop.wished() => return Ok(()),
        };
        // A peer that was gone before it said anything was none.
        let Some(channel) = channel else { continue };
        let mut telling = JoinSet::new();
        telling.spawn(notices::tell(connection.events(), output, json!({})));
        let piping = pipe::run(DurableStream::new(channel), &connection, stop);
        let mut piping = std::pin::pin!(piping);
        loop {
            tokio::select! {
                ended = &mut piping => return ended,
                // There is one stdin: others are turned away.
                Some(other) = service.accept() => {
                    telling.spawn(async move { drop(other.close().await) });
                }
            }
        }
    }
}

/// The next peer and its first channel, if it opens one.
async fn first_channel(service: &DurableService) -> Option<(DurableConnection, Option<DurableChannel>)> {
    let connection = service.accept().await?;
    // One that says nothing must not keep the others waiting.
    let channel = tokio::time::timeout(SPEAK_WITHIN, connection.accept_channel()).await;
    Some((connection, channel.ok().flatten()))
}

/// Prints what one peer sends on any channel, until it is gone for good. Fails when it cannot print.
async fn session(connection: DurableConnection, output: Output, echo: bool) -> io::Result<()> {
    let who = json!({ "session": connection.id().to_string(), "peer": connection.peer() });
    if output.json {
        let mut come = who.clone();
        come["event"] = json!("connection");
        tokio::task::block_in_place(|| output.event(come))?;
    } else {
        complain(&format!("peer {} connected", connection.peer()));
    }
    let mut channels = JoinSet::new();
    let telling = notices::tell(connection.events(), output, who.clone());
    let mut telling = std::pin::pin!(telling);
    let mut told = false;
    loop {
        tokio::select! {
            channel = connection.accept_channel() => match channel {
                Some(channel) => {
                    channels.spawn(print(channel, output, echo, who.clone()));
                }
                None => break,
            },
            Some(ended) = channels.join_next() => ended.unwrap_or(Ok(()))?,
            () = &mut telling, if !told => told = true,
        }
    }
    // What had arrived before the end is still printed.
    while let Some(ended) = channels.join_next().await {
        ended.unwrap_or(Ok(()))?;
    }
    let reason = connection.closed().await;
    if output.json {
        let mut gone = who;
        gone["event"] = json!("disconnection");
        gone["reason"] = json!(reason.to_string());
        tokio::task::block_in_place(|| output.event(gone))?;
    } else if let CloseReason::Detached = reason {
        complain(&format!("the session of peer {} is kept for the next run", connection.peer()));
    } else {
        complain(&format!("peer {} left: {reason}", connection.peer()));
    }
    Ok(())
}

async fn print(
    mut channel: DurableChannel,
    output: Output,
    echo: bool,
    who: serde_json::Value,
) -> io::Result<()> {
    let mut about = who;
    about["event"] = json!("message");
    about["channel"] = json!(channel.label());
    while let Ok(message) = channel.recv().await {
        // Printed before the next is asked for, which tells the peer that this one has arrived.
        tokio::task::block_in_place(|| output.message(&message, about.clone()))?;
        if echo && channel.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}
