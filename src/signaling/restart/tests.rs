use bytes::BytesMut;

use super::*;
use crate::identity::Identity;
use crate::link::{LinkEvent, LossyConfig};
use crate::runtime::Instant;
use crate::signaling::testing::*;
use crate::signaling::{Event, Response, ServiceTarget};

/// A link that notes what becomes of it, and has a path as soon as it knows one candidate.
struct Noted {
    name: &'static str,
    state: Mutex<State>,
    changed: tokio::sync::Notify,
}

#[derive(Default)]
struct State {
    answered: Vec<IceCredentials>,
    finished: Vec<IceCredentials>,
    candidates: Vec<String>,
    told: bool,
}

impl Noted {
    fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self { name, state: Mutex::default(), changed: tokio::sync::Notify::new() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn is_untouched(&self) -> bool {
        let state = self.lock();
        state.answered.is_empty() && state.finished.is_empty() && state.candidates.is_empty()
    }

    fn credentials(&self) -> IceCredentials {
        IceCredentials::new(self.name, "0123456789012345678901").unwrap()
    }
}

fn pending<'a, T: Send + 'a>() -> BoxFuture<'a, T> {
    Box::pin(std::future::pending())
}

impl Link for Noted {
    fn binding(&self) -> Binding {
        Binding([3; 32])
    }
    fn max_frame(&self) -> usize {
        1024
    }
    fn receive_window(&self) -> u32 {
        65_536
    }
    fn send(&self, _: BytesMut) -> BoxFuture<'_, Result<(), LinkError>> {
        pending()
    }
    fn recv(&self) -> BoxFuture<'_, LinkEvent> {
        pending()
    }
    fn open_lossy(&self, _: u16, _: LossyConfig) {}
    fn send_lossy(&self, _: u16, _: BytesMut) {}
    fn close_lossy(&self, _: u16) {}
    fn close(&self) -> BoxFuture<'_, ()> {
        pending()
    }
    fn ask_restart(&self) -> BoxFuture<'_, Result<IceCredentials, LinkError>> {
        Box::pin(async { Ok(self.credentials()) })
    }
    fn answer_restart<'a>(
        &'a self,
        theirs: &'a IceCredentials,
    ) -> BoxFuture<'a, Result<IceCredentials, LinkError>> {
        self.lock().answered.push(theirs.clone());
        Box::pin(async { Ok(self.credentials()) })
    }
    fn finish_restart<'a>(&'a self, theirs: &'a IceCredentials) -> BoxFuture<'a, Result<(), LinkError>> {
        self.lock().finished.push(theirs.clone());
        Box::pin(async { Ok(()) })
    }
    fn add_restart_candidate<'a>(&'a self, candidate: &'a str) -> BoxFuture<'a, Result<(), LinkError>> {
        self.lock().candidates.push(candidate.to_owned());
        self.changed.notify_one();
        Box::pin(async { Ok(()) })
    }
    fn restart_event(&self) -> BoxFuture<'_, RestartEvent> {
        Box::pin(async {
            if !std::mem::replace(&mut self.lock().told, true) {
                return RestartEvent::Candidate(format!("candidate of {}", self.name));
            }
            while self.lock().candidates.is_empty() {
                self.changed.notified().await;
            }
            // The other end has to hear of ours, too.
            runtime::sleep(SECOND).await;
            RestartEvent::Done
        })
    }
}

/// A host with a live link, and the way of an offer that somebody took.
struct Scene {
    hosting: Hosting,
    links: LiveLinks,
    at_host: Arc<Noted>,
}

impl Scene {
    /// The live link is that of the party `owner`.
    async fn new(world: &World, owner: &Party) -> Self {
        let mut hosting = world.host();
        hosting.published().await;
        let (links, at_host) = (LiveLinks::default(), Noted::new("host"));
        links.insert(owner.identity.public_key(), &(at_host.clone() as Arc<dyn Link>));
        Self { hosting, links, at_host }
    }

    async fn way(&self, taker: &Party) -> Way {
        let target = ServiceTarget::Uuid { uuid: self.hosting.host.uuid() };
        let Ok(Response::Taken(taken)) = taker.caller.ask(wire::take(target, SECOND)).await else {
            panic!("not taken")
        };
        let owner = self.hosting.party.identity.public_key();
        let news = taker.subscription.restart(taken.id);
        Way { offer: taken.id, service: self.hosting.host.uuid(), owner, news }
    }

    /// Asks as `asking` does, and lets the host hear of it.
    async fn run(&self, asking: &Party, restart: Restart) -> Result<(), DialError> {
        let way = self.way(asking).await;
        let news = self.hosting.party.subscription.restart(way.offer);
        let serving = serve(&self.hosting.party.caller, &self.links, way.service, way.offer, news);
        let asked = ask(asking.caller.clone(), restart, async { Some(way) });
        let (asked, ()) = tokio::join!(asked, serving);
        asked
    }
}

fn wish(link: &Arc<Noted>) -> Restart {
    Restart { link: link.clone(), not_before: runtime::now(), is_wanted: Box::new(|| true) }
}

