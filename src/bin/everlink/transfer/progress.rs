//! How far a transfer has come: a bar for a person, lines for a program.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::output::Output;

/// How often it is worth telling.
pub const TICK: Duration = Duration::from_millis(200);
/// A program wants it less often.
const LINE: Duration = Duration::from_secs(1);
const WIDTH: usize = 24;

/// Shown on stderr if that is a terminal, told on stdout with `--json`.
pub struct Progress {
    output: Output,
    bar: bool,
    name: String,
    size: u64,
    begun: Instant,
    from: u64,
    told: Option<(Instant, u64)>,
}

impl Progress {
    pub fn new(output: Output, name: &str, size: u64, from: u64) -> Self {
        let bar = !output.json && io::stderr().is_terminal();
        let name = name.chars().filter(|c| !c.is_control()).take(40).collect();
        Self { output, bar, name, size, begun: Instant::now(), from, told: None }
    }

    /// It has come to `bytes`.
    pub fn show(&mut self, bytes: u64) {
        let now = Instant::now();
        let known =
            |(at, told): (Instant, u64)| told == bytes || now < at + if self.bar { TICK } else { LINE };
        if self.told.is_some_and(known) {
            return;
        }
        self.told = Some((now, bytes));
        if self.output.json {
            let told = json!({ "event": "progress", "name": self.name, "bytes": bytes, "size": self.size });
            // Whoever writes the result learns that nobody reads it.
            let _ = self.output.event(told);
        } else if self.bar {
            let rate = (bytes - self.from.min(bytes)) as f64 / (now - self.begun).as_secs_f64().max(0.001);
            let _ = write!(io::stderr(), "\r{}\x1b[K", line(&self.name, bytes, self.size, rate));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.bar {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(name: &str, bytes: u64, size: u64, rate: f64) -> String {
    let share = if size == 0 { 1.0 } else { bytes as f64 / size as f64 };
    let full = (share * WIDTH as f64) as usize;
    let bar: String = (0..WIDTH).map(|at| if at < full { '#' } else { '.' }).collect();
    let left = if rate > 0.0 { (size.saturating_sub(bytes) as f64 / rate).min(359_999.0) as u64 } else { 0 };
    format!(
        "{name} [{bar}] {:3.0} %  {} of {}  {}/s  {}:{:02}",
        share * 100.0,
        amount(bytes as f64),
        amount(size as f64),
        amount(rate),
        left / 60,
        left % 60,
    )
}

/// Bytes as people read them.
fn amount(bytes: f64) -> String {
    match bytes {
        b if b < 1024.0 => format!("{b:.0} B"),
        b if b < 1024.0 * 1024.0 => format!("{:.1} KiB", b / 1024.0),
        b if b < 1024.0 * 1024.0 * 1024.0 => format!("{:.1} MiB", b / 1024.0 / 1024.0),
        b => format!("{:.2} GiB", b / 1024.0 / 1024.0 / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_how_far_and_how_long() {
        let shown = line("a.bin", 3 << 20, 12 << 20, 1024.0 * 1024.0);
        assert_eq!(shown, "a.bin [######..................]  25 %  3.0 MiB of 12.0 MiB  1.0 MiB/s  0:09");
        assert!(line("empty", 0, 0, 0.0).contains("100 %"));
    }
}
