//! `everlink connect`.

use std::io;
use std::time::Duration;

use everlink::signaling::Signaling as _;
use everlink::store::FileStore;
use everlink::{
    ChannelReceiver, ChannelSender, CloseReason, ConnectError, ConnectionState, DurableConnection,
    DurableStream, Identity, PublicKey, Receipt, SendError, Target,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::args::Connect;
use crate::failure::{Failure, complain};
use crate::output::{Output, written};
use crate::stop::Stop;
use crate::whoami::identity;
use crate::{input, notices, pipe};

/// How long the peer may take to receive what was sent when the user wants to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// How soon a line is offered again that the store did not take.
const STORE_RETRY: Duration = Duration::from_millis(200);

pub async fn run(args: Connect, output: Output) -> Result<(), Failure> {
    let mut stop = Stop::listen();
    let store = args.store.as_ref().map(FileStore::open).transpose()?;
    let identity = match (&args.reach.identity, &args.store) {
        (Some(path), _) => identity(Some(path))?.0,
        // A session goes on with its key only.
        (None, Some(store)) => identity(Some(&store.join("identity")))?.0,
        (None, None) => Identity::generate(),
    };
    let keeps = store.is_some();
    if !keeps {
        // Asked first, as it knows at once; connecting would wait for the server to come.
        args.reach.network.server.probe().await?;
    }

    let mut config = args.reach.config();
    let client = args.reach.network.client(identity, store);
    let connection = if keeps {
        // Whoever comes back with lines in the store need not find the host there at once.
        config.backoff.max_attempts = None;
        client.connect_lazy(args.reach.target.clone(), config)
    } else {
        tokio::select! {
            connected = client.connect_with(args.reach.target.clone(), config) => {
                connected.map_err(|error| why(error, &args.reach.target))?
            }
            () = stop.wished() => return Err(Failure::new("interrupted before the peer was reached", "")),
        }
    };
    if let ConnectionState::Closed(reason) = connection.state() {
        return Err(reason.into());
    }
    let channel = connection
        .open_channel(&args.channel)
        .map_err(|error| Failure::new(error.to_string(), "choose another with --channel"))?;
    let mut about = json!({ "session": connection.id().to_string(), "channel": args.channel });
    if connection.peer() != PublicKey::from_bytes([0; 32]) {
        about["peer"] = json!(connection.peer());
    }
    let mut telling = JoinSet::new();
    telling.spawn(notices::tell(connection.events(), output, about.clone()));
    if args.stream {
        let ended = pipe::run(DurableStream::new(channel), &connection, &mut stop).await;
        client.shutdown().await;
        return ended;
    }
    let (sender, receiver) = channel.split();
    let talk = Talk { connection: &connection, output, about, keeps };
    let ended = talk.run(sender, receiver, args.stay, &mut stop).await;
    client.shutdown().await;
    // The last events are told before the end.
    let _ = tokio::time::timeout(Duration::from_millis(200), telling.join_next()).await;
    ended
}

/// Why a service was not reached.
pub fn why(error: ConnectError, target: &Target) -> Failure {
    match (&error, target) {
        (ConnectError::ServiceNotFound, Target::Query { service, .. }) if !service.is_exact() => {
            Failure::new(error.to_string(), "one that is not public is found by its exact version only")
        }
        _ => error.into(),
    }
}

/// Counts the messages that are in the store.
#[derive(Default)]
struct Storing {
    sent: u64,
    newest: Option<Receipt>,
    /// What is waited for, and how many are stored with it: messages are stored in their order.
    waiting: Option<(u64, Receipt)>,
}

impl Storing {
    fn add(&mut self, receipt: Receipt) {
        self.sent += 1;
        self.newest = Some(receipt);
    }

    /// How many are stored, when more are than before. Cancel-safe.
    async fn done(&mut self) -> u64 {
        loop {
            if self.waiting.is_none() {
                self.waiting = self.newest.take().map(|receipt| (self.sent, receipt));
            }
            let Some((messages, receipt)) = &self.waiting else { return std::future::pending().await };
            let (messages, stored) = (*messages, receipt.stored().await);
            self.waiting = None;
            if stored.is_ok() {
                return messages;
            }
        }
    }
}

/// Both directions of the conversation.
struct Talk<'a> {
    connection: &'a DurableConnection,
    output: Output,
    about: Value,
    /// Whether there is a store, so that a wish to leave is none to close.
    keeps: bool,
}

