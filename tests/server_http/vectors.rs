//! The published vectors, by the second implementation.

use serde_json::Value;

use crate::person::{digest, person, text};

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn two_implementations_agree_on_every_signed_byte() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/vectors/signaling.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (host, peer) = (person(7), person(8));
    assert_eq!(all["host"]["public_key"], text(&host.public()));
    assert_eq!(all["peer"]["public_key"], text(&peer.public()));
    let requests = all["requests"].as_array().unwrap();
    assert!(requests.len() >= 15);
    for request in requests {
        let part = |field: &str| request[field].as_str().unwrap();
        let nonce = bytes(&request["nonce"]).try_into().unwrap();
        let time = request["time"].as_u64().unwrap();
        let made = host.sign(part("method"), part("path"), part("body").as_bytes(), time, nonce);
        assert_eq!(part("authorization"), made);
    }
    let service = &all["service"];
    let parts: [&[u8]; 4] = [
        &host.public(),
        service["username"].as_str().unwrap().as_bytes(),
        service["service"].as_str().unwrap().as_bytes(),
        &bytes(&service["salt_hex"]),
    ];
    let mut uuid = digest("everlink/service-uuid/1", &parts)[..16].to_vec();
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    assert_eq!(bytes(&service["uuid_hex"]), uuid);
    let uuid = service["uuid"].as_str().unwrap();
    let id: [u8; 16] = bytes(&all["offer"]["id_hex"]).try_into().unwrap();
    let (offer, answer) = (all["offer"]["sdp"].as_str().unwrap(), all["answer"]["sdp"].as_str().unwrap());
    assert_eq!(host.offer(uuid, id, offer)["signature"], all["offer"]["signature"]);
    assert_eq!(peer.answer(uuid, id, offer, answer)["signature"], all["answer"]["signature"]);
}
