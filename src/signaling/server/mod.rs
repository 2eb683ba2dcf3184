//! The signaling server: a [`directory`](super::directory) behind HTTP.
//!
//! ```no_run
//! use everlink::signaling::server::{Server, ServerConfig};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = ServerConfig::default();
//! config.data = Some("/var/lib/everlink".into());
//! let listener = std::net::TcpListener::bind("127.0.0.1:8080")?;
//! Server::new(config)?.run(listener, std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```

mod connections;
mod events;
mod journal;
mod pages;
mod routes;

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::events::Polls;
use self::journal::Journal;
pub use self::pages::Page;
use self::pages::Pages;
use super::directory::{Directory, Limits};
use super::local::{Keeper, Local};
use super::memory::Records;
use crate::runtime;

/// How a server is to be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// The directory in which names and services are kept over restarts; made if it is not there.
    /// Without one a restart forgets them, and hosts have to publish again, which they do by
    /// themselves.
    pub data: Option<PathBuf>,
    /// What one key, and all of them, may use.
    pub limits: Limits,
    /// Connections at one time; more wait to be accepted. 10,000. Each takes a file descriptor.
    pub max_connections: usize,
    /// How often a silent event stream carries a sign of life. 8 s; clients give a stream up that
    /// was silent for 25 s.
    pub keep_alive: Duration,
    /// Pages for people who come with a browser. Default: none.
    pub pages: Vec<Page>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            data: None,
            limits: Limits::default(),
            max_connections: 10_000,
            keep_alive: Duration::from_secs(8),
            pages: Vec::new(),
        }
    }
}

/// Why a server could not start or go on. The text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The data directory cannot be used. Nothing in it was changed.
    #[error("cannot use the data directory {}: {problem}", path.display())]
    Data {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// This machine's clock is years behind: leases counted by it would all seem to have ended
    /// once it is set.
    #[error("this machine's clock is years behind; set it first")]
    Clock,
    /// The listener cannot be used.
    #[error("cannot listen: {0}")]
    Listen(#[from] io::Error),
}

/// A signaling server, ready to run.
pub struct Server {
    config: ServerConfig,
    directory: Directory,
    keeper: Arc<dyn Keeper>,
    journal: Option<Arc<Journal>>,
    started_at: u64,
}

impl Server {
    /// Opens the data directory, if there is one. Blocks on the file system for a moment.
    ///
    /// # Errors
    /// When the data directory is damaged, in use, foreign or cannot be written, or the clock of
    /// this machine was never set.
    pub fn new(config: ServerConfig) -> Result<Self, ServerError> {
        let started_at = runtime::unix_millis();
        if started_at < EARLIEST {
            return Err(ServerError::Clock);
        }
        let instance = u64::from_be_bytes(runtime::random());
        let mut directory = Directory::new(config.limits.clone(), instance);
        let (keeper, journal): (Arc<dyn Keeper>, _) = match &config.data {
            None => (Arc::new(Records::default()), None),
            Some(path) => {
                let (journal, records) = Journal::open(path)?;
                directory.restore(started_at, records).map_err(|error| ServerError::Data {
                    path: path.clone(),
                    problem: format!("{error}; restore it from a backup, or move it away to start empty"),
                })?;
                let journal = Arc::new(journal);
                (journal.clone(), Some(journal))
            }
        };
        Ok(Self { config, directory, keeper, journal, started_at })
    }

    /// Serves until `shutdown` resolves; then ends all event streams, lets running requests end
    /// for up to three seconds, and returns with no task left and everything written.
    ///
    /// Dropping the future ends everything at once; what was acknowledged is written.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub async fn run(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServerError> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tracing::info!(address = ?listener.local_addr().ok(), "serving");
        let local = Local::new(self.directory, self.keeper, self.started_at, true);
        let polls = Arc::new(Polls::new());
        let shared = Arc::new(routes::Shared {
            local: local.clone(),
            polls,
            keep_alive: self.config.keep_alive,
            pages: Pages::new(self.config.pages),
        });
        let serving = async {
            tokio::select! {
                () = local.see_to_expiry() => {}
                () = shared.polls.see_to_expiry() => {}
                () = connections::serve(listener, routes::router(shared.clone()), self.config.max_connections, async {
                    shutdown.await;
                    local.close();
                }) => {}
            }
            shared.polls.clear();
        };
        let Some(journal) = self.journal else {
            serving.await;
            return Ok(());
        };
        let serving = async {
            serving.await;
            journal.end();
        };
        futures_util::join!(serving, journal.write_all());
        Ok(())
    }
}

/// 2024: no clock that was set says an earlier time.
const EARLIEST: u64 = 1_704_067_200_000;

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("config", &self.config).finish_non_exhaustive()
    }
}
