//! Objects of JavaScript by the names of their parts. Whatever they throw is an `Err`.

use js_sys::{Array, Function, Promise, Reflect};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast as _, JsValue};
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

/// What an error says, for people.
pub(crate) fn problem(error: &JsValue) -> String {
    let message = get(error, "message").and_then(|message| message.as_string()).or_else(|| error.as_string());
    let message = message.unwrap_or_default();
    match (name(error), message.is_empty()) {
        (name, false) if name.is_empty() => message,
        (name, false) => format!("{name}: {message}"),
        (name, true) if name.is_empty() => "no reason was given".to_owned(),
        (name, true) => name,
    }
}

/// Hears events of one name for as long as it lives.
pub(crate) struct Listener {
    target: JsValue,
    event: &'static str,
    closure: Closure<dyn FnMut(JsValue)>,
}

impl Listener {
    /// `heard` must not wait, and must hold no lock over a call into JavaScript.
    pub(crate) fn new(
        target: &JsValue,
        event: &'static str,
        heard: impl FnMut(JsValue) + 'static,
    ) -> Result<Self, JsValue> {
        let closure = Closure::<dyn FnMut(JsValue)>::new(heard);
        call(target, "addEventListener", &[&event.into(), closure.as_ref()])?;
        Ok(Self { target: target.clone(), event, closure })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = call(&self.target, "removeEventListener", &[&self.event.into(), self.closure.as_ref()]);
    }
}
