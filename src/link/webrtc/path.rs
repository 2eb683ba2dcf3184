//! What the packets of one link tell about its path, and the clock that the stack is shown.
//!
//! The stack notices a dead path late and recovers from it later still, or never: SCTP doubles
//! its retransmission time while nothing arrives, and after five tries stops for good. Two things
//! mend that, both from outside:
//!
//! * **Silence is watched at the socket.** Whoever sent something and heard nothing for a while
//!   repeats its last ICE check ten times a second, and five times once the path is suspect,
//!   until any packet arrives.
//! * **The stack's clock stands still during such a silence**, when no timer of it could do any
//!   good, and steps forward when a packet arrives, so that what is overdue happens at once.
//!
//! While a link is being set up, the clock is left alone; there the driver merely has to be woken,
//! as it forgets to send what its own events produced.
//!
//! And one more pause of the stack is mended here: once more than 256 messages are under way to
//! the application, it sets further ones aside, and goes back to them only with the next packet,
//! which may be seconds away. Whoever has drained a channel asks for such a packet: a STUN
//! indication, which means nothing, made up at the socket.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use webrtc::runtime::{AsyncUdpSocket, Transmit};

/// How often the last check is repeated into a silence, until the path is suspect: so often that at
/// 5 % loss they do not all get lost.
const REPEAT_SOON: Duration = Duration::from_millis(100);
/// How often from then on, which may be for minutes.
const REPEAT_EVERY: Duration = Duration::from_millis(200);
/// Silence after which the first repetition goes out: more than SCTP waits before it
/// acknowledges, so that ordinary traffic causes none.
const REPEAT_AFTER: Duration = Duration::from_millis(400);
/// How far the clock steps when a silence ends: more than SCTP's retransmission time after a
/// few doublings.
const STEP: Duration = Duration::from_secs(10);
/// The agent forgets its own checks after 4 s and complains about later answers.
const ANSWER_WANTED_FOR: Duration = Duration::from_millis(3500);
/// Fewer messages than this since the last pump cannot have made the stack set any aside: it does
/// so when 256 wait.
const PUMP_AFTER: u32 = 64;
/// A STUN binding indication, which ICE ignores.
pub(super) const INDICATION: [u8; 20] =
    [0, 0x11, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Pairs of addresses whose last check is kept until one of them is in use.
const MAX_PAIRS: usize = 512;
/// Loops of the driver after a packet, during set-up: one for each layer that may have
/// something to say in turn.
const SETUP_ROUNDS: u32 = 4;

/// See the module's documentation.
pub(super) struct Path {
    base: Instant,
    suspect_after: Duration,
    give_up_after: Duration,
    /// The link is open: silence means something from now on.
    open: AtomicBool,
    setup_rounds: AtomicU32,
    /// Nanoseconds to add to the time since `base`, if the clock runs.
    shift: AtomicI64,
    /// Nanoseconds since `base` at which the clock stands, or 0 if it runs.
    stands_at: AtomicU64,
    /// When the first thing was sent that nothing was heard after, in nanoseconds since `base`,
    /// or 0.
    unanswered_since: AtomicU64,
    suspect: AtomicBool,
    gave_up: AtomicBool,
    /// Told when `suspect` or `gave_up` changes.
    pub(super) changed: Notify,
    /// The last check to each address; only that of the path in use once the link is open.
    /// Locked for a copy of 100 bytes a few times a second at most.
    checks: Mutex<Vec<Check>>,
    /// Messages taken since the last pump.
    taken: AtomicU32,
    pump: AtomicBool,
    /// Who reads a socket.
    reader: AtomicWaker,
}

/// An ICE check that was sent.
struct Check {
    socket: Weak<dyn AsyncUdpSocket>,
    destination: SocketAddr,
    request: Vec<u8>,
    sent: Duration,
    repeated: Duration,
    answered: bool,
    /// Something else than ICE went the same way: this is the path in use.
    in_use: bool,
}

/// What to do with a received datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Deliver,
    /// An answer to a repetition that the agent knows nothing of.
    Swallow,
}

