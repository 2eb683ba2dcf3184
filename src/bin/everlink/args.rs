//! What can be asked for on the command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use everlink::link::IceServer;
use everlink::link::webrtc::{WebRtcConfig, WebRtcTransport};
use everlink::signaling::{HttpSignaling, ServiceFqn, Username};
use everlink::store::FileStore;
use everlink::testkit::{Cuttable, speak};
use everlink::tutorial::TutorialLink;
use everlink::{Client, ConnectionConfig, Identity, PublicKey, QueueConfig, Target};

use crate::bench::BenchArgs;
use crate::soak::SoakArgs;
use crate::tutorial::host::Strategy;

/// How long to look for a host that the server knows and that does not answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The server that is meant when none is named.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:3000";

/// Durable WebRTC connections: messages that are neither lost nor doubled when the link is.
#[derive(Debug, Parser)]
#[command(name = "everlink", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "Example: try it in one process\n  everlink demo\n\n\
    Example: three terminals\n  everlink serve\n  everlink expose alice/chat@1.0.0 --echo\n  \
    everlink connect alice/chat@1.0.0\n\n\
    Exit codes: 0 done, 1 failed, 2 bad usage. Logs go to stderr; RUST_LOG=debug shows more.")]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
    /// Print one JSON object per line.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // there is one of them
pub enum Command {
    Serve(Serve),
    Expose(Expose),
    Connect(Connect),
    Send(Send),
    Recv(Recv),
    Whoami(Whoami),
    Tutorial(Tutorial),
    /// Show what it does: a server, a host and a peer in this process, over real WebRTC.
    ///
    /// Sends thousands of numbered messages both ways, cuts the link three times in different ways
    /// meanwhile, and counts what arrived. Ends with 1 if anything was lost, doubled or reordered.
    #[command(after_help = "Example:\n  everlink demo")]
    Demo,
    /// Measure what connections cost and give, beside a plain program on the same WebRTC stack.
    ///
    /// Takes about ten minutes, or one with --quick. The ratios are what counts on a noisy machine.
    #[command(after_help = "Example: throughput and round trips alone\n  everlink bench --only stream")]
    Bench(BenchArgs),
    /// Prove the promises: a server, a host and a peer as processes that are killed and cut off.
    ///
    /// Host and peer send each other numbered messages over real WebRTC and write down what they do
    /// and see. Meanwhile processes are killed (`kill -9`) and links are cut, at moments drawn from
    /// the seed. In the end both histories are read: what was lost, doubled, reordered or not
    /// reported is shown with its part of the histories, and it ends with 1.
    #[command(
        after_help = "Example: a short one\n  everlink soak --minutes 1 --messages 20000 --cuts 20 --kills 20\n\n\
        Example: the long one, again\n  everlink soak --seed 42"
    )]
    Soak(SoakArgs),
}

/// Run the signaling server, by which hosts and peers find each other.
///
/// Prints `listening on http://ADDR` when it is ready. Ends with ctrl-c or SIGTERM. It speaks plain
/// HTTP: on the open internet, put a proxy with TLS before it.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: for this machine, remembering names and services\n  \
    everlink serve --data ./everlink-data\n\nExample: for the local network, on a free port\n  \
    everlink serve --listen 0.0.0.0:0\n\nExample: with the pages /try and /tutorial, in a clone of the sources\n  \
    everlink serve --web web/dist")]
pub struct Serve {
    /// Where to listen; port 0 picks a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:3000", value_parser = listen_addr)]
    pub listen: String,
    /// Keep names and services in this directory over restarts; made if it is not there. Without
    /// it they are kept in memory.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where the files of the npm package are, for the pages /try, on which two browsers talk, and
    /// /tutorial, on which a tutorial is followed and led: `web/dist` of the sources after
    /// `bash web/build.sh`. The default is the directory `web` beside this program, as in a release.
    /// Without it the pages say what is missing.
    #[arg(long, value_name = "DIR")]
    pub web: Option<PathBuf>,
}

