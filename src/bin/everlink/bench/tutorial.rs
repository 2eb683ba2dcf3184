//! What following a tutorial costs beside a plain connection: all members in this process, over real WebRTC on loopback.

use std::time::{Duration, Instant};

use everlink::link::webrtc::Impairment;
use everlink::signaling::MemorySignaling;
use everlink::tutorial::{
    JoinConfig, Phase, RoomConfig, StepContent, TutorialEvent, TutorialRoom, TutorialSync, TutorialSyncState,
};
use everlink::{Client, Events};
use futures_util::future::join_all;

use super::ends::{client, transport};
use super::idle::Process;
use super::raw;
use super::report::{Report, Row, median, quantile};

const FOLLOWERS: usize = 50;
const CUT: Duration = Duration::from_secs(20);

type Sync = TutorialSync<TutorialSyncState>;

pub fn run(report: &mut Report, quick: bool) -> Result<(), String> {
    let rounds = if quick { 30 } else { 300 };
    // The plain program sends one message as large there and back; a step goes one way, over two hops.
    let raw = raw::round_trip(raw::Tuning::Alike, 400, rounds, Duration::ZERO);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| format!("no runtime: {error}"))?.block_on(async {
        let mut class = Class::new(FOLLOWERS + 1).await?;
        let leader = class.join(None).await?;
        let follower = class.join(None).await?;
        leader.lead().await.map_err(said)?;
        let one = steps(&leader, std::slice::from_ref(&follower), rounds).await?;
        report.row(&Row {
            what: "tutorial step, leader to follower by the host, p50",
            unit: "ms",
            ours: median(one),
            raw: Some(raw.quantile(0.5).as_secs_f64() * 1e3),
            as_it_comes: None,
            aim: "<= 5",
        });
        let hand_over = hand_overs(&leader, &follower, rounds.min(100)).await?;
        report.row(&Row {
            what: "tutorial hand-over, accepted to leading, p50",
            unit: "ms",
            ours: median(hand_over),
            raw: Some(raw.quantile(0.5).as_secs_f64() * 1e3 * 2.0),
            as_it_comes: None,
            aim: "<= 2 round trips and work",
        });
        follower.leave().await;
        let mut followers = Vec::new();
        for _ in 0..FOLLOWERS {
            followers.push(class.join(None).await?);
        }
        let last = steps(&leader, &followers, rounds).await?;
        report.row(&Row {
            what: "tutorial step, to the last of 50 followers, p99",
            unit: "ms",
            ours: quantile(last, 0.99),
            raw: None,
            as_it_comes: None,
            aim: "<= 20",
        });
        Ok::<(), String>(())
    })?;
    let (members, guests) = (each("members")?, each("guests")?);
    report.row(&Row {
        what: "tutorial follower, memory (beside: a connected client)",
        unit: "KiB",
        ours: members,
        raw: Some(guests),
        as_it_comes: None,
        aim: "as an idle connection",
    });
    if !quick {
        let after = on_two_threads(cut)?;
        report.row(&Row {
            what: "tutorial, leader cut for 20 s: newest step after healing",
            unit: "ms",
            ours: after,
            raw: None,
            as_it_comes: None,
            aim: "<= 1000, role kept",
        });
    }
    Ok(())
}

/// What each of them takes more, in KiB.
fn each(what: &str) -> Result<f64, String> {
    let resident = |count: usize| {
        let value = super::idle::measure(what, count, 1)?;
        value["resident"].as_f64().ok_or_else(|| "the measuring process says no memory".to_owned())
    };
    Ok((resident(FOLLOWERS)? - resident(FOLLOWERS / 2)?) / (FOLLOWERS - FOLLOWERS / 2) as f64 / 1024.0)
}

/// The memory of members of a room, or of clients with a plain connection and a channel to its service, that do nothing.
pub async fn idle(count: usize, members: bool, before: Process) -> Result<u64, String> {
    let mut class = Class::new(count).await?;
    let (mut joined, mut connected) = (Vec::new(), Vec::new());
    for _ in 0..count {
        if members {
            joined.push(class.join(None).await?);
        } else {
            let client = client(&class.signaling, transport(None));
            let connection = client.connect_by_uuid(class.room.id()).await.map_err(said)?;
            let channel = connection.open_channel("idle").map_err(said)?;
            class.clients.push(client);
            connected.push((connection, channel));
        }
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let resident = Process::now().resident.saturating_sub(before.resident);
    drop((class, joined, connected));
    Ok(resident)
}

fn on_two_threads<F: Future<Output = Result<f64, String>>>(work: impl FnOnce() -> F) -> Result<f64, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| format!("no runtime: {error}"))?.block_on(work())
}

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

