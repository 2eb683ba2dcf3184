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
//! Whoever waits for what SCTP has to send again may [ask](Path::heard) whether the path is alive: then
//! the check is repeated, although packets arrive. Only an answer to a check of ours counts, as it
//! alone proves both directions, and only while it says that the other end sees us where it did
//! before: behind a NAT that forgot us checks are answered, and nothing else comes back.
//!
//! While a link is being set up, the clock is left alone; there the driver merely has to be woken,
//! as it forgets to send what its own events produced.
//!
//! While ICE begins anew on a live link ([`handle_restart`](Path::handle_restart)), the clock runs, however silent it is: the checks
//! go by it; an answer sets it forward by as much as makes the agent act on it at once. Once there is a pair, it steps forward, as at the end of a silence: what was
//! sent into the old path is lost, and SCTP would wait a second and more before it sends it again.
//!
//! And one more pause of the stack is mended here: once more than 256 messages are under way to
//! the application, it sets further ones aside, and goes back to them only with the next packet,
//! which may be seconds away. Whoever has drained a channel asks for such a packet: a STUN
//! indication, which means nothing, made up at the socket.

mod quiet;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use webrtc::runtime::{AsyncUdpSocket, Transmit};

use self::quiet::Quiet;
use super::stun::{BINDING_REQUEST, BINDING_SUCCESS, is_same_check, is_stun, relayed, seen_as};

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
/// Who asked once is answered for this long: until the next time they ask.
const ASKED_FOR: Duration = Duration::from_millis(500);
/// Fewer messages than this since the last pump cannot have made the stack set any aside: it does
/// so when 256 wait.
const PUMP_AFTER: u32 = 64;
/// Pairs of addresses whose last check is kept until one of them is in use.
const MAX_PAIRS: usize = 512;
/// How often the agent looks at its pairs while it has chosen none.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// How often it is made to look at once in a restart: few, as SCTP goes by the same clock.
const MAX_NUDGES: u32 = 8;
/// ICE that began anew has found a path by then, or the link is lost: there is no way back.
const RESTART_WITHIN: Duration = Duration::from_secs(10);
/// Loops of the driver after a packet, during set-up: one for each layer that may have
/// something to say in turn.
const SETUP_ROUNDS: u32 = 4;

/// The link is not open yet.
const SETUP: u8 = 0;
/// The link is open: silence means something.
const OPEN: u8 = 1;
/// ICE is to begin anew, and the stack has not said that it did.
const RESTARTING: u8 = 2;
/// ICE looks for a pair for the open link.
const CHECKING: u8 = 3;
/// ICE found one, and nothing went over it yet: which one it is will show.
const MOVED: u8 = 4;

/// See the module's documentation.
pub(super) struct Path {
    base: Instant,
    suspect_after: Duration,
    give_up_after: Duration,
    stage: AtomicU8,
    /// When ICE last began anew, in nanoseconds since `base`.
    restarted: AtomicU64,
    /// How often its clock was set forward since then.
    nudges: AtomicU32,
    setup_rounds: AtomicU32,
    /// Nanoseconds to add to the time since `base`, if the clock runs.
    shift: AtomicI64,
    /// Nanoseconds since `base` at which the clock stands, or 0 if it runs.
    stands_at: AtomicU64,
    /// When the first thing was sent that nothing was heard after, in nanoseconds since `base`,
    /// or 0.
    unanswered_since: AtomicU64,
    /// When an answer last proved the path, in nanoseconds since `base`, or 0.
    heard: AtomicU64,
    /// Until when checks are wanted whatever arrives, in nanoseconds since `base`.
    asked_until: AtomicU64,
    quiet: Quiet,
    suspect: AtomicBool,
    moved: AtomicBool,
    gave_up: AtomicBool,
    /// Told when one of these three changes.
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
    /// That of the check before, whose answer may be on its way.
    before: Option<[u8; 16]>,
    /// Where the other end saw us when it first answered.
    seen_as: Option<SocketAddr>,
    sent: Duration,
    repeated: Duration,
    answered: bool,
    /// Something else than ICE went the same way: this is the path in use.
    in_use: bool,
}

impl Check {
    /// What names it and its answer: the magic cookie and the transaction.
    fn transaction(&self) -> Option<[u8; 16]> {
        relayed(&self.request).get(4..20)?.first_chunk().copied()
    }

    /// Whether this success response, with what it says, means that all is as it was.
    fn is_proved_by(&mut self, answer: &[u8]) -> bool {
        let transaction = answer.get(4..20).and_then(<[u8]>::first_chunk).copied();
        if transaction != self.transaction() && transaction != self.before {
            return false;
        }
        seen_as(answer).is_some_and(|now| *self.seen_as.get_or_insert(now) == now)
    }
}

/// What to do with a received datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Deliver,
    /// An answer to a repetition that the agent knows nothing of.
    Swallow,
}