/// Expose a service, and print what its peers send.
///
/// Prints `service UUID` when peers can connect, then each message of every channel as a line:
/// text as it is, bytes that are no text as `base64:...`. On a terminal control characters are
/// shown escaped; `--json` tells messages, peers and channels apart. Ends with ctrl-c or SIGTERM.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: send back what comes\n  everlink expose alice/chat@1.0.0 --echo\n\n\
    Example: at another server, reached over the internet\n  everlink expose alice/chat@1.0.0 \
    --server https://signal.example.org --ice stun:stun.example.org:3478\n\n\
    Example: a directory to whoever connects\n  tar c ./photos | everlink expose alice/photos@1.0.0 --stream")]
pub struct Expose {
    #[command(flatten)]
    pub publish: Publish,
    /// Send each message back on the channel that it came by.
    #[arg(long)]
    pub echo: bool,
    /// Pipe bytes instead of messages: what the first peer sends goes to stdout, stdin goes to it. Ends
    /// when both directions have ended. The uuid is printed on stderr.
    #[arg(long, conflicts_with_all = ["echo", "json"])]
    pub stream: bool,
    /// List the service for everybody. Otherwise it is found by its uuid or exact name only.
    #[arg(long, conflicts_with = "token")]
    pub public: bool,
    /// How many seconds the server keeps the service without hearing of this host.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub ttl: Duration,
    /// Keep the sessions of peers in this directory; made if it is not there. After a crash, a kill
    /// or ctrl-c the next run goes on with them: nothing is lost, and nothing that a peer was told
    /// of comes again. The last lines before a kill may be printed twice. Not for --stream, whose
    /// bytes nobody can read a second time.
    #[arg(long, value_name = "DIR", conflicts_with = "stream")]
    pub store: Option<PathBuf>,
}

/// Connect to a service: each line of stdin is a message, each message received a line on stdout.
///
/// Waits out lost links and goes on where it stopped. At the end of input it waits until the peer
/// has received everything, closes, and ends with 0. A line may have 16 MiB; it is sent as text if
/// it is UTF-8. Bytes received that are no text are printed as `base64:...`; on a terminal control
/// characters are shown escaped.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: by name, at the server of this machine\n  \
    printf 'one\\ntwo\\n' | everlink connect alice/chat@1.0.0\n\n\
    Example: by uuid, as somebody\n  everlink connect 3f2a6c1e-0c6b-8a1d-9f42-5d0e8b7c6a19 \
    --server https://signal.example.org --identity ./bob.key\n\n\
    Example: as a pipe of bytes\n  everlink connect alice/photos@1.0.0 --stream < /dev/null | tar x\n\n\
    Example: lines that survive a crash of either side\n  tail -f ./log | everlink connect \
    alice/logs@1.0.0 --store ./to-alice")]
pub struct Connect {
    #[command(flatten)]
    pub reach: Reach,
    /// The label of the channel to open.
    #[arg(long, value_name = "LABEL", default_value = "main", value_parser = label)]
    pub channel: String,
    /// Go on receiving after the end of input, until the peer closes.
    #[arg(long)]
    pub stay: bool,
    /// Pipe bytes instead of messages, to a host that does the same. The end of input ends this
    /// direction; the other goes on until its own end.
    #[arg(long, conflicts_with_all = ["stay", "json"])]
    pub stream: bool,
    /// Keep the session in this directory; made if it is not there. After a crash, a kill or ctrl-c
    /// the next run with the same target goes on with it, lines not delivered first. A host or server
    /// that is away is waited for. Without --identity the key is kept there, too. Not for --stream,
    /// whose bytes nobody can read a second time.
    #[arg(long, value_name = "DIR", conflicts_with = "stream")]
    pub store: Option<PathBuf>,
}

