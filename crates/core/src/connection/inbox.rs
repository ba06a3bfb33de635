//! The receiving direction: the reading half, what was read ahead, and what core answers itself.

use std::collections::VecDeque;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use super::hub::{Hub, lock};
use super::outbox::Phase;
use crate::link::ReadHalf;
use crate::wire::Frame;
use crate::{CloseReason, Error, ErrorKind, Level, Packet, PacketId, Receipt, Result, Sent, Stats};

/// What a gap counts for among what was read ahead.
const GAP_WEIGHT: usize = 64;

/// Notes that are kept for a layer that takes the link, before anything was received.
const NOTES: usize = 8;

/// How many packets that have arrived a receiver takes at once.
const READY: usize = 64;

pub(super) struct Inbox {
    pub(super) half: Option<Box<dyn ReadHalf>>,
    /// Packets, errors of kind `Gap` in their place, and the first notes.
    ahead: VecDeque<Result<Frame>>,
    ahead_weight: usize,
    /// Notes that may still be kept.
    notes: usize,
    /// Nothing more will be read: cleanly, or why.
    pub(super) end: Option<Result<(), Error>>,
    /// Frames read so far: whether the peer is alive.
    pub(super) heard: u64,
    pub(super) stats: Stats,
    /// Something was received since the driver last looked.
    active: bool,
}

/// Whose turn it is to read.
pub(super) enum Turn {
    /// A `recv` is pending: it reads.
    Receiver,
    /// The application received a moment ago and will again: the driver looks later.
    Soon,
    /// Nobody receives: the driver reads.
    Driver,
}

/// A packet read, and whether its sender wants a receipt.
pub(super) struct Arrived {
    pub(super) packet: Packet,
    pub(super) receipt: bool,
}

impl Inbox {
    pub(super) fn new(half: Box<dyn ReadHalf>) -> Self {
        Self {
            half: Some(half),
            ahead: VecDeque::new(),
            ahead_weight: 0,
            notes: NOTES,
            end: None,
            heard: 0,
            stats: Stats::default(),
            // Whoever has the new connection receives, or takes its link, before the driver reads ahead.
            active: true,
        }
    }

    /// The next packet or gap that was read ahead.
    #[inline]
    fn pop_ahead(&mut self) -> Option<Result<Arrived>> {
        loop {
            let ahead = self.ahead.pop_front()?;
            self.ahead_weight -= ahead.as_ref().map_or(GAP_WEIGHT, Frame::weight);
            match ahead {
                Ok(Frame::Packet { packet, receipt }) => return Some(Ok(Arrived { packet, receipt })),
                // A layer would have taken it.
                Ok(_) => {}
                Err(gap) => return Some(Err(gap)),
            }
        }
    }

    /// Keeps one of the first notes, in case a layer takes the link.
    fn keep_note(&mut self, note: String) {
        if self.notes > 0 {
            self.notes -= 1;
            self.push_ahead(Ok(Frame::Note(note)));
        }
    }

    /// What was read ahead, and the end if it was read, for whoever reads the link from now on; `closing` is the reason
    /// of the close that was read.
    pub(super) fn take_ahead(&mut self, closing: Option<CloseReason>) -> VecDeque<Result<Frame>> {
        let mut frames = std::mem::take(&mut self.ahead);
        match (&self.end, closing) {
            (None, _) => {}
            (Some(Err(why)), _) if why.kind() != ErrorKind::Closed => frames.push_back(Err(why.clone())),
            (Some(_), Some(reason)) => frames.push_back(Ok(Frame::Close(reason))),
            (Some(_), None) => frames.push_back(Ok(Frame::Finish)),
        }
        frames
    }

    #[inline]
    fn push_ahead(&mut self, ahead: Result<Frame>) {
        self.ahead_weight += ahead.as_ref().map_or(GAP_WEIGHT, Frame::weight);
        self.ahead.push_back(ahead);
    }

    /// Appends packets that have arrived already and want no receipt; answers how many.
    #[inline]
    fn take_arrived(&mut self, packets: &mut Vec<Packet>, most: usize) -> usize {
        let before = packets.len();
        if let Some(half) = &mut self.half {
            half.take_arrived(packets, most);
        }
        let taken = &packets[before..];
        self.heard += taken.len() as u64;
        self.stats.packets_received += taken.len() as u64;
        self.stats.bytes_received += taken.iter().map(|packet| packet.len() as u64).sum::<u64>();
        taken.len()
    }

