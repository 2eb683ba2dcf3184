//! Two running hosts of one identity: the newer has the service, the older is refused.

use super::*;
use crate::signaling::InstanceId;

fn by(who: &Identity, instance: u8, offers: Vec<NewOffer>) -> Publish {
    let instance = Some(InstanceId::from_bytes([instance; 16]));
    Publish { instance, offers, ..publication(who, "alice", "chat@1.0.0") }
}

fn lost(world: &mut World, host: &Identity) -> usize {
    world.events(host).iter().filter(|event| matches!(event, Event::LeaseLost { .. })).count()
}

#[test]
fn the_newer_takes_the_service_and_the_older_stays_out() {
    let mut world = World::new();
    let host = id(1);
    world.claim(&host, "alice");
    let uuid = publication(&host, "alice", "chat@1.0.0").uuid;
    assert!(!world.publish(&host, by(&host, 1, vec![offer(&host, uuid, 1)])).took_over);
    assert!(!world.publish(&host, by(&host, 1, vec![])).took_over, "a refresh");
    let taken = world.publish(&host, by(&host, 2, vec![]));
    assert_eq!((taken.took_over, taken.offers), (true, 0), "the older one's offers are gone");
    assert_eq!(lost(&mut world, &host), 1, "the older one is told to come and see");

    let instance = Some(InstanceId::from_bytes([1; 16]));
    assert_eq!(world.refused(&host, Request::Publish(by(&host, 1, vec![]))), ErrorCode::Displaced);
    let offers = vec![offer(&host, uuid, 2)];
    let add = Request::AddOffers { uuid, instance, offers };
    assert_eq!(world.refused(&host, add), ErrorCode::Displaced);
    let again = world.publish(&host, by(&host, 2, vec![]));
    assert_eq!((again.took_over, again.offers), (false, 0), "once");

    // A host that is killed and started again a hundred times is never refused.
    for run in 3..103 {
        assert!(world.publish(&host, by(&host, run, vec![])).took_over);
    }
    assert_eq!(world.refused(&host, Request::Publish(by(&host, 101, vec![]))), ErrorCode::Displaced);
}

#[test]
fn one_that_leaves_with_the_service_of_another_does_not_leave_it_unpublished() {
    let mut world = World::new();
    let host = id(1);
    world.claim(&host, "alice");
    let uuid = world.publish(&host, by(&host, 1, vec![])).uuid;
    world.publish(&host, by(&host, 2, vec![]));
    let before = lost(&mut world, &host);
    world.ask(&host, Request::Withdraw { uuid }).unwrap();
    assert_eq!(lost(&mut world, &host), before + 1);
    assert!(!world.publish(&host, by(&host, 2, vec![])).took_over);
}
