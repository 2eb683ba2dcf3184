//! The channels, beside tokio's.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{SLOTS, Wakers, ours, slot, tokio_sync};

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

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
}
