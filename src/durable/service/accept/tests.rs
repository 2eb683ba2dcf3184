//! Peers that do not keep to the protocol, by hand over memory links.

use bytes::BytesMut;

use super::*;
use crate::durable::core::{Incarnation, Terms, VERSION};
use crate::durable::events::{ConnectionState, Events};
use crate::link::memory::{MemoryNetwork, MemoryTransport};
use crate::link::{Binding, LinkError, NegotiationEvent, Transport as _};
use crate::signaling::ServiceUuid;

const SECOND: Duration = Duration::from_secs(1);

struct Host {
    network: MemoryNetwork,
    transport: MemoryTransport,
    identity: Identity,
    acceptor: Acceptor,
    accepted: mpsc::Receiver<DurableConnection>,
    shared: Arc<ServiceShared>,
    events: Events<ServiceEvent>,
}

fn key(seed: u8) -> Identity {
    Identity::from_secret([seed; 32])
}

impl Host {
    fn new(waiting: usize) -> Self {
        let network = MemoryNetwork::new(1);
        let uuid = ServiceUuid::derive(
            &key(1).public_key(),
            &"alice".parse().unwrap(),
            &"chat@1.0.0".parse().unwrap(),
            &[0; 16],
        );
        let info = super::super::ServiceInfo { service: "alice/chat@1.0.0".into(), uuid, expires_at: 0 };
        let shared = ServiceShared::new(info);
        let events = shared.events.subscribe();
        let (slots, accepted) = mpsc::channel(waiting);
        let acceptor = Acceptor::new(key(1), ConnectionConfig::default(), shared.clone(), slots, None);
        let transport = network.transport();
        Self { network, transport, identity: key(1), acceptor, accepted, shared, events }
    }

    /// A link on which whoever signed the answer is `peer`; returns the peer's end.
    async fn link(&mut self, peer: &Identity) -> Arc<dyn Link> {
        let offer = self.transport.offer().await.unwrap();
        let answer = self.transport.answer(offer.description()).await.unwrap();
        offer.set_answer(answer.description()).await.unwrap();
        let mut ends = vec![];
        for negotiation in [&offer, &answer] {
            match negotiation.next().await {
                NegotiationEvent::Established(link) => ends.push(link),
                _ => panic!("no link"),
            }
        }
        let theirs = ends.pop().unwrap();
        self.acceptor.handle_incoming(Incoming { link: ends.pop().unwrap(), peer: peer.public_key() });
        theirs
    }

    /// Lets the host work until the peer's end says something.
    async fn answer(&mut self, link: &Arc<dyn Link>) -> LinkEvent {
        let answer = async {
            loop {
                tokio::select! {
                    biased;
                    event = link.recv() => return event,
                    () = self.acceptor.step() => {}
                }
            }
        };
        runtime::timeout(60 * SECOND, answer).await.expect("the host says nothing")
    }

    async fn refusal(&mut self, link: &Arc<dyn Link>, hello: &[u8]) -> RefuseCode {
        let LinkEvent::Frame(packet) = self.answer(link).await else { panic!("no frame") };
        let Ok(Some(Frame::Refuse(body))) = Decoder::new(packet).frame() else { panic!("no REFUSE") };
        Refuse::decode(&body, link.binding(), hello, self.identity.public_key()).unwrap().code
    }

    async fn is_closed(&mut self, link: &Arc<dyn Link>, what: &str) {
        match self.answer(link).await {
            LinkEvent::Down(LinkError::ClosedByPeer) => {}
            other => panic!("{what}: {other:?}"),
        }
    }

    /// A peer that keeps to the protocol, and its session.
    async fn honest(&mut self, peer: &Identity) -> (Arc<dyn Link>, DurableConnection) {
        let link = self.link(peer).await;
        let (frame, _) =
            hello(peer, &self.identity, SessionId([peer.public_key().as_bytes()[0]; 16]), link.binding());
        link.send(frame).await.unwrap();
        assert!(matches!(self.answer(&link).await, LinkEvent::Frame(_)));
        (link, self.accepted.try_recv().unwrap())
    }
}

fn hello(from: &Identity, to: &Identity, id: SessionId, binding: Binding) -> (BytesMut, bytes::Bytes) {
    let terms = Terms { link_window: 1 << 20, max_message: 1 << 20, max_half: 0, cursors: vec![] };
    Hello::encode(VERSION, from, to.public_key(), id, None, [7; 16], Incarnation([1; 16]), binding, &terms)
}

