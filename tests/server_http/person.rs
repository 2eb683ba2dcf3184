//! Somebody with a key who signs by `docs/PROTOCOL.md`, not by the library: a second implementation.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use everlink::Identity;
use everlink::signaling::{
    MetadataJson, NewOffer, OfferId, Publish, Request, ServiceFqn, ServiceTarget, ServiceUuid, SignedRequest,
    Username,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

pub struct Person {
    key: SigningKey,
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}

pub fn person(number: u8) -> Person {
    Person { key: SigningKey::from_bytes(&[number; 32]) }
}

pub fn digest(label: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in std::iter::once(&label.as_bytes()).chain(parts) {
        hash.update((part.len() as u32).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

pub fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Person {
    pub fn public(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    pub fn identity(&self) -> Identity {
        Identity::from_secret(self.key.to_bytes())
    }

    /// The value of the authorization header.
    pub fn sign(&self, method: &str, path: &str, body: &[u8], time: u64, nonce: [u8; 16]) -> String {
        let hash = Sha256::digest(body);
        let parts: [&[u8]; 6] =
            [method.as_bytes(), path.as_bytes(), &hash, &nonce, &time.to_be_bytes(), &self.public()];
        let signature = self.key.sign(&digest("everlink/request/1", &parts)).to_bytes();
        format!("Everlink {}.{time}.{}.{}", text(&self.public()), text(&nonce), text(&signature))
    }

    pub fn signed_now(&self, method: &str, path: &str, body: &[u8]) -> String {
        self.sign(method, path, body, now(), *OfferId::random().as_bytes())
    }

    pub fn request(&self, request: Request) -> SignedRequest {
        SignedRequest::sign(&self.identity(), request, now(), *OfferId::random().as_bytes())
    }

    pub fn uuid(&self, user: &str, service: &str) -> String {
        let hash = digest(
            "everlink/service-uuid/1",
            &[&self.public(), user.as_bytes(), service.as_bytes(), &[5; 16]],
        );
        let mut bytes = hash[..16].to_vec();
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    pub fn offer(&self, uuid: &str, id: [u8; 16], sdp: &str) -> serde_json::Value {
        let uuid: ServiceUuid = uuid.parse().unwrap();
        let hash = digest("everlink/offer/1", &[uuid.as_bytes(), &id, sdp.as_bytes()]);
        json!({"id": text(&id), "sdp": sdp, "signature": text(&self.key.sign(&hash).to_bytes())})
    }

    pub fn answer(&self, uuid: &str, id: [u8; 16], offer: &str, answer: &str) -> serde_json::Value {
        let uuid: ServiceUuid = uuid.parse().unwrap();
        let parts: [&[u8]; 4] = [uuid.as_bytes(), &id, offer.as_bytes(), answer.as_bytes()];
        let hash = digest("everlink/answer/1", &parts);
        json!({"sdp": answer, "signature": text(&self.key.sign(&hash).to_bytes())})
    }

    /// A publication as JSON.
    pub fn publication(&self, user: &str, service: &str) -> serde_json::Value {
        json!({
            "username": user, "service": service, "uuid": self.uuid(user, service), "salt": text(&[5; 16]),
            "public": true, "ttl_ms": 60_000,
        })
    }

    pub fn publish(&self, user: &str, service: &str) -> Publish {
        let (username, service) = (Username::new(user).unwrap(), service.parse::<ServiceFqn>().unwrap());
        Publish {
            instance: None,
            uuid: self.uuid(user, &service.to_string()).parse().unwrap(),
            username,
            service,
            salt: text(&[5; 16]),
            public: true,
            token_hash: None,
            metadata: MetadataJson::default(),
            ttl: Duration::from_secs(60),
            offers: Vec::new(),
        }
    }

    pub fn new_offer(&self, uuid: &ServiceUuid, sdp: &str) -> NewOffer {
        let id = OfferId::random();
        serde_json::from_value(self.offer(&uuid.to_string(), *id.as_bytes(), sdp)).unwrap()
    }
}

pub fn take(uuid: ServiceUuid, wait: Duration) -> Request {
    Request::Take { target: ServiceTarget::Uuid { uuid }, wait }
}
