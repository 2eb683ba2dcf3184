//! JSON, read into a tree and written member by member.
//!
//! What reads it is natively serde_json and in a browser the browser, so that a page does not load
//! a second reader, nor one for each type.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod web;

use std::fmt::Display;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use self::native::{Json, metadata, quoted, read_metadata};
#[cfg(target_arch = "wasm32")]
pub use self::web::metadata_from_js;
#[cfg(target_arch = "wasm32")]
pub(crate) use self::web::{Json, metadata, quoted, read_metadata};

/// How many arrays and objects may not lie in each other, as in serde_json: what is read from outside
/// must not use up the stack.
pub(crate) const TOO_DEEP: usize = 128;

/// An object in the making. Its members stand in the order in which they are given.
#[must_use]
pub(crate) struct Writer {
    text: String,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { text: "{".to_owned() }
    }

    /// A member that is JSON already.
    pub(crate) fn json(mut self, name: &str, value: &str) -> Self {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(name);
        self.text.push_str("\":");
        self.text.push_str(value);
        self
    }

    /// A text.
    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        self.json(name, &quoted(value))
    }

    /// What displays as a text.
    pub(crate) fn shown(self, name: &str, value: &dyn Display) -> Self {
        self.text(name, &value.to_string())
    }

    /// What displays as JSON: a number, `true` or `false`.
    pub(crate) fn plain(self, name: &str, value: &dyn Display) -> Self {
        self.json(name, &value.to_string())
    }

    /// An array of what is JSON already.
    pub(crate) fn list(self, name: &str, items: &[String]) -> Self {
        self.json(name, &format!("[{}]", items.join(",")))
    }

    /// The object.
    pub(crate) fn end(mut self) -> String {
        self.text.push('}');
        self.text
    }
}
