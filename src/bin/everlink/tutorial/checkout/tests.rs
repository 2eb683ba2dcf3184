//! Work folders under /tmp, and tutorials made up for them.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use super::*;

/// The files of one step, of which a stranger decides.
#[derive(Default)]
struct Files {
    files: Vec<(String, Vec<u8>, bool)>,
    /// Which were asked for.
    asked: Mutex<Vec<String>>,
    /// After so many the connection is gone.
    gone_after: Option<usize>,
}

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec(), path.ends_with(".sh")));
        Self { files: files.collect(), ..Self::default() }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Source for Files {
    fn tree(&self, _: u32) -> BoxFuture<'_, Result<Vec<TreeEntry>, ContentError>> {
        let entry = |(path, content, executable): &(String, Vec<u8>, bool)| TreeEntry {
            path: path.clone(),
            size: content.len() as u64,
            executable: *executable,
            hash: format!("git:{}", hash(content)),
        };
        let entries = self.files.iter().map(entry).collect();
        Box::pin(async { Ok(entries) })
    }

    fn file(&self, _: u32, path: String) -> BoxFuture<'_, Result<FileContent, ContentError>> {
        let mut asked = self.asked.lock().unwrap();
        let gone = self.gone_after.is_some_and(|after| asked.len() >= after);
        asked.push(path.clone());
        let found = self.files.iter().find(|(one, ..)| *one == path).unwrap();
        let file = FileContent::new(path, found.1.clone());
        Box::pin(async move {
            if gone { Err(ContentError::new(ContentErrorCode::Closed, "gone")) } else { Ok(file) }
        })
    }
}

async fn put(path: &Path, files: &[(&str, &str)], force: bool) -> Report {
    let mut folder = Folder::open(path).unwrap();
    checkout(&mut folder, &Files::new(files), 0, force).await.unwrap()
}

/// Everything below a folder but our own.
fn all(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if name == path::OWN {
                continue;
            }
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                walk(root, &path, found);
            } else {
                found.insert(name, fs::read_to_string(&path).unwrap_or_default());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

fn is(found: &BTreeMap<String, String>, expected: &[(&str, &str)]) -> bool {
    found.iter().map(|(path, text)| (&**path, &**text)).eq(expected.iter().copied())
}

#[tokio::test]
async fn a_step_takes_the_place_of_another() {
    let temporary = tempfile::tempdir().unwrap();
    let work = temporary.path().join("new/work");
    let first =
        [("README.md", "one"), ("run.sh", "#!/bin/sh"), ("src/deep/a.rs", "a"), ("src/same.rs", "same")];
    let report = put(&work, &first, false).await;
    assert_eq!(report, Report { written: 4, ..Report::default() });
    assert!(is(&all(&work), &first));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |name| fs::metadata(work.join(name)).unwrap().permissions().mode() & 0o111;
        assert!(mode("run.sh") != 0 && mode("README.md") == 0);
    }
    let second = [("README.md", "two"), ("src/b.rs", "b"), ("src/same.rs", "same")];
    let report = put(&work, &second, false).await;
    assert_eq!(report, Report { written: 2, unchanged: 1, removed: 2, ..Report::default() });
    assert!(is(&all(&work), &second), "{:?}", all(&work));
    assert!(!work.join("src/deep").exists(), "an empty folder stays");
    // Nothing is asked for that is there.
    let again = Files::new(&second);
    let report = checkout(&mut Folder::open(&work).unwrap(), &again, 0, false).await.unwrap();
    assert_eq!((report, again.asked()), (Report { unchanged: 3, ..Report::default() }, Vec::new()));
}

