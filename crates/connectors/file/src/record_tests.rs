use std::time::Duration;

use super::*;
use haul_core::PacketId;

const AT: SystemTime = SystemTime::UNIX_EPOCH;

fn lines(format: Format, packets: &[Packet]) -> Vec<u8> {
    let mut out = Vec::new();
    for packet in packets {
        encode(format, packet, AT, &mut out).unwrap();
    }
    out
}

/// Splits `bytes`, handed over in pieces of `step`.
fn split(format: Format, bytes: &[u8], step: usize, max: usize) -> Vec<Result<Bytes, ErrorKind>> {
    let mut splitter = Splitter::new(format, max);
    let mut buffer = BytesMut::new();
    let (mut found, mut offset) = (Vec::new(), 0);
    for piece in bytes.chunks(step) {
        buffer.extend_from_slice(piece);
        while let Some((record, taken)) = splitter.next(&mut buffer, &mut offset) {
            offset += taken;
            found.push(record.map_err(|why| why.kind()));
        }
    }
    if let Some((record, taken)) = splitter.finish(&mut buffer) {
        offset += taken;
        found.push(record.map_err(|why| why.kind()));
    }
    assert_eq!(offset, bytes.len() as u64, "every byte belongs to a record or is passed over");
    found
}

#[test]
fn a_json_line_holds_everything_of_a_packet() {
    let id: PacketId = "0192d4e0-7b1c-7000-8000-000000000001".parse().unwrap();
    let packets = [
        Packet::text("line\nfeed \"ü\"").with("a", "b").with_id(id),
        Packet::binary(vec![0u8, 255, 16]),
        Packet::text(""),
        Packet::binary(Vec::new()),
    ];
    let mut out = Vec::new();
    encode(Format::Jsonl, &packets[0], AT + Duration::from_millis(5), &mut out).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "{\"id\":\"0192d4e0-7b1c-7000-8000-000000000001\",\"kind\":\"text\",\"payload\":\"line\\nfeed \\\"ü\\\"\",\
         \"metadata\":{\"a\":\"b\"},\"at\":\"1970-01-01T00:00:00.005Z\"}\n"
    );
    let bytes = lines(Format::Jsonl, &packets);
    let records = split(Format::Jsonl, &bytes, 7, 1 << 20);
    let back: Vec<_> =
        records.into_iter().map(|record| decode(Format::Jsonl, record.unwrap()).unwrap()).collect();
    assert_eq!(back, packets);
}

#[test]
fn what_a_format_cannot_hold_is_refused_and_nothing_is_appended() {
    let mut out = b"before".to_vec();
    let mut kind = |format, packet: Packet| encode(format, &packet, AT, &mut out).unwrap_err().kind();
    assert_eq!(kind(Format::Raw, Packet::text("two\nlines")), ErrorKind::Codec);
    assert_eq!(kind(Format::Raw, Packet::text("a").with("k", "v")), ErrorKind::Unsupported);
    assert_eq!(kind(Format::Length, Packet::text("a").with("k", "v")), ErrorKind::Unsupported);
    assert_eq!(kind(Format::Jsonl, Packet::text_checked(Bytes::from_static(b"\xff"))), ErrorKind::Codec);
    assert_eq!(out, b"before");
}

#[test]
fn plain_records_come_back_in_any_pieces() {
    let texts = ["", "a", "bc\r", "", &"x".repeat(300)];
    let packets = texts.map(|text| Packet::text(text.to_owned()));
    for format in [Format::Raw, Format::Length] {
        let bytes = lines(format, &packets);
        for step in [1, 2, 3, 5, 64, 4_096] {
            let records = split(format, &bytes, step, 300);
            let back: Vec<_> =
                records.into_iter().map(|record| decode(format, record.unwrap()).unwrap()).collect();
            assert_eq!(back, packets, "{format:?} in pieces of {step}");
        }
    }
}

#[test]
fn a_record_above_the_bound_is_one_error_and_the_next_is_whole() {
    let packets = ["first", "much too long", "next"].map(Packet::text);
    for format in [Format::Raw, Format::Length] {
        let bytes = lines(format, &packets);
        for step in [1, 3, 4_096] {
            let records = split(format, &bytes, step, 5);
            let expected = [Ok("first"), Err(ErrorKind::TooLarge), Ok("next")];
            assert_eq!(
                records,
                expected.map(|record| record.map(Bytes::from)),
                "{format:?} in pieces of {step}"
            );
        }
    }
}

#[test]
fn a_last_line_without_line_feed_is_a_record_and_a_torn_length_is_an_error() {
    assert_eq!(split(Format::Raw, b"a\nb", 1, 9), [Ok("a".into()), Ok("b".into())]);
    let torn = [0, 0, 0, 1, b'a', 0, 0, 0, 9, b'b'];
    assert_eq!(split(Format::Length, &torn, 1, 9), [Ok("a".into()), Err(ErrorKind::Codec)]);
}

#[test]
fn a_line_that_is_not_ours_is_an_error_that_says_what_to_do() {
    for line in [
        "",
        "{}",
        "hello",
        r#"{"kind":"text"}"#,
        r#"{"kind":"text","payload":"a","payload_base64":"YQ=="}"#,
        r#"{"kind":"binary","payload_base64":"?"}"#,
        r#"{"kind":"text","payload":"a","extra":1}"#,
        r#"{"kind":"text","payload":"a","id":"7"}"#,
    ] {
        let error = decode(Format::Jsonl, Bytes::from(line)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec, "{line}");
        assert!(error.to_string().contains("format=raw"), "{error}");
    }
}
