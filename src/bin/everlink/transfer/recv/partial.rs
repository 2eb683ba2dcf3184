//! The file that is not complete yet: `NAME.part`, beside where it will be.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::super::{MAX_PREFIXES, Prefix, hash_on, hex};
use crate::failure::Failure;

/// So much is written before it is put on disk for good, so that a power cut costs no more.
const SYNC_EVERY: u64 = 64 << 20;

/// What is there of a file, and how it becomes the file.
pub struct Partial {
    /// `None` if the whole file may be there already.
    file: Option<File>,
    part: PathBuf,
    path: PathBuf,
    size: u64,
    force: bool,
    /// Beginnings of what is there, with the state of the hash at their ends.
    beginnings: Vec<(u64, Sha256)>,
    hasher: Sha256,
    length: u64,
    unsynced: u64,
}

impl Partial {
    /// Looks at what is there, and hashes it. The lock keeps another process from the same file.
    pub fn open(path: &Path, size: u64, force: bool) -> Result<Self, Failure> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let mut this = Self {
            file: None,
            part: part.into(),
            path: path.to_owned(),
            size,
            force,
            beginnings: Vec::new(),
            hasher: Sha256::new(),
            length: 0,
            unsynced: 0,
        };
        match fs::symlink_metadata(path) {
            Ok(facts) if facts.is_dir() => {
                return Err(Failure::new(format!("{} is a directory", path.display()), "correct --out"));
            }
            // Perhaps this very file: then it was received, and only the sender does not know.
            Ok(facts) if !force && facts.is_file() && facts.len() == size => {
                let mut file = File::open(path).map_err(|error| cannot("read", path, &error))?;
                let mut hasher = Sha256::new();
                hash_on(&mut file, &mut hasher, 0, size).map_err(|error| cannot("read", path, &error))?;
                this.beginnings.push((size, hasher));
                return Ok(this);
            }
            Ok(_) if !force => return Err(this.exists()),
            _ => {}
        }
        // Not through a link that somebody laid there.
        if fs::symlink_metadata(&this.part).is_ok_and(|facts| !facts.is_file()) {
            let what = format!("{} is in the way and not a file", this.part.display());
            return Err(Failure::new(what, "remove it"));
        }
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&this.part);
        let mut file = opened.map_err(|error| this.cannot_write(&error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let what = format!("another process is receiving {}", path.display());
                return Err(Failure::new(what, "wait for it, or choose another place with --out"));
            }
            // A file system without locks: the user has to see to it.
            Err(TryLockError::Error(_)) => {}
        }
        // What is claimed must be on disk, or a power cut could take it back.
        file.sync_all().map_err(|error| this.cannot_write(&error))?;
        let there = file.metadata().map_err(|error| this.cannot_write(&error))?.len().min(size);
        let step = there.div_ceil(MAX_PREFIXES as u64 - 1).max(1);
        let (mut hasher, mut at) = (Sha256::new(), 0);
        while at < there {
            let to = there.min(at + step);
            match hash_on(&mut file, &mut hasher, at, to) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(cannot("read", &this.part, &error)),
            }
            at = to;
            this.beginnings.push((at, hasher.clone()));
        }
        this.file = Some(file);
        Ok(this)
    }

    /// What there is, for the sender to compare.
    pub fn prefixes(&self) -> Vec<Prefix> {
        let prefix =
            |(length, hasher): &(u64, Sha256)| Prefix { length: *length, sha256: hex(hasher.clone()) };
        self.beginnings.iter().map(prefix).collect()
    }

    /// The sender goes on here; what is beyond is not of its file.
    pub fn go_on(&mut self, offset: u64) -> Result<(), Failure> {
        let beginning = self.beginnings.iter().find(|(length, _)| *length == offset);
        match beginning {
            Some((_, hasher)) => self.hasher = hasher.clone(),
            None if offset == 0 => {}
            None => {
                return Err(Failure::new(
                    "the sender goes on where nothing ends",
                    "are both of one version?",
                ));
            }
        }
        self.length = offset;
        let (beyond, size) = (offset, self.size);
        match &mut self.file {
            // An empty file that is there is the empty file that is sent.
            None if beyond == size => Ok(()),
            None => Err(self.exists()),
            Some(file) => file
                .set_len(beyond)
                .and_then(|()| file.seek(SeekFrom::Start(beyond)))
                .map(drop)
                .map_err(|error| self.cannot_write(&error)),
        }
    }

    /// How much there is.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn write(&mut self, piece: &[u8]) -> Result<(), Failure> {
        let length = piece.len() as u64;
        if length > self.size - self.length {
            return Err(Failure::new("the sender sent more than it had offered", "are both of one version?"));
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        self.unsynced += length;
        let sync = self.unsynced >= SYNC_EVERY;
        let written = file.write_all(piece).and_then(|()| if sync { file.sync_data() } else { Ok(()) });
        written.map_err(|error| self.cannot_write(&error))?;
        if sync {
            self.unsynced = 0;
        }
        self.hasher.update(piece);
        self.length += length;
        Ok(())
    }

    /// Everything is there: verifies it and gives it its name. Returns the hash.
    pub fn finish(&mut self, sha256: &str) -> Result<String, Failure> {
        let ours = hex(self.hasher.clone());
        let Some(file) = self.file.take() else { return Ok(ours) };
        file.sync_all().map_err(|error| self.cannot_write(&error))?;
        if ours != sha256 {
            // Nothing of it can be trusted.
            let _ = fs::remove_file(&self.part);
            let what = format!(
                "the checksum of {} is wrong, and what was received is thrown away",
                self.path.display()
            );
            return Err(Failure::new(
                what,
                "send it again; if it happens again, check the disks and memory of both",
            ));
        }
        let placed = if self.force { fs::rename(&self.part, &self.path) } else { self.place() };
        match placed {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(self.exists()),
            Err(error) => return Err(cannot("write", &self.path, &error)),
        }
        // The name, too, shall survive a power cut. Not every platform can.
        if let Some(parent) = self.path.parent().filter(|parent| !parent.as_os_str().is_empty())
            && let Ok(directory) = File::open(parent)
        {
            let _ = directory.sync_all();
        }
        Ok(ours)
    }

    /// Moves it to its place, where nothing may be.
    fn place(&self) -> io::Result<()> {
        match fs::hard_link(&self.part, &self.path) {
            Ok(()) => fs::remove_file(&self.part),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // A file system without links: looking first is the best there is.
            Err(_) => match fs::symlink_metadata(&self.path) {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(_) => fs::rename(&self.part, &self.path),
            },
        }
    }

    fn exists(&self) -> Failure {
        Failure::new(
            format!("{} exists already", self.path.display()),
            "receive with --force to overwrite it",
        )
    }

    fn cannot_write(&self, error: &io::Error) -> Failure {
        cannot("write", &self.part, error)
    }
}

