//! The sockets of one negotiation and its link.
//!
//! Each address of either end has a *face*: a socket of the proxy that the other end takes for
//! it. What comes from `b` to the face of `a` leaves from the face of `b` to `a`, so that both
//! sides see one address each and nothing of the proxy.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

use super::{IN, OUT, Shared};

/// The proxy's sockets for one link.
pub(super) struct Paths {
    shared: Arc<Shared>,
    // A std mutex: held to look up a socket, never over an await.
    faces: Mutex<Faces>,
}

#[derive(Default)]
struct Faces {
    /// What stands for the addresses of the wrapped end, to the other end.
    near: HashMap<SocketAddr, Face>,
    /// What stands for the addresses of the other end, to the wrapped end.
    far: HashMap<SocketAddr, Face>,
    /// Ports that a NAT would have forgotten: what comes there vanishes without an error.
    forgotten: Vec<Arc<UdpSocket>>,
}

struct Face {
    socket: Arc<UdpSocket>,
    reader: AbortHandle,
}

impl Drop for Face {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Near,
    Far,
}

/// Faces of one side at most: candidates of one end, with room for addresses that change.
const MAX_FACES: usize = 64;
const MAX_FORGOTTEN: usize = 64;
/// Datagrams that may be under way from one face; more are lost, as in a router.
const MAX_UNDER_WAY: usize = 65_536;
/// Datagrams read in one go.
const MAX_INTAKE: usize = 64;

impl Paths {
    pub(super) fn new(shared: &Arc<Shared>) -> Arc<Self> {
        let paths = Arc::new(Self { shared: shared.clone(), faces: Mutex::default() });
        shared.enter(&paths);
        paths
    }

    fn lock(&self) -> MutexGuard<'_, Faces> {
        self.faces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address that stands for `real`, an address of `side`.
    pub(super) fn face(self: &Arc<Self>, side: Side, real: SocketAddr) -> io::Result<SocketAddr> {
        self.socket(side, real)?.local_addr()
    }

    /// The socket that stands for `real`, made if it is not there.
    fn socket(self: &Arc<Self>, side: Side, real: SocketAddr) -> io::Result<Arc<UdpSocket>> {
        let mut faces = self.lock();
        let faces = &mut *faces;
        // The face of an address elsewhere has one of this machine's own.
        let local = match side {
            Side::Near => real.ip(),
            Side::Far => way_to(real)?,
        };
        let side_faces = match side {
            Side::Near => &mut faces.near,
            Side::Far => &mut faces.far,
        };
        if let Some(face) = side_faces.get(&real) {
            return Ok(face.socket.clone());
        }
        if side_faces.len() >= MAX_FACES {
            return Err(io::Error::other("the proxy has no further address for this link"));
        }
        let face = self.open(side, real, local)?;
        Ok(side_faces.entry(real).or_insert(face).socket.clone())
    }

    fn open(self: &Arc<Self>, side: Side, real: SocketAddr, local: IpAddr) -> io::Result<Face> {
        let socket = std::net::UdpSocket::bind(SocketAddr::new(local, 0))?;
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let reading = read(Arc::downgrade(self), self.shared.clone(), socket.clone(), side, real);
        // Native sockets are tokio's. The face owns the task and aborts it.
        #[allow(clippy::disallowed_methods)]
        let reader = tokio::spawn(reading).abort_handle();
        Ok(Face { socket, reader })
    }

    /// Passes on what came from `from` to the face of `to`, an address of `side`.
    fn deliver(self: &Arc<Self>, side: Side, to: SocketAddr, from: SocketAddr, packet: &[u8]) {
        let other = if side == Side::Near { Side::Far } else { Side::Near };
        // An address that was never offered, such as behind a NAT, gets its face now.
        if let Ok(socket) = self.socket(other, from) {
            // A full buffer loses the packet, which is what networks do.
            let _ = socket.try_send_to(packet, to);
        }
    }

    /// Gives the faces of the wrapped end new ports.
    pub(super) fn rebind(self: &Arc<Self>) -> usize {
        let real: Vec<SocketAddr> = self.lock().near.keys().copied().collect();
        let mut changed = 0;
        for real in real {
            let Ok(face) = self.open(Side::Near, real, real.ip()) else { continue };
            let mut faces = self.lock();
            if let Some(old) = faces.near.insert(real, face) {
                if faces.forgotten.len() >= MAX_FORGOTTEN {
                    faces.forgotten.remove(0);
                }
                faces.forgotten.push(old.socket.clone());
            }
            changed += 1;
        }
        changed
    }
}

/// The address of this machine from which packets to `there` go.
fn way_to(there: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr =
        if there.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = std::net::UdpSocket::bind(SocketAddr::new(any, 0))?;
    // Sends nothing: it asks for the route.
    socket.connect(there)?;
    Ok(socket.local_addr()?.ip())
}

/// A packet under way. Ordered by time of arrival, then as it came.
type UnderWay = Reverse<(Duration, u64, SocketAddr, Vec<u8>)>;

/// Reads what comes to the face of `real` and passes it on when its time has come.
async fn read(paths: Weak<Paths>, shared: Arc<Shared>, socket: Arc<UdpSocket>, side: Side, real: SocketAddr) {
    let way = if side == Side::Near { IN } else { OUT };
    let mut under_way: BinaryHeap<UnderWay> = BinaryHeap::new();
    let mut buffer = vec![0; 65_536];
    let mut number = 0;
    loop {
        let due = under_way.peek().map(|Reverse((due, ..))| *due);
        let waiting = async {
            match due {
                Some(due) => crate::runtime::sleep(due.saturating_sub(shared.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            readable = socket.readable() => if readable.is_err() { return },
            () = waiting => {}
        }
        // Only the link's owner keeps it alive.
        let Some(paths) = paths.upgrade() else { return };
        for _ in 0..MAX_INTAKE {
            let (len, from) = match socket.try_recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An unreachable port of before; a socket that is really broken stays unreadable.
                Err(_) => continue,
            };
            let fate = shared.fate(way, len);
            for due in [fate.first, fate.second].into_iter().flatten() {
                if under_way.is_empty() && due <= shared.now() {
                    paths.deliver(side, real, from, &buffer[..len]);
                } else if under_way.len() < MAX_UNDER_WAY {
                    number += 1;
                    under_way.push(Reverse((due, number, from, buffer[..len].to_vec())));
                }
            }
        }
        let now = shared.now();
        while under_way.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            if let Some(Reverse((_, _, from, packet))) = under_way.pop() {
                paths.deliver(side, real, from, &packet);
            }
        }
    }
}
