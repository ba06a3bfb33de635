//! What two sessions say to each other: notes, described in `docs/wire/session.md`.

use haul_core::wire::Frame;
use haul_core::{Error, ErrorKind, Result};

use crate::token::{SessionId, Token};

/// The version of this protocol; it stands in the first word that each client says.
const VERSION: u64 = 1;

/// A refusal's text is cut to this many bytes.
const MAX_TEXT: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// The server hears from here on: what was said before may be lost, and is to be said again.
    Hello,
    /// The client asks for a new session.
    Open { epoch: u64, window: u64 },
    /// Here it is.
    Accepted { session: SessionId, token: Token, window: u64 },
    /// The client comes back on another link, having received so many.
    Resume { session: SessionId, token: Token, attempt: u64, received: u64 },
    /// The session goes on here; so many were received.
    Resumed { received: u64 },
    /// It does not.
    Refused { reason: Refusal, text: String },
    /// All up to here are settled.
    Ack { settled: u64 },
    /// The client's packets from here to before there may be lost: a new session took the place of another.
    Gap { from: u64, to: u64 },
    /// The session is over at once.
    Abort { code: u16, text: String },
}

/// Why a session was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no such session, or the token is wrong.
    Unknown,
    /// It belongs to somebody else.
    Unauthorized,
    /// A later resume of it came before this one.
    Stale,
    /// Too many sessions.
    Overloaded,
    /// The client broke the protocol, or speaks another version.
    Protocol,
}

const REFUSALS: [(Refusal, &str); 5] = [
    (Refusal::Unknown, "unknown"),
    (Refusal::Unauthorized, "unauthorized"),
    (Refusal::Stale, "stale"),
    (Refusal::Overloaded, "overloaded"),
    (Refusal::Protocol, "protocol"),
];

impl Refusal {
    fn as_str(self) -> &'static str {
        REFUSALS.iter().find(|(refusal, _)| *refusal == self).expect("the table has every refusal").1
    }
}

impl Message {
    pub(crate) fn into_frame(self) -> Frame {
        Frame::Note(match self {
            Self::Hello => format!("hello {VERSION}"),
            Self::Open { epoch, window } => format!("open {VERSION} {epoch} {window}"),
            Self::Accepted { session, token, window } => {
                format!("accepted {session} {} {window}", token.reveal())
            }
            Self::Resume { session, token, attempt, received } => {
                format!("resume {VERSION} {session} {} {attempt} {received}", token.reveal())
            }
            Self::Resumed { received } => format!("resumed {received}"),
            Self::Refused { reason, text } => format!("refused {} {}", reason.as_str(), cut(&text)),
            Self::Ack { settled } => format!("ack {settled}"),
            Self::Gap { from, to } => format!("gap {from} {to}"),
            Self::Abort { code, text } => format!("abort {code} {}", cut(&text)),
        })
    }

    /// Errors: `Protocol` with what is wrong.
    pub(crate) fn parse(note: &str) -> Result<Self> {
        let (word, rest) = note.split_once(' ').ok_or_else(|| malformed(note, "it has one word"))?;
        let mut fields = Fields { note, rest };
        let message = match word {
            "hello" => {
                fields.version()?;
                Self::Hello
            }
            "open" => {
                fields.version()?;
                Self::Open { epoch: fields.number()?, window: fields.number()? }
            }
            "accepted" => Self::Accepted {
                session: fields.parsed()?,
                token: fields.parsed()?,
                window: fields.number()?,
            },
            "resume" => {
                fields.version()?;
                Self::Resume {
                    session: fields.parsed()?,
                    token: fields.parsed()?,
                    attempt: fields.number()?,
                    received: fields.number()?,
                }
            }
            "resumed" => Self::Resumed { received: fields.number()? },
            "refused" => {
                let word = fields.word();
                let known = REFUSALS.iter().find(|(_, name)| *name == word);
                // A reason of a later version is a refusal all the same.
                let reason = known.map_or(Refusal::Protocol, |(refusal, _)| *refusal);
                Self::Refused { reason, text: fields.text() }
            }
            "ack" => Self::Ack { settled: fields.number()? },
            "gap" => Self::Gap { from: fields.number()?, to: fields.number()? },
            "abort" => {
                let code =
                    u16::try_from(fields.number()?).map_err(|_| malformed(note, "its code is no code"))?;
                Self::Abort { code, text: fields.text() }
            }
            _ => return Err(malformed(note, "its first word is unknown")),
        };
        if fields.rest.is_empty() { Ok(message) } else { Err(malformed(note, "it has too many fields")) }
    }
}

struct Fields<'a> {
    note: &'a str,
    rest: &'a str,
}

impl<'a> Fields<'a> {
    fn word(&mut self) -> &'a str {
        let (word, rest) = self.rest.split_once(' ').unwrap_or((self.rest, ""));
        self.rest = rest;
        word
    }

    fn text(&mut self) -> String {
        std::mem::take(&mut self.rest).to_owned()
    }

    fn parsed<T: std::str::FromStr<Err = &'static str>>(&mut self) -> Result<T> {
        let note = self.note;
        self.word().parse().map_err(|why| malformed(note, why))
    }

    fn number(&mut self) -> Result<u64> {
        let word = self.word();
        let canonical =
            word.bytes().all(|digit| digit.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
        let number = word.parse().ok().filter(|_| canonical);
        number.ok_or_else(|| malformed(self.note, "a number is missing or malformed"))
    }

    fn version(&mut self) -> Result<()> {
        match self.number()? {
            VERSION => Ok(()),
            other => Err(Error::new(
                ErrorKind::Unsupported,
                format!("the peer speaks version {other} of sessions, this end version {VERSION}"),
            )),
        }
    }
}

/// A token must not stand in an error: only the first word is shown.
fn malformed(note: &str, why: &str) -> Error {
    let word: String = note.split(' ').next().unwrap_or_default().chars().take(16).collect();
    Error::new(ErrorKind::Protocol, format!("malformed session note {word:?}: {why}"))
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
