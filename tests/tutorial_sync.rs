//! Tutorials over the whole client with memory links: what `@gitorial/sync` promised and tested, both ends asserted.

#![cfg(feature = "tutorial")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{World, user};
use everlink::signaling::ServiceFqn;
use everlink::store::MemoryStore;
use everlink::tutorial::*;
use everlink::{Client, Identity, PublicKey};

type Sync = TutorialSync<TutorialSyncState>;

/// A room, its host's client, and the clients of others.
struct Class {
    world: World,
    host: Client,
    room: TutorialRoom,
    /// Kept: what a client made ends with it.
    clients: Vec<Client>,
}

impl Class {
    async fn new(seed: u64, config: RoomConfig) -> Self {
        let world = World::new(seed);
        let host = world.client(1);
        let room = TutorialRoom::open(&host, user("alice"), config).await.expect("opened");
        Self { world, host, room, clients: Vec::new() }
    }

    async fn of(seed: u64, max_members: usize) -> Self {
        let mut config = RoomConfig::default();
        config.max_members = max_members;
        Self::new(seed, config).await
    }

    fn client(&mut self) -> Client {
        let client = self.world.client(self.clients.len() as u8 + 2);
        self.clients.push(client.clone());
        client
    }

    async fn try_join(&mut self) -> Result<Sync, JoinError> {
        let client = self.client();
        TutorialSync::connect(&client, self.room.id(), JoinConfig::default()).await
    }

    async fn join(&mut self) -> Sync {
        self.try_join().await.expect("joined")
    }
}

/// A leader and a follower, neither of them the host.
async fn two(seed: u64) -> (Class, Sync, Sync) {
    let mut class = Class::of(seed, 2).await;
    let (one, other) = (class.join().await, class.join().await);
    (class, one, other)
}

async fn leader_and_follower(seed: u64) -> (Class, Sync, Sync) {
    let (class, leader, follower) = two(seed).await;
    leader.lead().await.expect("nobody leads");
    becomes(&follower, Phase::Passive).await;
    (class, leader, follower)
}

fn step(index: u32) -> TutorialSyncState {
    TutorialSyncState {
        tutorial_id: "rust".into(),
        tutorial_title: "Rust in a day".into(),
        total_steps: 100,
        is_showing_solution: index % 2 == 1,
        step_content: StepContent {
            id: format!("step-{index}"),
            title: format!("Step {index}"),
            commit_hash: "abc123".into(),
            kind: StepType::Action,
            index,
        },
        repo_url: None,
    }
}

