//! A git repository whose commits are the steps of a tutorial, read without a git binary.
//!
//! The first parents of a branch, oldest first, are its history; those with a prefix ([`steps`]) are the steps. Nothing is
//! written, and no object is loaded before its size is known: a file of gigabytes costs a look at its header.

mod changes;
mod content;
mod error;
mod origin;
mod steps;
#[cfg(all(test, unix))]
mod tests;
mod tree;

use std::path::Path;

use everlink::tutorial::{MAX_CONTENT_REPLY, Outline, StepSummary};
use gix::ObjectId;

pub use self::content::RepositoryContent;
pub use self::error::RepositoryError;
use self::steps::Heading;

/// The branch that is looked for if none is named.
pub const DEFAULT_BRANCH: &str = "gitorial";
/// The longest history that is followed.
const MAX_COMMITS: usize = 100_000;
/// The most steps, whose outline must fit into one reply.
const MAX_STEPS: usize = 5_000;
/// The largest commit and the largest folder that is loaded, in bytes.
const MAX_META: u64 = 4 << 20;

/// A tutorial in a repository.
pub struct Tutorial {
    /// What it is known by: `owner/name` of where it is published, or the folder's name.
    pub id: String,
    pub title: String,
    pub repo_url: Option<String>,
    pub branch: String,
    pub steps: Vec<Step>,
    /// What its author should know.
    pub remarks: Vec<String>,
    repository: gix::ThreadSafeRepository,
}

/// A commit that is a step.
pub struct Step {
    pub summary: StepSummary,
    body: String,
    commit: Place,
    /// What it is compared with.
    parent: Option<Place>,
}

/// A commit and its files.
#[derive(Clone, Copy)]
struct Place {
    commit: ObjectId,
    tree: ObjectId,
}