impl Path {
    pub(super) fn new(suspect_after: Duration, give_up_after: Duration) -> Self {
        Self {
            base: real_now(),
            suspect_after,
            give_up_after,
            open: AtomicBool::new(false),
            setup_rounds: AtomicU32::new(2 * SETUP_ROUNDS),
            shift: AtomicI64::new(0),
            stands_at: AtomicU64::new(0),
            unanswered_since: AtomicU64::new(0),
            suspect: AtomicBool::new(false),
            gave_up: AtomicBool::new(false),
            changed: Notify::new(),
            checks: Mutex::default(),
            taken: AtomicU32::new(0),
            pump: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        }
    }

    /// The application took a message.
    pub(super) fn handle_taken(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// The application found no more messages.
    pub(super) fn handle_drained(&self) {
        if self.taken.load(Ordering::Relaxed) >= PUMP_AFTER {
            self.taken.store(0, Ordering::Relaxed);
            self.pump.store(true, Ordering::Release);
            self.reader.wake();
        }
    }

    /// A socket is read. Returns whether it shall come up with a packet that says nothing.
    pub(super) fn handle_read(&self, cx: &Context<'_>) -> bool {
        self.reader.register(cx.waker());
        self.pump.load(Ordering::Acquire) && self.pump.swap(false, Ordering::AcqRel)
    }

    /// The set-up is over.
    pub(super) fn handle_open(&self) {
        let mut checks = self.checks();
        checks.retain(|check| check.in_use);
        // As a rule there is one; if the path changed in between, the first will do.
        checks.truncate(1);
        checks.shrink_to_fit();
        drop(checks);
        self.open.store(true, Ordering::Release);
    }

    /// Nothing has been heard for too long.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// Nothing has been heard for so long that waiting on makes no sense.
    pub(super) fn gave_up(&self) -> bool {
        self.gave_up.load(Ordering::Acquire)
    }

    /// The time that the stack is shown.
    pub(super) fn now(&self) -> Instant {
        match self.stands_at.load(Ordering::Acquire) {
            0 => {
                let shown = self.elapsed().as_nanos() as i64 + self.shift.load(Ordering::Acquire);
                self.base + Duration::from_nanos(shown.max(0) as u64)
            }
            stands_at => self.base + Duration::from_nanos(stands_at),
        }
    }

    /// The driver is about to sleep for `wanted`; returns for how long it shall. It does so
    /// several times a second, as ICE has it look at its state every 200 ms.
    pub(super) fn handle_sleep(&self, wanted: Duration) -> Duration {
        if !self.open.load(Ordering::Acquire) {
            let round = self
                .setup_rounds
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |rounds| rounds.checked_sub(1));
            return if round.is_ok() { Duration::ZERO } else { wanted };
        }
        let since = self.unanswered_since.load(Ordering::Acquire);
        if since == 0 {
            return wanted;
        }
        let now = self.elapsed();
        let silence = now.saturating_sub(Duration::from_nanos(since));
        if silence >= self.suspect_after && !self.suspect.swap(true, Ordering::AcqRel) {
            self.stop_clock();
            self.changed.notify_waiters();
        }
        if silence >= self.give_up_after && !self.gave_up.swap(true, Ordering::AcqRel) {
            self.changed.notify_waiters();
        }
        if silence < REPEAT_AFTER {
            return wanted.min(REPEAT_AFTER - silence);
        }
        wanted.min(self.repeat_check(now))
    }

    /// Something is sent on `socket`.
    pub(super) fn handle_sent(&self, socket: &Arc<dyn AsyncUdpSocket>, transmit: &Transmit<'_>) {
        let open = self.open.load(Ordering::Acquire);
        // Nobody answers an answer; two ends that waited for it would keep each other busy.
        let carried = relayed(transmit.contents);
        if is_stun(carried, BINDING_SUCCESS) {
            return;
        }
        if open && self.unanswered_since.load(Ordering::Acquire) == 0 {
            let now = self.elapsed().as_nanos() as u64;
            self.unanswered_since.store(now.max(1), Ordering::Release);
        }
        let is_check = is_stun(carried, BINDING_REQUEST);
        if is_check || !open {
            self.note_check(socket, transmit, is_check);
        }
    }

