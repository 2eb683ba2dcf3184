//! What a browser tells of the network and of its own sleep, and the clocks.
//!
//! A page that is not seen has its timers slowed down, to one a minute in the worst case, and may be
//! stopped altogether. So a late look at the clocks means nothing there; when the page is seen
//! or goes on, it counts.

use std::time::Duration;

use js_sys::Promise;
use wasm_bindgen::prelude::wasm_bindgen;

use super::NetworkChange;
use super::sleep::SleepWatch;
use crate::runtime;
use crate::web::settled;

/// How often to look at the clocks.
const TICK: Duration = Duration::from_secs(2);
/// Changes told within [`BUDGET_OVER`]: a network may flap for ever.
const BUDGET: u32 = 12;
const BUDGET_OVER: Duration = Duration::from_secs(60);

// What is heard, as `hints.js` has it.
/// The network came, went, or is another.
const NETWORK: u32 = 1;
/// The page is seen, or goes on.
const SEEN: u32 = 2;
/// The browser stopped the page, and then let it go on, however soon.
const THAWED: u32 = 4;
/// The page can be seen, or there is none.
const VISIBLE: u32 = 8;

#[wasm_bindgen(module = "/src/network/hints.js")]
extern "C" {
    type Hints;
    #[wasm_bindgen(constructor)]
    fn new() -> Hints;
    #[wasm_bindgen(method)]
    fn wait(this: &Hints, within: u32) -> Promise;
    #[wasm_bindgen(method)]
    fn take(this: &Hints) -> u32;
    #[wasm_bindgen(method)]
    fn end(this: &Hints);
}

/// Hears the hints until it is dropped.
struct Listening(Hints);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Tells of changes for as long as it is polled. What the host does not tell, such as Node, is not
/// noticed; the clocks are.
pub(crate) async fn watch(mut tell: impl FnMut(NetworkChange)) {
    let Listening(hints) = &Listening(Hints::new());
    let mut sleep = SleepWatch::default();
    sleep.tick(runtime::now(), runtime::unix_millis(), TICK);
    let (mut told, mut budget_ends) = (0, runtime::now() + BUDGET_OVER);
    loop {
        // It resolves in any case.
        let _ = settled(hints.wait(TICK.as_millis() as u32)).await;
        let (hint, now) = (hints.take(), runtime::now());
        let slept = sleep.tick(now, runtime::unix_millis(), TICK);
        if hint & THAWED != 0 || slept.is_some() && hint & (SEEN | VISIBLE) != 0 {
            tell(NetworkChange::Wake);
        }
        if hint & NETWORK != 0 {
            if budget_ends <= now {
                (told, budget_ends) = (0, now + BUDGET_OVER);
            }
            if told < BUDGET {
                told += 1;
                tracing::info!("the network of this machine changed");
                tell(NetworkChange::Addresses);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::{call, construct, global};

    fn dispatch(target: &str, event: &str) {
        let event = construct("Event", &[&event.into()]).unwrap();
        call(&global(target).unwrap(), "dispatchEvent", &[&event]).unwrap();
    }

    async fn told(within: u64, happens: impl Future<Output = ()>) -> Vec<NetworkChange> {
        let mut changes = Vec::new();
        let watching = runtime::timeout(Duration::from_millis(within), watch(|change| changes.push(change)));
        futures_util::join!(watching, happens);
        changes
    }

    #[wasm_bindgen_test::wasm_bindgen_test]
    async fn a_network_that_goes_and_comes_is_told_once() {
        let flaps = async {
            runtime::sleep(Duration::from_millis(20)).await;
            for event in ["offline", "online", "offline", "online"] {
                dispatch("window", event);
            }
        };
        assert_eq!(told(600, flaps).await, [NetworkChange::Addresses]);
    }

    #[wasm_bindgen_test::wasm_bindgen_test]
    async fn a_page_that_is_merely_seen_is_no_news() {
        let seen = async {
            runtime::sleep(Duration::from_millis(20)).await;
            dispatch("document", "visibilitychange");
            dispatch("document", "resume");
            dispatch("window", "pageshow");
        };
        assert_eq!(told(2500, seen).await, []);
    }

    #[wasm_bindgen_test::wasm_bindgen_test]
    async fn a_page_that_was_frozen_slept_however_briefly() {
        let frozen = async {
            runtime::sleep(Duration::from_millis(20)).await;
            dispatch("document", "freeze");
            dispatch("document", "resume");
        };
        assert_eq!(told(200, frozen).await, [NetworkChange::Wake]);
    }
}
