//! Links of peers without sessions, which come in as they are.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use haul_core::wire::Frame;
use haul_core::{Error, ErrorKind, Link, Packet, ReadHalf, Result};

use crate::wire::Message;

/// What a plain link began with.
pub(crate) enum Begun {
    /// Something that is no greeting; `None` for its end.
    With(Option<Frame>),
    /// Nothing for this long.
    InSilence(Duration),
}

/// `link`, which gives first what was heard of it.
pub(crate) fn link(mut link: Link, begun: Begun) -> Link {
    link.read = Box::new(Plain { begun: Some(begun), half: link.read });
    link
}

struct Plain {
    /// `None` from the first packet on.
    begun: Option<Begun>,
    half: Box<dyn ReadHalf>,
}

impl ReadHalf for Plain {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        if let Some(Begun::With(_)) = &self.begun
            && let Some(Begun::With(first)) = self.begun.take()
        {
            return Poll::Ready(Ok(first));
        }
        let read = ready!(self.half.poll_read(cx));
        if let Some(Begun::InSilence(patience)) = &self.begun {
            match &read {
                Ok(Some(Frame::Note(note))) if asks_for_a_session(note) => {
                    let message = format!("the client greeted only after {patience:?}: it may dial again");
                    return Poll::Ready(Err(Error::new(ErrorKind::Timeout, message)));
                }
                Ok(Some(Frame::Note(_) | Frame::Ping(_) | Frame::Pong(_))) => {}
                _ => self.begun = None,
            }
        }
        Poll::Ready(read)
    }

    fn take_arrived(&mut self, packets: &mut Vec<Packet>, most: usize) {
        if self.begun.is_none() {
            self.half.take_arrived(packets, most);
        }
    }

    fn discarded(&self) -> u64 {
        self.half.discarded()
    }
}

/// A client whose greeting comes late must not be heard as a plain peer: it would take silence for an answer.
fn asks_for_a_session(note: &str) -> bool {
    matches!(Message::parse(note), Ok(Message::Open { .. } | Message::Resume { .. }))
}
