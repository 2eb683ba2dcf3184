//! What was said in one conversation, kept by the page itself: everlink keeps what is on its way, and forgets what has arrived.

use std::cell::RefCell;
use std::rc::Rc;

use gloo_storage::errors::StorageError;
use gloo_storage::{LocalStorage, Storage as _};
use serde::{Deserialize, Serialize};

/// One line. Its number is how many of the same side are before it.
#[derive(Clone, Deserialize, Serialize)]
pub struct Line {
    pub mine: bool,
    /// Whether everlink has it in its store, if it is mine: from then on it arrives.
    pub stored: bool,
    pub text: String,
}

/// Shared by what shows it and what adds to it.
#[derive(Clone)]
pub struct Log {
    key: Rc<str>,
    lines: Rc<RefCell<Vec<Line>>>,
}

impl Log {
    pub fn load(key: String) -> Self {
        // None, or not ours.
        let lines = LocalStorage::get(&key).unwrap_or_default();
        Self { key: key.into(), lines: Rc::new(RefCell::new(lines)) }
    }

    pub fn lines(&self) -> Vec<Line> {
        self.lines.borrow().clone()
    }

    /// My lines with their numbers.
    pub fn mine(&self) -> Vec<(usize, Line)> {
        self.lines().into_iter().filter(|line| line.mine).enumerate().collect()
    }

    /// Adds a line of mine; gives its number.
    pub fn say(&self, text: String) -> Result<usize, StorageError> {
        let number = self.mine().len();
        self.lines.borrow_mut().push(Line { mine: true, stored: false, text });
        self.save().map(|()| number)
    }

    /// My line of this number is stored.
    pub fn stored(&self, number: usize) -> Result<(), StorageError> {
        if let Some(line) = self.lines.borrow_mut().iter_mut().filter(|line| line.mine).nth(number) {
            line.stored = true;
        }
        self.save()
    }

    /// Adds a line of the peer, unless it is there: what a page was about to note when it was left comes once more afterwards,
    /// and the number tells.
    pub fn hear(&self, number: usize, text: &str) -> Result<(), StorageError> {
        let seen = self.lines.borrow().iter().filter(|line| !line.mine).count();
        if number < seen {
            return Ok(());
        }
        self.lines.borrow_mut().push(Line { mine: false, stored: true, text: text.to_owned() });
        self.save()
    }

    fn save(&self) -> Result<(), StorageError> {
        LocalStorage::set(&*self.key, &*self.lines.borrow())
    }
}
