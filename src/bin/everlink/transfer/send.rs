//! `everlink send`.

use std::fs::{File, Metadata};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, SystemTime};

use everlink::signaling::Signaling as _;
use everlink::{
    ChannelReceiver, ChannelSender, Client, CloseReason, ConnectError, ConnectionState, DurableConnection,
    Identity, RecvError,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{Instant, MissedTickBehavior};

use super::progress::{Progress, TICK};
use super::{
    LABEL, MAX_PREFIXES, PIECE, Prefix, Stopped, Word, fill, hash_on, hear_word, hex, out_of_place, say,
    say_failed,
};
use crate::args::Send;
use crate::connect::why;
use crate::failure::{Failure, complain};
use crate::notices;
use crate::output::{Output, written};
use crate::stop::Stop;
use crate::whoami::identity;

pub async fn run(args: Send, output: Output) -> Result<(), Failure> {
    let mut stop = Stop::listen();
    let identity = match &args.reach.identity {
        Some(path) => identity(Some(path))?.0,
        None => Identity::generate(),
    };
    // What is wrong here is told before anybody is disturbed.
    let name = name(&args.file)?;
    Source::open(&args.file)?;
    args.reach.network.server.probe().await?;

    let client = args.reach.network.client(identity, None);
    let sending = sending(&args, &client, &name, output);
    let ended = tokio::select! {
        ended = sending => ended,
        () = stop.wished() => Err(Failure::new(
            "interrupted before the receiver had it all",
            "send it again, and it goes on where it stopped",
        )),
    };
    client.shutdown().await;
    let sent = ended?;
    let person = format!("sent {name} ({} bytes, sha256 {})", sent.size, sent.sha256);
    let program = json!({
        "event": "sent", "name": name, "size": sent.size, "sha256": sent.sha256, "resumed_from": sent.from,
    });
    written(output.line(&person, program))
}

/// The announced name: the last part of the path.
fn name(path: &Path) -> Result<String, Failure> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.map(str::to_owned).ok_or_else(|| {
        let what = format!("{} has no name that could be announced", path.display());
        Failure::new(what, "give the path of a file whose name is UTF-8")
    })
}

struct Sent {
    size: u64,
    sha256: String,
    from: u64,
}

/// Connects and sends, again and again for as long as the receiver may come back.
async fn sending(args: &Send, client: &Client, name: &str, output: Output) -> Result<Sent, Failure> {
    let config = args.reach.config();
    // Until the receiver was there once, as `connect` does; later until it is there again.
    let mut patient = config.clone();
    patient.backoff.max = Duration::from_secs(3);
    patient.backoff.max_attempts = None;
    let mut gone_since: Option<Instant> = None;
    loop {
        let used = if gone_since.is_some() { &patient } else { &config };
        let connecting = client.connect_with(args.reach.target.clone(), used.clone());
        let connected = match gone_since {
            None => connecting.await.map_err(|error| why(error, &args.reach.target)),
            Some(since) => match tokio::time::timeout_at(since + args.wait, connecting).await {
                // Its host is being started, perhaps.
                Ok(Err(ConnectError::ServiceNotFound)) if since.elapsed() < args.wait => {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    continue;
                }
                Ok(connected) => connected.map_err(|error| why(error, &args.reach.target)),
                Err(_) => Err(too_long(args.wait)),
            },
        };
        let connection = connected?;
        let mut telling = JoinSet::new();
        telling.spawn(notices::tell(connection.events(), output, json!({ "peer": connection.peer() })));
        let stopped = tokio::select! {
            done = once(&connection, args, name, output) => match done {
                Ok(sent) => {
                    connection.close().await;
                    return Ok(sent);
                }
                Err(stopped) => stopped,
            },
            () = gone_for(connection.clone(), args.wait) => Stopped::Failed(too_long(args.wait)),
        };
        if stopped.is_temporary() {
            complain("the receiver was started anew, or lost; looking for it");
            gone_since = Some(Instant::now());
            continue;
        }
        connection.close().await;
        return Err(match stopped {
            Stopped::Failed(failure) => failure,
            Stopped::Told(message) => Failure::new(format!("the receiver says: {message}"), ""),
            Stopped::Gone(RecvError::Closed(reason)) if reason != CloseReason::Peer => reason.into(),
            Stopped::Gone(_) => Failure::new(
                "the receiver closed before it had it all",
                "send it again, and it goes on where it stopped",
            ),
        });
    }
}

fn too_long(wait: Duration) -> Failure {
    let what = format!("the receiver was not to be reached for {} s", wait.as_secs());
    Failure::new(what, "send it again when it is back, and it goes on where it stopped")
}

/// Waits until there was no link for so long.
async fn gone_for(mut connection: DurableConnection, wait: Duration) {
    loop {
        while matches!(connection.state(), ConnectionState::Connected) {
            connection.state_changed().await;
        }
        let back = async {
            while !matches!(connection.state_changed().await, ConnectionState::Connected) {
                if let ConnectionState::Closed(_) = connection.state() {
                    // Whoever uses the connection learns why.
                    std::future::pending::<()>().await;
                }
            }
        };
        if tokio::time::timeout(wait, back).await.is_err() {
            return;
        }
    }
}

/// One try over one connection.
async fn once(
    connection: &DurableConnection,
    args: &Send,
    name: &str,
    output: Output,
) -> Result<Sent, Stopped> {
    let mut source = Source::open(&args.file)?;
    let channel = connection.open_channel(LABEL).map_err(|error| Failure::new(error.to_string(), ""))?;
    let (sender, mut receiver) = channel.split();
    let sent = talk(&mut source, name, &sender, &mut receiver, output).await;
    if let Err(Stopped::Failed(failure)) = &sent {
        say_failed(&sender, &failure.to_string()).await;
    }
    sent
}

