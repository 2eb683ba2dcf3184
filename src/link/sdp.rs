//! The few facts of a session description that a link depends on, and what makes one unusable.
//!
//! Pure. The stack parses the rest; what is checked here is what it would take on trust, or
//! what would make it talk to more addresses than a link needs.

use sha2::{Digest, Sha256};

#[cfg(not(target_arch = "wasm32"))]
use crate::link::IceCredentials;
use crate::link::{Binding, LinkError};

/// Larger descriptions are refused unread. One of ours has 1 KiB.
const MAX_BYTES: usize = 32 * 1024;
/// Every candidate is an address that the other end makes us send packets to.
pub(in crate::link) const MAX_CANDIDATES: usize = 40;
/// RFC 8841: what an end takes that does not say.
const DEFAULT_MAX_MESSAGE: usize = 65_536;

/// What a link needs to know of one end's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::link) struct Facts {
    /// SHA-256 of the certificate of that end.
    pub(in crate::link) fingerprint: [u8; 32],
    /// The largest message that end takes; 0 is any.
    pub(in crate::link) max_message: usize,
    /// How many candidates it names.
    pub(in crate::link) candidates: usize,
    /// It says that its end opens DTLS, as an answer may.
    #[cfg_attr(target_arch = "wasm32", allow(dead_code))]
    pub(in crate::link) active: bool,
}

/// Reads and checks a description.
pub(in crate::link) fn read(sdp: &str) -> Result<Facts, LinkError> {
    let bad = |what: &str| Err(LinkError::BadDescription(what.to_owned()));
    if sdp.len() > MAX_BYTES {
        return bad("larger than 32 KiB");
    }
    if !sdp.starts_with("v=0") {
        return bad("no SDP: it does not begin with v=0");
    }
    let mut facts =
        Facts { fingerprint: [0; 32], max_message: DEFAULT_MAX_MESSAGE, candidates: 0, active: false };
    let (mut fingerprint, mut sections, mut ufrag, mut pwd) = (None, 0, false, false);
    for line in sdp.lines() {
        let line = line.trim_end();
        if let Some(media) = line.strip_prefix("m=") {
            sections += 1;
            if !(media.starts_with("application ") && media.ends_with("webrtc-datachannel")) {
                return bad("a media section other than a data channel's");
            }
        } else if let Some(value) = line.strip_prefix("a=fingerprint:") {
            let read = read_fingerprint(value)?;
            // With two, the stack would take either, and the binding could name the other.
            if fingerprint.replace(read).is_some_and(|before| before != read) {
                return bad("two different fingerprints");
            }
        } else if let Some(value) = line.strip_prefix("a=max-message-size:") {
            match value.trim().parse() {
                Ok(size) => facts.max_message = size,
                Err(_) => return bad("max-message-size is no number"),
            }
        } else if line.starts_with("a=candidate:") {
            facts.candidates += 1;
        } else if line == "a=setup:active" {
            facts.active = true;
        } else if let Some(value) = line.strip_prefix("a=ice-ufrag:") {
            ufrag = (4..=256).contains(&value.len());
        } else if let Some(value) = line.strip_prefix("a=ice-pwd:") {
            pwd = (22..=256).contains(&value.len());
        }
    }
    if sections != 1 {
        return bad("not exactly one data channel section");
    }
    if facts.candidates > MAX_CANDIDATES {
        return bad("more than 40 candidates");
    }
    if !ufrag || !pwd {
        return bad("no usable ICE credentials");
    }
    match fingerprint {
        Some(fingerprint) => facts.fingerprint = fingerprint,
        None => return bad("no fingerprint"),
    }
    Ok(facts)
}

fn read_fingerprint(value: &str) -> Result<[u8; 32], LinkError> {
    let bad = |what: &str| LinkError::BadDescription(what.to_owned());
    let (algorithm, digits) =
        value.trim().split_once(' ').ok_or_else(|| bad("a fingerprint without a value"))?;
    if !algorithm.eq_ignore_ascii_case("sha-256") {
        return Err(bad("a fingerprint that is not SHA-256"));
    }
    let mut fingerprint = [0; 32];
    let mut octets = digits.trim().split(':');
    for byte in &mut fingerprint {
        let octet = octets
            .next()
            .filter(|octet| octet.len() == 2 && octet.bytes().all(|digit| digit.is_ascii_hexdigit()));
        *byte = octet
            .and_then(|octet| u8::from_str_radix(octet, 16).ok())
            .ok_or_else(|| bad("a fingerprint that is not 32 bytes in hex"))?;
    }
    match octets.next() {
        None => Ok(fingerprint),
        Some(_) => Err(bad("a fingerprint that is not 32 bytes in hex")),
    }
}

