//! Rules, one by one, in virtual time.

use std::time::Duration;

use super::super::super::control::{ConflictStrategy, OfferOutcome, ReleaseTo};
use super::super::super::error::{ControlError, Left, Refusal};
use super::super::super::events::Rejected;
use super::super::super::phase::Phase;
use super::super::{Answer, RawEvent};
use super::world::{World, key, settings};

fn world(members: usize) -> World {
    let mut world = World::new(1, settings(ConflictStrategy::UserChoice));
    (0..members).for_each(|_| _ = world.join(false));
    world.run(Duration::from_secs(1));
    world
}

fn lead(world: &mut World, peer: usize) {
    let wall = world.wall();
    world.act(peer, |member, now| member.lead(false, wall, now)).unwrap();
    world.run(Duration::from_secs(1));
    assert_eq!(world.leader(), Some(peer));
}

/// A hand-over takes one way to the room and back, to the former leader and to the next one: two round trips at most.
#[test]
fn a_hand_over_takes_two_round_trips() {
    for seed in 0..200 {
        let mut world = World::new(seed, settings(ConflictStrategy::UserChoice));
        (0..2).for_each(|_| _ = world.join(false));
        world.run(Duration::from_secs(1));
        lead(&mut world, 0);
        world.delay = 100;
        world.act(0, |member, now| member.offer(None, now)).unwrap();
        world.run(Duration::from_secs(1));
        let offer = world.peers[1].machine.control().offer.unwrap().offer;
        let begun = world.now;
        world.act(1, |member, now| member.accept(offer, now)).unwrap();
        world.run(Duration::from_secs(2));
        assert_eq!(world.leader(), Some(1));
        let (since, _) = *world.led.last().unwrap();
        assert!(since - begun <= Duration::from_millis(4 * 100 + 1), "{:?}", since - begun);
    }
}

#[test]
fn a_leader_keeps_control_through_an_absence_as_long_as_the_lease_and_loses_it_after() {
    for (absence, kept) in [(30, true), (60, false)] {
        let mut world = world(2);
        lead(&mut world, 0);
        // The worst moment: just before it would ask for more time.
        world.run(Duration::from_millis(7400));
        world.set_cut(0, true);
        world.run(Duration::from_secs(absence));
        assert_eq!(world.leads(0), kept, "after {absence} s");
        world.set_cut(0, false);
        world.run(Duration::from_secs(1));
        assert_eq!(world.leads(0), kept);
        let lost = world.peers[1].events.iter().any(|event| *event == RawEvent::HolderLost(key(0)));
        assert_eq!(lost, !kept);
        let expected = if kept { Phase::Passive } else { Phase::ConnectedIdle };
        assert_eq!(world.phase(1), expected);
    }
}

#[test]
fn control_is_not_given_on_before_the_lease_of_one_that_is_gone_has_ended() {
    let mut world = world(2);
    lead(&mut world, 0);
    world.act(0, |member, now| member.offer(None, now)).unwrap();
    world.run(Duration::from_secs(1));
    let offer = world.peers[1].machine.control().offer.unwrap().offer;
    world.set_cut(0, true);
    let accepted = world.act(1, |member, now| member.accept(offer, now)).unwrap();
    world.run(Duration::from_secs(20));
    assert!(world.leads(0) && !world.leads(1));
    world.run(Duration::from_secs(40));
    assert!(!world.leads(0) && world.leads(1));
    assert_eq!(world.peers[1].answers[&accepted], Answer::Done);
    // Whoever offered learns it when it is back.
    world.set_cut(0, false);
    world.run(Duration::from_secs(1));
    let settled = OfferOutcome::Accepted { by: key(1) };
    assert!(world.peers[0].answers.values().any(|answer| *answer == Answer::Settled(settled.clone())));
}

#[test]
fn an_older_state_of_the_room_is_void_for_a_member() {
    let mut world = world(2);
    lead(&mut world, 0);
    assert!(world.send(0, "\"new\""));
    world.run(Duration::from_secs(1));
    assert_eq!(world.state(1).as_deref(), Some("\"new\""));
    let forged = format!("{{\"type\":\"state\",\"epoch\":1,\"from\":\"{}\",\"rev\":0}}\n\"old\"", key(0));
    world.act(1, |member, now| member.handle_frame(&forged, now));
    world.act(1, |member, now| member.handle_frame("{\"type\":\"nonsense\"}", now));
    assert_eq!(world.state(1).as_deref(), Some("\"new\""));
    let rejected = |what| world.peers[1].events.contains(&RawEvent::Rejected(what));
    assert!(rejected(Rejected::OldState) && rejected(Rejected::InvalidMessage));
}

