//! Names of sessions, and the secrets that prove who opened them.

use std::fmt;
use std::str::FromStr;

use haul_core::{Error, ErrorKind, Result};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// The name of a session; no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId([u8; 16]);

/// The secret of a session: 256 bits from the operating system.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token([u8; 32]);

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Error::new(ErrorKind::Io, "the operating system gives no random numbers"))?;
    Ok(bytes)
}

impl SessionId {
    pub(crate) fn random() -> Result<Self> {
        random().map(Self)
    }
}

impl Token {
    pub(crate) fn random() -> Result<Self> {
        random().map(Self)
    }

    /// Whether `other` is this token, in a time that does not depend on where they differ.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"haul session token");
        hmac::verify(&key, &other.0, hmac::sign(&key, &self.0).as_ref()).is_ok()
    }

    /// The token as it goes onto the wire, and nowhere else.
    pub(crate) fn reveal(&self) -> impl fmt::Display {
        hex(&self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

impl FromStr for SessionId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        parse(text).map(Self).ok_or("a session's name is 32 hexadecimal digits")
    }
}

impl FromStr for Token {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        parse(text).map(Self).ok_or("a token is 64 hexadecimal digits")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lower-case digits only: one text for each value.
fn parse<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_matches_itself_and_no_other() {
        let token = Token::random().unwrap();
        assert!(token.matches(&token));
        assert!(!token.matches(&Token::random().unwrap()));
        for bit in 0..256 {
            let mut near = token;
            near.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!token.matches(&near), "it differs in bit {bit}");
        }
    }

    #[test]
    fn a_token_is_not_shown_by_debug() {
        let token = Token::random().unwrap();
        assert!(!format!("{token:?}").contains(&token.reveal().to_string()[..8]));
    }
}
