//! A transport whose candidates are the proxy's: what either end learns of the other's addresses
//! are faces.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::BytesMut;

use super::UdpProxy;
use super::paths::{Paths, Side};
use crate::link::{
    Binding, IceCredentials, Link, LinkError, LinkEvent, LossyConfig, Negotiation, NegotiationEvent,
    RestartEvent, Transport,
};
use crate::runtime::{self, BoxFuture, Instant};

/// A transport behind a [`UdpProxy`]; made by [`UdpProxy::transport`].
pub struct ProxiedTransport {
    inner: Arc<dyn Transport>,
    proxy: UdpProxy,
}

impl ProxiedTransport {
    pub(super) fn new(inner: Arc<dyn Transport>, proxy: UdpProxy) -> Self {
        Self { inner, proxy }
    }

    fn wrap(&self, inner: Arc<dyn Negotiation>, paths: Arc<Paths>) -> Arc<dyn Negotiation> {
        // Before it is signed: the other end checks what it was given.
        let description = rewritten(inner.description(), &paths, Side::Near);
        Arc::new(Proxied { inner, paths, description })
    }
}

impl fmt::Debug for ProxiedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxiedTransport").field("proxy", &self.proxy).finish_non_exhaustive()
    }
}

impl Transport for ProxiedTransport {
    fn offer(&self) -> BoxFuture<'_, Result<Arc<dyn Negotiation>, LinkError>> {
        Box::pin(async { Ok(self.wrap(self.inner.offer().await?, Paths::new(&self.proxy.0))) })
    }

    fn answer<'a>(&'a self, offer: &'a str) -> BoxFuture<'a, Result<Arc<dyn Negotiation>, LinkError>> {
        Box::pin(async move {
            let paths = Paths::new(&self.proxy.0);
            let offer = rewritten(offer, &paths, Side::Far);
            Ok(self.wrap(self.inner.answer(&offer).await?, paths))
        })
    }

    fn is_networked(&self) -> bool {
        self.inner.is_networked()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.inner.shutdown()
    }
}

struct Proxied {
    inner: Arc<dyn Negotiation>,
    paths: Arc<Paths>,
    description: String,
}

impl Negotiation for Proxied {
    fn description(&self) -> &str {
        &self.description
    }

    fn set_answer<'a>(&'a self, sdp: &'a str) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move { self.inner.set_answer(&rewritten(sdp, &self.paths, Side::Far)).await })
    }

    fn add_candidate<'a>(&'a self, candidate: &'a str) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move {
            match with_face(candidate, &self.paths, Side::Far) {
                Some(candidate) => self.inner.add_candidate(&candidate).await,
                None => Ok(()),
            }
        })
    }

    fn next(&self) -> BoxFuture<'_, NegotiationEvent> {
        Box::pin(async {
            loop {
                match self.inner.next().await {
                    NegotiationEvent::Candidate(candidate) => {
                        if let Some(candidate) = with_face(&candidate, &self.paths, Side::Near) {
                            return NegotiationEvent::Candidate(candidate);
                        }
                    }
                    NegotiationEvent::Established(link) => {
                        keep(self.paths.clone(), Arc::downgrade(&link));
                        let link = ProxiedLink { inner: link, paths: self.paths.clone() };
                        return NegotiationEvent::Established(Arc::new(link));
                    }
                    failed => return failed,
                }
            }
        })
    }
}

/// A link whose restarts go through the proxy, too.
struct ProxiedLink {
    inner: Arc<dyn Link>,
    paths: Arc<Paths>,
}

impl Link for ProxiedLink {
    fn binding(&self) -> Binding {
        self.inner.binding()
    }

    fn max_frame(&self) -> usize {
        self.inner.max_frame()
    }

    fn receive_window(&self) -> u32 {
        self.inner.receive_window()
    }

