//! What every WebRTC transport, native or in a browser, is told about servers.

use std::fmt;

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
