//! WebSocket frames: the same messages however the bytes are cut, none above the bound, and each is written as read.

use bytes::BytesMut;
use haul_core::wire::{Frame, WriteBuf};
use haul_core::{Encoder, ErrorKind};
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::frame::{Speech, WsDecoder, WsEncoder};
use crate::pieces::{cut, drain, take};

/// The bounds of packets that are tried.
const BOUNDS: [usize; 3] = [1, 200, 16 << 20];

/// Role, speech and bound, the cuts, and the bytes of the stream.
pub(crate) fn run(mut data: &[u8]) {
    let (choice, seed) = (take(&mut data), take(&mut data));
    let (own, peer) =
        if choice & 1 == 0 { (Role::Server, Role::Client) } else { (Role::Client, Role::Server) };
    let speech = if choice & 2 == 0 { Speech::Haul } else { Speech::Plain };
    let bound = BOUNDS[usize::from(choice / 4) % BOUNDS.len()];
    let whole = decoded((own, speech), bound, &[data], 0);
    for at_once in [0, 3] {
        let pieces = decoded((own, speech), bound, &cut(data, seed), at_once);
        assert_eq!(format!("{pieces:?}"), format!("{whole:?}"), "{at_once} at once");
    }
    let mut out = WriteBuf::default();
    let mut encoder = WsEncoder::new(peer, speech);
    // Nothing is written behind a close, and a refusal's message is cut where it is written.
    let sent: Vec<&Frame> = whole.0.iter().take_while(|frame| !matches!(frame, Frame::Close(_))).collect();
    for frame in &sent {
        encoder.encode(frame, &mut out).expect("what was read is written");
    }
    if data.len() <= 1024 {
        let again = decoded((own, speech), bound, &[&drain(out)], 0);
        assert_eq!(format!("{again:?}"), format!("{:?}", (&sent, None::<ErrorKind>)));
    }
}

/// The frames of a stream, and its error if it has one; packets that are whole are taken so many at once.
fn decoded(
    (role, speech): (Role, Speech),
    bound: usize,
    pieces: &[&[u8]],
    at_once: usize,
) -> (Vec<Frame>, Option<ErrorKind>) {
    let mut decoder = WsDecoder::new(role, speech, bound);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let mut packets = Vec::new();
            decoder.take_arrived(&mut buffer, &mut packets, at_once);
            frames.extend(packets.into_iter().map(Frame::packet));
            match decoder.next(&mut buffer) {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    if let Frame::Packet { packet, .. } = &frame {
                        assert!(packet.len() <= bound, "{} bytes, at most {bound}", packet.len());
                    }
                    frames.push(frame);
                }
                Err(why) => return (frames, Some(why.kind())),
            }
        }
    }
    (frames, None)
}
