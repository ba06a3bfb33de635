//! Packets as JSON, and metadata as headers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use haul_core::{Error, ErrorKind, Kind, Metadata, Packet, Result};
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    event: Event<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'static str>,
    metadata: &'a Metadata,
    timestamp: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Event<'a> {
    Json(&'a RawValue),
    Text(&'a str),
    Base64(String),
}

/// Appends the packet in its envelope. Text that is a JSON object or array stands as such, other text as a string, and
/// bytes in base64 with `"encoding": "base64"`.
pub(super) fn envelope(packet: &Packet, timestamp: &str, into: &mut Vec<u8>) -> Result<()> {
    let event = event(packet);
    let envelope = Envelope {
        id: packet.id().map(|id| id.to_string()),
        encoding: matches!(event, Event::Base64(_)).then_some("base64"),
        event,
        metadata: packet.metadata(),
        timestamp,
    };
    write(&envelope, into)
}

/// Appends the payload alone. Errors: `Unsupported` for bytes, and for metadata.
pub(super) fn bare(packet: &Packet, into: &mut Vec<u8>) -> Result<()> {
    no_metadata(packet)?;
    match event(packet) {
        Event::Base64(_) => Err(Error::new(
            ErrorKind::Unsupported,
            "a binary packet is no JSON: metadata=envelope carries it in base64",
        )),
        event => write(&event, into),
    }
}

/// Errors: `Unsupported` for a packet with metadata.
pub(super) fn no_metadata(packet: &Packet) -> Result<()> {
    if packet.metadata().is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        "metadata=none, and the packet has metadata: headers or envelope carries it",
    ))
}

fn event(packet: &Packet) -> Event<'_> {
    match packet.as_text() {
        None => Event::Base64(STANDARD.encode(packet.payload())),
        Some(text) => match text.trim_start().as_bytes().first() {
            Some(b'{' | b'[') => serde_json::from_str(text).map_or(Event::Text(text), Event::Json),
            _ => Event::Text(text),
        },
    }
}

/// On one line: outside of strings, where they are escaped, line feeds mean nothing in JSON.
fn write(value: &impl Serialize, into: &mut Vec<u8>) -> Result<()> {
    let from = into.len();
    serde_json::to_writer(&mut *into, value)
        .map_err(|why| Error::new(ErrorKind::Codec, "encode as JSON").with_source(why))?;
    for byte in &mut into[from..] {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    Ok(())
}

/// Headers that say how a message is sent, and so cannot be metadata.
const RESERVED: [HeaderName; 6] =
    [CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING];

/// Adds the metadata of `packet`: names in lower case with `-` for `_`, which many servers drop.
///
/// Errors: `Unsupported` for what would not arrive as it is: a name that is no header's, that two names become, or that
/// says how the message is sent; a value that is not visible ASCII.
pub(super) fn headers(packet: &Packet, prefix: &str, into: &mut HeaderMap) -> Result<()> {
    for (name, value) in packet.metadata().iter() {
        let refused = |why: &str| {
            let message =
                format!("metadata {name:?} cannot be a header: {why}; metadata=envelope carries it");
            Error::new(ErrorKind::Unsupported, message)
        };
        let header = format!("{prefix}{name}").replace('_', "-");
        let header = HeaderName::try_from(header).map_err(|_| refused("its name has other letters"))?;
        if RESERVED.contains(&header) || into.contains_key(&header) {
            return Err(refused("that header is taken"));
        }
        let visible = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let value = HeaderValue::from_str(value).ok().filter(|_| visible && value.trim() == value);
        into.insert(header, value.ok_or_else(|| refused("its value is not visible ASCII"))?);
    }
    Ok(())
}

/// What a payload sent by itself is.
pub(super) fn content_type(packet: &Packet) -> HeaderValue {
    HeaderValue::from_static(match packet.kind() {
        Kind::Text => "text/plain; charset=utf-8",
        Kind::Binary => "application/octet-stream",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enveloped(packet: &Packet) -> serde_json::Value {
        let mut line = Vec::new();
        envelope(packet, "2026-01-01T00:00:00Z", &mut line).unwrap();
        assert!(!line.contains(&b'\n'));
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn objects_and_arrays_stand_as_json_other_text_as_text_and_bytes_in_base64() {
        for (payload, event) in [
            ("{\"a\":\n[1]}", serde_json::json!({"a": [1]})),
            (" [1]", serde_json::json!([1])),
            ("{broken", serde_json::json!("{broken")),
            ("7", serde_json::json!("7")),
            ("a\nb", serde_json::json!("a\nb")),
            ("", serde_json::json!("")),
        ] {
            assert_eq!(enveloped(&Packet::text(payload))["event"], event, "{payload}");
        }
        let binary = enveloped(&Packet::binary(vec![0, 255]).with("k", "v"));
        assert_eq!((&binary["event"], &binary["encoding"]), (&"AP8=".into(), &"base64".into()));
        assert_eq!(binary["metadata"]["k"], "v");
    }

    #[test]
    fn metadata_that_would_not_arrive_as_it_is_is_refused() {
        let mut map = HeaderMap::new();
        headers(&Packet::text("").with("session_id", "7"), "x-", &mut map).unwrap();
        assert_eq!(map["x-session-id"], "7");
        for (name, value) in
            [("session-id", "8"), ("a b", "1"), ("ä", "1"), ("a", "ä"), ("a", " 1"), ("a", "1\n2")]
        {
            let packet = Packet::text("").with(name, value);
            let error = headers(&packet, "x-", &mut map).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{name}={value}");
        }
        let error = headers(&Packet::text("").with("host", "a"), "", &mut map).unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
    }
}
