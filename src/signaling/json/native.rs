//! By serde_json.

use serde_json::Value;

use crate::signaling::Metadata;
use crate::signaling::MetadataJson;

/// A value that was read; null by default.
#[derive(Default)]
pub(crate) struct Json(Value);

impl Json {
    /// The value that `text` is; `None` if it is none.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok().map(Self)
    }

    /// A member of an object, unless it is absent or null.
    pub(crate) fn get(&self, name: &str) -> Option<Self> {
        let value = self.0.get(name)?;
        (!value.is_null()).then(|| Self(value.clone()))
    }

    pub(crate) fn is_object(&self) -> bool {
        self.0.is_object()
    }

    pub(crate) fn as_text(&self) -> Option<String> {
        self.0.as_str().map(str::to_owned)
    }

    /// A whole number that is not negative.
    pub(crate) fn as_number(&self) -> Option<u64> {
        self.0.as_u64()
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        self.0.as_bool()
    }

    pub(crate) fn as_list(&self) -> Option<Vec<Self>> {
        Some(self.0.as_array()?.iter().cloned().map(Self).collect())
    }

    pub(crate) fn as_metadata(&self) -> Option<MetadataJson> {
        self.0.as_object().map(MetadataJson::from)
    }
}

/// The text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    // Only maps with keys that are no strings, or writers that fail, make serde_json fail.
    serde_json::to_string(text).expect("a text is JSON")
}

/// The metadata as JSON.
pub(crate) fn metadata(metadata: &Metadata) -> String {
    serde_json::to_string(metadata).expect("a map of JSON is JSON")
}

/// The metadata that the JSON is.
pub(crate) fn read_metadata(json: &str) -> Option<Metadata> {
    serde_json::from_str(json).ok()
}
