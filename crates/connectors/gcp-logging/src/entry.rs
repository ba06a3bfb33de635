//! A packet as a log entry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use haul_core::{Error, ErrorKind, Kind, Metadata, Packet, PacketId, Result, Sent};
use serde::Serialize;

use crate::config::{Format, GcpLoggingConfig};

/// Bytes of an entry, about ("Cloud Logging quotas and limits").
const ENTRY: usize = 256 << 10;

/// Labels of an entry, bytes of a name, and of a value ("LogEntry", API reference, and the same page).
const LABELS: usize = 64;
const NAME: usize = 512;
const VALUE: usize = 64 << 10;

/// The label of what is bytes in base64.
const KIND: &str = "haul.kind";

/// The severities that there are ("LogSeverity", API reference).
const SEVERITIES: [&str; 9] =
    ["DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY"];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    severity: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    insert_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    labels: &'a Metadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_payload: Option<&'a serde_json::value::RawValue>,
}

/// The entry of `packet`, as JSON. Errors: `TooLarge`; `Unsupported` for what an entry does not carry; `Rejected` for a
/// severity that is none.
pub(crate) fn entry(packet: &Packet, config: &GcpLoggingConfig) -> Result<String> {
    if packet.len() > config.max_packet {
        return Err(too_large(packet.len(), "a packet", config.max_packet));
    }
    let mut labels = packet.metadata().clone();
    let text = match packet.as_text() {
        Some(text) => text.to_owned(),
        None => {
            labels.set(KIND, packet.kind().as_str());
            BASE64.encode(packet.payload())
        }
    };
    check(packet, &labels)?;
    let json = match config.format {
        Format::Json => Some(object(packet)?),
        Format::Text => None,
    };
    let severity = config.severity.render(packet)?.to_ascii_uppercase();
    if !SEVERITIES.contains(&severity.as_str()) {
        let why = format!("the severity {severity:?} is none of {}", SEVERITIES.join(", "));
        return Err(refused(ErrorKind::Rejected, why));
    }
    let entry = Entry {
        severity: &severity,
        insert_id: packet.id().map(|id| id.to_string()),
        timestamp: packet.id().and_then(made),
        labels: &labels,
        text_payload: json.is_none().then_some(&text),
        json_payload: json,
    };
    let entry = serde_json::to_string(&entry).map_err(|why| refused(ErrorKind::Codec, why.to_string()))?;
    match entry.len() {
        bytes if bytes > ENTRY => Err(too_large(bytes, "an entry", ENTRY)),
        _ => Ok(entry),
    }
}

fn check(packet: &Packet, labels: &Metadata) -> Result<()> {
    if packet.kind() == Kind::Text && packet.metadata().get(KIND).is_some() {
        return Err(refused(ErrorKind::Unsupported, format!("metadata {KIND:?}: the name is haul's own")));
    }
    if labels.len() > LABELS {
        let why = format!("an entry has at most {LABELS} labels, and this one would have {}", labels.len());
        return Err(refused(ErrorKind::Unsupported, why));
    }
    match labels.iter().find(|(name, value)| !(1..=NAME).contains(&name.len()) || value.len() > VALUE) {
        Some((name, _)) => {
            let name: String = name.chars().take(40).collect();
            let why =
                format!("metadata {name:?}: a label's name has 1 to {NAME} bytes, its value at most {VALUE}");
            Err(refused(ErrorKind::Unsupported, why))
        }
        None => Ok(()),
    }
}

/// The payload, if it is a JSON object.
fn object(packet: &Packet) -> Result<&serde_json::value::RawValue> {
    let why =
        || refused(ErrorKind::Unsupported, "the payload is no JSON object; as=text carries it".to_owned());
    let json: &serde_json::value::RawValue =
        packet.as_text().and_then(|text| serde_json::from_str(text).ok()).ok_or_else(why)?;
    if json.get().starts_with('{') { Ok(json) } else { Err(why()) }
}

/// When a packet's id was made, if it says so (RFC 9562 section 5.7): entries are the same if id and time are.
fn made(id: PacketId) -> Option<String> {
    let bytes = id.as_bytes();
    let millis = bytes[..6].iter().fold(0i64, |millis, byte| (millis << 8) | i64::from(*byte));
    let time = (bytes[6] >> 4 == 7).then(|| jiff::Timestamp::from_millisecond(millis).ok());
    time.flatten().map(|time| time.to_string())
}

fn refused(kind: ErrorKind, why: String) -> Error {
    Error::new(kind, why).with_sent(Sent::No)
}

fn too_large(bytes: usize, what: &str, most: usize) -> Error {
    refused(ErrorKind::TooLarge, format!("{what} of {bytes} bytes")).with("at most", most)
}
