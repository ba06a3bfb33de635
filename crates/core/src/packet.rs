//! The packet: what every transport carries.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::service::{Input, Subject};
use crate::{Error, ErrorKind, Metadata, PacketId, Receipt, Result};

/// Whether a payload is text or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8 text; checked where a packet is made and where it is received.
    Text,
    /// Any bytes.
    Binary,
}

impl Kind {
    /// The kind as one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }
}

/// Whether a packet may be lost on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reliability {
    /// It arrives, or the connection fails.
    #[default]
    Reliable,
    /// It may be lost, repeated or overtaken where the protocol has datagrams; elsewhere it is simply sent.
    Unreliable,
}

/// One message: a payload, what it is, and what is known about it.
///
/// ```
/// use haul_core::Packet;
///
/// let packet = Packet::text("hi").with("session_id", "7").unreliable();
/// assert_eq!(packet.as_text(), Some("hi"));
/// assert_eq!(packet.metadata().get("session_id"), Some("7"));
/// ```
///
/// Cloning it does not copy the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    payload: Bytes,
    metadata: Metadata,
    id: Option<PacketId>,
    kind: Kind,
    reliability: Reliability,
}

impl Packet {
    /// A text packet.
    pub fn text(text: impl Into<String>) -> Self {
        Self::of(Kind::Text, Bytes::from(text.into()))
    }

    /// A text packet from a literal, without a copy.
    pub fn text_static(text: &'static str) -> Self {
        Self::of(Kind::Text, Bytes::from_static(text.as_bytes()))
    }

    /// A text packet from bytes, without a copy. Errors: `Codec` with the position of the first byte that is not UTF-8.
    pub fn text_from_utf8(bytes: impl Into<Bytes>) -> Result<Self> {
        let bytes = bytes.into();
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(Self::of(Kind::Text, bytes)),
            Err(why) => Err(Error::new(
                ErrorKind::Codec,
                format!("text is not UTF-8 from byte {} of {} on", why.valid_up_to(), bytes.len()),
            )),
        }
    }

    /// A binary packet.
    #[inline]
    pub fn binary(bytes: impl Into<Bytes>) -> Self {
        Self::of(Kind::Binary, bytes.into())
    }

    /// A text packet with `value` as JSON. Errors: `Codec`.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        match serde_json::to_vec(value) {
            Ok(json) => Ok(Self::of(Kind::Text, json.into())),
            Err(why) => Err(Error::new(ErrorKind::Codec, "encode as JSON").with_source(why)),
        }
    }

    /// A binary packet with `value` as MessagePack, structs as maps. Errors: `Codec`.
    pub fn msgpack<T: Serialize + ?Sized>(value: &T) -> Result<Self> {
        match rmp_serde::to_vec_named(value) {
            Ok(bytes) => Ok(Self::of(Kind::Binary, bytes.into())),
            Err(why) => Err(Error::new(ErrorKind::Codec, "encode as MessagePack").with_source(why)),
        }
    }

    #[inline]
    fn of(kind: Kind, payload: Bytes) -> Self {
        Self { payload, metadata: Metadata::new(), id: None, kind, reliability: Reliability::Reliable }
    }

    /// The packet with `name` set to `value` in its metadata.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Cow<'static, str>>) -> Self {
        self.metadata.set(name, value);
        self
    }

    /// The packet with this metadata instead of its own.
    #[must_use]
    #[inline]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// The packet with this id, which states that its receiver tolerates duplicates.
    #[must_use]
    #[inline]
    pub fn with_id(mut self, id: PacketId) -> Self {
        self.id = Some(id);
        self
    }

    /// The packet with an id: its own, or a new one.
    #[must_use]
    pub fn identified(mut self) -> Self {
        self.id.get_or_insert_with(PacketId::random);
        self
    }

    /// The packet, allowed to be lost.
    #[must_use]
    pub fn unreliable(mut self) -> Self {
        self.reliability = Reliability::Unreliable;
        self
    }

    /// Whether the payload is text or bytes.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The payload.
    #[inline]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The payload, without a copy.
    #[inline]
    pub fn into_payload(self) -> Bytes {
        self.payload
    }

    /// Bytes of the payload.
    #[inline]
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// Whether the payload has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// The text, if it is a text packet.
    pub fn as_text(&self) -> Option<&str> {
        match self.kind {
            Kind::Text => std::str::from_utf8(&self.payload).ok(),
            Kind::Binary => None,
        }
    }

    /// The payload from JSON. Errors: `Codec`.
    pub fn parse_json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.payload)
            .map_err(|why| Error::new(ErrorKind::Codec, "decode JSON").with_source(why))
    }

    /// The payload from MessagePack. Errors: `Codec`.
    pub fn parse_msgpack<T: DeserializeOwned>(&self) -> Result<T> {
        rmp_serde::from_slice(&self.payload)
            .map_err(|why| Error::new(ErrorKind::Codec, "decode MessagePack").with_source(why))
    }

    /// What travels beside the payload.
    #[inline]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// What travels beside the payload, to change it.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// The id, if it has one.
    #[inline]
    pub fn id(&self) -> Option<PacketId> {
        self.id
    }

    /// Whether it may be lost.
    #[inline]
    pub fn reliability(&self) -> Reliability {
        self.reliability
    }

    /// Bytes that it counts for in a bounded buffer: payload, metadata and a little for itself.
    #[inline]
    pub fn weight(&self) -> usize {
        self.payload.len() + self.metadata.size() + 64
    }

    /// A text packet whose bytes were checked to be UTF-8 before, by a WebSocket library, say. If they are not,
    /// [`as_text`](Self::as_text) answers `None`.
    #[inline]
    pub fn text_checked(payload: Bytes) -> Self {
        Self::of(Kind::Text, payload)
    }
}

impl Input for Packet {
    type Out = Receipt;

    const ROLE: &'static str = "deliver";

    fn subject(&self) -> Subject {
        Subject::Bytes(self.len())
    }

    fn replay(&self) -> Option<Self> {
        Some(self.clone())
    }

    /// A packet with an id may be applied twice.
    fn idempotent(&self) -> bool {
        self.id.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_not_utf8_is_refused_with_its_position() {
        let error = Packet::text_from_utf8(&b"ab\xff"[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert!(error.to_string().contains("byte 2"), "{error}");
    }

    #[test]
    fn values_come_back_from_json_and_messagepack() {
        let value = ("a".to_owned(), 7u32);
        assert_eq!(Packet::json(&value).unwrap().parse_json::<(String, u32)>().unwrap(), value);
        assert_eq!(Packet::msgpack(&value).unwrap().parse_msgpack::<(String, u32)>().unwrap(), value);
    }
}
