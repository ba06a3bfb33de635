//! The sink: publishings in windows.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use haul_core::{
    Batch, Calls, Error, ErrorKind, Level, Packet, Receipt, Result, Sent, Service, Sink, Status,
};
use lapin::options::{BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, ExchangeKind};
use tokio::sync::Semaphore;

use crate::broker::{Broker, Link};
use crate::config::{AmqpConfig, ExchangeType};
use crate::letter::{Letter, short};
use crate::window::publish;

/// Calls at once; further ones wait.
const CALLS: u32 = 4096;

/// Windows at once, each with a channel of its own; further ones wait.
const CHANNELS: usize = 16;

/// Bytes of payloads after which a window takes no further packet.
const WINDOW: usize = 4 << 20;

/// Delivers packets to RabbitMQ. A receipt says that the server confirmed it: [`Level::Stored`] where it is a persistent message
/// and the durable queue that this sink declared takes it, so that it is on disk; otherwise [`Level::Acknowledged`], as nothing
/// is known of the queues.
///
/// A packet that no queue takes is `NotFound`, one that a queue refused `Rejected`. A packet's id is the `message_id`; the server
/// does not look at it, so what is delivered twice is there twice.
///
/// The packets of a call keep their order. After a failure of connection or server that may pass, those behind its window are
/// not tried; within one the server takes each for itself. When a call's future is dropped, the window under way goes on.
pub struct AmqpSink {
    desk: Arc<Desk>,
    calls: Calls,
}

struct Desk {
    config: AmqpConfig,
    broker: Broker,
    channels: Semaphore,
}

impl AmqpSink {
    /// A sink with this configuration; nothing is connected yet. Errors: `Config`.
    pub fn new(config: AmqpConfig) -> Result<Self> {
        config.check()?;
        let broker = Broker::new(config.server.clone())?;
        let channels = Semaphore::new(CHANNELS);
        Ok(Self { desk: Arc::new(Desk { config, broker, channels }), calls: Calls::new(CALLS) })
    }