#[tokio::test(start_paused = true)]
async fn links_without_a_good_hello_are_closed_and_nobody_is_disturbed() {
    let mut host = Host::new(8);
    let (honest, mallory, me) = (key(2), key(3), key(1));
    let (_link, connection) = host.honest(&honest).await;
    let id = const { SessionId([9; 16]) };
    type Forge = Box<dyn Fn(Binding) -> BytesMut>;
    let bad: Vec<(&str, Forge)> = vec![
        ("random bytes", Box::new(move |_| BytesMut::from(&[0xde, 0xad, 0xbe, 0xef][..]))),
        ("nothing", Box::new(move |_| BytesMut::new())),
        ("another frame first", Box::new(move |_| BytesMut::from(&[0x0a, 7][..]))),
        ("CLOSE first", Box::new(move |_| BytesMut::from(&[0x0c][..]))),
        ("an empty HELLO", Box::new(move |_| BytesMut::from(&[1, 0][..]))),
        ("a HELLO for another link", Box::new(move |_| hello(&key(3), &key(1), id, Binding([1; 32])).0)),
        (
            "a HELLO by another key than the answer",
            Box::new(move |binding| hello(&key(4), &key(1), id, binding).0),
        ),
        ("a HELLO to another host", Box::new(move |binding| hello(&key(3), &key(5), id, binding).0)),
        (
            "half a HELLO",
            Box::new(move |binding| {
                let mut frame = hello(&key(3), &key(1), id, binding).0;
                frame.truncate(frame.len() / 2);
                frame
            }),
        ),
        (
            "one bit of a HELLO turned",
            Box::new(move |binding| {
                let mut frame = hello(&key(3), &key(1), id, binding).0;
                frame[100] ^= 1;
                frame
            }),
        ),
    ];
    for (what, packet) in bad {
        let link = host.link(&mallory).await;
        let _ = link.send(packet(link.binding())).await;
        host.is_closed(&link, what).await;
        assert!(host.accepted.try_recv().is_err(), "{what}");
        assert_eq!(connection.state(), ConnectionState::Connected, "{what}");
    }
    // A HELLO that was heard on another link, word for word.
    let link = host.link(&honest).await;
    let (frame, _) = hello(&honest, &me, SessionId([0; 16]), _link.binding());
    link.send(frame).await.unwrap();
    host.is_closed(&link, "a replayed HELLO").await;
    assert_eq!(connection.state(), ConnectionState::Connected);
    assert_eq!(host.shared.sessions.lock().unwrap().len(), 1);
    assert!(matches!(host.events.next().await, Some(ServiceEvent::Connection(_))));
}

#[tokio::test(start_paused = true)]
async fn a_link_without_any_hello_is_closed_in_time() {
    let mut host = Host::new(8);
    let started = runtime::now();
    let link = host.link(&key(3)).await;
    host.is_closed(&link, "silence").await;
    assert_eq!((runtime::now() - started).as_secs(), 5);
    // Many at once are bounded, and those beyond the bound go at once.
    let mut links = vec![];
    for _ in 0..MAX_GREETING + 10 {
        links.push(host.link(&key(3)).await);
    }
    let started = runtime::now();
    for link in &links[MAX_GREETING..] {
        host.is_closed(link, "too many").await;
    }
    assert!(runtime::now() - started < SECOND);
    for link in &links[..MAX_GREETING] {
        host.is_closed(link, "silence").await;
    }
    drop((link, links));
    tokio::task::yield_now().await;
    assert_eq!(host.network.links(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_version_is_told_ours() {
    let mut host = Host::new(8);
    let link = host.link(&key(3)).await;
    let (mut frame, _) = hello(&key(3), &key(1), SessionId([9; 16]), link.binding());
    let (ours, theirs) = (VERSION.to_be_bytes(), (VERSION + 1).to_be_bytes());
    let body_at = frame.windows(2).position(|two| two == ours).unwrap();
    frame[body_at..body_at + 2].copy_from_slice(&theirs);
    let body = frame.clone().freeze().slice(body_at..);
    link.send(frame).await.unwrap();
    assert_eq!(host.refusal(&link, &body).await, RefuseCode::Version);
    assert!(host.accepted.try_recv().is_err());
    let error = DialError::Version { ours: VERSION, theirs: (VERSION + 1).to_string() };
    let told = Some(ServiceEvent::Refused { peer: key(3).public_key(), error });
    assert_eq!(host.events.next().await, told, "the application is told, too");
}

#[tokio::test(start_paused = true)]
async fn anothers_session_is_not_to_be_had() {
    let mut host = Host::new(8);
    let (link, connection) = host.honest(&key(2)).await;
    let thief = host.link(&key(3)).await;
    let (frame, body) = hello(&key(3), &key(1), connection.id(), thief.binding());
    thief.send(frame).await.unwrap();
    assert_eq!(host.refusal(&thief, &body).await, RefuseCode::Rejected);
    assert_eq!(connection.state(), ConnectionState::Connected);
    assert!(host.accepted.try_recv().is_err());
    drop(link);
}

#[tokio::test(start_paused = true)]
async fn misbehaviour_ends_one_link_and_no_other() {
    let mut host = Host::new(8);
    let (bad, of_bad) = host.honest(&key(3)).await;
    let (_good, of_good) = host.honest(&key(2)).await;
    bad.send(BytesMut::from(&[0x7f][..])).await.unwrap();
    loop {
        match host.answer(&bad).await {
            LinkEvent::Down(error) => break assert_eq!(error, LinkError::ClosedByPeer),
            LinkEvent::Frame(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(of_bad.state(), ConnectionState::Reconnecting { .. }), "it may come back");
    assert_eq!(of_good.state(), ConnectionState::Connected);
}

#[tokio::test(start_paused = true)]
async fn sessions_are_bounded_per_key_and_by_those_that_nobody_accepts() {
    let mut host = Host::new(MAX_PER_PEER + 8);
    let mut links = vec![];
    for (peer, most) in [(3, MAX_PER_PEER), (4, 8)] {
        for number in 0..=most {
            let link = host.link(&key(peer)).await;
            let id = SessionId([peer, number as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            let (frame, body) = hello(&key(peer), &key(1), id, link.binding());
            link.send(frame).await.unwrap();
            if number == most {
                assert_eq!(host.refusal(&link, &body).await, RefuseCode::Full, "{peer}");
            } else {
                assert!(matches!(host.answer(&link).await, LinkEvent::Frame(_)));
            }
            links.push(link);
        }
    }
    assert_eq!(host.shared.sessions.lock().unwrap().len(), MAX_PER_PEER + 8);
}