    /// Whether as much was read ahead as is allowed.
    pub(super) fn is_full(&self, limit: usize) -> bool {
        self.ahead_weight >= limit
    }
}

impl Hub {
    /// The next packet for the application; into `ready`, which is empty, go those that have arrived with it, the
    /// next one last.
    #[inline]
    pub(super) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        ready: &mut Vec<Packet>,
    ) -> Poll<Result<Option<Arrived>>> {
        let mut inbox = lock(&self.inbox);
        (inbox.active, inbox.notes) = (true, 0);
        loop {
            match inbox.pop_ahead() {
                Some(Ok(arrived)) => return Poll::Ready(Ok(Some(arrived))),
                Some(Err(gap)) => return self.hear_gap(gap),
                None => {}
            }
            if let Some(end) = &inbox.end {
                let end = end.clone();
                drop(inbox);
                return Poll::Ready(self.answer_end(end));
            }
            match self.poll_read(&mut inbox, cx) {
                Poll::Ready(Ok(Some(arrived))) => {
                    let lone = inbox.take_arrived(ready, READY) == 0;
                    self.answering.store(lone, Ordering::Relaxed);
                    ready.reverse();
                    return Poll::Ready(Ok(Some(arrived)));
                }
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(gap)) => return self.hear_gap(gap),
                Poll::Pending => {
                    self.receive(inbox, cx);
                    return Poll::Pending;
                }
            }
        }
    }

    /// The next packets for the application: all that has arrived, at most `limit`, after waiting for the first; 0 at
    /// the end. A gap stays in its place between packets.
    pub(super) fn poll_recv_many(
        &self,
        cx: &mut Context<'_>,
        packets: &mut Vec<Packet>,
        limit: usize,
    ) -> Poll<Result<usize>> {
        let mut inbox = lock(&self.inbox);
        (inbox.active, inbox.notes) = (true, 0);
        let mut count = 0;
        while count < limit {
            let next = match inbox.pop_ahead() {
                Some(ahead) => ahead,
                None if inbox.end.is_some() => break,
                None => match self.poll_read(&mut inbox, cx) {
                    Poll::Ready(Ok(Some(arrived))) => Ok(arrived),
                    Poll::Ready(Ok(None)) => break,
                    Poll::Ready(Err(gap)) => Err(gap),
                    Poll::Pending if count > 0 => break,
                    Poll::Pending => {
                        self.receive(inbox, cx);
                        return Poll::Pending;
                    }
                },
            };
            match next {
                Ok(arrived) => {
                    self.acknowledge(&arrived);
                    packets.push(arrived.packet);
                    count += 1;
                    if inbox.ahead.is_empty() {
                        count += inbox.take_arrived(packets, limit - count);
                    }
                }
                Err(gap) if count == 0 => return self.hear_gap(gap),
                Err(gap) => {
                    inbox.ahead_weight += GAP_WEIGHT;
                    inbox.ahead.push_front(Err(gap));
                    break;
                }
            }
        }
        match &inbox.end {
            Some(end) if count == 0 => {
                let end = end.clone();
                drop(inbox);
                Poll::Ready(self.answer_end(end).map(|_| 0))
            }
            _ => {
                self.settle_received(count as u64);
                Poll::Ready(Ok(count))
            }
        }
    }

    /// A `recv` waits: its waker is with the link.
    fn receive(&self, inbox: MutexGuard<'_, Inbox>, cx: &mut Context<'_>) {
        let mut receiver = lock(&self.receiver);
        if !receiver.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *receiver = Some(cx.waker().clone());
        }
        drop(receiver);
        self.receiving.store(true, Ordering::Release);
        drop(inbox);
    }

    /// Whose turn it is to read; `at_once`, it is nobody's soon.
    pub(super) fn turn(&self, at_once: bool) -> Turn {
        let mut inbox = lock(&self.inbox);
        let soon = std::mem::take(&mut inbox.active) && !at_once;
        // Before the look at `receiving`, in one order with what `received` does.
        self.watched.store(soon, Ordering::SeqCst);
        match self.receiving.load(Ordering::SeqCst) {
            _ if soon => Turn::Soon,
            true => Turn::Receiver,
            false => Turn::Driver,
        }
    }

    /// What `recv` answers when nothing more will be read: a failure of the sending direction is not silent.
    fn answer_end(&self, end: Result<()>) -> Result<Option<Arrived>> {
        if let Some(ending) = self.ending()
            && ending.why.is_some()
        {
            return Err(ending.error().while_doing(self.doing("receive from")));
        }
        end.map(|()| None).map_err(|why| why.while_doing(self.doing("receive from")))
    }

    /// Reads ahead for the application while it does not receive, and sees to pings, answers and closes.
    pub(super) fn read_ahead(&self) {
        let mut cx = Context::from_waker(&self.waker);
        let mut inbox = lock(&self.inbox);
        // It is set under this lock: a `recv` that came in between has its waker with the link, and keeps it there.
        if self.receiving.load(Ordering::Acquire) && !self.over.load(Ordering::Acquire) {
            return;
        }
        let gone = self.receiver_gone.load(Ordering::Acquire);
        let mut news = false;
        while inbox.end.is_none() && inbox.half.is_some() && (gone || !inbox.is_full(self.limits.read_ahead))
        {
            match self.poll_read(&mut inbox, &mut cx) {
                Poll::Ready(Ok(Some(arrived))) if gone => self.discard(&mut inbox, arrived),
                Poll::Ready(Ok(Some(Arrived { packet, receipt }))) => {
                    inbox.push_ahead(Ok(Frame::Packet { packet, receipt }));
                    news = true;
                }
                Poll::Ready(Ok(None)) => news = true,
                Poll::Ready(Err(gap)) => {
                    inbox.push_ahead(Err(gap));
                    news = true;
                }
                Poll::Pending => break,
            }
        }
        if gone {
            while let Some(ahead) = inbox.pop_ahead() {
                if let Ok(arrived) = ahead {
                    self.discard(&mut inbox, arrived);
                }
            }
        }
        drop(inbox);
        if news {
            self.wake_receiver();
        }
    }

    /// Reads what has arrived already, within the bound, when the connection is over.
    pub(super) fn read_rest(&self) {
        self.read_ahead();
        let mut inbox = lock(&self.inbox);
        inbox.end.get_or_insert(Ok(()));
        drop(inbox);
        self.wake_receiver();
    }

    /// Reads and drops what still comes after the end.
    pub(super) fn poll_drop_rest(&self) -> Poll<()> {
        let mut cx = Context::from_waker(&self.waker);
        let mut inbox = lock(&self.inbox);
        while let Some(half) = &mut inbox.half {
            match half.poll_read(&mut cx) {
                Poll::Ready(Ok(Some(_))) => inbox.stats.packets_discarded += 1,
                Poll::Ready(_) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    fn discard(&self, inbox: &mut Inbox, arrived: Arrived) {
        inbox.stats.packets_discarded += 1;
        if arrived.receipt
            && let Some(id) = arrived.packet.id()
        {
            let why = Error::new(ErrorKind::Rejected, "the receiver is gone").with_sent(Sent::No);
            // If it cannot be answered, the connection's end answers.
            let _ = self.answer(Frame::Receipt { id, outcome: Err(why) });
            self.settle_received(1);
        } else if let Some(settling) = &self.settling {
            settling.cut();
        }
    }

    /// Reads until there is a packet (`Some`), a gap (`Err`), the end (`None`, and `inbox.end` is set), or nothing.
    #[inline]
    fn poll_read(&self, inbox: &mut Inbox, cx: &mut Context<'_>) -> Poll<Result<Option<Arrived>>> {
        loop {
            let Some(half) = &mut inbox.half else {
                inbox.end = Some(Ok(()));
                return Poll::Ready(Ok(None));
            };
            let read = match half.poll_read(cx) {
                Poll::Ready(read) => read,
                Poll::Pending => return Poll::Pending,
            };
            inbox.heard += 1;
            let end = match read {
                Ok(Some(Frame::Packet { packet, receipt })) => {
                    inbox.stats.packets_received += 1;
                    inbox.stats.bytes_received += packet.len() as u64;
                    return Poll::Ready(Ok(Some(Arrived { packet, receipt })));
                }
                Ok(Some(Frame::Receipt { id, outcome })) => {
                    self.settle(id, outcome);
                    continue;
                }
                Ok(Some(Frame::Note(note))) => {
                    inbox.keep_note(note);
                    continue;
                }
                Ok(Some(Frame::Ping(bytes))) => match self.answer(Frame::Pong(bytes)) {
                    Ok(()) => continue,
                    Err(why) => Err(why),
                },
                Ok(Some(Frame::Pong(bytes))) => {
                    self.note_pong(&bytes);
                    continue;
                }
                Ok(Some(Frame::Finish)) | Ok(None) => Ok(()),
                Ok(Some(Frame::Close(reason))) => {
                    // It is answered, whatever its reason.
                    inbox.end = Some(self.note_close(reason));
                    self.kick();
                    return Poll::Ready(Ok(None));
                }
                Err(why) if why.kind() == ErrorKind::Gap => return Poll::Ready(Err(why)),
                Err(why) => Err(why),
            };
            if let Err(why) = &end {
                let code = match why.kind() {
                    ErrorKind::TooLarge => CloseReason::TOO_LARGE,
                    ErrorKind::Codec => CloseReason::INVALID_PAYLOAD,
                    ErrorKind::Overloaded => CloseReason::POLICY,
                    _ => CloseReason::PROTOCOL,
                };
                self.refuse(why, code);
            }
            inbox.end = Some(end);
            self.kick();
            return Poll::Ready(Ok(None));
        }
    }

    /// The peer broke the rules or the link broke: what we know goes to the peer in a close, as far as it can.
    fn refuse(&self, why: &Error, reason: CloseReason) {
        match why.kind() {
            ErrorKind::TooLarge | ErrorKind::Codec | ErrorKind::Protocol | ErrorKind::Overloaded => {
                self.begin_close(CloseReason::new(reason.code, why.message().to_owned()));
                lock(&self.outbox).failure.get_or_insert_with(|| why.clone());
            }
            _ => self.end(Some(why.clone().while_doing(self.doing("receive from"))), CloseReason::INTERNAL),
        }
    }

    /// The peer closes: we answer with the same, after what is buffered.
    fn note_close(&self, reason: CloseReason) -> Result<()> {
        let clean = reason.is_clean();
        let error =
            Error::new(ErrorKind::Closed, format!("the peer closed: {reason}")).with("code", reason.code);
        let ours = matches!(lock(&self.outbox).phase, Phase::Closing(_));
        if !ours {
            self.begin_close(reason);
            if !clean {
                lock(&self.outbox).failure.get_or_insert_with(|| error.clone());
            }
        }
        if clean || ours { Ok(()) } else { Err(error) }
    }

    fn settle(&self, id: PacketId, outcome: Result<Receipt>) {
        // A receipt that nobody waits for any more belongs to a cancelled delivery.
        if let Some((_, promise)) = lock(&self.outbox).receipts.remove(&id) {
            let _ = promise.send(outcome);
        }
    }

    fn note_pong(&self, bytes: &[u8]) {
        let mut outbox = lock(&self.outbox);
        if let Some((ping, at)) = &outbox.ping
            && ping == bytes
        {
            let rtt = at.elapsed();
            outbox.ping = None;
            drop(outbox);
            self.rtt_us.store(micros(rtt), Ordering::Relaxed);
            self.progress.notify_waiters();
        }
    }

    /// Acknowledges a packet that the application has. Where that fails, the connection's end answers its sender.
    #[inline]
    pub(super) fn acknowledge(&self, arrived: &Arrived) {
        let Some(id) = arrived.packet.id().filter(|_| arrived.receipt) else { return };
        let receipt = Receipt::new(Level::Acknowledged, Some(id));
        if let Err(why) = self.answer(Frame::Receipt { id, outcome: Ok(receipt) }) {
            self.end(Some(why), CloseReason::POLICY);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX - 1).min(u64::MAX - 1)
}
