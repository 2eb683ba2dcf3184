//! A tutorial on a terminal: drawn on as a whole, steered by keys, and given back.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::process::World;
use crate::tutorial::sample;

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(40);

/// A program on a terminal of 90 columns and 24 rows.
struct OnTerminal {
    child: Child,
    keys: File,
    terminal: OwnedFd,
    drawn: Arc<Mutex<Vec<u8>>>,
}

impl OnTerminal {
    fn start(world: &World, args: &[&str]) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let name = ptsname(&ours, Vec::new()).unwrap();
        let terminal = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_everlink"))
            .args(args)
            .env_remove("RUST_LOG")
            .envs([
                ("HOME", world.path("")),
                ("XDG_CONFIG_HOME", world.path("")),
                ("TERM", "xterm-256color".into()),
            ])
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let keys = File::from(ours);
        let mut reading = keys.try_clone().unwrap();
        let drawn = Arc::<Mutex<Vec<u8>>>::default();
        let heard = drawn.clone();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = reading.read(&mut piece) {
                heard.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Self { child, keys, terminal, drawn }
    }

    fn drawn(&self) -> String {
        String::from_utf8_lossy(&self.drawn.lock().unwrap()).into_owned()
    }

    /// Waits until this is drawn, after so many bytes. Only what changes is drawn: a word where there was nothing is seen
    /// whole.
    #[track_caller]
    fn until(&self, from: usize, what: &str) {
        let begun = Instant::now();
        while !self.drawn().get(from..).is_some_and(|drawn| drawn.contains(what)) {
            assert!(begun.elapsed() < PATIENCE, "{what:?} is never drawn: {:?}", self.drawn());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it reads each key as it is, and shows none.
    fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    fn end(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {:?}", self.drawn());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const TAKE: &str = "\u{1b}[?1049h";
const GIVE_BACK: &str = "\u{1b}[?1049l";

#[test]
fn keys_steer_it_and_the_terminal_is_given_back() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let path = sample(&world);
    let args = ["tutorial", "host", &path, "--server", &url];
    for way_out in ["q", "\u{3}", "TERM"] {
        let mut host = OnTerminal::start(&world, &args);
        host.until(0, TAKE);
        host.until(0, "program");
        assert!(host.is_raw());
        // The link is there before it, to be copied afterwards.
        let before = host.drawn();
        assert!(before.find("everlink://").unwrap() < before.find(TAKE).unwrap(), "{before:?}");
        let from = host.drawn().len();
        host.keys.write_all(b"n").unwrap();
        host.until(from, "src/main.rs");
        let from = host.drawn().len();
        // The key is an escape sequence.
        host.keys.write_all(b"\x1b[C").unwrap();
        host.until(from, "Print");
        let from = host.drawn().len();
        tcsetwinsize(&host.terminal, Winsize { ws_row: 12, ws_col: 50, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        host.keys.write_all(b"v").unwrap();
        host.until(from, "README.md");

        match way_out {
            "TERM" => kill_process(Pid::from_child(&host.child), Signal::TERM).unwrap(),
            keys => host.keys.write_all(keys.as_bytes()).unwrap(),
        }
        assert_eq!(host.end(), Some(0), "{way_out:?}: {:?}", host.drawn());
        host.until(from, GIVE_BACK);
        assert!(!host.is_raw(), "{way_out:?}");
    }
}

#[test]
fn what_ends_it_is_said_on_a_terminal_that_is_given_back() {
    let world = World::new();
    let (_server, url) = world.serve(&[]);
    let path = sample(&world);
    let mut host = world.start(&["tutorial", "host", &path, "--server", &url]);
    let uuid = host.line().strip_prefix("room ").unwrap().to_owned();
    let mut follower = OnTerminal::start(&world, &["tutorial", "follow", &uuid, "--server", &url]);
    follower.until(0, "program");
    host.write(b"quit\n").unwrap();
    host.end().expect_success();
    assert_eq!(follower.end(), Some(0), "{:?}", follower.drawn());
    follower.until(0, "the room was closed by its host");
    let drawn = follower.drawn();
    assert!(drawn.rfind(GIVE_BACK).unwrap() < drawn.rfind("the room was closed").unwrap(), "{drawn:?}");
    assert!(!follower.is_raw());
}
