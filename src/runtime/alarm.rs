//! A timer of the page.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use wasm_bindgen::JsValue;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;

use super::sync::AtomicWaker;

#[wasm_bindgen(module = "/src/runtime/alarm.js")]
extern "C" {
    type Alarm;
    #[wasm_bindgen(constructor)]
    fn new(after: f64, ring: &Closure<dyn FnMut(u32, JsValue)>) -> Alarm;
    #[wasm_bindgen(method)]
    fn stop(this: &Alarm);
}

/// Ready once its time has passed, which begins when it is polled. Not by a promise: what waits for one is
/// kept until it is settled, and most sleeps are given up.
pub(super) struct Sleep {
    duration: Duration,
    begun: Option<Begun>,
}

struct Begun {
    alarm: Alarm,
    rung: Rc<Rung>,
    _ring: Closure<dyn FnMut(u32, JsValue)>,
}

#[derive(Default)]
struct Rung {
    is: Cell<bool>,
    waker: AtomicWaker,
}

impl Sleep {
    pub(super) fn new(duration: Duration) -> Self {
        Self { duration, begun: None }
    }
}

impl Begun {
    fn new(duration: Duration) -> Self {
        let rung = Rc::<Rung>::default();
        let of = rung.clone();
        let ring = Closure::new(move |_, _| {
            of.is.set(true);
            of.waker.wake();
        });
        // In whole milliseconds, rounded up: one that is early has to be waited for once more.
        let alarm = Alarm::new((duration.as_secs_f64() * 1000.0).ceil(), &ring);
        Self { alarm, rung, _ring: ring }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let duration = self.duration;
        let rung = &self.begun.get_or_insert_with(|| Begun::new(duration)).rung;
        if rung.is.get() {
            return Poll::Ready(());
        }
        rung.waker.register(cx.waker());
        Poll::Pending
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.alarm.stop();
    }
}