/// Send a file to an `everlink recv`.
///
/// It arrives whole and verified, or not at all. Whatever breaks, it goes on where it stopped: links come
/// back by themselves, and a sender or receiver that was killed is started again with the same
/// arguments. Ends with 0 when the receiver has verified the file and put it in its place.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  everlink send ./photos.tar 3f2a6c1e-0c6b-8a1d-9f42-5d0e8b7c6a19\n\n\
    Example: by name, at another server\n  everlink send ./photos.tar alice/inbox@1.0.0 --server https://signal.example.org")]
pub struct Send {
    /// The file. Only the last part of its path is announced.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    #[command(flatten)]
    pub reach: Reach,
    /// How many seconds to wait for a receiver that was there and is gone.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub wait: Duration,
}

/// Receive a file from an `everlink send`.
///
/// Prints `service UUID` when senders can connect, and `received PATH` when the file is verified and
/// in its place. Until then it is in PATH.part; whoever is killed goes on from there when it is started again. Ends
/// with 0 after one file. Whoever knows the uuid or the name can send.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: into this directory\n  everlink recv alice/inbox@1.0.0\n\n\
    Example: every file that comes, until ctrl-c\n  everlink recv alice/inbox@1.0.0 --out ./inbox --keep")]
pub struct Recv {
    #[command(flatten)]
    pub publish: Publish,
    /// A directory, where the file gets the announced name, or the path of the file itself. The default is
    /// this directory.
    #[arg(long, value_name = "DIR|FILE")]
    pub out: Option<PathBuf>,
    /// Overwrite a file that exists, once the new one is complete.
    #[arg(long)]
    pub force: bool,
    /// Go on after the first file, until ctrl-c or SIGTERM.
    #[arg(long)]
    pub keep: bool,
}

/// Print the public key of this user, by which others know them.
///
/// The key is made if there is none. Without --identity it is kept in everlink/identity in the
/// user's directory for configuration: $XDG_CONFIG_HOME or ~/.config, on macOS
/// ~/Library/Application Support, on Windows %APPDATA%.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  everlink whoami --identity ./alice.key")]
pub struct Whoami {
    /// The file with the secret key; made if it is not there.
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
}

/// Show a tutorial to others, or follow one: steps, texts and changes, in step with whoever leads.
///
/// A tutorial is a git repository whose commits are its steps: messages that begin with section:, action:,
/// template: and solution: (a template is followed by its solution).
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: two terminals\n  everlink tutorial host ./my-tutorial\n  \
    everlink tutorial follow 3f2a6c1e-0c6b-8a1d-9f42-5d0e8b7c6a19 --work ./exercise")]
pub struct Tutorial {
    #[command(subcommand)]
    pub command: TutorialCommand,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant)] // there is one of them
pub enum TutorialCommand {
    Host(TutorialHost),
    Follow(TutorialFollow),
}

/// Show the tutorial in a git repository, and lead.
///
/// On a terminal it shows the steps on the whole screen; `?` tells the keys. In a pipe it prints `room UUID`, then
/// a line for each change, and reads commands from stdin: next, previous, goto N, solution, text, files,
/// diff, checkout, lead, follow, offer, accept, decline, request, release, quit. Ends with q, ctrl-c or SIGTERM, which closes
/// the room.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: the branch gitorial of a repository, for a class\n  \
    everlink tutorial host ./my-tutorial --name Ada --limit 30\n\n\
    Example: another branch, driven by a script\n  \
    printf 'next\\ndiff\\nquit\\n' | everlink tutorial host ./my-tutorial --branch lessons --json")]
