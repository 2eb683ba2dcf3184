//! The command line as its users meet it: real processes on loopback.
#![cfg(feature = "cli")]

mod bad_input;
mod process;
#[cfg(unix)]
mod screen;
mod serve;
mod store;
mod stream;
mod talk;
mod transfer;
#[cfg(unix)]
mod tutorial;

use process::World;

#[test]
fn whoami_is_the_same_each_time() {
    let world = World::new();
    let first = world.run(&["whoami"], b"");
    first.expect_success();
    assert_eq!(first.stdout.trim_end().len(), 43);
    assert_eq!(world.run(&["whoami"], b"").stdout, first.stdout);

    let told: serde_json::Value =
        serde_json::from_str(&world.run(&["whoami", "--json"], b"").stdout).unwrap();
    assert_eq!(told["key"], first.stdout.trim_end());
    let file = told["file"].as_str().unwrap();
    assert!(std::path::Path::new(file).starts_with(world.path("")), "{file}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    let other = world.path("other.key");
    let another = world.run(&["whoami", "--identity", &other], b"");
    assert_ne!(another.stdout, first.stdout);
    assert_eq!(world.run(&["whoami", "--identity", &other], b"").stdout, another.stdout);
}

#[test]
fn help_and_version_are_answers() {
    let world = World::new();
    for command in [
        &[][..],
        &["serve"],
        &["expose"],
        &["connect"],
        &["send"],
        &["recv"],
        &["whoami"],
        &["tutorial"],
        &["tutorial", "host"],
        &["tutorial", "follow"],
        &["demo"],
        &["bench"],
    ] {
        let help = world.run(&[command, &["--help"]].concat(), b"");
        help.expect_success();
        assert!(help.stdout.contains("Example"), "{command:?}: {}", help.stdout);
    }
    let version = world.run(&["--version"], b"");
    assert_eq!(version.stdout, format!("everlink {}\n", env!("CARGO_PKG_VERSION")));
    version.expect_success();
}
