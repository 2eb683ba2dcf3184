//! Repositories that `tests/tutorial/sample.sh` makes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use everlink::tutorial::{
    ContentErrorCode, ContentReply, ContentRequest, FileChange, FileStatus, StepPage, StepType,
};

use super::{RepositoryContent, RepositoryError, Tutorial};

struct Sample(tempfile::TempDir);

impl Sample {
    fn new(more: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tutorial/sample.sh");
        let made =
            Command::new("bash").arg(script).arg(directory.path().join("greeting")).args(more).status();
        assert!(made.expect("bash is there").success());
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("greeting")
    }

    fn open(&self, branch: Option<&str>) -> Result<Tutorial, RepositoryError> {
        Tutorial::open(&self.path(), branch)
    }

    fn content(&self, branch: Option<&str>) -> RepositoryContent {
        RepositoryContent::new(Arc::new(self.open(branch).unwrap()))
    }
}

fn page(content: &RepositoryContent, index: u32, solution: bool) -> StepPage {
    match content.reply(ContentRequest::Step { index, solution }).unwrap() {
        ContentReply::Step(page) => page,
        other => panic!("{other:?}"),
    }
}

fn change<'a>(page: &'a StepPage, path: &str) -> &'a FileChange {
    page.files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is not in {page:?}"))
}

fn file(content: &RepositoryContent, index: u32, path: &str) -> Result<Vec<u8>, ContentErrorCode> {
    match content.reply(ContentRequest::File { index, path: path.to_owned() }) {
        Ok(ContentReply::File(file)) => Ok(file.into_bytes().unwrap()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.code),
    }
}

