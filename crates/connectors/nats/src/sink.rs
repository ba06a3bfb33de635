//! The sink: publishes whose acknowledgements are awaited in a window.

use std::fmt;

use async_nats::Subject;
use async_nats::client::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream;
use haul_core::{Batch, Calls, Error, ErrorKind, Level, Packet, Receipt, Result, Sent, Service, Sink};

use crate::config::NatsConfig;
use crate::failure::unpublished;
use crate::message::{check_subject, headers};
use crate::server::{Connector, Link};
use crate::window::Window;

/// Calls at once; further ones wait.
const CALLS: u32 = 1024;

/// Bytes of payloads that a call has on their way.
const WINDOW: usize = 4 << 20;

/// Delivers packets to NATS. Receipts are [`Level::Stored`] by a stream of JetStream, as safely as that keeps anything; their
/// reference is its name and the sequence, `EVENTS:7`. With `jetstream=false` they are [`Level::Sent`]: the server took
/// them, and nobody knows who listens.
///
/// What makes it idempotent: a packet's id, as `Nats-Msg-Id`. What a stream has seen lately it does not store again, and
/// the receipt is that of the first.
///
/// The packets of a call keep their order. Once one fails in a way that may pass, no further one goes out; those that were on
/// their way behind it may be stored. Dropping a call's future leaves out what was not published yet.
pub struct NatsSink {
    config: NatsConfig,
    connector: Connector,
    calls: Calls,
}

impl NatsSink {
    /// A sink with this configuration; nothing is connected yet. Errors: `Config`.
    pub fn new(config: NatsConfig) -> Result<Self> {
        config.check()?;
        // More than all calls have on their way: only their windows make them wait.
        let acks = config.pipeline.saturating_mul(CALLS as usize).min(tokio::sync::Semaphore::MAX_PERMITS);
        let stream =
            config.stream.as_ref().filter(|_| !config.create.is_empty()).map(|name| stream::Config {
                name: name.clone(),
                subjects: config.create.clone(),
                num_replicas: config.replicas,
                duplicate_window: config.dedupe,
                ..stream::Config::default()
            });
        let connector = Connector::new(config.server.clone(), acks, stream)?;
        Ok(Self { config, connector, calls: Calls::new(CALLS) })
    }

    fn doing(&self, why: Error) -> Error {
        why.while_doing(format!("deliver to nats {}", self.config.subject.as_str()))
    }

    async fn deliver_in_order(&self, packets: &[Packet]) -> Result<Vec<Result<Receipt>>> {
        let _call = self.calls.begin().await.map_err(|why| self.doing(why))?;
        if packets.is_empty() {
            return Ok(Vec::new());
        }
        let link = self.connector.link().await.map_err(|why| self.doing(why))?;
        let outcomes = match self.config.jetstream {
            true => self.store(&link, packets).await,
            false => self.publish(&link, packets).await,
        };
        self.connector.judge(&link, outcomes.iter().filter_map(|outcome| outcome.as_ref().err())).await;
        Ok(outcomes.into_iter().map(|outcome| outcome.map_err(|why| self.doing(why))).collect())
    }

    /// The subject of a packet, and what is published there.
    fn message(&self, packet: &Packet) -> Result<(Subject, PublishMessage)> {
        if packet.len() > self.config.max_packet {
            let error = Error::new(ErrorKind::TooLarge, format!("a packet of {} bytes", packet.len()));
            return Err(error.with("max_packet", self.config.max_packet).with_sent(Sent::No));
        }
        let subject = self.config.subject.render(packet)?;
        check_subject(&subject, self.config.subject.as_str())?;
        let message = PublishMessage::build().payload(packet.payload().clone()).headers(headers(packet)?);
        let message = match &self.config.stream {
            Some(stream) => message.expected_stream(stream),
            None => message,
        };
        Ok((Subject::from(&*subject), message))
    }

