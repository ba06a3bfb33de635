//! The connection: one concrete type over every protocol's link.
//!
//! Senders encode into a bounded buffer; whoever gets hold of the writing half writes all that is there and flushes
//! once: the driver, a `recv` about to wait, or a sender that finds much buffered. Reader and writer share no lock.

mod adapters;
mod chunk;
mod delivery;
mod driver;
mod hub;
mod inbox;
mod lost;
mod outbox;
mod receiver;
mod sender;
mod settling;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub use adapters::{PacketSink, PacketStream};
pub use receiver::Receiver;
pub use sender::Sender;

use crate::{
    CloseReason, Delivery, Error, ErrorKind, Info, Input, Link, Packet, Result, Service, Spawn, State,
    StateWatch, Stats, StreamOptions,
};
use hub::{Handle, Hub};

/// A connection: packets go out and come in.
///
/// Dropping it closes it: what was sent is drained for at most the close deadline. What could not be drained is
/// counted in the last [`State`], which a [`watch`](Self::watch) sees.
///
/// Cancellation: a cancelled `send` has queued the whole packet or none of it; a cancelled `recv` loses nothing.
pub struct Connection {
    sender: Sender,
    receiver: Receiver,
}

impl Connection {
    /// Drives `link` on a task started by `spawn`.
    pub fn new(link: Link, spawn: Spawn) -> Self {
        let (hub, driver) = Hub::new(link);
        let handle = Arc::new(Handle(hub));
        spawn(Box::pin(driver));
        Self { sender: Sender::new(handle.clone()), receiver: Receiver::new(handle) }
    }

    /// Accepts `packet` into the bounded send buffer, in order; waits while that is full.
    ///
    /// Errors: `TooLarge`, `Unsupported` for what the protocol cannot carry, `Codec` for what it cannot express; and
    /// whatever ended the connection, with the number of packets that were not flushed.
    pub fn send(&self, packet: Packet) -> impl Future<Output = Result<()>> + Send {
        self.sender.send(packet)
    }

    /// Accepts all of `packets`, in order, and begins to write them: one flush for all.
    ///
    /// Errors: as [`send`](Self::send); the packets before the failed one are accepted, and up to seven behind it were taken
    /// from the iterator. Cancelled, it has accepted the first ones.
    pub fn send_all<I>(&self, packets: I) -> impl Future<Output = Result<()>> + Send
    where
        I: IntoIterator<Item = Packet, IntoIter: Send>,
    {
        self.sender.send_all(packets)
    }

    /// Waits until everything accepted so far has been handed to the operating system. Cancel-safe.
    pub fn flush(&self) -> impl Future<Output = Result<()>> + Send {
        self.sender.flush()
    }

    /// The next packet; `None` when the peer has finished or closed cleanly. Cancel-safe.
    ///
    /// Where the peer wants a receipt, returning the packet acknowledges it. Errors: `Gap` if packets are missing,
    /// after which `recv` goes on; anything else is the end, and is answered again if asked again.
    pub fn recv(&mut self) -> impl Future<Output = Result<Option<Packet>>> + Send {
        self.receiver.recv()
    }

    /// Appends the packets that have arrived to `packets`, at most `limit` (at least 1), and answers how many: waits for
    /// the first one only. 0 when the peer has finished or closed cleanly. Cancel-safe.
    ///
    /// It spares most of what each [`recv`](Self::recv) costs. Errors: as `recv`; nothing was appended then.
    pub fn recv_many(
        &mut self,
        packets: &mut Vec<Packet>,
        limit: usize,
    ) -> impl Future<Output = Result<usize>> + Send {
        self.receiver.recv_many(packets, limit)
    }

    /// The next packet with the answer left to the caller: what a gateway that stores packets uses. Cancel-safe.
    #[expect(clippy::should_implement_trait, reason = "it is asynchronous, as in `Source`")]
    pub fn next(&mut self) -> impl Future<Output = Result<Option<Delivery>>> + Send {
        self.receiver.next_delivery()
    }

    /// Half-close: nothing more is sent from here; receiving goes on. Waits until all is flushed.
    ///
    /// On protocols without half-close it is the beginning of a close: what the peer still sends before its answer
    /// is received.
    pub fn finish(&self) -> impl Future<Output = Result<()>> + Send {
        self.sender.finish()
    }

    /// Drains, closes and waits for the peer's close, all within the close deadline.
    ///
    /// Errors: the number of packets that were not flushed, and why. Cancelled, closing goes on.
    pub fn close(&self, reason: CloseReason) -> impl Future<Output = Result<()>> + Send {
        self.sender.close(reason)
    }

    /// Cuts the connection at once; what is not yet flushed is lost.
    pub fn abort(&self, reason: CloseReason) {
        self.sender.abort(reason);
    }

    /// Measures a round trip with a ping of the protocol. Errors: `Unsupported` where it has none.
    pub fn ping(&self) -> impl Future<Output = Result<Duration>> + Send {
        self.sender.ping()
    }

    /// Where the connection stands.
    pub fn state(&self) -> State {
        self.sender.state()
    }

    /// Follows where the connection stands, also beyond its end.
    pub fn watch(&self) -> StateWatch {
        self.sender.watch()
    }

    /// What it is and can do.
    pub fn info(&self) -> &Info {
        self.sender.info()
    }

    /// What it has carried so far.
    pub fn stats(&self) -> Stats {
        self.sender.stats()
    }

    /// Opens a further stream on the same session. Errors: `Unsupported` where the protocol has none.
    pub async fn open(&self, options: StreamOptions) -> Result<Connection> {
        self.multiplex()?.open(options).await
    }

    /// The next stream that the peer opened; `None` when the session is over. Errors: `Unsupported` where the protocol
    /// has none. Cancel-safe.
    pub async fn accept(&self) -> Result<Option<Connection>> {
        self.multiplex()?.accept().await
    }

    fn multiplex(&self) -> Result<&dyn crate::Multiplex> {
        let hub = &self.sender.handle.0;
        hub.multiplex.as_deref().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, format!("{} has one stream per connection", hub.info.protocol))
        })
    }

    /// Both directions by themselves. The connection closes when both are dropped.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// Takes the link back, to compose it: everything sent is flushed first, what was read ahead is read again.
    ///
    /// Errors: what ended the connection.
    pub async fn into_link(mut self) -> Result<Link> {
        self.sender.flush().await?;
        self.sender.handle.0.take_link(self.receiver.take_ready())
    }
}

impl<In: Input> Service<In> for Connection
where
    Sender: Service<In>,
{
    fn call(&self, input: In) -> impl Future<Output = Result<In::Out>> + Send {
        self.sender.call(input)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("info", self.info()).field("state", &self.state()).finish()
    }
}

#[cfg(test)]
mod tests;
