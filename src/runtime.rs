//! Spawn, sleep, now and chance: the only module that knows which executor runs us.
//!
//! Natively that is tokio (whose clock a test can pause); in a browser it is the page's event
//! loop. Nothing outside this module may name either one's tasks or clocks.

#[cfg(target_arch = "wasm32")]
mod alarm;
mod futures;
pub(crate) mod sync;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub use web_time::Instant;

pub(crate) use self::futures::Futures;

/// `Send` where threads exist, nothing in a browser.
#[cfg(not(target_arch = "wasm32"))]
pub trait MaybeSend: Send {}
#[cfg(not(target_arch = "wasm32"))]
impl<T: Send + ?Sized> MaybeSend for T {}
/// `Send` where threads exist, nothing in a browser.
#[cfg(target_arch = "wasm32")]
pub trait MaybeSend {}
#[cfg(target_arch = "wasm32")]
impl<T: ?Sized> MaybeSend for T {}

/// `Sync` where threads exist, nothing in a browser.
#[cfg(not(target_arch = "wasm32"))]
pub trait MaybeSync: Sync {}
#[cfg(not(target_arch = "wasm32"))]
impl<T: Sync + ?Sized> MaybeSync for T {}
/// `Sync` where threads exist, nothing in a browser.
#[cfg(target_arch = "wasm32")]
pub trait MaybeSync {}
#[cfg(target_arch = "wasm32")]
impl<T: ?Sized> MaybeSync for T {}

/// A boxed future; `Send` except in a browser.
#[cfg(not(target_arch = "wasm32"))]
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// A boxed future; `Send` except in a browser.
#[cfg(target_arch = "wasm32")]
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A boxed stream; `Send` except in a browser.
#[cfg(not(target_arch = "wasm32"))]
pub type BoxStream<'a, T> = Pin<Box<dyn futures_core::Stream<Item = T> + Send + 'a>>;
/// A boxed stream; `Send` except in a browser.
#[cfg(target_arch = "wasm32")]
pub type BoxStream<'a, T> = Pin<Box<dyn futures_core::Stream<Item = T> + 'a>>;

/// The monotonic clock. Natively this is tokio's, so `tokio::time::pause` governs it.
#[allow(clippy::disallowed_methods)]
pub(crate) fn now() -> Instant {
    #[cfg(not(target_arch = "wasm32"))]
    {
        tokio::time::Instant::now().into_std()
    }
    #[cfg(target_arch = "wasm32")]
    {
        Instant::now()
    }
}

/// Milliseconds since 1970 by the wall clock. Only ever signed into requests and compared with a
/// tolerance of minutes; never used for order.
#[allow(clippy::disallowed_methods)]
pub(crate) fn unix_millis() -> u64 {
    web_time::SystemTime::now()
        .duration_since(web_time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// Both clocks at one moment.
pub(crate) fn wall_clock() -> crate::durable::WallClock {
    crate::durable::WallClock { at: now(), millis: unix_millis() }
}

/// Unpredictable bytes from the operating system or the browser.
#[allow(clippy::disallowed_methods)]
pub(crate) fn fill_random(bytes: &mut [u8]) {
    // Every supported platform has a source of randomness after boot; without one no key,
    // nonce or session secret could be made and nothing here would be safe to run.
    getrandom::fill(bytes).expect("the platform has no source of randomness");
}

/// Unpredictable bytes as an array.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill_random(&mut bytes);
    bytes
}

/// Sleeps for `duration`.
#[cfg(not(target_arch = "wasm32"))]
#[allow(clippy::disallowed_methods)]
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Sleeps for `duration`. Boxed: whoever waits would bring the code anew.
#[cfg(target_arch = "wasm32")]
pub(crate) fn sleep(duration: Duration) -> BoxFuture<'static, ()> {
    Box::pin(alarm::Sleep::new(duration))
}

/// A timer as late as this was held back, with everything else that the page does: it was not
/// seen, or the machine slept.
#[cfg(target_arch = "wasm32")]
const HELD_BACK: Duration = Duration::from_secs(2);
/// How long after such a timer what arrived meanwhile may take to be handed out.
#[cfg(target_arch = "wasm32")]
const CATCH_UP: Duration = Duration::from_millis(50);

/// `future`'s output, or `None` when `duration` ends first; the future is then dropped.
pub(crate) async fn timeout<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    #[cfg(not(target_arch = "wasm32"))]
    {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = sleep(duration) => None,
        }
    }
    // The same in less code, of which each kind of future brings its own.
    #[cfg(target_arch = "wasm32")]
    {
        use std::task::Poll;

        let (mut future, mut sleep) = (std::pin::pin!(future), sleep(duration));
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
        })
        .await
    }
}

/// A spawned task. Await it to learn that it ended; dropping the handle leaves it running.
#[must_use = "every task has an owner that awaits it"]
#[derive(Debug)]
pub(crate) struct Task {
    #[cfg(not(target_arch = "wasm32"))]
    handle: tokio::task::JoinHandle<()>,
    #[cfg(target_arch = "wasm32")]
    done: sync::oneshot::Receiver<()>,
}

/// Runs `future` on the executor.
///
/// # Panics
/// Natively, outside of a tokio runtime.
#[allow(clippy::disallowed_methods)]
pub(crate) fn spawn(future: impl Future<Output = ()> + MaybeSend + 'static) -> Task {
    #[cfg(not(target_arch = "wasm32"))]
    {
        Task { handle: tokio::spawn(future) }
    }
    #[cfg(target_arch = "wasm32")]
    {
        let (ended, done) = sync::oneshot::channel();
        wasm_bindgen_futures::spawn_local(async move {
            future.await;
            let _ = ended.send(());
        });
        Task { done }
    }
}

