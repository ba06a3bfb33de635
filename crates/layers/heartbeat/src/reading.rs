//! The receiving direction: hears the peer, and asks it when it is silent.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use haul_core::wire::Frame;
use haul_core::{Error, ErrorKind, Packet, ReadHalf, Result};
use tokio::time::Instant;

use crate::Monitor;
use crate::beat::{Beat, Due};
use crate::options::MOST_MISSES;
use crate::writing::Writing;

/// What begins a ping of ours.
const TAG: &[u8; 4] = b"beat";

pub(crate) struct Reader {
    half: Box<dyn ReadHalf>,
    writing: Arc<Writing>,
    monitor: Monitor,
    /// `None` when the link has ended.
    beat: Option<Beat>,
    /// What asks where there is no ping.
    probe: Option<Packet>,
    /// Pings since the last answer; as many as may be missed.
    asked: Vec<(u64, Instant)>,
    number: u64,
    heard: bool,
    /// A question is not written yet.
    unwritten: bool,
}

impl Reader {
    pub(crate) fn new(
        half: Box<dyn ReadHalf>,
        writing: Arc<Writing>,
        monitor: Monitor,
        beat: Beat,
        probe: Option<Packet>,
        first: u64,
    ) -> Self {
        let (heard, unwritten) = (false, false);
        let asked = Vec::new();
        Self { half, writing, monitor, beat: Some(beat), probe, asked, number: first, heard, unwritten }
    }

    /// Takes note of an answer to a ping of ours.
    fn hear_answer(&mut self, pong: &Bytes) {
        let number = pong.strip_prefix(TAG).and_then(|number| number.try_into().ok()).map(u64::from_be_bytes);
        let Some(at) = self.asked.iter().position(|(asked, _)| Some(*asked) == number) else { return };
        let took = self.asked[at].1.elapsed();
        self.asked.clear();
        self.monitor.answered(took);
        if let Some(beat) = &mut self.beat {
            beat.answered(took);
        }
    }

    /// Puts a question; `again` if the one before may still be answered.
    fn ask(&mut self, again: bool) -> Result<()> {
        if let Some(probe) = &self.probe {
            return self.writing.ask(Frame::packet(probe.clone())).map(drop);
        }
        let mut payload = BytesMut::with_capacity(12);
        payload.put_slice(TAG);
        payload.put_u64(self.number);
        if self.writing.ask(Frame::Ping(payload.freeze()))? {
            if !again {
                self.asked.clear();
            }
            self.asked.push((self.number, Instant::now()));
            debug_assert!(
                self.asked.len() <= MOST_MISSES as usize,
                "a question that something followed is kept"
            );
            self.number = self.number.wrapping_add(1);
        }
        Ok(())
    }

    /// Nothing to read: asks a silent peer, or gives it up.
    fn tend(&mut self, cx: &mut Context<'_>) -> Option<Error> {
        if self.writing.is_done() {
            self.beat = None;
        }
        let beat = self.beat.as_mut()?;
        if std::mem::take(&mut self.heard) {
            beat.heard();
        }
        let (missed, late) = match beat.poll(cx) {
            Due::Nothing if !self.unwritten => return None,
            Due::Nothing => {
                self.write(cx);
                return None;
            }
            Due::Cut(quiet) => {
                self.beat = None;
                self.monitor.missed();
                let asked = self.monitor.stats().asked;
                let message = format!("nothing heard from the peer for {quiet:?}, although it was asked");
                return Some(Error::new(ErrorKind::Timeout, message).with("asked", asked));
            }
            Due::Ask { missed } => (missed, false),
            Due::AskLate => (false, true),
        };
        self.monitor.asked(missed, late);
        if let Err(why) = self.ask(missed) {
            self.beat = None;
            return Some(why.while_doing("ask the peer whether it is there"));
        }
        self.write(cx);
        None
    }

    /// A question that cannot be written is one that is not answered: the connection's own writes tell why.
    fn write(&mut self, cx: &mut Context<'_>) {
        self.unwritten = self.writing.poll_asked(cx).is_pending();
    }
}

impl ReadHalf for Reader {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        if let Poll::Ready(read) = self.half.poll_read(cx) {
            self.heard = true;
            match &read {
                // It goes on to whoever is above: they have heard of the peer, too.
                Ok(Some(Frame::Pong(pong))) => self.hear_answer(pong),
                Ok(Some(Frame::Finish | Frame::Close(_)) | None) => self.beat = None,
                Err(why) if why.kind() != ErrorKind::Gap => self.beat = None,
                _ => {}
            }
            return Poll::Ready(read);
        }
        match self.tend(cx) {
            Some(why) => Poll::Ready(Err(why)),
            None => Poll::Pending,
        }
    }

    fn take_arrived(&mut self, packets: &mut Vec<Packet>, most: usize) {
        self.half.take_arrived(packets, most);
    }

    fn discarded(&self) -> u64 {
        self.half.discarded()
    }
}
