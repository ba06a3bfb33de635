//! The sending end.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::chunk::Chunk;
use super::hub::{Handle, Hub, lock};
use super::outbox::{Offer, Phase};
use super::{PacketSink, delivery};
use crate::wire::Frame;
use crate::{
    Batch, CloseReason, Error, ErrorKind, Info, Packet, PacketId, Receipt, Reliability, Result, Sent,
    Service, State, StateWatch, Stats,
};

/// The sending end of a connection; clones share it, and their packets go in the order in which `send` accepted them.
#[derive(Clone)]
pub struct Sender {
    pub(super) handle: Arc<Handle>,
}

impl Sender {
    pub(super) fn new(handle: Arc<Handle>) -> Self {
        Self { handle }
    }

    #[inline]
    pub(super) fn hub(&self) -> &Hub {
        &self.handle.0
    }

    /// See [`Connection::send`](super::Connection::send).
    #[inline]
    pub async fn send(&self, packet: Packet) -> Result<()> {
        self.hub().check(&packet)?;
        let (_, much) = self.hub().push(Frame::packet(packet)).await?;
        self.hub().sent_one(much);
        Ok(())
    }

    /// See [`Connection::send_all`](super::Connection::send_all).
    pub fn send_all<I>(&self, packets: I) -> impl Future<Output = Result<()>> + Send
    where
        I: IntoIterator<Item = Packet, IntoIter: Send>,
    {
        self.send_each(packets.into_iter())
    }

    async fn send_each(&self, mut packets: impl Iterator<Item = Packet> + Send) -> Result<()> {
        let hub = self.hub();
        let (mut chunk, mut checked) = (Chunk::default(), Ok(()));
        let pushed = loop {
            if chunk.is_empty() && checked.is_ok() {
                checked = chunk.fill(hub, &mut packets);
            }
            if chunk.is_empty() {
                break checked;
            }
            match hub.push_chunk(&mut chunk).await {
                Ok(true) => hub.write_inline(),
                Ok(false) => {}
                Err(why) => break Err(why),
            }
        };
        hub.write_inline();
        pushed
    }

    /// See [`Connection::flush`](super::Connection::flush).
    pub async fn flush(&self) -> Result<()> {
        let hub = self.hub();
        let first = hub.sent.load(Ordering::Acquire) + 1;
        let target = lock(&hub.outbox).queued;
        self.flushed(target).await?;
        let mut outbox = lock(&hub.outbox);
        let among = outbox.lost.among(first, target);
        match outbox.lost.tell(target).or(among) {
            Some(why) => Err(maybe_sent(why).while_doing(hub.doing("flush"))),
            None => Ok(()),
        }
    }

    /// Waits until the packets of these numbers have been handed to the operating system. Errors: why that is not so,
    /// also of a link that lost them and goes on.
    pub(super) async fn handed_over(&self, first: u64, last: u64) -> Result<()> {
        self.flushed(last).await.map_err(maybe_sent)?;
        match lock(&self.hub().outbox).lost.among(first, last) {
            Some(why) => Err(maybe_sent(why).while_doing(self.hub().doing("deliver to"))),
            None => Ok(()),
        }
    }

    /// Waits until the packet of this number has been flushed, or given up by its link.
    async fn flushed(&self, number: u64) -> Result<()> {
        let hub = self.hub();
        if hub.sent.load(Ordering::Acquire) < number {
            hub.write_inline();
        }
        loop {
            let progress = hub.progress.notified();
            if hub.sent.load(Ordering::Acquire) >= number {
                return Ok(());
            }
            if let Some(ending) = hub.ending() {
                return Err(ending.error().while_doing(hub.doing("flush")));
            }
            hub.read_now();
            progress.await;
        }
    }

    /// See [`Connection::finish`](super::Connection::finish).
    pub async fn finish(&self) -> Result<()> {
        let hub = self.hub();
        {
            let mut outbox = lock(&hub.outbox);
            if matches!(outbox.phase, Phase::Open) {
                outbox.push(Frame::Finish).map_err(|why| why.while_doing(hub.doing("finish")))?;
                outbox.phase = Phase::Finishing;
            }
        }
        hub.space.notify_waiters();
        hub.kick();
        loop {
            let progress = hub.progress.notified();
            if lock(&hub.writer).finished {
                return Ok(());
            }
            if let Some(ending) = hub.ending() {
                return ending
                    .why
                    .as_ref()
                    .map_or(Ok(()), |_| Err(ending.error().while_doing(hub.doing("finish"))));
            }
            hub.read_now();
            progress.await;
        }
    }

    /// See [`Connection::close`](super::Connection::close).
    pub async fn close(&self, reason: CloseReason) -> Result<()> {
        let hub = self.hub();
        hub.begin_close(reason);
        loop {
            let progress = hub.progress.notified();
            if let Some(ending) = hub.ending() {
                let why = match &ending.why {
                    Some(_) => Some(ending.error()),
                    None => lock(&hub.outbox).lost.tell(u64::MAX).map(maybe_sent),
                };
                return why.map_or(Ok(()), |why| Err(why.while_doing(hub.doing("close"))));
            }
            hub.read_now();
            progress.await;
        }
    }

    /// See [`Connection::abort`](super::Connection::abort).
    pub fn abort(&self, reason: CloseReason) {
        let hub = self.hub();
        if let Some(half) = &mut lock(&hub.writer).half {
            half.abort(&reason);
        }
        let why = Error::new(ErrorKind::Closed, format!("aborted here: {reason}"));
        hub.end(Some(why), reason);
        hub.release();
    }

