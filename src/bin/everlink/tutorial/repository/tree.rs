//! The files of a commit, and what differs between two.

use std::collections::{BTreeMap, BTreeSet};

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice as _};
use gix::objs::tree::{EntryKind, EntryMode};

use super::{MAX_META, RepositoryError};

/// How deep folders may be in each other.
const MAX_DEPTH: usize = 64;
/// How many files and folders are looked at for one answer.
const MAX_ENTRIES: usize = 50_000;

/// A file of a commit: what kind, and which content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    pub kind: EntryKind,
    pub id: ObjectId,
}

/// A file that is not the same in two commits.
#[derive(Clone, Debug)]
pub struct Difference {
    pub path: BString,
    pub old: Option<File>,
    pub new: Option<File>,
    /// Where the same content was, if the file is moved.
    pub old_path: Option<BString>,
}

/// Reads folders, up to a number of entries.
struct Reader<'a> {
    repository: &'a gix::Repository,
    left: usize,
}

impl Reader<'_> {
    fn folder(&mut self, id: ObjectId) -> Result<Vec<(BString, EntryMode, ObjectId)>, RepositoryError> {
        let unreadable =
            |why: &dyn std::fmt::Display| RepositoryError::unreadable(format_args!("folder {id}"), why);
        let header = self.repository.find_header(id).map_err(|error| unreadable(&error))?;
        if header.size() > MAX_META {
            return Err(unreadable(&"it is too large"));
        }
        let tree = self.repository.find_tree(id).map_err(|error| unreadable(&error))?;
        let tree = tree.decode().map_err(|error| unreadable(&error))?;
        self.left = self
            .left
            .checked_sub(tree.entries.len())
            .ok_or_else(|| unreadable(&"there are too many files"))?;
        let entry = |entry: &gix::objs::tree::EntryRef<'_>| {
            (entry.filename.to_owned(), entry.mode, entry.oid.to_owned())
        };
        Ok(tree.entries.iter().map(entry).collect())
    }

    fn files(
        &mut self,
        id: ObjectId,
        prefix: &BString,
        depth: usize,
        files: &mut BTreeMap<BString, File>,
    ) -> Result<(), RepositoryError> {
        check_depth(depth)?;
        for (name, mode, id) in self.folder(id)? {
            let path = join(prefix, &name);
            match mode.kind() {
                EntryKind::Tree => self.files(id, &path, depth + 1, files)?,
                kind => {
                    files.insert(path, File { kind, id });
                }
            }
        }
        Ok(())
    }

    /// Folders that are the same are not entered.
    fn compare(
        &mut self,
        old: Option<ObjectId>,
        new: Option<ObjectId>,
        prefix: &BString,
        depth: usize,
        differences: &mut Vec<Difference>,
    ) -> Result<(), RepositoryError> {
        check_depth(depth)?;
        let mut side =
            |id: Option<ObjectId>| -> Result<BTreeMap<BString, (EntryMode, ObjectId)>, RepositoryError> {
                let entries = id.map(|id| self.folder(id)).transpose()?.unwrap_or_default();
                Ok(entries.into_iter().map(|(name, mode, id)| (name, (mode, id))).collect())
            };
        let (old, new) = (side(old)?, side(new)?);
        let names: BTreeSet<&BString> = old.keys().chain(new.keys()).collect();
        for name in names {
            let (old, new) = (old.get(name), new.get(name));
            if old == new {
                continue;
            }
            let path = join(prefix, name);
            let folder = |side: Option<&(EntryMode, ObjectId)>| {
                side.filter(|(mode, _)| mode.is_tree()).map(|(_, id)| *id)
            };
            let file = |side: Option<&(EntryMode, ObjectId)>| {
                side.filter(|(mode, _)| !mode.is_tree()).map(|(mode, id)| File { kind: mode.kind(), id: *id })
            };
            if folder(old).is_some() || folder(new).is_some() {
                self.compare(folder(old), folder(new), &path, depth + 1, differences)?;
            }
            let (old, new) = (file(old), file(new));
            if old.is_some() || new.is_some() {
                differences.push(Difference { path, old, new, old_path: None });
            }
        }
        Ok(())
    }
}

/// Every file below a folder.
pub fn files(
    repository: &gix::Repository,
    tree: ObjectId,
) -> Result<BTreeMap<BString, File>, RepositoryError> {
    let mut files = BTreeMap::new();
    Reader { repository, left: MAX_ENTRIES }.files(tree, &BString::default(), 0, &mut files)?;
    Ok(files)
}

/// One file, if it is there.
pub fn file(
    repository: &gix::Repository,
    tree: ObjectId,
    path: &str,
) -> Result<Option<File>, RepositoryError> {
    let mut reader = Reader { repository, left: MAX_ENTRIES };
    let (mut folder, mut parts) = (tree, path.split('/').take(MAX_DEPTH).peekable());
    while let Some(part) = parts.next() {
        let found = reader.folder(folder)?.into_iter().find(|(name, ..)| name.as_bytes() == part.as_bytes());
        match found {
            Some((_, mode, id)) if mode.is_tree() => folder = id,
            Some((_, mode, id)) if parts.peek().is_none() => return Ok(Some(File { kind: mode.kind(), id })),
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// What differs between two folders, by path. A file that went and one that came with the same content are one that moved.
pub fn differences(
    repository: &gix::Repository,
    old: Option<ObjectId>,
    new: ObjectId,
) -> Result<Vec<Difference>, RepositoryError> {
    let mut found = Vec::new();
    Reader { repository, left: MAX_ENTRIES }.compare(old, Some(new), &BString::default(), 0, &mut found)?;
    let gone =
        found.iter().filter_map(|one| Some((one.old.filter(|_| one.new.is_none())?.id, one.path.clone())));
    let mut gone: BTreeMap<ObjectId, BString> = gone.collect();
    let mut moved = BTreeMap::new();
    for difference in &mut found {
        let (None, Some(new)) = (difference.old, difference.new) else { continue };
        if let Some(path) = gone.remove(&new.id) {
            difference.old_path = Some(path.clone());
            moved.insert(path, difference.path.clone());
        }
    }
    found.retain(|one| one.new.is_some() || !moved.contains_key(&one.path));
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn join(prefix: &BString, name: &BString) -> BString {
    let mut path = prefix.clone();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

fn check_depth(depth: usize) -> Result<(), RepositoryError> {
    if depth > MAX_DEPTH {
        let why = format!("they are deeper than {MAX_DEPTH}");
        return Err(RepositoryError::unreadable("the folders", why));
    }
    Ok(())
}
