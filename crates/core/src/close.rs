//! Why a connection ends.

use std::borrow::Cow;
use std::fmt;

/// A close code and a word to go with it. The codes are WebSocket's (RFC 6455 section 7.4.1) on every protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// The code.
    pub code: u16,
    /// A short text, at most 123 bytes on the wire.
    pub message: Cow<'static, str>,
}

impl CloseReason {
    /// Done: 1000.
    pub const NORMAL: Self = Self::fixed(1000);
    /// The endpoint goes away, a shutdown: 1001.
    pub const GOING_AWAY: Self = Self::fixed(1001);
    /// The peer broke the protocol: 1002.
    pub const PROTOCOL: Self = Self::fixed(1002);
    /// A payload was not what it claimed to be: 1007.
    pub const INVALID_PAYLOAD: Self = Self::fixed(1007);
    /// The peer broke a rule of the application: 1008.
    pub const POLICY: Self = Self::fixed(1008);
    /// A packet was too large: 1009.
    pub const TOO_LARGE: Self = Self::fixed(1009);
    /// Something failed on this side: 1011.
    pub const INTERNAL: Self = Self::fixed(1011);
    /// Too busy, try again later: 1013.
    pub const TRY_AGAIN_LATER: Self = Self::fixed(1013);

    const fn fixed(code: u16) -> Self {
        Self { code, message: Cow::Borrowed("") }
    }

    /// A code with a text, cut to 123 bytes (RFC 6455 section 5.5).
    pub fn new(code: u16, message: impl Into<Cow<'static, str>>) -> Self {
        let mut message = message.into();
        if message.len() > 123 {
            let end = message.floor_char_boundary(123);
            message.to_mut().truncate(end);
        }
        Self { code, message }
    }

    /// Whether it says that nothing went wrong: 1000, 1001, or no code given (1005).
    pub fn is_clean(&self) -> bool {
        matches!(self.code, 1000 | 1001 | 1005)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.as_ref() {
            "" => write!(f, "code {}", self.code),
            message => write!(f, "code {}, {message:?}", self.code),
        }
    }
}