pub struct TutorialHost {
    /// The repository: the folder that has .git in it, or a bare one. It is only read.
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// The branch whose commits are the steps. The default is gitorial.
    #[arg(long, value_name = "BRANCH")]
    pub branch: Option<String>,
    #[command(flatten)]
    pub network: Network,
    /// The username to publish under, claimed if it is free. The default is made of the key.
    #[arg(long, value_name = "USER")]
    pub user: Option<Username>,
    /// What members call you.
    #[arg(long, value_name = "NAME", value_parser = member_name)]
    pub name: Option<String>,
    /// How many members there may be, you included.
    #[arg(long, value_name = "N", default_value = "32", value_parser = members)]
    pub limit: usize,
    /// Who gets control when somebody asks for it while another leads.
    #[arg(long, value_name = "STRATEGY", value_enum, default_value = "ask")]
    pub strategy: Strategy,
    /// List the room for everybody. Otherwise it is found by its uuid or link only.
    #[arg(long)]
    pub public: bool,
    /// Check files out into this folder, made if it is not there: key c. Your changes there are kept.
    #[arg(long, value_name = "DIR")]
    pub work: Option<PathBuf>,
    /// The file with the secret key; made if it is not there. The default is a file of this user's
    /// (see `everlink whoami --json`).
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Keep the room in this directory; made if it is not there. After a crash, a kill or ctrl-c the next run goes on
    /// with it, and members come back by themselves.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// For tests: the line `cut` cuts the links.
    #[arg(long, hide = true)]
    pub cuttable: bool,
}

/// Follow a tutorial that somebody shows, or lead it when it is your turn.
///
/// On a terminal it shows the steps on the whole screen; `?` tells the keys. In a pipe it prints a line for each
/// change, such as `step 3/12 template \"Say hello\"`, and reads the commands of `everlink tutorial host`. Waits out lost links.
/// Ends when the host closes the room, or with q, ctrl-c or SIGTERM.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Example: with a folder for the files, which c puts there\n  \
    everlink tutorial follow 'everlink://3f2a6c1e-0c6b-8a1d-9f42-5d0e8b7c6a19?server=https%3A%2F%2Fsignal.example.org' \\\n    \
    --name Bob --work ./exercise\n\n\
    Example: write down which steps were shown\n  \
    everlink tutorial follow 3f2a6c1e-0c6b-8a1d-9f42-5d0e8b7c6a19 --observer --json < /dev/null > steps.jsonl")]
pub struct TutorialFollow {
    /// The room: the uuid or link that its host shows.
    #[arg(value_name = "UUID|LINK", value_parser = room_link)]
    pub room: TutorialLink,
    /// The signaling server. The default is the link's, or else that of this machine.
    #[arg(long, value_name = "URL", value_parser = HttpSignaling::new)]
    pub server: Option<HttpSignaling>,
    #[command(flatten)]
    pub links: Links,
    /// Check files out into this folder, made if it is not there: key c. Your changes there are kept.
    #[arg(long, value_name = "DIR")]
    pub work: Option<PathBuf>,
    /// What members call you.
    #[arg(long, value_name = "NAME", value_parser = member_name)]
    pub name: Option<String>,
    /// Only watch: never lead.
    #[arg(long)]
    pub observer: bool,
    /// The file with the secret key by which the room shall know you; made if it is not there. Whoever is killed and
    /// comes back with the same key has the same place. Without it you have a new key each time.
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Keep the session in this directory; made if it is not there. Without --identity the key is kept there, too.
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// For tests: the line `cut` cuts the links.
    #[arg(long, hide = true)]
    pub cuttable: bool,
}

/// What a host publishes, and as whom.
#[derive(Debug, ClapArgs)]
pub struct Publish {
    /// The service: USER/NAME@VERSION. The username is claimed if it is free.
    #[arg(value_name = "USER/SERVICE@VERSION", value_parser = service)]
    pub service: (Username, ServiceFqn),
    #[command(flatten)]
    pub network: Network,
    /// The file with the secret key; made if it is not there. The default is a file of this user's
    /// (see `everlink whoami --json`).
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Whoever looks the service up by name must know this. Other users of this machine can see
    /// it on the command line.
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
}

