//! Carries out the plan.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use everlink::link::webrtc::{WebRtcConfig, WebRtcTransport};
use everlink::signaling::{HttpSignaling, ServiceUuid};
use everlink::testkit::{Log, check};
use everlink::{Client, CloseReason, ConnectionConfig, ConnectionState, Identity, Target};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::SoakArgs;
use super::figures::Figures;
use super::plan::{Fault, Step, Times, Who, plan};
use super::processes::{Process, Said, start};
use crate::failure::{Failure, complain};
use crate::output::Output;
use crate::stop::Stop;

/// Far more than any recovery takes.
const PATIENCE: Duration = Duration::from_secs(90);
/// What the table calls recoveries from more than one fault.
const SEVERAL: &str = "several at once";
const TELL_EVERY: Duration = Duration::from_secs(5);

pub async fn run(args: &SoakArgs, output: Output) -> Result<(), Failure> {
    let seed = args
        .seed
        .unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_micros() as u64));
    let (dir, temporary) = match &args.dir {
        Some(dir) => (dir.clone(), false),
        None => (std::env::temp_dir().join(format!("everlink-soak-{seed}")), true),
    };
    std::fs::create_dir_all(&dir).map_err(|error| {
        Failure::new(format!("cannot make {}: {error}", dir.display()), "choose another with --dir")
    })?;
    if dir.join("host.history").exists() {
        return Err(Failure::new(
            format!("{} has the history of another run", dir.display()),
            "choose another with --dir",
        ));
    }
    complain(&format!("soak with seed {seed} in {}", dir.display()));
    let (said, events) = mpsc::channel(1024);
    let begun = Instant::now();
    let mut soak = Soak {
        args: args.clone(),
        seed,
        output,
        dir: dir.clone(),
        begun,
        told: begun,
        said,
        events,
        url: String::new(),
        uuid: String::new(),
        keys: HashMap::new(),
        processes: HashMap::new(),
        lives: 0,
        sent: HashMap::new(),
        waiting: Vec::new(),
        entangled: false,
        figures: Figures::default(),
    };
    let mut stop = Stop::listen();
    let driven = tokio::select! {
        driven = soak.drive() => driven,
        () = stop.wished() => Err(Failure::new("interrupted", "")),
    };
    for process in soak.processes.values_mut() {
        process.kill().await;
    }
    let failed =
        |what: String| Failure::new(what, format!("seed {seed}; histories are in {}", dir.display()));
    let logs = [Who::Peer, Who::Host].map(|who| Log::read(soak.path(who, ".history")));
    let [peer, host] = logs.map(|log| log.map_err(|error| failed(error.to_string())));
    // Why it could not go on comes first: what is under way then counts as lost.
    driven.map_err(|failure| failed(failure.to_string()))?;
    let verdict = check(seed, &peer?, &host?);
    let table = soak.figures.table(&verdict, begun.elapsed());
    let _ = output.line(table.trim_end(), soak.figures.json(&verdict, begun.elapsed()));
    if !verdict.is_clean() {
        eprintln!("{verdict}");
        return Err(failed("a promise was broken".to_owned()));
    }
    if temporary {
        let _ = std::fs::remove_dir_all(&dir);
    }
    Ok(())
}

struct Soak {
    args: SoakArgs,
    seed: u64,
    output: Output,
    dir: PathBuf,
    begun: Instant,
    told: Instant,
    said: mpsc::Sender<Said>,
    events: mpsc::Receiver<Said>,
    url: String,
    uuid: String,
    keys: HashMap<Who, String>,
    processes: HashMap<Who, Process>,
    lives: u64,
    /// Messages by the life that sent them.
    sent: HashMap<u64, u64>,
    /// Recoveries that nobody waits for, by who will tell of them.
    waiting: Vec<Awaited>,
    /// The fault under way began before everything had recovered from the one before.
    entangled: bool,
    figures: Figures,
}

/// A recovery that has not been told of.
struct Awaited {
    who: Who,
    life: u64,
    /// The name of the event.
    event: &'static str,
    cause: String,
    /// Something else befell them before they had recovered.
    entangled: bool,
}

impl Soak {
    fn path(&self, who: Who, name: &str) -> PathBuf {
        self.dir.join(format!("{}{name}", who.name()))
    }

