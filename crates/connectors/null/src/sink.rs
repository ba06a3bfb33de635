//! The sink that discards.

use std::sync::atomic::{AtomicBool, Ordering};

use haul_core::{Batch, Error, ErrorKind, Level, Packet, Receipt, Result, Service, Sink};

/// Throws packets away and answers [`Level::Discarded`]. Delivering twice is the same as once.
#[derive(Debug, Default)]
pub struct Null {
    closed: AtomicBool,
}

impl Null {
    /// A sink that discards.
    pub fn new() -> Self {
        Self::default()
    }

    fn open(&self) -> Result<()> {
        match self.closed.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(Error::new(ErrorKind::Closed, "deliver to null: the sink is closed")
                .with_sent(haul_core::Sent::No)),
        }
    }
}

fn discarded(packet: &Packet) -> Receipt {
    Receipt::new(Level::Discarded, packet.id())
}

impl Service<Batch> for Null {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.open()?;
        Ok(batch.packets().iter().map(|packet| Ok(discarded(packet))).collect())
    }
}

impl Service<Packet> for Null {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        self.open()?;
        Ok(discarded(&packet))
    }
}

impl Sink for Null {
    async fn ready(&self) -> Result<()> {
        self.open()
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}