async fn talk(
    source: &mut Source,
    name: &str,
    sender: &ChannelSender,
    receiver: &mut ChannelReceiver,
    output: Output,
) -> Result<Sent, Stopped> {
    let size = source.size;
    unless_told(receiver, say(sender, &Word::Offer { name: name.to_owned(), size })).await?;
    let Word::Have { prefixes } = hear_word(receiver).await? else { return Err(out_of_place()) };
    let from = block_in_place(|| source.find(prefixes))?;
    if from > 0 && !output.json {
        complain(&format!("the receiver has {from} of {size} bytes, going on there"));
    }
    let mut progress = Progress::new(output, name, size, from);
    let rest = async {
        say(sender, &Word::From { offset: from }).await?;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while let Some(piece) = block_in_place(|| source.next())? {
            let mut taken = std::pin::pin!(sender.send(piece));
            loop {
                tokio::select! {
                    biased;
                    taken = &mut taken => {
                        taken.map_err(Failure::from)?;
                        break;
                    }
                    _ = ticks.tick() => progress.show(source.at.saturating_sub(sender.buffered().bytes)),
                }
            }
            progress.show(source.at.saturating_sub(sender.buffered().bytes));
        }
        let sha256 = source.finish()?;
        say(sender, &Word::End { size, sha256: sha256.clone() }).await?;
        Ok(sha256)
    };
    let sha256 = unless_told(receiver, rest).await?;
    let mut done = std::pin::pin!(hear_word(receiver));
    let mut ticks = tokio::time::interval(TICK);
    let done = loop {
        tokio::select! {
            done = &mut done => break done?,
            _ = ticks.tick() => progress.show(size.saturating_sub(sender.buffered().bytes)),
        }
    };
    if done != Word::Done {
        return Err(out_of_place());
    }
    progress.show(size);
    Ok(Sent { size, sha256, from })
}

/// Does something for which no answer is due, and stops if the receiver gives up or is gone.
async fn unless_told<T>(
    receiver: &mut ChannelReceiver,
    work: impl Future<Output = Result<T, Stopped>>,
) -> Result<T, Stopped> {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        // A channel that takes nothing more says less than the reason that comes by it.
        done = &mut work => match done {
            Err(Stopped::Failed(failure)) => match tokio::time::timeout(TICK, hear_word(receiver)).await {
                Ok(Err(stopped)) => Err(stopped),
                _ => Err(Stopped::Failed(failure)),
            },
            done => done,
        },
        word = hear_word(receiver) => match word {
            // The answer to the offer may be there before this side knows that the offer is taken.
            Ok(_) => Err(out_of_place()),
            Err(stopped) => Err(stopped),
        },
    }
}

/// The file, and how far it was read.
struct Source {
    file: File,
    path: String,
    size: u64,
    modified: Option<SystemTime>,
    hasher: Sha256,
    at: u64,
}

impl Source {
    fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let cannot = |error: io::Error| Failure::new(format!("cannot read {shown}: {error}"), "");
        // Looked at first: opening a pipe would wait for its writer.
        if !std::fs::metadata(path).map_err(cannot)?.is_file() {
            return Err(Failure::new(format!("{shown} is not a file"), "pack it into one, such as with tar"));
        }
        let file = File::open(path).map_err(cannot)?;
        let facts = file.metadata().map_err(cannot)?;
        Ok(Self {
            file,
            path: shown,
            size: facts.len(),
            modified: facts.modified().ok(),
            hasher: Sha256::new(),
            at: 0,
        })
    }

    fn cannot(&self, error: &io::Error) -> Failure {
        Failure::new(format!("cannot read {}: {error}", self.path), "")
    }

    fn changed(&self) -> Failure {
        Failure::new(format!("{} changed while it was sent", self.path), "send it again when it is complete")
    }

    /// The end of the longest of these beginnings that is this file's, too; reading goes on there.
    fn find(&mut self, mut prefixes: Vec<Prefix>) -> Result<u64, Failure> {
        prefixes.retain(|prefix| prefix.length > 0 && prefix.length <= self.size);
        prefixes.truncate(MAX_PREFIXES);
        prefixes.sort_by_key(|prefix| prefix.length);
        let (mut hasher, mut read) = (Sha256::new(), 0);
        for prefix in prefixes {
            match hash_on(&mut self.file, &mut hasher, read, prefix.length) {
                Ok(true) => read = prefix.length,
                Ok(false) => return Err(self.changed()),
                Err(error) => return Err(self.cannot(&error)),
            }
            // Where one differs, all longer ones do.
            if hex(hasher.clone()) != prefix.sha256 {
                break;
            }
            (self.hasher, self.at) = (hasher.clone(), read);
        }
        self.file.seek(SeekFrom::Start(self.at)).map_err(|error| self.cannot(&error))?;
        Ok(self.at)
    }

    /// The next piece, or `None` at the end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let most = (self.size - self.at).min(PIECE as u64) as usize;
        if most == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; most];
        let length = fill(&mut self.file, &mut piece).map_err(|error| self.cannot(&error))?;
        if length < most {
            return Err(self.changed());
        }
        self.hasher.update(&piece);
        self.at += most as u64;
        Ok(Some(piece))
    }

    /// The hash of it all, if the file is still what it was.
    fn finish(&mut self) -> Result<String, Failure> {
        let facts: Metadata = self.file.metadata().map_err(|error| self.cannot(&error))?;
        let longer = self.file.read(&mut [0]).map_err(|error| self.cannot(&error))? > 0;
        if longer || facts.len() != self.size || facts.modified().ok() != self.modified {
            return Err(self.changed());
        }
        Ok(hex(self.hasher.clone()))
    }
}