    async fn drive(&mut self) -> Result<(), Failure> {
        for who in [Who::Host, Who::Peer] {
            let identity = Identity::load_or_create(self.path(who, ".key"))
                .map_err(|error| Failure::new(error.to_string(), ""))?;
            self.keys.insert(who, identity.public_key().to_string());
        }
        self.start(Who::Server)?;
        let listening = self.event(Who::Server, "listening").await?;
        self.url = text(&listening, "url");
        self.start(Who::Host)?;
        let exposed = self.event(Who::Host, "exposed").await?;
        self.uuid = text(&exposed, "uuid");
        self.start(Who::Peer)?;
        self.event(Who::Peer, "first").await?;

        let SoakArgs { kills, cuts, storms, .. } = self.args;
        let steps = plan(self.seed, Times { kills, cuts, storms }, self.args.lasts());
        let begun = Instant::now();
        for step in steps {
            self.listen_until(begun + step.at).await?;
            self.carry_out(step).await?;
        }
        // Nothing is on its way back any more, and everything has been sent.
        let deadline = Instant::now() + self.args.lasts() + PATIENCE;
        while !self.waiting.is_empty() || self.total() < self.args.messages {
            self.listen_until(Instant::now() + Duration::from_millis(100)).await?;
            if Instant::now() > deadline {
                let open: Vec<&str> = self.waiting.iter().map(|awaited| awaited.cause.as_str()).collect();
                return Err(Failure::new(
                    format!(
                        "{} of {} messages were sent; not recovered from: {open:?}",
                        self.total(),
                        self.args.messages
                    ),
                    "",
                ));
            }
        }
        for who in [Who::Host, Who::Peer] {
            self.tell(who, "stop").await;
        }
        let mut left = vec![Who::Host, Who::Peer];
        while !left.is_empty() {
            let said = self.next("to drain").await?;
            if is(&said, "drained") {
                left.retain(|who| *who != said.who);
            }
        }
        // So that what arrived last is written down everywhere.
        self.listen_until(Instant::now() + Duration::from_millis(300)).await?;
        for who in [Who::Peer, Who::Host] {
            if let Some(mut process) = self.processes.remove(&who) {
                process.tell("quit").await;
                process.ended(Duration::from_secs(10)).await;
            }
        }
        Ok(())
    }

    fn total(&self) -> u64 {
        self.sent.values().sum()
    }

    fn start(&mut self, who: Who) -> Result<Instant, Failure> {
        self.lives += 1;
        let dir = |path: &Path| path.to_string_lossy().into_owned();
        let args: Vec<String> = match who {
            Who::Server => {
                let listen = self.url.strip_prefix("http://").unwrap_or("127.0.0.1:0").to_owned();
                ["soak", "--json", "--worker=server", "--work-dir", &dir(&self.dir), "--server", &listen]
                    .map(str::to_owned)
                    .to_vec()
            }
            Who::Host | Who::Peer => {
                let other = &self.keys[if who == Who::Host { &Who::Peer } else { &Who::Host }];
                let each_way = self.args.messages as f64 / self.args.lasts().as_secs_f64() / 2.0;
                [
                    ("--worker", who.name().to_owned()),
                    ("--work-dir", dir(&self.dir)),
                    ("--server", self.url.clone()),
                    ("--uuid", self.uuid.clone()),
                    ("--other", other.clone()),
                    ("--life", self.lives.to_string()),
                    ("--rate", each_way.max(20.0).to_string()),
                    ("--worker-seed", self.seed.to_string()),
                ]
                .into_iter()
                .fold(vec!["soak".to_owned()], |mut args, (name, value)| {
                    args.push(format!("{name}={value}"));
                    args
                })
            }
        };
        let process = start(who, self.lives, &args, &self.said)?;
        let started = process.started;
        self.processes.insert(who, process);
        Ok(started)
    }

    async fn tell(&mut self, who: Who, command: &str) {
        if let Some(process) = self.processes.get_mut(&who) {
            process.tell(command).await;
        }
    }

    fn life(&self, who: Who) -> u64 {
        self.processes.get(&who).map_or(0, |process| process.life)
    }

