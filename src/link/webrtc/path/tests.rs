use std::io::{self, IoSliceMut};

use webrtc::runtime::RecvMeta;

use super::super::stun::{INDICATION, SEND_INDICATION};
use super::*;

const LONG: Duration = Duration::from_secs(3600);
const KEEPALIVE: Duration = Duration::from_secs(20);
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
        Self { path: Path::new(suspect_after, LONG, KEEPALIVE), wire, socket }
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
fn the_clock_runs_while_ice_begins_anew_and_steps_when_it_has_a_pair() {
    let bench = Bench::new(Duration::ZERO);
    bench.path.handle_open();
    bench.send(2, &DATA);
    bench.path.handle_sleep(LONG);
    assert!(bench.path.is_suspect());
    let stood = bench.path.now();
    bench.path.handle_connected();
    assert!(bench.path.is_suspect() && !bench.path.is_restarting(), "it had one all the time");
    bench.path.handle_restart();
    assert!(bench.path.is_restarting());
    std::thread::sleep(Duration::from_millis(2));
    let runs = bench.path.now() - stood;
    assert!(runs >= Duration::from_millis(2) && runs < STEP, "{runs:?}");
    bench.path.handle_connected();
    assert!(bench.path.is_restarting(), "that was about the path before");
    bench.path.handle_checking();
    // However silent it is, and whatever comes.
    bench.send(2, &stun(BINDING_REQUEST, 1));
    assert!(bench.path.handle_sleep(LONG) > Duration::from_secs(9));
    assert_eq!(bench.path.handle_received(&answer(1, 1000), true), Verdict::Deliver);
    assert!(bench.path.now() - stood < STEP && bench.path.is_suspect());
    bench.path.handle_connected();
    assert!(!bench.path.is_restarting() && !bench.path.is_suspect());
    let stepped = bench.path.now() - stood;
    assert!(stepped >= STEP && stepped < 2 * STEP, "{stepped:?}");
    bench.path.handle_restart();
    assert!(bench.path.is_restarting(), "again");
}

