//! The saved inputs of every target.

use std::path::Path;

fn run(target: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    // Absent where the crate comes from a registry.
    let Ok(inputs) = std::fs::read_dir(corpus) else { return };
    let mut count = 0;
    for input in inputs {
        let path = input.expect("readable").path();
        let data = std::fs::read(&path).expect("readable");
        let result = std::panic::catch_unwind(|| run(&data));
        assert!(result.is_ok(), "{} fails", path.display());
        count += 1;
    }
    assert!(count > 0, "no input is saved for {target}");
}

#[test]
fn the_saved_frames_pass() {
    run("frames", super::frames);
}

#[test]
fn the_saved_names_pass() {
    run("names", super::names);
}

#[test]
fn the_saved_requests_pass() {
    run("requests", super::requests);
}
