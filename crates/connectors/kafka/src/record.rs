//! A packet as a record, and back.

use bytes::Bytes;
use haul_core::{Error, ErrorKind, Kind, Metadata, Packet, PacketId, Result, Sent};
use rdkafka::Message;
use rdkafka::message::{Header, Headers, OwnedHeaders};

/// The header with the packet's id.
const ID: &str = "haul-id";

/// The header that says `binary` of what is not text.
const KIND: &str = "haul-kind";

/// The headers of `packet`: its metadata, and what haul knows of it besides. Errors: `Unsupported`.
pub(crate) fn headers(packet: &Packet) -> Result<Option<OwnedHeaders>> {
    let binary = packet.kind() == Kind::Binary;
    let count = packet.metadata().len() + usize::from(packet.id().is_some()) + usize::from(binary);
    if count == 0 {
        return Ok(None);
    }
    let mut headers = OwnedHeaders::new_with_capacity(count);
    for (name, value) in packet.metadata().iter() {
        if matches!(name, ID | KIND) || name.contains('\0') {
            let why = format!("metadata {name:?} cannot be a header");
            return Err(Error::new(ErrorKind::Unsupported, why).with_sent(Sent::No));
        }
        headers = headers.insert(Header { key: name, value: Some(value) });
    }
    if let Some(id) = packet.id() {
        headers = headers.insert(Header { key: ID, value: Some(&id.to_string()) });
    }
    if binary {
        headers = headers.insert(Header { key: KIND, value: Some(Kind::Binary.as_str()) });
    }
    Ok(Some(headers))
}

/// The packet of a record, with its key in the metadata `key`. What others wrote is text where it is UTF-8. Errors: `Codec`
/// for headers and keys that are no text, `Unsupported` for a header that is there twice.
pub(crate) fn packet<M: Message>(record: &M, key: Option<&str>) -> Result<Packet> {
    let payload = Bytes::copy_from_slice(record.payload().unwrap_or_default());
    let (mut metadata, mut id, mut binary) = (Metadata::new(), None, false);
    let entries = record.headers().into_iter().flat_map(Headers::iter);
    for Header { key: name, value } in entries {
        let value = text(name, value.unwrap_or_default())?;
        match name {
            ID => id = Some(value.parse::<PacketId>()?),
            KIND => binary = value == Kind::Binary.as_str(),
            name => set(&mut metadata, name, value)?,
        }
    }
    if let (Some(name), Some(key)) = (key, record.key()) {
        set(&mut metadata, name, text("the key", key)?)?;
    }
    let packet = match std::str::from_utf8(&payload) {
        Ok(_) if !binary => Packet::text_checked(payload),
        _ => Packet::binary(payload),
    };
    let packet = packet.with_metadata(metadata);
    Ok(id.into_iter().fold(packet, Packet::with_id))
}

fn text<'a>(name: &str, value: &'a [u8]) -> Result<&'a str> {
    let wrong = |why| Error::new(ErrorKind::Codec, format!("{name} of a record is no text: {why}"));
    std::str::from_utf8(value).map_err(wrong)
}

fn set(metadata: &mut Metadata, name: &str, value: &str) -> Result<()> {
    match metadata.set(name.to_owned(), value.to_owned()) {
        None => Ok(()),
        Some(_) => Err(Error::new(ErrorKind::Unsupported, format!("header {name} is there twice"))),
    }
}
