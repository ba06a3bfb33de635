//! The reading half.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use haul_core::wire::Frame;
use haul_core::{Error, ErrorKind, ReadHalf, Reliability, Result, Status, Task};

use crate::alive::Due;
use crate::shared::{Inbound, Shared};
use crate::wire::Message;

pub(crate) struct Reader {
    shared: Arc<Shared>,
    waker: Waker,
    read_ahead: usize,
}

thread_local! {
    /// A connection's driver is running: what it reads, it reads ahead.
    static DRIVING: Cell<bool> = const { Cell::new(false) };
}

/// Starts a connection's driver, and marks it: what `recv` reads itself is settled when it is handed over, what the
/// driver reads ahead is not.
pub(crate) fn spawn(task: Task) {
    tokio::spawn(Driving(task));
}

struct Driving(Task);

impl Future for Driving {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let before = DRIVING.replace(true);
        let polled = self.0.as_mut().poll(cx);
        DRIVING.set(before);
        polled
    }
}

/// What became of something read.
enum Read {
    Frame(Frame),
    /// It was the session's own.
    Nothing,
    /// The link is of no use any more.
    Lost(Error),
    /// Nor is any other.
    End(Error),
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, read_ahead: usize) -> Self {
        let waker = shared.wakers.reading();
        Self { shared, waker, read_ahead }
    }

    /// Nothing to read: pings a silent peer, or gives the link up.
    fn keep_alive(&self, cx: &mut Context<'_>, inbound: &mut Inbound) -> Option<Error> {
        match inbound.alive.as_mut().map_or(Due::Nothing, |alive| alive.poll(cx)) {
            Due::Nothing => None,
            Due::Ping => {
                let mut outbound = self.shared.outbound();
                let mut sending = self.shared.sending();
                if outbound.half.is_some() && !sending.closing {
                    let ping = Frame::Ping(Bytes::from_static(b"haul"));
                    // Where the link has no pings, the deadline alone decides.
                    let _ = outbound.own.push(ping, sending.encoder.as_deref_mut());
                }
                None
            }
            Due::Cut(quiet) => {
                Some(Error::new(ErrorKind::Timeout, format!("nothing heard from the peer for {quiet:?}")))
            }
        }
    }
}

impl ReadHalf for Reader {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        self.shared.wakers.read.register(cx.waker());
        let ahead = DRIVING.get();
        loop {
            let mut guard = self.shared.inbound();
            let inbound = &mut *guard;
            if inbound.taken(if ahead { self.read_ahead } else { 0 }, &self.shared) {
                self.shared.tell();
            }
            if let Some((frame, number)) = inbound.waiting.pop_front() {
                inbound.waiting_weight -= frame.weight() as u64;
                let frame = inbound.hand_over(&self.shared, frame, number, ahead);
                drop(guard);
                self.shared.tell();
                return Poll::Ready(Ok(Some(frame)));
            }
            if let Some(gap) = inbound.next_gap() {
                return Poll::Ready(Err(gap));
            }
            if let Some(end) = &inbound.end {
                return Poll::Ready(end.clone().map(|()| None));
            }
            let Some(half) = &mut inbound.half else {
                return Poll::Pending;
            };
            let generation = inbound.generation;
            let (read, pings) = match half.poll_read(&mut Context::from_waker(&self.waker)) {
                Poll::Ready(Err(gap)) if gap.kind() == ErrorKind::Gap => return Poll::Ready(Err(gap)),
                Poll::Ready(read) => (inbound.judge(&self.shared, read), false),
                Poll::Pending => match self.keep_alive(cx, inbound) {
                    Some(why) => (Read::Lost(why), false),
                    None => (Read::Nothing, true),
                },
            };
            if let Read::Frame(frame) = read {
                let number = inbound.number(&frame);
                let frame = inbound.hand_over(&self.shared, frame, number, ahead);
                drop(guard);
                self.shared.tell();
                return Poll::Ready(Ok(Some(frame)));
            }
            if let Read::End(why) = &read {
                inbound.half = None;
                inbound.end = Some(Err(why.clone()));
            }
            let pings = pings && inbound.alive.is_some();
            drop(guard);
            match read {
                Read::Lost(why) => {
                    self.shared.lost(generation, why, None);
                }
                Read::Nothing if pings => {
                    self.shared.drive_own();
                    return Poll::Pending;
                }
                _ => {}
            }
        }
    }
}

