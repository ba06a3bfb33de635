//! The source: a consumer of a queue, read by a task of its own, so that a `next` that is given up loses nothing.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use haul_core::{Backoff, BoxFuture, Delivery, Error, ErrorKind, Receipt, Result, Settle, Source, Status};
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Acker, Channel, Consumer};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;

use crate::broker::{Broker, Link};
use crate::config::ConsumerConfig;
use crate::failure::failed;
use crate::letter;

/// Between tries while the server is away.
const AWAY: Backoff = Backoff { base: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(5) };

/// Between looks at whether a channel is gone.
const LOOK: Duration = Duration::from_millis(50);

/// Consumes a queue: at least once. An acknowledgement is `basic.ack`; what is refused or dropped goes back into the queue
/// (`basic.nack` with requeue), and what is neither, when the connection ends. While the server is away it is tried again for
/// ever, and when it cancels the consumer, the queue is consumed anew; one that is gone is `NotFound`, and the end.
pub struct AmqpSource {
    desk: Arc<Desk>,
    messages: mpsc::Receiver<Result<Message>>,
    reading: Option<AbortHandle>,
    first: Option<mpsc::Sender<Result<Message>>>,
}

struct Desk {
    config: ConsumerConfig,
    broker: Broker,
    room: Arc<Semaphore>,
}

/// A channel that consumes. Acknowledgements go only where their message came from.
struct Session {
    _channel: Channel,
    _link: Link,
}

/// A message that is not acknowledged, and its place among those.
struct Message {
    message: lapin::message::Delivery,
    session: Weak<Session>,
    place: OwnedSemaphorePermit,
}

impl AmqpSource {
    /// A source with this configuration; nothing is connected until the first `next`. Errors: `Config`.
    pub fn new(config: ConsumerConfig) -> Result<Self> {
        config.check()?;
        let broker = Broker::new(config.server.clone())?;
        // Each has a place; an error is one more.
        let (first, messages) = mpsc::channel(config.max_unacked + 1);
        let room = Arc::new(Semaphore::new(config.max_unacked));
        Ok(Self {
            desk: Arc::new(Desk { config, broker, room }),
            messages,
            reading: None,
            first: Some(first),
        })
    }
}

impl Source for AmqpSource {
    async fn next(&mut self) -> Result<Option<Delivery>> {
        if let Some(queue) = self.first.take() {
            self.reading = Some(tokio::spawn(read(self.desk.clone(), queue)).abort_handle());
        }
        loop {
            let Some(message) = self.messages.recv().await else { return Ok(None) };
            let Message { mut message, session, place } = message?;
            // Its channel is gone, and the server gives it again.
            if message.acker.poisoned() || session.strong_count() == 0 {
                continue;
            }
            let packet = letter::packet(&mut message);
            let answer = Answer {
                desk: self.desk.clone(),
                acker: message.acker,
                session,
                runtime: Handle::current(),
                _place: place,
            };
            return Ok(Some(Delivery::new(packet, answer)));
        }
    }
}

impl Drop for AmqpSource {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
    }
}

/// Consumes, again and again, until the source is gone or the server refuses for good.
async fn read(desk: Arc<Desk>, queue: mpsc::Sender<Result<Message>>) {
    let mut tries = 0;
    loop {
        let why = match desk.consume().await {
            Ok((session, consumer)) => {
                let Some(why) = desk.pass_on(&session, consumer, &queue, &mut tries).await else { return };
                why
            }
            Err(why) if why.status() == Status::Permanent => {
                // Whoever drops the source has no use for it.
                let _ = queue.send(Err(why)).await;
                return;
            }
            Err(why) => why,
        };
        tracing::warn!(queue = desk.config.queue, "{why}; trying again");
        tokio::time::sleep(AWAY.wait(tries, Backoff::random())).await;
        tries += 1;
    }
}

impl Desk {
    fn doing(&self, why: Error) -> Error {
        why.while_doing(format!("consume amqp {}", self.config.queue))
    }

