//! The reading half.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use haul_core::wire::Frame;
use haul_core::{Error, ErrorKind, Packet, ReadHalf, Result, Status};

use crate::alive::Due;
use crate::inbound::Inbound;
use crate::shared::Shared;
use crate::wire::Message;

pub(crate) struct Reader {
    shared: Arc<Shared>,
    waker: Waker,
}

/// What became of something read.
enum Read {
    Frame(Frame),
    /// It was the session's own.
    Nothing,
    /// The link is of no use any more.
    Lost(Error),
    /// A gap, or the end.
    Answer(Result<()>),
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let waker = shared.wakers.reading();
        Self { shared, waker }
    }

    /// Nothing to read: pings a silent peer, or gives the link up.
    fn keep_alive(&self, cx: &mut Context<'_>, inbound: &mut Inbound) -> Poll<Read> {
        match inbound.alive.as_mut().map_or(Due::Nothing, |alive| alive.poll(cx)) {
            Due::Nothing => Poll::Pending,
            Due::Ping => {
                let mut outbound = self.shared.outbound();
                let mut sending = self.shared.sending();
                if outbound.half.is_some() && outbound.own.is_empty() && !sending.closing {
                    let ping = Frame::Ping(Bytes::from_static(b"haul"));
                    // Where the link has no pings, the deadline alone decides.
                    inbound.pinged = outbound.own.push(ping, sending.encoder.as_deref_mut()).is_ok();
                }
                Poll::Pending
            }
            Due::Cut(quiet) => {
                let message = format!("nothing heard from the peer for {quiet:?}");
                Poll::Ready(Read::Lost(Error::new(ErrorKind::Timeout, message)))
            }
        }
    }
}

