//! The reading half.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use haul_core::wire::Frame;
use haul_core::{Error, ErrorKind, Packet, ReadHalf, Reliability, Result, Status};

use crate::alive::Due;
use crate::shared::{Inbound, Shared};
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
            Err(why) if why.status() == Status::Permanent => return self.ends(why),
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

    /// Whether `packet` goes beside the session.
    fn is_beside(&self, packet: &Packet) -> bool {
        self.datagrams && packet.reliability() == Reliability::Unreliable
    }

    /// The number of what came off the link, if it is numbered.
    fn number(&mut self, frame: &Frame) -> Option<u64> {
        let beside = match frame {
            Frame::Ping(_) | Frame::Pong(_) => true,
            Frame::Packet { packet, receipt: false } => self.is_beside(packet),
            _ => false,
        };
        if beside {
            return None;
        }
        self.received += 1;
        Some(self.received - 1)
    }

    /// Gives `frame` to core, and sees to it that it is settled when the application has it.
    fn hand_over(&mut self, shared: &Shared, frame: Frame, number: Option<u64>) -> Frame {
        match frame {
            Frame::Packet { packet, receipt } => {
                let receipt = self.hand(shared, &packet, receipt, number);
                return Frame::Packet { packet, receipt };
            }
            Frame::Pong(payload) => {
                let mut sending = shared.sending();
                if sending.ping.as_ref() == Some(&payload) {
                    sending.ping = None;
                }
                return Frame::Pong(payload);
            }
            _ => {}
        }
        if let Some(number) = number {
            shared.settling().settle(number);
        }
        match &frame {
            Frame::Receipt { id, .. } => shared.sending().outgoing.answered(*id),
            Frame::Close(_) => self.peer_closed = true,
            _ => {}
        }
        frame
    }

    /// Core has `packet`: whether it is to be answered.
    fn hand(&self, shared: &Shared, packet: &Packet, receipt: bool, number: Option<u64>) -> bool {
        let mut settling = shared.settling();
        let opened = packet.id().zip(number);
        if let Some((id, number)) = opened {
            // Core answers it when the application has it, or the application does.
            settling.open(id, number, receipt);
        }
        let by_receiving = number.filter(|_| opened.is_none());
        match by_receiving {
            Some(number) if !self.is_counted() => settling.settle(number),
            first => settling.hand(first, 1, packet.len() as u64),
        }
        shared.look_after(settling.next_look());
        receipt || opened.is_some()
    }

    fn next_waiting(&mut self) -> Option<(Frame, Option<u64>)> {
        let next = self.waiting.pop_front()?;
        self.waiting_weight -= next.0.weight() as u64;
        Some(next)
    }

    fn wait(&mut self, frame: Frame) {
        let number = self.number(&frame);
        self.waiting_weight += frame.weight() as u64;
        self.waiting.push_back((frame, number));
    }

    /// Gives core what has arrived, is numbered, and is settled by being received.
    fn take_arrived(&mut self, shared: &Shared, packets: &mut Vec<Packet>, most: usize) {
        if !self.waiting.is_empty() || !self.gaps.is_empty() || self.end.is_some() || !self.is_counted() {
            return;
        }
        let Some(half) = &mut self.half else { return };
        let before = packets.len();
        half.take_arrived(packets, most);
        if packets.len() == before {
            return;
        }
        if let Some(alive) = &mut self.alive {
            alive.heard();
        }
        let plain = |packet: &&Packet| packet.id().is_none() && !self.is_beside(packet);
        let (count, bytes) = packets[before..]
            .iter()
            .take_while(plain)
            .fold((0, 0), |(count, bytes), packet| (count + 1, bytes + packet.len() as u64));
        if count > 0 {
            let mut settling = shared.settling();
            settling.hand(Some(self.received), count, bytes);
            shared.look_after(settling.next_look());
        }
        self.received += count;
        for packet in packets.drain(before + count as usize..) {
            self.wait(Frame::packet(packet));
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
