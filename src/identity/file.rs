//! An identity in a file: one line, `everlink-secret-key-1 ` and the seed in base64url.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::Identity;
use crate::runtime;

const HEADER: &str = "everlink-secret-key-1 ";
/// A file of this size or more is not read: it is something else.
const TOO_LONG: usize = 256;

pub(super) fn load_or_create(path: &Path) -> io::Result<Identity> {
    match load(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        done => return done,
    }
    create(path).map_err(|error| {
        let why = format!("cannot create the identity file {}: {error}", path.display());
        io::Error::new(error.kind(), why)
    })?;
    // Whoever came first: what is in the file counts.
    load(path)
}

fn load(path: &Path) -> io::Result<Identity> {
    let shown = path.display();
    let fail = |kind: ErrorKind, why: String| Err(io::Error::new(kind, why));
    let cannot = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot read the identity file {shown}: {error}"))
    };
    let no_file =
        || fail(ErrorKind::InvalidData, format!("{shown} is not a file; name a file for the identity"));
    // Opening a pipe would wait for somebody to write into it.
    if !fs::metadata(path).map_err(cannot)?.is_file() {
        return no_file();
    }
    let mut file = File::open(path).map_err(cannot)?;
    // Of the open file, so that it is the one that is read.
    let facts = file.metadata().map_err(cannot)?;
    if !facts.is_file() {
        return no_file();
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if facts.permissions().mode() & 0o077 != 0 {
            let why = format!(
                "others may read the secret key in {shown}; if only you have used it, run: chmod 600 {shown}"
            );
            return fail(ErrorKind::PermissionDenied, why);
        }
    }
    // Large enough that reading never moves the secret to another place in memory.
    let mut bytes = Zeroizing::new([0; TOO_LONG]);
    let mut length = 0;
    while length < TOO_LONG {
        match file.read(&mut bytes[length..]).map_err(cannot)? {
            0 => break,
            more => length += more,
        }
    }
    match parse(&bytes[..length]) {
        Some(seed) => Ok(Identity::from_secret(*seed)),
        None => fail(
            ErrorKind::InvalidData,
            format!(
                "{shown} is no identity file, or is damaged; restore it from a backup, \
                 or move it away to get a new identity"
            ),
        ),
    }
}

fn parse(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let text = std::str::from_utf8(text).ok()?;
    let encoded = text.strip_prefix(HEADER)?.trim_end_matches(['\r', '\n']);
    let mut seed = Zeroizing::new([0; 32]);
    (URL_SAFE_NO_PAD.decode_slice(encoded, seed.as_mut_slice()) == Ok(32)).then_some(seed)
}

/// Writes a new identity beside `path` and then gives it that name, unless another has it.
fn create(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "this is not the name of a file"));
    };
    fs::create_dir_all(&directory)?;
    let mut temporary = name.to_os_string();
    temporary.push(format!(".{:016x}.tmp", u64::from_be_bytes(runtime::random())));
    let temporary = directory.join(temporary);

    let linked = write_new(&temporary).and_then(|()| match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        // File systems without hard links: a name taken at the same moment is then overwritten,
        // which is why this is only the second choice.
        Err(_) if !path.exists() => fs::rename(&temporary, path),
        linked => linked,
    });
    // Renamed, it is not there any more.
    let _ = fs::remove_file(&temporary);
    linked?;
    #[cfg(unix)]
    File::open(&directory)?.sync_all()?;
    Ok(())
}

fn write_new(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let seed = Zeroizing::new(runtime::random::<32>());
    let mut line = Zeroizing::new([0; 128]);
    line[..HEADER.len()].copy_from_slice(HEADER.as_bytes());
    // 43 characters, which fit.
    let encoded = URL_SAFE_NO_PAD
        .encode_slice(seed.as_slice(), &mut line[HEADER.len()..])
        .map_err(|error| io::Error::other(error.to_string()))?;
    let end = HEADER.len() + encoded;
    line[end] = b'\n';
    file.write_all(&line[..=end])?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn write(path: &Path, text: &[u8], mode: u32) {
        fs::write(path, text).unwrap();
        #[cfg(unix)]
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn made_once_then_the_same() {
        let directory = directory();
        let path = directory.path().join("deep/er/key");
        let first = load_or_create(&path).unwrap();
        assert_eq!(first.public_key(), load_or_create(&path).unwrap().public_key());
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(HEADER) && text.lines().count() == 1);
        let beside: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(beside.len(), 1, "nothing is left beside it");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn of_many_at_once_all_get_the_same() {
        for _ in 0..20 {
            let directory = directory();
            let path = directory.path().join("key");
            let barrier = std::sync::Barrier::new(8);
            let keys: std::collections::BTreeSet<_> = std::thread::scope(|scope| {
                let started: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            load_or_create(&path).unwrap().public_key()
                        })
                    })
                    .collect();
                started.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(keys.len(), 1);
        }
    }

    #[cfg(unix)]
    #[test]
    fn one_that_others_may_read_is_refused_and_left_alone() {
        let directory = directory();
        let path = directory.path().join("key");
        load_or_create(&path).unwrap();
        let before = fs::read(&path).unwrap();
        for mode in [0o644, 0o640, 0o604, 0o660] {
            write(&path, &before, mode);
            let error = load_or_create(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let directory = directory();
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.as_path(), Path::new("/dev/zero")] {
            let error = load_or_create(path).unwrap_err();
            assert!(error.to_string().contains("not a file"), "{error}");
        }
    }

    #[test]
    fn what_is_no_identity_is_refused_and_left_alone() {
        let directory = directory();
        let path = directory.path().join("key");
        let short = format!("{HEADER}AAAA\n");
        let long = format!("{HEADER}{}\n", "A".repeat(400));
        for bad in [&b""[..], b"\0\xff", b"-----BEGIN", short.as_bytes(), long.as_bytes()] {
            write(&path, bad, 0o600);
            let error = load_or_create(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            assert!(error.to_string().contains("backup"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), bad);
        }
        let error = load_or_create(directory.path()).unwrap_err();
        assert!(error.to_string().contains("not a file"), "{error}");
    }
}
