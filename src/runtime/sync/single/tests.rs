//! The same operations on tokio's and on these, and the traps.

#![allow(clippy::arc_with_non_send_sync)]

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
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
enum OnWatch {
    Replace(u8),
    Modify(u8),
    IfModified(u8, bool),
    DropSender,
    Subscribe(usize),
    Clone(usize, usize),
    Drop(usize),
    Look(usize),
    Update(usize),
    MarkUnchanged(usize),
    /// Begins to wait, and keeps doing it.
    Changed(usize),
    WaitFor(usize, u8),
    Poll(usize, bool),
    /// A wait that is given up after one poll.
    ChangedOnce(usize, bool),
}

fn on_watch() -> impl Strategy<Value = OnWatch> {
    let value = 0..6u8;
    prop_oneof![
        3 => value.clone().prop_map(OnWatch::Replace),
        2 => value.clone().prop_map(OnWatch::Modify),
        2 => (value.clone(), any::<bool>()).prop_map(|(value, really)| OnWatch::IfModified(value, really)),
        1 => prop_oneof![4 => Just(OnWatch::Look(0)), 1 => Just(OnWatch::DropSender)],
        3 => slot().prop_map(OnWatch::Subscribe),
        1 => (slot(), slot()).prop_map(|(from, to)| OnWatch::Clone(from, to)),
        1 => slot().prop_map(OnWatch::Drop),
        3 => slot().prop_map(OnWatch::Look),
        2 => slot().prop_map(OnWatch::Update),
        1 => slot().prop_map(OnWatch::MarkUnchanged),
        3 => slot().prop_map(OnWatch::Changed),
        2 => (slot(), value).prop_map(|(slot, least)| OnWatch::WaitFor(slot, least)),
        8 => (slot(), any::<bool>()).prop_map(|(slot, other)| OnWatch::Poll(slot, other)),
        2 => (slot(), any::<bool>()).prop_map(|(slot, other)| OnWatch::ChangedOnce(slot, other)),
    ]
}

macro_rules! watch {
    ($sync:ident, $ops:expr) => {{
        type Waiting = Pin<Box<dyn Future<Output = ($sync::watch::Receiver<u8>, Option<u8>)>>>;
        let (wakers, mut log) = (Wakers::new(), Vec::new());
        let mut sender = Some($sync::watch::Sender::new(0));
        let mut receivers: [Option<$sync::watch::Receiver<u8>>; SLOTS] = Default::default();
        let mut waiting: [Option<Waiting>; SLOTS] = Default::default();
        for op in $ops {
            let mut seen = String::new();
            match *op {
                OnWatch::Replace(value) => {
                    seen = format!("{:?}", sender.as_ref().map(|sender| sender.send_replace(value)));
                }
                OnWatch::Modify(value) => drop(sender.as_ref().map(|sender| {
                    sender.send_modify(|held| *held = value);
                })),
                OnWatch::IfModified(value, really) => {
                    let modify = |held: &mut u8| {
                        *held = if really { value } else { *held };
                        really
                    };
                    seen = format!("{:?}", sender.as_ref().map(|sender| sender.send_if_modified(modify)));
                }
                OnWatch::DropSender => sender = None,
                OnWatch::Subscribe(slot) => {
                    receivers[slot] = sender.as_ref().map(|sender| sender.subscribe());
                    waiting[slot] = None;
                }
                OnWatch::Clone(from, to) => {
                    if let Some(receiver) = receivers[from].clone() {
                        receivers[to] = Some(receiver);
                        waiting[to] = None;
                    }
                }
                OnWatch::Drop(slot) => (receivers[slot], waiting[slot]) = (None, None),
                OnWatch::Look(slot) => {
                    if let Some(receiver) = &receivers[slot] {
                        let changed = receiver.has_changed().map_err(drop);
                        seen = format!("{} {changed:?}", *receiver.borrow());
                    }
                }
                OnWatch::Update(slot) => {
                    seen = format!("{:?}", receivers[slot].as_mut().map(|rx| *rx.borrow_and_update()));
                }
                OnWatch::MarkUnchanged(slot) => drop(receivers[slot].as_mut().map(|rx| rx.mark_unchanged())),
                OnWatch::Changed(slot) => {
                    if let Some(mut receiver) = receivers[slot].take() {
                        waiting[slot] = Some(Box::pin(async move {
                            let changed = receiver.changed().await.ok().map(|()| 0);
                            (receiver, changed)
                        }));
                    }
                }
                OnWatch::WaitFor(slot, least) => {
                    if let Some(mut receiver) = receivers[slot].take() {
                        waiting[slot] = Some(Box::pin(async move {
                            let came =
                                receiver.wait_for(|value| *value >= least).await.ok().map(|value| *value);
                            (receiver, came)
                        }));
                    }
                }
                OnWatch::Poll(slot, other) => {
                    if let Some(wait) = &mut waiting[slot]
                        && let Poll::Ready((receiver, came)) = wakers.poll(slot, other, wait)
                    {
                        seen = format!("ready {came:?}");
                        (receivers[slot], waiting[slot]) = (Some(receiver), None);
                    }
                }
                OnWatch::ChangedOnce(slot, other) => {
                    if let Some(receiver) = &mut receivers[slot] {
                        let polled = wakers.poll(slot, other, &mut pin!(receiver.changed()));
                        seen = format!("{:?}", polled.map_err(drop));
                    }
                }
            }
            let count = sender.as_ref().map(|sender| sender.receiver_count());
            log.push(format!("{op:?}: {seen}, {count:?} receivers, woken {:?}", wakers.woken()));
        }
        log
    }};
}

