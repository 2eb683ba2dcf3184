//! Base64 for URLs, without padding: how keys, signatures and ids are written. A page loads
//! nothing more for it.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The bytes as text.
pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    encode_slice(bytes.as_ref())
}

fn encode_slice(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = 0;
        for at in 0..3 {
            group = group << 8 | u32::from(chunk.get(at).copied().unwrap_or(0));
        }
        for at in 0..=chunk.len() {
            text.push(char::from(ALPHABET[(group >> (18 - 6 * at)) as usize & 63]));
        }
    }
    text
}

/// Exactly `N` bytes from their text, of which each has one only.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    decode_slice(text, &mut bytes).then_some(bytes)
}

fn decode_slice(text: &str, bytes: &mut [u8]) -> bool {
    let (mut group, mut bits, mut filled) = (0_u32, 0, 0);
    for &letter in text.as_bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return false,
        };
        group = group << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            let Some(byte) = bytes.get_mut(filled) else { return false };
            *byte = (group >> bits) as u8;
            filled += 1;
        }
        group &= (1 << bits) - 1;
    }
    // What is left over is less than a letter, and nothing.
    filled == bytes.len() && bits < 6 && group == 0
}

/// The other base64, with `+`, `/` and padding: how files are written in JSON.
#[cfg(feature = "tutorial")]
pub(crate) mod padded {
    /// The bytes as text.
    pub(crate) fn encode(bytes: &[u8]) -> String {
        let mut text = super::encode_slice(bytes).replace('-', "+").replace('_', "/");
        while !text.len().is_multiple_of(4) {
            text.push('=');
        }
        text
    }

    /// The bytes of a text.
    pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
        let letters = text.trim_end_matches('=');
        if text.len() - letters.len() > 2 || !text.len().is_multiple_of(4) || letters.contains(['-', '_']) {
            return None;
        }
        let mut bytes = vec![0; letters.len() * 3 / 4];
        super::decode_slice(&letters.replace('+', "-").replace('/', "_"), &mut bytes).then_some(bytes)
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    #[cfg(feature = "tutorial")]
    proptest! {
        #[test]
        fn padded_it_is_the_base64_of_everybody_else(bytes: Vec<u8>, text in "[A-Za-z0-9/+_-]{0,9}={0,3}") {
            use base64::engine::general_purpose::STANDARD;
            prop_assert_eq!(padded::encode(&bytes), STANDARD.encode(&bytes));
            prop_assert_eq!(padded::decode(&padded::encode(&bytes)), Some(bytes));
            prop_assert_eq!(padded::decode(&text), STANDARD.decode(&text).ok());
        }
    }

    proptest! {
        #[test]
        fn it_is_the_base64_of_everybody_else(bytes: [u8; 16], more: [u8; 32], odd: [u8; 17], text in "[A-Za-z0-9_=+-]{20,24}") {
            prop_assert_eq!(encode(bytes), URL_SAFE_NO_PAD.encode(bytes));
            prop_assert_eq!(decode(&encode(bytes)), Some(bytes));
            prop_assert_eq!(encode(more), URL_SAFE_NO_PAD.encode(more));
            prop_assert_eq!(decode(&encode(more)), Some(more));
            prop_assert_eq!(encode(odd), URL_SAFE_NO_PAD.encode(odd));
            prop_assert_eq!(decode(&encode(odd)), Some(odd));
            let theirs = URL_SAFE_NO_PAD.decode(&text).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
            prop_assert_eq!(decode::<16>(&text), theirs);
            let last_changed = format!("{}{}", &encode(bytes)[..21], &text[..1]);
            let theirs = URL_SAFE_NO_PAD.decode(&last_changed).ok().and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
            prop_assert_eq!(decode::<16>(&last_changed), theirs);
        }
    }
}
