//! Which local addresses to bind, decided anew each time sockets are made.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rtc::shared::ifaces::ifaces;

use super::config::Loopback;

/// Sockets of one link at most; a machine full of container bridges needs no more candidates.
const MAX_SOCKETS: usize = 8;

/// Resolves to the addresses to bind. The stack resolves it whenever it makes sockets, so that
/// it follows the interfaces that exist then.
#[derive(Clone, Debug)]
pub(super) struct BindAddrs {
    pub(super) bind: Vec<SocketAddr>,
    pub(super) ports: Option<RangeInclusive<u16>>,
    pub(super) loopback: Loopback,
    /// Where the next search in `ports` begins, so that neighbours do not race for one port.
    pub(super) next_port: Arc<AtomicU32>,
}

impl BindAddrs {
    fn choose(&self, interfaces: &[IpAddr]) -> Vec<SocketAddr> {
        let mut chosen: Vec<SocketAddr> = Vec::new();
        let mut add = |addr: SocketAddr| {
            if chosen.len() < MAX_SOCKETS && !chosen.contains(&addr) {
                chosen.push(addr);
            }
        };
        let mut wildcard = None;
        for addr in &self.bind {
            if !addr.ip().is_unspecified() {
                add(*addr);
                continue;
            }
            wildcard.get_or_insert(addr.port());
            for ip in interfaces.iter().filter(|ip| ip.is_ipv4() == addr.is_ipv4()) {
                if is_reachable(ip) {
                    add(SocketAddr::new(*ip, addr.port()));
                }
            }
        }
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, wildcard.unwrap_or(0)));
        match self.loopback {
            Loopback::Always => add(loopback),
            Loopback::WhenAlone if chosen.is_empty() => chosen.push(loopback),
            Loopback::WhenAlone | Loopback::Never => {}
        }
        chosen
    }

    /// `addr` with a free port of the range. Another process may take it before we bind it;
    /// then the stack goes on without that address, or the caller tries again.
    fn with_port(&self, addr: SocketAddr) -> io::Result<SocketAddr> {
        let Some(range) = self.ports.as_ref().filter(|_| addr.port() == 0) else {
            return Ok(addr);
        };
        let (low, count) = (*range.start(), range.end().saturating_sub(*range.start()) as u32 + 1);
        for _ in 0..count {
            let offset = self.next_port.fetch_add(1, Ordering::Relaxed) % count;
            let candidate = SocketAddr::new(addr.ip(), low + offset as u16);
            if UdpSocket::bind(candidate).is_ok() {
                return Ok(candidate);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("no free UDP port in {}..={} on {}", range.start(), range.end(), addr.ip()),
        ))
    }
}

impl ToSocketAddrs for BindAddrs {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let interfaces: Vec<IpAddr> = ifaces()
            .unwrap_or_default()
            .into_iter()
            .filter_map(|interface| interface.addr.map(|addr| addr.ip()))
            .collect();
        let mut last = None;
        let mut bound = Vec::new();
        for addr in self.choose(&interfaces) {
            match self.with_port(addr) {
                Ok(addr) => bound.push(addr),
                Err(error) => last = Some(error),
            }
        }
        match last {
            Some(error) if bound.is_empty() => Err(error),
            _ if bound.is_empty() => Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                "none of the addresses to bind exists on this machine",
            )),
            _ => Ok(bound.into_iter()),
        }
    }
}

/// Whether an interface of this machine has this address. True if that cannot be found out.
pub(super) fn has_address(ip: IpAddr) -> bool {
    let Ok(interfaces) = ifaces() else { return true };
    ip.is_unspecified()
        || interfaces.iter().any(|interface| interface.addr.is_some_and(|addr| addr.ip() == ip))
}

/// Whether a peer elsewhere could reach this address as it stands in a candidate.
fn is_reachable(ip: &IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || link_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(bind: &[&str], loopback: Loopback) -> BindAddrs {
        BindAddrs {
            bind: bind.iter().map(|addr| addr.parse().unwrap()).collect(),
            ports: None,
            loopback,
            next_port: Arc::default(),
        }
    }

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn wildcards_stand_for_the_interfaces_of_their_family() {
        let machine = ips(&["127.0.0.1", "192.0.2.2", "::1", "fd00::2", "fe80::1", "169.254.1.1"]);
        let chosen = addrs(&["0.0.0.0:0", "[::]:7"], Loopback::WhenAlone).choose(&machine);
        let expected: Vec<SocketAddr> = vec!["192.0.2.2:0".parse().unwrap(), "[fd00::2]:7".parse().unwrap()];
        assert_eq!(chosen, expected);
    }

    #[test]
    fn loopback_is_offered_when_there_is_nothing_else() {
        let offline = ips(&["127.0.0.1", "::1"]);
        let loopback: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap()];
        assert_eq!(addrs(&["0.0.0.0:0"], Loopback::WhenAlone).choose(&offline), loopback);
        assert_eq!(addrs(&["0.0.0.0:0"], Loopback::Always).choose(&offline), loopback);
        assert!(addrs(&["0.0.0.0:0"], Loopback::Never).choose(&offline).is_empty());
        assert_eq!(addrs(&["127.0.0.1:0"], Loopback::Never).choose(&offline), loopback);
    }

    #[test]
    fn an_address_that_is_gone_is_known() {
        assert!(has_address(Ipv4Addr::LOCALHOST.into()) && has_address(Ipv4Addr::UNSPECIFIED.into()));
        assert!(!has_address(Ipv4Addr::new(192, 0, 2, 77).into()));
    }

    #[test]
    fn the_number_of_sockets_is_bounded() {
        let bridges: Vec<IpAddr> = (1..100).map(|n| IpAddr::from([172, 17, n, 1])).collect();
        let chosen = addrs(&["0.0.0.0:0"], Loopback::WhenAlone).choose(&bridges);
        assert_eq!(chosen.len(), MAX_SOCKETS);
    }

    #[test]
    fn a_taken_port_of_the_range_is_passed_over_and_a_spent_range_says_so() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut some = addrs(&["127.0.0.1:0"], Loopback::Never);
        some.ports = Some(port..=port);
        let error = some.to_socket_addrs().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&port.to_string()), "{error}");
        drop(taken);
        assert_eq!(some.to_socket_addrs().unwrap().next().unwrap().port(), port);
    }
}
