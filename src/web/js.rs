//! Objects of JavaScript by the names of their parts. Whatever they throw is an `Err`.

#[cfg(test)]
use js_sys::{Array, Function};
use js_sys::{Promise, Reflect};
#[cfg(test)]
use wasm_bindgen::JsCast as _;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

/// A property, unless it is absent, null, or throws.
pub(crate) fn get(of: &JsValue, name: &str) -> Option<JsValue> {
    let value = Reflect::get(of, &JsValue::from_str(name)).ok()?;
    (!value.is_undefined() && !value.is_null()).then_some(value)
}

/// A property of the global object.
pub(crate) fn global(name: &str) -> Option<JsValue> {
    get(&js_sys::global(), name)
}

/// Calls a method.
#[cfg(test)]
pub(crate) fn call(of: &JsValue, method: &str, args: &[&JsValue]) -> Result<JsValue, JsValue> {
    let function = Reflect::get(of, &JsValue::from_str(method))?;
    Reflect::apply(function.unchecked_ref::<Function>(), of, &arguments(args))
}

/// `new NAME(args)`.
#[cfg(test)]
pub(crate) fn construct(name: &str, args: &[&JsValue]) -> Result<JsValue, JsValue> {
    let function = Reflect::get(&js_sys::global(), &JsValue::from_str(name))?;
    Reflect::construct(function.unchecked_ref::<Function>(), &arguments(args))
}

#[cfg(test)]
fn arguments(args: &[&JsValue]) -> Array {
    let array = Array::new();
    for arg in args {
        array.push(arg);
    }
    array
}

/// What a promise comes to.
pub(crate) fn settled(promise: Promise) -> JsFuture {
    JsFuture::from(promise)
}

/// The name of an error, such as `QuotaExceededError`.
pub(crate) fn name(error: &JsValue) -> String {
    get(error, "name").and_then(|name| name.as_string()).unwrap_or_default()
}

#[wasm_bindgen::prelude::wasm_bindgen(module = "/src/web/problem.js")]
extern "C" {
    /// What an error says, for people.
    pub(crate) fn problem(error: &JsValue) -> String;
}
