//! Why a repository is no tutorial.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Why a repository is no tutorial, in words that say what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepositoryError {
    #[error("there is no {}", .0.display())]
    NoSuchPath(PathBuf),
    #[error("{} is not a git repository; name the folder that has the .git folder in it", .0.display())]
    NotARepository(PathBuf),
    #[error("the repository {} is empty; a tutorial is made of commits, such as `section: Welcome`", .0.display())]
    Empty(PathBuf),
    #[error("there is no branch {wanted:?}; {}", choices(.there))]
    NoSuchBranch { wanted: String, there: Vec<String> },
    #[error(
        "none of the {commits} commits of the branch {branch:?} is a step; begin their messages with section:, template:, solution: or action:, or choose another branch with --branch"
    )]
    NoSteps { branch: String, commits: usize },
    #[error("the branch {branch:?} has more than {limit} {what}; a tutorial must have fewer")]
    TooMany { branch: String, what: &'static str, limit: usize },
    #[error("cannot read {what}: {why}; `git fsck` tells more")]
    Unreadable { what: String, why: String },
}

impl RepositoryError {
    pub fn unreadable(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Unreadable { what: what.to_string(), why: why.to_string() }
    }

    pub fn not_a_repository(path: &Path) -> Self {
        Self::NotARepository(path.to_path_buf())
    }
}

impl From<RepositoryError> for Failure {
    fn from(error: RepositoryError) -> Self {
        // Its words say what to do.
        Self::new(error.to_string(), "")
    }
}

fn choices(there: &[String]) -> String {
    const SHOWN: usize = 10;
    match there {
        [] => "there are no branches".to_owned(),
        [only] => format!("there is {only:?}, choose it with --branch {only}"),
        many => {
            let shown = many.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
            let more = match many.len().saturating_sub(SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("choose one with --branch: {shown}{more}")
        }
    }
}
