//! Any list of operations: each offer goes to one peer at most, nobody reads what is not theirs,
//! and a refusal changes nothing.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Claim { who: u8, name: u8 },
    Publish { who: u8, name: u8, version: u8, ttl: u64, offers: u8 },
    Withdraw { who: u8, service: usize },
    Add { who: u8, service: usize, count: u8 },
    TakeBack { who: u8, offer: usize },
    Take { who: u8, service: usize, wait: u64 },
    Answer { who: u8, offer: usize },
    Candidates { who: u8, offer: usize },
    GiveBack { who: u8, offer: usize },
    Drop { waiter: usize },
    Listen { who: u8 },
    Pass { millis: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    let who = 0..4u8;
    prop_oneof![
        1 => (who.clone(), 0..3u8).prop_map(|(who, name)| Op::Claim { who, name }),
        2 => (who.clone(), 0..3u8, 0..2u8, 0..400u64, 0..3u8)
            .prop_map(|(who, name, version, ttl, offers)| Op::Publish { who, name, version, ttl, offers }),
        1 => (who.clone(), 0..8usize).prop_map(|(who, service)| Op::Withdraw { who, service }),
        4 => (who.clone(), 0..8usize, 1..4u8).prop_map(|(who, service, count)| Op::Add { who, service, count }),
        1 => (who.clone(), 0..16usize).prop_map(|(who, offer)| Op::TakeBack { who, offer }),
        6 => (who.clone(), 0..8usize, 0..40u64).prop_map(|(who, service, wait)| Op::Take { who, service, wait }),
        3 => (who.clone(), 0..16usize).prop_map(|(who, offer)| Op::Answer { who, offer }),
        3 => (who.clone(), 0..16usize).prop_map(|(who, offer)| Op::Candidates { who, offer }),
        1 => (who.clone(), 0..16usize).prop_map(|(who, offer)| Op::GiveBack { who, offer }),
        1 => (0..8usize).prop_map(|waiter| Op::Drop { waiter }),
        1 => who.prop_map(|who| Op::Listen { who }),
        3 => (0..70_000u64).prop_map(|millis| Op::Pass { millis }),
    ]
}

/// What the test knows by itself.
#[derive(Default)]
struct Ledger {
    services: Vec<ServiceUuid>,
    hosts: BTreeMap<OfferId, PublicKey>,
    offers: Vec<OfferId>,
    takers: BTreeMap<OfferId, PublicKey>,
    parked: Vec<(WaiterId, PublicKey)>,
}

impl Ledger {
    fn took(&mut self, peer: PublicKey, taken: &TakenOffer) {
        let before = self.takers.insert(taken.id, peer);
        assert!(before.is_none(), "an offer went to two");
        assert_eq!(self.hosts.get(&taken.id), Some(&taken.service.owner));
    }
}

/// The `number`th offer ever made. Signatures are checked before the directory and play no part.
fn numbered(number: usize) -> NewOffer {
    let id = OfferId::from_bytes((number as u128).to_be_bytes());
    NewOffer { id, sdp: format!("offer {number}"), signature: crate::Signature([0; 64]) }
}