async fn until(sync: &Sync, what: impl Fn(&Sync) -> bool) {
    let mut waiting = sync.clone();
    let waited = async {
        while !what(&waiting) {
            waiting.changed().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(120), waited).await;
    assert!(waited.is_ok(), "it does not come about: {sync:?} {:?}", sync.control());
}

async fn becomes(sync: &Sync, phase: Phase) {
    until(sync, |sync| sync.phase() == phase).await;
}

async fn shows(sync: &Sync, index: u32) {
    until(sync, |sync| sync.state().is_some_and(|state| *state == step(index))).await;
}

async fn event<T>(
    events: &mut everlink::Events<TutorialEvent<TutorialSyncState>>,
    find: impl Fn(TutorialEvent<TutorialSyncState>) -> Option<T>,
) -> T {
    let found = async {
        loop {
            let event = events.next().await.expect("more events");
            if let Some(found) = find(event) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), found).await.expect("the event comes")
}

/// Never both, and as they should be.
fn phases(members: &[&Sync], expected: &[Phase]) {
    let found: Vec<Phase> = members.iter().map(|member| member.phase()).collect();
    assert_eq!(found, expected);
}

// ---- sessions

#[tokio::test(start_paused = true)]
async fn a_room_is_made_joined_by_its_id_and_limited() {
    let mut config = RoomConfig::default();
    config.metadata.insert("tutorial".into(), "react-basics".into());
    let mut class = Class::new(1, config).await;
    let info = class.room.info();
    assert_eq!((info.members, info.active, info.epoch, info.closed), (0, None, 0, None));
    assert_eq!(info.expires_at - info.last_activity, 30 * 60 * 1000);
    assert_eq!(info.metadata["tutorial"], "react-basics");
    // Nobody else's id is like it: 128 random bits name the service.
    let other = TutorialRoom::open(&class.host, user("alice"), RoomConfig::default()).await.unwrap();
    assert_ne!(other.id(), class.room.id());

    let (one, other_member) = (class.join().await, class.join().await);
    phases(&[&one, &other_member], &[Phase::ConnectedIdle; 2]);
    assert_ne!(one.me(), other_member.me());
    assert_eq!(class.room.info().members, 2);
    // The third is refused, and says why.
    let refused = class.try_join().await.unwrap_err();
    assert_eq!(refused, JoinError::Left(Left::Full { max: 2 }));
    assert_eq!(class.room.info().members, 2);
    // When one leaves there is room.
    one.leave().await;
    until(&other_member, |sync| sync.members().len() == 1).await;
    class.join().await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_room_and_a_service_that_is_no_room_are_told_apart() {
    let mut class = Class::of(2, 2).await;
    let client = class.client();
    let unknown = "0b7f7e6e-6e1c-8f3a-9b1e-2f5a8c1d4e70".parse().unwrap();
    let refused = TutorialSync::<TutorialSyncState>::connect(&client, unknown, JoinConfig::default()).await;
    assert!(matches!(refused.unwrap_err(), JoinError::Connect(_)));

    let chat = class.host.expose_service(common::chat()).await.unwrap();
    let refused =
        TutorialSync::<TutorialSyncState>::connect(&client, chat.info().uuid, JoinConfig::default()).await;
    assert!(matches!(refused.unwrap_err(), JoinError::TimedOut(_)));
    let mut config = JoinConfig::default();
    config.name = Some("a\nb".into());
    let refused = TutorialSync::<TutorialSyncState>::connect(&client, class.room.id(), config).await;
    assert_eq!(refused.unwrap_err(), JoinError::BadName);
}

#[tokio::test(start_paused = true)]
async fn rooms_are_listed_counted_and_deleted() {
    let world = World::new(3);
    let host = world.client(1);
    let rooms = TutorialRooms::new(&host, user("alice"));
    assert_eq!((rooms.list().len(), rooms.stats()), (0, RoomsStats::default()));
    let mut events = rooms.events();
    let one = rooms.create(RoomConfig::default()).await.unwrap();
    let other = rooms.create(RoomConfig::default()).await.unwrap();
    let client = world.client(2);
    let guest: Sync = TutorialSync::connect(&client, one.id(), JoinConfig::default()).await.unwrap();
    assert_eq!(rooms.list().len(), 2);
    assert_eq!(rooms.get(one.id()).map(|room| room.id()), Some(one.id()));
    let stats = rooms.stats();
    assert_eq!((stats.active, stats.total, stats.members), (2, 2, 1));
    // Its members are told.
    assert!(rooms.delete(one.id()).await);
    assert_eq!(guest.left().await, Left::Closed(RoomClosed::ByHost));
    phases(&[&guest], &[Phase::Disconnected]);
    assert!(!rooms.delete(one.id()).await);
    assert!(rooms.get(one.id()).is_none());
    let mut told = Vec::new();
    while told.last()
        != Some(&RoomsEvent::Room { room: one.id(), event: RoomEvent::Closed(RoomClosed::ByHost) })
    {
        told.push(events.next().await.unwrap());
    }
    assert_eq!(told[..2], [RoomsEvent::Opened(one.id()), RoomsEvent::Opened(other.id())]);
    assert!(
        matches!(&told[2], RoomsEvent::Room { room, event: RoomEvent::MemberJoined(_) } if *room == one.id())
    );
    rooms.stop().await;
    rooms.stop().await;
    assert_eq!(other.closed().await, RoomClosed::ByHost);
    assert_eq!(rooms.stats().active, 0);
    rooms.create(RoomConfig::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_room_expires_when_nobody_does_anything_and_not_before() {
    let mut class = Class::of(4, 2).await;
    let guest = class.join().await;
    tokio::time::sleep(Duration::from_secs(29 * 60)).await;
    // Activity is what slides it.
    guest.request_state().await.unwrap();
    tokio::time::sleep(Duration::from_secs(29 * 60)).await;
    assert_eq!(class.room.info().closed, None);
    assert_eq!(guest.left().await, Left::Closed(RoomClosed::Expired));
    assert_eq!(class.room.closed().await, RoomClosed::Expired);
    // A lesson is not over because a step takes long.
    let mut class = Class::of(5, 2).await;
    let leader = class.join().await;
    leader.lead().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
    phases(&[&leader], &[Phase::Active]);
}

#[tokio::test(start_paused = true)]
async fn settings_that_make_no_sense_are_refused() {
    let world = World::new(6);
    let host = world.client(1);
    for wrong in [
        |config: &mut RoomConfig| config.max_members = 0,
        |config: &mut RoomConfig| config.lease = Duration::from_millis(1),
        |config: &mut RoomConfig| config.max_state = 1 << 30,
        |config: &mut RoomConfig| config.expires_after = Duration::ZERO,
    ] {
        let mut config = RoomConfig::default();
        wrong(&mut config);
        let refused = TutorialRoom::open(&host, user("alice"), config).await;
        assert!(matches!(refused, Err(RoomError::BadConfig(_))));
    }
}

// ---- phases

#[tokio::test(start_paused = true)]
async fn phases_change_as_told_and_each_change_is_an_event() {
    let mut class = Class::of(10, 2).await;
    let one = class.join().await;
    let mut events = one.events();
    let mut seen = Vec::new();
    one.lead().await.unwrap();
    one.release_control(ReleaseTo::Idle).await.unwrap();
    becomes(&one, Phase::ConnectedIdle).await;
    one.leave().await;
    while let Some(event) = events.next().await {
        if let TutorialEvent::PhaseChanged { from, to, .. } = event {
            assert_eq!(seen.last().copied().unwrap_or(Phase::Disconnected), from);
            seen.push(to);
        }
    }
    use Phase::*;
    assert_eq!(
        seen,
        [Connecting, ConnectedIdle, InitializingPull, Active, Passive, ConnectedIdle, Disconnected]
    );
}

#[tokio::test(start_paused = true)]
async fn when_one_chooses_the_other_is_put_in_the_complementary_phase() {
    // Pull: the one leads, the other follows.
    let (_class, one, other) = two(11).await;
    assert_eq!(one.pull_state_from_peer().await.unwrap(), None);
    becomes(&other, Phase::Passive).await;
    phases(&[&one, &other], &[Phase::Active, Phase::Passive]);
    // Push: the one follows, the other leads, from the state that was pushed.
    let (_class, one, other) = two(12).await;
    one.push_state_to_peer(step(7)).await.unwrap();
    becomes(&other, Phase::Active).await;
    phases(&[&one, &other], &[Phase::Passive, Phase::Active]);
    assert_eq!(other.state().as_deref(), Some(&step(7)));
    other.send_state(step(8)).unwrap();
    shows(&one, 8).await;
}

#[tokio::test(start_paused = true)]
async fn pulling_takes_what_the_other_shows() {
    let (_class, one, other) = two(13).await;
    other.keep_state(&step(5)).unwrap();
    let pulled = one.pull_state_from_peer().await.unwrap();
    assert_eq!(pulled.as_deref(), Some(&step(5)));
    phases(&[&one], &[Phase::Active]);
    becomes(&other, Phase::Passive).await;
    // After a release, what the room had last, if nobody has anything newer.
    one.send_state(step(6)).unwrap();
    one.release_control(ReleaseTo::Idle).await.unwrap();
    becomes(&other, Phase::ConnectedIdle).await;
    assert_eq!(other.pull_state_from_peer().await.unwrap().as_deref(), Some(&step(6)));
}

#[tokio::test(start_paused = true)]
async fn what_the_phase_does_not_allow_is_refused_and_changes_nothing() {
    let (_class, leader, follower) = leader_and_follower(14).await;
    let wrong = |result: Result<(), ControlError>| matches!(result, Err(ControlError::WrongPhase { .. }));
    assert_eq!(follower.send_state(step(1)), Err(StateError::NotActive { phase: Phase::Passive }));
    assert!(matches!(follower.pull_state_from_peer().await, Err(ControlError::WrongPhase { .. })));
    assert!(wrong(follower.push_state_to_peer(step(1)).await));
    assert!(wrong(follower.lead().await));
    assert!(wrong(follower.release_control(ReleaseTo::Idle).await));
    assert!(wrong(follower.return_control().await));
    assert!(matches!(follower.offer_control(None).await, Err(ControlError::WrongPhase { .. })));
    assert!(matches!(leader.pull_state_from_peer().await, Err(ControlError::WrongPhase { .. })));
    assert!(wrong(leader.push_state_to_peer(step(1)).await));
    assert!(wrong(leader.follow().await));
    assert!(wrong(leader.accept_control(1).await));
    // What is so already is no error.
    leader.lead().await.unwrap();
    follower.follow().await.unwrap();
    phases(&[&leader, &follower], &[Phase::Active, Phase::Passive]);
    follower.leave().await;
    assert_eq!(follower.send_state(step(1)), Err(StateError::Left(Left::ByItself)));
    assert!(matches!(follower.lead().await, Err(ControlError::Left(Left::ByItself))));
}

// ---- state

#[tokio::test(start_paused = true)]
async fn the_leader_sends_and_all_others_get_an_equal_value() {
    let mut class = Class::of(20, 5).await;
    let leader = class.join().await;
    let mut followers = Vec::new();
    for _ in 0..3 {
        followers.push(class.join().await);
    }
    assert_eq!(followers[0].state(), None);
    leader.lead().await.unwrap();
    let mut own = leader.events();
    for index in 0..10 {
        leader.send_state(step(index)).unwrap();
    }
    for follower in &followers {
        shows(follower, 9).await;
        becomes(follower, Phase::Passive).await;
    }
    // A late one gets the newest, and its place.
    let late = class.join().await;
    shows(&late, 9).await;
    becomes(&late, Phase::Passive).await;
    assert_eq!(late.request_state().await.unwrap().as_deref(), Some(&step(9)));
    // The sender has no echo of its own.
    leader.leave().await;
    while let Some(event) = own.next().await {
        assert!(!matches!(event, TutorialEvent::StateUpdated(_)), "{event:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_cut_only_the_newest_state_comes_and_the_role_is_kept() {
    let (class, leader, follower) = leader_and_follower(21).await;
    leader.send_state(step(0)).unwrap();
    shows(&follower, 0).await;
    let mut events = follower.events();
    class.world.network.blackout(true);
    class.world.network.cut_all();
    until(&leader, |sync| sync.is_healing()).await;
    phases(&[&leader, &follower], &[Phase::Active, Phase::Passive]);
    for index in 1..=50 {
        leader.send_state(step(index)).unwrap();
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    phases(&[&leader], &[Phase::Active]);
    class.world.network.blackout(false);
    leader.connection().unwrap().reconnect_now();
    follower.connection().unwrap().reconnect_now();
    shows(&follower, 50).await;
    phases(&[&leader, &follower], &[Phase::Active, Phase::Passive]);
    assert!(!leader.is_healing());
    // Of the fifty none but the newest was replayed.
    let mut shown = Vec::new();
    follower.leave().await;
    while let Some(event) = events.next().await {
        if let TutorialEvent::StateUpdated(state) = event {
            shown.push(state.step_content.index);
        }
    }
    assert_eq!(shown, [0, 50]);
}

#[tokio::test(start_paused = true)]
async fn who_wants_every_step_gets_every_step() {
    let mut class = Class::of(22, 3).await;
    let leader = class.join().await;
    let client = class.client();
    let mut config = JoinConfig::default();
    config.every_step = true;
    let follower: Sync = TutorialSync::connect(&client, class.room.id(), config).await.unwrap();
    leader.lead().await.unwrap();
    becomes(&follower, Phase::Passive).await;
    until(&leader, |sync| sync.members().len() == 2).await;
    let mut steps = follower.steps();
    for index in 0..300 {
        if index == 150 {
            class.world.network.cut_all();
        }
        leader.send_state(step(index)).unwrap();
    }
    for index in 0..300 {
        let state =
            tokio::time::timeout(Duration::from_secs(60), steps.next()).await.expect("a step").unwrap();
        assert_eq!(state.step_content.index, index);
    }
    follower.leave().await;
    assert!(steps.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_too_large_or_of_another_shape_is_refused_and_the_session_goes_on() {
    let (_class, leader, follower) = leader_and_follower(23).await;
    let mut large = step(1);
    large.tutorial_title = "x".repeat(20 << 20);
    let refused = leader.send_state(large).unwrap_err();
    assert!(matches!(refused, StateError::TooLarge { max, size } if max == 1 << 20 && size > 20 << 20));
    let mut two_megabytes_less = step(2);
    two_megabytes_less.tutorial_title = "x".repeat((1 << 20) - 1000);
    leader.send_state(two_megabytes_less.clone()).unwrap();
    until(&follower, |sync| sync.state().as_deref() == Some(&two_megabytes_less)).await;

    // An application with another type of state.
    let mut class = Class::of(24, 2).await;
    let numbers: TutorialSync<u32> =
        TutorialSync::connect(&class.client(), class.room.id(), JoinConfig::default()).await.unwrap();
    let follower = class.join().await;
    let mut events = follower.events();
    numbers.lead().await.unwrap();
    numbers.send_state(7).unwrap();
    event(&mut events, |event| (event == TutorialEvent::Rejected(Rejected::InvalidState)).then_some(()))
        .await;
    becomes(&follower, Phase::Passive).await;
    assert_eq!(follower.state(), None);
}

// ---- control

#[tokio::test(start_paused = true)]
async fn an_offer_that_is_accepted_hands_control_over_with_the_state() {
    let (_class, leader, follower) = leader_and_follower(30).await;
    leader.send_state(step(3)).unwrap();
    let (mut at_leader, mut at_follower) = (leader.events(), follower.events());
    let offering = tokio::spawn({
        let leader = leader.clone();
        async move { leader.offer_control(None).await }
    });
    let (offer, from, state) = event(&mut at_follower, |event| match event {
        TutorialEvent::ControlOffered { offer, from, state } => Some((offer, from, state)),
        _ => None,
    })
    .await;
    assert_eq!((from, state.as_deref()), (leader.me(), Some(&step(3))));
    follower.accept_control(offer).await.unwrap();
    phases(&[&leader, &follower], &[Phase::Passive, Phase::Active]);
    assert_eq!(offering.await.unwrap().unwrap(), OfferOutcome::Accepted { by: follower.me() });
    event(&mut at_leader, |event| {
        matches!(event, TutorialEvent::OfferSettled { outcome: OfferOutcome::Accepted { .. } }).then_some(())
    })
    .await;
    assert_eq!(leader.holder(), Some(follower.me()));
    // The new leader goes on from there, and back to whom it came from.
    follower.send_state(step(4)).unwrap();
    shows(&leader, 4).await;
    assert!(leader.send_state(step(5)).is_err());
    follower.return_control().await.unwrap();
    becomes(&leader, Phase::Active).await;
    phases(&[&leader, &follower], &[Phase::Active, Phase::Passive]);
}

async fn offered(events: &mut everlink::Events<TutorialEvent<TutorialSyncState>>) -> u64 {
    event(events, |event| match event {
        TutorialEvent::ControlOffered { offer, .. } => Some(offer),
        _ => None,
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_is_declined_expires_or_is_taken_back_is_told_to_the_offerer() {
    let (_class, leader, follower) = leader_and_follower(31).await;
    let mut events = follower.events();
    let offer = |leader: &Sync| {
        let leader = leader.clone();
        tokio::spawn(async move { leader.offer_control(None).await.unwrap() })
    };
    let declined = offer(&leader);
    let ticket = offered(&mut events).await;
    follower.decline_control(ticket, Some("not now")).await.unwrap();
    assert_eq!(
        declined.await.unwrap(),
        OfferOutcome::Declined { by: follower.me(), reason: Some("not now".into()) }
    );
    let expired = offer(&leader);
    let ticket = offered(&mut events).await;
    assert_eq!(expired.await.unwrap(), OfferOutcome::Expired);
    event(&mut events, |event| (event == TutorialEvent::OfferEnded { offer: ticket }).then_some(())).await;
    assert!(matches!(follower.accept_control(ticket).await, Err(ControlError::Refused(Refusal::Gone))));
    let withdrawn = offer(&leader);
    offered(&mut events).await;
    leader.withdraw_offer().await.unwrap();
    assert_eq!(withdrawn.await.unwrap(), OfferOutcome::Withdrawn);
    phases(&[&leader, &follower], &[Phase::Active, Phase::Passive]);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_the_leaders_choice_where_the_room_says_so() {
    let mut config = RoomConfig::default();
    config.conflicts = ConflictStrategy::UserChoice;
    let mut class = Class::new(32, config).await;
    let (leader, follower) = (class.join().await, class.join().await);
    leader.lead().await.unwrap();
    becomes(&follower, Phase::Passive).await;
    let mut events = leader.events();
    let ask = |follower: &Sync| {
        let follower = follower.clone();
        tokio::spawn(async move { follower.request_control(Some("my turn")).await })
    };
    let asked = async |events: &mut everlink::Events<_>| {
        event(events, |event| match event {
            TutorialEvent::ControlRequested { request, from, reason } => Some((request, from, reason)),
            _ => None,
        })
        .await
    };
    let denied = ask(&follower);
    let (request, from, reason) = asked(&mut events).await;
    assert_eq!((from, reason.as_deref()), (follower.me(), Some("my turn")));
    leader.deny_request(request, Some("wait")).await.unwrap();
    let why = denied.await.unwrap().unwrap_err();
    assert_eq!(why, ControlError::Refused(Refusal::Denied { reason: Some("wait".into()) }));
    // Unanswered for too long.
    let unanswered = ask(&follower);
    asked(&mut events).await;
    assert_eq!(unanswered.await.unwrap(), Err(ControlError::Refused(Refusal::Unanswered)));
    phases(&[&leader, &follower], &[Phase::Active, Phase::Passive]);
    let granted = ask(&follower);
    let (request, ..) = asked(&mut events).await;
    leader.grant_request(request).await.unwrap();
    granted.await.unwrap().unwrap();
    phases(&[&leader, &follower], &[Phase::Passive, Phase::Active]);
    // A leader that lets go gives to whoever waits.
    let waiting = ask(&leader);
    let mut events = follower.events();
    asked(&mut events).await;
    follower.release_control(ReleaseTo::Idle).await.unwrap();
    waiting.await.unwrap().unwrap();
    becomes(&follower, Phase::Passive).await;
    phases(&[&leader, &follower], &[Phase::Active, Phase::Passive]);
}

async fn requested(seed: u64, conflicts: ConflictStrategy, by_the_first: bool) -> Result<(), ControlError> {
    let mut config = RoomConfig::default();
    config.conflicts = conflicts;
    let mut class = Class::new(seed, config).await;
    let (first, second) = (class.join().await, class.join().await);
    let (leader, other) = if by_the_first { (&second, &first) } else { (&first, &second) };
    leader.lead().await.unwrap();
    becomes(other, Phase::Passive).await;
    let outcome = other.request_control(None).await;
    let expected =
        if outcome.is_ok() { [Phase::Passive, Phase::Active] } else { [Phase::Active, Phase::Passive] };
    phases(&[leader, other], &expected);
    outcome
}

#[tokio::test(start_paused = true)]
async fn the_other_strategies_decide_by_themselves() {
    use ConflictStrategy::*;
    assert!(requested(33, FirstComeFirstServed, true).await.is_ok());
    for (strategy, by_the_first) in
        [(FirstComeFirstServed, false), (DenyBoth, true), (ActiveWins, true), (TimestampWins, true)]
    {
        let refused = requested(34, strategy, by_the_first).await;
        assert!(
            matches!(refused, Err(ControlError::Refused(Refusal::Held { .. }))),
            "{strategy:?} {refused:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_that_want_to_lead_at_once_one_does_or_none() {
    for (seed, strategy) in [
        (35, ConflictStrategy::FirstComeFirstServed),
        (36, ConflictStrategy::ActiveWins),
        (37, ConflictStrategy::DenyBoth),
        (38, ConflictStrategy::TimestampWins),
    ] {
        let mut config = RoomConfig::default();
        config.conflicts = strategy;
        let mut class = Class::new(seed, config).await;
        let (one, other) = (class.join().await, class.join().await);
        let (first, second) = tokio::join!(one.lead(), other.lead());
        tokio::time::sleep(Duration::from_secs(1)).await;
        let leaders = [&one, &other].iter().filter(|sync| sync.phase() == Phase::Active).count();
        let expected = usize::from(strategy != ConflictStrategy::DenyBoth);
        assert_eq!(leaders, expected, "{strategy:?}: {first:?} {second:?}");
        if strategy == ConflictStrategy::DenyBoth {
            phases(&[&one, &other], &[Phase::ConnectedIdle; 2]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_leaves_all_idle_or_passive_as_is_asked() {
    let (_class, leader, follower) = leader_and_follower(40).await;
    leader.release_control(ReleaseTo::Idle).await.unwrap();
    becomes(&follower, Phase::ConnectedIdle).await;
    phases(&[&leader, &follower], &[Phase::ConnectedIdle; 2]);
    follower.lead().await.unwrap();
    becomes(&leader, Phase::Passive).await;
    follower.release_control(ReleaseTo::Passive).await.unwrap();
    until(&leader, |sync| sync.holder().is_none()).await;
    phases(&[&leader, &follower], &[Phase::Passive; 2]);
    // Whoever asks has it.
    leader.request_control(None).await.unwrap();
    phases(&[&leader, &follower], &[Phase::Active, Phase::Passive]);
}

#[tokio::test(start_paused = true)]
async fn observers_never_hold_control_and_moderators_revoke_it() {
    let mut class = Class::of(41, 4).await;
    let moderator: Sync = class.room.sync(JoinConfig::default()).await.unwrap();
    assert!(matches!(
        class.room.sync::<TutorialSyncState>(JoinConfig::default()).await,
        Err(RoomError::AlreadyJoined)
    ));
    let leader = class.join().await;
    let client = class.client();
    let mut config = JoinConfig::default();
    config.observer = true;
    config.name = Some("Olga".into());
    let observer: Sync = TutorialSync::connect(&client, class.room.id(), config).await.unwrap();
    assert_eq!(observer.lead().await, Err(ControlError::Refused(Refusal::Observer)));
    leader.lead().await.unwrap();
    leader.send_state(step(1)).unwrap();
    shows(&observer, 1).await;
    assert_eq!(observer.request_control(None).await, Err(ControlError::Refused(Refusal::Observer)));
    assert!(matches!(
        leader.offer_control(Some(observer.me())).await,
        Err(ControlError::Refused(Refusal::Nobody))
    ));
    assert_eq!(leader.revoke_control(None).await, Err(ControlError::Refused(Refusal::NotModerator)));
    let roles = |sync: &Sync| -> Vec<_> { sync.members().iter().map(|member| member.role).collect() };
    assert_eq!(roles(&moderator), [Role::Moderator, Role::Leader, Role::Observer]);
    assert_eq!(moderator.members()[2].name.as_deref(), Some("Olga"));
    moderator.revoke_control(Some(moderator.me())).await.unwrap();
    becomes(&moderator, Phase::Active).await;
    becomes(&leader, Phase::Passive).await;
    moderator.revoke_control(None).await.unwrap();
    for sync in [&moderator, &leader, &observer] {
        becomes(sync, Phase::ConnectedIdle).await;
    }
    // The host gives roles, and removes.
    class.room.set_role(observer.me(), Role::Follower);
    until(&observer, |sync| {
        sync.members().iter().any(|member| member.id == sync.me() && member.role == Role::Follower)
    })
    .await;
    observer.lead().await.unwrap();
    class.room.remove(observer.me());
    assert_eq!(observer.left().await, Left::Removed);
    until(&leader, |sync| sync.members().len() == 2 && sync.holder().is_none()).await;
}

// ---- those that go

#[tokio::test(start_paused = true)]
async fn a_leader_that_leaves_frees_control_and_the_others_are_told() {
    let (_class, leader, follower) = leader_and_follower(50).await;
    let mut events = follower.events();
    let who = leader.me();
    leader.leave().await;
    event(&mut events, |event| (event == TutorialEvent::HolderLost { holder: who }).then_some(())).await;
    becomes(&follower, Phase::ConnectedIdle).await;
    assert_eq!(leader.left().await, Left::ByItself);
    phases(&[&leader], &[Phase::Disconnected]);
    follower.lead().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_gone_loses_the_lease_and_never_are_there_two() {
    let mut class = Class::of(51, 3).await;
    let host: Sync = class.room.sync(JoinConfig::default()).await.unwrap();
    let leader = class.join().await;
    leader.lead().await.unwrap();
    class.world.network.blackout(true);
    class.world.network.cut_all();
    let start = tokio::time::Instant::now();
    let mut told = host.events();
    let lost = async {
        event(&mut told, |event| (event == TutorialEvent::HolderLost { holder: leader.me() }).then_some(()))
            .await
    };
    let watched = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(!(leader.phase() == Phase::Active && host.phase() == Phase::Active));
            if host.phase() == Phase::ConnectedIdle {
                _ = host.lead().await;
            }
        }
    };
    tokio::select! { () = lost => {}, () = watched => {} }
    let after = start.elapsed();
    assert!(after >= Duration::from_secs(30) && after <= Duration::from_secs(60), "{after:?}");
    phases(&[&leader], &[Phase::Passive]);
    if host.phase() != Phase::Active {
        host.lead().await.unwrap();
    }
    class.world.network.blackout(false);
    until(&leader, |sync| sync.holder() == Some(host.me())).await;
    phases(&[&host, &leader], &[Phase::Active, Phase::Passive]);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_comes_back_as_the_same_identity_displaces_itself_and_keeps_its_role() {
    let (class, leader, follower) = leader_and_follower(52).await;
    leader.send_state(step(1)).unwrap();
    shows(&follower, 1).await;
    // The same key: another tab, or a process that was killed and has no store.
    let key = Identity::from_secret([2; 32]);
    let client = Client::builder(key).signaling(class.world.signaling.clone());
    let client = client.transport(class.world.network.transport()).build();
    let again: Sync = TutorialSync::connect(&client, class.room.id(), JoinConfig::default()).await.unwrap();
    assert_eq!(leader.left().await, Left::Displaced);
    becomes(&again, Phase::Active).await;
    shows(&again, 1).await;
    again.send_state(step(2)).unwrap();
    shows(&follower, 2).await;
    phases(&[&leader, &again, &follower], &[Phase::Disconnected, Phase::Active, Phase::Passive]);
    assert_eq!(class.room.info().members, 2);
}

fn kept(world: &World, secret: u8, store: &MemoryStore) -> Client {
    Client::builder(Identity::from_secret([secret; 32]))
        .signaling(world.signaling.clone())
        .transport(world.network.transport())
        .store(store.clone())
        .seed(u64::from(secret))
        .build()
}

#[tokio::test(start_paused = true)]
async fn a_room_that_is_started_again_knows_who_led_and_what_was_shown() {
    let world = World::new(53);
    let store = MemoryStore::new();
    let name: ServiceFqn = "tutorial-kept@1.0.0".parse().unwrap();
    let open = async |client: &Client| {
        let mut config = RoomConfig::default();
        config.service = Some(name.clone());
        TutorialRoom::open(client, user("alice"), config).await.unwrap()
    };
    let host = kept(&world, 1, &store);
    let room = open(&host).await;
    let id = room.id();
    let (one, other) = (world.client(2), world.client(3));
    let leader: Sync = TutorialSync::connect(&one, id, JoinConfig::default()).await.unwrap();
    let follower: Sync = TutorialSync::connect(&other, id, JoinConfig::default()).await.unwrap();
    leader.lead().await.unwrap();
    leader.send_state(step(1)).unwrap();
    shows(&follower, 1).await;
    let epoch = leader.control().epoch;

    host.shutdown().await;
    drop(room);
    tokio::time::sleep(Duration::from_secs(5)).await;
    phases(&[&leader, &follower], &[Phase::Active, Phase::Passive]);
    leader.send_state(step(2)).unwrap();

    let host = kept(&world, 1, &store);
    let room = open(&host).await;
    assert_eq!(room.id(), id);
    shows(&follower, 2).await;
    phases(&[&leader, &follower], &[Phase::Active, Phase::Passive]);
    assert!(leader.control().epoch >= epoch);
    assert_eq!(room.info().active, Some(leader.me()));
    // A room that is closed is closed: nothing of it is left.
    room.close().await;
    assert_eq!(leader.left().await, Left::Closed(RoomClosed::ByHost));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_started_again_resumes_its_session_and_its_role() {
    let mut class = Class::of(54, 3).await;
    let follower = class.join().await;
    let store = MemoryStore::new();
    let client = kept(&class.world, 9, &store);
    let leader: Sync = TutorialSync::connect(&client, class.room.id(), JoinConfig::default()).await.unwrap();
    leader.lead().await.unwrap();
    leader.send_state(step(1)).unwrap();
    shows(&follower, 1).await;
    let mut events = follower.events();
    client.shutdown().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let client = kept(&class.world, 9, &store);
    let again: Sync = TutorialSync::connect(&client, class.room.id(), JoinConfig::default()).await.unwrap();
    becomes(&again, Phase::Active).await;
    again.send_state(step(2)).unwrap();
    shows(&follower, 2).await;
    becomes(&follower, Phase::Passive).await;
    drop(leader);
    // Nobody was told that it left: it was away for a moment.
    follower.leave().await;
    while let Some(event) = events.next().await {
        assert!(
            !matches!(event, TutorialEvent::MemberLeft(_) | TutorialEvent::HolderLost { .. }),
            "{event:?}"
        );
    }
}

// ---- lies

#[tokio::test(start_paused = true)]
async fn what_a_member_forges_is_void_and_the_session_goes_on() {
    let mut class = Class::of(60, 4).await;
    let (leader, follower) = (class.join().await, class.join().await);
    leader.lead().await.unwrap();
    leader.send_state(step(1)).unwrap();
    shows(&follower, 1).await;
    let mut told = class.room.events();
    let liar = class.client();
    let connection = liar.connect_by_uuid(class.room.id()).await.unwrap();
    let mut channel = connection.open_channel("everlink.tutorial/1").unwrap();
    let hello = channel.recv().await.unwrap();
    let room = hello.as_text().unwrap().split("\"room\":").nth(1).unwrap().trim_end_matches('}').to_owned();
    let me = format!("\"type\":\"join\",\"version\":1,\"n\":1,\"instance\":1,\"room\":{room}");
    let forged = [
        "no json".to_owned(),
        "{}".into(),
        "[".repeat(100_000),
        format!("{{{me}}}"),
        format!(
            "{{\"type\":\"state\",\"epoch\":1,\"seq\":9}}\n{}",
            serde_json::to_string(&step(66)).unwrap()
        ),
        format!(
            "{{\"type\":\"state\",\"epoch\":0,\"seq\":9}}\n{}",
            serde_json::to_string(&step(66)).unwrap()
        ),
        format!(
            "{{\"type\":\"state\",\"epoch\":7,\"seq\":9}}\n{}",
            serde_json::to_string(&step(66)).unwrap()
        ),
        "{\"type\":\"yielded\",\"epoch\":1}".into(),
        "{\"type\":\"control\",\"epoch\":9}".into(),
        "{\"type\":\"ask\",\"n\":2,\"ask\":{\"ask\":\"revoke\"}}".into(),
        "{\"type\":\"ask\",\"n\":3,\"ask\":{\"ask\":\"release\",\"epoch\":1,\"to\":\"idle\"}}".into(),
        "{\"type\":\"ask\",\"n\":4,\"ask\":{\"ask\":\"grant\",\"request\":1}}".into(),
    ];
    for forged in forged {
        channel.send(forged).await.unwrap();
    }
    channel.send(everlink::Message::from(vec![0u8, 255])).await.unwrap();
    connection.flush().await.unwrap();
    let mut rejected = Vec::new();
    while rejected.len() < 8 {
        let event =
            tokio::time::timeout(Duration::from_secs(5), told.next()).await.expect("they are told").unwrap();
        if let RoomEvent::Rejected { from, what } = event {
            assert_eq!(from, liar.public_key());
            rejected.push(what);
        }
    }
    assert!(rejected.contains(&Rejected::NotHolder) && rejected.contains(&Rejected::OldEpoch { epoch: 0 }));
    phases(&[&leader, &follower], &[Phase::Active, Phase::Passive]);
    leader.send_state(step(2)).unwrap();
    shows(&follower, 2).await;
    assert_eq!(leader.control().epoch, 1);
}

#[tokio::test(start_paused = true)]
async fn another_version_is_told_to_both_sides() {
    let mut class = Class::of(61, 4).await;
    // A newer member.
    let newer = class.client();
    let connection = newer.connect_by_uuid(class.room.id()).await.unwrap();
    let mut channel = connection.open_channel("everlink.tutorial/1").unwrap();
    channel.recv().await.unwrap();
    channel.send("{\"type\":\"join\",\"version\":2,\"n\":1,\"instance\":1,\"more\":true}").await.unwrap();
    let goodbye = channel.recv().await.unwrap();
    assert_eq!(goodbye.as_text(), Some("{\"type\":\"goodbye\",\"reason\":\"version\",\"theirs\":1}"));
    // A newer room.
    let service = class.host.expose_service(common::chat()).await.unwrap();
    let uuid = service.info().uuid;
    tokio::spawn(async move {
        let connection = service.accept().await.unwrap();
        let channel = connection.open_channel("everlink.tutorial/1").unwrap();
        channel.send("{\"type\":\"hello\",\"version\":2,\"room\":1}").await.unwrap();
        connection.closed().await;
    });
    let refused =
        TutorialSync::<TutorialSyncState>::connect(&class.client(), uuid, JoinConfig::default()).await;
    assert_eq!(refused.unwrap_err(), JoinError::Left(Left::Version { ours: 1, theirs: 2 }));
}

#[tokio::test(start_paused = true)]
async fn events_of_a_room_tell_its_host_all() {
    let mut class = Class::of(62, 2).await;
    let mut events = class.room.events();
    let (one, other) = (class.join().await, class.join().await);
    one.lead().await.unwrap();
    one.leave().await;
    let who: PublicKey = one.me();
    class.room.close().await;
    let mut told = Vec::new();
    while let Some(event) = events.next().await {
        told.push(match event {
            RoomEvent::MemberJoined(member) => format!("joined {}", member.id == who),
            RoomEvent::MemberLeft(member) => format!("left {}", member == who),
            RoomEvent::ControlTransferred { from, to, cause, .. } => {
                format!("{} {} {cause:?}", from.is_some(), to.is_some())
            }
            RoomEvent::RoleChanged { role, .. } => format!("{role:?}"),
            RoomEvent::Closed(why) => format!("{why:?}"),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(
        told,
        [
            "joined true",
            "joined false",
            "false true Led",
            "Leader",
            "left true",
            "true false HolderLeft",
            "ByHost"
        ]
    );
    assert_eq!(other.left().await, Left::Closed(RoomClosed::ByHost));
    let _ = Arc::new(other);
}
