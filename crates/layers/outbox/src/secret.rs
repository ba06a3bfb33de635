use std::fmt;
use std::path::Path;

use haul_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Deserializer};

/// A key of 256 bits that packets are sealed with. It is not shown.
///
/// In TOML: `encryption = { key = "${OUTBOX_KEY}" }` or `encryption = { key_file = "/etc/haul/outbox.key" }`, the key
/// being 64 hexadecimal digits, as `openssl rand -hex 32` makes them.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey([u8; 32]);

impl SecretKey {
    /// Reads 64 hexadecimal digits, white space around them left out. Errors: `Config`, without the text.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || Error::new(ErrorKind::Config, "outbox: the key must be 64 hexadecimal digits");
        let digits = text.trim().as_bytes();
        if digits.len() != 64 {
            return Err(wrong());
        }
        let mut key = [0; 32];
        for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
            let digit = |of: u8| char::from(of).to_digit(16).ok_or_else(wrong);
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Ok(Self(key))
    }

    /// Reads it from a file. Errors: `NotFound`, `Io`; as [`parse`](Self::parse).
    pub fn read(file: impl AsRef<Path>) -> Result<Self> {
        let doing = || format!("read the outbox's key from {}", file.as_ref().display());
        let text = std::fs::read_to_string(&file).map_err(|why| Error::from(why).while_doing(doing()))?;
        Self::parse(&text).map_err(|why| why.while_doing(doing()))
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey")
    }
}

impl<'de> Deserialize<'de> for SecretKey {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Place {
            key: Option<String>,
            key_file: Option<String>,
        }
        let key = match Place::deserialize(from)? {
            Place { key: Some(key), key_file: None } => Self::parse(&key),
            Place { key: None, key_file: Some(file) } => Self::read(file),
            _ => Err(Error::new(ErrorKind::Config, "outbox: encryption needs a key or a key_file")),
        };
        key.map_err(serde::de::Error::custom)
    }
}