/// Whom a peer connects to, and as whom.
#[derive(Debug, ClapArgs)]
pub struct Reach {
    /// The service: the uuid that its host prints, or USER/NAME@VERSION. Of a public service the
    /// VERSION may be a requirement, such as ^1.2 or 1, which stands for the highest that fits.
    #[arg(value_name = "UUID|USER/SERVICE@VERSION", value_parser = target)]
    pub target: Target,
    #[command(flatten)]
    pub network: Network,
    /// The file with the secret key by which the host shall know this peer; made if it is not
    /// there. Without it the peer has a new key each time.
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// The access token, if the service asks for one.
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Talk to nobody but the owner of this key (as `everlink whoami` prints it).
    #[arg(long, value_name = "KEY")]
    pub peer: Option<PublicKey>,
}

/// How to reach the server and the other side.
#[derive(Debug, ClapArgs)]
pub struct Network {
    /// The signaling server.
    #[arg(long, value_name = "URL", default_value = DEFAULT_SERVER, value_parser = HttpSignaling::new)]
    pub server: HttpSignaling,
    #[command(flatten)]
    pub links: Links,
    /// For tests: speak this version of the protocol, as another release does.
    #[arg(long, hide = true)]
    pub speak: Option<u16>,
}

/// How to reach the other side.
#[derive(Debug, ClapArgs)]
pub struct Links {
    /// A STUN server `stun:HOST:PORT`, or a TURN server `turn:USER:PASSWORD@HOST:PORT`. May be
    /// repeated. Without any, peers on the same machine or network are reached.
    #[arg(long, value_name = "SERVER", value_parser = ice_server)]
    pub ice: Vec<IceServer>,
    /// A local address for links, such as 192.0.2.7 or 192.0.2.7:4000. May be repeated. The
    /// default is every interface.
    #[arg(long, value_name = "ADDR", value_parser = bind_addr)]
    pub bind: Vec<SocketAddr>,
}

impl Reach {
    /// How a connection to it begins: everything sent is kept until it was delivered.
    pub fn config(&self) -> ConnectionConfig {
        let mut config = ConnectionConfig::default();
        config.connect_timeout = PATIENCE;
        config.queue = QueueConfig::lossless();
        config.expect_peer = self.peer;
        config.token.clone_from(&self.token);
        self.network.prepare(&mut config);
        config
    }
}

impl Network {
    /// Puts into a connection's settings what is asked of all of them.
    pub fn prepare(&self, config: &mut ConnectionConfig) {
        if let Some(version) = self.speak {
            speak(config, version);
        }
    }

    /// A client that reaches others so, and keeps its sessions in the store if there is one.
    pub fn client(&self, identity: Identity, store: Option<FileStore>) -> Client {
        let builder =
            Client::builder(identity).signaling(self.server.clone()).transport(self.links.transport());
        match store {
            Some(store) => builder.store(store).build(),
            None => builder.build(),
        }
    }

    /// The same, over links that a test can cut.
    pub fn cuttable(&self, identity: Identity, store: Option<FileStore>) -> (Client, Cuttable) {
        let links = Cuttable::new(self.links.transport());
        let builder = Client::builder(identity).signaling(self.server.clone()).transport(links.clone());
        let client = match store {
            Some(store) => builder.store(store).build(),
            None => builder.build(),
        };
        (client, links)
    }
}

impl Links {
    fn transport(&self) -> WebRtcTransport {
        let mut config = WebRtcConfig::default();
        config.ice_servers.clone_from(&self.ice);
        if !self.bind.is_empty() {
            config.bind.clone_from(&self.bind);
        }
        WebRtcTransport::new(config)
    }
}

fn listen_addr(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    match port.map(str::parse::<u16>) {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err("write an address and a port, such as 127.0.0.1:3000 or [::]:0".to_owned()),
    }
}

fn service(text: &str) -> Result<(Username, ServiceFqn), String> {
    let (user, service) =
        text.split_once('/').ok_or("write the service as USER/NAME@VERSION, such as alice/chat@1.0.0")?;
    let user = user.parse::<Username>().map_err(|error| error.to_string())?;
    Ok((user, service.parse::<ServiceFqn>().map_err(|error| error.to_string())?))
}

