use bytes::BytesMut;
use proptest::prelude::*;

use super::*;

const MAX: usize = 100;

/// What a decoder makes of `bytes` that come in pieces: its frames, and the first error's kind.
fn decoded(framing: Framing, bytes: &[u8], cuts: &[usize]) -> (Vec<String>, Option<ErrorKind>) {
    let mut decoder = StreamDecoder::new(framing, MAX);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    let mut at = 0;
    for end in cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]) {
        let end = end.max(at);
        buffer.extend_from_slice(&bytes[at..end]);
        at = end;
        loop {
            match decoder.next(&mut buffer) {
                Ok(Some(frame)) => frames.push(format!("{frame:?}")),
                Ok(None) => break,
                Err(why) => return (frames, Some(why.kind())),
            }
        }
    }
    match decoder.finish(&mut buffer) {
        Ok(last) => frames.extend(last.map(|frame| format!("{frame:?}"))),
        Err(why) => return (frames, Some(why.kind())),
    }
    (frames, None)
}

proptest! {
    #[test]
    fn frames_are_the_same_however_the_bytes_are_cut(
        bytes in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(3), Just(b'\n'), any::<u8>()], 0..300),
        cuts in proptest::collection::vec(any::<usize>(), 0..20),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.sort_unstable();
        for framing in [Framing::Haul, Framing::Lines, Framing::Length] {
            prop_assert_eq!(decoded(framing, &bytes, &cuts), decoded(framing, &bytes, &[]), "{}", framing);
        }
    }

    #[test]
    fn raw_bytes_come_out_as_they_went_in(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let mut decoder = StreamDecoder::new(Framing::Raw, MAX);
        let mut buffer = BytesMut::from(&bytes[..]);
        let mut out = Vec::new();
        while let Some(Frame::Packet { packet, .. }) = decoder.next(&mut buffer).unwrap() {
            prop_assert!(packet.len() <= MAX);
            out.extend_from_slice(packet.payload());
        }
        prop_assert_eq!(out, bytes);
    }
}

#[test]
fn packets_taken_at_once_are_those_that_come_one_by_one() {
    let mut out = WriteBuf::default();
    let plain = |number: u8| Frame::packet(Packet::binary(vec![number; 5]));
    let frames = [plain(1), plain(2), Frame::Ping(Bytes::new()), plain(3), Frame::packet(Packet::text("4"))];
    frames.iter().for_each(|frame| StreamEncoder::new(Framing::Haul).encode(frame, &mut out).unwrap());
    let mut bytes = BytesMut::from(out.chunk());
    let mut decoder = StreamDecoder::new(Framing::Haul, MAX);
    let mut packets = Vec::new();
    decoder.take_arrived(&mut bytes, &mut packets, 1);
    assert_eq!(packets, [Packet::binary(vec![1; 5])], "no more than asked for");
    decoder.take_arrived(&mut bytes, &mut packets, 9);
    assert_eq!(packets[1..], [Packet::binary(vec![2; 5])], "no further than the ping");
    assert!(matches!(decoder.next(&mut bytes), Ok(Some(Frame::Ping(_)))));
    decoder.take_arrived(&mut bytes, &mut packets, 9);
    assert_eq!(packets[2..], [Packet::binary(vec![3; 5])], "text is checked elsewhere");
    let long = &mut BytesMut::from(&[&(MAX as u32 + 2).to_be_bytes()[..], &[0; MAX + 2]].concat()[..]);
    decoder.take_arrived(long, &mut packets, 9);
    assert_eq!(packets.len(), 3, "a packet above the bound");
}

#[test]
fn a_length_above_the_bound_is_refused_before_its_bytes_come() {
    for framing in [Framing::Haul, Framing::Length] {
        let mut bytes = BytesMut::from(&b"\x7f\xff\xff\xff"[..]);
        let error = StreamDecoder::new(framing, MAX).next(&mut bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
    }
    let mut long = BytesMut::from(&[b'x'; MAX + 1][..]);
    assert_eq!(
        StreamDecoder::new(Framing::Lines, MAX).next(&mut long).unwrap_err().kind(),
        ErrorKind::TooLarge
    );
}

#[test]
fn a_line_cannot_carry_a_line_feed_and_says_so() {
    let mut out = WriteBuf::default();
    let frame = Frame::packet(Packet::text("a\nb"));
    let error = StreamEncoder::new(Framing::Lines).encode(&frame, &mut out).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(out.is_empty());
}
