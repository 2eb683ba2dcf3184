//! Facts about a service, and the JSON that they are until somebody looks at them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::json;

/// Free-form facts about a service, listed with it: a JSON object of at most 4 KiB.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// [`Metadata`] as JSON, as it is published and listed. Most that have it, a directory for one, pass
/// it on and read none of it.
///
/// Two are equal if their texts are, which for what was made of metadata means: if the metadata is.
///
/// ```
/// use everlink::signaling::{Metadata, MetadataJson};
///
/// let mut metadata = Metadata::new();
/// metadata.insert("title".into(), "Chat".into());
/// let json = MetadataJson::from(&metadata);
/// assert_eq!(json.as_str(), r#"{"title":"Chat"}"#);
/// assert_eq!(json.to_metadata(), metadata);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MetadataJson(Box<str>);

impl MetadataJson {
    /// What came from outside, as a JSON text; `None` if it is no object, or one too deep to read.
    #[cfg(any(test, target_arch = "wasm32"))]
    pub(crate) fn checked(json: String) -> Option<Self> {
        let json = Self(json.into());
        json.is_readable().then_some(json)
    }

    /// Whether it is an object, and not too deep to read.
    pub(crate) fn is_readable(&self) -> bool {
        self.0.starts_with('{') && depth(&self.0) < json::TOO_DEEP
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads it. What is nested 128 deep or more, which no directory takes, is read as nothing.
    pub fn to_metadata(&self) -> Metadata {
        json::read_metadata(&self.0).unwrap_or_default()
    }
}

/// How many arrays and objects of a JSON text lie in each other.
fn depth(json: &str) -> usize {
    let (mut open, mut most): (usize, usize) = (0, 0);
    let (mut in_text, mut is_escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => {
                open += 1;
                most = most.max(open);
            }
            b'}' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    most
}

impl Default for MetadataJson {
    /// No facts.
    fn default() -> Self {
        Self("{}".into())
    }
}

impl From<&Metadata> for MetadataJson {
    fn from(metadata: &Metadata) -> Self {
        Self(json::metadata(metadata).into())
    }
}

impl From<Metadata> for MetadataJson {
    fn from(metadata: Metadata) -> Self {
        Self::from(&metadata)
    }
}

impl fmt::Debug for MetadataJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As the object, and not as its text.
impl Serialize for MetadataJson {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let json: &serde_json::value::RawValue =
            serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        json.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for MetadataJson {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Self::from(Metadata::deserialize(deserializer)?);
        if json.is_readable() {
            Ok(json)
        } else {
            Err(serde::de::Error::custom("metadata is nested too deep"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// An object in which so many objects and arrays lie in each other, it included.
    fn nested(depth: usize) -> Metadata {
        let inner = (2..depth)
            .fold(json!([]), |inner, at| if at % 2 == 0 { json!({ "a": inner }) } else { json!([inner]) });
        Metadata::from_iter([("a".to_owned(), inner)])
    }

    #[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
    #[cfg_attr(not(target_arch = "wasm32"), test)]
    fn metadata_survives_its_json() {
        let Value::Object(metadata) = json!({
            "title": "Chat \"[{\\ \u{1} é 🦀", "__proto__": { "a": 1 }, "list": [null, true, -1.5, 9_007_199_254_740_991_u64, {}],
        }) else {
            panic!()
        };
        let json = MetadataJson::from(&metadata);
        assert!(json.is_readable());
        assert_eq!(json.to_metadata(), metadata);
        let written = serde_json::to_value(&json).unwrap();
        assert_eq!(written, Value::Object(metadata), "it is an object to serde, too");
        assert_eq!(serde_json::from_value::<MetadataJson>(written).unwrap(), json);
        assert_eq!(MetadataJson::default(), MetadataJson::from(Metadata::new()));
    }

    #[cfg_attr(target_arch = "wasm32", wasm_bindgen_test::wasm_bindgen_test)]
    #[cfg_attr(not(target_arch = "wasm32"), test)]
    fn what_is_too_deep_is_not_read() {
        let deep = MetadataJson::from(nested(127));
        assert_eq!((depth(deep.as_str()), deep.is_readable()), (127, true));
        assert_eq!(deep.to_metadata(), nested(127));
        assert_eq!(MetadataJson::checked(deep.as_str().to_owned()), Some(deep));
        let deeper = MetadataJson::from(nested(128));
        assert_eq!((depth(deeper.as_str()), deeper.is_readable()), (128, false));
        assert_eq!(MetadataJson::checked(deeper.as_str().to_owned()), None);
        assert!(serde_json::from_value::<MetadataJson>(Value::Object(nested(128))).is_err());
        let abyss = format!("{{\"a\":{}", "[".repeat(1_000_000));
        assert_eq!(MetadataJson::checked(abyss), None);
    }

    #[test]
    fn only_objects_are_metadata_and_brackets_in_texts_are_no_depth() {
        for other in ["", "[]", "1", "null", "\"{}\""] {
            assert_eq!(MetadataJson::checked(other.to_owned()), None, "{other}");
        }
        let text = format!(r#"{{"a\"{{":"{}\\","b":[]}}"#, "[\\\"".repeat(200));
        assert_eq!(depth(&text), 2);
    }
}
