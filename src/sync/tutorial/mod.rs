//! Tutorials: one leads, the others follow.

mod content;

pub use self::content::*;

/// What a step is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepType {
    /// A text to read.
    Section,
    /// Something to complete; its [`Solution`](Self::Solution) follows.
    Template,
    /// The completed [`Template`](Self::Template).
    Solution,
    /// Something done for the reader.
    Action,
}