    /// What is said next, with the book-keeping done. Fails when nothing comes of what is waited for.
    async fn next(&mut self, what: &str) -> Result<Said, Failure> {
        let said = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        let said = said
            .ok()
            .flatten()
            .ok_or_else(|| Failure::new(format!("nobody says anything; waited for {what}"), ""))?;
        let Said { who, life, at, ref event } = said;
        let Some(event) = event else {
            if life == self.life(who) {
                return Err(Failure::new(format!("the {} ended by itself", who.name()), ""));
            }
            return Ok(said);
        };
        if let Some(sent) = event["sent"].as_u64() {
            self.sent.insert(life, sent);
        }
        let name = event["event"].as_str().unwrap_or_default();
        match name {
            // Whoever was killed meanwhile may have complained before.
            "lost" if life == self.life(who) => {
                let reason = text(event, "reason");
                return Err(Failure::new(format!("the {} lost the session: {reason}", who.name()), ""));
            }
            "note" => complain(&format!("{}: {}", who.name(), text(event, "text"))),
            _ => {}
        }
        let found = self
            .waiting
            .iter()
            .position(|awaited| (awaited.who, awaited.life, awaited.event) == (who, life, name));
        if let Some(found) = found {
            let awaited = self.waiting.remove(found);
            let seconds = match event["seconds"].as_f64() {
                Some(seconds) => seconds,
                None => self.processes.get(&who).map_or(0.0, |process| (at - process.started).as_secs_f64()),
            };
            for (harmed, what) in self.figures.harmed.iter_mut().zip(["packets_lost", "packets_doubled"]) {
                *harmed += event[what].as_u64().unwrap_or(0);
            }
            if !awaited.entangled {
                self.figures.storm_reconnects += event["reconnects"].as_u64().unwrap_or(0);
            }
            // The limits are for one fault at a time.
            let cause = if awaited.entangled { SEVERAL.to_owned() } else { awaited.cause };
            self.figures.recovered(cause, seconds);
        }
        self.show();
        Ok(said)
    }

    async fn event(&mut self, who: Who, name: &str) -> Result<Value, Failure> {
        let deadline = Instant::now() + PATIENCE;
        let what = format!("{name:?} of the {}", who.name());
        while Instant::now() < deadline {
            let said = self.next(&what).await?;
            if said.who == who && said.life == self.life(who) && is(&said, name) {
                return Ok(said.event.unwrap_or_default());
            }
        }
        Err(Failure::new(format!("waited in vain for {what}"), ""))
    }

