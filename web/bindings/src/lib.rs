//! What JavaScript sees of everlink: handles, promises and plain objects. `web/src` makes of them what JavaScript
//! people expect (classes, typed errors, iterables), so nothing here is meant to be used directly.
//!
//! Every promise takes an optional promise `cancelled` beside its arguments: when that resolves first, the work is
//! dropped (all of it is cancel-safe, as the Rust documentation says) and the promise is rejected with `undefined`.

mod channel;
mod client;
mod connection;
mod error;
mod event;
mod js;
mod options;
mod service;
#[cfg(feature = "tutorial")]
mod tutorial;

pub use self::channel::RawChannel;
pub use self::client::{RawClient, RawIdentity, RawStore};
pub use self::connection::RawConnection;
pub use self::event::RawEvents;
pub use self::service::RawService;
#[cfg(feature = "tutorial")]
pub use self::tutorial::{RawRoom, RawTutorial};

use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn console_error(message: &JsValue);
}

/// A panic is a bug of ours and ends the module; say where, or nobody can report it.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|info| console_error(&JsValue::from_str(&info.to_string()))));
}

#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();
