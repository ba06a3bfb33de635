//! From a call to the disk.

use haul_core::{
    Batch, Error, ErrorKind, Level, Packet, PacketId, Receipt, Result, Sent, Service, Sink, Status,
};
use haul_journal::Pending;

use crate::outbox::{Inner, Outbox};

impl Outbox {
    /// Queues a packet; the answer resolves when it is on disk.
    async fn submit(&self, packet: Packet) -> Result<(Pending, Option<PacketId>)> {
        let Inner { options, codec, room, .. } = &*self.0;
        if packet.len() > options.max_packet {
            let message = format!("a packet of {} bytes: max_packet is {}", packet.len(), options.max_packet);
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let id = packet.id();
        let key = options.key.render(&packet)?.into_owned();
        let record = codec.encode(&key, packet.identified())?;
        Ok((room.submit(record).await?, id))
    }

    fn answer(&self, outcome: Result<Receipt>) -> Result<Receipt> {
        self.0.meters.answered(&outcome, &self.0.journal);
        outcome.map_err(|why| why.while_doing(format!("store in outbox {}", self.0.name)))
    }
}

impl Service<Packet> for Outbox {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let outcome = match self.submit(packet).await {
            Ok(submitted) => stored(submitted).await,
            Err(why) => Err(why),
        };
        self.answer(outcome)
    }
}

impl Service<Batch> for Outbox {
    /// Behind a packet that may be stored later none is stored, so that trying again keeps the order.
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let mut submitted = Vec::with_capacity(batch.len());
        let mut failed: Option<Error> = None;
        for packet in batch.into_packets() {
            submitted.push(match &failed {
                Some(why) => Err(why.not_tried()),
                None => self.submit(packet).await.inspect_err(|why| {
                    failed = Some(why.clone()).filter(|why| why.status() != Status::Permanent);
                }),
            });
        }
        let mut outcomes = Vec::with_capacity(submitted.len());
        for one in submitted {
            let outcome = match one {
                Ok(submitted) => stored(submitted).await,
                Err(why) => Err(why),
            };
            outcomes.push(self.answer(outcome));
        }
        Ok(outcomes)
    }
}

impl Sink for Outbox {
    /// Whether it takes packets, whatever the sink behind it does.
    async fn ready(&self) -> Result<()> {
        match (self.0.journal.failure(), self.is_open()) {
            (Some(why), _) => Err(why),
            (None, true) => Ok(()),
            (None, false) => {
                let message = format!("outbox {} is closed", self.0.name);
                Err(Error::new(ErrorKind::Closed, message).with_sent(Sent::No))
            }
        }
    }

    /// [`Outbox::close`] with [`drain`](crate::OutboxOptions::drain) as its deadline; what is left is logged.
    async fn close(&self) -> Result<()> {
        let left = Outbox::close(self, self.0.options.drain).await?.pending;
        if left > 0 {
            tracing::warn!(
                outbox = self.0.name,
                left,
                "packets are left; they go on when the outbox is opened again"
            );
        }
        Ok(())
    }
}

async fn stored((pending, id): (Pending, Option<PacketId>)) -> Result<Receipt> {
    let range = pending.await?;
    Ok(Receipt::new(Level::Stored, id).with_reference(range.start.to_string()))
}