fn run(ops: Vec<Op>) {
    let mut limits = Limits::default();
    (limits.offers_per_service, limits.takes_per_key, limits.waiters_per_service) = (3, 3, 2);
    let mut world = World::with(limits);
    let mut ledger = Ledger::default();
    let people: Vec<_> = (0..4).map(|who| id(who + 1)).collect();
    let mut nonce = 0u128;
    for op in ops {
        let before = world.state();
        let request = match op.clone() {
            Op::Claim { who, name } => (who, Request::Claim { username: user(&format!("user{name}")) }),
            Op::Publish { who, name, version, ttl, offers } => {
                let person = &people[who as usize];
                let mut publish = publication(person, &format!("user{name}"), &format!("s@1.{version}.0"));
                publish.ttl = seconds(ttl);
                for _ in 0..offers {
                    let offer = numbered(ledger.offers.len());
                    ledger.offers.push(offer.id);
                    ledger.hosts.insert(offer.id, person.public_key());
                    publish.offers.push(offer);
                }
                if !ledger.services.contains(&publish.uuid) {
                    ledger.services.push(publish.uuid);
                }
                (who, Request::Publish(publish))
            }
            Op::Withdraw { who, service } => {
                let Some(uuid) = ledger.services.get(service).copied() else { continue };
                (who, Request::Withdraw { uuid })
            }
            Op::Add { who, service, count } => {
                let Some(uuid) = ledger.services.get(service).copied() else { continue };
                let mut offers = Vec::new();
                for _ in 0..count {
                    let offer = numbered(ledger.offers.len());
                    ledger.offers.push(offer.id);
                    ledger.hosts.insert(offer.id, people[who as usize].public_key());
                    offers.push(offer);
                }
                (who, Request::AddOffers { instance: None, uuid, offers })
            }
            Op::TakeBack { who, offer } => {
                let Some(id) = recent(&ledger, offer) else { continue };
                let Some(uuid) = ledger.services.first().copied() else { continue };
                (who, Request::WithdrawOffers { uuid, offers: vec![id] })
            }
            Op::Take { who, service, wait } => {
                let Some(uuid) = ledger.services.get(service).copied() else { continue };
                (who, take(uuid, wait))
            }
            Op::Answer { who, offer } => {
                let Some(offer) = recent(&ledger, offer) else { continue };
                let signature = crate::Signature([0; 64]);
                (who, Request::Answer(Answer { offer, sdp: format!("answer {who}"), signature }))
            }
            Op::Candidates { who, offer } => {
                let Some(offer) = recent(&ledger, offer) else { continue };
                (who, Request::Candidates { offer, candidates: vec![format!("from {who}")] })
            }
            Op::GiveBack { who, offer } => {
                let Some(offer) = recent(&ledger, offer) else { continue };
                let key = people[who as usize].public_key();
                world.directory.give_back(world.now, key, offer);
                if ledger.takers.get(&offer) == Some(&key) && is_pooled(&world, offer) {
                    ledger.takers.remove(&offer);
                }
                settle(&mut world, &mut ledger);
                continue;
            }
            Op::Drop { waiter } => {
                if waiter < ledger.parked.len() {
                    let (waiter, _) = ledger.parked.swap_remove(waiter);
                    world.directory.drop_waiter(world.now, waiter);
                    settle(&mut world, &mut ledger);
                }
                continue;
            }
            Op::Listen { who } => {
                check_events(&mut world, &ledger, &people, who as usize);
                continue;
            }
            Op::Pass { millis } => {
                world.pass(Duration::from_millis(millis));
                settle(&mut world, &mut ledger);
                continue;
            }
        };
        let (who, request) = request;
        let key = people[who as usize].public_key();
        nonce += 1;
        let stamp = crate::signaling::auth::Stamp { key, time: world.now, nonce: nonce.to_be_bytes() };
        match world.directory.handle(world.now, Verified { request, stamp: Some(stamp) }) {
            Outcome::Reply(Err(_)) if !matches!(op, Op::Take { .. }) => {
                // A host that is heard of again may have peers waiting for what is in its pools.
                if world.directory.completions.is_empty() {
                    assert_eq!(world.state(), before, "a refusal changed something: {op:?}");
                }
            }
            Outcome::Reply(Ok(Response::Taken(taken))) => ledger.took(key, &taken),
            Outcome::Reply(_) => {}
            Outcome::Parked(waiter) => ledger.parked.push((waiter, key)),
        }
        settle(&mut world, &mut ledger);
    }
    for who in 0..people.len() {
        check_events(&mut world, &ledger, &people, who);
    }
    let held: usize = world.directory.offers.values().map(Offer::held).sum();
    assert_eq!(world.directory.description_bytes, held);
}

fn recent(ledger: &Ledger, back: usize) -> Option<OfferId> {
    let at = ledger.offers.len().checked_sub(back + 1)?;
    ledger.offers.get(at).copied()
}

fn is_pooled(world: &World, offer: OfferId) -> bool {
    world.directory.services.values().any(|service| service.pool.contains(&offer))
}

fn settle(world: &mut World, ledger: &mut Ledger) {
    while let Some((id, result)) = world.directory.poll_completion() {
        let at =
            ledger.parked.iter().position(|(parked, _)| *parked == id).expect("a completion of a parked one");
        let (_, peer) = ledger.parked.swap_remove(at);
        if let Ok(Response::Taken(taken)) = result {
            ledger.took(peer, &taken);
        }
    }
}

fn check_events(world: &mut World, ledger: &Ledger, people: &[Identity], who: usize) {
    let key = people[who].public_key();
    let events: Vec<_> =
        world.directory.keys.get(&key).into_iter().flat_map(|state| state.told_events()).cloned().collect();
    for event in events {
        match event {
            Event::Answered { offer, peer, .. } => {
                assert_eq!(ledger.hosts.get(&offer), Some(&key));
                assert_eq!(ledger.takers.get(&offer), Some(&peer));
            }
            Event::Candidates { offer, .. } => {
                assert!(ledger.hosts.get(&offer) == Some(&key) || ledger.takers.get(&offer) == Some(&key));
            }
            Event::OfferWanted { uuid, .. } | Event::LeaseLost { uuid } => {
                let names: Vec<_> = (0..6).map(|at| (at % 3, at / 3)).collect();
                assert!(names.iter().any(|(name, version)| {
                    publication(&people[who], &format!("user{name}"), &format!("s@1.{version}.0")).uuid
                        == uuid
                }));
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_list_of_operations_keeps_the_promises(ops in proptest::collection::vec(op(), 1..80)) {
        run(ops);
    }
}
