//! The same operations on tokio's and on these, and the traps.

#![allow(clippy::arc_with_non_send_sync)]

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use proptest::collection::vec;
use proptest::prelude::*;

use super::waiters::Waiters;

mod tokio_sync {
    pub(super) use ::tokio::sync::{Mutex, Notify, Semaphore, mpsc, oneshot, watch};
}
mod ours {
    pub(super) use super::super::{Mutex, Notify, Semaphore, mpsc, oneshot, watch};
}

/// Counts how often it woke.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Wakers to poll with, and how often each was called.
struct Wakers(Vec<Arc<Count>>);

impl Wakers {
    fn new() -> Self {
        Self((0..2 * SLOTS).map(|_| Arc::default()).collect())
    }

    /// Each slot has two, as a future that moves from one task to another.
    fn poll<F: Future + Unpin>(&self, slot: usize, other: bool, future: &mut F) -> Poll<F::Output> {
        let waker = Waker::from(self.0[2 * slot + usize::from(other)].clone());
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    fn woken(&self) -> Vec<usize> {
        self.0.iter().map(|count| count.0.load(Ordering::Relaxed)).collect()
    }
}

const SLOTS: usize = 5;

fn slot() -> std::ops::Range<usize> {
    0..SLOTS
}

/// Runs `$log`, a macro of a module and operations that gives what was seen, with both modules.
macro_rules! compare {
    ($log:ident, $ops:expr) => {{
        let ops = $ops;
        let (theirs, ours): (Vec<String>, Vec<String>) = ($log!(tokio_sync, &ops), $log!(ours, &ops));
        for (at, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
            prop_assert_eq!(theirs, ours, "tokio's left, ours right, at {} of {:?}", at, &ops);
        }
    }};
}

mod channels;

#[derive(Clone, Debug)]
enum OnNotify {
    Make(usize),
    Enable(usize),
    Poll(usize, bool),
    Drop(usize),
    One,
    All,
}

fn on_notify() -> impl Strategy<Value = OnNotify> {
    prop_oneof![
        4 => slot().prop_map(OnNotify::Make),
        1 => slot().prop_map(OnNotify::Enable),
        6 => (slot(), any::<bool>()).prop_map(|(slot, other)| OnNotify::Poll(slot, other)),
        3 => slot().prop_map(OnNotify::Drop),
        4 => Just(OnNotify::One),
        1 => Just(OnNotify::All),
    ]
}

macro_rules! notify {
    ($sync:ident, $ops:expr) => {{
        let (notify, wakers, mut log) = ($sync::Notify::new(), Wakers::new(), Vec::new());
        let mut waits: [Option<Pin<Box<_>>>; SLOTS] = Default::default();
        for op in $ops {
            let mut seen = None;
            match *op {
                OnNotify::Make(slot) => waits[slot] = Some(Box::pin(notify.notified())),
                OnNotify::Enable(slot) => seen = waits[slot].as_mut().map(|wait| wait.as_mut().enable()),
                OnNotify::Poll(slot, other) => {
                    seen = waits[slot].as_mut().map(|wait| wakers.poll(slot, other, wait).is_ready());
                }
                OnNotify::Drop(slot) => waits[slot] = None,
                OnNotify::One => notify.notify_one(),
                OnNotify::All => notify.notify_waiters(),
            }
            log.push(format!("{op:?}: {seen:?}, woken {:?}", wakers.woken()));
        }
        log
    }};
}

#[derive(Clone, Debug)]
enum OnLock {
    Wait(usize),
    Poll(usize, bool),
    GiveUp(usize),
    Release(usize),
    Try(usize),
}

fn on_lock() -> impl Strategy<Value = OnLock> {
    prop_oneof![
        4 => slot().prop_map(OnLock::Wait),
        6 => (slot(), any::<bool>()).prop_map(|(slot, other)| OnLock::Poll(slot, other)),
        2 => slot().prop_map(OnLock::GiveUp),
        4 => slot().prop_map(OnLock::Release),
        1 => slot().prop_map(OnLock::Try),
    ]
}

macro_rules! mutex {
    ($sync:ident, $ops:expr) => {{
        let (wakers, mut log, mutex) = (Wakers::new(), Vec::new(), $sync::Mutex::new(0));
        let mut waits: [Option<Pin<Box<_>>>; SLOTS] = Default::default();
        let mut guards: [Option<_>; SLOTS] = Default::default();
        for op in $ops {
            let mut seen = None;
            match *op {
                OnLock::Wait(slot) => waits[slot] = Some(Box::pin(mutex.lock())),
                OnLock::Poll(slot, other) => {
                    if let Some(wait) = &mut waits[slot]
                        && let Poll::Ready(mut guard) = wakers.poll(slot, other, wait)
                    {
                        *guard += 1;
                        seen = Some(*guard);
                        (guards[slot], waits[slot]) = (Some(guard), None);
                    }
                }
                OnLock::GiveUp(slot) => waits[slot] = None,
                OnLock::Release(slot) => guards[slot] = None,
                OnLock::Try(slot) => {
                    if let Ok(guard) = mutex.try_lock() {
                        seen = Some(*guard);
                        guards[slot] = Some(guard);
                    }
                }
            }
            log.push(format!("{op:?}: {seen:?}, woken {:?}", wakers.woken()));
        }
        log
    }};
}

macro_rules! semaphore {
    ($sync:ident, $ops:expr) => {{
        let (permits, ops) = $ops;
        let (wakers, mut log) = (Wakers::new(), Vec::new());
        let semaphore = Arc::new($sync::Semaphore::new(*permits));
        let mut waits: [Option<Pin<Box<_>>>; SLOTS] = Default::default();
        let mut held: [Vec<_>; SLOTS] = Default::default();
        for op in ops {
            let mut came = false;
            match *op {
                OnLock::Wait(slot) => waits[slot] = Some(Box::pin(semaphore.clone().acquire_owned())),
                OnLock::Poll(slot, other) => {
                    if let Some(wait) = &mut waits[slot]
                        && let Poll::Ready(permit) = wakers.poll(slot, other, wait)
                    {
                        came = true;
                        held[slot].push(permit.unwrap());
                        waits[slot] = None;
                    }
                }
                OnLock::GiveUp(slot) => waits[slot] = None,
                OnLock::Release(slot) | OnLock::Try(slot) => drop(held[slot].pop()),
            }
            log.push(format!("{op:?}: {came}, woken {:?}", wakers.woken()));
        }
        log
    }};
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_notify_is_tokios(ops in vec(on_notify(), 0..60)) {
        compare!(notify, ops);
    }

    #[test]
    fn a_mutex_is_tokios(ops in vec(on_lock(), 0..60)) {
        compare!(mutex, ops);
    }

    #[test]
    fn a_semaphore_is_tokios(permits in 1..4usize, ops in vec(on_lock(), 0..60)) {
        compare!(semaphore, (permits, ops));
    }
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn waits_that_are_given_up_leave_nothing_behind() {
    let waiters = Waiters::new(0, 1);
    let mut stays = waiters.wait();
    assert!(poll_once(&mut stays).is_pending());
    for _ in 0..10_000 {
        assert!(poll_once(waiters.wait()).is_pending());
        assert!(poll_once(&mut stays).is_pending());
        assert_eq!(waiters.waiting(), 1);
    }
    // Neither do those that got what they waited for.
    for _ in 0..10_000 {
        waiters.give();
        assert!(poll_once(&mut stays).is_ready());
        stays = waiters.wait();
        assert!(poll_once(&mut stays).is_pending());
        waiters.tell_all();
        assert_eq!(waiters.waiting(), 0);
        assert!(poll_once(&mut stays).is_ready());
        stays = waiters.wait();
        assert!(poll_once(&mut stays).is_pending());
        assert_eq!(waiters.waiting(), 1);
    }
}

#[test]
fn the_end_of_a_wait_may_end_others_of_the_same_list() {
    thread_local! {
        static TASK: RefCell<Vec<Pin<Box<dyn Future<Output = ()>>>>> = const { RefCell::new(Vec::new()) };
    }
    /// The waker of a task that nothing else refers to.
    struct Last;
    impl Wake for Last {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Last {
        fn drop(&mut self) {
            drop(TASK.take());
        }
    }
    let notify: &'static super::Notify = Box::leak(Box::default());
    let task = || {
        let mut other = Box::pin(notify.notified());
        assert!(poll_once(&mut other).is_pending());
        TASK.with_borrow_mut(|task| task.push(other));
    };
    let waker = || Waker::from(Arc::new(Last));

    // By another waker.
    let mut wait = Box::pin(notify.notified());
    assert!(wait.as_mut().poll(&mut Context::from_waker(&waker())).is_pending());
    task();
    assert!(poll_once(&mut wait).is_pending());
    assert!(TASK.with_borrow(Vec::is_empty));
    // By the end of the wait.
    assert!(wait.as_mut().poll(&mut Context::from_waker(&waker())).is_pending());
    task();
    drop(wait);
    assert!(TASK.with_borrow(Vec::is_empty));
    // By a notification, to one or to all.
    let notify_all = || notify.notify_waiters();
    let notify_one = || notify.notify_one();
    for end in [&notify_all as &dyn Fn(), &notify_one] {
        let mut wait = Box::pin(notify.notified());
        assert!(wait.as_mut().poll(&mut Context::from_waker(&waker())).is_pending());
        task();
        end();
        assert!(TASK.with_borrow(Vec::is_empty));
        assert!(poll_once(&mut wait).is_ready());
    }
}

#[test]
fn a_queue_that_is_dropped_may_send_to_itself() {
    struct Echo(super::mpsc::Sender<Option<Echo>>);
    impl Drop for Echo {
        fn drop(&mut self) {
            assert!(matches!(self.0.try_send(None), Err(super::mpsc::error::TrySendError::Closed(None))));
        }
    }
    let (sender, receiver) = super::mpsc::channel(2);
    assert!(sender.try_send(Some(Echo(sender.clone()))).is_ok());
    drop(receiver);
    let (sender, receiver) = super::mpsc::channel(2);
    assert!(sender.try_send(Some(Echo(sender.clone()))).is_ok());
    drop(sender);
    drop(receiver);
}

#[test]
fn who_waits_for_a_value_is_woken_though_its_future_is_gone() {
    // Bindings make a new future for each poll.
    let wakers = Wakers::new();
    let (sender, mut receiver) = super::mpsc::channel(1);
    assert!(wakers.poll(0, false, &mut pin!(receiver.recv())).is_pending());
    sender.try_send(1).unwrap();
    assert_eq!(wakers.woken()[0], 1);
    assert_eq!(poll_once(receiver.recv()), Poll::Ready(Some(1)));
}

#[test]
fn a_lock_goes_to_who_waits_and_not_to_who_asks_again() {
    let mutex = super::Mutex::new(());
    let mut held = mutex.try_lock().unwrap();
    for _ in 0..100 {
        let mut waits = Box::pin(mutex.lock());
        assert!(poll_once(&mut waits).is_pending());
        drop(held);
        assert!(mutex.try_lock().is_err() && poll_once(mutex.lock()).is_pending());
        let Poll::Ready(guard) = poll_once(&mut waits) else { panic!("it was its turn") };
        held = guard;
    }
}
