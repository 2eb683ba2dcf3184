//! `everlink whoami`.

use std::env;
use std::path::{Path, PathBuf};

use everlink::Identity;
use serde_json::json;

use crate::args::Whoami;
use crate::failure::Failure;
use crate::output::{Output, written};

pub fn run(args: &Whoami, output: Output) -> Result<(), Failure> {
    let (identity, path) = identity(args.identity.as_deref())?;
    let key = identity.public_key().to_string();
    let told = json!({ "event": "identity", "key": key, "file": path.to_string_lossy() });
    written(output.line(&key, told))
}

/// The identity in `path`, or in this user's own file, and where that is.
pub fn identity(path: Option<&Path>) -> Result<(Identity, PathBuf), Failure> {
    let path = match path {
        Some(path) => path.to_path_buf(),
        None => default_path()?,
    };
    // Its errors name the file and say what to do.
    let identity = Identity::load_or_create(&path).map_err(|error| Failure::new(error.to_string(), ""))?;
    Ok((identity, path))
}

fn default_path() -> Result<PathBuf, Failure> {
    // As the platforms' conventions want it; a relative path there is to be ignored.
    let directory = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = if cfg!(windows) {
        directory("APPDATA")
    } else if cfg!(target_os = "macos") {
        directory("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        directory("XDG_CONFIG_HOME").or_else(|| directory("HOME").map(|home| home.join(".config")))
    };
    base.map(|base| base.join("everlink").join("identity")).ok_or_else(|| {
        Failure::new("this user has no home directory for the secret key", "name a file with --identity FILE")
    })
}
