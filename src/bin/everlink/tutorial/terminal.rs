//! The whole terminal: taken, drawn on, and given back whatever happens.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEvent};
use tokio::sync::mpsc;

use super::view::{View, screen};
use crate::failure::Failure;

/// Whether the terminal is taken.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// How soon the reader of keys sees that nobody wants them any more.
const POLL: Duration = Duration::from_millis(200);

/// What comes from a terminal.
pub enum Input {
    Key(KeyEvent),
    /// It has another size.
    Resized,
}

/// The terminal, as long as it is taken.
pub struct Screen {
    terminal: DefaultTerminal,
    input: mpsc::Receiver<Input>,
}

/// Whether there is a terminal to draw on and to read keys from.
pub fn is_there() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !dumb
}

/// Whether something else may be written to the terminal.
pub fn is_taken() -> bool {
    TAKEN.load(Ordering::Relaxed)
}

/// Gives the terminal back, if it is taken. For those who end the process at once.
pub fn give_back() {
    if TAKEN.swap(false, Ordering::Relaxed) {
        ratatui::restore();
    }
}

impl Screen {
    /// Takes the terminal. It is given back when this is dropped, and before a panic is told.
    pub fn take() -> Result<Self, Failure> {
        let failed = |error: io::Error| {
            Failure::new(
                format!("cannot draw on this terminal: {error}"),
                "pipe the output, or add --json, for plain lines",
            )
        };
        TAKEN.store(true, Ordering::Relaxed);
        let terminal = ratatui::try_init().map_err(|error| {
            give_back();
            failed(error)
        })?;
        let (sender, input) = mpsc::channel(64);
        std::thread::spawn(move || read(&sender));
        Ok(Self { terminal, input })
    }

    pub fn draw(&mut self, view: &mut View) -> Result<(), Failure> {
        let drawn = self.terminal.draw(|frame| screen::draw(frame, view));
        drawn.map(|_| ()).map_err(|error| Failure::new(format!("cannot draw on this terminal: {error}"), ""))
    }

    /// The next key. `None` when the terminal is gone. Cancel-safe.
    pub async fn next(&mut self) -> Option<Input> {
        self.input.recv().await
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Reads keys until nobody wants them.
fn read(sender: &mpsc::Sender<Input>) {
    while !sender.is_closed() {
        match event::poll(POLL) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(_) => return,
        }
        let input = match event::read() {
            Ok(Event::Key(key)) => Input::Key(key),
            Ok(Event::Resize(..)) => Input::Resized,
            Ok(_) => continue,
            Err(_) => return,
        };
        if sender.blocking_send(input).is_err() {
            return;
        }
    }
}