impl ReadHalf for Reader {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        self.shared.wakers.read.register(cx.waker());
        loop {
            let mut guard = self.shared.inbound();
            let inbound = &mut *guard;
            let generation = inbound.generation;
            let polled = self.poll_inbound(cx, inbound);
            let pinged = std::mem::take(&mut inbound.pinged);
            let counted = inbound.is_counted();
            drop(guard);
            match &polled {
                // It is told of when it was received.
                Poll::Ready(Read::Frame(Frame::Packet { .. })) if counted => {}
                Poll::Ready(Read::Frame(_)) => self.shared.tell(),
                _ => {}
            }
            match polled {
                Poll::Ready(Read::Frame(frame)) => return Poll::Ready(Ok(Some(frame))),
                Poll::Ready(Read::Answer(answer)) => return Poll::Ready(answer.map(|()| None)),
                Poll::Ready(Read::Nothing) => {}
                Poll::Ready(Read::Lost(why)) => {
                    self.shared.lost(generation, why, None);
                }
                Poll::Pending => {
                    if pinged {
                        self.shared.drive_own();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn take_arrived(&mut self, packets: &mut Vec<Packet>, most: usize) {
        self.shared.inbound().take_arrived(&self.shared, packets, most);
    }
}

impl Reader {
    /// What there is for core, or what is to be done without a lock.
    fn poll_inbound(&self, cx: &mut Context<'_>, inbound: &mut Inbound) -> Poll<Read> {
        if let Some((frame, number)) = inbound.next_waiting() {
            return Poll::Ready(Read::Frame(inbound.hand_over(&self.shared, frame, number)));
        }
        if let Some(gap) = inbound.next_gap() {
            return Poll::Ready(Read::Answer(Err(gap)));
        }
        if let Some(end) = &inbound.end {
            return Poll::Ready(Read::Answer(end.clone()));
        }
        let Some(half) = &mut inbound.half else {
            return Poll::Pending;
        };
        let read = match half.poll_read(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(Err(gap)) if gap.kind() == ErrorKind::Gap => Read::Answer(Err(gap)),
            Poll::Ready(read) => inbound.judge(&self.shared, read),
            Poll::Pending => return self.keep_alive(cx, inbound),
        };
        Poll::Ready(match read {
            Read::Frame(frame) => {
                let number = inbound.number(&frame);
                Read::Frame(inbound.hand_over(&self.shared, frame, number))
            }
            read => read,
        })
    }
}

/// Whether every further link would bring the same: what the peer says is wrong, and not what became of it on the way.
pub(crate) fn is_the_peers_doing(why: &Error) -> bool {
    let said = matches!(
        why.kind(),
        ErrorKind::Protocol | ErrorKind::Codec | ErrorKind::TooLarge | ErrorKind::Unsupported
    );
    said && why.status() == Status::Permanent
}

impl Inbound {
    /// What to do with what the link gave.
    fn judge(&mut self, shared: &Arc<Shared>, read: Result<Option<Frame>>) -> Read {
        if let Some(alive) = &mut self.alive {
            alive.heard();
        }
        let frame = match read {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                return Read::Lost(Error::new(
                    ErrorKind::Closed,
                    "the peer ended the stream without a close",
                ));
            }
            Err(why) if is_the_peers_doing(&why) => return self.ends(why),
            Err(why) => return Read::Lost(why),
        };
        match frame {
            Frame::Note(note) => match Message::parse(&note).and_then(|message| self.hear(shared, message)) {
                Ok(read) => read,
                Err(why) => self.ends(why),
            },
            frame => Read::Frame(frame),
        }
    }

    /// No link is heard any more.
    fn ends(&mut self, why: Error) -> Read {
        self.half = None;
        self.end = Some(Err(why.clone()));
        Read::Answer(Err(why))
    }

    fn hear(&mut self, shared: &Arc<Shared>, message: Message) -> Result<Read> {
        match message {
            Message::Ack { settled } => {
                self.heard = true;
                let mut sending = shared.sending();
                sending.outgoing.settle(settled)?;
                shared.count(&mut sending);
                drop(sending);
                if shared.wakers.writer_reads.swap(false, Ordering::AcqRel) {
                    shared.wakers.write.wake();
                }
                Ok(Read::Nothing)
            }
            Message::Gap { from, to } => {
                let message = format!(
                    "the peer lost its session: of its packets {from} to {} some may be missing",
                    to.saturating_sub(1)
                );
                self.add_gap(Error::new(ErrorKind::Gap, message).with("from", from).with("to", to));
                Ok(Read::Nothing)
            }
            Message::Abort { code, text } => {
                let why = Error::new(
                    ErrorKind::Closed,
                    format!("the peer aborted the session: code {code} {text}"),
                );
                Ok(self.ends(why.with("code", code)))
            }
            Message::Refused { text, .. } => {
                Ok(Read::Lost(Error::new(ErrorKind::Closed, format!("the peer ended the link: {text}"))))
            }
            // Asked once more, before the answer was heard.
            Message::Hello | Message::Open { .. } | Message::Resume { .. } => Ok(Read::Nothing),
            _ => Err(Error::new(ErrorKind::Protocol, "the peer greets again on a link of a session")),
        }
    }
}

impl Shared {
    /// Takes off the link what is there, within twice the window: acknowledgements at once, the rest waits for the
    /// application.
    pub(crate) fn look_for_acks(self: &Arc<Self>) {
        // Whoever is at it finds them.
        let Some(mut inbound) = self.try_inbound() else { return };
        let most = 2 * self.window.bytes;
        let waker = self.wakers.reading();
        while inbound.waiting_weight < most
            && inbound.end.is_none()
            && let Some(half) = &mut inbound.half
        {
            let Poll::Ready(read) = half.poll_read(&mut Context::from_waker(&waker)) else { return };
            let read = match read {
                Err(gap) if gap.kind() == ErrorKind::Gap => Read::Answer(Err(gap)),
                read => inbound.judge(self, read),
            };
            match read {
                Read::Frame(frame) => {
                    inbound.wait(frame);
                    self.wakers.read.wake();
                }
                Read::Nothing => {}
                // It is kept as the end, unless it is a gap.
                Read::Answer(answer) => {
                    if let Err(gap) = answer
                        && gap.kind() == ErrorKind::Gap
                    {
                        inbound.add_gap(gap);
                    }
                    self.wakers.read.wake();
                }
                Read::Lost(why) => {
                    let (weak, generation) = (Arc::downgrade(self), inbound.generation);
                    inbound.half = None;
                    // The writer, who looks, holds its own lock.
                    self.runtime.spawn(async move {
                        if let Some(shared) = weak.upgrade() {
                            shared.lost(generation, why, None);
                        }
                    });
                }
            }
        }
    }
}
