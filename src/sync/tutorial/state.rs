//! What a tutorial shows: the ready-made state.

use serde::{Deserialize, Serialize};

/// Where a tutorial is: the state that its leader shows and the others follow.
///
/// Its JSON has the field names of `@gitorial/sync`, so that objects made for it pass unchanged.
/// Another type can take its place: [`TutorialSync`](super::TutorialSync) is generic over it.
///
/// ```
/// use everlink::tutorial::{StepContent, StepType, TutorialSyncState};
///
/// let json = r#"{
///     "tutorialId": "react-basics", "tutorialTitle": "React Fundamentals", "totalSteps": 10,
///     "isShowingSolution": false,
///     "stepContent": {"id": "step-5", "title": "useState Hook", "commitHash": "abc123", "type": "action", "index": 4}
/// }"#;
/// let state: TutorialSyncState = serde_json::from_str(json)?;
/// assert_eq!(state.step_content.kind, StepType::Action);
/// assert_eq!(state.repo_url, None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TutorialSyncState {
    /// Names the tutorial.
    pub tutorial_id: String,
    /// Its title, for people.
    pub tutorial_title: String,
    /// How many steps it has.
    pub total_steps: u32,
    /// Whether the step's solution is shown.
    pub is_showing_solution: bool,
    /// The step shown.
    pub step_content: StepContent,
    /// Where the tutorial's repository is, if it is anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_url: Option<String>,
}

/// A step of a tutorial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepContent {
    /// Names the step.
    pub id: String,
    /// Its title, for people.
    pub title: String,
    /// The commit that holds it.
    pub commit_hash: String,
    /// What kind of step it is: `type` in JSON.
    #[serde(rename = "type")]
    pub kind: StepType,
    /// Its place among the steps, from 0.
    pub index: u32,
}

/// What kind of step a commit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepType {
    /// Begins a part of the tutorial; nothing to do.
    #[default]
    Section,
    /// What the learner starts from.
    Template,
    /// What the template before becomes when it is done.
    Solution,
    /// A change to make or look at, complete in itself.
    Action,
}

impl StepType {
    /// Its name, as in JSON and before the colon of a commit's subject.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Section => "section",
            Self::Template => "template",
            Self::Solution => "solution",
            Self::Action => "action",
        }
    }
}

impl std::fmt::Display for StepType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
