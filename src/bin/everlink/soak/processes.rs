//! The processes of a soak: started, listened to, killed.

use std::process::Stdio;
use std::time::Instant;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

use super::plan::Who;
use crate::failure::Failure;

/// What a process said, or that it ended.
#[derive(Debug)]
pub struct Said {
    pub who: Who,
    /// Which of its lives it was.
    pub life: u64,
    pub at: Instant,
    /// `None`: it said its last.
    pub event: Option<Value>,
}

/// One living process.
pub struct Process {
    child: Child,
    stdin: ChildStdin,
    pub life: u64,
    pub started: Instant,
}

/// This very program, once more.
pub fn start(who: Who, life: u64, args: &[String], said: &mpsc::Sender<Said>) -> Result<Process, Failure> {
    let cannot =
        |error: std::io::Error| Failure::new(format!("cannot start the {}: {error}", who.name()), "");
    let program = std::env::current_exe().map_err(cannot)?;
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(cannot)?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Failure::new("a process without pipes", ""));
    };
    let said = said.clone();
    tokio::spawn(async move {
        let mut lines = BufReader::new(stdout).lines();
        loop {
            let line = lines.next_line().await.ok().flatten();
            let event = line.as_ref().map(|line| serde_json::from_str(line).unwrap_or_default());
            let last = event.is_none();
            if said.send(Said { who, life, at: Instant::now(), event }).await.is_err() || last {
                return;
            }
        }
    });
    Ok(Process { child, stdin, life, started })
}

impl Process {
    /// One line to its stdin. Whoever is dead does not hear it.
    pub async fn tell(&mut self, command: &str) {
        let _ = self.stdin.write_all(format!("{command}\n").as_bytes()).await;
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// Waits for its end, for so long, and kills it then.
    pub async fn ended(mut self, patience: std::time::Duration) {
        if tokio::time::timeout(patience, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}