#[tokio::test]
async fn what_somebody_changed_stays_until_it_is_given_up() {
    let temporary = tempfile::tempdir().unwrap();
    let work = temporary.path();
    // There before, and not ours.
    fs::write(work.join("notes.txt"), "mine").unwrap();
    fs::write(work.join("same.txt"), "same").unwrap();
    let first = [("a", "1"), ("b", "1"), ("c", "1"), ("notes.txt", "theirs"), ("same.txt", "same")];
    let report = put(work, &first, false).await;
    assert_eq!((report.written, report.unchanged, &report.kept[..]), (3, 1, &["notes.txt".to_owned()][..]));
    fs::write(work.join("a"), "changed").unwrap();
    fs::write(work.join("b"), "changed").unwrap();
    let second = [("a", "2"), ("c", "2"), ("notes.txt", "theirs"), ("same.txt", "same")];
    let report = put(work, &second, false).await;
    assert_eq!(
        report.kept,
        ["a", "notes.txt", "b"],
        "one that is to be changed, one that is not ours, one that is to go"
    );
    assert!(is(
        &all(work),
        &[("a", "changed"), ("b", "changed"), ("c", "2"), ("notes.txt", "mine"), ("same.txt", "same")]
    ));
    assert!(report.to_string().contains("kept your changes in a, notes.txt, b"), "{report}");
    // Deleted is deleted: it comes again. Changed back is ours again.
    fs::remove_file(work.join("c")).unwrap();
    fs::write(work.join("a"), "1").unwrap();
    let report = put(work, &second, false).await;
    assert_eq!((report.written, &report.kept[..]), (2, &["notes.txt".to_owned()][..]));
    let report = put(work, &second, true).await;
    assert_eq!((report.written, report.kept.len()), (1, 0));
    // `b` became somebody else's when the step without it was put there.
    assert!(is(
        &all(work),
        &[("a", "2"), ("b", "changed"), ("c", "2"), ("notes.txt", "theirs"), ("same.txt", "same")]
    ));
}

