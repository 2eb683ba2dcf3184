//! Requests to the signaling server, as they come over HTTP.

use super::identity;
use crate::signaling::auth::Stamp;
use crate::signaling::directory::{Directory, Limits, Outcome};
use crate::signaling::wire::{self, HttpForm};
use crate::signaling::{OfferId, Publish, Request, ServiceUuid, SignedRequest, Verified};

/// Requests, each ended by a zero byte: a line of who asks (`a` to `d`, `-` for nobody), of how
/// many seconds passed before, of method and path, then the body. A directory answers them all, keeps
/// to its limits, and is empty when all of it has expired.
///
/// A line that begins with `Everlink` is an authorization header instead.
pub fn requests(data: &[u8]) {
    let mut limits = Limits::default();
    (limits.offers_per_service, limits.takes_per_key, limits.waiters_per_service) = (3, 3, 2);
    (limits.services, limits.keys, limits.names_per_key, limits.requests_per_minute) = (4, 3, 2, 1000);
    let mut directory = Directory::new(limits, 1);
    let mut now = 1_733_404_800_000;
    let mut nonce = 0u128;
    let mut parked = 0_usize;
    for part in data.split(|byte| *byte == 0).take(64) {
        let (line, body) = match part.iter().position(|byte| *byte == b'\n') {
            Some(at) => (&part[..at], &part[at + 1..]),
            None => (part, &[][..]),
        };
        let Ok(line) = std::str::from_utf8(line) else { continue };
        if line.starts_with("Everlink") {
            authorization(line, now);
            continue;
        }
        let mut words = line.splitn(4, ' ');
        let (Some(who), Some(wait), Some(method), Some(path)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        now += wait.parse::<u32>().map_or(0, u64::from) * 1000;
        let form = HttpForm { method: method.into(), path: path.into(), body: body.to_vec() };
        let mut request = match wire::decode(&form) {
            Ok(request) => request,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        let encoded = wire::encode(&request);
        let again = match wire::decode(&encoded) {
            Ok(again) => wire::encode(&again),
            Err(error) => panic!("what we encode is refused: {error}"),
        };
        assert!(again == encoded, "{} {} changes when it is sent on", encoded.method, encoded.path);
        let verified = match who.bytes().next() {
            Some(who @ b'a'..=b'd') => {
                nonce += 1;
                let identity = identity(who - b'a' + 7);
                if let Request::Publish(publish) = &mut request {
                    // It commits to the rest, which the fuzzer cannot guess.
                    let Publish { username, service, salt, .. } = &*publish;
                    if let Ok(salt) = salt.parse::<OfferId>() {
                        let (owner, salt) = (identity.public_key(), salt.as_bytes());
                        publish.uuid = ServiceUuid::derive(&owner, username, service, salt);
                    }
                }
                let stamp = Stamp { key: identity.public_key(), time: now, nonce: nonce.to_be_bytes() };
                if nonce == 1 && data.len().is_multiple_of(16) {
                    // Signatures take their time: one is enough.
                    let signed = SignedRequest::sign(identity, request.clone(), now, stamp.nonce);
                    let (method, path, body) = (signed.method(), signed.path(), signed.body());
                    let read = SignedRequest::from_http(method, path, body, &signed.authorization());
                    assert!(read.is_ok_and(|read| read.key() == identity.public_key()));
                }
                Verified { request, stamp: Some(stamp) }
            }
            _ => match Verified::anonymous(request) {
                Ok(verified) => verified,
                Err(_) => continue,
            },
        };
        if let Outcome::Parked(_) = directory.handle(now, verified) {
            parked += 1;
        }
        while directory.poll_completion().is_some() {
            parked = parked.checked_sub(1).expect("who waits once is answered once");
        }
    }
    // Timer by timer for a while, then all that is left at once.
    for _ in 0..1000 {
        let Some(at) = directory.next_expiry() else { break };
        now = now.max(at);
        directory.expire(now);
    }
    (1..=3).for_each(|decades| directory.expire(now + decades * 10 * 365 * 86_400_000));
    while directory.poll_completion().is_some() {
        parked = parked.checked_sub(1).expect("who waits once is answered once");
    }
    assert_eq!(parked, 0, "somebody waits for ever");
    assert_eq!(directory.next_expiry(), None, "something never expires");
}

fn authorization(header: &str, now: u64) {
    let Ok(request) = SignedRequest::from_http("GET", "/v1/usernames/alice", b"", header) else { return };
    let again =
        SignedRequest::from_http("GET", "/v1/usernames/alice", b"", &request.authorization()).expect("ours");
    assert_eq!((again.key(), again.authorization()), (request.key(), request.authorization()));
    _ = request.verify(now);
}