fn target(text: &str) -> Result<Target, String> {
    if let Some((user, service)) = text.split_once('/') {
        let user = user.parse().map_err(|error: everlink::signaling::NameError| error.to_string())?;
        let service = service.parse().map_err(|error: everlink::signaling::NameError| error.to_string())?;
        return Ok(Target::Query { user, service });
    }
    let neither = "it is neither the uuid of a service nor USER/NAME@VERSION, such as alice/chat@1.0.0";
    text.parse().map(Target::Uuid).map_err(|_| neither.to_owned())
}

fn room_link(text: &str) -> Result<TutorialLink, String> {
    text.parse().map_err(|error: everlink::tutorial::ParseLinkError| error.to_string())
}

fn member_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    match name.len() {
        1..=everlink::tutorial::MAX_NAME if !name.chars().any(char::is_control) => Ok(name.to_owned()),
        _ => Err(format!("a name has 1 to {} bytes and no control characters", everlink::tutorial::MAX_NAME)),
    }
}

fn members(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(members @ 2..=10_000) => Ok(members),
        _ => Err("write a number of members from 2 to 10000, you included".to_owned()),
    }
}

fn label(text: &str) -> Result<String, String> {
    match text.len() {
        1..=255 => Ok(text.to_owned()),
        length => Err(format!("a label has 1 to 255 bytes, this one {length}")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err("write a number of seconds from 1 to 86400".to_owned()),
    }
}

fn ice_server(text: &str) -> Result<IceServer, String> {
    let wrong = || "write stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT".to_owned();
    let (scheme, rest) = text.split_once(':').ok_or_else(wrong)?;
    let is_host = |host: &str| {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        !name.is_empty() && !host.contains(['/', '@']) && !host.contains(char::is_whitespace)
    };
    match scheme {
        "stun" | "stuns" if is_host(rest) => Ok(IceServer::stun(text)),
        "turn" | "turns" => {
            // A password may contain an `@`; a host cannot.
            let (login, host) = rest.rsplit_once('@').ok_or_else(wrong)?;
            let (user, password) = login.split_once(':').ok_or_else(wrong)?;
            if user.is_empty() || !is_host(host) {
                return Err(wrong());
            }
            Ok(IceServer::turn(format!("{scheme}:{host}"), user, password))
        }
        _ => Err(wrong()),
    }
}

fn bind_addr(text: &str) -> Result<SocketAddr, String> {
    text.parse::<IpAddr>()
        .map(|address| SocketAddr::new(address, 0))
        .or_else(|_| text.parse::<SocketAddr>())
        .map_err(|_| {
            "write an IP address, with a port or without, such as 192.0.2.7 or [::1]:4000".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_help_has_an_example() {
        let mut command = Args::command();
        command.clone().debug_assert();
        assert!(command.render_long_help().to_string().contains("Example"));
        for subcommand in command.get_subcommands_mut() {
            let help = subcommand.render_long_help().to_string();
            assert!(help.contains("Example"), "{help}");
        }
    }

    #[test]
    fn ice_servers_are_read() {
        let turn = ice_server("turn:user:p@ss:w@example.org:3478").unwrap();
        assert_eq!(turn, IceServer::turn("turn:example.org:3478", "user", "p@ss:w"));
        assert_eq!(ice_server("stun:example.org:3478").unwrap(), IceServer::stun("stun:example.org:3478"));
        for bad in ["", "stun", "stun:", "stun::3478", "http://example.org", "turn:example.org", "turn:u:p@"]
        {
            assert!(ice_server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_are_read() {
        assert_eq!(bind_addr("127.0.0.1").unwrap(), "127.0.0.1:0".parse::<SocketAddr>().unwrap());
        assert_eq!(bind_addr("[::1]:80").unwrap(), "[::1]:80".parse::<SocketAddr>().unwrap());
        assert!(bind_addr("localhost").is_err());
        assert!(listen_addr("localhost:80").is_ok() && listen_addr("[::]:0").is_ok());
        for bad in ["", "80", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "a:b"] {
            assert!(listen_addr(bad).is_err(), "{bad}");
        }
    }
}
