//! The receiving end.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::hub::{Handle, Hub};
use super::inbox::Arrived;
use super::{PacketStream, delivery};
use crate::{Delivery, Info, Packet, Result, Source, State, StateWatch, Stats};

/// The receiving end of a connection.
pub struct Receiver {
    handle: Arc<Handle>,
    /// Packets taken together with the last one, under the same lock: the next one last.
    ready: Vec<Packet>,
}

/// Tells the driver, when a `recv` ends in whatever way, that it is its turn to read.
struct Receiving<'a>(&'a Hub);

impl Drop for Receiving<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.received();
    }
}

impl Receiver {
    pub(super) fn new(handle: Arc<Handle>) -> Self {
        Self { handle, ready: Vec::new() }
    }

    #[inline]
    fn hub(&self) -> &Arc<Hub> {
        &self.handle.0
    }

    /// See [`Connection::recv`](super::Connection::recv).
    pub async fn recv(&mut self) -> Result<Option<Packet>> {
        if let Some(packet) = self.pop_ready() {
            return Ok(Some(packet));
        }
        let arrived = self.arrived().await?;
        Ok(self.accept(arrived))
    }

    /// See [`Connection::recv_many`](super::Connection::recv_many).
    pub async fn recv_many(&mut self, packets: &mut Vec<Packet>, limit: usize) -> Result<usize> {
        let limit = limit.max(1);
        if !self.ready.is_empty() {
            let count = self.ready.len().min(limit);
            packets.extend(self.ready.drain(self.ready.len() - count..).rev());
            self.hub().settle_received(count as u64);
            return Ok(count);
        }
        let hub = self.hub();
        let _receiving = Receiving(hub);
        poll_fn(|cx| {
            let polled = hub.poll_recv_many(cx, packets, limit);
            if polled.is_pending() {
                hub.write_inline();
            }
            polled
        })
        .await
    }

    /// See [`Connection::next`](super::Connection::next).
    pub async fn next_delivery(&mut self) -> Result<Option<Delivery>> {
        let arrived = match self.ready.pop() {
            Some(packet) => Some(Arrived { packet, receipt: false }),
            None => self.arrived().await?,
        };
        Ok(arrived.map(|arrived| delivery::delivery(self.hub(), arrived)))
    }

    /// The next packet of those that came together with the last one.
    #[inline]
    fn pop_ready(&mut self) -> Option<Packet> {
        let packet = self.ready.pop()?;
        self.hub().settle_received(1);
        Some(packet)
    }

    async fn arrived(&mut self) -> Result<Option<Arrived>> {
        let Self { handle, ready } = self;
        let _receiving = Receiving(&handle.0);
        poll_fn(|cx| Self::poll_arrived(&handle.0, cx, ready)).await
    }

    #[inline]
    fn poll_arrived(
        hub: &Hub,
        cx: &mut Context<'_>,
        ready: &mut Vec<Packet>,
    ) -> Poll<Result<Option<Arrived>>> {
        let polled = hub.poll_recv(cx, ready);
        if polled.is_pending() {
            // About to wait: what this task has sent goes out now, without a hop to the driver.
            hub.write_inline();
        }
        polled
    }

    #[inline]
    fn accept(&self, arrived: Option<Arrived>) -> Option<Packet> {
        arrived.map(|arrived| {
            self.hub().settle_received(1);
            self.hub().acknowledge(&arrived);
            arrived.packet
        })
    }

    /// Polls for the next packet: what [`recv`](Self::recv) awaits, without its word to the driver afterwards.
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Packet>>> {
        if let Some(packet) = self.pop_ready() {
            return Poll::Ready(Ok(Some(packet)));
        }
        let polled = Self::poll_arrived(&self.handle.0, cx, &mut self.ready);
        if polled.is_ready() {
            drop(Receiving(self.hub()));
        }
        polled.map(|arrived| Ok(self.accept(arrived?)))
    }

    /// What was taken together with the last packet and not given out.
    pub(super) fn take_ready(&mut self) -> Vec<Packet> {
        std::mem::take(&mut self.ready)
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

    /// This end as a `futures` stream.
    pub fn into_stream(self) -> PacketStream {
        PacketStream::new(self)
    }
}

impl Source for Receiver {
    fn next(&mut self) -> impl Future<Output = Result<Option<Delivery>>> + Send {
        self.next_delivery()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.hub().no_receiver(self.ready.len());
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("info", self.info()).field("state", &self.state()).finish()
    }
}