    /// Keeps a check to repeat, or notes which way the handshake goes.
    fn note_check(&self, socket: &Arc<dyn AsyncUdpSocket>, transmit: &Transmit<'_>, is_check: bool) {
        let mut checks = self.checks();
        let socket = Arc::downgrade(socket);
        let known = checks
            .iter()
            .position(|check| check.destination == transmit.destination && check.socket.ptr_eq(&socket));
        if let (Some(index), false) = (known, is_check) {
            checks[index].in_use = true;
        }
        if !is_check {
            return;
        }
        let now = self.elapsed();
        let new = Check {
            socket,
            destination: transmit.destination,
            request: transmit.contents.to_vec(),
            sent: now,
            repeated: now,
            answered: false,
            in_use: known.is_some_and(|index| checks[index].in_use),
        };
        match known {
            Some(index) => checks[index] = new,
            None if checks.len() < MAX_PAIRS => checks.push(new),
            None => {}
        }
    }

    /// A datagram, or several of one size at once, arrived.
    pub(super) fn handle_received(&self, contents: &[u8], alone: bool) -> Verdict {
        if !self.open.load(Ordering::Acquire) {
            self.setup_rounds.store(SETUP_ROUNDS, Ordering::Release);
            return Verdict::Deliver;
        }
        if self.unanswered_since.load(Ordering::Acquire) != 0 {
            self.unanswered_since.store(0, Ordering::Release);
        }
        let mut late = false;
        if self.suspect.load(Ordering::Acquire) && self.suspect.swap(false, Ordering::AcqRel) {
            self.start_clock();
            self.changed.notify_waiters();
            late = true;
        }
        let contents = relayed(contents);
        if alone && is_stun(contents, BINDING_SUCCESS) {
            let now = self.elapsed();
            let mut checks = self.checks();
            let asked = |check: &&mut Check| relayed(&check.request)[4..20] == contents[4..20];
            if let Some(check) = checks.iter_mut().find(asked) {
                late |= now.saturating_sub(check.sent) > ANSWER_WANTED_FOR;
                if std::mem::replace(&mut check.answered, true) || late {
                    return Verdict::Swallow;
                }
            }
        }
        Verdict::Deliver
    }

    /// Repeats the last check if it is time; returns when it will be again.
    fn repeat_check(&self, now: Duration) -> Duration {
        let every = if self.is_suspect() { REPEAT_EVERY } else { REPEAT_SOON };
        let mut checks = self.checks();
        let Some(check) = checks.first_mut() else { return every };
        let ago = now.saturating_sub(check.repeated);
        if ago < every {
            return every - ago;
        }
        check.repeated = now;
        if let Some(socket) = check.socket.upgrade() {
            let transmit = Transmit {
                destination: check.destination,
                ecn: None,
                contents: &check.request,
                segment_size: None,
                src_ip: None,
            };
            // A full buffer or no route is one repetition less.
            let mut nobody = Context::from_waker(Waker::noop());
            let _: Poll<_> = socket.poll_send(&mut nobody, &transmit);
        }
        every
    }

    fn stop_clock(&self) {
        let shown = self.now().saturating_duration_since(self.base).as_nanos() as u64;
        self.stands_at.store(shown.max(1), Ordering::Release);
    }

    fn start_clock(&self) {
        let stood_at = self.stands_at.load(Ordering::Acquire) as i64;
        let shift = stood_at + STEP.as_nanos() as i64 - self.elapsed().as_nanos() as i64;
        self.shift.store(shift, Ordering::Release);
        self.stands_at.store(0, Ordering::Release);
    }

    fn elapsed(&self) -> Duration {
        real_now().saturating_duration_since(self.base)
    }

    fn checks(&self) -> std::sync::MutexGuard<'_, Vec<Check>> {
        self.checks.lock().expect("no panic while checks are locked")
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Path").field("suspect", &self.is_suspect()).finish_non_exhaustive()
    }
}

const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const SEND_INDICATION: [u8; 2] = [0x00, 0x16];
const DATA_INDICATION: [u8; 2] = [0x00, 0x17];
const TURN_DATA: [u8; 2] = [0x00, 0x13];
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