#[derive(Clone, Debug)]
enum OnMpsc {
    Clone(usize, usize),
    DropSender(usize),
    TrySend(usize),
    Send(usize),
    Reserve(usize),
    Poll(usize, bool),
    GiveUp(usize),
    Keep(usize),
    UsePermit(usize),
    DropPermit(usize),
    Capacity(usize),
    Recv(bool),
    TryRecv,
    DropReceiver,
}

fn on_mpsc() -> impl Strategy<Value = OnMpsc> {
    prop_oneof![
        2 => (slot(), slot()).prop_map(|(from, to)| OnMpsc::Clone(from, to)),
        1 => slot().prop_map(OnMpsc::DropSender),
        4 => slot().prop_map(OnMpsc::TrySend),
        4 => slot().prop_map(OnMpsc::Send),
        2 => slot().prop_map(OnMpsc::Reserve),
        6 => (slot(), any::<bool>()).prop_map(|(slot, other)| OnMpsc::Poll(slot, other)),
        2 => slot().prop_map(OnMpsc::GiveUp),
        2 => slot().prop_map(OnMpsc::Keep),
        2 => slot().prop_map(OnMpsc::UsePermit),
        1 => slot().prop_map(OnMpsc::DropPermit),
        2 => slot().prop_map(OnMpsc::Capacity),
        5 => any::<bool>().prop_map(OnMpsc::Recv),
        3 => Just(OnMpsc::TryRecv),
        1 => prop_oneof![3 => Just(OnMpsc::TryRecv), 1 => Just(OnMpsc::DropReceiver)],
    ]
}

macro_rules! mpsc {
    ($sync:ident, $ops:expr) => {{
        // A value holds the token, which tells how many there are.
        type Value = (u32, Rc<()>);
        let (capacity, ops) = $ops;
        let (wakers, mut log, token, mut next) = (Wakers::new(), Vec::new(), Rc::new(()), 0);
        let mut value = || {
            next += 1;
            (next, token.clone())
        };
        let (sender, receiver) = $sync::mpsc::channel::<Value>(*capacity);
        let mut receiver = Some(receiver);
        let mut senders: [Option<$sync::mpsc::Sender<Value>>; SLOTS] = Default::default();
        let mut sending: [Option<Pin<Box<dyn Future<Output = Result<(), u32>>>>>; SLOTS] = Default::default();
        let mut permits: [Option<$sync::mpsc::OwnedPermit<Value>>; SLOTS] = Default::default();
        senders[0] = Some(sender);
        // Of what is sent with a permit after the receiver went tokio promises nothing.
        let mut late = false;
        for op in ops {
            let mut seen = String::new();
            match *op {
                OnMpsc::Clone(from, to) => {
                    let sender = senders[from].clone();
                    senders[to] = sender.or(senders[to].take());
                }
                OnMpsc::DropSender(slot) => senders[slot] = None,
                OnMpsc::TrySend(slot) => {
                    if let Some(sender) = &senders[slot] {
                        use $sync::mpsc::error::TrySendError;
                        seen = match sender.try_send(value()) {
                            Ok(()) => "sent".into(),
                            Err(TrySendError::Full((number, _))) => format!("full {number}"),
                            Err(TrySendError::Closed((number, _))) => format!("closed {number}"),
                        };
                    }
                }
                OnMpsc::Send(slot) => {
                    if let Some(sender) = senders[slot].clone() {
                        let value = value();
                        sending[slot] =
                            Some(Box::pin(async move { sender.send(value).await.map_err(|back| back.0.0) }));
                    }
                }
                OnMpsc::Reserve(slot) => {
                    if let Some(sender) = senders[slot].clone() {
                        let value = Some(value()).filter(|(number, _)| number % 3 > 0);
                        sending[slot] = Some(Box::pin(async move {
                            let permit = sender.reserve().await.map_err(|_| 0u32)?;
                            if let Some(value) = value {
                                permit.send(value);
                            }
                            Ok(())
                        }));
                    }
                }
                OnMpsc::Poll(slot, other) => {
                    if let Some(send) = &mut sending[slot]
                        && let Poll::Ready(sent) = wakers.poll(slot, other, send)
                    {
                        seen = format!("{sent:?}");
                        sending[slot] = None;
                    }
                }
                OnMpsc::GiveUp(slot) => sending[slot] = None,
                OnMpsc::Keep(slot) => {
                    if let Some(sender) = senders[slot].clone() {
                        permits[slot] = None;
                        let kept = sender.try_reserve_owned();
                        seen = format!("{}", kept.is_ok());
                        permits[slot] = kept.ok();
                    }
                }
                OnMpsc::UsePermit(slot) => {
                    if let Some(permit) = permits[slot].take() {
                        late = late || receiver.is_none();
                        let _ = permit.send(value());
                    }
                }
                OnMpsc::DropPermit(slot) => permits[slot] = None,
                OnMpsc::Capacity(slot) if receiver.is_some() => {
                    seen = format!("{:?}", senders[slot].as_ref().map(|sender| sender.capacity()));
                }
                OnMpsc::Capacity(_) => {}
                OnMpsc::Recv(other) => {
                    if let Some(receiver) = &mut receiver {
                        let polled = wakers.poll(0, other, &mut pin!(receiver.recv()));
                        seen = format!("{:?}", polled.map(|value| value.map(|(number, _)| number)));
                    }
                }
                OnMpsc::TryRecv => {
                    let tried = receiver.as_mut().map(|receiver| receiver.try_recv());
                    seen = format!("{:?}", tried.map(|value| value.map(|(number, _)| number)));
                }
                OnMpsc::DropReceiver => receiver = None,
            }
            let alive = (!late).then(|| Rc::strong_count(&token));
            log.push(format!("{op:?}: {seen}, {alive:?} alive, woken {:?}", wakers.woken()));
        }
        drop((senders, sending, permits, receiver));
        log.push(format!("{} left", Rc::strong_count(&token)));
        log
    }};
}

