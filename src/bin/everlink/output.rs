//! What goes to stdout: lines for people, or one JSON object per line.

use std::io::{self, IsTerminal as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use everlink::Message;
use serde_json::{Value, json};

use crate::failure::Failure;

/// How results are written.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    pub json: bool,
    /// A person's terminal, where control characters of strangers have no business.
    terminal: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json, terminal: io::stdout().is_terminal() }
    }

    /// Writes a line now, for a person or a program. Blocks while nobody reads.
    pub fn line(self, person: &str, program: Value) -> io::Result<()> {
        let mut line = if self.json { program.to_string() } else { person.to_owned() };
        line.push('\n');
        write(line.as_bytes())
    }

    /// Writes what only a program wants to know.
    pub fn event(self, program: Value) -> io::Result<()> {
        if self.json { self.line("", program) } else { Ok(()) }
    }

    /// Writes a message. `program` is an object to which the message is added.
    pub fn message(self, message: &Message, mut program: Value) -> io::Result<()> {
        if self.json {
            let (name, content) = match message.as_text() {
                Some(text) => ("text", json!(text)),
                None => ("base64", json!(STANDARD.encode(message.as_bytes()))),
            };
            program[name] = content;
            return self.line("", program);
        }
        match message.as_text() {
            Some(text) if self.terminal => write(format!("{}\n", escaped(text)).as_bytes()),
            Some(text) => {
                let mut line = Vec::with_capacity(text.len() + 1);
                line.extend_from_slice(text.as_bytes());
                line.push(b'\n');
                write(&line)
            }
            None => write(format!("base64:{}\n", STANDARD.encode(message.as_bytes())).as_bytes()),
        }
    }
}

/// Writes a line whole, and at once.
fn write(line: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(line)?;
    stdout.flush()
}

/// What it means for the program that a line was written or not: that nobody reads stdout any
/// more ends it, but is no failure.
pub fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if !is_broken_pipe(&error) => {
            Err(Failure::new(format!("cannot write to stdout: {error}"), ""))
        }
        _ => Ok(()),
    }
}

/// Whether the reader of stdout went away, which is no fault of anybody's.
pub fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// Text that cannot steer a terminal.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\t' => shown.push(character),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_steered() {
        assert_eq!(escaped("a\tb\x1b[2J\nc\u{9b}ä"), "a\tb\\u{1b}[2J\\nc\\u{9b}ä");
    }
}
