//! A packet as an entry of a stream, and back.

use std::collections::HashMap;

use bytes::Bytes;
use haul_core::{Error, ErrorKind, Kind, Metadata, Packet, Result, Sent, Template};
use redis::{Cmd, Value, from_redis_value};

/// Appends the usual fields: `event_type` and `session_id` from the metadata of these names, `event_data`, `metadata` as a
/// JSON object, `timestamp`, `id`, and `kind` of what is binary.
pub(crate) fn usual(packet: &Packet, now: &str, command: &mut Cmd) -> Result<()> {
    for name in ["event_type", "session_id"] {
        if let Some(value) = packet.metadata().get(name) {
            command.arg(name).arg(value);
        }
    }
    command.arg("event_data").arg(&packet.payload()[..]);
    if !packet.metadata().is_empty() {
        let metadata = serde_json::to_string(packet.metadata()).map_err(|why| {
            Error::new(ErrorKind::Codec, format!("encode an entry: {why}")).with_sent(Sent::No)
        })?;
        command.arg("metadata").arg(metadata);
    }
    command.arg("timestamp").arg(now);
    if let Some(id) = packet.id() {
        command.arg("id").arg(id.to_string());
    }
    if packet.kind() == Kind::Binary {
        command.arg("kind").arg("binary");
    }
    Ok(())
}

/// Appends fields by their templates; one that is the payload alone has its bytes, whatever they are.
pub(crate) fn mapped(packet: &Packet, fields: &[(String, Template)], command: &mut Cmd) -> Result<()> {
    for (name, template) in fields {
        command.arg(name);
        match template.as_str() {
            "{@payload}" => command.arg(&packet.payload()[..]),
            _ => command.arg(&*template.render(packet)?),
        };
    }
    Ok(())
}

/// The packet of an entry: one with `event_data` as it was delivered; of any other, its fields as a JSON object.
pub(crate) fn packet(mut fields: HashMap<String, Value>) -> Result<Packet> {
    let failed = |why: String| Error::new(ErrorKind::Codec, format!("read an entry: {why}"));
    let Some(data) = fields.remove("event_data") else {
        return foreign(fields);
    };
    let data: Vec<u8> = from_redis_value(data).map_err(|why| failed(why.to_string()))?;
    let mut text = |name: &str| {
        let value = fields.remove(name).map(from_redis_value::<String>).transpose();
        value.map_err(|why| failed(format!("{name}: {why}")))
    };
    let metadata = match text("metadata")? {
        Some(json) => serde_json::from_str(&json).map_err(|why| failed(format!("metadata: {why}")))?,
        None => Metadata::new(),
    };
    let packet = match text("kind")?.as_deref() {
        Some("binary") => Packet::binary(data),
        _ => Packet::text_from_utf8(Bytes::from(data))?,
    };
    let packet = packet.with_metadata(metadata);
    match text("id")? {
        Some(id) => Ok(packet.with_id(id.parse().map_err(|_| failed(format!("id {id:?} is no UUID")))?)),
        None => Ok(packet),
    }
}

fn foreign(fields: HashMap<String, Value>) -> Result<Packet> {
    let mut json = serde_json::Map::new();
    for (name, value) in fields {
        let value: Vec<u8> = from_redis_value(value)
            .map_err(|why| Error::new(ErrorKind::Codec, format!("read an entry: {name}: {why}")))?;
        json.insert(name, String::from_utf8_lossy(&value).into_owned().into());
    }
    Packet::json(&json)
}
