//! Where packets are read from, each with its acknowledgement.

use std::fmt;
use std::future::Future;

use crate::{BoxFuture, Error, ErrorKind, Packet, Receipt, Result};

/// Gives packets that are read again until they are acknowledged: a broker's group, a followed file, a connection.
pub trait Source: Send + 'static {
    /// The next packet; `None` when there will be no more. Waits while as many packets as the source allows are not
    /// yet acknowledged. Cancel-safe: a packet is not lost when the future is dropped.
    fn next(&mut self) -> impl Future<Output = Result<Option<Delivery>>> + Send;
}

/// A packet from a [`Source`], to be acknowledged or refused. Dropping it refuses it.
///
/// Of a connection, the refusal goes to a sender that waits for the answer. Where it does not wait and the link keeps account
/// of what is settled, as a session does, the refusal closes the connection, and the packet counts as lost at its sender; on
/// other connections nobody is told.
pub struct Delivery {
    packet: Packet,
    settle: Option<Box<dyn Settle>>,
    awaited: bool,
}

/// How a source or connection takes the answer to one packet.
pub trait Settle: Send + 'static {
    /// Takes the answer: how far the packet came, or why it was refused.
    fn settle(self: Box<Self>, outcome: Result<Receipt>) -> BoxFuture<'static, Result<()>>;

    /// Takes the answer of a delivery that was dropped: a refusal, without waiting.
    fn dropped(self: Box<Self>);
}

impl Delivery {
    /// A packet whose answer goes to `settle`.
    pub fn new(packet: Packet, settle: impl Settle) -> Self {
        Self { packet, settle: Some(Box::new(settle)), awaited: true }
    }

    /// A packet that nobody waits for an answer to.
    pub fn unanswered(packet: Packet) -> Self {
        Self { packet, settle: None, awaited: false }
    }

    /// The same, where its sender does not wait for the answer, and only the connection is to know.
    #[must_use]
    pub fn unawaited(mut self) -> Self {
        self.awaited = false;
        self
    }

    /// The packet.
    pub fn packet(&self) -> &Packet {
        &self.packet
    }

    /// Whether its sender waits for the answer.
    pub fn is_awaited(&self) -> bool {
        self.awaited
    }

    /// Splits off the answer: the packet goes one way, the acknowledgement another.
    pub fn split(mut self) -> (Packet, Ack) {
        let packet = std::mem::replace(&mut self.packet, Packet::text_static(""));
        (packet, Ack(self.settle.take()))
    }

    /// The packet arrived, as `receipt` says. Errors: `Closed` if the answer cannot be given any more; the packet will
    /// then be given again.
    pub async fn ack(self, receipt: Receipt) -> Result<()> {
        self.split().1.ack(receipt).await
    }

    /// The packet is refused. Errors: as [`ack`](Self::ack).
    pub async fn nack(self, why: Error) -> Result<()> {
        self.split().1.nack(why).await
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            settle.dropped();
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("packet", &self.packet).field("awaited", &self.is_awaited()).finish()
    }
}

/// The answer to one packet, yet to be given. Dropping it refuses the packet.
pub struct Ack(Option<Box<dyn Settle>>);

impl Ack {
    /// The packet arrived, as `receipt` says. Errors: as [`Delivery::ack`].
    pub async fn ack(mut self, receipt: Receipt) -> Result<()> {
        match self.0.take() {
            Some(settle) => settle.settle(Ok(receipt)).await,
            None => Ok(()),
        }
    }

    /// The packet is refused. Errors: as [`Delivery::ack`].
    pub async fn nack(mut self, why: Error) -> Result<()> {
        match self.0.take() {
            Some(settle) => settle.settle(Err(why)).await,
            None => Ok(()),
        }
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some(settle) = self.0.take() {
            settle.dropped();
        }
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ack(awaited: {})", self.0.is_some())
    }
}

/// The refusal of a delivery that was dropped.
pub(crate) fn dropped() -> Error {
    Error::new(ErrorKind::Rejected, "the receiver dropped the packet without an answer")
        .with_status(crate::Status::Transient)
}

/// A source of any type.
pub struct AnySource(Box<dyn Erased>);

trait Erased: Send {
    fn next_boxed(&mut self) -> BoxFuture<'_, Result<Option<Delivery>>>;
}

impl<S: Source> Erased for S {
    fn next_boxed(&mut self) -> BoxFuture<'_, Result<Option<Delivery>>> {
        Box::pin(self.next())
    }
}

impl AnySource {
    /// Erases the type of `source`.
    pub fn new(source: impl Source) -> Self {
        Self(Box::new(source))
    }
}

impl Source for AnySource {
    fn next(&mut self) -> impl Future<Output = Result<Option<Delivery>>> + Send {
        self.0.next_boxed()
    }
}

impl fmt::Debug for AnySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnySource")
    }
}