    /// See [`Connection::ping`](super::Connection::ping). One ping is under way at a time; a second one replaces it.
    pub async fn ping(&self) -> Result<Duration> {
        let hub = self.hub();
        if !hub.info.pings {
            let error = Error::new(ErrorKind::Unsupported, format!("{} has no pings", hub.info.framing));
            return Err(error.while_doing(hub.doing("ping")));
        }
        let payload = Bytes::copy_from_slice(&PacketId::random().as_bytes()[8..]);
        {
            let mut outbox = lock(&hub.outbox);
            if let Phase::Over(ending) = &outbox.phase {
                return Err(ending.error().while_doing(hub.doing("ping")));
            }
            outbox.push(Frame::Ping(payload.clone())).map_err(|why| why.while_doing(hub.doing("ping")))?;
            outbox.ping = Some((payload.clone(), Instant::now()));
        }
        hub.write_inline();
        loop {
            let progress = hub.progress.notified();
            {
                let outbox = lock(&hub.outbox);
                if let Phase::Over(ending) = &outbox.phase {
                    return Err(ending.error().while_doing(hub.doing("ping")));
                }
                match &outbox.ping {
                    None => return Ok(Duration::from_micros(hub.rtt_us.load(Ordering::Relaxed))),
                    Some((newer, _)) if *newer != payload => {
                        return Err(Error::new(ErrorKind::Overloaded, "another ping replaced this one"));
                    }
                    Some(_) => {}
                }
            }
            hub.read_now();
            progress.await;
        }
    }

    /// Where the connection stands.
    pub fn state(&self) -> State {
        self.hub().state.get()
    }

    /// Follows where the connection stands, also beyond its end.
    pub fn watch(&self) -> StateWatch {
        self.hub().state.watch()
    }

    /// What the connection is and can do.
    pub fn info(&self) -> &Info {
        &self.hub().info
    }

    /// What the connection has carried so far.
    pub fn stats(&self) -> Stats {
        self.hub().stats()
    }

    /// This end as a `futures` sink.
    pub fn into_sink(self) -> PacketSink {
        PacketSink::new(self)
    }
}

impl Hub {
    /// Whether the connection can carry `packet` at all.
    #[inline]
    pub(super) fn check(&self, packet: &Packet) -> Result<()> {
        if packet.len() > self.limits.max_packet {
            let error = Error::new(ErrorKind::TooLarge, format!("a packet of {} bytes", packet.len()));
            return Err(error.with("max_packet", self.limits.max_packet).while_doing(self.doing("send on")));
        }
        if self.info.max_datagram.is_none() && !self.info.datagrams_only {
            return Ok(());
        }
        let max = self.info.max_datagram.unwrap_or(usize::MAX);
        match packet.reliability() {
            Reliability::Unreliable if packet.len() > max => {
                let error = Error::new(
                    ErrorKind::TooLarge,
                    format!("an unreliable packet of {} bytes", packet.len()),
                );
                Err(error.with("max_datagram", max).while_doing(self.doing("send on")))
            }
            Reliability::Reliable if self.info.datagrams_only => {
                let error = Error::new(ErrorKind::Unsupported, "a reliable packet on a channel of datagrams");
                Err(error.while_doing(self.doing("send on")))
            }
            _ => Ok(()),
        }
    }

    /// What follows from a `send`. The answer to a lone packet goes out at once, without a hop to the driver, and so does
    /// what is much; all else goes out with what is sent next.
    #[inline]
    pub(super) fn sent_one(&self, much: bool) {
        let answer = self.answering.load(Ordering::Relaxed) && self.answering.swap(false, Ordering::Relaxed);
        if much || answer { self.write_inline() } else { self.kick() }
    }

    /// Takes `frame` into the send buffer, waiting for room. Cancelled, it has taken it whole or not at all.
    #[inline]
    pub(super) async fn push(&self, frame: Frame) -> Result<(u64, bool)> {
        let mut frame = Some(frame);
        match self.offer(&mut frame)? {
            Offer::Taken(number, much) => Ok((number, much)),
            Offer::Full => self.push_later(|| self.offer(&mut frame)).await,
        }
    }

    /// Takes the next of `chunk`, at least one, waiting for room; answers whether enough is buffered to write at once.
    #[inline]
    async fn push_chunk(&self, chunk: &mut Chunk) -> Result<bool> {
        match self.offer_chunk(chunk)? {
            Offer::Taken(_, much) => Ok(much),
            Offer::Full => Ok(self.push_later(|| self.offer_chunk(chunk)).await?.1),
        }
    }

    async fn push_later(&self, mut offer: impl FnMut() -> Result<Offer>) -> Result<(u64, bool)> {
        loop {
            let space = self.space.notified();
            if let Offer::Taken(number, much) = offer()? {
                return Ok((number, much));
            }
            self.read_now();
            space.await;
        }
    }
}

impl Service<Packet> for Sender {
    /// Delivers: where the peer gives receipts, waits for its receipt; elsewhere for the flush (`Sent`).
    ///
    /// Errors: as `send` and `flush`; `Rejected` and others as the peer says. Cancelled, the packet may still arrive.
    fn call(&self, packet: Packet) -> impl Future<Output = Result<Receipt>> + Send {
        delivery::deliver(self, packet)
    }
}

impl Service<Batch> for Sender {
    fn call(&self, batch: Batch) -> impl Future<Output = Result<Vec<Result<Receipt>>>> + Send {
        delivery::deliver_all(self, batch)
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("info", self.info()).field("state", &self.state()).finish()
    }
}

/// An error after the packet was accepted: the peer may have seen it.
fn maybe_sent(why: Error) -> Error {
    why.with_sent(Sent::Maybe)
}