    async fn deliver_in_order(&self, packets: &[Packet]) -> Result<Vec<Result<Receipt>>> {
        let _call = self.calls.begin().await.map_err(|why| self.desk.doing(why))?;
        let mut outcomes: Vec<Result<Receipt>> = Vec::with_capacity(packets.len());
        while outcomes.len() < packets.len() {
            let rest = &packets[outcomes.len()..];
            let (desk, some) = (self.desk.clone(), rest[..self.desk.fits(rest)].to_vec());
            // In a task: half a window would leave a channel with answers of the other half.
            let window = tokio::spawn(async move { desk.window(&some).await }).await;
            let ended = |_| Error::new(ErrorKind::Internal, "the window ended without an answer");
            let some = window.map_err(|why| self.desk.doing(ended(why)))?;
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

impl Desk {
    fn doing(&self, why: Error) -> Error {
        let AmqpConfig { exchange, queue, .. } = &self.config;
        let to = match exchange.as_str() {
            "" => queue.as_deref().unwrap_or("the default exchange"),
            exchange => exchange,
        };
        why.while_doing(format!("deliver to amqp {to}"))
    }

    /// How many of these one window takes, at least one.
    fn fits(&self, packets: &[Packet]) -> usize {
        let mut bytes = 0;
        let full = packets.iter().position(|packet| {
            let full = bytes >= WINDOW;
            bytes += packet.len();
            full
        });
        full.unwrap_or(packets.len()).min(self.config.window)
    }

    /// Publishes these packets; answers their outcomes.
    async fn window(&self, packets: &[Packet]) -> Vec<Result<Receipt>> {
        let now = SystemTime::now();
        let mut letters: Vec<_> =
            packets.iter().map(|packet| Letter::new(packet, &self.config, now)).collect();
        let answers = match self.publish(&mut letters).await {
            Ok(answers) => answers,
            Err(why) => letters.iter().filter(|letter| letter.is_ok()).map(|_| Err(why.clone())).collect(),
        };
        let mut answers = answers.into_iter();
        let outcomes = packets.iter().zip(letters).map(|(packet, letter)| {
            let letter = letter?;
            let missing = || Err(Error::new(ErrorKind::Internal, "an answer is missing"));
            answers.next().unwrap_or_else(missing)?;
            let level = if letter.stored { Level::Stored } else { Level::Acknowledged };
            Ok(Receipt::new(level, packet.id()))
        });
        outcomes.map(|outcome| outcome.map_err(|why| self.doing(why))).collect()
    }

    /// Publishes those letters that are good, and turns others into errors; an answer for each that stayed good. Errors:
    /// nothing was sent.
    async fn publish(&self, letters: &mut [Result<Letter>]) -> Result<Vec<Result<()>>> {
        if letters.iter().all(Result::is_err) {
            return Ok(Vec::new());
        }
        let closed = |_| Error::new(ErrorKind::Closed, "the sink is closed").with_sent(Sent::No);
        let _place = self.channels.acquire().await.map_err(closed)?;
        let link = self.broker.link().await?;
        let channel = self.prepare(&link, letters).await;
        let channel = match channel {
            Ok(channel) => channel,
            Err(why) => {
                self.lost(&link, &why).await;
                return Err(why.with_sent(Sent::No));
            }
        };
        let good: Vec<_> = letters.iter().filter_map(|letter| letter.as_ref().ok()).collect();
        let answers =
            publish(&link, &channel, &good, self.config.mandatory, self.config.server.timeout).await;
        let came_back =
            |answer: &Result<()>| answer.as_ref().is_err_and(|why| why.kind() == ErrorKind::NotFound);
        // A message that was nacked or came back is answered; any other failure is that of the channel.
        let answered = channel.status().connected() && link.stands();
        if !answered || self.config.declare && answers.iter().any(came_back) {
            link.unlearn();
        }
        if answered {
            link.put_back(channel);
        }
        if !link.stands() {
            self.broker.forget(&link).await;
        }
        Ok(answers)
    }

    /// Forgets a connection that is of no more use.
    async fn lost(&self, link: &Arc<Link>, why: &Error) {
        if !link.stands() || why.kind() == ErrorKind::Timeout {
            self.broker.forget(link).await;
        }
    }

    /// A channel to publish on; what cannot be published is an error in `letters` then.
    async fn prepare(&self, link: &Link, letters: &mut [Result<Letter>]) -> Result<Channel> {
        let mut channel = self.broker.ask(link.publisher()).await?;
        let mut refused: HashMap<String, Error> = HashMap::new();
        for letter in letters {
            let Ok(Letter { exchange, header, .. }) = letter else { continue };
            if *header > link.frame_max() {
                let why =
                    format!("a header of about {header} bytes, metadata above all: it goes in one frame");
                let why = Error::new(ErrorKind::TooLarge, why).with("frame_max", link.frame_max());
                *letter = Err(why.with_sent(Sent::No));
                continue;
            }
            let exchange = exchange.as_str();
            if !link.knows(exchange) && !refused.contains_key(exchange) {
                match self.broker.ask(self.find(&channel, exchange)).await {
                    Ok(()) => link.learn(exchange),
                    Err(why) if why.status() == Status::Transient => return Err(why),
                    Err(why) => {
                        refused.insert(exchange.to_owned(), why.with_sent(Sent::No));
                        // The server closed it.
                        channel = self.broker.ask(link.publisher()).await?;
                    }
                }
            }
            if let Some(why) = refused.get(exchange) {
                *letter = Err(why.clone());
            }
        }
        Ok(channel)
    }

    /// Declares what is to be declared, and asks for an exchange that is not.
    async fn find(&self, channel: &Channel, exchange: &str) -> lapin::Result<()> {
        let AmqpConfig { queue, declare, exchange_type, binding, .. } = &self.config;
        if !exchange.is_empty() {
            let options = ExchangeDeclareOptions {
                passive: exchange_type.is_none(),
                durable: true,
                ..Default::default()
            };
            let kind = match exchange_type {
                None | Some(ExchangeType::Direct) => ExchangeKind::Direct,
                Some(ExchangeType::Fanout) => ExchangeKind::Fanout,
                Some(ExchangeType::Topic) => ExchangeKind::Topic,
                Some(ExchangeType::Headers) => ExchangeKind::Headers,
            };
            channel.exchange_declare(exchange.into(), kind, options, FieldTable::default()).await?;
        }
        let Some(queue) = queue.as_deref().filter(|_| *declare) else { return Ok(()) };
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(queue.into(), options, FieldTable::default()).await?;
        if !exchange.is_empty() {
            let (binding, options) = (binding.as_str().into(), QueueBindOptions::default());
            channel
                .queue_bind(queue.into(), exchange.into(), binding, options, FieldTable::default())
                .await?;
        }
        Ok(())
    }

    async fn ready(&self) -> Result<()> {
        let link = self.broker.link().await?;
        if link.blocked() {
            let why = "the server is short of memory or disk, and takes nothing";
            return Err(Error::new(ErrorKind::Overloaded, why));
        }
        let asked = async {
            let channel = self.broker.ask(link.publisher()).await?;
            // It changes nothing on a channel that only publishes, and is answered.
            self.broker.ask(channel.basic_qos(0, BasicQosOptions::default())).await?;
            let exchange = self.config.exchange.render(&Packet::text_static(""));
            if let Ok(exchange) = exchange
                && short(&exchange, "exchange").is_ok()
            {
                self.broker.ask(self.find(&channel, &exchange)).await?;
            }
            link.put_back(channel);
            Ok(())
        };
        let asked = asked.await;
        if let Err(why) = &asked {
            self.lost(&link, why).await;
        }
        asked
    }
}

impl Service<Batch> for AmqpSink {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.deliver_in_order(batch.packets()).await
    }
}

impl Service<Packet> for AmqpSink {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let mut outcomes = self.deliver_in_order(std::slice::from_ref(&packet)).await?;
        outcomes.pop().expect("one outcome per packet")
    }
}

impl Sink for AmqpSink {
    /// Connects, asks a question, and declares or asks for the exchange, if its name needs no packet.
    async fn ready(&self) -> Result<()> {
        let _call = self.calls.begin().await.map_err(|why| self.desk.doing(why))?;
        let _place = self.desk.channels.acquire().await;
        self.desk.ready().await.map_err(|why| self.desk.doing(why))
    }

    async fn close(&self) -> Result<()> {
        self.calls.close().await;
        // Windows of calls that were dropped.
        if let Ok(all) = self.desk.channels.acquire_many(CHANNELS as u32).await {
            self.desk.channels.close();
            drop(all);
        }
        self.desk.broker.close().await;
        Ok(())
    }
}

impl fmt::Debug for AmqpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpSink")
            .field("exchange", &self.desk.config.exchange.as_str())
            .finish_non_exhaustive()
    }
}
