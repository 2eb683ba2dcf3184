//! What a browser tells of the network and of its own sleep, and the clocks.
//!
//! A page that is not seen has its timers slowed down, to one a minute in the worst case, and may be
//! stopped altogether. So a late look at the clocks means nothing there; when the page is seen
//! or goes on, it counts.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use wasm_bindgen::JsValue;

use super::NetworkChange;
use super::sleep::SleepWatch;
use crate::runtime;
use crate::runtime::sync::Notify;
use crate::web::{Listener, get, global};

/// How often to look at the clocks.
const TICK: Duration = Duration::from_secs(2);
/// News that are this close together are one change.
const PAUSE: Duration = Duration::from_millis(150);
/// Changes told within [`BUDGET_OVER`]: a network may flap for ever.
const BUDGET: u32 = 12;
const BUDGET_OVER: Duration = Duration::from_secs(60);

/// Tells of changes for as long as it is polled. What the host does not tell, such as Node, is not
/// noticed; the clocks are.
pub(crate) async fn watch(mut tell: impl FnMut(NetworkChange)) {
    let hints = Rc::new(Hints::default());
    let _listeners = listen(&hints);
    let mut sleep = SleepWatch::default();
    sleep.tick(runtime::now(), runtime::unix_millis(), TICK);
    let (mut told, mut budget_ends) = (0, runtime::now() + BUDGET_OVER);
    loop {
        let hinted = runtime::timeout(TICK, hints.told.notified()).await.is_some();
        let now = runtime::now();
        let slept = sleep.tick(now, runtime::unix_millis(), TICK);
        if hints.thawed.take() || slept.is_some() && (hints.seen.take() || !is_hidden()) {
            tell(NetworkChange::Wake);
        }
        if hinted && hints.network.get() {
            runtime::sleep(PAUSE).await;
            hints.network.set(false);
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

#[derive(Default)]
struct Hints {
    told: Notify,
    /// The network came, went, or is another.
    network: Cell<bool>,
    /// The page is seen, or goes on.
    seen: Cell<bool>,
    /// The browser stopped the page, and then let it go on, however soon.
    frozen: Cell<bool>,
    thawed: Cell<bool>,
    /// What the network was last, where the browser says so.
    kind: RefCell<Option<String>>,
}

impl Hints {
    fn network(&self) {
        self.network.set(true);
        self.told.notify_one();
    }

    fn seen(&self) {
        self.seen.set(true);
        self.told.notify_one();
    }
}

fn listen(hints: &Rc<Hints>) -> Vec<Listener> {
    let window: JsValue = js_sys::global().into();
    let document = global("document");
    let connection = global("navigator").and_then(|navigator| get(&navigator, "connection"));
    hints.kind.replace(kind_of(connection.as_ref()));
    let on = |target: &JsValue, event, heard: fn(&Hints, &JsValue)| {
        let (hints, of) = (hints.clone(), target.clone());
        Listener::new(target, event, move |_| heard(&hints, &of)).ok()
    };
    let mut listeners = Vec::new();
    for event in ["online", "offline"] {
        listeners.push(on(&window, event, |hints, _| hints.network()));
    }
    listeners.push(on(&window, "pageshow", |hints, _| hints.seen()));
    if let Some(document) = document {
        listeners.push(on(&document, "freeze", |hints, _| hints.frozen.set(true)));
        listeners.push(on(&document, "resume", |hints, _| {
            hints.thawed.set(hints.frozen.take());
            hints.seen();
        }));
        listeners.push(on(&document, "visibilitychange", |hints, _| {
            if !is_hidden() {
                hints.seen();
            }
        }));
    }
    if let Some(connection) = connection {
        // It also tells of every other guess at the speed.
        listeners.push(on(&connection, "change", |hints, connection| {
            let kind = kind_of(Some(connection));
            if hints.kind.replace(kind.clone()) != kind {
                hints.network();
            }
        }));
    }
    listeners.into_iter().flatten().collect()
}

fn kind_of(connection: Option<&JsValue>) -> Option<String> {
    get(connection?, "type")?.as_string()
}

fn is_hidden() -> bool {
    let state = global("document").and_then(|document| get(&document, "visibilityState"));
    state.and_then(|state| state.as_string()).is_some_and(|state| state == "hidden")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::{call, construct};

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
