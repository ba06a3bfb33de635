//! Byte streams in every framing: the same frames however the bytes are cut, none above the bound, nothing lost.

use bytes::BytesMut;
use haul_core::wire::{Frame, Framing, StreamDecoder, StreamEncoder, WriteBuf};
use haul_core::{Encoder, ErrorKind};

use crate::pieces::{cut, drain, take};

const FRAMINGS: [Framing; 4] = [Framing::Haul, Framing::Lines, Framing::Length, Framing::Raw];

/// The bounds of packets that are tried.
const BOUNDS: [usize; 4] = [1, 5, 100, 16 << 20];

/// Framing and bound, the cuts, and the bytes of the stream.
pub(crate) fn run(mut data: &[u8]) {
    let (choice, seed) = (take(&mut data), take(&mut data));
    let framing = FRAMINGS[usize::from(choice) % FRAMINGS.len()];
    let bound = BOUNDS[usize::from(choice / 4) % BOUNDS.len()];
    let pieces = decoded(framing, bound, &cut(data, seed), 3);
    if framing == Framing::Raw {
        let payloads: Vec<u8> = pieces.0.iter().flat_map(|frame| payload(frame).to_vec()).collect();
        assert_eq!(payloads, data);
        return;
    }
    let whole = decoded(framing, bound, &[data], 0);
    assert_eq!(format!("{pieces:?}"), format!("{whole:?}"), "{framing}");
    let mut out = WriteBuf::default();
    let mut encoder = StreamEncoder::new(framing);
    for frame in &whole.0 {
        encoder.encode(frame, &mut out).expect("what was read is written");
    }
    // Its end, which for haul's own frames is an error, is not written.
    let again = decoded(framing, usize::MAX, &[&drain(out)], 0);
    assert_eq!(format!("{:?}", again.0), format!("{:?}", whole.0), "{framing}");
}

/// The frames of a stream, and how it ended; packets that are whole are taken so many at once.
fn decoded(
    framing: Framing,
    bound: usize,
    pieces: &[&[u8]],
    at_once: usize,
) -> (Vec<Frame>, Option<ErrorKind>) {
    let mut decoder = StreamDecoder::new(framing, bound);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let mut packets = Vec::new();
            decoder.take_arrived(&mut buffer, &mut packets, at_once);
            assert!(packets.iter().all(|packet| packet.len() <= bound), "a packet above {bound} bytes");
            frames.extend(packets.into_iter().map(Frame::packet));
            let missing = decoder.missing(&buffer);
            match decoder.next(&mut buffer) {
                Ok(None) => {
                    let prefixed = matches!(framing, Framing::Haul | Framing::Length);
                    assert!(missing > 0 || !prefixed || buffer.len() < 4, "all is there, and no frame comes");
                    break;
                }
                Ok(Some(frame)) => {
                    assert_eq!(missing, 0, "a frame came although bytes of it are missing");
                    if let Frame::Packet { packet, .. } = &frame {
                        assert!(packet.len() <= bound, "{} bytes, at most {bound}", packet.len());
                    }
                    frames.push(frame);
                }
                Err(why) => return (frames, Some(why.kind())),
            }
        }
    }
    match decoder.finish(&mut buffer) {
        Ok(last) => frames.extend(last),
        Err(why) => return (frames, Some(why.kind())),
    }
    (frames, None)
}

fn payload(frame: &Frame) -> &[u8] {
    match frame {
        Frame::Packet { packet, .. } => packet.payload(),
        other => panic!("{other:?} on a stream of raw bytes"),
    }
}
