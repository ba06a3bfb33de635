//! A packet as a message with headers, and back.

use std::collections::BTreeMap;

use async_nats::header::{HeaderName, HeaderValue, NATS_MESSAGE_ID};
use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use haul_core::{Error, ErrorKind, Kind, Metadata, Packet, Result, Sent};

/// Says of a payload that could be text that it is not.
const KIND: HeaderName = HeaderName::from_static("Haul-Kind");

/// What a header begins with that tells the server what to do.
const SERVERS_OWN: &str = "nats-";

/// The metadata as headers, `Nats-Msg-Id` for the id, and `Haul-Kind: binary` for what is.
///
/// Errors: `Unsupported` for metadata that would not arrive as it is, or that would tell the server what to do.
pub(crate) fn headers(packet: &Packet) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in packet.metadata().iter() {
        let refused = |why: &str| {
            let message = format!("metadata {name:?} cannot be a header: {why}");
            Error::new(ErrorKind::Unsupported, message).with_sent(Sent::No)
        };
        let header: HeaderName = name.parse().map_err(|_| refused("its name has other letters"))?;
        let foreign_id = header == NATS_MESSAGE_ID && packet.id().is_none();
        let servers = name.get(..SERVERS_OWN.len()).is_some_and(|it| it.eq_ignore_ascii_case(SERVERS_OWN));
        if name.is_empty() || header == KIND || (servers && !foreign_id) {
            return Err(refused("that header is taken"));
        }
        let value = value.parse::<HeaderValue>().ok().filter(|_| value.trim() == value);
        headers
            .insert(header, value.ok_or_else(|| refused("its value has line feeds, or spaces at its ends"))?);
    }
    if let Some(id) = packet.id() {
        headers.insert(NATS_MESSAGE_ID, id.to_string());
    }
    if packet.kind() == Kind::Binary {
        headers.insert(KIND, "binary");
    }
    Ok(headers)
}

/// The packet of a message. An id that is no packet's stays metadata, and what is not UTF-8 is binary; headers for the
/// server are left out. Headers have no order: metadata is ordered by name.
pub(crate) fn packet(message: &Message) -> Packet {
    let mut metadata: BTreeMap<String, String> = BTreeMap::new();
    let (mut id, mut binary) = (None, false);
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        let values: Vec<_> = values.iter().map(HeaderValue::as_str).collect();
        let value = values.join(", ");
        if *name == KIND {
            binary = value == "binary";
        } else if let (true, Ok(known)) = (*name == NATS_MESSAGE_ID, value.parse()) {
            id = Some(known);
        } else if *name == NATS_MESSAGE_ID || !name.to_string().to_ascii_lowercase().starts_with(SERVERS_OWN)
        {
            metadata.insert(name.to_string(), value);
        }
    }
    let payload: &Bytes = &message.payload;
    let text = if binary { None } else { Packet::text_from_utf8(payload.clone()).ok() };
    let packet = text.unwrap_or_else(|| Packet::binary(payload.clone()));
    let packet = packet.with_metadata(metadata.into_iter().collect::<Metadata>());
    match id {
        Some(id) => packet.with_id(id),
        None => packet,
    }
}

/// The subject as it may be published to.
///
/// Errors: `Rejected` for one with empty parts, spaces or wildcards, and for one of the server's own that the
/// packet asks for.
pub(crate) fn check_subject(subject: &str, template: &str) -> Result<()> {
    let refused = |why: &str| {
        let why = format!("{subject:?} is no subject to publish to: {why}");
        Err(Error::new(ErrorKind::Rejected, why).with_sent(Sent::No))
    };
    if subject.split('.').any(|part| matches!(part, "" | "*" | ">")) {
        return refused("a part between its dots is empty or a wildcard");
    }
    if subject.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return refused("it has spaces");
    }
    if subject.starts_with('$') && !template.starts_with('$') {
        return refused("it is the server's own");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use haul_core::PacketId;

    fn there_and_back(packet: &Packet) -> Packet {
        let headers = headers(packet).unwrap();
        let payload = packet.payload().clone();
        super::packet(&Message {
            subject: "x".into(),
            reply: None,
            length: payload.len(),
            payload,
            headers: Some(headers),
            status: None,
            description: None,
        })
    }

    #[test]
    fn a_packet_comes_back_as_it_was() {
        let packet = Packet::text("hi").with("a", "1").with("b", "\u{e4} b").with("c", "");
        for packet in [
            packet.clone(),
            packet.with_id(PacketId::from_bytes([7; 16])),
            Packet::binary("could be text"),
            Packet::binary(vec![0, 255]),
            Packet::text("foreign id").with("Nats-Msg-Id", "7"),
        ] {
            assert_eq!(there_and_back(&packet), packet);
        }
    }

    #[test]
    fn metadata_that_would_change_or_tell_the_server_what_to_do_is_refused() {
        for (name, value) in [
            ("a b", "x"),
            ("", "x"),
            ("a:b", "x"),
            ("n\u{e4}", "x"),
            ("a", " x"),
            ("a", "x\r\nNats-Rollup: all"),
            ("a", "x\n"),
            ("Nats-Rollup", "all"),
            ("nats-expected-stream", "x"),
            ("Haul-Kind", "binary"),
        ] {
            let why = headers(&Packet::text("").with(name, value)).unwrap_err();
            assert_eq!((why.kind(), why.sent()), (ErrorKind::Unsupported, Sent::No), "{name:?}: {value:?}");
        }
        let twice = Packet::text("").with("Nats-Msg-Id", "7").identified();
        assert_eq!(headers(&twice).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn subjects_are_plain_and_not_the_servers() {
        for subject in ["", "a..b", "a.", "a.*", ">", "a b", "a\tb", "$JS.API.STREAM.DELETE.EVENTS"] {
            let why = check_subject(subject, "{to}").unwrap_err();
            assert_eq!((why.kind(), why.sent()), (ErrorKind::Rejected, Sent::No), "{subject}");
        }
        for (subject, template) in [("a", "{to}"), ("a.b*c", "a.{to}"), ("$own.x", "$own.{to}")] {
            check_subject(subject, template).unwrap();
        }
    }
}
