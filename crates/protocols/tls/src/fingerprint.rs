//! The SHA-256 of a certificate, as tools print it.

use std::fmt;
use std::str::FromStr;

use haul_core::{Error, ErrorKind};

/// The SHA-256 of a certificate's DER, printed as 64 lower-case hex digits.
///
/// It parses with or without colons, in either case, as `openssl x509 -noout -fingerprint -sha256` prints it after
/// the `=`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate in DER.
    pub fn of_der(der: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, der);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || {
            Error::new(
                ErrorKind::Config,
                format!(
                    "pin {text:?} is not a SHA-256 fingerprint: give 64 hex digits, with or without colons"
                ),
            )
        };
        let digits: Vec<u8> = text
            .trim()
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return Err(wrong());
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_parses_with_and_without_colons_and_in_either_case() {
        let plain = Fingerprint::of_der(b"abc").to_string();
        assert_eq!(plain, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let pairs: Vec<&str> = (0..32).map(|at| &plain[2 * at..2 * at + 2]).collect();
        let colons = pairs.join(":").to_uppercase();
        assert_eq!(colons.parse::<Fingerprint>().unwrap(), plain.parse().unwrap());
    }

    #[test]
    fn what_is_not_a_fingerprint_is_refused() {
        for text in ["", "ba78", "zz", &"a".repeat(63), &"a".repeat(66), &"é".repeat(32)] {
            assert_eq!(text.parse::<Fingerprint>().unwrap_err().kind(), ErrorKind::Config, "{text}");
        }
    }
}
