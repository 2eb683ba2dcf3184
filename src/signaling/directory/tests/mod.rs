//! A directory in virtual time, and those who use it.

mod behaviour;
mod hosts;
#[cfg(not(target_arch = "wasm32"))]
mod property;
mod weaknesses;

use std::time::Duration;

use super::limits::millis;
use super::*;
use crate::identity::{Domain, Identity};
use crate::signaling::auth::{SignedRequest, sign_answer, sign_offer};
use crate::signaling::{
    Answer, Cursor, Event, Lease, MetadataJson, NewOffer, Publish, ServiceQuery, ServiceTarget, TakenOffer,
};

/// Where the tests begin: an hour from any real time, so that no forgotten clock can pass.
const START: u64 = 1_000_000_000_000;

struct World {
    directory: Directory,
    now: u64,
    nonce: u128,
}

impl World {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self { directory: Directory::new(limits, 7), now: START, nonce: 0 }
    }

    fn verified(&mut self, who: &Identity, request: Request) -> Verified {
        self.nonce += 1;
        SignedRequest::sign(who, request, self.now, self.nonce.to_be_bytes()).verify(self.now).unwrap()
    }

    fn outcome(&mut self, who: &Identity, request: Request) -> Outcome {
        let request = self.verified(who, request);
        self.directory.handle(self.now, request)
    }

    fn ask(&mut self, who: &Identity, request: Request) -> Result<Response, SignalingError> {
        match self.outcome(who, request) {
            Outcome::Reply(reply) => reply,
            Outcome::Parked(_) => panic!("parked"),
        }
    }

    fn refused(&mut self, who: &Identity, request: Request) -> ErrorCode {
        let before = self.state();
        let code = self.ask(who, request).unwrap_err().code().unwrap();
        assert_eq!(self.state(), before, "a refusal changes nothing");
        code
    }

    /// Everything but how much was asked and when.
    fn state(&self) -> String {
        let Directory { claims, services, by_user, offers, waiters, completions, changes, .. } =
            &self.directory;
        let keys: Vec<_> = self
            .directory
            .keys
            .iter()
            .filter_map(|(key, state)| state.told().map(|told| (key, told)))
            .collect();
        format!("{claims:?}{services:?}{by_user:?}{offers:?}{waiters:?}{completions:?}{changes:?}{keys:?}")
    }

    fn pass(&mut self, time: Duration) {
        self.now += millis(time);
        self.directory.expire(self.now);
    }

    fn claim(&mut self, who: &Identity, name: &str) {
        self.ask(who, Request::Claim { username: user(name) }).unwrap();
    }

    fn publish(&mut self, who: &Identity, publish: Publish) -> Lease {
        match self.ask(who, Request::Publish(publish)) {
            Ok(Response::Published(lease)) => lease,
            other => panic!("{other:?}"),
        }
    }

    /// A host with a name and one public service.
    fn host(&mut self, who: &Identity, name: &str, service: &str) -> ServiceUuid {
        self.claim(who, name);
        self.publish(who, publication(who, name, service)).uuid
    }

    fn add(&mut self, who: &Identity, uuid: ServiceUuid, ids: &[u8]) {
        let offers = ids.iter().map(|id| offer(who, uuid, *id)).collect();
        self.ask(who, Request::AddOffers { instance: None, uuid, offers }).unwrap();
    }

    fn take(&mut self, who: &Identity, uuid: ServiceUuid) -> TakenOffer {
        match self.outcome(who, take(uuid, 0)) {
            Outcome::Reply(Ok(Response::Taken(taken))) => taken,
            other => panic!("{other:?}"),
        }
    }

    fn park(&mut self, who: &Identity, uuid: ServiceUuid, seconds: u64) -> WaiterId {
        match self.outcome(who, take(uuid, seconds)) {
            Outcome::Parked(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, who: &Identity, taken: &TakenOffer) -> Result<Response, SignalingError> {
        let uuid = taken.service.uuid;
        let signature = sign_answer(who, &uuid, &taken.id, &taken.sdp, "answer");
        self.ask(who, Request::Answer(Answer { offer: taken.id, sdp: "answer".into(), signature }))
    }

    fn listen(&mut self, who: &Identity, cursor: Option<Cursor>) -> Listener {
        let request = self.verified(who, Request::Events { cursor });
        self.directory.listen(self.now, &request).unwrap()
    }

    /// All events kept for a key.
    fn events(&mut self, who: &Identity) -> Vec<Event> {
        let mut listener = self.listen(who, None);
        let events = self.directory.read_events(&mut listener).into_iter().map(|(_, event)| event);
        let events = events.filter(|event| *event != Event::Opened).collect();
        self.directory.unlisten(self.now, listener);
        events
    }
}

fn id(number: u8) -> Identity {
    Identity::from_secret([number; 32])
}

fn user(name: &str) -> Username {
    name.parse().unwrap()
}

fn publication(who: &Identity, name: &str, service: &str) -> Publish {
    let (username, service): (Username, ServiceFqn) = (user(name), service.parse().unwrap());
    let salt = who.derive(Domain::ServiceSalt, &[name.as_bytes(), service.to_string().as_bytes()]);
    Publish {
        instance: None,
        uuid: ServiceUuid::derive(&who.public_key(), &username, &service, &salt),
        username,
        service,
        salt: OfferId::from_bytes(salt).to_string(),
        public: true,
        token_hash: None,
        metadata: MetadataJson::default(),
        ttl: Duration::from_secs(300),
        offers: Vec::new(),
    }
}

/// Metadata of one fact.
fn metadata(name: &str, value: serde_json::Value) -> MetadataJson {
    serde_json::Map::from_iter([(name.to_owned(), value)]).into()
}

fn offer(who: &Identity, uuid: ServiceUuid, number: u8) -> NewOffer {
    let id = OfferId::from_bytes([number; 16]);
    let sdp = format!("offer {number}");
    NewOffer { id, signature: sign_offer(who, &uuid, &id, &sdp), sdp }
}

fn take(uuid: ServiceUuid, seconds: u64) -> Request {
    Request::Take { target: ServiceTarget::Uuid { uuid }, wait: Duration::from_secs(seconds) }
}

fn by_name(name: &str, query: &str, token: Option<&str>) -> ServiceTarget {
    let service: ServiceQuery = query.parse().unwrap();
    ServiceTarget::Name { username: user(name), service, token: token.map(str::to_owned) }
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}
