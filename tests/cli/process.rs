//! Processes with an owner: what they print is awaited with a limit, and they end with the test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(40);

/// A user with a home of their own.
pub struct World {
    home: tempfile::TempDir,
}

/// A process that goes on.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Option<Receiver<Vec<u8>>>,
    stderr: Option<JoinHandle<()>>,
    /// What stderr said so far.
    said: Arc<Mutex<Vec<u8>>>,
}

/// What became of a process.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    /// What was not read before; other than text is replaced.
    pub stdout: String,
    pub stderr: String,
}

impl World {
    pub fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    /// A path in this user's home.
    pub fn path(&self, name: &str) -> String {
        self.home.path().join(name).to_str().unwrap().to_owned()
    }

    /// Starts `everlink` with these arguments.
    pub fn start(&self, args: &[&str]) -> Running {
        self.launch(Command::new(env!("CARGO_BIN_EXE_everlink")).args(args), Stdio::piped())
    }

    /// Starts `everlink` where no file may have more than so many KiB.
    #[cfg(unix)]
    pub fn start_limited(&self, kib: u32, args: &[&str]) -> Running {
        // Told as an error, and not by the signal that would kill it.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$@\"", kib * 2);
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_everlink")]).args(args);
        self.launch(&mut command, Stdio::piped())
    }

    /// Starts `everlink` with its stdout in a file.
    pub fn start_into(&self, args: &[&str], file: &str) -> Running {
        let stdout = std::fs::File::create(file).unwrap();
        self.launch(Command::new(env!("CARGO_BIN_EXE_everlink")).args(args), stdout.into())
    }

    fn launch(&self, command: &mut Command, stdout: Stdio) -> Running {
        command.env_remove("RUST_LOG");
        for home in ["HOME", "XDG_CONFIG_HOME", "APPDATA"] {
            command.env(home, self.home.path());
        }
        command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdout, mut stderr) = (child.stdout.take(), child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).split(b'\n')) {
                // Dropping the receiver closes the pipe, as a reader that goes away does.
                if line.map(|line| sender.send(line).is_err()).unwrap_or(true) {
                    return;
                }
            }
        });
        let said: Arc<Mutex<Vec<u8>>> = Arc::default();
        let heard = said.clone();
        let stderr = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = stderr.read(&mut piece) {
                heard.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Running { stdin: child.stdin.take(), child, lines: Some(lines), stderr: Some(stderr), said }
    }

    /// Runs `everlink` to its end.
    pub fn run(&self, args: &[&str], stdin: &[u8]) -> Ended {
        let mut running = self.start(args);
        let mut pipe = running.stdin.take().unwrap();
        let stdin = stdin.to_vec();
        let writing = std::thread::spawn(move || {
            // It may end before it has read everything.
            let _ = pipe.write_all(&stdin);
        });
        let ended = running.end();
        writing.join().unwrap();
        ended
    }

    /// A signaling server on a free port, and its URL.
    pub fn serve(&self, more: &[&str]) -> (Running, String) {
        let server = self.start(&[&["serve", "--listen", "127.0.0.1:0"], more].concat());
        let line = server.line();
        let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}"));
        assert!(url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"), "{url}");
        let url = url.to_owned();
        (server, url)
    }

    /// A host of `service`, and the uuid.
    pub fn expose(&self, service: &str, url: &str, more: &[&str]) -> (Running, String) {
        let host = self.start(&[&["expose", service, "--server", url], more].concat());
        let line = host.line();
        let uuid = line.strip_prefix("service ").unwrap_or_else(|| panic!("{line}")).to_owned();
        assert_eq!(uuid.len(), 36, "{uuid}");
        (host, uuid)
    }
}

impl Running {
    /// The next line of stdout.
    pub fn line(&self) -> String {
        match self.lines.as_ref().unwrap().recv_timeout(PATIENCE) {
            Ok(line) => String::from_utf8(line).unwrap(),
            Err(RecvTimeoutError::Timeout) => panic!("it prints nothing"),
            Err(RecvTimeoutError::Disconnected) => panic!("it ended"),
        }
    }

    /// What it said on stderr so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// Waits until `holds` does.
    pub fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(begun.elapsed() < PATIENCE, "it never comes to {what}: {}", self.stderr());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Writes to stdin. Fails when the process does not read any more.
    pub fn write(&mut self, input: &[u8]) -> std::io::Result<()> {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(input)?;
        stdin.flush()
    }

    /// The end of input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Goes away as a reader of stdout, at the next line that comes.
    pub fn close_stdout(&mut self) {
        self.lines = None;
    }

    /// Asks it to end, as `kill` does.
    #[cfg(unix)]
    pub fn terminate(mut self) -> Ended {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let ended = self.wait();
        self.ended(ended)
    }

    /// Kills it, so that it can tell nobody.
    pub fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        let code = self.wait();
        self.ended(code)
    }

    /// Waits for its end. Stdin stays as it is: closed after [`World::run`], else open.
    pub fn end(mut self) -> Ended {
        let code = self.wait();
        self.ended(code)
    }

    fn wait(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn ended(&mut self, code: Option<i32>) -> Ended {
        let mut stdout = String::new();
        for line in self.lines.take().into_iter().flatten() {
            stdout.push_str(&String::from_utf8_lossy(&line));
            stdout.push('\n');
        }
        self.stderr.take().unwrap().join().unwrap();
        let stderr = self.stderr();
        Ended { code, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    #[track_caller]
    pub fn expect_success(&self) {
        assert_eq!(self.code, Some(0), "{self:?}");
    }

    /// It failed with this code, nothing on stdout, and one line on stderr that has all of `words`.
    #[track_caller]
    pub fn expect_failure(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {:?}", self.stderr);
        }
    }
}