fn cannot(does: &str, path: &Path, error: &io::Error) -> Failure {
    let todo = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room and start both again, and it goes on where it stopped"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a place that can be written with --out"
        }
        _ => "",
    };
    Failure::new(format!("cannot {does} {}: {error}", path.display()), todo)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(bytes: &[u8]) -> String {
        hex(Sha256::new().chain_update(bytes))
    }

    #[test]
    fn what_is_there_is_gone_on_with_and_nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let (path, part) = (directory.path().join("f"), directory.path().join("f.part"));
        let whole: Vec<u8> = (0..100_000u32).map(|n| (n >> 3) as u8).collect();
        fs::write(&part, &whole[..60_000]).unwrap();
        let mut partial = Partial::open(&path, 100_000, false).unwrap();
        assert!(Partial::open(&path, 100_000, false).is_err(), "it is locked");
        let prefixes = partial.prefixes();
        assert!(prefixes.len() <= MAX_PREFIXES);
        let last = prefixes.last().unwrap();
        assert_eq!((last.length, last.sha256.as_str()), (60_000, sha256(&whole[..60_000]).as_str()));
        // Not where the whole ends, but where a beginning does.
        let at = prefixes[prefixes.len() / 2].length;
        assert!(partial.go_on(at + 1).is_err());
        partial.go_on(at).unwrap();
        partial.write(&whole[at as usize..]).unwrap();
        assert!(partial.write(b"x").is_err(), "more than was offered");
        partial.finish(&sha256(&whole)).unwrap();
        assert!(fs::read(&path).unwrap() == whole && !part.exists());

        // The same again is done at once; anything else is refused, unless it is forced.
        let mut partial = Partial::open(&path, 100_000, false).unwrap();
        partial.go_on(100_000).unwrap();
        partial.finish(&sha256(&whole)).unwrap();
        assert!(Partial::open(&path, 100_000, false).unwrap().go_on(0).is_err());
        assert!(Partial::open(&path, 99_999, false).is_err());
        let mut partial = Partial::open(&path, 3, true).unwrap();
        partial.go_on(0).unwrap();
        partial.write(b"new").unwrap();
        assert!(fs::read(&path).unwrap() == whole, "until it is complete");
        partial.finish(&sha256(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_wrong_checksum_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let mut partial = Partial::open(&path, 3, false).unwrap();
        partial.go_on(0).unwrap();
        partial.write(b"abc").unwrap();
        assert!(partial.finish(&sha256(b"abd")).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_appears_meanwhile_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let mut partial = Partial::open(&path, 3, false).unwrap();
        partial.go_on(0).unwrap();
        partial.write(b"abc").unwrap();
        fs::write(&path, "mine").unwrap();
        assert!(partial.finish(&sha256(b"abc")).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (path, other) = (directory.path().join("f"), directory.path().join("other"));
        fs::write(&other, "mine").unwrap();
        std::os::unix::fs::symlink(&other, directory.path().join("f.part")).unwrap();
        assert!(Partial::open(&path, 3, false).is_err());
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(Partial::open(&path, 4, false).is_err());
        assert_eq!(fs::read(&other).unwrap(), b"mine");
    }
}
