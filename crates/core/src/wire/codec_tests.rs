use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;
use crate::{CloseReason, Level, Receipt, Sent, Status};

fn bytes_of(frame: Frame) -> Vec<u8> {
    let mut out = WriteBuf::default();
    encode(&frame, &mut out).unwrap();
    let mut bytes = Vec::new();
    while !out.is_empty() {
        let chunk = out.chunk().to_vec();
        out.advance(chunk.len());
        bytes.extend(chunk);
    }
    bytes
}

fn same(a: &Frame, b: &Frame) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

/// The golden vectors: name, frame, and the bytes as hex. `docs/wire/frame.md` has the same lines.
fn golden() -> Vec<(&'static str, Frame)> {
    let id = PacketId::from_bytes(*b"0123456789abcdef");
    let receipt =
        |level| Receipt { level, id: Some(id), reference: None, at: UNIX_EPOCH + Duration::from_micros(5) };
    let refused = Error::new(ErrorKind::Rejected, "no").with_retry_after(Duration::from_millis(1500));
    vec![
        ("empty binary", Frame::packet(Packet::binary(Bytes::new()))),
        ("text", Frame::packet(Packet::text("hi"))),
        ("text with id", Frame::packet(Packet::text("hi").with_id(id))),
        ("metadata", Frame::packet(Packet::binary("hi").with("a", "1").with("session_id", "7"))),
        (
            "receipt wanted",
            Frame::Packet { packet: Packet::text("hi").with_id(id).with("a", "1"), receipt: true },
        ),
        ("stored", Frame::Receipt { id, outcome: Ok(receipt(Level::Stored).with_reference("1-0")) }),
        ("acknowledged", Frame::Receipt { id, outcome: Ok(receipt(Level::Acknowledged)) }),
        (
            "refused",
            Frame::Receipt { id, outcome: Err(refused.with_status(Status::Transient).with_sent(Sent::No)) },
        ),
        ("ping", Frame::Ping(Bytes::from_static(b"abc"))),
        ("pong", Frame::Pong(Bytes::new())),
        ("finish", Frame::Finish),
        ("close", Frame::Close(CloseReason::new(1001, "bye"))),
        ("note", Frame::Note("ack 7".to_owned())),
    ]
}

#[test]
fn the_golden_vectors_of_the_document_are_what_is_written_and_read() {
    let document = include_str!("../../../../docs/wire/frame.md");
    for (name, frame) in golden() {
        let hex: String = bytes_of(frame.clone()).iter().map(|byte| format!("{byte:02x}")).collect();
        let line = format!("| {name} | `{hex}` |");
        assert!(document.contains(&line), "docs/wire/frame.md lacks the line\n{line}");
        let read = decode(bytes_of(frame.clone()).into()).unwrap();
        assert!(same(&read, &frame), "{name}: {read:?} is not {frame:?}");
    }
}

#[test]
fn a_prefixed_frame_is_its_length_and_the_frame() {
    let mut out = WriteBuf::default();
    encode_prefixed(&Frame::packet(Packet::text("hi")), &mut out).unwrap();
    assert_eq!(out.chunk(), b"\0\0\0\x03\x01hi");
}

#[test]
fn what_is_malformed_is_refused_with_the_reason() {
    let id = "30313233343536373839616263646566";
    for (hex, why) in [
        ("", "empty"),
        ("40", "unknown flag bits 0x40"),
        ("80", "unknown flag bits 0x80"),
        ("02ff", "inside the id"),
        ("0869", "no id"),
        (&format!("0c{id}"), "no id"),
        ("04c0", "not a MessagePack map"),
        ("0482a161a131a161a132", "twice"),
        ("10", "a receipt has an id"),
        (&format!("12{id}"), "cut short"),
        (&format!("12{id}09"), "unknown level 9"),
        ("20", "without a type"),
        ("2009", "unknown control type 9"),
        ("2104", "further flags"),
        ("200403", "without a code"),
        ("200300", "finish with a body"),
    ] {
        let bytes: Vec<u8> =
            (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[at * 2..at * 2 + 2], 16).unwrap()).collect();
        let error = decode(bytes.into()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{hex}");
        assert!(error.to_string().contains(why), "{hex}: {error}");
    }
    assert_eq!(decode(Bytes::from_static(b"\x01\xff")).unwrap_err().kind(), ErrorKind::Codec);
    let long = [&[0x20, 1][..], &[0; 126]].concat();
    assert!(decode(long.into()).unwrap_err().to_string().contains("at most 125"));
}

#[test]
fn metadata_beyond_its_bound_is_refused_and_nothing_is_written() {
    let mut out = WriteBuf::default();
    let packet = Packet::text("hi").with("a", "x".repeat(MAX_HEAD));
    let error = encode_prefixed(&Frame::packet(packet), &mut out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(out.is_empty());
}

proptest! {
    #[test]
    fn any_packet_comes_back(
        payload in proptest::collection::vec(any::<u8>(), 0..6000),
        entries in proptest::collection::vec(("[a-z]{1,8}", ".{0,40}"), 0..5),
        id in proptest::option::of(any::<[u8; 16]>()),
        text in any::<bool>(),
        receipt in any::<bool>(),
    ) {
        let packet = match text {
            true => Packet::text(String::from_utf8_lossy(&payload).into_owned()),
            false => Packet::binary(payload),
        };
        let packet = packet.with_metadata(entries.into_iter().collect());
        let packet = id.map_or(packet.clone(), |id| packet.with_id(PacketId::from_bytes(id)));
        let frame = Frame::Packet { receipt: receipt && packet.id().is_some(), packet };
        let read = decode(bytes_of(frame.clone()).into()).unwrap();
        prop_assert!(same(&read, &frame));
    }

    #[test]
    fn any_bytes_decode_or_are_refused_and_what_decodes_is_written_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(frame) = decode(bytes.into()) {
            let again = decode(bytes_of(frame.clone()).into()).unwrap();
            prop_assert!(same(&again, &frame));
        }
    }
}
