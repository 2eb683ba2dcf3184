//! The short form of `everlink soak`: the real binary, killed and cut off.
#![cfg(feature = "cli")]

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ends with the test, and its workers with it.
struct Soak(Child);

impl Drop for Soak {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a soak to its end: its code, its last line, its complaints.
fn soak(args: &[&str]) -> (Option<i32>, String, String) {
    let home = tempfile::tempdir().unwrap();
    let [out, err] = ["out", "err"].map(|name| home.path().join(name));
    let [stdout, stderr] = [&out, &err].map(|path| Stdio::from(std::fs::File::create(path).unwrap()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_everlink"));
    command.args(["soak", "--json"]).args(args).env_remove("RUST_LOG").env("TMPDIR", home.path());
    let mut soak = Soak(command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap());
    let begun = Instant::now();
    let code = loop {
        if let Some(status) = soak.0.try_wait().unwrap() {
            break status.code();
        }
        assert!(
            begun.elapsed() < Duration::from_secs(150),
            "the soak hangs: {}",
            std::fs::read_to_string(&err).unwrap_or_default()
        );
        std::thread::sleep(Duration::from_millis(20));
    };
    let [out, err] = [out, err].map(|path| std::fs::read_to_string(path).unwrap());
    (code, out.lines().last().unwrap_or_default().to_owned(), err)
}

#[test]
fn twenty_kills_ten_cuts_and_four_storms_lose_double_and_reorder_nothing() {
    let args = "--seed 11 --minutes 0.4 --messages 2000 --kills 20 --cuts 10 --storms 4";
    let (code, last, err) = soak(&args.split(' ').collect::<Vec<_>>());
    assert_eq!(code, Some(0), "{err}");
    eprintln!("{last}");
    let told: serde_json::Value = serde_json::from_str(&last).unwrap();
    for (what, expected) in [
        ("seed", 11),
        ("kills", 20),
        ("cuts", 10),
        ("storms", 4),
        ("lost", 0),
        ("doubled", 0),
        ("reordered", 0),
        ("unexplained", 0),
    ] {
        assert_eq!(told[what], expected, "{what}: {last}");
    }
    assert!(
        told["messages"].as_u64().unwrap() >= 2000 && told["received"].as_u64().unwrap() >= 1000,
        "{last}"
    );
    let harmed = ["packets_lost", "packets_doubled"].map(|what| told[what].as_u64().unwrap());
    assert!(harmed.iter().sum::<u64>() > 0, "the storms did no harm: {last}");
    for killed in ["host killed", "peer killed", "server killed"] {
        assert!(told["recovery_seconds"][killed]["times"].as_u64().unwrap() >= 2, "{killed}: {last}");
    }
}

#[test]
fn the_history_of_another_run_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let history = directory.path().join("host.history");
    std::fs::write(&history, "precious").unwrap();
    let (code, out, err) = soak(&["--dir", directory.path().to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("another run") && err.contains("--dir") && err.lines().count() == 1, "{err}");
    assert_eq!(std::fs::read_to_string(history).unwrap(), "precious");
}
