//! `everlink recv`.

mod partial;

use std::path::{Path, PathBuf};
use std::time::Duration;

use everlink::{
    ChannelReceiver, ChannelSender, ConnectionState, DurableConnection, DurableService, RecvError,
    ServiceEvent,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet, block_in_place};

use self::partial::Partial;
use super::progress::Progress;
use super::{Heard, LABEL, Stopped, Word, hear, hear_word, out_of_place, say, say_failed};
use crate::args::Recv;
use crate::failure::{Failure, complain};
use crate::notices;
use crate::output::{Output, written};
use crate::publish::publish;
use crate::stop::Stop;

/// How long a sender may take to offer something.
const OFFER_WITHIN: Duration = Duration::from_secs(10);
/// How long a sender may take to hear that it is done.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);
/// The most senders that are listened to at a time.
const MAX_GREETED: usize = 16;

pub async fn run(args: Recv, output: Output) -> Result<(), Failure> {
    let mut stop = Stop::listen();
    let place = Place::new(&args)?;
    let published = publish(args.publish, None, |_| {}).await?;
    let receiving = async {
        written(output.line(&format!("service {}", published.info.uuid), published.told.clone()))?;
        let mut desk = Desk { place, output, keep: args.keep, active: None };
        desk.run(&published.service).await
    };
    let ended = tokio::select! {
        ended = receiving => ended,
        () = stop.wished() => match args.keep {
            true => Ok(()),
            false => Err(Failure::new("interrupted before a file was there", "start it again, and it goes on where it stopped")),
        },
    };
    published.end(ended).await
}

/// Where files go.
#[derive(Clone)]
struct Place {
    /// A directory, for files of the announced name.
    directory: PathBuf,
    /// Or this very file.
    file: Option<PathBuf>,
    force: bool,
}

impl Place {
    fn new(args: &Recv) -> Result<Self, Failure> {
        let out = args.out.clone().unwrap_or_else(|| PathBuf::from("."));
        let is_directory =
            out.is_dir() || out.as_os_str().to_string_lossy().ends_with(std::path::is_separator);
        let (directory, file) = if is_directory {
            (out, None)
        } else {
            if args.keep {
                let what = format!("{} is not a directory, and --keep takes several files", out.display());
                return Err(Failure::new(what, "give a directory that is there with --out"));
            }
            let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
            (parent.unwrap_or(Path::new(".")).to_owned(), Some(out))
        };
        match std::fs::metadata(&directory) {
            Ok(facts) if facts.is_dir() => Ok(Self { directory, file, force: args.force }),
            Ok(_) => {
                Err(Failure::new(format!("{} is not a directory", directory.display()), "correct --out"))
            }
            Err(error) => Err(Failure::new(
                format!("cannot write to {}: {error}", directory.display()),
                "give a directory that is there with --out",
            )),
        }
    }

    fn path(&self, name: &str) -> Result<PathBuf, String> {
        match &self.file {
            Some(file) => Ok(file.clone()),
            None => Ok(self.directory.join(plain(name)?)),
        }
    }
}

/// A name from elsewhere, if it is nothing but the name of a file in one directory, and plain to see.
fn plain(name: &str) -> Result<&str, String> {
    let unseen = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let why = if name.is_empty() || name.len() > 240 {
        "has no length that a file's name can have"
    } else if name.contains(['/', '\\', ':']) {
        "is a path and not a name"
    } else if name.starts_with('.') {
        "is hidden or leads elsewhere"
    } else if name.chars().any(unseen) || name.ends_with(['.', ' ']) || name.starts_with(' ') {
        "contains what cannot be seen"
    } else {
        return Ok(name);
    };
    let shown: String = name.chars().take(60).flat_map(char::escape_debug).collect();
    Err(format!("the announced name \"{shown}\" {why}; the receiver can choose one with --out FILE"))
}

/// What one sender offers.
struct Offered {
    connection: DurableConnection,
    sender: ChannelSender,
    receiver: ChannelReceiver,
    name: String,
    size: u64,
}

/// A file that was received.
struct Received {
    path: PathBuf,
    size: u64,
    sha256: String,
    from: u64,
}