impl Task {
    /// Waits for the end of the task.
    pub(crate) async fn ended(self) {
        #[cfg(not(target_arch = "wasm32"))]
        if let Err(error) = self.handle.await
            && error.is_panic()
        {
            tracing::error!(%error, "a task panicked; this is a bug in everlink");
        }
        #[cfg(target_arch = "wasm32")]
        let _ = self.done.await;
    }

    /// Whether the task has ended.
    pub(crate) fn is_ended(&mut self) -> bool {
        #[cfg(not(target_arch = "wasm32"))]
        {
            self.handle.is_finished()
        }
        #[cfg(target_arch = "wasm32")]
        {
            !matches!(self.done.try_recv(), Err(sync::oneshot::error::TryRecvError::Empty))
        }
    }
}

/// A deadline that can be moved. It may fire early, never late: whoever waits looks at the clock.
#[derive(Default)]
pub(crate) struct Timer {
    armed: Option<Instant>,
    #[cfg(not(target_arch = "wasm32"))]
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    #[cfg(target_arch = "wasm32")]
    sleep: Option<BoxFuture<'static, ()>>,
    /// It was held back, and fires when what arrived meanwhile was handed out.
    #[cfg(target_arch = "wasm32")]
    catching_up: bool,
}

impl Timer {
    /// Fires at `deadline` at the latest. A timer already set to an earlier time is left alone:
    /// moving it for every packet would cost more than one early wake-up.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn set(&mut self, deadline: Instant) {
        if self.armed.is_some_and(|armed| armed <= deadline) {
            return;
        }
        self.armed = Some(deadline);
        #[cfg(not(target_arch = "wasm32"))]
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().reset(deadline.into()),
            none => *none = Some(Box::pin(tokio::time::sleep_until(deadline.into()))),
        }
        #[cfg(target_arch = "wasm32")]
        {
            let wait = deadline.saturating_duration_since(now());
            self.sleep = Some(self::sleep(wait));
        }
    }

    /// Ready once after it has fired.
    pub(crate) fn poll(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        match (self.armed, &mut self.sleep) {
            (Some(_), Some(sleep)) => {
                std::task::ready!(sleep.as_mut().poll(cx));
                #[cfg(target_arch = "wasm32")]
                if self.is_held_back() {
                    // What waits in the page's queue is no news of now: an answer that came in
                    // time must not count as missing because the clock was looked at first.
                    let mut sleep = self::sleep(CATCH_UP);
                    let waits = sleep.as_mut().poll(cx).is_pending();
                    self.sleep = Some(sleep);
                    if waits {
                        return std::task::Poll::Pending;
                    }
                }
                self.armed = None;
                std::task::Poll::Ready(())
            }
            _ => std::task::Poll::Pending,
        }
    }

    /// Whether it fires far too late, and for the first time.
    #[cfg(target_arch = "wasm32")]
    fn is_held_back(&mut self) -> bool {
        let late = self.armed.map_or(Duration::ZERO, |armed| now().saturating_duration_since(armed));
        self.catching_up = late >= HELD_BACK && !self.catching_up;
        self.catching_up
    }
}

#[cfg(all(test, target_arch = "wasm32"))]
mod tests {
    use super::*;

    async fn fires(timer: &mut Timer) {
        std::future::poll_fn(|cx| timer.poll(cx)).await;
    }

    #[wasm_bindgen_test::wasm_bindgen_test]
    async fn a_timer_fires_in_time() {
        let (start, mut timer) = (now(), Timer::default());
        timer.set(start + Duration::from_micros(10_500));
        fires(&mut timer).await;
        let passed = start.elapsed();
        assert!(passed >= Duration::from_millis(10) && passed < HELD_BACK, "{passed:?}");
    }

    #[wasm_bindgen_test::wasm_bindgen_test]
    async fn a_timer_that_was_held_back_lets_what_arrived_go_first() {
        let mut timer = Timer::default();
        // The clock of a page begins with the page.
        let (begun, young) = (now(), HELD_BACK + Duration::from_millis(100));
        if begun.checked_sub(young).is_none() {
            sleep(young).await;
        }
        // As it looks to a page that did not run for a while: the deadline is long past.
        timer.set(now() - HELD_BACK);
        let start = now();
        fires(&mut timer).await;
        assert!(start.elapsed() >= CATCH_UP - Duration::from_millis(2), "{:?}", start.elapsed());
        // Once for each.
        timer.set(now() - HELD_BACK);
        let start = now();
        fires(&mut timer).await;
        assert!(start.elapsed() >= CATCH_UP - Duration::from_millis(2), "{:?}", start.elapsed());
    }

    #[wasm_bindgen_test::wasm_bindgen_test]
    async fn a_wait_longer_than_a_browser_can_count_does_not_end_at_once() {
        let long = sleep(Duration::from_secs(60 * 24 * 3600));
        assert!(timeout(Duration::from_millis(30), long).await.is_none());
    }

    #[wasm_bindgen_test::wasm_bindgen_test]
    async fn sleeps_that_are_given_up_leave_nothing_behind() {
        let pages = || core::arch::wasm32::memory_size(0);
        let give_up = async |times: u32| {
            for _ in 0..times {
                let ready = std::future::poll_fn(|cx| {
                    let mut sleep = sleep(Duration::from_secs(3600));
                    assert!(sleep.as_mut().poll(cx).is_pending());
                    std::task::Poll::Ready(())
                });
                ready.await;
            }
        };
        give_up(1000).await;
        let before = pages();
        give_up(20_000).await;
        let more = pages() - before;
        assert!(more <= 1, "{more} pages of 64 KiB");
    }
}
