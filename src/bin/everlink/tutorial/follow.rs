//! `everlink tutorial follow`.

use everlink::Identity;
use everlink::signaling::{HttpSignaling, Signaling as _};
use everlink::store::FileStore;
use everlink::tutorial::{JoinConfig, JoinError, Left, TutorialSync};
use serde_json::json;

use super::checkout::Folder;
use super::lessons::Lessons;
use super::session::{Face, Session};
use super::view::View;
use crate::args::{DEFAULT_SERVER, Network, PATIENCE, TutorialFollow};
use crate::failure::Failure;
use crate::output::{Output, written};
use crate::stop::Stop;
use crate::whoami::identity;

pub async fn run(args: TutorialFollow, output: Output) -> Result<(), Failure> {
    let mut stop = Stop::listen();
    let folder = args.work.as_deref().map(Folder::open).transpose()?;
    let store = args.store.as_ref().map(FileStore::open).transpose()?;
    let identity = match (&args.identity, &args.store) {
        (Some(path), _) => identity(Some(path))?.0,
        // A session goes on with its key only.
        (None, Some(store)) => identity(Some(&store.join("identity")))?.0,
        (None, None) => Identity::generate(),
    };
    let server = match (args.server, &args.room.server) {
        (Some(server), _) => server,
        (None, Some(url)) => server_at(url)?,
        (None, None) => server_at(DEFAULT_SERVER)?,
    };
    // Asked first, as it knows at once; joining would wait for the server to come.
    server.probe().await?;
    let server_url = server.url().to_owned();
    let network = Network { server, links: args.links, speak: None };
    let (client, links) = network.cuttable(identity, store);

    let mut config = JoinConfig::default();
    config.name.clone_from(&args.name);
    config.observer = args.observer;
    config.connection.connect_timeout = PATIENCE;
    config.timeout = PATIENCE;
    let joined = tokio::select! {
        joined = TutorialSync::connect(&client, args.room.room, config) => joined,
        () = stop.wished() => return Err(Failure::new("interrupted before the room was reached", "")),
    };
    let sync = match joined {
        Ok(sync) => sync,
        Err(error) => {
            client.shutdown().await;
            return Err(error.into());
        }
    };
    let mut link = args.room;
    link.server = Some(server_url.clone());
    let told = json!({ "event": "room", "uuid": link.room, "link": link.to_string(), "web": link.web() });
    written(output.event(told))?;
    let mut invite = vec![format!("everlink tutorial follow {} --server {}", link.room, server_url)];
    invite.extend(link.web().map(|web| format!("or on the page {web}")));
    let lessons = Lessons::Room(sync.content().map_err(|error| Failure::new(error.to_string(), ""))?);
    let mut session = Session::new(sync, lessons, View::new(invite, folder.is_some()), Face::new(output)?);
    session.folder = folder;
    session.links = args.cuttable.then_some(links);
    let ended = session.run(&mut stop).await;
    client.shutdown().await;
    ended
}

fn server_at(url: &str) -> Result<HttpSignaling, Failure> {
    HttpSignaling::new(url)
        .map_err(|error| Failure::new(format!("the server of the link: {error}"), "name one with --server"))
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Connect(error) => error.into(),
            JoinError::Left(Left::ConnectionLost(reason)) => reason.into(),
            _ => Self::new(error.to_string(), ""),
        }
    }
}
