//! A work folder: what lies there, and what was put there.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::CheckoutError;
use super::path::OWN;

const MANIFEST: &str = "checkout.json";
/// No manifest is larger: a hundred thousand long paths.
const MAX_MANIFEST: u64 = 64 << 20;

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// A file, and the hash of its content.
    File(String),
    /// A link, a folder, a device, or such in the place of a folder on the way.
    Other(&'static str),
}

/// A file that was put there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The hash of its content; of two, if a checkout did not come to its end.
    pub content: Vec<String>,
    /// By which hash the host knows it.
    pub hash: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    files: BTreeMap<String, Written>,
}

/// A folder in which the files of a step are put.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    own: PathBuf,
    /// What earlier checkouts put there.
    pub written: BTreeMap<String, Written>,
}

impl Folder {
    /// Opens a folder, which is made if it is not there, and reads what was put there. Blocks.
    pub fn open(path: &Path) -> Result<Self, CheckoutError> {
        let failed = |error| CheckoutError::Folder(path.to_path_buf(), error);
        fs::create_dir_all(path).map_err(failed)?;
        let root = path.canonicalize().map_err(failed)?;
        let own = root.join(OWN);
        make_folder(&own).map_err(failed)?;
        let manifest = own.join(MANIFEST);
        let damaged = |why: String| CheckoutError::Manifest(manifest.clone(), why);
        let written = match fs::symlink_metadata(&manifest) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(damaged(error.to_string())),
            Ok(there) if !there.is_file() => return Err(damaged("it is no file".into())),
            Ok(there) if there.len() > MAX_MANIFEST => return Err(damaged("it is too large".into())),
            Ok(_) => {
                let text = fs::read(&manifest).map_err(|error| damaged(error.to_string()))?;
                let read: Manifest =
                    serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
                if read.version != 1 {
                    return Err(damaged(format!("it is of version {}", read.version)));
                }
                read.files
            }
        };
        Ok(Self { root, own, written })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Keeps what was put there for the next time.
    pub fn save(&self) -> Result<(), CheckoutError> {
        let manifest = Manifest { version: 1, files: self.written.clone() };
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| self.failed(error.into()))?;
        self.put(&self.own.join(MANIFEST), &text, false).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> CheckoutError {
        CheckoutError::Folder(self.root.clone(), error)
    }

    /// What lies at a path of these parts.
    pub fn look(&self, parts: &[&str]) -> io::Result<Found> {
        let mut path = self.root.clone();
        for (at, part) in parts.iter().enumerate() {
            path.push(part);
            let there = match fs::symlink_metadata(&path) {
                Ok(there) => there,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
                Err(error) => return Err(error),
            };
            let last = at + 1 == parts.len();
            match (there.is_symlink(), there.is_dir(), there.is_file()) {
                (true, ..) => return Ok(Found::Other("a link is in the way")),
                (_, true, _) if !last => {}
                (_, true, _) => return Ok(Found::Other("a folder is in the way")),
                (.., true) if last => return Ok(Found::File(hash_file(&path)?)),
                (.., true) => return Ok(Found::Other("a file is in the way of a folder")),
                _ => return Ok(Found::Other("something that is no file is in the way")),
            }
        }
        Ok(Found::Nothing)
    }

    /// Puts a file there: whole, or not at all. Folders on the way are made.
    pub fn write(&self, parts: &[&str], content: &[u8], executable: bool) -> io::Result<()> {
        let mut path = self.root.clone();
        let Some((name, folders)) = parts.split_last() else { return Ok(()) };
        for part in folders {
            path.push(part);
            make_folder(&path)?;
        }
        path.push(name);
        self.put(&path, content, executable)
    }

    fn put(&self, path: &Path, content: &[u8], executable: bool) -> io::Result<()> {
        // In our own folder: whoever looks at the work folder meanwhile sees no half of a file.
        let half = self.own.join(format!("{:x}.part", std::process::id()));
        let written = (|| {
            let _ = fs::remove_file(&half);
            let mut options = OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, if executable { 0o777 } else { 0o666 });
            let mut file = options.open(&half)?;
            file.write_all(content)?;
            file.sync_data()?;
            drop(file);
            fs::rename(&half, path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&half);
        }
        let _ = executable;
        written
    }

    /// Makes a file a program, or none.
    pub fn set_executable(&self, parts: &[&str], executable: bool) -> io::Result<()> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let path = parts.iter().fold(self.root.clone(), |path, part| path.join(part));
            let mode = fs::symlink_metadata(&path)?.permissions().mode();
            if (mode & 0o100 != 0) != executable {
                // Whoever may read it may run it.
                let wanted = if executable { mode | (mode & 0o444) >> 2 } else { mode & !0o111 };
                fs::set_permissions(&path, fs::Permissions::from_mode(wanted))?;
            }
        }
        let _ = (parts, executable);
        Ok(())
    }

    /// Removes a file, and the folders that are empty without it.
    pub fn remove(&self, parts: &[&str]) -> io::Result<()> {
        let mut path = parts.iter().fold(self.root.clone(), |path, part| path.join(part));
        fs::remove_file(&path)?;
        while path.pop() && path != self.root && fs::remove_dir(&path).is_ok() {}
        Ok(())
    }
}

/// Makes a folder, unless it is there. A link to one is none.
fn make_folder(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::symlink_metadata(path)? {
            there if there.is_dir() => Ok(()),
            _ => Err(io::Error::other(format!("{} is no folder", path.display()))),
        },
        done => done,
    }
}

/// The hash of some content.
pub fn hash(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn hash_file(path: &Path) -> io::Result<String> {
    let (mut file, mut sum, mut piece) = (File::open(path)?, Sha256::new(), [0; 16 << 10]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(&sum.finalize())),
            length => sum.update(&piece[..length]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
