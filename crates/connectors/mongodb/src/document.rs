//! A packet as a document.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use haul_core::{Error, ErrorKind, Kind, Packet, Result, Sent};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::raw::{CStr, RawBsonRef, RawDocumentBuf, cstr};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, RawBinaryRef};
use serde_json::Value;

use crate::config::Payload;

/// Bytes of the largest document that a server takes.
pub(crate) const LARGEST: usize = 16 << 20;

/// A document that is to be there, and what its packet's receipt says.
pub(crate) struct Entry {
    pub(crate) id: Bson,
    pub(crate) document: RawDocumentBuf,
}

impl Entry {
    /// The document of a packet: `_id` is its id, or one that is made for it. Errors: `Unsupported`, `Codec`, `TooLarge`.
    pub(crate) fn new(packet: &Packet, payload: Payload, seq: i64) -> Result<Self> {
        let id = match packet.id() {
            Some(id) => Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: id.as_bytes().to_vec() }),
            None => Bson::ObjectId(ObjectId::new()),
        };
        let mut document = RawDocumentBuf::new();
        match &id {
            Bson::ObjectId(id) => document.append(cstr!("_id"), *id),
            Bson::Binary(Binary { subtype, bytes }) => {
                document.append(cstr!("_id"), RawBinaryRef { subtype: *subtype, bytes });
            }
            _ => unreachable!("it was made here"),
        }
        document.append(cstr!("seq"), seq);
        document.append(cstr!("kind"), packet.kind().as_str());
        append_payload(packet, payload, &mut document)?;
        let mut metadata = RawDocumentBuf::new();
        for (name, value) in packet.metadata().iter() {
            let name: &CStr = name.try_into().map_err(|_| refused(ErrorKind::Unsupported, NUL))?;
            metadata.append(name, value);
        }
        document.append(cstr!("metadata"), metadata);
        document.append(cstr!("sent_at"), DateTime::now());
        if document.as_bytes().len() > LARGEST {
            let why = format!("a document of {} bytes; at most 16 MiB go", document.as_bytes().len());
            return Err(refused(ErrorKind::TooLarge, why));
        }
        Ok(Self { id, document })
    }

    /// The `_id` as text.
    pub(crate) fn reference(&self, packet: &Packet) -> String {
        match (packet.id(), &self.id) {
            (Some(id), _) => id.to_string(),
            (None, Bson::ObjectId(id)) => id.to_hex(),
            (None, other) => other.to_string(),
        }
    }
}

const NUL: &str = "a name in a document has no character NUL";

fn refused(kind: ErrorKind, why: impl Into<String>) -> Error {
    Error::new(kind, why.into()).with_sent(Sent::No)
}

fn append_payload(packet: &Packet, payload: Payload, document: &mut RawDocumentBuf) -> Result<()> {
    let name = cstr!("payload");
    match (payload, packet.kind()) {
        (Payload::Plain, Kind::Text) => document.append(name, packet.as_text().unwrap_or_default()),
        (Payload::Plain, _) => {
            let bytes = &packet.payload()[..];
            document.append(name, RawBinaryRef { subtype: BinarySubtype::Generic, bytes });
        }
        (Payload::Json, Kind::Text) => {
            let json: Value = serde_json::from_slice(packet.payload())
                .map_err(|why| refused(ErrorKind::Codec, format!("the payload is no JSON: {why}")))?;
            let json = bson(json).map_err(|why| refused(ErrorKind::Codec, why))?;
            let raw = mongodb::bson::RawBson::try_from(json)
                .map_err(|why| refused(ErrorKind::Codec, format!("encode the payload: {why}")))?;
            match raw.as_raw_bson_ref() {
                raw @ (RawBsonRef::Document(_) | RawBsonRef::Array(_)) => document.append(name, raw),
                _ => {
                    return Err(refused(ErrorKind::Codec, "the payload is JSON, but no object and no array"));
                }
            }
        }
        (Payload::Json, _) => {
            let why = "payload=json takes no binary packet; payload=plain does";
            return Err(refused(ErrorKind::Unsupported, why));
        }
    }
    Ok(())
}

/// The same in BSON. Names that begin with `$` are names, no types.
fn bson(json: Value) -> Result<Bson, String> {
    Ok(match json {
        Value::Null => Bson::Null,
        Value::Bool(flag) => Bson::Boolean(flag),
        Value::String(text) => Bson::String(text),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => i32::try_from(number).map_or(Bson::Int64(number), Bson::Int32),
            (None, Some(double)) if !number.is_u64() => Bson::Double(double),
            _ => return Err(format!("the number {number} does not fit in 64 bits")),
        },
        Value::Array(values) => Bson::Array(values.into_iter().map(bson).collect::<Result<_, _>>()?),
        Value::Object(fields) => {
            let named = fields.into_iter().map(|(name, value)| match name.contains('\0') {
                true => Err(NUL.to_owned()),
                false => Ok((name, bson(value)?)),
            });
            Bson::Document(named.collect::<Result<Document, _>>()?)
        }
    })
}

/// Numbers the documents of this program: microseconds since 1970, and never one twice.
pub(crate) struct Numbers(AtomicI64);

impl Numbers {
    pub(crate) const fn new() -> Self {
        Self(AtomicI64::new(0))
    }

    pub(crate) fn next(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        let next = |last: i64| Some(now.max(last.saturating_add(1)));
        let last = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        next(last.unwrap_or_else(|last| last)).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_however_fast_they_are_taken() {
        let numbers = Numbers::new();
        let some: Vec<_> = (0..10_000).map(|_| numbers.next()).collect();
        assert!(some.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn json_becomes_what_it_means() {
        let json = r#"{"a":[1,2.5,-9000000000,null,true],"$oid":{"b.c":"d"}}"#;
        let Bson::Document(document) = bson(serde_json::from_str(json).unwrap()).unwrap() else { panic!() };
        let array = vec![
            Bson::Int32(1),
            Bson::Double(2.5),
            Bson::Int64(-9_000_000_000),
            Bson::Null,
            Bson::Boolean(true),
        ];
        assert_eq!(document.get("a"), Some(&Bson::Array(array)));
        assert_eq!(document.get_document("$oid").unwrap().get_str("b.c").unwrap(), "d");
        for wrong in [r#"{"a":18446744073709551615}"#, r#"[{"\u0000":1}]"#] {
            bson(serde_json::from_str(wrong).unwrap()).unwrap_err();
        }
    }
}