/// The other end's description with what changes in an ICE restart, and nothing else: its
/// fingerprint, above all, stays. `setup` is its part in DTLS, as it is written.
#[cfg(not(target_arch = "wasm32"))]
pub(in crate::link) fn restarted(sdp: &str, theirs: &IceCredentials, setup: &str) -> String {
    let mut out = String::with_capacity(sdp.len());
    for line in sdp.lines() {
        let line = line.trim_end();
        match line.split_once(':').map_or(line, |(name, _)| name) {
            "a=candidate" | "a=end-of-candidates" => continue,
            "a=ice-ufrag" => out.extend(["a=ice-ufrag:", theirs.ufrag()]),
            "a=ice-pwd" => out.extend(["a=ice-pwd:", theirs.pwd()]),
            "a=setup" => out.extend(["a=setup:", setup]),
            _ => out.push_str(line),
        }
        out.push_str("\r\n");
    }
    out
}

/// The ICE credentials in a description of our own.
#[cfg(not(target_arch = "wasm32"))]
pub(in crate::link) fn credentials(sdp: &str) -> Result<IceCredentials, LinkError> {
    IceCredentials::new(value(sdp, "a=ice-ufrag:"), value(sdp, "a=ice-pwd:"))
}

/// The first value of an attribute, or nothing.
#[cfg(not(target_arch = "wasm32"))]
fn value<'a>(sdp: &'a str, name: &str) -> &'a str {
    sdp.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
}

/// The binding of the link between two ends: SHA-256 over both fingerprints, the offerer's first.
/// The stack lets nobody in whose certificate does not have the fingerprint.
pub(in crate::link) fn binding(offer: &Facts, answer: &Facts) -> Binding {
    let mut hash = Sha256::new();
    hash.update(offer.fingerprint);
    hash.update(answer.fingerprint);
    Binding(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(byte: u8) -> String {
        vec![format!("{byte:02X}"); 32].join(":")
    }

    fn description(extra: &str) -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 {}\r\n\
             m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=ice-ufrag:abcd\r\n\
             a=ice-pwd:0123456789012345678901\r\n{extra}",
            fingerprint(0xab)
        )
    }

    fn reason(sdp: &str) -> String {
        match read(sdp) {
            Err(LinkError::BadDescription(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn facts_are_read() {
        let facts = read(&description("a=max-message-size:262144\r\na=candidate:1 1\r\n")).unwrap();
        let expected = Facts { fingerprint: [0xab; 32], max_message: 262_144, candidates: 1, active: false };
        assert_eq!(facts, expected);
        assert_eq!(read(&description("")).unwrap().max_message, 65_536);
    }

    #[test]
    fn case_and_repetition_of_a_fingerprint_change_nothing() {
        let again = format!("a=fingerprint:SHA-256 {}\r\n", fingerprint(0xab).to_lowercase());
        assert_eq!(read(&description(&again)).unwrap().fingerprint, [0xab; 32]);
    }

    #[test]
    fn what_is_unusable_says_why() {
        assert!(reason("").contains("v=0"));
        assert!(reason("hello").contains("v=0"));
        assert!(reason(&format!("v=0{}", "x".repeat(MAX_BYTES))).contains("32 KiB"));
        assert!(reason("v=0\r\n").contains("section"));
        let other = format!("a=fingerprint:sha-256 {}\r\n", fingerprint(1));
        assert!(reason(&description(&other)).contains("two different"));
        assert!(reason(&description("a=fingerprint:sha-1 AB\r\n")).contains("SHA-256"));
        assert!(reason(&description("a=fingerprint:sha-256 AB:zz\r\n")).contains("hex"));
        assert!(reason(&description("a=max-message-size:-1\r\n")).contains("max-message-size"));
        assert!(reason(&description("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n")).contains("media"));
        let many = "a=candidate:1\r\n".repeat(MAX_CANDIDATES + 1);
        assert!(reason(&description(&many)).contains("40"));
        assert!(reason(&description("").replace("a=ice-pwd", "a=x")).contains("ICE"));
        assert!(reason(&description("").replace("a=fingerprint", "a=x")).contains("fingerprint"));
    }

    #[cfg(not(target_arch = "wasm32"))]
    #[test]
    fn a_restart_changes_credentials_and_candidates_only() {
        let before = description("a=setup:actpass\r\na=candidate:1 1\r\na=end-of-candidates\r\na=x:y\r\n");
        let theirs = IceCredentials::new("efgh", "ABCDEFGHIJKLMNOPQRSTUV").unwrap();
        let after = restarted(&before, &theirs, "passive");
        assert_eq!(credentials(&after).as_ref(), Ok(&theirs));
        assert_eq!(read(&after).unwrap(), Facts { candidates: 0, ..read(&before).unwrap() });
        assert!(after.ends_with("a=setup:passive\r\na=x:y\r\n"), "{after}");
        assert!(
            !read(&after).unwrap().active && read(&restarted(&before, &theirs, "active")).unwrap().active
        );
    }

    #[test]
    fn the_binding_tells_the_ends_apart() {
        let facts = |byte| Facts { fingerprint: [byte; 32], max_message: 0, candidates: 0, active: false };
        assert_eq!(binding(&facts(1), &facts(2)), binding(&facts(1), &facts(2)));
        assert_ne!(binding(&facts(1), &facts(2)), binding(&facts(2), &facts(1)));
        assert_ne!(binding(&facts(1), &facts(2)), binding(&facts(1), &facts(3)));
    }
}
