//! Why the program could not do its job, in one line: what is wrong, and what to do about it.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use everlink::signaling::SignalingError;
use everlink::store::StoreError;
use everlink::{CloseReason, ConnectError, DialError, SendError, ServiceError};

/// What is wrong, and what to do about it.
#[derive(Debug)]
pub struct Failure {
    what: String,
    todo: String,
}

impl Failure {
    pub fn new(what: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { what: what.into(), todo: todo.into() }
    }

    /// Says it on stderr.
    pub fn report(&self) -> ExitCode {
        complain(&self.to_string());
        ExitCode::FAILURE
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what.trim_end_matches('.'))?;
        if !self.todo.is_empty() {
            write!(f, "; {}", self.todo.trim_end_matches('.'))?;
        }
        Ok(())
    }
}

/// Prints one line to stderr, whatever the text contains; a server's or peer's words can be in it.
pub fn complain(text: &str) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
    // There is nobody left to tell if this fails.
    let _ = writeln!(io::stderr(), "everlink: {line}");
}

/// What clap has to say: help and version as they are, a mistake in one line.
pub fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        // Asked for nothing at all: show what there is.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
        }
        _ => {
            let text = error.render().to_string();
            let said = text.split("\n\n").filter(|part| !part.starts_with("For more")).map(str::trim);
            let said: Vec<&str> = said.filter(|part| !part.starts_with("Usage:")).collect();
            let said = said.join("; ");
            // Which command it was about, such as `everlink connect`.
            let usage = text.split_once("Usage: ").map_or("everlink", |(_, usage)| usage);
            let command: Vec<&str> =
                usage.split_whitespace().take_while(|word| word.starts_with(char::is_alphabetic)).collect();
            let said = said.trim_start_matches("error: ");
            complain(&format!("{said}; see `{} --help`", command.join(" ")));
        }
    }
    ExitCode::from(2)
}

impl From<SignalingError> for Failure {
    fn from(error: SignalingError) -> Self {
        match error {
            SignalingError::Refused { code, message, hint, .. } => {
                Self::new(format!("{message} ({})", code.as_str()), hint)
            }
            SignalingError::NotAServer(_) => {
                Self::new(error.to_string(), "correct --server, or start one with `everlink serve`")
            }
            _ => {
                Self::new(error.to_string(), "start one with `everlink serve`, or name another with --server")
            }
        }
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Signaling(error) => error.into(),
            ServiceError::Link(_) => Self::new(error.to_string(), "check --bind and --ice"),
            _ => Self::new(error.to_string(), ""),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Closed(reason) => reason.into(),
            _ => Self::new(error.to_string(), ""),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        // Its words say what to do.
        Self::new(error.to_string(), "")
    }
}

impl From<CloseReason> for Failure {
    fn from(reason: CloseReason) -> Self {
        if let CloseReason::Store(error) = reason {
            return error.into();
        }
        let (CloseReason::Unreachable { last: error, .. } | CloseReason::Refused(error)) = reason else {
            return Self::new(reason.to_string(), "");
        };
        match error {
            DialError::Signaling(error) => error.into(),
            DialError::Link(_) | DialError::TimedOut => Self::new(
                error.to_string(),
                "check that the host runs and that UDP passes between both; across networks both need --ice",
            ),
            _ => Self::new(error.to_string(), ""),
        }
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Closed(reason) => reason.into(),
            _ => Self::new(error.to_string(), ""),
        }
    }
}