impl Talk<'_> {
    async fn run(
        &self,
        sender: ChannelSender,
        receiver: ChannelReceiver,
        stay: bool,
        stop: &mut Stop,
    ) -> Result<(), Failure> {
        let (broken, mut unwritable) = oneshot::channel();
        let mut listening = std::pin::pin!(self.listen(receiver, broken));
        let mut speaking = std::pin::pin!(self.speak(&sender));
        let (mut heard_all, mut spoken, mut unwritten, mut wished) = (false, None, None, false);
        while !heard_all {
            tokio::select! {
                // What arrived before the end of input was acknowledged is printed.
                biased;
                () = &mut listening => heard_all = true,
                Ok(error) = &mut unwritable, if unwritten.is_none() => {
                    unwritten = Some(error);
                    break;
                }
                () = stop.wished() => {
                    wished = true;
                    break;
                }
                done = &mut speaking, if spoken.is_none() => {
                    let failed = done.is_err();
                    spoken = Some(done);
                    if !stay || failed {
                        break;
                    }
                }
            }
        }
        let stays_kept = self.keeps && (wished || unwritten.is_some());
        let leaving = async {
            if stays_kept {
                let reason = self.connection.detach().await;
                return (sender.buffered().messages, reason);
            }
            // Whatever ended it: what was sent shall have arrived, if the peer is still there.
            let flushed = tokio::time::timeout(LEAVE_WITHIN, self.connection.flush()).await;
            let unacked = if matches!(flushed, Ok(Ok(()))) { 0 } else { sender.buffered().messages };
            (unacked, self.connection.close().await)
        };
        let (unacked, reason) = if heard_all {
            leaving.await
        } else {
            // Until it is closed the peer may go on talking.
            tokio::join!(leaving, listening).0
        };
        let _ = self.output.event(json!({
            "event": "closed", "reason": reason.to_string(), "unacked": unacked,
            "session": self.about["session"],
        }));
        if heard_all && !self.output.json {
            match reason {
                CloseReason::Local => complain("the peer closed the channel"),
                CloseReason::Peer => complain("the peer closed the connection"),
                _ => {}
            }
        }
        if let Some(error) = unwritten {
            return written(Err(error));
        }
        spoken.unwrap_or(Ok(()))?;
        match reason {
            CloseReason::Detached => {
                if unacked > 0 && !self.output.json {
                    complain(&format!(
                        "{unacked} messages wait in the store; start it again to deliver them"
                    ));
                }
                Ok(())
            }
            CloseReason::Local | CloseReason::Peer if unacked == 0 => Ok(()),
            CloseReason::Local | CloseReason::Peer => Err(Failure::new(
                format!("the connection closed before the peer had acknowledged everything ({unacked} left)"),
                "what is left may or may not have arrived",
            )),
            reason => Err(reason.into()),
        }
    }

    /// Sends stdin, and waits until it has arrived.
    async fn speak(&self, sender: &ChannelSender) -> Result<(), Failure> {
        let mut input = input::lines();
        let mut failed = Ok(());
        let mut storing = Storing::default();
        'input: loop {
            let lines = tokio::select! {
                lines = input.recv() => lines,
                messages = storing.done() => {
                    self.tell_stored(messages);
                    continue;
                }
            };
            match lines {
                Some(Ok(lines)) => {
                    for line in lines {
                        let receipt = loop {
                            match sender.send(line.clone()).await {
                                Ok(receipt) => break receipt,
                                // A line read cannot be read again: it waits for the store. What is
                                // wrong there is told as a notice.
                                Err(SendError::Store(_)) => tokio::time::sleep(STORE_RETRY).await,
                                // The end of the connection says more than this could.
                                Err(_) => break 'input,
                            }
                        };
                        if self.keeps {
                            storing.add(receipt);
                        }
                    }
                }
                Some(Err(failure)) => failed = Err(failure),
                None => break,
            }
        }
        let mut flushed = std::pin::pin!(self.connection.flush());
        loop {
            tokio::select! {
                // Likewise.
                _ = &mut flushed => return failed,
                messages = storing.done() => self.tell_stored(messages),
            }
        }
    }

    /// Tells a program how many lines of this run a crash can no longer lose.
    fn tell_stored(&self, messages: u64) {
        // Whoever writes messages learns that nobody reads them.
        let event = json!({ "event": "stored", "messages": messages, "session": self.about["session"] });
        let _ = tokio::task::block_in_place(|| self.output.event(event));
    }

    /// Prints what the peer sends until the end. When stdout takes no more that is told, and the
    /// rest is thrown away, so that the peer is not held up.
    async fn listen(&self, mut receiver: ChannelReceiver, broken: oneshot::Sender<io::Error>) {
        let mut about = self.about.clone();
        about["event"] = json!("message");
        let mut broken = Some(broken);
        while let Ok(message) = receiver.recv().await {
            if broken.is_none() {
                continue;
            }
            let written = tokio::task::block_in_place(|| self.output.message(&message, about.clone()));
            if let Err(error) = written
                && let Some(broken) = broken.take()
            {
                let _ = broken.send(error);
            }
        }
    }
}