fn tree(content: &RepositoryContent, index: u32) -> Vec<(String, u64, bool)> {
    match content.reply(ContentRequest::Tree { index }).unwrap() {
        ContentReply::Tree(entries) => {
            entries.into_iter().map(|entry| (entry.path, entry.size, entry.executable)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn commits_are_steps() {
    let sample = Sample::new(&[]);
    let tutorial = sample.open(None).unwrap();
    let steps: Vec<_> = tutorial
        .steps
        .iter()
        .map(|step| (step.summary.kind, &*step.summary.title, step.summary.section.as_deref()))
        .collect();
    let section = Some("A greeting");
    assert_eq!(
        steps,
        [
            (StepType::Section, "A greeting", None),
            (StepType::Action, "Set up the project", section),
            (StepType::Template, "Say hello", section),
            (StepType::Solution, "Say hello", section),
            (StepType::Template, "Ask for a name", section),
            (StepType::Solution, "Ask for a name", section),
            (StepType::Section, "The end", None),
        ]
    );
    assert_eq!(tutorial.remarks, ["a commit is no step: \"readme: About this tutorial\""]);
    assert_eq!((&*tutorial.id, &*tutorial.title), ("example/greeting", "greeting"));
    assert_eq!(tutorial.repo_url.as_deref(), Some("https://github.com/example/greeting"));
    let head =
        Command::new("git").arg("-C").arg(sample.path()).args(["rev-parse", "gitorial"]).output().unwrap();
    let head = String::from_utf8(head.stdout).unwrap();
    assert_eq!(tutorial.steps.last().unwrap().summary.commit_hash, head.trim());
}

#[test]
fn a_page_has_the_lesson_and_what_is_changed() {
    let sample = Sample::new(&[]);
    let content = sample.content(None);
    let template = page(&content, 2, false);
    assert_eq!(template.markdown, "# Say hello\n\n```rust\nprintln!(\"…\");\n```\n\nPrint a line.\n");
    let main = change(&template, "src/main.rs");
    assert_eq!((main.status, main.additions, main.deletions), (FileStatus::Modified, 3, 1));
    assert_eq!(
        main.diff.as_deref(),
        Some("@@ -1 +1,3 @@\n-fn main() {}\n+fn main() {\n+    // TODO: greet\n+}\n")
    );

    let solution = page(&content, 2, true);
    assert_eq!((solution.index, solution.kind), (3, StepType::Solution));
    assert_eq!(solution, page(&content, 3, false));
    assert_eq!(change(&solution, "src/main.rs").additions, 1);

    // The first step that has files: no page of it shows bytes as text.
    let action = page(&content, 1, true);
    let logo = change(&action, "logo.png");
    assert_eq!((logo.status, logo.binary, &logo.diff), (FileStatus::Added, true, &None));
    let moved = page(&content, 4, false);
    let start = change(&moved, "start.sh");
    assert_eq!((start.status, start.old_path.as_deref()), (FileStatus::Renamed, Some("run.sh")));
    assert!(moved.files.iter().all(|file| file.path != "run.sh"), "{moved:?}");
    let end = page(&content, 6, false);
    assert_eq!(change(&end, "start.sh").status, FileStatus::Deleted);
    assert_eq!(
        change(&end, "link").diff.as_deref(),
        Some("@@ -0,0 +1 @@\n+src/main.rs\n\\ No newline at end of file\n")
    );
}

#[test]
fn files_are_as_they_were_at_a_step() {
    let sample = Sample::new(&[]);
    let content = sample.content(None);
    let names = |index| tree(&content, index).into_iter().map(|(path, ..)| path).collect::<Vec<_>>();
    assert_eq!(names(0), ["README.md"]);
    assert_eq!(names(4), [".gitignore", "README.md", "logo.png", "src/main.rs", "src/name.rs", "start.sh"]);
    // Links are left out.
    assert_eq!(names(6), [".gitignore", "README.md", "logo.png", "src/main.rs", "src/name.rs"]);
    assert!(tree(&content, 4).contains(&("start.sh".to_owned(), 20, true)));
    assert_eq!(file(&content, 1, "src/main.rs").unwrap(), b"fn main() {}\n");
    assert_eq!(file(&content, 1, "logo.png").unwrap(), b"\x89PNG\r\n\x1a\n\0\0");
    for none in ["src", "src/main.rs/x", "nothing", "run.sh/..", "src/name.rs"] {
        let code = file(&content, 1, none).unwrap_err();
        assert!(matches!(code, ContentErrorCode::NotFound | ContentErrorCode::BadPath), "{none}: {code:?}");
    }
    assert_eq!(file(&content, 6, "link"), Err(ContentErrorCode::NotFound));
    for index in [7, u32::MAX] {
        let error = content.reply(ContentRequest::Step { index, solution: false }).unwrap_err();
        assert_eq!(error.code, ContentErrorCode::NotFound);
        assert!(error.message.contains("there are 7"), "{error}");
    }
}

#[test]
fn a_file_of_gigabytes_is_marked_and_not_read() {
    let sample = Sample::new(&[]);
    let content = sample.content(Some("large"));
    let last = 7;
    let shown = page(&content, last, false);
    let big = change(&shown, "big.bin");
    assert_eq!((big.status, big.too_large, &big.diff), (FileStatus::Added, true, &None));
    assert_eq!(tree(&content, last)[1], ("big.bin".to_owned(), 2 << 30, false));
    assert_eq!(file(&content, last, "big.bin"), Err(ContentErrorCode::TooLarge));
    assert_eq!(file(&content, last, "README.md").unwrap(), b"# Readme\n");
}

#[test]
fn what_cannot_be_read_is_said_and_the_rest_is_shown() {
    let sample = Sample::new(&[]);
    let content = sample.content(Some("broken"));
    let error = content.reply(ContentRequest::Step { index: 7, solution: false }).unwrap_err();
    assert_eq!(error.code, ContentErrorCode::Unavailable);
    assert!(error.message.contains("2222222222") && error.message.contains("git fsck"), "{error}");
    assert_eq!(page(&content, 0, false).title, "A greeting");
    assert_eq!(file(&content, 7, "gone.txt"), Err(ContentErrorCode::Unavailable));
    assert_eq!(file(&content, 7, "README.md").unwrap(), b"# Readme\n");
}

#[test]
fn names_that_climb_are_not_offered() {
    let sample = Sample::new(&[]);
    let content = sample.content(Some("climbing"));
    // What else a work folder must not have is judged where it is written.
    let names: Vec<_> = tree(&content, 7).into_iter().map(|(path, ..)| path).collect();
    assert_eq!(names, [".git/escaped.txt", "CON", "README.md"]);
    assert_eq!(file(&content, 7, "../escaped.txt"), Err(ContentErrorCode::BadPath));
}

#[test]
fn what_is_no_tutorial_is_told_what_to_do() {
    let sample = Sample::new(&[]);
    let words =
        |path: &Path, branch| Tutorial::open(path, branch).err().expect("it is no tutorial").to_string();
    let nothing = words(Path::new("/nowhere/at/all"), None);
    assert_eq!(nothing, "there is no /nowhere/at/all");
    let folder = words(sample.0.path(), None);
    assert!(folder.contains("is not a git repository; name the folder"), "{folder}");
    let file = words(&sample.path().join("README.md"), None);
    assert!(file.contains("is not a git repository"), "{file}");
    let inside = words(&sample.path().join("src"), None);
    assert!(inside.contains("is not a git repository"), "{inside}");
    let plain = words(&sample.path(), Some("plain"));
    assert!(plain.contains("none of the 2 commits of the branch \"plain\" is a step"), "{plain}");
    let missing = words(&sample.path(), Some("nope"));
    assert!(missing.contains("no branch \"nope\"; choose one with --branch: "), "{missing}");
    for branch in ["broken", "climbing", "gitorial", "large", "plain"] {
        assert!(missing.contains(branch), "{missing}");
    }
    let empty = Sample::new(&["empty"]);
    let words = words(&empty.path(), None);
    assert!(words.contains("is empty"), "{words}");
}

#[test]
fn a_fresh_clone_has_the_branch_at_its_origin_and_may_be_shallow() {
    let sample = Sample::new(&[]);
    let clone = sample.0.path().join("clone");
    let git = |arguments: &[&str]| {
        let done =
            Command::new("git").args(["-c", "protocol.file.allow=always"]).args(arguments).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    // What is broken on purpose cannot be cloned.
    git(&["-C", sample.path().to_str().unwrap(), "branch", "--quiet", "-D", "broken", "large", "climbing"]);
    let url = format!("file://{}", sample.path().display());
    git(&[
        "clone",
        "--quiet",
        "--depth=3",
        "--no-single-branch",
        "--branch=plain",
        &url,
        clone.to_str().unwrap(),
    ]);
    let tutorial = Tutorial::open(&clone, None).unwrap();
    assert_eq!((&*tutorial.branch, tutorial.steps.len()), ("origin/gitorial", 3));
    // A path of this machine is not published.
    assert_eq!((&*tutorial.id, tutorial.repo_url.as_deref()), ("clone", None));
    // And packed, with no loose file left.
    git(&["-C", clone.to_str().unwrap(), "gc", "--quiet", "--prune=now"]);
    let content = RepositoryContent::new(Arc::new(tutorial));
    assert_eq!(page(&content, 2, false).title, "The end");
    let bare = sample.0.path().join("bare.git");
    git(&[
        "clone",
        "--quiet",
        "--bare",
        "--branch=gitorial",
        "--single-branch",
        &url,
        bare.to_str().unwrap(),
    ]);
    assert_eq!(Tutorial::open(&bare, None).unwrap().title, "bare");
}

#[test]
fn a_page_fits_into_a_reply_whatever_a_step_changes() {
    let sample = Sample::new(&[]);
    let path = sample.path();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(&path).args(["-c", "user.name=a", "-c", "user.email=a@b.c"]).args(arguments);
        assert!(command.output().unwrap().status.success());
    };
    // Text that is longer as JSON, many long names, and diffs of 900 KiB each.
    std::fs::write(path.join("README.md"), "\u{1}\"\n".repeat(300_000)).unwrap();
    for number in 0..1_700 {
        std::fs::write(path.join(format!("{number:04}-{}", "n".repeat(200))), "x\n").unwrap();
    }
    for number in 0..5 {
        std::fs::write(path.join(format!("large-{number}.txt")), format!("{number}\n").repeat(450_000))
            .unwrap();
    }
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "-m", "action: Everything at once"]);
    let content = sample.content(None);
    let page = page(&content, 7, false);
    let size = super::changes::json_size(&page);
    assert!(size <= everlink::tutorial::MAX_CONTENT_REPLY, "{size}");
    assert!(
        page.markdown.contains("too long to be shown") && page.markdown.contains("more files are changed")
    );
    assert!(page.files.len() > 1_000, "{}", page.files.len());
    // And so does the list of its files.
    assert_eq!(tree(&content, 7).len(), 1_710);
}
