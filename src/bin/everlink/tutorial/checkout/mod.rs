//! The files of a step, put into a work folder: never outside of it, and never over what somebody changed there.

mod folder;
mod path;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::PathBuf;

use everlink::BoxFuture;
use everlink::tutorial::{
    ContentClient, ContentError, ContentErrorCode, FileContent, MAX_CONTENT_FILE, TreeEntry,
};
use futures_util::stream::{self, StreamExt as _};

pub use self::folder::{Folder, Written};
use self::folder::{Found, hash};
use crate::failure::Failure;

/// How many files are asked for at once.
const AT_ONCE: usize = 4;
/// How many files, and how many bytes, are written before what was written is recorded anew.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 8 << 20;
/// How many files a step may have.
const MAX_FILES: usize = 20_000;

/// Where the files of a step come from.
pub trait Source: Sync {
    /// Which files there are.
    fn tree(&self, index: u32) -> BoxFuture<'_, Result<Vec<TreeEntry>, ContentError>>;
    /// One of them.
    fn file(&self, index: u32, path: String) -> BoxFuture<'_, Result<FileContent, ContentError>>;
}

impl Source for ContentClient {
    fn tree(&self, index: u32) -> BoxFuture<'_, Result<Vec<TreeEntry>, ContentError>> {
        Box::pin(ContentClient::tree(self, index))
    }

    fn file(&self, index: u32, path: String) -> BoxFuture<'_, Result<FileContent, ContentError>> {
        Box::pin(ContentClient::file(self, index, path))
    }
}

/// Why nothing was checked out, or not everything.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    #[error("cannot use the work folder {}: {}; name another with --work", .0.display(), .1)]
    Folder(PathBuf, io::Error),
    #[error("cannot read {}: {}; remove it, and local files will be asked about before they are overwritten", .0.display(), .1)]
    Manifest(PathBuf, String),
    #[error("the host does not give the files: {0}")]
    Content(#[from] ContentError),
    #[error("the step has {0} files, more than the {MAX_FILES} that are checked out")]
    TooMany(usize),
    #[error("cannot write {0:?}: {1}")]
    Write(String, io::Error),
}

impl From<CheckoutError> for Failure {
    fn from(error: CheckoutError) -> Self {
        Self::new(error.to_string(), "")
    }
}

/// What a checkout did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub written: usize,
    pub unchanged: usize,
    pub removed: usize,
    /// Files that somebody changed, and that stay as they are.
    pub kept: Vec<String>,
    /// Files that were not written for another reason, and why.
    pub refused: Vec<(String, String)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} written, {} unchanged, {} removed", self.written, self.unchanged, self.removed)?;
        if !self.kept.is_empty() {
            write!(f, ", kept your changes in {}", list(self.kept.iter().map(String::as_str)))?;
        }
        if !self.refused.is_empty() {
            let refused: Vec<String> =
                self.refused.iter().map(|(path, why)| format!("{path} ({why})")).collect();
            write!(f, ", refused {}", list(refused.iter().map(String::as_str)))?;
        }
        Ok(())
    }
}

fn list<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 5;
    let more = names.len().saturating_sub(SHOWN);
    // They are a stranger's, and a terminal must not be steered.
    let names: Vec<String> =
        names.take(SHOWN).map(|name| name.chars().filter(|c| !c.is_control()).collect()).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}

/// A file that is to be there.
struct Wanted<'a> {
    entry: &'a TreeEntry,
    parts: Vec<&'a str>,
}

impl Wanted<'_> {
    fn path(&self) -> String {
        self.entry.path.clone()
    }
}

/// Puts the files of a step into a folder. Files that differ from what the last checkout wrote stay, unless `force` is set.
///
/// Stopped in the middle, some files are of the new step and some of the old, each whole; the next checkout knows both as its own.
pub async fn checkout(
    folder: &mut Folder,
    source: &dyn Source,
    index: u32,
    force: bool,
) -> Result<Report, CheckoutError> {
    let entries = source.tree(index).await?;
    if entries.len() > MAX_FILES {
        return Err(CheckoutError::TooMany(entries.len()));
    }
    let mut report = Report::default();
    let mut wanted = Vec::new();
    // Files and folders by names without case: two that are one on some file system.
    let (mut files, mut folders) = (BTreeSet::new(), BTreeSet::new());
    for entry in &entries {
        match judge(entry, &mut files, &mut folders) {
            Ok(parts) => wanted.push(Wanted { entry, parts }),
            Err(why) => report.refused.push((entry.path.clone(), why)),
        }
    }
    let mut missing = Vec::new();
    let mut stays = BTreeMap::new();
    for file in &wanted {
        match is_there(folder, file)? {
            true => {
                report.unchanged += 1;
                stays.insert(file.entry.path.clone(), folder.written[&file.entry.path].clone());
            }
            false => missing.push(file),
        }
    }

    let mut work = Work { folder, force, report, stays, batch: Vec::new(), bytes: 0 };
    let fetches: Vec<_> =
        missing.iter().enumerate().map(|(at, file)| fetch(source, index, at, file.path())).collect();
    let mut fetched = stream::iter(fetches).buffered(AT_ONCE);
    while let Some((at, content)) = fetched.next().await {
        let file = missing[at];
        match content {
            Ok(content) => work.take(file, content)?,
            Err(error) if matches!(error.code, ContentErrorCode::Closed | ContentErrorCode::Unavailable) => {
                work.put()?;
                return Err(error.into());
            }
            // The others may be had.
            Err(error) => work.report.refused.push((file.path(), error.to_string())),
        }
    }
    work.put()?;
    work.remove_others(&entries)
}