    async fn listen_until(&mut self, until: Instant) -> Result<(), Failure> {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => return Ok(()),
                said = self.next("anything") => drop(said?),
            }
        }
    }

    async fn carry_out(&mut self, step: Step) -> Result<(), Failure> {
        let Step { fault, careless, .. } = step;
        let cause = fault.name();
        // Whoever is killed takes along what is waited for, though the others still suffer from it.
        self.entangled = !self.waiting.is_empty();
        self.waiting.iter_mut().for_each(|awaited| awaited.entangled = true);
        match fault {
            Fault::Kill { who, away } => {
                self.figures.kills += 1;
                if who == Who::Server {
                    return self.kill_server(away).await;
                }
                self.kill(who).await;
                self.listen_until(Instant::now() + away).await?;
                self.start(who)?;
                self.wait_for(who, "first", cause);
            }
            Fault::Storm(storm) => {
                self.figures.storms += 1;
                self.suffer(Who::Peer, &storm.command(), cause).await;
            }
            cut => {
                self.figures.cuts += 1;
                match cut {
                    Fault::Close(who) => self.suffer(who, "cut", cause).await,
                    Fault::Blackout(lasts) => {
                        self.suffer(Who::Peer, &format!("dark {}", lasts.as_millis()), cause).await;
                    }
                    _ => self.suffer(Who::Peer, "rebind", cause).await,
                }
            }
        }
        if !careless {
            let deadline = Instant::now() + PATIENCE;
            while !self.waiting.is_empty() {
                self.next("a recovery").await?;
                if Instant::now() > deadline {
                    return Err(Failure::new(format!("no recovery from: {}", self.waiting[0].cause), ""));
                }
            }
        }
        Ok(())
    }

    async fn suffer(&mut self, who: Who, command: &str, cause: String) {
        self.wait_for(who, "recovered", cause);
        self.tell(who, command).await;
    }

    fn wait_for(&mut self, who: Who, event: &'static str, cause: String) {
        let entangled = self.entangled || !self.waiting.is_empty();
        self.waiting.push(Awaited { who, life: self.life(who), event, cause, entangled });
    }

    /// `kill -9`. What the process would have told of is not waited for any more.
    async fn kill(&mut self, who: Who) {
        if let Some(mut process) = self.processes.remove(&who) {
            process.kill().await;
            self.waiting.retain(|awaited| awaited.who != who);
        }
    }

    /// Live links must not notice; and a stranger must find the service again soon.
    async fn kill_server(&mut self, away: Duration) -> Result<(), Failure> {
        let calm = self.waiting.is_empty();
        let before = self.reconnects().await?;
        self.kill(Who::Server).await;
        // Long enough for anybody to notice.
        self.listen_until(Instant::now() + Duration::from_millis(300) + away * 3).await?;
        let started = self.start(Who::Server)?;
        self.event(Who::Server, "listening").await?;
        let uuid: ServiceUuid = self
            .uuid
            .parse()
            .map_err(|_| Failure::new(format!("the host gave no uuid: {}", self.uuid), ""))?;
        let found = tokio::spawn(stranger(self.url.clone(), uuid));
        while !found.is_finished() {
            self.listen_until(Instant::now() + Duration::from_millis(5)).await?;
        }
        let at = found.await.map_err(|error| Failure::new(error.to_string(), ""))??;
        let cause = if calm { Fault::Kill { who: Who::Server, away }.name() } else { SEVERAL.to_owned() };
        self.figures.recovered(cause, (at - started).as_secs_f64());
        if calm && self.reconnects().await? != before {
            self.figures.disturbed += 1;
        }
        Ok(())
    }

    async fn reconnects(&mut self) -> Result<Option<u64>, Failure> {
        self.tell(Who::Peer, "state").await;
        Ok(self.event(Who::Peer, "state").await?["reconnects"].as_u64())
    }

    /// Progress, now and then.
    fn show(&mut self) {
        if self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        let (seconds, sent) = (self.begun.elapsed().as_secs(), self.total());
        let Figures { cuts, kills, storms, .. } = self.figures;
        if self.output.json {
            let _ = self.output.event(json!({
                "event": "progress", "seconds": seconds, "messages": sent, "cuts": cuts, "kills": kills,
                "storms": storms,
            }));
        } else {
            complain(&format!(
                "{seconds} s: {sent} of {} messages, {cuts} of {} cuts, {kills} of {} kills, {storms} of {} storms",
                self.args.messages, self.args.cuts, self.args.kills, self.args.storms
            ));
        }
    }
}

fn is(said: &Said, name: &str) -> bool {
    said.event.as_ref().is_some_and(|event| event["event"] == name)
}

fn text(event: &Value, name: &str) -> String {
    event[name].as_str().unwrap_or_default().to_owned()
}

/// Connects as somebody new, and tells when that was done.
async fn stranger(url: String, uuid: ServiceUuid) -> Result<Instant, Failure> {
    let signaling = HttpSignaling::new(&url).map_err(|error| Failure::new(error.to_string(), ""))?;
    let transport = WebRtcTransport::new(WebRtcConfig::loopback());
    let client = Client::builder(Identity::generate()).signaling(signaling).transport(transport).build();
    let mut config = ConnectionConfig::default();
    (config.backoff.base, config.backoff.max) = (Duration::from_millis(100), Duration::from_millis(200));
    config.connect_timeout = PATIENCE / 2;
    config.backoff.max_attempts = None;
    // Patient: a server that has just been started may not know the service yet.
    let mut connection = client.connect_lazy(Target::Uuid(uuid), config);
    let connected = async {
        loop {
            match connection.state_changed().await {
                // The host wants nothing of strangers and may close at once.
                ConnectionState::Connected | ConnectionState::Closed(CloseReason::Peer) => {
                    return Ok(Instant::now());
                }
                ConnectionState::Closed(reason) => return Err(Failure::from(reason)),
                _ => {}
            }
        }
    };
    let late = || Err(Failure::new("the service was not found again after the server was restarted", ""));
    let at = tokio::time::timeout(PATIENCE / 2, connected).await.unwrap_or_else(|_| late());
    client.shutdown().await;
    at
}