    /// To a stream, each with its acknowledgement.
    async fn store(&self, link: &Link, packets: &[Packet]) -> Vec<Result<Receipt>> {
        let mut outcomes: Vec<Option<Result<Receipt>>> = packets.iter().map(|_| None).collect();
        let mut window = Window::new(link, self.config.server.timeout);
        for (at, packet) in packets.iter().enumerate() {
            while window.is_full(packet, self.config.pipeline, WINDOW)
                && let Some((at, outcome)) = window.next().await
            {
                outcomes[at] = Some(outcome);
            }
            if window.failure().is_some() {
                break;
            }
            let sent = match self.message(packet) {
                Ok((subject, message)) => {
                    let sent = link.jetstream.send_publish(subject.clone(), message).await;
                    sent.map(|ack| window.push(at, packet, subject, ack)).map_err(|why| unpublished(&why))
                }
                Err(why) => Err(why),
            };
            if let Err(why) = sent {
                window.fail(&why);
                outcomes[at] = Some(Err(why));
            }
        }
        while let Some((at, outcome)) = window.next().await {
            outcomes[at] = Some(outcome);
        }
        let failure = window.failure().map(Error::not_tried);
        let untried = || failure.clone().unwrap_or_else(|| Error::new(ErrorKind::Internal, "no outcome"));
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| Err(untried()))).collect()
    }

    /// To whoever listens. What a question behind them is answered, the server took.
    async fn publish(&self, link: &Link, packets: &[Packet]) -> Vec<Result<Receipt>> {
        let mut outcomes: Vec<Result<Receipt>> = Vec::with_capacity(packets.len());
        for some in packets.chunks(self.config.pipeline) {
            let mut published = Vec::with_capacity(some.len());
            for packet in some {
                published.push(self.publish_one(link, packet).await);
            }
            let taken = link.asked_back().await;
            outcomes.extend(some.iter().zip(published).map(|(packet, published)| {
                let subject = published?;
                match (link.denial(&subject), &taken) {
                    (Some(why), _) => Err(why),
                    (None, Err(why)) => Err(why.clone()),
                    (None, Ok(())) => Ok(Receipt::new(Level::Sent, packet.id())),
                }
            }));
            if let Err(why) = taken {
                outcomes.resize_with(packets.len(), || Err(why.not_tried()));
                break;
            }
        }
        outcomes
    }

    async fn publish_one(&self, link: &Link, packet: &Packet) -> Result<Subject> {
        let (subject, message) = self.message(packet)?;
        let message = message.outbound_message(subject.clone());
        let published = match message.headers {
            Some(headers) => {
                link.client.publish_with_headers(message.subject, headers, message.payload).await
            }
            None => link.client.publish(message.subject, message.payload).await,
        };
        match published {
            Ok(()) => Ok(subject),
            Err(why) if why.kind() == PublishErrorKind::MaxPayloadExceeded => {
                Err(Error::new(ErrorKind::TooLarge, why.to_string()).with_sent(Sent::No))
            }
            Err(why) => Err(Error::new(ErrorKind::Closed, why.to_string()).with_sent(Sent::No)),
        }
    }
}

impl Service<Batch> for NatsSink {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.deliver_in_order(batch.packets()).await
    }
}

impl Service<Packet> for NatsSink {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let mut outcomes = self.deliver_in_order(std::slice::from_ref(&packet)).await?;
        outcomes.pop().expect("one outcome per packet")
    }
}

impl Sink for NatsSink {
    /// Connects, and asks for an answer: JetStream for the stream, where its name or the subject is known.
    async fn ready(&self) -> Result<()> {
        let _call = self.calls.begin().await.map_err(|why| self.doing(why))?;
        let link = self.connector.link().await.map_err(|why| self.doing(why))?;
        let asked = match (&self.config, self.config.subject.as_str()) {
            (NatsConfig { jetstream: false, .. }, _) => link.asked_back().await,
            (NatsConfig { stream: Some(name), .. }, _) => link.has_stream(name).await,
            (_, subject) if !subject.contains(['{', '}']) => link.stream_of(subject).await.map(drop),
            _ => link.has_jetstream().await,
        };
        self.connector.judge(&link, asked.as_ref().err().into_iter()).await;
        asked.map_err(|why| self.doing(why))
    }

    async fn close(&self) -> Result<()> {
        self.calls.close().await;
        self.connector.forget().await;
        Ok(())
    }
}

impl fmt::Debug for NatsSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSink").field("subject", &self.config.subject.as_str()).finish_non_exhaustive()
    }
}
