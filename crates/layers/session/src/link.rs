//! The link that a session is to the connection above: it outlives the links beneath.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use haul_core::wire::{Frame, WriteBuf};
use haul_core::{Encoder, Info, Limits, Link, Reliability, Result};

use crate::outgoing::Kept;
use crate::reader::Reader;
use crate::shared::{Sending, Shared};
use crate::wire::Message;
use crate::writer::Writer;

/// The link over `shared`, which is as `info` says whatever comes beneath it.
pub(crate) fn link(shared: &Arc<Shared>, info: Info, limits: Limits) -> Link {
    let mut link = Link::new(info, Reader::new(shared.clone()), Writer::new(shared.clone()))
        .with_encoder(Numbering { shared: shared.clone() })
        .with_limits(limits)
        .with_state(shared.state.clone())
        .with_guard(Shut(shared.clone()));
    link.on_settled = Some(shared.counter());
    link
}

/// The application has let go of the connection when this is dropped.
struct Shut(Arc<Shared>);

impl Drop for Shut {
    fn drop(&mut self) {
        self.0.shut();
    }
}

/// Numbers and keeps what is sent, and encodes it for the link that stands.
///
/// Where none stands, or it takes frames, bytes stand for what is kept, so that the connection's buffer fills as it
/// should; the writer drops them.
struct Numbering {
    shared: Arc<Shared>,
}

impl Encoder for Numbering {
    fn encode(&mut self, frame: &Frame, out: &mut WriteBuf) -> Result<()> {
        let mut sending = self.shared.sending();
        if let Some(Err(why)) = &sending.over {
            return Err(why.clone());
        }
        let before = out.len();
        let sending = &mut *sending;
        if sending.numbers(frame) {
            self.number(sending, frame, out)?;
        } else {
            sending.pass(frame, out)?;
        }
        sending.encoded += (out.len() - before) as u64;
        Ok(())
    }
}

impl Numbering {
    fn number(&self, sending: &mut Sending, frame: &Frame, out: &mut WriteBuf) -> Result<()> {
        let ack = self.shared.ack_wanted.load(Ordering::Relaxed) && !sending.closing;
        let ends = matches!(frame, Frame::Finish | Frame::Close(_));
        // Before it is encoded: moving what was written a moment ago stalls.
        let kept = Kept::of(frame);
        let before = out.len();
        match &mut sending.encoder {
            Some(encoder) => encoder.encode(frame, out)?,
            None => stand_for(frame, out),
        }
        let len = (out.len() - before) as u64;
        sending.finishing |= ends;
        sending.closing |= matches!(frame, Frame::Close(_));
        sending.outgoing.push(kept, frame, sending.encoded, len);
        self.shared.count(sending);
        if ack
            && !ends
            && let Some(encoder) = &mut sending.encoder
            && self.shared.ack_wanted.swap(false, Ordering::AcqRel)
        {
            let settled = self.shared.settling().told();
            encoder.encode(&Message::Ack { settled }.into_frame(), out)?;
        }
        Ok(())
    }
}

/// Bytes that weigh what `frame` does.
fn stand_for(frame: &Frame, out: &mut WriteBuf) {
    out.tail().push(0);
    if let Frame::Packet { packet, .. } = frame {
        out.put_ref(packet.payload());
    }
}

impl Sending {
    /// Pings ask the link; an unreliable packet goes beside the session where there are datagrams.
    #[inline]
    fn numbers(&self, frame: &Frame) -> bool {
        match frame {
            Frame::Ping(_) | Frame::Pong(_) => false,
            Frame::Packet { packet, receipt } => {
                *receipt || !self.datagrams || packet.reliability() == Reliability::Reliable
            }
            _ => true,
        }
    }

    /// Sends `frame` on the link that stands, or not at all.
    fn pass(&mut self, frame: &Frame, out: &mut WriteBuf) -> Result<()> {
        if let Frame::Ping(payload) = frame {
            // It is asked again on the next link.
            self.ping = Some(payload.clone());
        }
        match &mut self.encoder {
            Some(encoder) => encoder.encode(frame, out),
            None => {
                stand_for(frame, out);
                if self.up {
                    self.push_beside(frame.clone());
                }
                Ok(())
            }
        }
    }
}