impl Path {
    pub(super) fn new(suspect_after: Duration, give_up_after: Duration, keepalive: Duration) -> Self {
        Self {
            base: real_now(),
            suspect_after,
            give_up_after,
            stage: AtomicU8::new(SETUP),
            restarted: AtomicU64::new(0),
            nudges: AtomicU32::new(0),
            setup_rounds: AtomicU32::new(2 * SETUP_ROUNDS),
            shift: AtomicI64::new(0),
            stands_at: AtomicU64::new(0),
            unanswered_since: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            asked_until: AtomicU64::new(0),
            quiet: Quiet::new(keepalive),
            suspect: AtomicBool::new(false),
            moved: AtomicBool::new(false),
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
        self.stage.store(OPEN, Ordering::Release);
    }

    /// ICE is about to begin anew: what was known of the path is void.
    pub(super) fn handle_restart(&self) {
        self.checks().clear();
        self.heard.store(0, Ordering::Release);
        self.restarted.store(self.elapsed().as_nanos() as u64, Ordering::Release);
        self.nudges.store(0, Ordering::Release);
        // One that is under way has said already that it began.
        let _ = self.stage.fetch_update(Ordering::AcqRel, Ordering::Acquire, |stage| match stage {
            OPEN | MOVED => Some(RESTARTING),
            _ => None,
        });
        if self.stands_at.load(Ordering::Acquire) != 0 {
            self.start_clock(Duration::ZERO);
        }
    }

    /// ICE looks for a pair.
    pub(super) fn handle_checking(&self) {
        let _ = self.stage.compare_exchange(RESTARTING, CHECKING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// ICE has a pair.
    pub(super) fn handle_connected(&self) {
        let moved = self.stage.compare_exchange(CHECKING, MOVED, Ordering::AcqRel, Ordering::Acquire);
        if moved.is_err() {
            return;
        }
        self.unanswered_since.store(0, Ordering::Release);
        self.suspect.store(false, Ordering::Release);
        self.moved.store(true, Ordering::Release);
        self.start_clock(STEP);
        self.pump.store(true, Ordering::Release);
        self.reader.wake();
        self.changed.notify_waiters();
    }

    /// Whether ICE found another path since this was last asked.
    pub(super) fn take_moved(&self) -> bool {
        self.moved.load(Ordering::Acquire) && self.moved.swap(false, Ordering::AcqRel)
    }

    /// Where the path in use begins.
    pub(super) fn local_ip(&self) -> Option<IpAddr> {
        let socket = self.checks().first()?.socket.upgrade()?;
        socket.local_addr().ok().map(|addr| addr.ip())
    }

    /// Whether ICE looks for a pair for the open link.
    pub(super) fn is_restarting(&self) -> bool {
        matches!(self.stage.load(Ordering::Acquire), RESTARTING | CHECKING)
    }

    /// Nothing has been heard for too long.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// When an answer to a check last proved that the path carries packets both ways. Asking
    /// makes checks go out for [`ASKED_FOR`].
    pub(super) fn heard(&self) -> Option<Instant> {
        let now = self.elapsed();
        let asked_until = self.asked_until.swap((now + ASKED_FOR).as_nanos() as u64, Ordering::AcqRel);
        if asked_until <= now.as_nanos() as u64 {
            // The driver has to come by before it would.
            self.pump.store(true, Ordering::Release);
            self.reader.wake();
        }
        let heard = Some(self.heard.load(Ordering::Acquire)).filter(|at| *at != 0);
        heard.map(|at| self.base + Duration::from_nanos(at))
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
        let stage = self.stage.load(Ordering::Acquire);
        if stage == SETUP {
            let round = self
                .setup_rounds
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |rounds| rounds.checked_sub(1));
            return if round.is_ok() { Duration::ZERO } else { wanted };
        }
        let now = self.elapsed();
        if matches!(stage, RESTARTING | CHECKING) {
            let ago = now.saturating_sub(Duration::from_nanos(self.restarted.load(Ordering::Acquire)));
            if ago >= RESTART_WITHIN && !self.gave_up.swap(true, Ordering::AcqRel) {
                self.changed.notify_waiters();
            }
            return wanted.min(RESTART_WITHIN.saturating_sub(ago).max(Duration::from_millis(50)));
        }
        let asked = Duration::from_nanos(self.asked_until.load(Ordering::Acquire)) > now;
        let since = self.unanswered_since.load(Ordering::Acquire);
        if since == 0 {
            if asked {
                return wanted.min(self.repeat_check(now));
            }
            // Nothing is under way and nobody waits: whatever comes wakes the driver, so that it
            // need not look five times a second whether there is nothing to do.
            return if stage == OPEN { self.quiet.handle_sleep(now, wanted) } else { wanted };
        }
        let silence = now.saturating_sub(Duration::from_nanos(since));
        if silence >= self.suspect_after && !self.suspect.swap(true, Ordering::AcqRel) {
            self.stop_clock();
            self.changed.notify_waiters();
        }
        if silence >= self.give_up_after && !self.gave_up.swap(true, Ordering::AcqRel) {
            self.changed.notify_waiters();
        }
        if silence < REPEAT_AFTER && !asked {
            return wanted.min(REPEAT_AFTER - silence);
        }
        wanted.min(self.repeat_check(now))
    }

    /// The stack wants to send something. Returns whether that can be left out, as it is the same
    /// check once more on a quiet path.
    pub(super) fn is_needless(&self, socket: &Arc<dyn AsyncUdpSocket>, transmit: &Transmit<'_>) -> bool {
        let carried = relayed(transmit.contents);
        if !is_stun(carried, BINDING_REQUEST) || self.stage.load(Ordering::Acquire) != OPEN {
            return false;
        }
        let now = self.elapsed();
        self.quiet.handle_check(now);
        let (recently, socket) = (now.saturating_sub(self.quiet.again_after()), Arc::downgrade(socket));
        self.quiet.is_quiet(now)
            && self.checks().iter().any(|check| {
                check.sent > recently
                    && check.destination == transmit.destination
                    && check.socket.ptr_eq(&socket)
                    && is_same_check(relayed(&check.request), carried)
            })
    }

    /// Something is sent on `socket`.
    pub(super) fn handle_sent(&self, socket: &Arc<dyn AsyncUdpSocket>, transmit: &Transmit<'_>) {
        let stage = self.stage.load(Ordering::Acquire);
        // Nobody answers an answer; two ends that waited for it would keep each other busy.
        let carried = relayed(transmit.contents);
        if is_stun(carried, BINDING_SUCCESS) {
            return;
        }
        self.quiet.note_traffic(carried);
        if stage != SETUP && self.unanswered_since.load(Ordering::Acquire) == 0 {
            let now = self.elapsed().as_nanos() as u64;
            self.unanswered_since.store(now.max(1), Ordering::Release);
        }
        let is_check = is_stun(carried, BINDING_REQUEST);
        if is_check || matches!(stage, SETUP | MOVED) {
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
            let moved = self.stage.compare_exchange(MOVED, OPEN, Ordering::AcqRel, Ordering::Acquire);
            if moved.is_ok() {
                checks.swap(0, index);
                checks.truncate(1);
            }
        }
        if !is_check {
            return;
        }
        let now = self.elapsed();
        let old = known.map(|index| &checks[index]);
        let new = Check {
            socket,
            destination: transmit.destination,
            request: transmit.contents.to_vec(),
            before: old.and_then(Check::transaction),
            seen_as: old.and_then(|old| old.seen_as),
            sent: now,
            repeated: now,
            answered: false,
            in_use: old.is_some_and(|old| old.in_use),
        };
        match known {
            Some(index) => checks[index] = new,
            None if checks.len() < MAX_PAIRS => checks.push(new),
            None => {}
        }
    }

    /// A datagram, or several of one size at once, arrived.
    pub(super) fn handle_received(&self, contents: &[u8], alone: bool) -> Verdict {
        let stage = self.stage.load(Ordering::Acquire);
        if stage == SETUP {
            self.setup_rounds.store(SETUP_ROUNDS, Ordering::Release);
            let contents = relayed(contents);
            if alone && is_stun(contents, BINDING_SUCCESS) {
                // Where the other end sees us from the beginning.
                self.checks().iter_mut().any(|check| check.is_proved_by(contents));
            }
            return Verdict::Deliver;
        }
        if self.unanswered_since.load(Ordering::Acquire) != 0 {
            self.unanswered_since.store(0, Ordering::Release);
        }
        if matches!(stage, RESTARTING | CHECKING) {
            let contents = relayed(contents);
            if alone && is_stun(contents, BINDING_SUCCESS) {
                self.checks().iter_mut().any(|check| check.is_proved_by(contents));
                // The agent would choose this pair at its next look, which is up to 200 ms away.
                let nudges = self.nudges.load(Ordering::Acquire);
                if nudges < MAX_NUDGES {
                    self.nudges.store(nudges + 1, Ordering::Release);
                    self.start_clock(CHECK_INTERVAL);
                }
            }
            return Verdict::Deliver;
        }
        let mut late = false;
        if self.suspect.load(Ordering::Acquire) && self.suspect.swap(false, Ordering::AcqRel) {
            self.start_clock(STEP);
            self.changed.notify_waiters();
            late = true;
        }
        let contents = relayed(contents);
        self.quiet.note_traffic(contents);
        if is_stun(contents, BINDING_REQUEST) {
            self.quiet.handle_checked();
        }
        if alone && is_stun(contents, BINDING_SUCCESS) {
            let now = self.elapsed();
            let mut checks = self.checks();
            // Where the stream goes is where life is wanted.
            if let Some(check) = checks.first_mut()
                && check.is_proved_by(contents)
            {
                self.heard.store((now.as_nanos() as u64).max(1), Ordering::Release);
            }
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

    /// Makes the clock run from where it stands, or is, and `step` further.
    fn start_clock(&self, step: Duration) {
        let shown = self.now().saturating_duration_since(self.base).as_nanos() as i64;
        let shift = shown + step.as_nanos() as i64 - self.elapsed().as_nanos() as i64;
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

/// The machine's clock: what is watched here are real packets.
#[allow(clippy::disallowed_methods)]
fn real_now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests;