async fn fetch(
    source: &dyn Source,
    index: u32,
    at: usize,
    path: String,
) -> (usize, Result<FileContent, ContentError>) {
    (at, source.file(index, path).await)
}

/// Whether the content is there that the host names, as an earlier checkout left it.
fn is_there(folder: &Folder, file: &Wanted<'_>) -> Result<bool, CheckoutError> {
    let Some(known) = folder.written.get(&file.entry.path) else { return Ok(false) };
    let [content] = &known.content[..] else { return Ok(false) };
    if known.hash != file.entry.hash
        || folder.look(&file.parts).map_err(|e| failed(file, e))? != Found::File(content.clone())
    {
        return Ok(false);
    }
    folder.set_executable(&file.parts, file.entry.executable).map_err(|error| failed(file, error))?;
    Ok(true)
}

/// A checkout under way.
struct Work<'a> {
    folder: &'a mut Folder,
    force: bool,
    report: Report,
    /// What is known as written when it is done.
    stays: BTreeMap<String, Written>,
    /// What is to be written next, with the hash of the content.
    batch: Vec<(&'a Wanted<'a>, Vec<u8>, String)>,
    bytes: usize,
}

impl<'a> Work<'a> {
    /// Decides what to do with a file, and writes what has come together.
    fn take(&mut self, file: &'a Wanted<'a>, content: FileContent) -> Result<(), CheckoutError> {
        let path = &file.entry.path;
        let content = content.into_bytes().filter(|content| content.len() as u64 <= MAX_CONTENT_FILE);
        let Some(content) = content else {
            self.report.refused.push((path.clone(), "the host sent no content of it".to_owned()));
            return Ok(());
        };
        let new = hash(&content);
        match self.folder.look(&file.parts).map_err(|error| failed(file, error))? {
            Found::File(old) if old == new => {
                self.folder
                    .set_executable(&file.parts, file.entry.executable)
                    .map_err(|error| failed(file, error))?;
                self.report.unchanged += 1;
                self.done(file, new);
            }
            Found::File(old) if !self.force && !self.is_ours(path, &old) => {
                self.report.kept.push(path.clone())
            }
            Found::Other(what) => self.report.refused.push((path.clone(), what.to_owned())),
            Found::Nothing | Found::File(_) => {
                self.bytes += content.len();
                self.batch.push((file, content, new));
                if self.batch.len() >= BATCH || self.bytes >= BATCH_BYTES {
                    self.put()?;
                }
            }
        }
        Ok(())
    }

    fn is_ours(&self, path: &str, content: &String) -> bool {
        self.folder.written.get(path).is_some_and(|known| known.content.contains(content))
    }

    fn done(&mut self, file: &Wanted<'_>, content: String) {
        let written = Written { content: vec![content], hash: file.entry.hash.clone() };
        self.stays.insert(file.entry.path.clone(), written);
    }

    /// Writes what has come together. It is known as ours before it is there.
    fn put(&mut self) -> Result<(), CheckoutError> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        if batch.is_empty() {
            return Ok(());
        }
        for (file, _, new) in &batch {
            let known = self.folder.written.entry(file.entry.path.clone()).or_default();
            if !known.content.contains(new) {
                known.content.push(new.clone());
            }
        }
        self.folder.save()?;
        for (file, content, new) in batch {
            let written = self.folder.write(&file.parts, &content, file.entry.executable);
            written.map_err(|error| failed(file, error))?;
            self.report.written += 1;
            self.done(file, new);
        }
        Ok(())
    }

    /// Removes what earlier steps had and this one has not, unless somebody changed it.
    fn remove_others(mut self, entries: &[TreeEntry]) -> Result<Report, CheckoutError> {
        let listed: BTreeSet<&str> = entries.iter().map(|entry| &*entry.path).collect();
        for (path, known) in std::mem::take(&mut self.folder.written) {
            if listed.contains(&*path) {
                // One that was kept or refused.
                self.stays.entry(path).or_insert(known);
                continue;
            }
            // The list of what was written lies where anybody can change it.
            let Ok(parts) = path::parts(&path) else { continue };
            let write = |error| CheckoutError::Write(path.clone(), error);
            match self.folder.look(&parts).map_err(write)? {
                Found::File(old) if self.force || known.content.contains(&old) => {
                    self.folder.remove(&parts).map_err(write)?;
                    self.report.removed += 1;
                }
                Found::File(_) => self.report.kept.push(path),
                Found::Nothing | Found::Other(_) => {}
            }
        }
        self.folder.written = self.stays;
        self.folder.save()?;
        Ok(self.report)
    }
}

/// Whether a file may be there, beside those before it.
fn judge<'a>(
    entry: &'a TreeEntry,
    files: &mut BTreeSet<String>,
    folders: &mut BTreeSet<String>,
) -> Result<Vec<&'a str>, String> {
    let parts = path::parts(&entry.path).map_err(|why| format!("it {why}"))?;
    if entry.size > MAX_CONTENT_FILE {
        return Err("it is larger than 1 MiB".to_owned());
    }
    let folded = path::folded(&entry.path);
    let above: Vec<String> = folded.match_indices('/').map(|(at, _)| folded[..at].to_owned()).collect();
    if files.contains(&folded)
        || folders.contains(&folded)
        || above.iter().any(|folder| files.contains(folder))
    {
        return Err("another file has this name where case does not count".to_owned());
    }
    files.insert(folded);
    folders.extend(above);
    Ok(parts)
}

fn failed(file: &Wanted<'_>, error: io::Error) -> CheckoutError {
    CheckoutError::Write(file.entry.path.clone(), error)
}
