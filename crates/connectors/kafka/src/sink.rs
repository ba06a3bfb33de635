//! The sink: records to an idempotent producer, a report for each.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use haul_core::{
    Batch, Calls, Error, ErrorKind, Level, Packet, Receipt, Result, Sent, Service, Sink, Status,
};
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use crate::client::{Events, Producer};
use crate::config::KafkaConfig;
use crate::failure::failed;
use crate::record;
use crate::reports::{Reports, Stored, Ticket};
use crate::transaction::Transactions;

/// Calls at once; further ones wait.
const CALLS: u32 = 4096;

/// Delivers packets to Kafka, by a producer that is idempotent and waits for all replicas in sync. Receipts are
/// [`Level::Stored`], with `partition:offset` as reference.
///
/// What the client sends again by itself is stored once. What a call delivers again after a failure with `Sent::Maybe` may be
/// there twice, with the same id in its header.
///
/// The packets of a call keep their order in each partition, and so for each key. Dropping a call's future leaves out what
/// was not buffered yet; the rest is delivered.
pub struct KafkaSink {
    config: KafkaConfig,
    client: ClientConfig,
    current: Mutex<Option<Arc<Producer>>>,
    transactions: Option<Transactions>,
    calls: Calls,
}

impl KafkaSink {
    /// A sink with this configuration; nothing is connected yet. Errors: `Config`.
    pub fn new(config: KafkaConfig) -> Result<Self> {
        let client = config.client()?;
        let transactions = config.transactional_id.as_ref().map(|_| Transactions::new(config.timeout));
        Ok(Self { config, client, current: Mutex::default(), transactions, calls: Calls::new(CALLS) })
    }

    fn doing(&self, why: Error) -> Error {
        why.while_doing(format!("deliver to kafka {}", self.config.topic.as_str()))
    }

    /// The producer of a cluster that answers. Errors: `Connect`, `Unauthorized`; nothing was sent.
    async fn producer(&self, ask: bool) -> Result<Arc<Producer>> {
        let deadline = Instant::now() + self.config.server.connect_timeout;
        let late =
            |_| Error::new(ErrorKind::Connect, "others wait for the cluster to answer").with_sent(Sent::No);
        let mut current = timeout_at(deadline.into(), self.current.lock()).await.map_err(late)?;
        // After a fatal error it is of no more use.
        let old = current.take_if(|it| is_spent(it));
        let producer = match &*current {
            Some(producer) => producer.clone(),
            None => {
                let producer = self.client.create_with_context(Events::new()).map_err(|why| failed(&why))?;
                current.insert(Arc::new(producer)).clone()
            }
        };
        if ask || producer.context().cluster().is_away() {
            let asked = producer.clone();
            let reached = blocking(move || {
                drop(old);
                let client = asked.client();
                client.context().cluster().reach(client, None, deadline)
            });
            reached.await?;
        }
        Ok(producer)
    }

