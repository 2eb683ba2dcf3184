//! What can be commanded: by keys on a terminal, by lines in a pipe.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{Pane, Question};

/// How far the keys of a page go.
const PAGE: i16 = 10;

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Next,
    Previous,
    /// The step of this number, from 1.
    GoTo(u32),
    Solution,
    Lead,
    Follow,
    /// Hand over, to a member by name or key.
    Offer(Option<String>),
    Accept,
    Decline,
    Request(Option<String>),
    Release,
    Show(Pane),
    Checkout {
        force: bool,
    },
    /// An answer to a question.
    Choose(u32),
    Yes,
    Scroll(i16),
    Escape,
    Quit,
}

/// What a key says. `None` for a key that has no meaning here.
pub fn of_key(key: KeyEvent, question: Option<&Question>) -> Option<Command> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c' | 'd')).then_some(Command::Quit);
    }
    match (question, key.code) {
        (Some(Question::HandOver(_)), KeyCode::Char(digit @ '0'..='9')) => {
            return digit.to_digit(10).map(Command::Choose);
        }
        (Some(Question::Overwrite), KeyCode::Char('y' | 'Y')) => return Some(Command::Yes),
        _ => {}
    }
    Some(match key.code {
        KeyCode::Char('n') | KeyCode::Right => Command::Next,
        KeyCode::Char('p') | KeyCode::Left => Command::Previous,
        KeyCode::Char('s') => Command::Solution,
        KeyCode::Char('h') => Command::Offer(None),
        KeyCode::Char('r') => Command::Request(None),
        KeyCode::Char('a') => Command::Accept,
        KeyCode::Char('d') => Command::Decline,
        KeyCode::Char('l') => Command::Lead,
        KeyCode::Char('w') => Command::Follow,
        KeyCode::Char('x') => Command::Release,
        KeyCode::Char('f') => Command::Show(Pane::Files),
        KeyCode::Char('v') => Command::Show(Pane::Diff),
        KeyCode::Char('t') => Command::Show(Pane::Lesson),
        KeyCode::Char('?') | KeyCode::F(1) => Command::Show(Pane::Help),
        KeyCode::Char('c') => Command::Checkout { force: false },
        KeyCode::Char('q') => Command::Quit,
        KeyCode::Esc => Command::Escape,
        KeyCode::Up | KeyCode::Char('k') => Command::Scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => Command::Scroll(1),
        KeyCode::PageUp => Command::Scroll(-PAGE),
        KeyCode::PageDown | KeyCode::Char(' ') => Command::Scroll(PAGE),
        KeyCode::Home => Command::Scroll(i16::MIN),
        _ => return None,
    })
}

/// The keys, for the help.
pub const KEYS: [(&str, &str); 17] = [
    ("n →", "next step"),
    ("p ←", "previous step"),
    ("s", "show or hide the solution"),
    ("t", "the text of the step"),
    ("v", "what the step changes"),
    ("f", "which files it changes"),
    ("c", "check its files out into the work folder"),
    ("h", "hand control over, or take the offer back"),
    ("r", "ask for control"),
    ("a", "accept an offer, grant a request"),
    ("d", "decline an offer, deny a request"),
    ("l", "lead, while nobody does"),
    ("w", "follow, while nobody leads"),
    ("x", "release control"),
    ("↑ ↓ PgUp PgDn", "scroll"),
    ("? Esc", "this help, and back"),
    ("q", "quit"),
];

/// What a line says.
///
/// # Errors
/// What can be said instead.
pub fn of_line(line: &str) -> Result<Option<Command>, String> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let more = (!rest.is_empty()).then(|| rest.to_owned());
    let command = match word {
        "" => return Ok(None),
        "next" | "n" => Command::Next,
        "previous" | "p" => Command::Previous,
        "goto" | "g" => match rest.parse() {
            Ok(number @ 1..) => Command::GoTo(number),
            _ => return Err("write `goto` and the number of a step, such as `goto 3`".to_owned()),
        },
        "solution" | "s" => Command::Solution,
        "lead" | "l" => Command::Lead,
        "follow" | "w" => Command::Follow,
        "offer" | "h" => Command::Offer(more.clone()),
        "accept" | "a" => Command::Accept,
        "decline" | "d" => Command::Decline,
        "request" | "r" => Command::Request(more.clone()),
        "release" | "x" => Command::Release,
        "files" | "f" => Command::Show(Pane::Files),
        "diff" | "v" => Command::Show(Pane::Diff),
        "text" | "t" => Command::Show(Pane::Lesson),
        "help" | "?" => Command::Show(Pane::Help),
        "checkout" | "c" => match rest {
            "" => Command::Checkout { force: false },
            "--force" | "force" => Command::Checkout { force: true },
            _ => return Err("write `checkout`, or `checkout --force` to overwrite your changes".to_owned()),
        },
        "quit" | "q" => Command::Quit,
        _ => {
            return Err(format!(
                "no command {:?}; there are next, previous, goto N, solution, text, files, diff, checkout, lead, \
                 follow, offer [MEMBER], request [REASON], accept, decline, release, help, quit",
                word.chars().take(40).collect::<String>()
            ));
        }
    };
    let takes = matches!(
        command,
        Command::GoTo(_) | Command::Offer(_) | Command::Request(_) | Command::Checkout { .. }
    );
    if more.is_some() && !takes {
        return Err(format!("`{word}` stands alone"));
    }
    Ok(Some(command))
}