#[test]
fn after_a_restart_life_is_wanted_where_the_stream_goes_then() {
    let bench = Bench::new(LONG);
    bench.send(3, &stun(BINDING_REQUEST, 3));
    bench.send(3, &DATA);
    bench.path.handle_received(&answer(3, 1000), true);
    bench.path.handle_open();
    bench.path.handle_received(&answer(3, 1000), true);
    assert!(bench.path.heard().is_some());
    bench.path.handle_restart();
    bench.path.handle_checking();
    assert_eq!(bench.path.heard(), None);
    bench.send(4, &stun(BINDING_REQUEST, 4));
    bench.send(5, &stun(BINDING_REQUEST, 5));
    bench.path.handle_received(&answer(5, 1001), true);
    bench.path.handle_connected();
    bench.send(5, &DATA);
    bench.path.handle_received(&answer(4, 1000), true);
    assert_eq!(bench.path.heard(), None, "another way");
    bench.path.handle_received(&answer(5, 1001), true);
    assert!(bench.path.heard().is_some(), "from where they see us now");
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

/// An answer to the check `id` from where the other end sees us at 192.0.2.1, at `port`.
fn answer(id: u8, port: u16) -> Vec<u8> {
    let [high, low] = (port ^ 0x2112).to_be_bytes();
    let seen_as = [0, 0x20, 0, 8, 0, 1, high, low, 0xe1, 0x12, 0xa6, 0x43];
    [&stun(BINDING_SUCCESS, id), &seen_as[..]].concat()
}

#[test]
fn whoever_asks_has_the_path_checked_although_packets_arrive() {
    let bench = Bench::new(LONG);
    bench.send(3, &stun(BINDING_REQUEST, 3));
    bench.send(3, &DATA);
    bench.path.handle_open();
    std::thread::sleep(REPEAT_SOON);
    assert_eq!(bench.path.handle_sleep(LONG), LONG, "nobody asked");
    let cx = Context::from_waker(Waker::noop());
    assert!(!bench.path.handle_read(&cx));
    assert_eq!(bench.path.heard(), None);
    assert!(bench.path.handle_read(&cx), "the driver comes by at once");
    for _ in 0..2 {
        bench.path.handle_received(&DATA, true);
        assert!(bench.path.handle_sleep(LONG) <= REPEAT_SOON);
        std::thread::sleep(REPEAT_SOON);
    }
    assert_eq!(bench.repeated(), [stun(BINDING_REQUEST, 3), stun(BINDING_REQUEST, 3)]);
    std::thread::sleep(ASKED_FOR);
    assert_eq!(bench.path.handle_sleep(LONG), LONG, "once asked is not asked for ever");
}

#[test]
fn only_the_answer_to_a_check_on_the_same_way_as_before_is_a_sign_of_life() {
    let bench = Bench::new(LONG);
    bench.send(3, &stun(BINDING_REQUEST, 3));
    bench.send(3, &DATA);
    bench.path.handle_received(&answer(3, 1000), true);
    assert_eq!(bench.path.heard(), None, "the set-up knows where, not whether");
    bench.path.handle_open();
    let hears = |contents: &[u8]| {
        let before = bench.path.heard();
        std::thread::sleep(Duration::from_millis(1));
        bench.path.handle_received(contents, true);
        bench.path.heard() != before
    };
    assert!(!hears(&DATA));
    assert!(!hears(&stun(BINDING_REQUEST, 3)), "theirs prove one direction only");
    assert!(!hears(&answer(4, 1000)), "an answer to no check");
    assert!(!hears(&answer(3, 1001)), "not where they saw us during the set-up");
    assert!(hears(&answer(3, 1000)));
    assert!(hears(&answer(3, 1000)), "each repetition has its answer");
    assert!(!hears(&stun(BINDING_SUCCESS, 3)), "it does not say where it saw us");
    bench.send(3, &stun(BINDING_REQUEST, 4));
    assert!(hears(&answer(3, 1000)), "the check before may still be answered");
    assert!(hears(&answer(4, 1000)));
    assert!(!hears(&answer(4, 1001)), "a NAT gave us another port: what else they send is lost");
    bench.send(3, &stun(BINDING_REQUEST, 5));
    assert!(!hears(&answer(5, 1001)));
    assert!(!hears(&answer(3, 1000)), "too old");
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
fn a_pump_is_asked_for_only_after_many_messages() {
    let path = Path::new(LONG, LONG, KEEPALIVE);
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

/// A check with a name, a transaction and what seals it.
fn check(name: u8, id: u8) -> Vec<u8> {
    let mut check = stun(BINDING_REQUEST, id);
    check.extend_from_slice(&[0, 6, 0, 4, name, name, name, name]);
    check.extend_from_slice(&[id; 32]);
    check
}

impl Bench {
    fn needless(&self, port: u16, contents: &[u8]) -> bool {
        let transmit =
            Transmit { destination: addr(port), ecn: None, contents, segment_size: None, src_ip: None };
        self.path.is_needless(&self.socket, &transmit)
    }
}

#[test]
fn the_same_check_again_is_left_out_on_a_quiet_path() {
    let mut bench = Bench::new(LONG);
    bench.path.base -= Duration::from_secs(10);
    bench.send(3, &check(1, 1));
    bench.send(3, &DATA);
    assert!(!bench.needless(3, &check(1, 2)), "not during the set-up");
    bench.path.handle_open();
    assert!(!bench.needless(3, &check(1, 2)), "not while messages come and go");
    bench.send(3, &DATA);
    bench.path.quiet.is_quiet(Duration::ZERO);
    assert!(bench.needless(3, &check(1, 2)));
    assert!(!bench.needless(4, &check(1, 2)), "to somebody else");
    assert!(!bench.needless(3, &check(2, 2)), "by another name");
    assert!(!bench.needless(3, &DATA) && !bench.needless(3, &stun(BINDING_REQUEST, 2)));
    bench.path.base -= bench.path.quiet.again_after();
    assert!(!bench.needless(3, &check(1, 3)), "it is a while ago");
    bench.path.handle_received(&check(9, 9), true);
    assert!(bench.needless(3, &check(1, 4)), "the other end has just sent one");
    bench.path.base -= KEEPALIVE + KEEPALIVE / 2;
    assert!(!bench.needless(3, &check(1, 5)), "it did so the last time, too");
}
