//! By the `JSON` of a browser or of Node.

use js_sys::{Array, JSON, Object, Reflect};
use serde_json::{Number, Value};
use wasm_bindgen::{JsCast as _, JsValue};

use super::TOO_DEEP;
use crate::signaling::Metadata;
use crate::signaling::MetadataJson;
use crate::web;

/// The largest integer that a number of JavaScript holds for certain, and one more.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A value that was read; null by default.
#[derive(Default)]
pub(crate) struct Json(JsValue);

impl Json {
    /// The value that `text` is; `None` if it is none.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        JSON::parse(std::str::from_utf8(text).ok()?).ok().map(Self)
    }

    /// A member of an object, unless it is absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<Self> {
        web::get(&self.0, name).map(Self)
    }

    pub(crate) fn is_object(&self) -> bool {
        self.0.is_object() && !Array::is_array(&self.0)
    }

    pub(crate) fn as_text(&self) -> Option<String> {
        self.0.as_string()
    }

    /// A whole number that is not negative, up to 2^53.
    pub(crate) fn as_number(&self) -> Option<u64> {
        let number = self.0.as_f64()?;
        (number >= 0.0 && number <= EXACT && number.trunc() == number).then_some(number as u64)
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        self.0.as_bool()
    }

    pub(crate) fn as_list(&self) -> Option<Vec<Self>> {
        Some(self.0.dyn_ref::<Array>()?.iter().map(Self).collect())
    }

    /// As text again: reading it is for those who ask, as most pages do not and load less.
    pub(crate) fn as_metadata(&self) -> Option<MetadataJson> {
        self.is_object().then(|| stringified(&self.0)).and_then(MetadataJson::checked)
    }
}

/// The text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    stringified(&JsValue::from_str(text))
}

/// The metadata as JSON.
pub(crate) fn metadata(metadata: &Metadata) -> String {
    stringified(&metadata_to_js(metadata))
}

fn stringified(value: &JsValue) -> String {
    // Only cycles, big integers and methods `toJSON` make it fail, and texts and plain objects have none.
    JSON::stringify(value).map(String::from).unwrap_or_default()
}

/// The metadata that the JSON is.
pub(crate) fn read_metadata(json: &str) -> Option<Metadata> {
    metadata_from_js(&JSON::parse(json).ok()?)
}

/// For the bindings of the npm package: a plain object of JSON values as metadata.
#[doc(hidden)]
pub fn metadata_from_js(object: &JsValue) -> Option<Metadata> {
    match from_js(object, TOO_DEEP)? {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

/// Metadata as a plain object.
fn metadata_to_js(metadata: &Metadata) -> JsValue {
    // Not by setting each: that would do something else for a member `__proto__`.
    let entries = metadata.iter().map(|(name, value)| Array::of2(&JsValue::from_str(name), &to_js(value)));
    Object::from_entries(&entries.collect::<Array>()).map_or(JsValue::NULL, Into::into)
}

fn from_js(value: &JsValue, depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    if value.is_null() {
        Some(Value::Null)
    } else if let Some(value) = value.as_bool() {
        Some(Value::Bool(value))
    } else if let Some(text) = value.as_string() {
        Some(Value::String(text))
    } else if let Some(number) = value.as_f64() {
        number_from_js(number).map(Value::Number)
    } else if let Some(array) = value.dyn_ref::<Array>() {
        array.iter().map(|item| from_js(&item, depth)).collect::<Option<_>>().map(Value::Array)
    } else if value.is_object() {
        let mut map = Metadata::new();
        for name in Object::keys(value.unchecked_ref::<Object>()).iter() {
            let member = Reflect::get(value, &name).ok()?;
            map.insert(name.as_string()?, from_js(&member, depth)?);
        }
        Some(Value::Object(map))
    } else {
        None
    }
}

fn number_from_js(number: f64) -> Option<Number> {
    if number.trunc() == number && number.abs() <= EXACT {
        Some((number as i64).into())
    } else {
        Number::from_f64(number)
    }
}

fn to_js(value: &Value) -> JsValue {
    match value {
        Value::Null => JsValue::NULL,
        Value::Bool(value) => (*value).into(),
        Value::Number(number) => JsValue::from_f64(number.as_f64().unwrap_or_default()),
        Value::String(text) => JsValue::from_str(text),
        Value::Array(items) => items.iter().map(to_js).collect::<Array>().into(),
        Value::Object(map) => metadata_to_js(map),
    }
}
