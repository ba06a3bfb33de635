//! How the program ends: its exit codes, and what it says when it fails.

use std::fmt;

use haul::{Error, ErrorKind};

/// The exit codes. They stand in the help and in the man page as here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Failed = 1,
    Usage = 2,
    Connect = 3,
    NotDelivered = 4,
    Timeout = 5,
    Interrupted = 130,
    BrokenPipe = 141,
}

/// The table of exit codes, for help, man page and documentation.
pub(crate) const TABLE: [(u8, &str); 8] = [
    (0, "it happened"),
    (Code::Failed as u8, "it failed in another way than those below"),
    (Code::Usage as u8, "the command line, a URL or a configuration is wrong; nothing was done"),
    (Code::Connect as u8, "no connection could be made"),
    (Code::NotDelivered as u8, "something was not delivered; the message says how much"),
    (Code::Timeout as u8, "it took longer than allowed"),
    (Code::Interrupted as u8, "interrupted before the work was done"),
    (Code::BrokenPipe as u8, "whoever read the output went away (nothing is printed)"),
];

/// Why the program fails.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// What was being done and why it failed. Empty when nothing is to be said.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// The kind of the error beneath, if it is haul's.
    pub(crate) kind: Option<ErrorKind>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string(), hint: None, kind: None }
    }

    /// The end after ctrl-c: nothing is to be said that was not said.
    pub(crate) fn interrupted() -> Self {
        Self::new(Code::Interrupted, "")
    }

    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Code::Usage, message)
    }

    /// A failure to connect: code 3, unless the URL is wrong.
    pub(crate) fn connecting(error: Error) -> Self {
        let failure = Self::from(error);
        match failure.code {
            Code::Usage => failure,
            _ => failure.with_code(Code::Connect),
        }
    }

    pub(crate) fn with_code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::Config | ErrorKind::Unsupported => Code::Usage,
            ErrorKind::Connect | ErrorKind::Tls => Code::Connect,
            ErrorKind::Timeout => Code::Timeout,
            _ => Code::Failed,
        };
        Self {
            code,
            hint: hint(&error).map(str::to_owned),
            kind: Some(error.kind()),
            message: error.to_string(),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::new(Code::BrokenPipe, ""),
            _ => Self::from(Error::from(error)),
        }
    }
}

/// What a person is to do about `error`, where the message does not say so itself.
fn hint(error: &Error) -> Option<&'static str> {
    Some(match error.kind() {
        ErrorKind::Unsupported if error.message().contains("compiled in") => {
            "use one of the schemes listed; haul probe HOST:PORT tells which of them a server answers"
        }
        ErrorKind::Unsupported if error.message().contains("does not speak sessions") => {
            "leave out --session, or take --reconnect; haul listen --session is a server that speaks them"
        }
        ErrorKind::Connect => {
            "check that a server listens there and nothing blocks the way; haul listen URL starts one"
        }
        ErrorKind::Timeout => "see with haul probe URL whether it answers at all, or allow more time",
        ErrorKind::Tls => {
            "check name and dates of the certificate; #ca=FILE in the URL trusts another authority"
        }
        ErrorKind::Protocol if error.message().contains("haul.v1") => {
            "add ?framing=lines, length or raw to a tcp URL whose other end is not haul"
        }
        ErrorKind::Unauthorized => "give user and password in the URL, or the token that the server asks for",
        ErrorKind::NotFound => "check path and spelling",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_usage_even_while_connecting_and_all_else_is_connect() {
        let failure = |kind| Failure::connecting(Error::new(kind, "x")).code;
        assert_eq!(failure(ErrorKind::Config), Code::Usage);
        assert_eq!(failure(ErrorKind::Timeout), Code::Connect);
        assert_eq!(failure(ErrorKind::Protocol), Code::Connect);
    }

    #[test]
    fn a_broken_pipe_says_nothing() {
        let failure = Failure::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!((failure.code, failure.message.as_str()), (Code::BrokenPipe, ""));
    }
}