struct Class {
    signaling: MemorySignaling,
    room: TutorialRoom,
    clients: Vec<Client>,
}

impl Class {
    async fn new(members: usize) -> Result<Self, String> {
        let signaling = MemorySignaling::new();
        let host = client(&signaling, transport(None));
        let mut config = RoomConfig::default();
        config.max_members = members;
        let user = "bench".parse().expect("a good username");
        let room = TutorialRoom::open(&host, user, config).await.map_err(said)?;
        Ok(Self { signaling, room, clients: vec![host] })
    }

    async fn join(&mut self, impairment: Option<&Impairment>) -> Result<Sync, String> {
        let client = client(&self.signaling, transport(impairment));
        self.clients.push(client.clone());
        TutorialSync::connect(&client, self.room.id(), JoinConfig::default()).await.map_err(said)
    }
}

fn step(index: u32) -> TutorialSyncState {
    TutorialSyncState {
        tutorial_id: "bench".into(),
        tutorial_title: "A tutorial as large as most".into(),
        total_steps: 1000,
        is_showing_solution: false,
        step_content: StepContent {
            id: format!("step-{index}"),
            title: "A step with a title of some length, as they have".into(),
            commit_hash: "0123456789abcdef0123456789abcdef01234567".into(),
            index,
            ..Default::default()
        },
        repo_url: Some("https://example.org/somebody/some-tutorial".into()),
    }
}

async fn shown(events: &mut Events<TutorialEvent<TutorialSyncState>>, index: u32) {
    while let Some(event) = events.next().await {
        if matches!(event, TutorialEvent::StateUpdated(state) if state.step_content.index == index) {
            return;
        }
    }
}

/// How long each step took to the last follower, in milliseconds.
async fn steps(leader: &Sync, followers: &[Sync], rounds: usize) -> Result<Vec<f64>, String> {
    let mut events: Vec<_> = followers.iter().map(TutorialSync::events).collect();
    let mut took = Vec::new();
    for round in 0..rounds {
        let index = u32::try_from(followers.len() * 10_000 + round).unwrap_or(0);
        let begun = Instant::now();
        leader.send_state(step(index)).map_err(said)?;
        join_all(events.iter_mut().map(|events| shown(events, index))).await;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(took)
}

async fn hand_overs(one: &Sync, other: &Sync, rounds: usize) -> Result<Vec<f64>, String> {
    let (mut from, mut to) = (one.clone(), other.clone());
    let mut took = Vec::new();
    for _ in 0..rounds {
        let offering = tokio::spawn({
            let from = from.clone();
            async move { from.offer_control(None).await }
        });
        let offer = loop {
            match to.control().offer {
                Some(offer) => break offer.offer,
                None => to.changed().await,
            }
        };
        let begun = Instant::now();
        to.accept_control(offer).await.map_err(said)?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        offering.await.map_err(said)?.map_err(said)?;
        std::mem::swap(&mut from, &mut to);
    }
    // As it was before, for what follows.
    if from.me() != one.me() {
        from.return_control().await.map_err(said)?;
    }
    while one.phase() != Phase::Active {
        one.clone().changed().await;
    }
    Ok(took)
}

/// The leader's network is gone for a while; how long after it is back the newest step is shown, in milliseconds.
async fn cut() -> Result<f64, String> {
    let network = Impairment::new(1);
    let mut class = Class::new(2).await?;
    let leader = class.join(Some(&network)).await?;
    let follower = class.join(None).await?;
    leader.lead().await.map_err(said)?;
    leader.send_state(step(1)).map_err(said)?;
    let mut events = follower.events();
    shown(&mut events, 1).await;
    network.set_blackout(true);
    for index in 2..=20 {
        tokio::time::sleep(CUT / 20).await;
        leader.send_state(step(index)).map_err(|error| format!("the role was lost: {error}"))?;
    }
    tokio::time::sleep(CUT / 20).await;
    network.set_blackout(false);
    let begun = Instant::now();
    // As when the system tells of a network.
    if let Some(connection) = leader.connection() {
        connection.reconnect_now();
    }
    loop {
        match events.next().await {
            Some(TutorialEvent::StateUpdated(state)) if state.step_content.index == 20 => break,
            Some(TutorialEvent::StateUpdated(state)) => {
                return Err(format!("step {} was replayed, which is over", state.step_content.index));
            }
            Some(_) => {}
            None => return Err("the follower is out of the room".into()),
        }
    }
    if leader.phase() != Phase::Active {
        return Err(format!("the leader is {}", leader.phase()));
    }
    Ok(begun.elapsed().as_secs_f64() * 1e3)
}
