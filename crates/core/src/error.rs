//! The one error of haul: what went wrong, at what, whether trying again may help, and whether the peer may have
//! seen it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A result whose error is haul's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option, a URL or a configuration file is wrong.
    Config,
    /// This protocol, sink or build cannot do what was asked.
    Unsupported,
    /// No connection could be made.
    Connect,
    /// The TLS handshake or a certificate failed.
    Tls,
    /// It took longer than allowed.
    Timeout,
    /// The connection is over.
    Closed,
    /// Packets are missing: continuity could not be proved.
    Gap,
    /// The peer broke the protocol.
    Protocol,
    /// Larger than a bound that the message names.
    TooLarge,
    /// A payload could not be encoded or decoded.
    Codec,
    /// Credentials are missing or were refused.
    Unauthorized,
    /// The peer refused it.
    Rejected,
    /// The peer asks to slow down.
    RateLimited,
    /// A bound is reached here or at the peer; nothing was queued.
    Overloaded,
    /// A circuit breaker is open: nothing was sent.
    CircuitOpen,
    /// It does not exist.
    NotFound,
    /// The operating system failed a read, write, sync or rename.
    Io,
    /// A defect of haul or of user code that it called.
    Internal,
}

impl ErrorKind {
    /// The kind as one lower-case word, as it stands in logs, JSON and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Unsupported => "unsupported",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Gap => "gap",
            Self::Protocol => "protocol",
            Self::TooLarge => "too_large",
            Self::Codec => "codec",
            Self::Unauthorized => "unauthorized",
            Self::Rejected => "rejected",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::CircuitOpen => "circuit_open",
            Self::NotFound => "not_found",
            Self::Io => "io",
            Self::Internal => "internal",
        }
    }

    /// The kind that [`as_str`](Self::as_str) names, if any.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::Config,
        Self::Unsupported,
        Self::Connect,
        Self::Tls,
        Self::Timeout,
        Self::Closed,
        Self::Gap,
        Self::Protocol,
        Self::TooLarge,
        Self::Codec,
        Self::Unauthorized,
        Self::Rejected,
        Self::RateLimited,
        Self::Overloaded,
        Self::CircuitOpen,
        Self::NotFound,
        Self::Io,
        Self::Internal,
    ];

    fn status(self) -> Status {
        match self {
            Self::Connect
            | Self::Timeout
            | Self::Closed
            | Self::RateLimited
            | Self::Overloaded
            | Self::CircuitOpen
            | Self::Io => Status::Transient,
            _ => Status::Permanent,
        }
    }

    fn sent(self) -> Sent {
        match self {
            Self::Timeout | Self::Closed | Self::Gap | Self::Protocol | Self::Io | Self::Internal => {
                Sent::Maybe
            }
            _ => Sent::No,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether trying again may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Try again.
    Transient,
    /// It will never work.
    Permanent,
    /// It was tried again already, or must not be: an outer retry must not multiply it.
    Exhausted,
}

/// Whether the peer may have seen what failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// The peer cannot have acted on it: it never left, or the peer said that it refused it.
    No,
    /// The peer may have seen it; only an idempotent input may be sent again.
    Maybe,
}

/// What was being done to which endpoint, and why it failed.
///
/// It is cheap to clone, so that one failed flush, sync or refresh answers everyone who waited for it. The message
/// reads `what: why` and says what to do where haul knows.
#[derive(Clone, thiserror::Error)]
#[error(transparent)]
pub struct Error(Arc<Detail>);

#[derive(Clone)]
struct Detail {
    kind: ErrorKind,
    status: Status,
    sent: Sent,
    message: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`, with the status and `sent` answer that are usual for it.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Detail {
            kind,
            status: kind.status(),
            sent: kind.sent(),
            message: message.into(),
            context: Vec::new(),
            retry_after: None,
            source: None,
        }))
    }

    /// Adds a fact: an endpoint, a file, a position.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        Arc::make_mut(&mut self.0).context.push((key, value.to_string()));
        self
    }

    /// Puts `doing` before the message, unless it begins so: `dial ws://host: connection refused`.
    #[must_use]
    pub fn while_doing(mut self, doing: impl fmt::Display) -> Self {
        let begin = format!("{doing}: ");
        if !self.0.message.starts_with(&begin) {
            let detail = Arc::make_mut(&mut self.0);
            detail.message = (begin + &detail.message).into();
        }
        self
    }

