//! Every knob of the native WebRTC transport.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::impairment::Impairment;
use crate::link::IceServer;

/// Settings of a [`WebRtcTransport`](super::WebRtcTransport). The defaults suit loopback, local
/// networks and, with a STUN server, most NATs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WebRtcConfig {
    /// STUN and TURN servers. Default: none, which reaches peers on the same machine and network
    /// only. Each costs a few packets for each negotiation. Their TURN side is UDP only.
    pub ice_servers: Vec<IceServer>,

    /// Uses TURN relays only, so that the peer never learns this machine's addresses. Default:
    /// off. With it on and no TURN server, no link is ever made.
    pub relay_only: bool,

    /// Local addresses to bind. An unspecified address (`0.0.0.0`, `[::]`) stands for every
    /// usable interface of its family that is there when a negotiation begins. Default:
    /// `0.0.0.0:0` and `[::]:0`. A fixed port serves one link at a time; give a
    /// [`port_range`](Self::port_range) instead.
    pub bind: Vec<SocketAddr>,

    /// Ports to bind where [`bind`](Self::bind) names port 0. Default: none, the system picks. A
    /// link takes one port of the range on each interface, a spent range is an error.
    pub port_range: Option<RangeInclusive<u16>>,

    /// Whether loopback addresses are offered. Default: [`Loopback::WhenAlone`].
    pub loopback: Loopback,

    /// Resolves the `.local` names under which browsers hide their addresses. Default: off, as it
    /// joins a multicast group, and fails where there is none.
    pub mdns: bool,

    /// The largest frame sent, in bytes; clamped to 1 KiB..=256 KiB and to what the other end
    /// takes. Default: 65 KiB, so that a message of 64 KiB fits into one; larger ones are no faster, take as much memory for each link, and
    /// let urgent frames wait longer on slow paths.
    pub max_frame: usize,

    /// The SCTP receive buffer, in bytes. Default: 8 MiB. Half of it is the link's
    /// [`receive_window`](crate::link::Link::receive_window), which bounds throughput by window /
    /// round trip. Memory is taken only while data waits in it; a peer can make it fill.
    pub receive_buffer: u32,

    /// How many bytes may wait to be sent or acknowledged on a link before
    /// [`send`](crate::link::Link::send) waits. Default: 4 MiB. Less bounds throughput on long
    /// paths, more lets urgent frames wait behind it on slow ones.
    pub send_buffer: usize,

    /// The system's buffers of each UDP socket, in bytes, each way. Default: 4 MiB; the system
    /// may give less (`net.core.rmem_max`). With the usual 208 KiB, bursts overflow it, and each
    /// loss can cost a second.
    pub socket_buffer: usize,

    /// How often an idle link is checked. Default: 2 s, and up to a quarter later by the end that
    /// follows the checks of the other. More often notices a dead idle path
    /// sooner and costs processor time (about 0.01 % of a core an end at 2 s); above 25 s NATs
    /// forget the path.
    pub keepalive: Duration,

    /// How long a link that waits for an answer may hear nothing before it is reported as
    /// [`Suspect`](crate::link::LinkEvent::Suspect). Default: 0.8 s: the path is asked ten
    /// times a second after 0.4 s, so that at 5 % loss a false alarm comes less than once in a day.
    /// Below 0.5 s they become usual, and below the round trip they are certain.
    pub suspect_after: Duration,

    /// How long a negotiation without a path, or a link without an answer, goes on checking
    /// before it fails for good. Default: 5 min. Both are cheap meanwhile and come back a
    /// moment after the network does; whoever waits for them should have a deadline of its own.
    pub give_up_after: Duration,

    /// How long an offer may wait for candidates that servers tell. Default: 100 ms. Later ones,
    /// and those of an answer, follow as
    /// [`NegotiationEvent::Candidate`](crate::link::NegotiationEvent::Candidate); the addresses of
    /// this machine are always there in a millisecond.
    pub gather_for: Duration,

    /// A bad network, for tests and benchmarks. Default: none, at no cost.
    pub impairment: Option<Impairment>,
}

impl Default for WebRtcConfig {
    fn default() -> Self {
        Self {
            ice_servers: Vec::new(),
            relay_only: false,
            bind: vec![
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            ],
            port_range: None,
            loopback: Loopback::default(),
            mdns: false,
            max_frame: 65 * 1024,
            receive_buffer: 8 * 1024 * 1024,
            send_buffer: 4 * 1024 * 1024,
            socket_buffer: 4 * 1024 * 1024,
            keepalive: Duration::from_secs(2),
            suspect_after: Duration::from_millis(800),
            give_up_after: Duration::from_secs(300),
            gather_for: Duration::from_millis(100),
            impairment: None,
        }
    }
}

impl WebRtcConfig {
    /// Loopback only: fast and private, for tests and for two processes on one machine.
    pub fn loopback() -> Self {
        Self {
            bind: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            loopback: Loopback::Never,
            ..Self::default()
        }
    }
}

/// Whether loopback addresses are offered beside those of the interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loopback {
    /// Only while no other interface is usable, so that two processes on one machine find each
    /// other without a network, and strangers are not told about it.
    #[default]
    WhenAlone,
    /// Always: survives a local network that goes away between two processes of one machine, at
    /// the price of one more socket and of checks that lead nowhere.
    Always,
    /// Never, except for loopback addresses that [`WebRtcConfig::bind`] names.
    Never,
}
