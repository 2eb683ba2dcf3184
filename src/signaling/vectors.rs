//! The worked examples of `docs/PROTOCOL.md`, made by this implementation and compared with the
//! file that others test theirs against. `tests/server_http` compares it with a second one.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::auth::{SignedRequest, sign_answer, sign_offer};
use super::wire::tests::all_requests;
use super::*;
use crate::identity::{Domain, Identity};

const TIME: u64 = 1_733_404_800_000;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn vectors() -> Value {
    let (host, peer) = (Identity::from_secret([7; 32]), Identity::from_secret([8; 32]));
    let (user, service) =
        (Username::new("alice").unwrap(), ServiceFqn::new("com.example.chat", "1.2.3").unwrap());
    let salt = [1; 16];
    let uuid = ServiceUuid::derive(&host.public_key(), &user, &service, &salt);
    let requests: Vec<_> = all_requests()
        .into_iter()
        .enumerate()
        .map(|(at, request)| {
            let nonce = [at as u8; 16];
            let signed = SignedRequest::sign(&host, request, TIME, nonce);
            let body = Sha256::digest(signed.body());
            let key = host.public_key();
            let time = TIME.to_be_bytes();
            let parts: [&[u8]; 6] =
                [signed.method().as_bytes(), signed.path().as_bytes(), &body, &nonce, &time, key.as_bytes()];
            json!({
                "method": signed.method(),
                "path": signed.path(),
                "body": String::from_utf8(signed.body().to_vec()).unwrap(),
                "body_sha256": hex(&body),
                "nonce": hex(&nonce),
                "time": TIME,
                "digest": hex(&Domain::Request.digest(&parts)),
                "authorization": signed.authorization(),
            })
        })
        .collect();
    let id = OfferId::from_bytes([2; 16]);
    let (offer_sdp, answer_sdp) = ("v=0\r\no=offer\r\n", "v=0\r\no=answer\r\n");
    let offer = [uuid.as_bytes(), id.as_bytes(), offer_sdp.as_bytes()];
    let answer = [uuid.as_bytes(), id.as_bytes(), offer_sdp.as_bytes(), answer_sdp.as_bytes()];
    json!({
        "host": {"seed": hex(&[7; 32]), "public_key": host.public_key(), "public_key_hex": hex(host.public_key().as_bytes())},
        "peer": {"seed": hex(&[8; 32]), "public_key": peer.public_key(), "public_key_hex": hex(peer.public_key().as_bytes())},
        "service": {
            "owner": host.public_key(), "username": user, "service": service,
            "salt": OfferId::from_bytes(salt), "salt_hex": hex(&salt),
            "uuid": uuid, "uuid_hex": hex(uuid.as_bytes()),
        },
        "offer": {
            "id": id, "id_hex": hex(id.as_bytes()), "sdp": offer_sdp,
            "digest": hex(&Domain::Offer.digest(&offer)),
            "signature": sign_offer(&host, &uuid, &id, offer_sdp),
        },
        "answer": {
            "sdp": answer_sdp,
            "digest": hex(&Domain::Answer.digest(&answer)),
            "signature": sign_answer(&peer, &uuid, &id, offer_sdp, answer_sdp),
        },
        "restart": super::restart::vectors(&host, &peer, &uuid, &id),
        "requests": requests,
    })
}

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/vectors/signaling.json");
const PROTOCOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PROTOCOL.md");

/// The same in a browser, whose numbers and texts are made by other code.
#[cfg(target_arch = "wasm32")]
#[wasm_bindgen_test::wasm_bindgen_test]
fn the_published_vectors_are_what_we_do_in_a_browser() {
    let published: Value = serde_json::from_str(include_str!("../../docs/vectors/signaling.json")).unwrap();
    assert_eq!(published, vectors());
}

/// Run with `EVERLINK_WRITE_VECTORS=1` after a change of the protocol.
#[test]
fn the_published_vectors_are_what_we_do() {
    let made = vectors();
    if std::env::var_os("EVERLINK_WRITE_VECTORS").is_some() {
        std::fs::write(FILE, format!("{made:#}\n")).unwrap();
    }
    let published: Value = serde_json::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap();
    assert_eq!(published, made);
}

#[test]
fn the_protocol_names_every_error_and_shows_the_vectors() {
    let text = std::fs::read_to_string(PROTOCOL).unwrap();
    for code in ErrorCode::ALL {
        let again = if code.is_temporary() { "later" } else { "no" };
        let row = format!("| {} | `{}` | {again} |", code.status(), code.as_str());
        assert!(text.contains(&row), "missing: {row}");
    }
    let made = vectors();
    for shown in [
        &made["service"]["uuid"],
        &made["host"]["public_key"],
        &made["offer"]["signature"],
        &made["answer"]["signature"],
        &made["restart"]["ask"]["text"],
        &made["restart"]["answer"]["text"],
        &made["requests"][0]["digest"],
        &made["requests"][0]["authorization"],
    ] {
        assert!(text.contains(shown.as_str().unwrap()), "not shown: {shown}");
    }
}