    fn send(&self, frame: BytesMut) -> BoxFuture<'_, Result<(), LinkError>> {
        self.inner.send(frame)
    }

    fn recv(&self) -> BoxFuture<'_, LinkEvent> {
        self.inner.recv()
    }

    fn heard(&self) -> Option<Instant> {
        self.inner.heard()
    }

    fn open_lossy(&self, stream: u16, config: LossyConfig) {
        self.inner.open_lossy(stream, config);
    }

    fn send_lossy(&self, stream: u16, data: BytesMut) {
        self.inner.send_lossy(stream, data);
    }

    fn close_lossy(&self, stream: u16) {
        self.inner.close_lossy(stream);
    }

    fn is_stranded(&self) -> bool {
        self.inner.is_stranded()
    }

    fn ask_restart(&self) -> BoxFuture<'_, Result<IceCredentials, LinkError>> {
        self.inner.ask_restart()
    }

    fn answer_restart<'a>(
        &'a self,
        theirs: &'a IceCredentials,
    ) -> BoxFuture<'a, Result<IceCredentials, LinkError>> {
        self.inner.answer_restart(theirs)
    }

    fn finish_restart<'a>(&'a self, theirs: &'a IceCredentials) -> BoxFuture<'a, Result<(), LinkError>> {
        self.inner.finish_restart(theirs)
    }

    fn add_restart_candidate<'a>(&'a self, candidate: &'a str) -> BoxFuture<'a, Result<(), LinkError>> {
        Box::pin(async move {
            match with_face(candidate, &self.paths, Side::Far) {
                Some(candidate) => self.inner.add_restart_candidate(&candidate).await,
                None => Ok(()),
            }
        })
    }

    fn restart_event(&self) -> BoxFuture<'_, RestartEvent> {
        Box::pin(async {
            loop {
                let event = self.inner.restart_event().await;
                let RestartEvent::Candidate(candidate) = event else { return event };
                if let Some(candidate) = with_face(&candidate, &self.paths, Side::Near) {
                    return RestartEvent::Candidate(candidate);
                }
            }
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

/// Keeps the sockets for as long as anybody holds the link, and a moment longer for its goodbye.
fn keep(paths: Arc<Paths>, link: Weak<dyn Link>) {
    // The task ends by itself after its link; the transport's users own those.
    #[allow(clippy::disallowed_methods)]
    tokio::spawn(async move {
        while link.strong_count() > 0 {
            runtime::sleep(LOOK_EVERY).await;
        }
        runtime::sleep(LOOK_EVERY).await;
        drop(paths);
    });
}

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The description with faces in place of the addresses of `side`. Candidates that the proxy has
/// no face for are left out, so that no packet finds a way around it.
fn rewritten(sdp: &str, paths: &Arc<Paths>, side: Side) -> String {
    let mut out = String::with_capacity(sdp.len());
    for line in sdp.split_inclusive('\n') {
        match line.strip_prefix("a=candidate:") {
            None => out.push_str(line),
            Some(candidate) => {
                if let Some(candidate) = with_face(candidate, paths, side) {
                    out.push_str("a=candidate:");
                    out.push_str(candidate.trim_end());
                    out.push_str("\r\n");
                }
            }
        }
    }
    out
}

/// A candidate with a face in place of its address; `None` if it is none of a socket of that host.
fn with_face(candidate: &str, paths: &Arc<Paths>, side: Side) -> Option<String> {
    let real = host_address(candidate)?;
    match paths.face(side, real) {
        Ok(face) => {
            let mut words: Vec<&str> = candidate.split_whitespace().collect();
            let (ip, port) = (face.ip().to_string(), face.port().to_string());
            words[4] = &ip;
            words[5] = &port;
            Some(words.join(" "))
        }
        Err(error) => {
            tracing::warn!(%error, "the proxy leaves out a candidate");
            None
        }
    }
}

/// The address of a host candidate over UDP: `FOUNDATION COMPONENT udp PRIORITY IP PORT typ host`.
fn host_address(candidate: &str) -> Option<SocketAddr> {
    let words: Vec<&str> = candidate.split_whitespace().collect();
    let udp = words.get(2)?.eq_ignore_ascii_case("udp");
    let host = words.get(6) == Some(&"typ") && words.get(7) == Some(&"host");
    let ip: IpAddr = words.get(4)?.parse().ok()?;
    let port = words.get(5)?.parse().ok()?;
    (udp && host).then_some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "1 1 udp 2130706431 127.0.0.1 4000 typ host ufrag abcd";

    #[test]
    fn only_udp_host_candidates_with_an_address_have_one() {
        assert_eq!(host_address(HOST), Some("127.0.0.1:4000".parse().unwrap()));
        assert_eq!(host_address(&format!("candidate:{HOST}")), Some("127.0.0.1:4000".parse().unwrap()));
        for other in [
            "",
            "1 1 udp",
            &HOST.replace("host", "srflx"),
            &HOST.replace("udp", "tcp"),
            &HOST.replace("127.0.0.1", "x.local"),
        ] {
            assert_eq!(host_address(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_description_names_faces_only() {
        let paths = Paths::new(&UdpProxy::new(1).0);
        let sdp = format!(
            "v=0\r\na=candidate:{HOST}\r\na=candidate:{}\r\na=end-of-candidates\r\n",
            HOST.replace("host", "srflx")
        );
        let told = rewritten(&sdp, &paths, Side::Near);
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[2]), (3, "v=0", "a=end-of-candidates"), "{told}");
        let face = host_address(lines[1].strip_prefix("a=candidate:").unwrap()).unwrap();
        assert_ne!(face.port(), 4000);
        assert_eq!(rewritten(&sdp, &paths, Side::Near), told, "one address has one face");
        assert_eq!(paths.rebind(), 1);
        assert_ne!(rewritten(&sdp, &paths, Side::Near), told);
    }
}
