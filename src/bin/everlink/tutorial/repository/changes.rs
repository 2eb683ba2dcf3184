//! What a step changes, as text.

use std::time::Duration;

use everlink::tutorial::{FileChange, FileStatus, MAX_CONTENT_FILE};
use gix::ObjectId;
use gix::objs::tree::EntryKind;
use similar::{ChangeTag, TextDiff};

use super::RepositoryError;
use super::tree::{Difference, File};

/// How many files of a step are shown.
const MAX_FILES: usize = 2_000;
/// How many bytes their names may have together, as JSON.
const MAX_NAMES: usize = 512 << 10;
/// How many bytes the diffs of a step may have together, as JSON: with names and text they fit into a reply.
const MAX_DIFFS: usize = 2 << 20;
/// How long the comparison of two files may look for the shortest diff.
const COMPARE_WITHIN: Duration = Duration::from_millis(500);

/// A blob as far as it can be shown.
enum Content {
    Text(String),
    Binary,
    TooLarge,
}

/// What a step does to files, as far as their names fit; the largest diffs are left out until the others fit.
pub fn changes(
    repository: &gix::Repository,
    differences: &[Difference],
) -> Result<Vec<FileChange>, RepositoryError> {
    let mut names = 0;
    let fit = differences.iter().take(MAX_FILES).take_while(|difference| {
        let old = difference.old_path.as_ref().map_or(0, |path| json_size(&path.to_string()));
        // And what is told beside them.
        names += json_size(&difference.path.to_string()) + old + 128;
        names <= MAX_NAMES
    });
    let changes = fit.map(|difference| change(repository, difference));
    let mut changes = changes.collect::<Result<Vec<_>, _>>()?;
    let mut sizes: Vec<(usize, usize)> = changes
        .iter()
        .enumerate()
        .map(|(at, change)| (change.diff.as_ref().map_or(0, json_size), at))
        .collect();
    let mut total: usize = sizes.iter().map(|(size, _)| size).sum();
    sizes.sort_unstable();
    while total > MAX_DIFFS
        && let Some((size, at)) = sizes.pop()
    {
        total -= size;
        changes[at].diff = None;
        changes[at].too_large = true;
    }
    Ok(changes)
}

fn change(repository: &gix::Repository, difference: &Difference) -> Result<FileChange, RepositoryError> {
    let Difference { path, old, new, old_path } = difference;
    let status = match (old, new, old_path) {
        (_, Some(_), Some(_)) => FileStatus::Renamed,
        (None, _, _) => FileStatus::Added,
        (Some(_), None, _) => FileStatus::Deleted,
        (Some(_), Some(_), None) => FileStatus::Modified,
    };
    let mut change = FileChange {
        path: path.to_string(),
        old_path: old_path.as_ref().map(ToString::to_string),
        status,
        binary: false,
        too_large: false,
        additions: 0,
        deletions: 0,
        diff: None,
    };
    if status == FileStatus::Renamed {
        return Ok(change);
    }
    let side =
        |file: &Option<File>| file.map_or(Ok(Content::Text(String::new())), |file| content(repository, file));
    match (side(old)?, side(new)?) {
        (Content::TooLarge, _) | (_, Content::TooLarge) => change.too_large = true,
        (Content::Binary, _) | (_, Content::Binary) => change.binary = true,
        (Content::Text(old), Content::Text(new)) => {
            let diff = TextDiff::configure().timeout(COMPARE_WITHIN).diff_lines(&old, &new);
            for one in diff.iter_all_changes() {
                match one.tag() {
                    ChangeTag::Insert => change.additions += 1,
                    ChangeTag::Delete => change.deletions += 1,
                    ChangeTag::Equal => {}
                }
            }
            change.diff = Some(diff.unified_diff().context_radius(3).to_string());
        }
    }
    Ok(change)
}

fn content(repository: &gix::Repository, file: File) -> Result<Content, RepositoryError> {
    if file.kind == EntryKind::Commit {
        // Another repository, at one of its commits.
        return Ok(Content::Text(format!("Subproject commit {}\n", file.id)));
    }
    let Some(bytes) = load(repository, file.id)? else { return Ok(Content::TooLarge) };
    Ok(match is_binary(&bytes) {
        true => Content::Binary,
        false => Content::Text(String::from_utf8_lossy(&bytes).into_owned()),
    })
}

/// The content of a file; `None` if it is too large, which its header tells: it is not loaded.
pub fn load(repository: &gix::Repository, id: ObjectId) -> Result<Option<Vec<u8>>, RepositoryError> {
    if size(repository, id)? > MAX_CONTENT_FILE {
        return Ok(None);
    }
    let blob = repository.find_object(id).map_err(|error| unreadable(id, error))?;
    Ok(Some(blob.detach().data))
}

/// How large a file is.
pub fn size(repository: &gix::Repository, id: ObjectId) -> Result<u64, RepositoryError> {
    Ok(repository.find_header(id).map_err(|error| unreadable(id, error))?.size())
}

fn unreadable(id: ObjectId, why: gix::Error) -> RepositoryError {
    RepositoryError::unreadable(format_args!("file {id}"), why)
}

/// Whether it is no text, as git takes it: it has a zero byte near its beginning.
pub fn is_binary(bytes: &[u8]) -> bool {
    bytes.iter().take(8000).any(|byte| *byte == 0)
}

/// How many bytes something has as JSON.
pub fn json_size(value: &impl serde::Serialize) -> usize {
    serde_json::to_string(value).map_or(usize::MAX / MAX_FILES / 2, |json| json.len())
}