#[test]
fn a_release_is_of_its_epoch_only() {
    let mut world = world(2);
    lead(&mut world, 0);
    let epoch = world.room.epoch();
    world.act(0, |member, now| member.release(ReleaseTo::Idle, now)).unwrap();
    assert!(!world.leads(0), "it leads no longer, whenever the room hears of it");
    world.run(Duration::from_secs(1));
    lead(&mut world, 0);
    // The release of before, which arrives again.
    let late = format!(
        "{{\"type\":\"ask\",\"n\":900,\"ask\":{{\"ask\":\"release\",\"epoch\":{epoch},\"to\":\"idle\"}}}}"
    );
    world.forge(0, &late);
    world.run(Duration::from_secs(1));
    assert_eq!(world.leader(), Some(0));
}

#[test]
fn what_nobody_answers_ends_and_a_pull_waits_for_nobody_for_long() {
    let mut world = world(3);
    let wall = world.wall();
    world.kill(1);
    let pull = world.act(0, |member, now| member.lead(true, wall, now)).unwrap().unwrap();
    assert_eq!(world.phase(0), Phase::InitializingPull);
    world.run(Duration::from_secs(6));
    assert_eq!((world.leader(), &world.peers[0].answers[&pull]), (Some(0), &Answer::Done));
    // A room that is away: no answer, in time.
    world.kill_room();
    let asked = world.act(2, |member, now| member.request_state(now)).unwrap();
    world.run(Duration::from_secs(11));
    assert_eq!(world.peers[2].answers[&asked], Answer::Failed(ControlError::TimedOut));
}

#[test]
fn a_full_room_and_too_many_questions_are_refused() {
    let mut few = settings(ConflictStrategy::UserChoice);
    few.max_members = 2;
    let mut world = World::new(1, few);
    // In the order of their joining.
    world.delay = 0;
    (0..3).for_each(|_| _ = world.join(false));
    world.run(Duration::from_secs(1));
    assert_eq!(world.left(2), Some(Left::Full { max: 2 }));
    world.set_cut(0, true);
    let asks = (0..1000).map(|_| world.act(0, |member, now| member.request_state(now)));
    let refused = asks.filter(|asked| *asked == Err(ControlError::Refused(Refusal::Pending))).count();
    assert_eq!(refused, 1000 - 256);
}

#[test]
fn a_room_keeps_what_it_says_it_keeps() {
    let mut world = world(2);
    lead(&mut world, 0);
    assert!(world.send(0, "\"kept\""));
    world.run(Duration::from_secs(1));
    let bytes = world.saved().unwrap().encode();
    assert_eq!(super::super::RoomRecord::decode(&bytes).as_ref(), Ok(world.saved().unwrap()));
    for bad in [&b""[..], b"{}", b"\xff", b"[1,2]"] {
        assert!(super::super::RoomRecord::decode(bad).is_err());
    }
    let newer = String::from_utf8(bytes).unwrap().replace("\"version\":1", "\"version\":2");
    let newer = super::super::RoomRecord::decode(newer.as_bytes()).unwrap_err();
    assert!(newer.contains("format 2"), "{newer}");
}

/// What was said to an earlier run of the room arrives again at the next, or only there, and counts for nothing: its maker was told
/// that it did not come about.
#[test]
fn what_reaches_a_later_run_of_the_room_is_void() {
    for seed in 0..300 {
        let mut world = World::new(seed, settings(ConflictStrategy::UserChoice));
        (0..2).for_each(|_| _ = world.join(false));
        world.run(Duration::from_secs(1));
        lead(&mut world, 0);
        world.kill_room();
        let released = world.act(0, |member, now| member.release(ReleaseTo::Idle, now)).unwrap();
        let wall = world.wall();
        world.act(1, |member, now| member.request(None, wall, now)).unwrap();
        world.restart_room();
        world.run(Duration::from_secs(2));
        assert_eq!(world.peers[0].answers[&released], Answer::Failed(ControlError::Interrupted), "{seed}");
        assert_eq!(world.leader(), Some(0), "{seed}");
    }
}