/// The transfer under way.
struct Active {
    path: PathBuf,
    size: u64,
    connection: DurableConnection,
    task: JoinHandle<Result<Received, Stopped>>,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Takes one sender after the other.
struct Desk {
    place: Place,
    output: Output,
    keep: bool,
    active: Option<Active>,
}

impl Desk {
    async fn run(&mut self, service: &DurableService) -> Result<(), Failure> {
        let (offer, mut offers) = mpsc::channel(MAX_GREETED);
        let mut greeted = JoinSet::new();
        let mut telling = JoinSet::new();
        let mut events = service.events();
        let mut last_error = None;
        loop {
            tokio::select! {
                accepted = service.accept(), if greeted.len() < MAX_GREETED => match accepted {
                    Some(connection) => {
                        let (offer, output) = (offer.clone(), self.output);
                        let who = json!({ "peer": connection.peer() });
                        telling.spawn(notices::tell(connection.events(), output, who));
                        greeted.spawn(async move {
                            if let Some(offered) = greet(connection).await {
                                let _ = offer.send(offered).await;
                            }
                        });
                    }
                    None => {
                        let why = last_error.unwrap_or_default();
                        return Err(Failure::new("the service had to stop", why));
                    }
                },
                Some(_) = greeted.join_next() => {}
                Some(_) = telling.join_next() => {}
                Some(event) = events.next() => {
                    if let ServiceEvent::Error { message, .. } = event {
                        last_error = Some(message);
                    }
                }
                Some(offered) = offers.recv() => self.take(offered).await,
                ended = ended(&mut self.active) => {
                    self.active = None;
                    if let Some(done) = self.settle(ended) {
                        return done;
                    }
                }
            }
        }
    }

    /// Begins with what is offered, or says why not.
    async fn take(&mut self, offered: Offered) {
        let path = match self.place.path(&offered.name) {
            Ok(path) => path,
            Err(why) => {
                complain(&format!("refused an offer: {why}"));
                refuse(offered, why);
                return;
            }
        };
        if let Some(active) = &mut self.active {
            let same = active.path == path && active.size == offered.size;
            let there = matches!(active.connection.state(), ConnectionState::Connected);
            if there && !same {
                refuse(offered, "it is receiving another file; try again later".to_owned());
                return;
            }
            // The sender was killed and is here again, or is away and another one is here.
            active.task.abort();
            // What it had of the file is closed then.
            let _ = (&mut active.task).await;
            let old = active.connection.clone();
            tokio::spawn(async move { drop(old.close().await) });
        }
        let (connection, size) = (offered.connection.clone(), offered.size);
        let task = tokio::spawn(receive(offered, path.clone(), self.place.force, self.output));
        self.active = Some(Active { path, size, connection, task });
    }