#[tokio::test]
async fn nothing_is_written_outside_whatever_the_host_sends() {
    let temporary = tempfile::tempdir().unwrap();
    let work = temporary.path().join("work");
    let outside = temporary.path().join("outside");
    fs::create_dir_all(work.join(".git/hooks")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "outside").unwrap();
    let absolute = outside.join("absolute");
    let absolute = absolute.to_str().unwrap();
    let mut files = vec![
        ("../outside/up", "x"),
        (absolute, "x"),
        ("a/../../outside/up", "x"),
        (".git/hooks/post-checkout", "x"),
        (".GIT/config", "x"),
        ("git~1/config", "x"),
        (".everlink/checkout.json", "{}"),
        ("CON", "x"),
        ("a\\b", "x"),
        ("C:/x", "x"),
        ("Case.md", "first"),
        ("case.md", "second"),
        ("d", "a file"),
        ("d/e", "below it"),
        ("good", "good"),
    ];
    let large = "x".repeat((1 << 20) + 1);
    files.push(("large", &large));
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink(&outside, work.join("link")).unwrap();
        symlink(outside.join("file"), work.join("to-file")).unwrap();
        symlink(outside.join("nothing"), work.join("dangling")).unwrap();
        files.extend([("link/through", "x"), ("to-file", "x"), ("dangling", "x")]);
    }
    fs::create_dir(work.join("folder")).unwrap();
    files.push(("folder", "x"));
    for force in [false, true] {
        let report = put(&work, &files, force).await;
        assert_eq!(report.written + report.unchanged, 3, "{report:?}");
        assert_eq!(report.refused.len(), files.len() - 3, "{report:?}");
        assert!(report.kept.is_empty(), "{report:?}");
    }
    assert_eq!(fs::read_to_string(work.join("good")).unwrap(), "good");
    assert!(is(&all(&outside), &[("file", "outside")]), "{:?}", all(&outside));
    assert_eq!(fs::read_dir(work.join(".git/hooks")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 2);
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_removed_lies_in_the_folder_whatever_the_list_says() {
    use std::os::unix::fs::symlink;
    let temporary = tempfile::tempdir().unwrap();
    let (work, outside) = (temporary.path().join("work"), temporary.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "1").unwrap();
    put(&work, &[("a/file", "1"), ("b", "1")], false).await;
    // Somebody put a link in the place of a folder, and wrote what they liked into the list.
    fs::remove_dir_all(work.join("a")).unwrap();
    symlink(&outside, work.join("a")).unwrap();
    let mut folder = Folder::open(&work).unwrap();
    folder
        .written
        .insert("../outside/file".into(), Written { content: vec![hash(b"1")], hash: String::new() });
    folder.save().unwrap();
    let report = put(&work, &[("c", "1")], true).await;
    assert_eq!((report.written, report.removed), (1, 1));
    assert!(is(&all(&outside), &[("file", "1")]));

    // Our own folder is no way out either.
    let other = temporary.path().join("other");
    fs::create_dir(&other).unwrap();
    symlink(&outside, other.join(path::OWN)).unwrap();
    assert!(matches!(Folder::open(&other), Err(CheckoutError::Folder(..))));
    assert!(is(&all(&outside), &[("file", "1")]));
}

#[tokio::test]
async fn whoever_is_cut_off_in_the_middle_goes_on_without_questions() {
    let temporary = tempfile::tempdir().unwrap();
    let work = temporary.path();
    let name = |number: usize| format!("file-{number:03}");
    let step = |text: &str| {
        let files: Vec<(String, String)> = (0..130).map(|number| (name(number), text.to_owned())).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
        Files::new(&files)
    };
    checkout(&mut Folder::open(work).unwrap(), &step("1"), 0, false).await.unwrap();
    for cut in [0, 65] {
        let mut second = step("2");
        second.gone_after = Some(cut);
        let error = checkout(&mut Folder::open(work).unwrap(), &second, 1, false).await.unwrap_err();
        assert!(matches!(error, CheckoutError::Content(_)), "{error}");
        assert!(all(work).values().all(|text| text == "1" || text == "2"));
        let report = checkout(&mut Folder::open(work).unwrap(), &step("1"), 0, false).await.unwrap();
        assert!(report.kept.is_empty() && report.refused.is_empty(), "{report:?}");
        assert!(all(work).values().all(|text| text == "1"));
    }
    assert!(fs::read_dir(work.join(path::OWN)).unwrap().count() == 1, "a part of a file is left");
}

#[test]
fn a_list_that_cannot_be_read_is_no_leave_to_overwrite() {
    let temporary = tempfile::tempdir().unwrap();
    let own = temporary.path().join(path::OWN);
    fs::create_dir(&own).unwrap();
    for text in ["", "{", "[]", r#"{"version":2,"files":{}}"#, r#"{"version":1,"files":[]}"#] {
        fs::write(own.join("checkout.json"), text).unwrap();
        let error = Folder::open(temporary.path()).unwrap_err();
        assert!(matches!(error, CheckoutError::Manifest(..)), "{error}");
        assert!(error.to_string().contains("remove it"), "{error}");
    }
    let file = temporary.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(Folder::open(&file).unwrap_err().to_string().contains("--work"));
}

#[cfg(unix)]
mod properties {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    fn path() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "..",
            ".",
            "",
            "a",
            "b",
            "A",
            ".git",
            ".GIT",
            "link",
            "to-file",
            "dangling",
            "CON",
            "c:",
            "a\\..",
            "..\\a",
            ".everlink",
            "git~1",
            "a.",
            "\u{200d}.git",
        ]);
        prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Two steps of whatever names, over a folder with links that lead out of it.
        #[test]
        fn whatever_the_names_nothing_outside_changes(
            first in prop::collection::btree_set(path(), 0..12),
            second in prop::collection::btree_set(path(), 0..12),
            force in any::<bool>(),
        ) {
            let temporary = tempfile::tempdir().unwrap();
            let (work, outside) = (temporary.path().join("work"), temporary.path().join("outside"));
            fs::create_dir_all(outside.join("a")).unwrap();
            fs::create_dir_all(work.join(".git")).unwrap();
            fs::write(outside.join("file"), "outside").unwrap();
            fs::write(outside.join("a/b"), "outside").unwrap();
            symlink(&outside, work.join("link")).unwrap();
            symlink(outside.join("file"), work.join("to-file")).unwrap();
            symlink(outside.join("new"), work.join("dangling")).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for (text, names) in [("1", &first), ("2", &second)] {
                let files: Vec<(&str, &str)> = names.iter().map(|name| (&**name, text)).collect();
                let report = runtime.block_on(put(&work, &files, force));
                prop_assert_eq!(report.written + report.unchanged + report.refused.len() + report.kept.len(), files.len());
            }
            prop_assert!(is(&all(&outside), &[("a/b", "outside"), ("file", "outside")]), "{:?}", all(&outside));
            prop_assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 2);
            prop_assert_eq!(fs::read_dir(work.join(".git")).unwrap().count(), 0);
            for link in ["link", "to-file", "dangling"] {
                prop_assert!(fs::symlink_metadata(work.join(link)).unwrap().is_symlink());
            }
        }
    }
}
