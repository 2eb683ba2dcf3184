//! What every WebRTC transport, native or in a browser, knows of ICE: servers, and credentials of a restart.

use std::fmt;

use super::LinkError;

/// A STUN or TURN server.
///
/// STUN tells a machine behind a NAT its public address; TURN relays when no direct path exists.
/// Neither can read what is sent.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct IceServer {
    /// `stun:host:port`, `turn:host:port` or `turns:host:port`; the port may be left out.
    pub urls: Vec<String>,
    /// For TURN; empty for STUN.
    pub username: String,
    /// For TURN; empty for STUN. Never logged.
    pub credential: String,
}

impl IceServer {
    /// A STUN server at `url`, for example `stun:stun.example.org:3478`.
    pub fn stun(url: impl Into<String>) -> Self {
        Self { urls: vec![url.into()], ..Self::default() }
    }

    /// A TURN server at `url` with its credentials.
    pub fn turn(url: impl Into<String>, username: impl Into<String>, credential: impl Into<String>) -> Self {
        Self { urls: vec![url.into()], username: username.into(), credential: credential.into() }
    }
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// What one end tells the other to have ICE begin anew on a live link: the name and password of
/// the checks to come. Nothing else of a link changes in a restart, so nothing else is told, but candidates.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    ufrag: String,
    pwd: String,
}

impl IceCredentials {
    /// Credentials from the other end.
    ///
    /// # Errors
    /// [`LinkError::BadDescription`], if `ufrag` has not 4 to 256 characters or `pwd` not 22 to 256, or
    /// there are others than letters, digits, `+` and `/` in them (RFC 8839, section 5.4).
    pub fn new(ufrag: impl Into<String>, pwd: impl Into<String>) -> Result<Self, LinkError> {
        let (ufrag, pwd) = (ufrag.into(), pwd.into());
        let is_usable = |text: &str, least| {
            (least..=256).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
        };
        if !is_usable(&ufrag, 4) || !is_usable(&pwd, 22) {
            return Err(LinkError::BadDescription("no usable ICE credentials".to_owned()));
        }
        Ok(Self { ufrag, pwd })
    }

    /// The name: `ice-ufrag` of a session description.
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// The password: `ice-pwd` of a session description.
    pub fn pwd(&self) -> &str {
        &self.pwd
    }
}

impl fmt::Debug for IceCredentials {
    // Who knows the password can answer checks in this end's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IceCredentials({})", self.ufrag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_that_would_change_a_description_are_refused() {
        let pwd = "0123456789012345678901";
        assert!(IceCredentials::new("ab+/", pwd).is_ok());
        let long = "x".repeat(257);
        for (ufrag, pwd) in [
            ("abc", pwd),
            ("abcd\r\na=x", pwd),
            ("ab d", pwd),
            (&long, pwd),
            ("abcd", "012345678901234567890"),
            ("abcd", "0123456789012345678901\n"),
            ("abcd", &long),
            ("abcd", "0123456789012345678901é"),
        ] {
            assert!(matches!(IceCredentials::new(ufrag, pwd), Err(LinkError::BadDescription(_))), "{ufrag}");
        }
        let shown = format!("{:?}", IceCredentials::new("abcd", pwd));
        assert!(shown.contains("abcd") && !shown.contains(pwd), "{shown}");
    }
}
