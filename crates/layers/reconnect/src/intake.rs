//! What `send` took and the writer has yet to take.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use haul_core::wire::{Frame, SendBuf, WriteBuf};
use haul_core::{Encoder, Error, ErrorKind, Info, Result};

/// The encoder of the connection: each frame goes through the encoder of the link that stands, or stood last, at the
/// moment of `send`, so that what it cannot express is answered to its sender. The frame itself is kept beside its
/// bytes, for a link that comes after this one.
///
/// Its lock is the last one taken, and held for one frame.
#[derive(Clone)]
pub(crate) struct Intake(Arc<Mutex<Inner>>);

struct Inner {
    /// The link that encodes; none before the first.
    epoch: u64,
    encoder: Option<Box<dyn Encoder>>,
    /// The link's peer gives receipts.
    receipts: bool,
    /// Metadata may be sent before a link stands.
    metadata: bool,
    /// What the bytes in the buffers of the connection stand for, in order.
    entries: VecDeque<Taken>,
}

/// A frame that `send` took.
pub(crate) struct Taken {
    pub(crate) frame: Frame,
    /// Bytes that it has in the buffer of the connection.
    pub(crate) len: usize,
    /// The link that they were encoded for; 0 if they only keep its place.
    pub(crate) epoch: u64,
    /// Its peer is asked for a receipt.
    pub(crate) receipt: bool,
}

impl Intake {
    pub(crate) fn new(info: &Info) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            epoch: 0,
            encoder: None,
            receipts: false,
            metadata: info.metadata,
            entries: VecDeque::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this link encodes.
    pub(crate) fn install(&self, epoch: u64, encoder: Option<Box<dyn Encoder>>, receipts: bool) {
        let mut inner = self.lock();
        (inner.epoch, inner.encoder, inner.receipts) = (epoch, encoder, receipts);
    }

    /// Encodes a frame for the link into a buffer of its own; answers whether the peer is to give a receipt.
    pub(crate) fn encode_into(&self, frame: Frame, buf: &mut SendBuf) -> Result<bool> {
        let mut inner = self.lock();
        let (frame, receipt) = inner.on_the_wire(frame);
        buf.push(frame, inner.encoder.as_deref_mut())?;
        Ok(receipt)
    }

    /// The next frame, if the bytes of it are among the next `bytes`.
    pub(crate) fn take(&self, bytes: usize) -> Option<Taken> {
        self.lock().entries.pop_front_if(|next| next.len <= bytes)
    }

    /// As [`take`](Self::take), if it was encoded for this link.
    pub(crate) fn take_encoded_for(&self, epoch: u64, bytes: usize) -> Option<Taken> {
        self.lock().entries.pop_front_if(|next| next.len <= bytes && next.epoch == epoch)
    }

    /// Whether a close comes next.
    pub(crate) fn closes(&self) -> bool {
        matches!(self.lock().entries.front(), Some(Taken { frame: Frame::Close(_), .. }))
    }
}

impl Inner {
    /// A packet with an id asks for a receipt where there are any, so that it can be sent again until that comes.
    fn on_the_wire(&self, frame: Frame) -> (Frame, bool) {
        match frame {
            Frame::Packet { packet, receipt } => {
                let receipt = receipt || (self.receipts && packet.id().is_some());
                (Frame::Packet { packet, receipt }, receipt)
            }
            other => (other, false),
        }
    }

    /// Has the buffer of the connection count a frame that is encoded later.
    fn keep_place(&self, frame: &Frame, out: &mut WriteBuf) -> Result<()> {
        if let Frame::Packet { packet, .. } = frame {
            if self.epoch == 0 && !self.metadata && !packet.metadata().is_empty() {
                let message =
                    "not connected yet, and the peer is not known to take metadata: see connect_lazy_as";
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
            out.put_ref(packet.payload());
        }
        out.tail().push(0);
        Ok(())
    }
}

impl Encoder for Intake {
    fn encode(&mut self, frame: &Frame, out: &mut WriteBuf) -> Result<()> {
        let mut inner = self.lock();
        let before = out.len();
        let (wire, receipt) = inner.on_the_wire(frame.clone());
        let epoch = match &mut inner.encoder {
            Some(encoder) => {
                encoder.encode(&wire, out)?;
                inner.epoch
            }
            None => {
                inner.keep_place(&wire, out)?;
                0
            }
        };
        inner.entries.push_back(Taken { frame: frame.clone(), len: out.len() - before, epoch, receipt });
        Ok(())
    }
}