    /// Buffers a packet; its report comes by `ticket`. Waits for room as long as a record may take.
    async fn buffer(
        &self,
        producer: &Producer,
        packet: &Packet,
        ticket: Ticket,
        until: Instant,
    ) -> Result<()> {
        if packet.len() > self.config.max_packet {
            let error = Error::new(ErrorKind::TooLarge, format!("a packet of {} bytes", packet.len()));
            return Err(error.with("max_packet", self.config.max_packet).with_sent(Sent::No));
        }
        let topic = self.config.topic.render(packet)?;
        let key = self.config.key.as_ref().map(|key| key.render(packet)).transpose()?;
        let mut record = BaseRecord::with_opaque_to(&topic, Box::new(ticket)).payload(&packet.payload()[..]);
        record.key = key.as_deref();
        record.headers = record::headers(packet)?;
        let mut room = None;
        loop {
            match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => record = back,
                Err((why, _)) => return Err(failed(&why)),
            }
            // Heard of from before the try that fails next.
            match room.take() {
                None => {
                    let mut next = Box::pin(producer.context().room.notified());
                    next.as_mut().enable();
                    room = Some(next);
                }
                Some(next) => timeout_at(until.into(), next).await.map_err(|_| {
                    let why = format!("buffer_memory is full of records for {:?}", self.config.timeout);
                    Error::new(ErrorKind::Overloaded, why).with_sent(Sent::No)
                })?,
            }
        }
    }

    /// Buffers all, and waits for the reports. Behind a packet that had no room nothing is tried. Answers besides which of
    /// them were buffered, and failed.
    async fn send(&self, producer: &Producer, packets: &[Packet]) -> (Vec<Result<Stored>>, Vec<usize>) {
        let until = Instant::now() + self.config.timeout;
        let (reports, told) = Reports::of(packets.len());
        let mut refused = Vec::new();
        for (at, packet) in packets.iter().enumerate() {
            let ticket = Ticket { at, reports: reports.clone() };
            let Err(why) = self.buffer(producer, packet, ticket, until).await else { continue };
            if why.status() == Status::Transient {
                let behind = why.not_tried();
                refused.push((at, why));
                refused.extend((at + 1..packets.len()).map(|at| (at, behind.clone())));
                break;
            }
            refused.push((at, why));
        }
        drop(reports);
        let told = told.await.expect("the last ticket tells them");
        let mut failed = Vec::new();
        let outcomes = told.into_iter().enumerate().map(|(at, outcome)| {
            let untold = || Err(Error::new(ErrorKind::Closed, "the client said nothing of the record"));
            let outcome = outcome.into_inner();
            failed.extend(matches!(outcome, Some(Err(_))).then_some(at));
            outcome.unwrap_or_else(untold)
        });
        let mut outcomes: Vec<_> = outcomes.collect();
        for (at, why) in refused {
            outcomes[at] = Err(why);
        }
        (outcomes, failed)
    }

    /// Sends all. A broker refuses a whole batch, for which one record of it may be to blame, or all together: they are
    /// tried one by one.
    async fn send_each(&self, producer: &Producer, packets: &[Packet]) -> Vec<Result<Stored>> {
        let (mut outcomes, mut failed) = self.send(producer, packets).await;
        failed.retain(|at| matches!(&outcomes[*at], Err(why) if why.kind() == ErrorKind::TooLarge));
        let mut behind = None;
        for at in failed {
            let outcome = match &behind {
                Some(behind) => Err(Error::clone(behind)),
                None => self.send(producer, &packets[at..=at]).await.0.pop().expect("one outcome per packet"),
            };
            if let Err(why) = &outcome
                && why.status() == Status::Transient
            {
                behind.get_or_insert_with(|| why.not_tried());
            }
            outcomes[at] = outcome;
        }
        outcomes
    }

    async fn deliver_in_order(&self, packets: &[Packet]) -> Result<Vec<Result<Receipt>>> {
        let _call = self.calls.begin().await.map_err(|why| self.doing(why))?;
        if packets.is_empty() {
            return Ok(Vec::new());
        }
        let producer = self.producer(false).await.map_err(|why| self.doing(why))?;
        let outcomes = match &self.transactions {
            None => self.send_each(&producer, packets).await,
            Some(transactions) => {
                let mut ran = transactions.run(&producer, self.send(&producer, packets)).await;
                if ran.is_err() && is_spent(&producer) {
                    // Of what an earlier call left open: it is ended when the next producer begins.
                    let next = self.producer(false).await.map_err(|why| self.doing(why))?;
                    ran = transactions.run(&next, self.send(&next, packets)).await;
                }
                ran.map_err(|why| self.doing(why))?
            }
        };
        let receipts = packets.iter().zip(outcomes).map(|(packet, outcome)| match outcome {
            Ok((partition, offset)) => {
                Ok(Receipt::new(Level::Stored, packet.id()).with_reference(format!("{partition}:{offset}")))
            }
            Err(why) => Err(self.doing(why)),
        });
        Ok(receipts.collect())
    }
}

/// A fatal error, or a commit of which nothing is known, ended it.
fn is_spent(producer: &Producer) -> bool {
    producer.client().fatal_error().is_some() || producer.context().is_spent()
}

/// Runs what blocks. Errors: those of `work`; what it does goes on when the future is dropped.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|why| Err(Error::new(ErrorKind::Internal, format!("a task of the client: {why}"))))
}

impl Service<Batch> for KafkaSink {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.deliver_in_order(batch.packets()).await
    }
}

impl Service<Packet> for KafkaSink {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let mut outcomes = self.deliver_in_order(std::slice::from_ref(&packet)).await?;
        outcomes.pop().expect("one outcome per packet")
    }
}

impl Sink for KafkaSink {
    /// Asks the cluster for its topics.
    async fn ready(&self) -> Result<()> {
        let _call = self.calls.begin().await.map_err(|why| self.doing(why))?;
        self.producer(true).await.map(drop).map_err(|why| self.doing(why))
    }

    /// Waits for records of calls that were given up, too. Errors: `Timeout`, with how many were not reported in time.
    async fn close(&self) -> Result<()> {
        self.calls.close().await;
        let Some(producer) = self.current.lock().await.take() else { return Ok(()) };
        let within = 2 * self.config.timeout;
        let flushed = blocking(move || {
            producer.flush(within).map_err(|why| {
                let left = producer.in_flight_count();
                failed(&why).while_doing(format!("{left} records have no report")).with_sent(Sent::Maybe)
            })
        });
        flushed.await.map_err(|why| self.doing(why.while_doing("close")))
    }
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink").field("topic", &self.config.topic.as_str()).finish_non_exhaustive()
    }
}
