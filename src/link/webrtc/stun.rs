//! As much of STUN and TURN as it takes to tell checks from everything else.

use std::net::SocketAddr;

/// A STUN binding indication, which ICE ignores.
pub(super) const INDICATION: [u8; 20] =
    [0, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
pub(super) const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
pub(super) const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
pub(super) const SEND_INDICATION: [u8; 2] = [0x00, 0x16];
const DATA_INDICATION: [u8; 2] = [0x00, 0x17];
const TURN_DATA: [u8; 2] = [0x00, 0x13];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0x00, 0x20];
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

pub(super) fn is_stun(datagram: &[u8], kind: [u8; 2]) -> bool {
    datagram.len() >= 20 && datagram[..2] == kind && datagram[4..8] == STUN_COOKIE
}

/// What ends a check: MESSAGE-INTEGRITY and FINGERPRINT.
const SEAL: usize = 24 + 8;

/// Whether two checks say the same, but for what makes each of them one of its own.
pub(super) fn is_same_check(one: &[u8], other: &[u8]) -> bool {
    let said = |check: &[u8]| Some(20..check.len().checked_sub(SEAL)?).filter(|said| !said.is_empty());
    let (Some(said), true) = (said(one), one.len() == other.len()) else { return false };
    one[..8] == other[..8] && one[said.clone()] == other[said]
}

/// What a datagram to or from a TURN server carries, or the datagram itself.
pub(super) fn relayed(datagram: &[u8]) -> &[u8] {
    // ChannelData: a number from 0x4000 on, the length, and that much.
    if datagram.len() >= 4 && (0x40..0x80).contains(&datagram[0]) {
        let length = usize::from(u16::from_be_bytes([datagram[2], datagram[3]]));
        return datagram[4..].get(..length).unwrap_or(datagram);
    }
    if !(is_stun(datagram, SEND_INDICATION) || is_stun(datagram, DATA_INDICATION)) {
        return datagram;
    }
    attribute(datagram, TURN_DATA).unwrap_or(datagram)
}

/// What an answer to a check says of where the check came from, as seen by who answers.
pub(super) fn seen_as(answer: &[u8]) -> Option<SocketAddr> {
    let [_, family, port @ .., a, b, c, d] = attribute(answer, XOR_MAPPED_ADDRESS)?.first_chunk::<8>()?;
    let port = u16::from_be_bytes([port[0] ^ STUN_COOKIE[0], port[1] ^ STUN_COOKIE[1]]);
    if *family == 1 {
        let ip = u32::from_be_bytes([*a, *b, *c, *d]) ^ u32::from_be_bytes(STUN_COOKIE);
        return Some(SocketAddr::from((ip.to_be_bytes(), port)));
    }
    let mask = u128::from_be_bytes(*answer.get(4..)?.first_chunk()?);
    let ip = u128::from_be_bytes(*attribute(answer, XOR_MAPPED_ADDRESS)?.get(4..)?.first_chunk()?) ^ mask;
    Some(SocketAddr::from((ip.to_be_bytes(), port)))
}

/// The first attribute of this kind in a STUN message.
fn attribute(message: &[u8], kind: [u8; 2]) -> Option<&[u8]> {
    let mut attributes = message.get(20..)?;
    while let [kind_high, kind_low, length_high, length_low, rest @ ..] = attributes {
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
        let value = rest.get(..length)?;
        if [*kind_high, *kind_low] == kind {
            return Some(value);
        }
        attributes = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: [u8; 30] = [23; 30];

    fn indication() -> Vec<u8> {
        let mut message = INDICATION.to_vec();
        message[..2].copy_from_slice(&SEND_INDICATION);
        message
    }

    #[test]
    fn what_pretends_to_be_relayed_is_taken_for_itself() {
        let mut cut = [&indication(), &[0, 0x13, 0, 30][..], &DATA].concat();
        cut.truncate(cut.len() - 1);
        let mut unaligned = indication();
        unaligned.extend_from_slice(&[0x80, 0x22, 0, 3, b'a', b'b', b'c']);
        for odd in [vec![], vec![0x40], vec![0x40, 0, 0, 9, 1], cut, unaligned, DATA.to_vec()] {
            assert_eq!(relayed(&odd), odd);
        }
    }

    /// The examples of RFC 5769, 2.2 and 2.3, without what follows the address.
    #[test]
    fn an_answer_says_where_the_check_came_from() {
        let id = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
        let header = |length| [&[1, 1, 0, length][..], &STUN_COOKIE, &id].concat();
        let software = [&[0x80, 0x22, 0, 11][..], b"test vector "].concat();
        let v4 = [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43];
        let answer = [header(28), software.clone(), v4.to_vec()].concat();
        assert_eq!(seen_as(&answer), Some("192.0.2.1:32853".parse().unwrap()));
        let v6 = [
            0, 0x20, 0, 20, 0, 2, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25,
            0xf4, 0xb5, 0xbe, 0xd2, 0xb9, 0xd9,
        ];
        let answer = [header(40), software, v6.to_vec()].concat();
        assert_eq!(seen_as(&answer), Some("[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap()));
        for length in 0..answer.len() {
            assert_eq!(seen_as(&answer[..length]), None, "{length}");
        }
        let mut short = answer;
        short[39] = 8;
        assert_eq!(seen_as(&short), None);
    }
}