fn is_stun(datagram: &[u8], kind: [u8; 2]) -> bool {
    datagram.len() >= 20 && datagram[..2] == kind && datagram[4..8] == STUN_COOKIE
}

/// What a datagram to or from a TURN server carries, or the datagram itself.
fn relayed(datagram: &[u8]) -> &[u8] {
    // ChannelData: a number from 0x4000 on, the length, and that much.
    if datagram.len() >= 4 && (0x40..0x80).contains(&datagram[0]) {
        let length = usize::from(u16::from_be_bytes([datagram[2], datagram[3]]));
        return datagram[4..].get(..length).unwrap_or(datagram);
    }
    if !(is_stun(datagram, SEND_INDICATION) || is_stun(datagram, DATA_INDICATION)) {
        return datagram;
    }
    let mut attributes = &datagram[20..];
    while let [kind_high, kind_low, length_high, length_low, rest @ ..] = attributes {
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
        let Some(value) = rest.get(..length) else { break };
        if [*kind_high, *kind_low] == TURN_DATA {
            return value;
        }
        attributes = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    datagram
}

/// The machine's clock: what is watched here are real packets.
#[allow(clippy::disallowed_methods)]
fn real_now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::io::{self, IoSliceMut};

    use webrtc::runtime::RecvMeta;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const DATA: [u8; 30] = [23; 30];

    /// Remembers what was sent.
    #[derive(Debug, Default)]
    struct Wire(Mutex<Vec<Vec<u8>>>);

    impl AsyncUdpSocket for Wire {
        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(addr(1))
        }
        fn poll_send(&self, _: &mut Context<'_>, sent: &Transmit<'_>) -> Poll<io::Result<usize>> {
            self.0.lock().unwrap().push(sent.contents.to_vec());
            Poll::Ready(Ok(sent.contents.len()))
        }
        fn poll_recv(
            &self,
            _: &mut Context<'_>,
            _: &mut [IoSliceMut<'_>],
            _: &mut [RecvMeta],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
    }

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn stun(kind: [u8; 2], id: u8) -> Vec<u8> {
        let mut message = INDICATION.to_vec();
        message[..2].copy_from_slice(&kind);
        message[19] = id;
        message
    }

    struct Bench {
        path: Path,
        wire: Arc<Wire>,
        socket: Arc<dyn AsyncUdpSocket>,
    }

    impl Bench {
        fn new(suspect_after: Duration) -> Self {
            let wire = Arc::<Wire>::default();
            let socket = Arc::clone(&wire) as Arc<dyn AsyncUdpSocket>;
            Self { path: Path::new(suspect_after, LONG), wire, socket }
        }

        fn send(&self, port: u16, contents: &[u8]) {
            let transmit =
                Transmit { destination: addr(port), ecn: None, contents, segment_size: None, src_ip: None };
            self.path.handle_sent(&self.socket, &transmit);
        }

        fn repeated(&self) -> Vec<Vec<u8>> {
            std::mem::take(&mut *self.wire.0.lock().unwrap())
        }
    }

    #[test]
    fn set_up_is_paced_by_packets_and_a_silent_one_sleeps() {
        let bench = Bench::new(LONG);
        while bench.path.handle_sleep(LONG) == Duration::ZERO {}
        assert_eq!(bench.path.handle_sleep(LONG), LONG);
        bench.path.handle_received(&DATA, true);
        assert_eq!(bench.path.handle_sleep(LONG), Duration::ZERO);
    }

    #[test]
    fn only_what_wants_an_answer_is_waited_for() {
        let bench = Bench::new(LONG);
        bench.path.handle_open();
        bench.send(2, &stun(BINDING_SUCCESS, 1));
        assert_eq!(bench.path.handle_sleep(LONG), LONG);
        bench.send(2, &DATA);
        assert!(bench.path.handle_sleep(LONG) <= REPEAT_AFTER);
        bench.path.handle_received(&DATA, true);
        assert_eq!(bench.path.handle_sleep(LONG), LONG);
    }

    #[test]
    fn silence_stops_the_clock_and_any_packet_sets_it_forward() {
        let bench = Bench::new(Duration::ZERO);
        bench.path.handle_open();
        bench.send(2, &DATA);
        bench.path.handle_sleep(LONG);
        assert!(bench.path.is_suspect());
        let stands = bench.path.now();
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(bench.path.now(), stands);
        bench.path.handle_received(&DATA, true);
        assert!(!bench.path.is_suspect());
        let moved = bench.path.now() - stands;
        assert!(moved >= STEP && moved < 2 * STEP, "{moved:?}");
        assert!(bench.path.now() <= bench.path.now());
    }

    #[test]
    fn the_check_of_the_path_in_use_is_repeated_and_its_late_answers_are_kept_back() {
        let bench = Bench::new(LONG);
        bench.send(2, &stun(BINDING_REQUEST, 2));
        bench.send(3, &stun(BINDING_REQUEST, 3));
        bench.send(3, &DATA);
        bench.send(4, &stun(BINDING_REQUEST, 4));
        bench.path.handle_open();
        bench.send(3, &DATA);
        std::thread::sleep(REPEAT_AFTER);
        assert!(bench.path.handle_sleep(LONG) <= REPEAT_EVERY);
        assert_eq!(bench.repeated(), [stun(BINDING_REQUEST, 3)]);
        assert!(bench.path.handle_sleep(LONG) <= REPEAT_EVERY);
        assert!(bench.repeated().is_empty(), "not before it is time again");

        let answer = stun(BINDING_SUCCESS, 3);
        assert_eq!(bench.path.handle_received(&answer, true), Verdict::Deliver);
        assert_eq!(bench.path.handle_received(&answer, true), Verdict::Swallow);
        let foreign = stun(BINDING_SUCCESS, 9);
        assert_eq!(bench.path.handle_received(&foreign, true), Verdict::Deliver);
    }

    /// A Send indication with one attribute before the data, whose length wants padding.
    fn indicated(data: &[u8]) -> Vec<u8> {
        let mut message = stun(SEND_INDICATION, 7);
        message.extend_from_slice(&[0x80, 0x22, 0, 3, b'a', b'b', b'c', 0]);
        message.extend_from_slice(&[0, 0x13, 0, data.len() as u8]);
        message.extend_from_slice(data);
        message
    }

    fn channel_data(data: &[u8]) -> Vec<u8> {
        [&[0x40, 0x01, 0, data.len() as u8], data].concat()
    }

    #[test]
    fn what_goes_through_a_relay_is_seen_as_what_it_is() {
        for wrap in [indicated, channel_data] {
            let bench = Bench::new(LONG);
            bench.send(2, &wrap(&stun(BINDING_REQUEST, 2)));
            bench.send(2, &wrap(&DATA));
            bench.path.handle_open();
            bench.send(2, &wrap(&DATA));
            std::thread::sleep(REPEAT_AFTER);
            bench.path.handle_sleep(LONG);
            assert_eq!(bench.repeated(), [wrap(&stun(BINDING_REQUEST, 2))]);
            let answer = wrap(&stun(BINDING_SUCCESS, 2));
            assert_eq!(bench.path.handle_received(&answer, true), Verdict::Deliver);
            assert_eq!(bench.path.handle_received(&answer, true), Verdict::Swallow);
        }
    }

    #[test]
    fn what_pretends_to_be_relayed_is_taken_for_itself() {
        let mut cut = indicated(&DATA);
        cut.truncate(cut.len() - 1);
        let mut unaligned = stun(SEND_INDICATION, 7);
        unaligned.extend_from_slice(&[0x80, 0x22, 0, 3, b'a', b'b', b'c']);
        for odd in [vec![], vec![0x40], vec![0x40, 0, 0, 9, 1], cut, unaligned, DATA.to_vec()] {
            assert_eq!(relayed(&odd), odd);
        }
    }

    #[test]
    fn a_pump_is_asked_for_only_after_many_messages() {
        let path = Path::new(LONG, LONG);
        let cx = Context::from_waker(Waker::noop());
        path.handle_drained();
        assert!(!path.handle_read(&cx));
        for _ in 0..PUMP_AFTER {
            path.handle_taken();
        }
        path.handle_drained();
        assert!(path.handle_read(&cx));
        assert!(!path.handle_read(&cx));
    }
}