impl Inbound {
    /// What to do with what the link gave.
    fn judge(&mut self, shared: &Arc<Shared>, read: Result<Option<Frame>>) -> Read {
        self.heard = true;
        if let Some(alive) = &mut self.alive {
            alive.heard();
        }
        let frame = match read {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                return Read::Lost(Error::new(ErrorKind::Closed, "the peer ended the stream without a close"));
            }
            Err(why) if why.status() == Status::Permanent => return Read::End(why),
            Err(why) => return Read::Lost(why),
        };
        match frame.as_note() {
            None => Read::Frame(frame),
            Some(note) => match Message::parse(note).and_then(|message| self.hear(shared, message)) {
                Ok(read) => read,
                Err(why) => Read::End(why),
            },
        }
    }

    fn hear(&mut self, shared: &Arc<Shared>, message: Message) -> Result<Read> {
        match message {
            Message::Ack { settled } => {
                let mut sending = shared.sending();
                let before = sending.outgoing.bytes();
                sending.outgoing.settle(settled)?;
                shared.count(before, sending.outgoing.bytes());
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
                let why = Error::new(ErrorKind::Closed, format!("the peer aborted the session: code {code} {text}"));
                Ok(Read::End(why.with("code", code)))
            }
            Message::Refused { text, .. } => {
                Ok(Read::Lost(Error::new(ErrorKind::Closed, format!("the peer ended the link: {text}"))))
            }
            _ => Err(Error::new(ErrorKind::Protocol, "the peer greets again on a link of a session")),
        }
    }

    /// The number of what came off the link, if it is numbered.
    #[inline]
    fn number(&mut self, frame: &Frame) -> Option<u64> {
        let beside = match frame {
            Frame::Ping(_) | Frame::Pong(_) => true,
            Frame::Packet { packet, receipt: false } => {
                self.datagrams && packet.reliability() == Reliability::Unreliable
            }
            _ => false,
        };
        if beside {
            return None;
        }
        self.received += 1;
        Some(self.received - 1)
    }

    /// Gives `frame` to core, and sees to it that it is settled when the application has it.
    fn hand_over(&mut self, shared: &Arc<Shared>, frame: Frame, number: Option<u64>, ahead: bool) -> Frame {
        let Some(number) = number else {
            if let Frame::Pong(payload) = &frame {
                let mut sending = shared.sending();
                if sending.ping.as_ref() == Some(payload) {
                    sending.ping = None;
                }
            }
            return frame;
        };
        let mut settling = shared.settling();
        match frame {
            Frame::Packet { packet, receipt } => {
                settling.arrived(packet.len());
                match packet.id() {
                    // Core answers it when the application has it, or the application does.
                    Some(id) => {
                        settling.open(id, number, receipt);
                        return Frame::Packet { packet, receipt: true };
                    }
                    None if ahead => {
                        self.ahead_weight += packet.weight();
                        self.ahead.push_back((number, packet.weight()));
                    }
                    None => settling.settle(number),
                }
                Frame::Packet { packet, receipt }
            }
            frame => {
                settling.settle(number);
                drop(settling);
                match &frame {
                    Frame::Receipt { id, .. } => shared.sending().outgoing.answered(*id),
                    Frame::Close(_) => self.peer_closed = true,
                    _ => {}
                }
                frame
            }
        }
    }

    /// Core holds less than `most` of what it read ahead: what is more was taken. Whether anything was.
    #[inline]
    fn taken(&mut self, most: usize, shared: &Shared) -> bool {
        let mut taken = false;
        while self.ahead_weight > 0 && self.ahead_weight >= most {
            let Some((number, weight)) = self.ahead.pop_front() else { break };
            self.ahead_weight -= weight;
            shared.settling().settle(number);
            taken = true;
        }
        taken
    }
}

impl Shared {
    /// Takes off the link what is there, for the acknowledgements among it; the rest waits for the application.
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
            match inbound.judge(self, read) {
                Read::Frame(frame) => {
                    let number = inbound.number(&frame);
                    inbound.waiting_weight += frame.weight() as u64;
                    inbound.waiting.push_back((frame, number));
                    self.wakers.read.wake();
                }
                Read::Nothing => {}
                Read::End(why) => {
                    inbound.half = None;
                    inbound.end = Some(Err(why));
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

    /// Reads what is there before the link is given up: a close or an abort that the peer said last.
    pub(crate) fn look_for_end(self: &Arc<Self>) {
        self.look_for_acks();
    }
}
