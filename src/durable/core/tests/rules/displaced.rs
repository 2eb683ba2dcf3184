//! Two processes with copies of one session: the newer displaces the older, once, and both know.

use super::*;
use crate::durable::core::tests::pair::End;
use crate::durable::core::{Decision, Known, RefuseCode, Session, VERSION, decide};
use crate::durable::events::ConnectionEvent;
use crate::error::CloseReason;

/// A process that starts with a copy of what the dialer has stored, in place of the dialer, which
/// is returned and runs on once it is put back.
fn another_process(pair: &mut Pair, seed: u64) -> End {
    let now = pair.now;
    let mut copy = Session::dialer(pair.identity(Dialer).clone(), pair.config.clone(), now, seed);
    let mut incarnation = [0; 16];
    incarnation[..8].copy_from_slice(&seed.to_be_bytes());
    copy.set_incarnation(incarnation);
    let old = pair.session(Dialer);
    (copy.id, copy.secret, copy.peer) = (old.id, old.secret.clone(), old.peer);
    let mut end = End::new();
    end.session = Some(copy);
    std::mem::replace(&mut pair.dialer, end)
}

fn took_over(end: &End) -> usize {
    end.events.iter().filter(|event| matches!(event, ConnectionEvent::TookOver)).count()
}

#[test]
fn the_newer_takes_over_and_the_older_stays_away() {
    let mut pair = Pair::connected(1, lossless());
    pair.run(SECOND);
    let older = another_process(&mut pair, 77);
    pair.start();
    pair.run(SECOND);
    assert!(pair.dialer.connected() && pair.acceptor.connected());
    assert_eq!((took_over(&pair.dialer), took_over(&pair.acceptor), pair.begun), (1, 1, 1));

    // The older one lost its link by that, and comes back.
    let newer = std::mem::replace(&mut pair.dialer, older);
    pair.run(40 * SECOND);
    assert_eq!(pair.close_reason(Dialer), Some(CloseReason::Displaced));
    let dialed = pair.dialed.len();
    pair.run(100 * SECOND);
    assert_eq!(pair.dialed.len(), dialed, "it does not come again");
    assert!(matches!(pair.dialer.events.last(), Some(ConnectionEvent::Closed(CloseReason::Displaced))));

    // The newer one, which the test did not run meanwhile, keeps the session over further links.
    pair.dialer = newer;
    pair.run(60 * SECOND);
    assert!(pair.acceptor.connected());
    for _ in 0..20 {
        pair.cut();
        pair.run(10 * SECOND);
        assert!(pair.dialer.connected());
    }
    assert_eq!((took_over(&pair.dialer), took_over(&pair.acceptor)), (1, 1), "once");
}

#[test]
fn a_process_that_is_killed_and_started_again_goes_on_each_time() {
    let mut pair = Pair::connected(1, lossless());
    for run in 0..100 {
        let killed = another_process(&mut pair, 1000 + run);
        drop(killed);
        pair.start();
        pair.run(5 * SECOND);
        assert!(pair.dialer.connected() && pair.acceptor.connected(), "run {run}");
        assert_eq!(pair.begun, 1);
    }
    assert!(pair.session(Acceptor).incarnations.len() <= 16, "what is remembered is bounded");
}

#[test]
fn one_process_is_never_taken_for_another() {
    let mut pair = Pair::connected(1, lossless());
    for _ in 0..50 {
        pair.cut();
        pair.run(10 * SECOND);
    }
    assert_eq!((took_over(&pair.dialer), took_over(&pair.acceptor)), (0, 0));
    assert_eq!(pair.session(Acceptor).incarnations.len(), 1);
}

#[test]
fn only_who_proves_the_secret_learns_that_it_was_displaced() {
    use crate::durable::core::{Hello, Incarnation, SessionId, SessionSecret, Terms};
    use crate::link::Binding;
    let pair = pair();
    let (peer, host) = (pair.identity(Dialer), pair.identity(Acceptor).public_key());
    let (id, binding) = (SessionId([1; 16]), Binding([2; 32]));
    let (secret, wrong) = (SessionSecret([3; 32]), SessionSecret([4; 32]));
    let incarnations: Vec<_> = [5, 6].map(|byte| Incarnation([byte; 16])).into();
    let known = Known::Alive {
        peer: peer.public_key(),
        secret: secret.clone(),
        confirmed: true,
        incarnations: incarnations.clone(),
        overtaken: false,
    };
    let says = |secret: &SessionSecret, incarnation: u8| {
        let incarnation = Incarnation([incarnation; 16]);
        let terms = Terms::default();
        let (_, body) =
            Hello::encode(VERSION, peer, host, id, Some(secret), [0; 16], incarnation, binding, &terms);
        decide(&Hello::decode(VERSION, &body, binding, host).unwrap(), binding, Some(&known), true)
    };
    assert!(matches!(says(&secret, 5), Decision::Refuse(RefuseCode::Displaced, _)));
    assert!(matches!(says(&wrong, 5), Decision::Refuse(RefuseCode::Rejected, _)));
    assert_eq!((says(&secret, 6), says(&secret, 7)), (Decision::Resume, Decision::Resume));
}
