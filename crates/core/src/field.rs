//! One thing that a packet has, by name.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::{Error, ErrorKind, Packet, Result, Sent};

/// One thing that a packet has, by name: what templates fill in and filters ask for.
///
/// | name | what it is |
/// |---|---|
/// | `name` | the metadata `name` |
/// | `/user/id` | what the JSON pointer (RFC 6901) finds in the payload: text, number or boolean |
/// | `@id`, `@kind` | the packet's id; `text` or `binary` |
/// | `@payload` | the payload, where it is UTF-8 |
/// | `@metadata` | all metadata as a JSON object |
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field(What);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Metadata(String),
    Pointer(String),
    Id,
    Kind,
    Payload,
    AllMetadata,
}

impl Field {
    /// Errors: `Config` for an empty name, and for one with `@` that there is not.
    pub fn parse(name: &str) -> Result<Self> {
        let wrong = |why: String| Err(Error::new(ErrorKind::Config, why));
        Ok(Self(match name {
            "" => return wrong("an empty name".to_owned()),
            "@id" => What::Id,
            "@kind" => What::Kind,
            "@payload" => What::Payload,
            "@metadata" => What::AllMetadata,
            other if other.starts_with('@') => {
                return wrong(format!("{other}: there are @id, @kind, @payload and @metadata"));
            }
            pointer if pointer.starts_with('/') => What::Pointer(pointer.to_owned()),
            name => What::Metadata(name.to_owned()),
        }))
    }

    /// What `packet` has of it. Errors: `Codec` for a pointer into what is no JSON, and for a payload that is no UTF-8;
    /// permanent, and nothing was sent.
    pub fn of<'a>(&self, packet: &'a Packet) -> Result<Option<Cow<'a, str>>> {
        Ok(match &self.0 {
            What::Metadata(name) => packet.metadata().get(name).map(Cow::Borrowed),
            What::Id => packet.id().map(|id| Cow::Owned(id.to_string())),
            What::Kind => Some(Cow::Borrowed(packet.kind().as_str())),
            What::Payload => {
                let text = std::str::from_utf8(packet.payload());
                let text = text.map_err(|_| {
                    Error::new(ErrorKind::Codec, "the payload is not UTF-8").with_sent(Sent::No)
                });
                Some(Cow::Borrowed(text?))
            }
            What::AllMetadata => {
                let json = serde_json::to_string(packet.metadata());
                Some(Cow::Owned(json.map_err(|why| Error::new(ErrorKind::Codec, why.to_string()))?))
            }
            What::Pointer(pointer) => {
                let json: serde_json::Value = packet.parse_json().map_err(|why| why.with_sent(Sent::No))?;
                match json.pointer(pointer) {
                    Some(serde_json::Value::String(text)) => Some(Cow::Owned(text.clone())),
                    Some(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => {
                        Some(Cow::Owned(value.to_string()))
                    }
                    _ => None,
                }
            }
        })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            What::Metadata(name) => write!(f, "metadata {name:?}"),
            What::Pointer(pointer) => write!(f, "text at {pointer:?} of its payload"),
            What::Id => f.write_str("id"),
            What::Kind => f.write_str("kind"),
            What::Payload => f.write_str("payload"),
            What::AllMetadata => f.write_str("metadata"),
        }
    }
}

impl FromStr for Field {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::parse(name)
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}
