//! A lesson: a teacher leads, two learners follow, one of them takes over, and a cut in the middle loses neither the
//! place nor the lead.
//!
//! `cargo run --example tutorial_sync`

use std::time::Duration;

use everlink::link::webrtc::{Impairment, WebRtcConfig, WebRtcTransport};
use everlink::signaling::MemorySignaling;
use everlink::tutorial::{
    JoinConfig, Phase, RoomConfig, StepContent, TutorialEvent, TutorialRoom, TutorialSync, TutorialSyncState,
};
use everlink::{Client, Identity};

type Error = Box<dyn std::error::Error + Send + Sync>;

fn step(index: u32, title: &str) -> TutorialSyncState {
    TutorialSyncState {
        tutorial_id: "everlink".into(),
        tutorial_title: "Durable connections".into(),
        total_steps: 4,
        is_showing_solution: false,
        step_content: StepContent {
            id: format!("step-{index}"),
            title: title.into(),
            index,
            ..Default::default()
        },
        repo_url: None,
    }
}

/// Follows: prints what is shown, and takes control when it is offered.
async fn learn(name: &'static str, sync: TutorialSync) -> Result<(), Error> {
    let mut events = sync.events();
    while let Some(event) = events.next().await {
        match event {
            TutorialEvent::StateUpdated(state) => println!("{name}: sees {:?}", state.step_content.title),
            TutorialEvent::ControlOffered { offer, .. } => {
                sync.accept_control(offer).await?;
                println!("{name}: leads now");
                sync.send_state(step(3, "What a learner found"))?;
                sync.return_control().await?;
            }
            TutorialEvent::Healing => println!("{name}: cut off, and keeps its place"),
            TutorialEvent::Left(left) => println!("{name}: {left}"),
            _ => {}
        }
    }
    Ok(())
}

async fn join(client: &Client, room: &TutorialRoom, name: &str) -> Result<TutorialSync, Error> {
    let mut config = JoinConfig::default();
    config.name = Some(name.into());
    Ok(TutorialSync::connect(client, room.id(), config).await?)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let signaling = MemorySignaling::new();
    let host = Client::new(Identity::generate(), signaling.clone());
    let mut config = RoomConfig::default();
    config.max_members = 3;
    let room = TutorialRoom::open(&host, "teacher".parse()?, config).await?;
    println!("teacher: to be shared: {}", room.link("https://signal.example.org"));
    let teacher: TutorialSync = room.sync(JoinConfig::default()).await?;

    // The first learner's network can be made bad at will. Leave this out of an application.
    let network = Impairment::new(1);
    let mut webrtc = WebRtcConfig::default();
    webrtc.impairment = Some(network.clone());
    let ada = Client::builder(Identity::generate()).signaling(signaling.clone());
    let ada = ada.transport(WebRtcTransport::new(webrtc)).build();
    let bob = Client::new(Identity::generate(), signaling);
    let learning = [
        tokio::spawn(learn("ada", join(&ada, &room, "Ada").await?)),
        tokio::spawn(learn("bob", join(&bob, &room, "Bob").await?)),
    ];

    teacher.lead().await?;
    teacher.send_state(step(0, "Connect"))?;
    tokio::time::sleep(Duration::from_millis(300)).await;

    network.set_blackout(true);
    for (index, title) in ["Pull the plug", "Plug it in"].into_iter().enumerate() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        teacher.send_state(step(index as u32 + 1, title))?; // when Ada is back she sees what was shown meanwhile
    }
    network.set_blackout(false);
    tokio::time::sleep(Duration::from_millis(1500)).await;

    let learner = teacher.members().into_iter().find(|member| member.name.as_deref() == Some("Bob"));
    let learner = learner.ok_or("Bob is here")?.id;
    let outcome = teacher.offer_control(Some(learner)).await?;
    println!("teacher: {outcome:?}");
    let mut control = teacher.clone();
    while teacher.phase() != Phase::Active
        || teacher.state().is_none_or(|state| state.step_content.index != 3)
    {
        control.changed().await;
    }
    println!(
        "teacher: leads again, from {:?}",
        teacher.state().map(|state| state.step_content.title.clone())
    );

    room.close().await;
    for learner in learning {
        learner.await??;
    }
    tokio::join!(ada.shutdown(), bob.shutdown(), host.shutdown());
    Ok(())
}
