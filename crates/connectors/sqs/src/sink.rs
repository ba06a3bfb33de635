//! The sink: messages, up to ten in a request.

use std::fmt;

use haul_core::{Batch, Calls, Error, ErrorKind, Packet, Receipt, Result, Service, Sink, Status};

use crate::config::SqsConfig;
use crate::message::Draft;
use crate::queue::Queue;

/// Calls at once; further ones wait.
const CALLS: u32 = 1024;

/// Delivers packets to a queue. Receipts are [`Level::Stored`](haul_core::Level::Stored), with the server's message id as
/// reference.
///
/// What makes it idempotent: the packet's id, in a FIFO queue and for five minutes; a duplicate is accepted and there once.
/// A standard queue has what is delivered twice twice, with the same `haul.id`.
///
/// The packets of a call are sent in order, one request after the other, and a FIFO queue keeps it within a group. Within a
/// request the server takes each packet for itself; after one with a failure that may pass, nothing behind it is tried.
/// Dropping a call's future cuts the request under way, which may have arrived.
pub struct SqsSink {
    config: SqsConfig,
    queue: Queue,
    calls: Calls,
}

impl SqsSink {
    /// A sink with this configuration; nothing is connected yet. Errors: `Config`.
    pub fn new(config: SqsConfig) -> Result<Self> {
        config.check()?;
        let queue = Queue::new(config.account.clone(), &config.queue, config.owner.clone(), "deliver");
        Ok(Self { config, queue, calls: Calls::new(CALLS) })
    }

    /// Sends the first of `packets`, as many as one request takes, at most `most`; answers their outcomes.
    async fn request(&self, packets: &[Packet], most: usize) -> Vec<Result<Receipt>> {
        let (mut entries, mut bytes, mut parts) = (Vec::new(), 0, Vec::new());
        for packet in packets {
            let draft = Draft::new(packet, &self.config);
            if let Ok(draft) = &draft {
                bytes += draft.bytes();
                if entries.len() == most || bytes > self.config.max_request {
                    break;
                }
            }
            parts.push(draft.map(|draft| entries.push(draft.entry(entries.len()))));
        }
        let together = entries.len();
        let answers = self.queue.send(entries).await;
        let too_large = |answer: &Result<_>| matches!(answer, Err(why) if why.kind() == ErrorKind::TooLarge);
        if together > 1 && answers.iter().all(too_large) {
            // Too many bytes for this server are no packet's fault; none of them was taken.
            return Box::pin(self.request(packets, together / 2)).await;
        }
        let mut answers = answers.into_iter();
        let outcomes = packets.iter().zip(parts).map(|(packet, part)| {
            part.map_err(|why| self.queue.doing(why))?;
            answers.next().expect("one answer per entry").map(|reference| {
                Receipt::new(haul_core::Level::Stored, packet.id()).with_reference(reference)
            })
        });
        outcomes.collect()
    }

    async fn deliver_in_order(&self, packets: &[Packet]) -> Result<Vec<Result<Receipt>>> {
        let _call = self.calls.begin().await.map_err(|why| self.queue.doing(why))?;
        let mut outcomes: Vec<Result<Receipt>> = Vec::with_capacity(packets.len());
        while outcomes.len() < packets.len() {
            let some = self.request(&packets[outcomes.len()..], Queue::AT_ONCE).await;
            let mut failures = some.iter().filter_map(|outcome| outcome.as_ref().err());
            let passing = failures.find(|why| why.status() == Status::Transient).map(Error::not_tried);
            outcomes.extend(some);
            if let Some(behind) = passing {
                outcomes.resize_with(packets.len(), || Err(behind.clone()));
            }
        }
        Ok(outcomes)
    }
}

impl Service<Batch> for SqsSink {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.deliver_in_order(batch.packets()).await
    }
}

impl Service<Packet> for SqsSink {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let mut outcomes = self.deliver_in_order(std::slice::from_ref(&packet)).await?;
        outcomes.pop().expect("one outcome per packet")
    }
}

impl Sink for SqsSink {
    /// Asks for the queue by its name.
    async fn ready(&self) -> Result<()> {
        let _call = self.calls.begin().await.map_err(|why| self.queue.doing(why))?;
        self.queue.find().await.map(drop)
    }

    async fn close(&self) -> Result<()> {
        self.calls.close().await;
        Ok(())
    }
}

impl fmt::Debug for SqsSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsSink").field("queue", &self.config.queue).finish_non_exhaustive()
    }
}