    /// Sets the error of the library or system call beneath.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Arc::make_mut(&mut self.0).source = Some(source.into().into());
        self
    }

    /// Sets whether trying again may help.
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Self {
        Arc::make_mut(&mut self.0).status = status;
        self
    }

    /// Sets whether the peer may have seen it.
    #[must_use]
    pub fn with_sent(mut self, sent: Sent) -> Self {
        Arc::make_mut(&mut self.0).sent = sent;
        self
    }

    /// Sets how long the peer asks to wait before another try.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        Arc::make_mut(&mut self.0).retry_after = Some(wait);
        self
    }

    /// The same error after its retries: an outer retry leaves it alone. A permanent error stays permanent.
    #[must_use]
    pub fn exhausted(self) -> Self {
        match self.status() {
            Status::Transient => self.with_status(Status::Exhausted),
            _ => self,
        }
    }

    /// The outcome of what came behind this failure and was therefore not tried, so that trying again keeps the order: of
    /// the same kind, transient, nothing sent.
    #[must_use]
    pub fn not_tried(&self) -> Self {
        let error = Self::new(self.kind(), "not tried, because what came before it failed")
            .with_status(Status::Transient)
            .with_sent(Sent::No)
            .with_source(self.clone());
        match self.retry_after() {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }

    /// What went wrong, in one word.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether trying again may help.
    pub fn status(&self) -> Status {
        self.0.status
    }

    /// Whether the peer may have seen what failed.
    pub fn sent(&self) -> Sent {
        self.0.sent
    }

    /// How long the peer asks to wait before another try.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The message without context and source.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The facts added by [`with`](Self::with), oldest first.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.context.iter().map(|(key, value)| (*key, value.as_str()))
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for (at, (key, value)) in self.context.iter().enumerate() {
            write!(f, "{}{key}={value}", if at == 0 { " (" } else { ", " })?;
        }
        if !self.context.is_empty() {
            f.write_str(")")?;
        }
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}/sent {:?}: {self}", self.kind, self.status, self.sent)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::error::Error for Detail {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<std::io::Error> for Error {
    /// Maps the operating system's word onto a kind; the text stays in the message. An error of haul's that travelled
    /// inside (through a stream's `poll_read`, say) comes out as it was.
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        if let Some(own) = error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
            return own.clone();
        }
        let kind = match error.kind() {
            Io::ConnectionRefused | Io::AddrNotAvailable | Io::HostUnreachable | Io::NetworkUnreachable => {
                ErrorKind::Connect
            }
            Io::ConnectionReset
            | Io::ConnectionAborted
            | Io::BrokenPipe
            | Io::NotConnected
            | Io::UnexpectedEof => ErrorKind::Closed,
            Io::TimedOut => ErrorKind::Timeout,
            Io::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_deed_the_facts_and_the_cause() {
        let error = Error::new(ErrorKind::Tls, "certificate expired")
            .while_doing("dial wss://a.example")
            .with("days", 3)
            .with_source("bad time");
        assert_eq!(error.to_string(), "dial wss://a.example: certificate expired (days=3): bad time");
    }

    #[test]
    fn what_was_being_done_is_said_once_where_two_layers_say_it() {
        let error =
            Error::new(ErrorKind::Closed, "reset").while_doing("send on tcp").while_doing("send on tcp");
        assert_eq!(error.while_doing("pipe").to_string(), "pipe: send on tcp: reset");
    }

    #[test]
    fn exhausting_keeps_a_permanent_error_permanent() {
        assert_eq!(Error::new(ErrorKind::Config, "x").exhausted().status(), Status::Permanent);
        assert_eq!(Error::new(ErrorKind::Timeout, "x").exhausted().status(), Status::Exhausted);
    }

    #[test]
    fn what_was_not_tried_may_be_tried_when_that_before_it_may() {
        let why = Error::new(ErrorKind::Overloaded, "full")
            .with_status(Status::Permanent)
            .with_retry_after(Duration::from_secs(3));
        let behind = why.not_tried();
        assert_eq!(
            (behind.kind(), behind.status(), behind.sent()),
            (ErrorKind::Overloaded, Status::Transient, Sent::No)
        );
        assert_eq!(behind.retry_after(), Some(Duration::from_secs(3)));
        assert!(behind.to_string().contains("full"), "{behind}");
    }

    #[test]
    fn an_error_that_travelled_inside_an_io_error_comes_out_as_it_was() {
        let wrapped = std::io::Error::other(Error::new(ErrorKind::Tls, "x"));
        assert_eq!(Error::from(wrapped).kind(), ErrorKind::Tls);
    }

    #[test]
    fn every_kind_has_a_name_that_leads_back_to_it() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_name(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
