//! Frames become bytes when they are sent; which of the bytes leave as datagrams is marked.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use haul_core::wire::{self, Frame, WriteBuf};
use haul_core::{Encoder, Error, ErrorKind, Reliability, Result};

use super::bundle;
use super::session::Session;
use super::transport::Transport;

/// Where in the bytes of a link its datagrams are.
#[derive(Default)]
pub(crate) struct Marks {
    some: AtomicBool,
    marks: Mutex<VecDeque<Mark>>,
}

/// Frames for datagrams, each after its length (`u16`), without bytes of the stream between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// Bytes of the link before it.
    pub(crate) at: u64,
    pub(crate) len: usize,
}

impl Marks {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Mark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, mark: Mark) {
        let mut marks = self.lock();
        match marks.back_mut() {
            Some(last) if last.at + last.len as u64 == mark.at => last.len += mark.len,
            _ => marks.push_back(mark),
        }
        self.some.store(true, Ordering::Release);
    }

    /// Moves all into `due`, which is empty.
    pub(crate) fn take(&self, due: &mut VecDeque<Mark>) {
        if self.some.load(Ordering::Acquire) {
            let mut marks = self.lock();
            std::mem::swap(&mut *marks, due);
            self.some.store(false, Ordering::Release);
        }
    }
}

pub(crate) struct LinkEncoder<T: Transport> {
    session: Arc<Session<T>>,
    marks: Arc<Marks>,
    /// Largest frame in a datagram; `None` sends all on streams.
    room: Option<usize>,
    at: u64,
}

impl<T: Transport> LinkEncoder<T> {
    pub(crate) fn new(session: Arc<Session<T>>, marks: Arc<Marks>, room: Option<usize>) -> Self {
        Self { session, marks, room, at: 0 }
    }

    /// The frame after its length, for a datagram.
    fn datagram(&mut self, frame: &Frame, room: usize, out: &mut WriteBuf) -> Result<()> {
        let too_large = |len: usize| {
            Error::new(ErrorKind::TooLarge, format!("an unreliable packet of {len} bytes with its head"))
                .with("max_frame", room)
        };
        if let Frame::Packet { packet, .. } = frame
            && packet.len() > room
        {
            return Err(too_large(packet.len()));
        }
        let start = out.tail().len();
        out.tail().extend_from_slice(&[0; bundle::LEN]);
        wire::encode(frame, out).inspect_err(|_| out.tail().truncate(start))?;
        // All of it is small enough to stand in the tail.
        let tail = out.tail();
        let len = tail.len() - start - bundle::LEN;
        match u16::try_from(len) {
            Ok(short) if len <= room => {
                tail[start..start + bundle::LEN].copy_from_slice(&short.to_be_bytes())
            }
            _ => {
                tail.truncate(start);
                return Err(too_large(len));
            }
        }
        self.marks.push(Mark { at: self.at, len: bundle::LEN + len });
        Ok(())
    }
}

impl<T: Transport> Encoder for LinkEncoder<T> {
    fn encode(&mut self, frame: &Frame, out: &mut WriteBuf) -> Result<()> {
        let before = out.len();
        match (frame, self.room) {
            // A delivery waits for its receipt: it goes where nothing is lost.
            (Frame::Packet { packet, receipt: false }, Some(room))
                if packet.reliability() == Reliability::Unreliable =>
            {
                self.datagram(frame, room, out)?;
            }
            (Frame::Close(reason), _) => {
                self.session.note(reason.clone());
                wire::encode_prefixed(frame, out)?;
            }
            _ => wire::encode_prefixed(frame, out)?,
        }
        self.at += (out.len() - before) as u64;
        Ok(())
    }
}
