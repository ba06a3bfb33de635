//! A packet as a record of a file, and back.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use haul_core::{Error, ErrorKind, Kind, Metadata, Packet, Result};
use serde::{Deserialize, Serialize};

use crate::Format;

#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    metadata: &'a Metadata,
    at: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    id: Option<String>,
    kind: String,
    payload: Option<String>,
    payload_base64: Option<String>,
    #[serde(default)]
    metadata: Metadata,
    /// When it was written: checked to be text, not part of the packet.
    #[serde(rename = "at")]
    _at: Option<String>,
}

/// Appends `packet` to `out`. On an error nothing was appended. Errors: `Unsupported` for metadata that the format
/// cannot hold, `Codec`, `TooLarge`.
pub(crate) fn encode(format: Format, packet: &Packet, at: SystemTime, out: &mut Vec<u8>) -> Result<()> {
    if format != Format::Jsonl && !packet.metadata().is_empty() {
        return Err(Error::new(ErrorKind::Unsupported, "this format holds no metadata; format=jsonl does"));
    }
    let payload = packet.payload();
    match format {
        Format::Jsonl => json(packet, at, out),
        Format::Raw if memchr::memchr(b'\n', payload).is_some() => Err(Error::new(
            ErrorKind::Codec,
            "a packet with a line feed would be read as two in format raw; use format=length or jsonl",
        )),
        Format::Raw => {
            out.extend_from_slice(payload);
            out.push(b'\n');
            Ok(())
        }
        Format::Length => {
            let len = u32::try_from(payload.len()).map_err(|_| {
                Error::new(ErrorKind::TooLarge, "format length holds payloads of less than 4 GiB")
            })?;
            out.extend_from_slice(&len.to_be_bytes());
            out.extend_from_slice(payload);
            Ok(())
        }
    }
}

fn json(packet: &Packet, at: SystemTime, out: &mut Vec<u8>) -> Result<()> {
    let failed =
        |why: &dyn std::fmt::Display| Error::new(ErrorKind::Codec, format!("encode as a JSON line: {why}"));
    let text = packet.as_text();
    if packet.kind() == Kind::Text && text.is_none() {
        return Err(failed(&"the text is not UTF-8"));
    }
    let at = jiff::Timestamp::try_from(at).map_err(|why| failed(&why))?;
    let line = Written {
        id: packet.id().map(|id| id.to_string()),
        kind: if text.is_some() { "text" } else { "binary" },
        payload: text,
        payload_base64: text.is_none().then(|| STANDARD.encode(packet.payload())),
        metadata: packet.metadata(),
        at: at.to_string(),
    };
    let start = out.len();
    if let Err(why) = serde_json::to_writer(&mut *out, &line) {
        out.truncate(start);
        return Err(failed(&why));
    }
    out.push(b'\n');
    Ok(())
}

/// The packet of a record without its line feed or length. Errors: `Codec`.
pub(crate) fn decode(format: Format, record: Bytes) -> Result<Packet> {
    if format == Format::Jsonl {
        return from_json(&record);
    }
    Ok(match std::str::from_utf8(&record) {
        Ok(_) => Packet::text_checked(record),
        Err(_) => Packet::binary(record),
    })
}

fn from_json(line: &[u8]) -> Result<Packet> {
    let failed = |why: &dyn std::fmt::Display| {
        let text = format!("not a JSON line as haul writes it: {why}; for plain lines use format=raw");
        Error::new(ErrorKind::Codec, text)
    };
    let read: Read = serde_json::from_slice(line).map_err(|why| failed(&why))?;
    let packet = match (read.kind.as_str(), read.payload, read.payload_base64) {
        ("text", Some(text), None) => Packet::text(text),
        ("binary", None, Some(text)) => Packet::binary(STANDARD.decode(text).map_err(|why| failed(&why))?),
        _ => return Err(failed(&"it needs kind text with payload, or kind binary with payload_base64")),
    };
    let packet = packet.with_metadata(read.metadata);
    match read.id {
        Some(id) => Ok(packet.with_id(id.parse().map_err(|why| failed(&why))?)),
        None => Ok(packet),
    }
}

