//! Which commits are the steps of a tutorial.

use std::collections::BTreeMap;

use everlink::tutorial::StepType;

/// Longer titles are cut, in characters; names made of them, too.
const MAX_TITLE: usize = 200;
const MAX_ID: usize = 60;

/// The part of a commit that makes it a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heading {
    pub kind: StepType,
    pub title: String,
    /// The message after its first line.
    pub body: String,
}

impl Heading {
    /// Reads a commit's message; `None` if it has no prefix of a step.
    pub fn read(message: &str) -> Option<Self> {
        let message = message.trim_start();
        let (subject, body) = message.split_once('\n').unwrap_or((message, ""));
        let (prefix, title) = subject.split_once(':')?;
        let kind = match prefix.trim().to_ascii_lowercase().as_str() {
            "section" => StepType::Section,
            "template" => StepType::Template,
            "solution" => StepType::Solution,
            "action" => StepType::Action,
            _ => return None,
        };
        let mut title: String = title.trim().chars().filter(|c| !c.is_control()).take(MAX_TITLE).collect();
        if title.is_empty() {
            title = name(kind).to_owned();
        }
        Some(Self { kind, title, body: body.trim().to_owned() })
    }
}

/// What a step of this type is called when it has no title.
fn name(kind: StepType) -> &'static str {
    match kind {
        StepType::Section => "Section",
        StepType::Template => "Exercise",
        StepType::Solution => "Solution",
        StepType::Action => "Action",
    }
}

/// What an author should know of the order of the steps.
pub fn remarks(headings: &[Heading]) -> Vec<String> {
    let mut remarks = Vec::new();
    for (index, heading) in headings.iter().enumerate() {
        let after = |kind| index.checked_sub(1).is_some_and(|before| headings[before].kind == kind);
        let solved = headings.get(index + 1).is_some_and(|next| next.kind == StepType::Solution);
        let number = index + 1;
        match heading.kind {
            StepType::Template if !solved => {
                remarks.push(format!("step {number} is a template without a solution after it"));
            }
            StepType::Solution if !after(StepType::Template) => {
                remarks.push(format!("step {number} is a solution without a template before it"));
            }
            _ => {}
        }
    }
    remarks
}

/// A name for each step: of its type and title, with a number from the second of the same.
pub fn ids(headings: &[Heading]) -> Vec<String> {
    let mut seen = BTreeMap::<String, u32>::new();
    let mut id = |heading: &Heading| {
        let mut id = format!("{:?}", heading.kind).to_lowercase();
        let words = heading.title.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        for word in words {
            id.push('-');
            id.push_str(&word.to_lowercase());
        }
        let id: String = id.chars().take(MAX_ID).collect();
        let times = seen.entry(id.clone()).or_default();
        *times += 1;
        if *times == 1 { id } else { format!("{id}-{times}") }
    };
    headings.iter().map(&mut id).collect()
}

/// For each step the title of the section that it belongs to.
pub fn sections(headings: &[Heading]) -> Vec<Option<String>> {
    let mut current = None;
    let section = |heading: &Heading| {
        if heading.kind == StepType::Section {
            current = Some(heading.title.clone());
            return None;
        }
        current.clone()
    };
    headings.iter().map(section).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heading(message: &str) -> Heading {
        Heading::read(message).unwrap_or_else(|| panic!("{message:?} is no step"))
    }

    #[test]
    fn prefixes_make_steps() {
        assert_eq!(
            heading("template: Define a User\n\nWith a name.\n\nAnd an age.\n"),
            Heading {
                kind: StepType::Template,
                title: "Define a User".into(),
                body: "With a name.\n\nAnd an age.".into()
            }
        );
        assert_eq!(heading("Section:First").title, "First");
        assert_eq!(heading("ACTION: a: b").title, "a: b");
        assert_eq!(heading("solution:").title, "Solution");
        assert_eq!(heading("action: \u{1b}[2Jx").title, "[2Jx");
        assert_eq!(heading(&format!("action: {}", "ä".repeat(1000))).title.chars().count(), MAX_TITLE);
        for none in [
            "",
            "readme: About",
            "section",
            "sections: x",
            "fix: template: x",
            "\n",
            ":",
            "starting-template",
        ] {
            assert_eq!(Heading::read(none), None, "{none:?}");
        }
    }

    #[test]
    fn names_are_unique_and_stay_when_steps_are_added_before() {
        let headings: Vec<Heading> =
            ["section: Über uns!", "action: Go", "action: Go", "section: End", "action: Go!"]
                .map(heading)
                .into();
        assert_eq!(
            ids(&headings),
            ["section-über-uns", "action-go", "action-go-2", "section-end", "action-go-3"]
        );
        let sections = sections(&headings);
        assert_eq!(
            sections,
            [None, Some("Über uns!".into()), Some("Über uns!".into()), None, Some("End".into())]
        );
    }

    #[test]
    fn an_author_hears_of_what_does_not_fit() {
        let of = |messages: &[&str]| remarks(&messages.iter().map(|m| heading(m)).collect::<Vec<_>>());
        assert!(of(&["section: a", "template: b", "solution: c", "action: d"]).is_empty());
        assert_eq!(
            of(&["solution: a", "template: b", "section: c", "template: d"]),
            [
                "step 1 is a solution without a template before it",
                "step 2 is a template without a solution after it",
                "step 4 is a template without a solution after it",
            ]
        );
    }
}
