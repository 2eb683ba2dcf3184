//! Answers what members ask of a tutorial in a repository.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use everlink::BoxFuture;
use everlink::tutorial::{
    ContentError, ContentErrorCode, ContentReply, ContentRequest, FileContent, StepPage, StepType, TreeEntry,
    TutorialContent, check_path,
};
use gix::objs::tree::EntryKind;

use super::{RepositoryError, Step, Tutorial, changes, tree};

/// How many bytes the text of a step may have, as JSON.
const MAX_TEXT: usize = 1 << 20;
/// How many pages are kept ready: a class asks for the same one at the same time.
const KEPT: usize = 8;

/// A tutorial that answers.
#[derive(Clone)]
pub struct RepositoryContent {
    tutorial: Arc<Tutorial>,
    /// The pages last made, the newest last. Held for a look and a clone.
    pages: Arc<Mutex<VecDeque<StepPage>>>,
}

impl RepositoryContent {
    pub fn new(tutorial: Arc<Tutorial>) -> Self {
        Self { tutorial, pages: Arc::default() }
    }

    /// Answers. Blocks while it reads.
    pub fn reply(&self, request: ContentRequest) -> Result<ContentReply, ContentError> {
        Ok(match request {
            ContentRequest::Outline => ContentReply::Outline(self.tutorial.outline()),
            ContentRequest::Step { index, solution } => ContentReply::Step(self.page(index, solution)?),
            ContentRequest::Tree { index } => ContentReply::Tree(self.tree(index)?),
            ContentRequest::File { index, path } => ContentReply::File(self.file(index, &path)?),
            _ => {
                return Err(ContentError::new(
                    ContentErrorCode::BadRequest,
                    "this host does not know the question",
                ));
            }
        })
    }

    fn step(&self, index: u32) -> Result<&Step, ContentError> {
        self.tutorial.steps.get(index as usize).ok_or_else(|| {
            let words =
                format!("there is no step {}; there are {}", u64::from(index) + 1, self.tutorial.steps.len());
            ContentError::new(ContentErrorCode::NotFound, words)
        })
    }

    fn page(&self, index: u32, solution: bool) -> Result<StepPage, ContentError> {
        let mut step = self.step(index)?;
        if solution && step.summary.kind == StepType::Template {
            let next = self.tutorial.steps.get(index as usize + 1);
            step = next.filter(|next| next.summary.kind == StepType::Solution).ok_or_else(|| {
                ContentError::new(ContentErrorCode::NotFound, format!("step {} has no solution", index + 1))
            })?;
        }
        let index = step.summary.index;
        if let Some(page) = self.kept().iter().find(|page| page.index == index) {
            return Ok(page.clone());
        }
        let page = self.read(step)?;
        let mut kept = self.kept();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(page.clone());
        Ok(page)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, VecDeque<StepPage>> {
        self.pages.lock().expect("no panic while locked")
    }

    fn read(&self, step: &Step) -> Result<StepPage, ContentError> {
        let repository = self.tutorial.repository.to_thread_local();
        let parent = step.parent.map(|parent| parent.tree);
        let differences = tree::differences(&repository, parent, step.commit.tree)?;
        let files = changes::changes(&repository, &differences)?;

        let mut markdown = String::new();
        // The lesson is the README; without one, a text that came with the step.
        let changed = differences.iter().filter(|one| one.new.is_some()).map(|one| one.path.to_string());
        let texts = ["README.md", "readme.md", "Readme.md"].map(str::to_owned).into_iter();
        for path in texts.chain(changed.filter(|path| path.to_lowercase().ends_with(".md"))) {
            let Some(file) = tree::file(&repository, step.commit.tree, &path)? else { continue };
            if !matches!(file.kind, EntryKind::Blob | EntryKind::BlobExecutable) {
                continue;
            }
            match changes::load(&repository, file.id)? {
                Some(bytes) => markdown.push_str(&String::from_utf8_lossy(&bytes)),
                None => markdown.push_str(&format!("*{path} is too large to be shown.*\n")),
            }
            break;
        }
        if !step.body.is_empty() {
            let apart = if markdown.is_empty() { "" } else { "\n\n" };
            markdown = format!("{}{apart}{}\n", markdown.trim_end(), step.body);
        }
        if changes::json_size(&markdown) > MAX_TEXT {
            let mut left = MAX_TEXT;
            let fits = |c: &char| {
                left = left.saturating_sub(changes::json_size(c));
                left > 0
            };
            markdown = markdown.chars().take_while(fits).collect();
            markdown.push_str("\n\n*The text is too long to be shown as a whole.*\n");
        }
        if differences.len() > files.len() {
            let more = differences.len() - files.len();
            markdown.push_str(&format!("\n*{more} more files are changed, which are not shown.*\n"));
        }
        let summary = &step.summary;
        Ok(StepPage {
            index: summary.index,
            id: summary.id.clone(),
            title: summary.title.clone(),
            kind: summary.kind,
            commit_hash: summary.commit_hash.clone(),
            markdown,
            files,
        })
    }

    fn tree(&self, index: u32) -> Result<Vec<TreeEntry>, ContentError> {
        let step = self.step(index)?;
        let repository = self.tutorial.repository.to_thread_local();
        let mut entries = Vec::new();
        for (path, file) in tree::files(&repository, step.commit.tree)? {
            let executable = match file.kind {
                EntryKind::Blob => false,
                EntryKind::BlobExecutable => true,
                // Links lead elsewhere, and other repositories are not here.
                _ => continue,
            };
            // Nor can anybody ask for what is no path everywhere.
            let Ok(path) = String::from_utf8(path.into()) else { continue };
            if check_path(&path).is_err() {
                continue;
            }
            let size = changes::size(&repository, file.id)?;
            entries.push(TreeEntry { path, size, executable, hash: file.id.to_string() });
        }
        Ok(entries)
    }

    fn file(&self, index: u32, path: &str) -> Result<FileContent, ContentError> {
        check_path(path)?;
        let step = self.step(index)?;
        let repository = self.tutorial.repository.to_thread_local();
        let found = tree::file(&repository, step.commit.tree, path)?;
        let found = found.filter(|file| matches!(file.kind, EntryKind::Blob | EntryKind::BlobExecutable));
        let Some(file) = found else {
            let words = format!("there is no file {path:?} at step {}", index + 1);
            return Err(ContentError::new(ContentErrorCode::NotFound, words));
        };
        match changes::load(&repository, file.id)? {
            Some(bytes) => Ok(FileContent::new(path, bytes)),
            None => {
                let words = format!("{path:?} is larger than 1 MiB, and is not sent");
                Err(ContentError::new(ContentErrorCode::TooLarge, words))
            }
        }
    }
}

impl TutorialContent for RepositoryContent {
    fn answer(&self, request: ContentRequest) -> BoxFuture<'static, Result<ContentReply, ContentError>> {
        let content = self.clone();
        Box::pin(async move {
            let reading = tokio::task::spawn_blocking(move || content.reply(request));
            reading.await.unwrap_or_else(|_| {
                Err(ContentError::new(
                    ContentErrorCode::Unavailable,
                    "the host failed to read its repository",
                ))
            })
        })
    }
}

impl From<RepositoryError> for ContentError {
    fn from(error: RepositoryError) -> Self {
        Self::new(ContentErrorCode::Unavailable, error.to_string())
    }
}
