//! The list of waiters that everything here is made of, and [`Notify`].

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Permits, and those who wait for one in line. A permit goes to whoever came first and never to one
/// that comes later; one that is gone before it saw its permit leaves it to the next.
///
/// No waker is called or dropped while the list is borrowed: that may end a task, and
/// with it others that wait here.
pub(super) struct Waiters {
    list: RefCell<List>,
}

struct List {
    /// Above zero only when nobody waits.
    permits: usize,
    /// Further permits are lost.
    most: usize,
    /// How often all were told.
    told: u64,
    /// The number of the last one that had to wait.
    last: u64,
    /// By number.
    waiting: Vec<Waiter>,
}

struct Waiter {
    number: u64,
    /// `None` until it is polled with one, and when a permit was given.
    waker: Option<Waker>,
    /// It has a permit and has not seen it yet.
    given: bool,
}

impl List {
    fn find(&self, number: u64) -> Result<usize, usize> {
        self.waiting.binary_search_by_key(&number, |waiter| waiter.number)
    }
}

impl Waiters {
    pub(super) const fn new(permits: usize, most: usize) -> Self {
        let list = List { permits, most, told: 0, last: 0, waiting: Vec::new() };
        Self { list: RefCell::new(list) }
    }

    pub(super) fn permits(&self) -> usize {
        self.list.borrow().permits
    }

    /// Takes a permit if one is left over.
    pub(super) fn try_take(&self) -> bool {
        let mut list = self.list.borrow_mut();
        let left = list.permits > 0;
        list.permits -= usize::from(left);
        left
    }

    /// Gives a permit to the first that waits, or keeps it.
    pub(super) fn give(&self) {
        let waker = {
            let list = &mut *self.list.borrow_mut();
            match list.waiting.iter_mut().find(|waiter| !waiter.given) {
                Some(waiter) => {
                    waiter.given = true;
                    waiter.waker.take()
                }
                None => {
                    list.permits = list.most.min(list.permits + 1);
                    None
                }
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends every wait that has begun, without a permit.
    pub(super) fn tell_all(&self) {
        let mut told = Vec::new();
        {
            let list = &mut *self.list.borrow_mut();
            list.told += 1;
            list.waiting.retain_mut(|waiter| {
                told.extend(waiter.waker.take());
                waiter.given
            });
        }
        told.into_iter().for_each(Waker::wake);
    }

    /// Waits for a permit, and takes it. Cancel-safe; who comes again waits at the end of the line.
    pub(super) fn wait(&self) -> Notified<'_> {
        self.told_since(self.told())
    }

    /// How often all were told.
    pub(super) fn told(&self) -> u64 {
        self.list.borrow().told
    }

    /// As [`wait`](Self::wait), and ready at once if all were told more often than `told` times.
    pub(super) fn told_since(&self, told: u64) -> Notified<'_> {
        Notified { waiters: self, told, number: 0, ended: false }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.list.borrow().waiting.len()
    }

    /// The rest of `Notified::poll`.
    fn poll(&self, told: u64, number: &mut u64, waker: Option<&Waker>) -> bool {
        // Dropped last.
        let _replaced;
        let list = &mut *self.list.borrow_mut();
        match list.find(*number) {
            Ok(at) if list.waiting[at].given => {
                list.waiting.remove(at);
                return true;
            }
            Ok(at) => {
                let known = &mut list.waiting[at].waker;
                if let Some(waker) = waker
                    && !known.as_ref().is_some_and(|known| known.will_wake(waker))
                {
                    _replaced = known.replace(waker.clone());
                }
            }
            Err(_) if list.told != told => return true,
            Err(_) if list.permits > 0 => {
                list.permits -= 1;
                return true;
            }
            Err(_) => {
                list.last += 1;
                *number = list.last;
                list.waiting.push(Waiter { number: *number, waker: waker.cloned(), given: false });
            }
        }
        false
    }

    /// One that waited is gone.
    fn leave(&self, number: u64) {
        let left = {
            let mut list = self.list.borrow_mut();
            match list.find(number) {
                Ok(at) => list.waiting.remove(at),
                Err(_) => return,
            }
        };
        if left.given {
            self.give();
        }
    }
}

/// Ready once a permit came, or when all were told since this was made.
#[must_use = "futures do nothing unless polled"]
pub struct Notified<'a> {
    waiters: &'a Waiters,
    /// How often all had been told when this was made.
    told: u64,
    /// In the list; 0 when it is not there yet.
    number: u64,
    ended: bool,
}

impl Notified<'_> {
    /// Takes its place in the line without being polled. Whether it is ready.
    pub(crate) fn enable(self: Pin<&mut Self>) -> bool {
        self.get_mut().look(None)
    }

    fn look(&mut self, waker: Option<&Waker>) -> bool {
        self.ended = self.ended || self.waiters.poll(self.told, &mut self.number, waker);
        self.ended
    }
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.get_mut().look(Some(cx.waker())) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.waiters.leave(self.number);
        }
    }
}

/// As tokio's: one permit that is kept, and those who wait for it.
pub struct Notify {
    waiters: Waiters,
}

impl Notify {
    /// Without a permit.
    pub const fn new() -> Self {
        Self { waiters: Waiters::new(0, 1) }
    }

    /// Wakes the first that waits, or keeps the permit for the next that does.
    pub fn notify_one(&self) {
        self.waiters.give();
    }

    /// Wakes all whose [`notified`](Self::notified) was called before.
    pub fn notify_waiters(&self) {
        self.waiters.tell_all();
    }

    /// Waits for either. Cancel-safe, but loses its place in the line.
    pub fn notified(&self) -> Notified<'_> {
        self.waiters.wait()
    }
}

impl Default for Notify {
    fn default() -> Self {
        Self::new()
    }
}

/// The waker of the only one that waits. It stays when the wait is given up, so that a new future can be
/// made for each poll.
#[derive(Default)]
pub(crate) struct Slot(Cell<Option<Waker>>);

impl Slot {
    pub(crate) const fn new() -> Self {
        Self(Cell::new(None))
    }

    pub(crate) fn register(&self, waker: &Waker) {
        let known = self.0.take().filter(|known| known.will_wake(waker));
        self.0.set(Some(known.unwrap_or_else(|| waker.clone())));
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = self.take() {
            waker.wake();
        }
    }

    /// Nobody waits any more.
    pub(super) fn take(&self) -> Option<Waker> {
        self.0.take()
    }
}
