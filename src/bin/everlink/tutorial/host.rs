//! `everlink tutorial host`.

use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use everlink::signaling::{NameError, ServiceFqn, Signaling as _, Username};
use everlink::store::FileStore;
use everlink::tutorial::{ConflictStrategy, JoinConfig, RoomConfig, RoomError, TutorialRoom};
use everlink::{Identity, PublicKey};
use serde_json::json;

use super::checkout::Folder;
use super::lessons::Lessons;
use super::repository::{RepositoryContent, Tutorial};
use super::session::{Face, Leads, Parting, Session};
use super::view::View;
use crate::args::TutorialHost;
use crate::failure::{Failure, complain};
use crate::output::{Output, written};
use crate::stop::Stop;
use crate::whoami::identity;

pub async fn run(args: TutorialHost, output: Output) -> Result<(), Failure> {
    let mut stop = Stop::listen();
    // What can be wrong on this machine comes before anything is published.
    let (path, branch) = (args.path.clone(), args.branch.clone());
    let reading = tokio::task::spawn_blocking(move || Tutorial::open(&path, branch.as_deref()));
    let tutorial = reading.await.map_err(|_| Failure::new("reading the repository failed", ""))??;
    let tutorial = Arc::new(tutorial);
    let folder = args.work.as_deref().map(Folder::open).transpose()?;
    let store = args.store.as_ref().map(FileStore::open).transpose()?;
    let identity = identity(args.identity.as_deref())?.0;
    let user = match args.user.clone() {
        Some(user) => user,
        None => default_user(identity.public_key()),
    };
    args.network.server.probe().await?;
    for remark in &tutorial.remarks {
        complain(remark);
    }

    let content = RepositoryContent::new(tutorial.clone());
    let mut config = RoomConfig::default();
    config.service = args.store.as_deref().map(kept_service).transpose()?;
    config.max_members = args.limit;
    config.public = args.public;
    config.content = Some(Arc::new(content.clone()));
    config.conflicts = args.strategy.into();
    args.network.prepare(&mut config.connection);
    let (client, links) = args.network.cuttable(identity, store);
    let room = tokio::select! {
        room = TutorialRoom::open(&client, user, config) => room?,
        () = stop.wished() => return Err(Failure::new("interrupted before the room was open", "")),
    };
    let mut join = JoinConfig::default();
    join.name.clone_from(&args.name);
    let sync = room.sync(join).await?;

    let server = args.network.server.url();
    let link = room.link(server);
    // Also before a screen is drawn: it is there again afterwards, to be copied.
    let told = json!({
        "event": "room", "uuid": room.id(), "link": link.to_string(), "web": link.web(), "title": tutorial.title,
        "steps": tutorial.steps.len(), "branch": tutorial.branch,
    });
    let page = link.web().map_or_else(String::new, |web| format!("\npage {web}"));
    written(output.line(&format!("room {}\nlink {link}{page}", room.id()), told))?;
    let mut invite = vec![format!("everlink tutorial follow {} --server {server}", room.id())];
    invite.extend(link.web().map(|web| format!("or on the page {web}")));

    let mut view = View::new(invite, folder.is_some());
    view.notice = view.invite.first().map(|how| format!("others join with: {how}"));
    view.outline = tutorial.outline();
    view.tutorial_id.clone_from(&tutorial.id);
    let mut session = Session::new(sync, Lessons::Repository(content), view, Face::new(output)?);
    session.folder = folder;
    session.links = args.cuttable.then_some(links);
    session.leads = Leads::Will;
    if args.store.is_some() {
        // Members wait for the next run, and who leads goes on leading.
        session.parting = Parting::Stay(client.clone());
        return session.run(&mut stop).await;
    }
    let ended = session.run(&mut stop).await;
    room.close().await;
    client.shutdown().await;
    ended
}

/// The service of the room that is kept in a directory: that of the run before, or a new one, which cannot be guessed.
fn kept_service(directory: &Path) -> Result<ServiceFqn, Failure> {
    let file = directory.join("room");
    let failed = |why: &dyn std::fmt::Display| {
        Failure::new(
            format!("cannot keep the room in {}: {why}", file.display()),
            "name another directory with --store",
        )
    };
    match fs::read_to_string(&file) {
        Ok(name) => return name.trim().parse().map_err(|error: NameError| failed(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(&error)),
    }
    let random: String =
        Identity::generate().public_key().as_bytes()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let service: ServiceFqn =
        format!("tutorial-{random}@1.0.0").parse().map_err(|error: NameError| failed(&error))?;
    fs::write(&file, format!("{service}\n")).map_err(|error| failed(&error))?;
    Ok(service)
}

/// A name that nobody else claims: of the key.
fn default_user(key: PublicKey) -> Username {
    let letters: String = key
        .to_string()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(12)
        .collect::<String>()
        .to_lowercase();
    format!("tutorial-{letters}").parse().expect("letters, digits and a dash, of 10 to 21 characters")
}

impl From<RoomError> for Failure {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::Service(error) => error.into(),
            RoomError::Store(error) => error.into(),
            _ => Self::new(error.to_string(), ""),
        }
    }
}

/// Who gets control when two want it, by its name on the command line.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Strategy {
    /// Who joined first.
    First,
    /// Nobody.
    Deny,
    /// The leader is asked.
    Ask,
    /// Who leads goes on.
    Leader,
    /// Whose wish is older.
    Oldest,
}

impl From<Strategy> for ConflictStrategy {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::First => Self::FirstComeFirstServed,
            Strategy::Deny => Self::DenyBoth,
            Strategy::Ask => Self::UserChoice,
            Strategy::Leader => Self::ActiveWins,
            Strategy::Oldest => Self::TimestampWins,
        }
    }
}
