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
        Self { handle }
    }

    #[inline]
    fn hub(&self) -> &Arc<Hub> {
        &self.handle.0
    }

    /// See [`Connection::recv`](super::Connection::recv).
    pub async fn recv(&mut self) -> Result<Option<Packet>> {
        let arrived = self.arrived().await?;
        Ok(self.accept(arrived))
    }

    /// See [`Connection::next`](super::Connection::next).
    pub async fn next_delivery(&mut self) -> Result<Option<Delivery>> {
        let arrived = self.arrived().await?;
        Ok(arrived.map(|arrived| delivery::delivery(self.hub(), arrived)))
    }

    async fn arrived(&mut self) -> Result<Option<Arrived>> {
        let hub = self.hub();
        let _receiving = Receiving(hub);
        poll_fn(|cx| Self::poll_arrived(hub, cx)).await
    }

    #[inline]
    fn poll_arrived(hub: &Hub, cx: &mut Context<'_>) -> Poll<Result<Option<Arrived>>> {
        let polled = hub.poll_recv(cx);
        if polled.is_pending() {
            // About to wait: what this task has sent goes out now, without a hop to the driver.
            hub.write_inline();
        }
        polled
    }

    #[inline]
    fn accept(&self, arrived: Option<Arrived>) -> Option<Packet> {
        arrived.map(|arrived| {
            self.hub().acknowledge(&arrived);
            arrived.packet
        })
    }

    /// Polls for the next packet: what [`recv`](Self::recv) awaits, without its word to the driver afterwards.
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Packet>>> {
        let polled = Self::poll_arrived(self.hub(), cx);
        if polled.is_ready() {
            drop(Receiving(self.hub()));
        }
        polled.map(|arrived| Ok(self.accept(arrived?)))
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
        self.hub().no_receiver();
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("info", self.info()).field("state", &self.state()).finish()
    }
}
