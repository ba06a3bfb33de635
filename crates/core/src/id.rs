//! Packet ids.

use std::fmt;
use std::str::FromStr;

use crate::{Error, ErrorKind};

/// The id of a packet: 16 bytes, a UUID of version 7 (RFC 9562 section 5.7) when haul makes it.
///
/// Giving a packet an id states that its receiver tolerates duplicates, because it can tell them by the id. Only
/// then is a packet that may have been sent sent again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId([u8; 16]);

impl PacketId {
    /// A new id: unique, and ordered by time to the millisecond.
    pub fn random() -> Self {
        Self(uuid::Uuid::now_v7().into_bytes())
    }

    /// The id with these bytes, of any origin.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for PacketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PacketId {
    type Err = Error;

    /// Parses the usual forms of a UUID.
    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = uuid::Uuid::parse_str(text);
        let id = parsed.map_err(|why| Error::new(ErrorKind::Codec, format!("packet id {text:?}: {why}")))?;
        Ok(Self(id.into_bytes()))
    }
}
