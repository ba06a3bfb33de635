use super::*;

fn plain(role: Role) -> (WsEncoder, WsDecoder) {
    let other = if role == Role::Client { Role::Server } else { Role::Client };
    (WsEncoder::new(role, Speech::Plain), WsDecoder::new(other, Speech::Plain, 1000))
}

fn encode(encoder: &mut WsEncoder, frame: Frame) -> BytesMut {
    let mut out = WriteBuf::default();
    encoder.encode(&frame, &mut out).unwrap();
    let mut bytes = BytesMut::new();
    while !out.is_empty() {
        let chunk = out.chunk().to_vec();
        out.advance(chunk.len());
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

fn text_of(frame: Option<Frame>) -> String {
    match frame {
        Some(Frame::Packet { packet, .. }) => packet.as_text().unwrap().to_owned(),
        other => panic!("{other:?} is no text"),
    }
}

/// The decoder of a client's side, for frames written by hand.
fn client() -> WsDecoder {
    WsDecoder::new(Role::Client, Speech::Plain, 1000)
}

#[test]
fn messages_come_back_whatever_their_length_and_direction() {
    for role in [Role::Client, Role::Server] {
        for len in [0, 1, 7, 125, 126, 127, 999] {
            let (mut encoder, mut decoder) = plain(role);
            let text = "x".repeat(len);
            let mut bytes = encode(&mut encoder, Frame::packet(Packet::text(text.clone())));
            assert_eq!(text_of(decoder.next(&mut bytes).unwrap()), text);
            assert!(bytes.is_empty());
        }
    }
}

#[test]
fn a_message_that_comes_byte_by_byte_is_whole_in_the_end() {
    let (mut encoder, mut decoder) = plain(Role::Client);
    let whole = encode(&mut encoder, Frame::packet(Packet::text("hello, masked world")));
    let mut bytes = BytesMut::new();
    for (at, byte) in whole.iter().enumerate() {
        assert!(decoder.next(&mut bytes).unwrap().is_none(), "before byte {at}");
        bytes.extend_from_slice(&[*byte]);
    }
    assert_eq!(text_of(decoder.next(&mut bytes).unwrap()), "hello, masked world");
}

#[test]
fn fragments_are_joined_around_a_ping() {
    let mut decoder = client();
    let mut bytes = BytesMut::from(&b"\x01\x02he\x89\x01p\x00\x01l\x80\x02lo"[..]);
    assert!(matches!(decoder.next(&mut bytes).unwrap(), Some(Frame::Ping(_))));
    assert_eq!(text_of(decoder.next(&mut bytes).unwrap()), "hello");
}

#[test]
fn what_breaks_the_rules_is_refused_with_the_reason() {
    for (bytes, kind, why) in [
        (&b"\xc1\x00"[..], ErrorKind::Protocol, "reserved bits"),
        (b"\x83\x00", ErrorKind::Protocol, "opcode"),
        (b"\x8b\x00", ErrorKind::Protocol, "opcode"),
        (b"\x09\x00", ErrorKind::Protocol, "fragments"),
        (b"\x89\x7e\x00\x7e", ErrorKind::Protocol, "at most 125"),
        (b"\x80\x00", ErrorKind::Protocol, "continuation of nothing"),
        (b"\x01\x01a\x81\x01b", ErrorKind::Protocol, "inside another"),
        (b"\x81\x81\x00\x00\x00\x00a", ErrorKind::Protocol, "masked"),
        (b"\x81\x01\xff", ErrorKind::Codec, "UTF-8"),
        (b"\x88\x01\x03", ErrorKind::Protocol, "one byte"),
        (b"\x88\x02\x03\xed", ErrorKind::Protocol, "may not be sent"),
        (b"\x82\x7f\x00\x00\x00\x00\x40\x00\x00\x00", ErrorKind::TooLarge, "1073741824 bytes"),
        (b"\x82\x7e\x03\xe9", ErrorKind::TooLarge, "1001 bytes"),
    ] {
        let mut decoder = client();
        let mut bytes = BytesMut::from(bytes);
        let error = loop {
            match decoder.next(&mut bytes) {
                Ok(Some(_)) => {}
                Ok(None) => panic!("{why}: not refused"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    let mut unmasked = BytesMut::from(&b"\x81\x01a"[..]);
    let error = WsDecoder::new(Role::Server, Speech::Plain, 1000).next(&mut unmasked).unwrap_err();
    assert!(error.to_string().contains("not masked"), "{error}");
}

#[test]
fn fragments_cannot_grow_beyond_the_bound() {
    let mut decoder = client();
    let fragment = [&b"\x02\x7e\x02\x58"[..], &[0; 600]].concat();
    let more = [&b"\x00\x7e\x02\x58"[..], &[0; 600]].concat();
    let mut bytes = BytesMut::from(&fragment[..]);
    assert!(decoder.next(&mut bytes).unwrap().is_none());
    bytes.extend_from_slice(&more);
    assert_eq!(decoder.next(&mut bytes).unwrap_err().kind(), ErrorKind::TooLarge);
}

#[test]
fn messages_taken_at_once_are_those_that_come_one_by_one() {
    for (from, to) in [(Role::Client, Role::Server), (Role::Server, Role::Client)] {
        for speech in [Speech::Haul, Speech::Plain] {
            let mut encoder = WsEncoder::new(from, speech);
            let sizes = [0, 1, 124, 125, 126, 1000, 60_000];
            let packets: Vec<_> = sizes.iter().map(|size| Packet::binary(vec![*size as u8; *size])).collect();
            let mut bytes = BytesMut::new();
            for packet in &packets {
                bytes.unsplit(encode(&mut encoder, Frame::packet(packet.clone())));
            }
            bytes.unsplit(encode(&mut encoder, Frame::Ping(Bytes::new())));
            bytes.unsplit(encode(&mut encoder, Frame::packet(packets[1].clone())));
            let mut decoder = WsDecoder::new(to, speech, 60_001);
            let mut taken = Vec::new();
            decoder.take_arrived(&mut bytes, &mut taken, 3);
            assert_eq!(taken, packets[..3], "{from:?} {speech:?}");
            decoder.take_arrived(&mut bytes, &mut taken, 99);
            assert_eq!(taken, packets, "{from:?} {speech:?}: all before the ping");
            assert!(matches!(decoder.next(&mut bytes), Ok(Some(Frame::Ping(_)))));
            let mut small = WsDecoder::new(to, speech, 0);
            small.take_arrived(&mut bytes, &mut taken, 99);
            assert_eq!(taken.len(), packets.len(), "{from:?} {speech:?}: a packet above the bound");
            let cut = &mut bytes.split_to(bytes.len() - 1);
            decoder.take_arrived(cut, &mut taken, 99);
            assert_eq!(taken.len(), packets.len(), "{from:?} {speech:?}: a packet that is not whole");
        }
    }
}

#[test]
fn without_the_subprotocol_metadata_is_refused_and_not_dropped() {
    let mut out = WriteBuf::default();
    let packet = Packet::text("hi").with("a", "1");
    let error =
        WsEncoder::new(Role::Client, Speech::Plain).encode(&Frame::packet(packet), &mut out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(out.is_empty());
}

#[test]
fn a_haul_frame_is_one_binary_message() {
    let mut bytes = encode(
        &mut WsEncoder::new(Role::Server, Speech::Haul),
        Frame::packet(Packet::text("hi").with("a", "1")),
    );
    assert_eq!(bytes[..2], [0x82, 8]);
    let frame = WsDecoder::new(Role::Client, Speech::Haul, 1000).next(&mut bytes).unwrap();
    match frame {
        Some(Frame::Packet { packet, .. }) => assert_eq!(packet.metadata().get("a"), Some("1")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn masking_is_its_own_inverse_at_every_length() {
    for len in 0..40 {
        let mut bytes: Vec<u8> = (0..len).collect();
        apply_mask(&mut bytes, [1, 2, 3, 4]);
        let naive: Vec<u8> = (0..len).map(|at| at ^ [1, 2, 3, 4][usize::from(at) % 4]).collect();
        assert_eq!(bytes, naive);
    }
}

#[test]
fn a_ping_in_a_binary_message_is_answered_in_one_too() {
    let mut decoder = WsDecoder::new(Role::Server, Speech::Haul, 1000);
    let mut encoder = WsEncoder::new(Role::Server, Speech::Haul).answering(&decoder);
    let mut page = WsDecoder::new(Role::Client, Speech::Haul, 1000);
    let pong = || Frame::Pong(Bytes::from_static(b"abc"));
    let own = encode(&mut encoder, pong());
    let mut ping = BytesMut::from(&b"\x89\x83\0\0\0\0abc"[..]);
    assert!(matches!(decoder.next(&mut ping).unwrap(), Some(Frame::Ping(bytes)) if bytes == "abc"));
    assert_eq!(encode(&mut encoder, pong()), own, "nobody pinged in a message");
    let mut ping = BytesMut::from(&b"\x82\x85\0\0\0\0\x20\x01abc"[..]);
    assert!(matches!(decoder.next(&mut ping).unwrap(), Some(Frame::Ping(bytes)) if bytes == "abc"));
    let mut answer = encode(&mut encoder, pong());
    assert_eq!(answer.split_to(own.len()), own);
    assert_eq!(answer[..], *b"\x82\x05\x20\x02abc");
    assert!(matches!(page.next(&mut answer).unwrap(), Some(Frame::Pong(bytes)) if bytes == "abc"));
}