#[derive(Clone, Copy, Debug)]
enum OnOneshot {
    Send,
    DropSender,
    IsClosed,
    Poll(bool),
    TryRecv,
    DropReceiver,
}

fn on_oneshot() -> impl Strategy<Value = OnOneshot> {
    prop_oneof![
        1 => Just(OnOneshot::Send),
        1 => Just(OnOneshot::DropSender),
        1 => Just(OnOneshot::IsClosed),
        3 => any::<bool>().prop_map(OnOneshot::Poll),
        2 => Just(OnOneshot::TryRecv),
        1 => Just(OnOneshot::DropReceiver),
    ]
}

macro_rules! oneshot {
    ($sync:ident, $ops:expr) => {{
        let (wakers, mut log, token) = (Wakers::new(), Vec::new(), Rc::new(()));
        let (sender, receiver) = $sync::oneshot::channel();
        let (mut sender, mut receiver, mut had) = (Some(sender), Some(receiver), false);
        for op in $ops {
            let mut seen = String::new();
            match *op {
                OnOneshot::Send => {
                    seen = format!("{:?}", sender.take().map(|sender| sender.send(token.clone())));
                }
                OnOneshot::DropSender => sender = None,
                OnOneshot::IsClosed => {
                    seen = format!("{:?}", sender.as_ref().map(|sender| sender.is_closed()))
                }
                // Once it has had its value tokio panics when it is polled.
                OnOneshot::Poll(other) if !had => {
                    if let Some(Poll::Ready(came)) = receiver.as_mut().map(|rx| wakers.poll(0, other, rx)) {
                        (seen, had) = (format!("{:?}", came.map_err(drop)), true);
                    }
                }
                OnOneshot::Poll(_) => {}
                OnOneshot::TryRecv => {
                    let tried = receiver.as_mut().map(|receiver| receiver.try_recv());
                    seen = format!("{tried:?}");
                    had = had
                        || tried
                            .is_some_and(|tried| tried != Err($sync::oneshot::error::TryRecvError::Empty));
                }
                OnOneshot::DropReceiver => receiver = None,
            }
            let alive = Rc::strong_count(&token);
            log.push(format!("{op:?}: {seen}, {alive} alive, woken {:?}", wakers.woken()));
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
    fn a_watch_channel_is_tokios(ops in vec(on_watch(), 0..80)) {
        compare!(watch, ops);
    }

    #[test]
    fn an_mpsc_channel_is_tokios(capacity in 1..4usize, ops in vec(on_mpsc(), 0..80)) {
        compare!(mpsc, (capacity, ops));
    }

    #[test]
    fn a_oneshot_channel_is_tokios(ops in vec(on_oneshot(), 0..10)) {
        compare!(oneshot, ops);
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
