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

#[test]
fn the_saved_records_pass() {
    run("records", super::records);
}

#[test]
fn the_saved_sessions_pass() {
    run("session", super::session);
}

#[test]
#[cfg(feature = "tutorial")]
fn the_saved_tutorials_pass() {
    run("tutorial", super::tutorial);
}

/// Writes what a real session saves into the corpus: `EVERLINK_WRITE_CORPUS=1`, after the form of
/// records has changed.
#[test]
fn a_session_that_was_really_saved_passes() {
    use super::records::{clock, config, input, save};
    use crate::SendOptions;
    use crate::durable::core::Session;

    let mut records = std::collections::BTreeMap::new();
    let now = clock().at;
    let mut session = Session::dialer(super::identity(1).clone(), config(), now, 1);
    session.keep(bytes::Bytes::from_static(b"target"), clock());
    let channels = ["a", "b"].map(|label| session.open(label, Default::default()).expect("new"));
    let mut snapshots = vec![];
    let send = |session: &mut Session, at: usize, text: &str, options: SendOptions| {
        let terms = options.terms(now).expect("good options");
        _ = session.send(channels[at], text.into(), &terms, now).expect("taken").expect("room");
    };
    let key = || SendOptions::new().supersede("key");
    save(&mut session, &mut records, now);
    snapshots.push(records.clone());
    for (at, text) in [(0, "one"), (0, "two"), (1, "three"), (0, "four")] {
        send(&mut session, at, text, SendOptions::new());
    }
    send(&mut session, 0, "cursor 1", key());
    send(&mut session, 1, "soon", SendOptions::new().deadline(std::time::Duration::from_secs(60)));
    save(&mut session, &mut records, now);
    snapshots.push(records.clone());
    send(&mut session, 0, "cursor 2", key());
    send(&mut session, 0, "cursor 3", key());
    save(&mut session, &mut records, now);
    snapshots.push(records.clone());
    session.close_channel(channels[1]);
    save(&mut session, &mut records, now);
    snapshots.push(records.clone());

    for (at, records) in snapshots.iter().enumerate() {
        let input = input(records);
        super::records(&input);
        if std::env::var_os("EVERLINK_WRITE_CORPUS").is_some() {
            let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/records");
            std::fs::create_dir_all(&corpus).expect("writable");
            std::fs::write(corpus.join(format!("session-{at}")), input).expect("writable");
        }
    }
}