#[tokio::test(start_paused = true)]
async fn the_owner_of_a_link_has_it_restarted() {
    let world = World::new();
    let peer = world.party(2);
    let scene = Scene::new(&world, &peer).await;
    let link = Noted::new("peer");
    scene.run(&peer, wish(&link)).await.unwrap();
    assert_eq!(scene.at_host.lock().answered, [link.credentials()]);
    assert_eq!(link.lock().finished, [scene.at_host.credentials()]);
    assert_eq!(link.lock().candidates, ["candidate of host"]);
    assert_eq!(scene.at_host.lock().candidates, ["candidate of peer"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_else_has() {
    let world = World::new();
    let (owner, other) = (world.party(2), world.party(3));
    let scene = Scene::new(&world, &owner).await;
    let link = Noted::new("other");
    let began = runtime::now();
    let failed = scene.run(&other, wish(&link)).await.unwrap_err();
    assert_eq!(failed, DialError::TimedOut);
    assert!(runtime::now() - began <= WITHIN + SECOND);
    assert!(scene.at_host.is_untouched() && link.is_untouched());
    // Nor who is no party to the offer.
    let way = scene.way(&owner).await;
    let failed = ask(other.caller.clone(), wish(&link), async { Some(way) }).await.unwrap_err();
    assert!(matches!(failed, DialError::Signaling(_)), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_not_there_or_gone_is_not_restarted() {
    let world = World::new();
    let peer = world.party(2);
    let mut scene = Scene::new(&world, &peer).await;
    scene.at_host = Noted::new("gone");
    assert_eq!(scene.run(&peer, wish(&Noted::new("peer"))).await, Err(DialError::TimedOut));
    scene.links = LiveLinks::default();
    assert_eq!(scene.run(&peer, wish(&Noted::new("peer"))).await, Err(DialError::TimedOut));
}

/// A directory that changes what passes with these words.
async fn meddled(begins: &'static str, change: fn(&str) -> String) -> (Result<(), DialError>, bool, bool) {
    let world = World::new();
    let meddler = Meddler::new(&world.signaling).events(move |event| match event {
        Event::Candidates { offer, candidates } => {
            let change = |text: String| if text.starts_with(begins) { change(&text) } else { text };
            Event::Candidates { offer, candidates: candidates.into_iter().map(change).collect() }
        }
        other => other,
    });
    let peer = world.party_over(2, meddler.clone());
    let mut hosting = world.party_over(1, meddler).host(config("chat@1.0.0"));
    hosting.published().await;
    let (links, at_host) = (LiveLinks::default(), Noted::new("host"));
    links.insert(peer.identity.public_key(), &(at_host.clone() as Arc<dyn Link>));
    let scene = Scene { hosting, links, at_host };
    let link = Noted::new("peer");
    let asked = scene.run(&peer, wish(&link)).await;
    (asked, scene.at_host.is_untouched(), link.lock().finished.is_empty())
}

#[tokio::test(start_paused = true)]
async fn what_the_directory_forges_is_found_out() {
    let other_name = |text: &str| text.replace("peer", "evil");
    assert_eq!(meddled(ASK, other_name).await, (Err(DialError::TimedOut), true, true));
    let (asked, _, not_finished) = meddled(ANSWER, |text| text.replace("host", "evil")).await;
    assert!(matches!(asked, Err(DialError::Impersonation(_))) && not_finished, "{asked:?}");
    // Garbage is passed over.
    let garbage: [fn(&str) -> String; 4] = [
        |_| "restart:".to_owned(),
        |_| "restart:ask ".to_owned(),
        |_| "restart:ask a b c d".to_owned(),
        |text| text.replace("ask", "what"),
    ];
    for garble in garbage {
        assert_eq!(meddled(ASK, garble).await, (Err(DialError::TimedOut), true, true));
    }
}

#[tokio::test(start_paused = true)]
async fn the_host_hears_nothing_before_the_old_path_had_its_chance_or_once_it_answered() {
    let world = World::new();
    let peer = world.party(2);
    let scene = Scene::new(&world, &peer).await;
    let link = Noted::new("peer");
    let began: Instant = runtime::now();
    let is_wanted = Box::new(move || {
        assert_eq!(runtime::now() - began, SECOND);
        false
    });
    let restart = Restart { link: link.clone(), not_before: began + SECOND, is_wanted };
    let way = scene.way(&peer).await;
    let failed = ask(peer.caller.clone(), restart, async { Some(way) }).await.unwrap_err();
    assert!(failed.to_string().contains("without one"), "{failed}");
    assert!(scene.at_host.is_untouched());
}

#[tokio::test(start_paused = true)]
async fn without_a_dial_that_gets_through_it_ends_in_seconds() {
    let world = World::new();
    let peer = world.party(2);
    let link = Noted::new("peer");
    let began = runtime::now();
    let failed = ask(peer.caller.clone(), wish(&link), std::future::pending()).await.unwrap_err();
    assert!(failed.to_string().contains("no dial"), "{failed}");
    assert_eq!(runtime::now() - began, OFFER_WITHIN);
}

#[test]
fn texts_are_read_as_they_are_written() {
    let credentials = IceCredentials::new("abcd", "0123456789012345678901").unwrap();
    let signature = Identity::from_secret([1; 32]).sign(Domain::Restart, &[]);
    let ask = ask_text(Binding([7; 32]), &credentials, &signature);
    let expected = Said::Ask { binding: Binding([7; 32]), asked: credentials.clone(), signature };
    assert_eq!(read(&ask), Some(expected));
    let answer = answer_text(&credentials, &signature);
    assert_eq!(read(&answer), Some(Said::Answer { answered: credentials, signature }));
    let long = IceCredentials::new("u".repeat(256), "p".repeat(256)).unwrap();
    assert!(ask_text(Binding([7; 32]), &long, &signature).len() <= 1024, "the directory takes no more");
    for text in [&ask, &answer] {
        for end in 0..text.len() {
            assert_eq!(read(&text[..end]), None, "{end}");
        }
        assert_eq!(read(&format!("{text} ")), None);
        assert_eq!(read(&text.replace(' ', "  ")), None);
    }
    assert_eq!(read("candidate:1"), None);
}