    async fn consume(&self) -> Result<(Arc<Session>, Consumer)> {
        let link = self.broker.connect().await.map_err(|why| self.doing(why))?;
        let consuming = self.broker.ask(async {
            let channel = link.channel().await?;
            let consumer = self.begin(&channel).await?;
            Ok((channel, consumer))
        });
        match consuming.await {
            Ok((channel, consumer)) => Ok((Arc::new(Session { _channel: channel, _link: link }), consumer)),
            Err(why) => {
                link.cut();
                Err(self.doing(why))
            }
        }
    }

    async fn begin(&self, channel: &Channel) -> lapin::Result<Consumer> {
        let ConsumerConfig { queue, declare, exchange, binding, max_unacked, .. } = &self.config;
        if *declare {
            let options = QueueDeclareOptions { durable: true, ..Default::default() };
            channel.queue_declare(queue.as_str().into(), options, FieldTable::default()).await?;
        }
        if let Some(exchange) = exchange {
            let (queue, exchange, binding) = (queue.as_str(), exchange.as_str(), binding.as_str());
            let options = QueueBindOptions::default();
            channel
                .queue_bind(queue.into(), exchange.into(), binding.into(), options, FieldTable::default())
                .await?;
        }
        let prefetch = u16::try_from(*max_unacked).unwrap_or(u16::MAX);
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        channel.basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default()).await
    }

    /// Passes messages on until the consumer ends, and says why it did; `None`, if the source is gone.
    async fn pass_on(
        &self,
        session: &Arc<Session>,
        mut consumer: Consumer,
        queue: &mpsc::Sender<Result<Message>>,
        tries: &mut u32,
    ) -> Option<Error> {
        loop {
            let place = self.room.clone().acquire_owned().await.ok()?;
            let message = match consumer.next().await {
                Some(Ok(message)) => message,
                Some(Err(why)) => return Some(self.doing(failed(&why))),
                None => {
                    let why = "the server cancelled the consumer: its queue is gone or moved";
                    return Some(self.doing(Error::new(ErrorKind::Closed, why)));
                }
            };
            *tries = 0;
            queue.send(Ok(Message { message, session: Arc::downgrade(session), place })).await.ok()?;
        }
    }
}

/// The answer to a message.
struct Answer {
    desk: Arc<Desk>,
    acker: Acker,
    session: Weak<Session>,
    runtime: Handle,
    _place: OwnedSemaphorePermit,
}

impl Answer {
    async fn give(self, acknowledge: bool) -> Result<()> {
        let again = || Error::new(ErrorKind::Closed, "its channel is gone: it is given again");
        // Held, so that a source that goes meanwhile closes the channel behind this.
        let Some(session) = self.session.upgrade() else {
            return if acknowledge { Err(self.desk.doing(again())) } else { Ok(()) };
        };
        let acker = &self.acker;
        let given = self.desk.broker.ask(async {
            match acknowledge {
                true => acker.ack(BasicAckOptions::default()).await,
                false => acker.nack(BasicNackOptions { requeue: true, ..Default::default() }).await,
            }
        });
        // The client may leave an answer open when its channel goes.
        let given = tokio::select! {
            biased;
            given = given => given,
            () = poisoned(acker) => Ok(false),
        };
        drop(session);
        match given {
            Ok(true) => Ok(()),
            Ok(false) if !acknowledge => Ok(()),
            Ok(false) => Err(self.desk.doing(again())),
            Err(why) => Err(self.desk.doing(again().with_source(why))),
        }
    }
}

/// Waits until the channel of a message is gone.
async fn poisoned(acker: &Acker) {
    while !acker.poisoned() {
        tokio::time::sleep(LOOK).await;
    }
}

impl Settle for Answer {
    fn settle(self: Box<Self>, outcome: Result<Receipt>) -> BoxFuture<'static, Result<()>> {
        Box::pin(self.give(outcome.is_ok()))
    }

    fn dropped(self: Box<Self>) {
        let runtime = self.runtime.clone();
        // Where it fails, the channel is gone, and the message back in its queue.
        runtime.spawn(self.give(false));
    }
}

impl fmt::Debug for AmqpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpSource").field("queue", &self.desk.config.queue).finish_non_exhaustive()
    }
}