    /// What the end of a transfer means: `Some` is the end of it all.
    fn settle(&self, ended: Result<Received, Stopped>) -> Option<Result<(), Failure>> {
        let failure = match ended {
            Ok(received) => {
                let path = received.path.display().to_string();
                let program = json!({
                    "event": "received", "path": path, "size": received.size, "sha256": received.sha256,
                    "resumed_from": received.from,
                });
                let person = format!("received {path} ({} bytes, sha256 {})", received.size, received.sha256);
                return match written(self.output.line(&person, program)) {
                    Ok(()) if self.keep => None,
                    told => Some(told),
                };
            }
            // It may come back, with the same arguments.
            Err(Stopped::Gone(_)) => {
                complain("the sender went away before the end; waiting for it");
                return None;
            }
            Err(Stopped::Told(message)) => Failure::new(format!("the sender says: {message}"), ""),
            Err(Stopped::Failed(failure)) => failure,
        };
        if self.keep {
            complain(&failure.to_string());
            return None;
        }
        Some(Err(failure))
    }
}

/// Waits for the end of the transfer under way.
async fn ended(active: &mut Option<Active>) -> Result<Received, Stopped> {
    match active {
        Some(active) => match (&mut active.task).await {
            Ok(ended) => ended,
            Err(error) => Err(Failure::new(format!("receiving broke off: {error}"), "").into()),
        },
        None => std::future::pending().await,
    }
}

/// Tells a sender why its file is not taken, in the background.
fn refuse(offered: Offered, message: String) {
    tokio::spawn(async move {
        say_failed(&offered.sender, &message).await;
        drop(offered.receiver);
        offered.connection.close().await;
    });
}

/// Hears what a new peer has to offer, if anything.
async fn greet(connection: DurableConnection) -> Option<Offered> {
    let offer = async {
        let channel = connection.accept_channel().await?;
        let right = channel.label() == LABEL;
        let (sender, mut receiver) = channel.split();
        match hear_word(&mut receiver).await {
            Ok(Word::Offer { name, size }) if right => {
                Some(Offered { connection: connection.clone(), sender, receiver, name, size })
            }
            Err(Stopped::Gone(_)) => None,
            _ => {
                say_failed(&sender, "here files are received, with `everlink send`").await;
                None
            }
        }
    };
    let offered = tokio::time::timeout(OFFER_WITHIN, offer).await.ok().flatten();
    if offered.is_none() {
        complain(&format!("peer {} offered nothing", connection.peer()));
        connection.close().await;
    }
    offered
}

/// Receives one file.
async fn receive(offered: Offered, path: PathBuf, force: bool, output: Output) -> Result<Received, Stopped> {
    let Offered { connection, sender, mut receiver, size, .. } = offered;
    let received = take_file(&sender, &mut receiver, path, size, force, output).await;
    match &received {
        Ok(_) => {
            if let Ok(Ok(receipt)) = tokio::time::timeout(LEAVE_WITHIN, sender.send(word(&Word::Done))).await
            {
                // The sender closes when it has heard it; if it was killed, the file is here all the same.
                let heard = async { tokio::join!(receipt.acked(), until_gone(&mut receiver)) };
                let _ = tokio::time::timeout(LEAVE_WITHIN, heard).await;
            }
        }
        Err(Stopped::Failed(failure)) => {
            // What the sender has sent on is thrown away, or it could not leave.
            let message = failure.to_string();
            tokio::select! {
                () = say_failed(&sender, &message) => {}
                _ = until_gone(&mut receiver) => {}
            }
        }
        Err(_) => {}
    }
    if !matches!(received, Err(Stopped::Gone(_))) {
        connection.close().await;
    }
    received
}

fn word(word: &Word) -> String {
    serde_json::to_string(word).expect("words are plain data")
}

async fn until_gone(receiver: &mut ChannelReceiver) -> RecvError {
    loop {
        if let Err(gone) = receiver.recv().await {
            return gone;
        }
    }
}

async fn take_file(
    sender: &ChannelSender,
    receiver: &mut ChannelReceiver,
    path: PathBuf,
    size: u64,
    force: bool,
    output: Output,
) -> Result<Received, Stopped> {
    let mut partial = block_in_place(|| Partial::open(&path, size, force))?;
    say(sender, &Word::Have { prefixes: partial.prefixes() }).await?;
    let Word::From { offset } = hear_word(receiver).await? else { return Err(out_of_place()) };
    block_in_place(|| partial.go_on(offset))?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if offset > 0 && !output.json {
        complain(&format!("{offset} of {size} bytes are there, going on"));
    }
    let mut progress = Progress::new(output, &name, size, offset);
    loop {
        progress.show(partial.length());
        // What was written is acknowledged, by asking for more.
        match hear(receiver).await? {
            Heard::Piece(piece) => block_in_place(|| partial.write(&piece))?,
            Heard::Word(Word::End { size: sent, sha256 }) => {
                if sent != size || partial.length() != size {
                    return Err(out_of_place());
                }
                let sha256 = block_in_place(|| partial.finish(&sha256))?;
                return Ok(Received { path, size, sha256, from: offset });
            }
            Heard::Word(_) => return Err(out_of_place()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_name_is_nothing_but_a_name() {
        for good in ["a", "report.pdf", "ä ö", "x.part", "a..b", "-rf", "日本"] {
            assert_eq!(plain(good), Ok(good));
        }
        for bad in [
            "",
            ".",
            "..",
            ".bashrc",
            "../a",
            "a/b",
            "/etc/passwd",
            "a\\b",
            "C:x",
            "a\0b",
            "a\nb",
            "a\u{1b}[2J",
            "exe\u{202e}fdp",
            "a\u{200b}",
            "a.",
            "a ",
            " a",
        ] {
            assert!(plain(bad).is_err(), "{bad:?}");
        }
        assert!(plain(&"x".repeat(241)).is_err());
    }
}