/// Cuts bytes of a file into records.
pub(crate) struct Splitter {
    format: Format,
    max: usize,
    /// Bytes that were looked at and hold no line feed.
    seen: usize,
    skip: Skip,
}

enum Skip {
    Nothing,
    Line,
    Bytes(u64),
}

/// What the splitter found, and how many bytes of the file it takes with all that belongs to it.
pub(crate) type Cut = (Result<Bytes>, u64);

impl Splitter {
    pub(crate) fn new(format: Format, max: usize) -> Self {
        Self { format, max, seen: 0, skip: Skip::Nothing }
    }

    /// The next record in `buffer`; `None` if there is no whole one. A record above the bound is an error once, and
    /// the rest of it is passed over.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut, passed: &mut u64) -> Option<Cut> {
        self.pass_over(buffer, passed);
        if self.format == Format::Length { self.next_length(buffer) } else { self.next_line(buffer) }
    }

    /// What is left when nothing more will come: a last line without its line feed.
    pub(crate) fn finish(&mut self, buffer: &mut BytesMut) -> Option<Cut> {
        self.seen = 0;
        let skipped = std::mem::replace(&mut self.skip, Skip::Nothing);
        let rest = buffer.split().freeze();
        let len = rest.len() as u64;
        match (self.format, skipped) {
            (Format::Length, Skip::Bytes(missing)) => Some((Err(torn(missing)), len)),
            (_, _) if rest.is_empty() => None,
            (Format::Length, _) => Some((Err(torn(len)), len)),
            (_, Skip::Line) => None,
            (_, _) => Some((Ok(rest), len)),
        }
    }

    fn pass_over(&mut self, buffer: &mut BytesMut, passed: &mut u64) {
        let (count, left) = match self.skip {
            Skip::Nothing => return,
            Skip::Line => match memchr::memchr(b'\n', buffer) {
                Some(at) => (at + 1, Skip::Nothing),
                None => (buffer.len(), Skip::Line),
            },
            Skip::Bytes(bytes) => {
                let count = buffer.len().min(usize::try_from(bytes).unwrap_or(usize::MAX));
                let left = bytes - count as u64;
                (count, if left == 0 { Skip::Nothing } else { Skip::Bytes(left) })
            }
        };
        buffer.advance(count);
        *passed += count as u64;
        self.skip = left;
    }

    fn next_line(&mut self, buffer: &mut BytesMut) -> Option<Cut> {
        match memchr::memchr(b'\n', &buffer[self.seen..]) {
            Some(at) => {
                let len = self.seen + at;
                self.seen = 0;
                let record = buffer.split_to(len + 1).freeze().slice(..len);
                let taken = len as u64 + 1;
                Some(if len > self.max { (Err(self.too_large()), taken) } else { (Ok(record), taken) })
            }
            None if buffer.len() > self.max => {
                let taken = buffer.len() as u64;
                buffer.clear();
                (self.seen, self.skip) = (0, Skip::Line);
                Some((Err(self.too_large()), taken))
            }
            None => {
                self.seen = buffer.len();
                None
            }
        }
    }

    fn next_length(&mut self, buffer: &mut BytesMut) -> Option<Cut> {
        let header = buffer.first_chunk::<4>()?;
        let len = u32::from_be_bytes(*header);
        if len as usize > self.max {
            buffer.advance(4);
            self.skip = Skip::Bytes(u64::from(len));
            return Some((Err(self.too_large()), 4));
        }
        let len = len as usize;
        if buffer.len() < 4 + len {
            return None;
        }
        buffer.advance(4);
        Some((Ok(buffer.split_to(len).freeze()), 4 + len as u64))
    }

    fn too_large(&self) -> Error {
        Error::new(
            ErrorKind::TooLarge,
            format!("a record is longer than max_packet={} and is skipped", self.max),
        )
    }
}

fn torn(bytes: u64) -> Error {
    Error::new(ErrorKind::Codec, format!("the last record of the file is torn ({bytes} bytes)"))
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