impl Tutorial {
    /// Reads the history of a branch. Blocks.
    pub fn open(path: &Path, branch: Option<&str>) -> Result<Self, RepositoryError> {
        let full = path.canonicalize().map_err(|_| RepositoryError::NoSuchPath(path.to_path_buf()))?;
        if !full.join(".git").exists() && !full.join("HEAD").exists() {
            return Err(RepositoryError::not_a_repository(path));
        }
        // Nothing but the repository decides what is read: no variables, no configuration of this user.
        let repository = gix::ThreadSafeRepository::open_opts(&full, gix::open::Options::isolated())
            .map_err(|error| {
                RepositoryError::unreadable(format_args!("the repository {}", path.display()), error)
            })?;
        let local = repository.to_thread_local();
        let (branch, tip) = find_branch(&local, path, branch)?;
        let history = history(&local, &branch, tip)?;

        let (mut headings, mut places, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        let mut parent = None;
        for (place, message) in history.iter().rev() {
            match Heading::read(message) {
                Some(heading) => {
                    headings.push(heading);
                    places.push((*place, parent));
                }
                None => skipped.push(message.lines().next().unwrap_or_default().trim()),
            }
            parent = Some(*place);
        }
        if headings.is_empty() {
            return Err(RepositoryError::NoSteps { branch, commits: history.len() });
        }
        if headings.len() > MAX_STEPS {
            return Err(RepositoryError::TooMany { branch, what: "steps", limit: MAX_STEPS });
        }
        let mut remarks = steps::remarks(&headings);
        match skipped[..] {
            [] => {}
            [one] => remarks.push(format!("a commit is no step: {one:?}")),
            [first, ..] => remarks.push(format!("{} commits are no steps, such as {first:?}", skipped.len())),
        }
        let details = steps::ids(&headings).into_iter().zip(steps::sections(&headings));
        let step = |(index, (((heading, (commit, parent)), id), section)): (usize, _)| {
            let Heading { kind, title, body } = heading;
            let commit: Place = commit;
            let commit_hash = commit.commit.to_string();
            let summary = StepSummary { index: index as u32, id, title, kind, commit_hash, section };
            Step { summary, body, commit, parent }
        };
        let nested = headings.into_iter().zip(places).zip(details);
        let steps = nested.map(|((heading, place), (id, section))| (((heading, place), id), section));
        let steps: Vec<Step> = steps.enumerate().map(step).collect();

        let origin = origin::origin(&local);
        let folder = full.file_name().map_or("tutorial".into(), |name| name.to_string_lossy().into_owned());
        let folder = folder.trim_end_matches(".git").to_owned();
        let id =
            origin.as_ref().and_then(|url| origin::owner_and_name(url)).unwrap_or_else(|| folder.clone());
        let tutorial = Self { id, title: folder, repo_url: origin, branch, steps, remarks, repository };
        // Members could not be told of them.
        if changes::json_size(&tutorial.outline()) > MAX_CONTENT_REPLY {
            let what = "MiB of titles";
            return Err(RepositoryError::TooMany {
                branch: tutorial.branch,
                what,
                limit: MAX_CONTENT_REPLY >> 20,
            });
        }
        Ok(tutorial)
    }

    /// What members see first.
    pub fn outline(&self) -> Outline {
        let steps = self.steps.iter().map(|step| step.summary.clone()).collect();
        Outline { title: self.title.clone(), repo_url: self.repo_url.clone(), steps }
    }
}

/// The branch by this name, or else the remote's; and its newest commit.
fn find_branch(
    repository: &gix::Repository,
    path: &Path,
    wanted: Option<&str>,
) -> Result<(String, ObjectId), RepositoryError> {
    let wanted = wanted.unwrap_or(DEFAULT_BRANCH);
    let unreadable = |error: gix::Error| RepositoryError::unreadable("the branches", error);
    let mut there = Vec::new();
    let references = repository.references().map_err(unreadable)?;
    for (prefix, branches) in
        [("", references.local_branches()), ("origin/", references.prefixed("refs/remotes/origin/"))]
    {
        for branch in branches.map_err(unreadable)?.flatten() {
            let name = branch.name().shorten().to_string();
            if name == format!("{prefix}{wanted}") || name == wanted {
                let mut branch = branch;
                let tip = branch.peel_to_commit().map_err(|error| {
                    RepositoryError::unreadable(format_args!("the branch {name:?}"), error)
                })?;
                return Ok((name, tip.id));
            }
            if name != "origin/HEAD" {
                there.push(name);
            }
        }
    }
    if there.is_empty() {
        return Err(RepositoryError::Empty(path.to_path_buf()));
    }
    Err(RepositoryError::NoSuchBranch { wanted: wanted.to_owned(), there })
}

/// The first parents from `tip`, newest first, with their messages.
fn history(
    repository: &gix::Repository,
    branch: &str,
    tip: ObjectId,
) -> Result<Vec<(Place, String)>, RepositoryError> {
    let shallow = repository.is_shallow().unwrap_or(false);
    let mut commits = Vec::new();
    let mut next = Some(tip);
    while let Some(id) = next {
        if commits.len() == MAX_COMMITS {
            return Err(RepositoryError::TooMany {
                branch: branch.to_owned(),
                what: "commits",
                limit: MAX_COMMITS,
            });
        }
        // A clone that was told to leave older commits out ends here.
        if shallow && !commits.is_empty() && matches!(repository.try_find_header(id), Ok(None)) {
            break;
        }
        let unreadable =
            |why: &dyn std::fmt::Display| RepositoryError::unreadable(format_args!("commit {id}"), why);
        let header = repository.find_header(id).map_err(|error| unreadable(&error))?;
        if header.size() > MAX_META {
            return Err(unreadable(&"it is too large"));
        }
        let commit = repository.find_commit(id).map_err(|error| unreadable(&error))?;
        let tree = commit.tree_id().map_err(|error| unreadable(&error))?.detach();
        let message = commit.message_raw().map_err(|error| unreadable(&error))?.to_string();
        next = commit.parent_ids().next().map(|parent| parent.detach());
        commits.push((Place { commit: id, tree }, message));
    }
    Ok(commits)
}
