//! What reads a durable consumer: pulls while there are places, and tells the server of what is still being worked on.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::{self, AckKind, consumer};
use async_nats::{Message, StatusCode};
use bytes::Bytes;
use futures_util::StreamExt;
use haul_core::{Backoff, Error, ErrorKind, Result, Status};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::config::{ConsumerConfig, Start};
use crate::server::{Connector, Link};

/// How long the server may hold a question for messages.
const HOLD: Duration = Duration::from_secs(5);

/// Messages asked for at once.
const COUNT: usize = 256;

/// Between tries while the server is away.
const AWAY: Backoff = Backoff { base: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(5) };

/// The consumer, and what of it is not acknowledged.
pub(crate) struct Reader {
    pub(crate) config: ConsumerConfig,
    connector: Connector,
    room: Arc<Semaphore>,
    /// By sequence in the stream, where the answer to a message goes.
    open: Mutex<HashMap<u64, String>>,
}

/// A message that is not acknowledged, and its place among those. Dropping it refuses it.
pub(crate) struct Entry {
    pub(crate) message: Message,
    sequence: u64,
    reader: Arc<Reader>,
    _place: OwnedSemaphorePermit,
}

/// A consumer that was found, on one connection.
struct Found {
    link: Link,
    /// Where messages are asked for.
    next: String,
    ack_wait: Duration,
}

/// After another reader of this consumer: what it was given and did not acknowledge comes again when the server has waited
/// for it, and what is new waits for that, so that the order stays. Where a reader works beside this one it never
/// comes, and the wait ends with `until`.
struct Left {
    messages: usize,
    last: u64,
    until: Instant,
    waiting: BTreeMap<u64, Entry>,
}

impl Reader {
    pub(crate) fn new(config: ConsumerConfig) -> Result<Self> {
        config.check()?;
        let connector = Connector::new(config.server.clone(), 1, None)?;
        let room = Arc::new(Semaphore::new(config.max_unacked));
        Ok(Self { connector, room, open: Mutex::default(), config })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, String>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doing(&self, why: Error) -> Error {
        why.while_doing(format!("read nats {} as {}", self.config.subject, self.config.consumer))
    }

    /// Reads until nobody takes it any more, or an error will not pass.
    pub(crate) async fn read(self: Arc<Self>, queue: mpsc::Sender<Result<Entry>>) {
        let mut tries = 0;
        let mut waiting = BTreeMap::new();
        loop {
            let begun = Instant::now();
            let read = match self.find(&mut waiting).await {
                Ok((found, mut left)) => {
                    let read = self.pull(&found, &mut left, &queue).await;
                    waiting = left.waiting;
                    read
                }
                Err(why) => Err(why),
            };
            if begun.elapsed() > AWAY.cap {
                tries = 0;
            }
            match read {
                Ok(()) => return,
                Err(why) if why.status() == Status::Permanent => {
                    // Whoever drops the source has no use for it.
                    let _ = queue.send(Err(self.doing(why))).await;
                    return;
                }
                Err(why) => tracing::warn!("{}; trying again", self.doing(why)),
            }
            self.connector.forget().await;
            tokio::time::sleep(AWAY.wait(tries, Backoff::random())).await;
            tries += 1;
        }
    }

    /// Finds the consumer, or makes it.
    async fn find(&self, waiting: &mut BTreeMap<u64, Entry>) -> Result<(Found, Left)> {
        let link = self.connector.link().await?;
        let ConsumerConfig { subject, consumer: name, .. } = &self.config;
        let stream = match &self.config.stream {
            Some(stream) => stream.clone(),
            None => link.stream_of(subject).await?,
        };
        let ours = self.open().len();
        let info = link.ask::<consumer::Info>(format!("CONSUMER.INFO.{stream}.{name}"), &json!({})).await;
        let info = match info {
            Err(why) if why.kind() == ErrorKind::NotFound => {
                let made = json!({ "stream_name": stream, "config": self.wanted() });
                link.ask(format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"), &made).await?
            }
            info => self.checked(info?)?,
        };
        let left = Left {
            messages: info.num_ack_pending.saturating_sub(ours),
            last: info.delivered.stream_sequence,
            until: Instant::now() + info.config.ack_wait * 2,
            waiting: std::mem::take(waiting),
        };
        let next = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}");
        Ok((Found { link, next, ack_wait: info.config.ack_wait }, left))
    }

    fn wanted(&self) -> consumer::Config {
        let ConsumerConfig { subject, consumer, start, ack_wait, max_unacked, .. } = &self.config;
        consumer::Config {
            durable_name: Some(consumer.clone()),
            deliver_policy: match *start {
                Start::All => consumer::DeliverPolicy::All,
                Start::New => consumer::DeliverPolicy::New,
                Start::At(start_sequence) => consumer::DeliverPolicy::ByStartSequence { start_sequence },
            },
            ack_policy: consumer::AckPolicy::Explicit,
            ack_wait: *ack_wait,
            filter_subject: subject.clone(),
            max_ack_pending: i64::try_from(*max_unacked).unwrap_or(i64::MAX),
            ..consumer::Config::default()
        }
    }

    /// One that was there already, if it can be read and acknowledged by us.
    fn checked(&self, info: consumer::Info) -> Result<consumer::Info> {
        let wrong =
            |why: String| Err(Error::new(ErrorKind::Config, format!("the consumer is there, and {why}")));
        match &info.config {
            it if it.ack_policy != consumer::AckPolicy::Explicit => {
                wrong("takes no acknowledgement of each message: give another name, or delete it".into())
            }
            it if it.deliver_subject.is_some() => wrong("is one that pushes: give another name".into()),
            // The server leaves out the only subject of a stream.
            it if !it.filter_subject.is_empty() && it.filter_subject != self.config.subject => {
                wrong(format!("reads {}: give another name, or that subject", it.filter_subject))
            }
            _ => Ok(info),
        }
    }

    /// Asks for messages as places are free, until nobody takes them any more.
    async fn pull(
        self: &Arc<Self>,
        found: &Found,
        left: &mut Left,
        queue: &mpsc::Sender<Result<Entry>>,
    ) -> Result<()> {
        let Found { link, next, ack_wait } = found;
        let lost = || Error::new(ErrorKind::Closed, "the connection was lost");
        let mut renewal = interval(*ack_wait / 3);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        left.give(queue);
        loop {
            let mut places = tokio::select! {
                place = self.room.clone().acquire_owned() => match place {
                    Ok(place) => vec![place],
                    Err(_) => return Ok(()),
                },
                _ = renewal.tick() => {
                    self.renew(link).await;
                    continue;
                }
            };
            while places.len() < COUNT
                && let Ok(place) = self.room.clone().try_acquire_owned()
            {
                places.push(place);
            }
            let mut expected = places.len();
            let inbox = link.client.new_inbox();
            let mut messages = link.client.subscribe(inbox.clone()).await.map_err(|_| lost())?;
            let question = json!({ "batch": expected, "expires": HOLD.as_nanos() as u64 }).to_string();
            let asked = link.client.publish_with_reply(next.clone(), inbox, question.into()).await;
            asked.map_err(|_| lost())?;
            let patience = Instant::now() + HOLD + self.config.server.timeout;
            while expected > 0 {
                let message = tokio::select! {
                    message = messages.next() => message.ok_or_else(lost)?,
                    _ = renewal.tick() => {
                        self.renew(link).await;
                        continue;
                    }
                    () = tokio::time::sleep_until(left.until), if !left.waiting.is_empty() => {
                        left.messages = 0;
                        left.give(queue);
                        continue;
                    }
                    () = tokio::time::sleep_until(patience) => {
                        return Err(Error::new(ErrorKind::Timeout, "no answer to a question for messages"));
                    }
                };
                match message.status {
                    None | Some(StatusCode::OK) => {
                        expected -= 1;
                        if let Some(entry) = self.take(link, message, &mut places)
                            && !left.take(entry, queue)
                        {
                            return Ok(());
                        }
                    }
                    Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => break,
                    Some(StatusCode::IDLE_HEARTBEAT) => {}
                    Some(status) => {
                        let why = message.description.unwrap_or_default();
                        return Err(Error::new(
                            ErrorKind::Closed,
                            format!("the server answered: {status} {why}"),
                        ));
                    }
                }
            }
        }
    }

    /// The message with its place; `None` for one that we have already.
    fn take(
        self: &Arc<Self>,
        link: &Link,
        message: Message,
        places: &mut Vec<OwnedSemaphorePermit>,
    ) -> Option<Entry> {
        let message = jetstream::Message { message, context: link.jetstream.clone() };
        let sequence = message.info().ok()?.stream_sequence;
        let message = message.message;
        let reply = message.reply.as_ref()?.to_string();
        if self.open().contains_key(&sequence) {
            return None;
        }
        let place = places.pop()?;
        self.open().insert(sequence, reply);
        Some(Entry { message, sequence, reader: self.clone(), _place: place })
    }

    /// Tells the server that the messages are still being worked on, so that it gives them to nobody else.
    async fn renew(&self, link: &Link) {
        let replies: Vec<_> = self.open().values().cloned().collect();
        for reply in replies {
            // Where it fails the connection is over, and who pulls learns that.
            let _ = link.client.publish(reply, AckKind::Progress.into()).await;
        }
    }

    async fn answer(&self, reply: String, answer: AckKind) -> Result<()> {
        let failed =
            |why: &str| Error::new(ErrorKind::Closed, format!("not answered, and given again: {why}"));
        let link = self.connector.link().await.map_err(|why| failed("no connection").with_source(why))?;
        let answered = link.client.request(reply, Bytes::from(answer)).await;
        match answered.map_err(|why| why.kind()) {
            Ok(_) => Ok(()),
            Err(RequestErrorKind::NoResponders) => Err(failed("the server knows the consumer no more")),
            Err(RequestErrorKind::TimedOut) => Err(failed("the server did not confirm it in time")),
            Err(_) => Err(failed("the connection was lost")),
        }
    }
}

impl Left {
    /// Gives the message, or keeps it until its turn comes. Whether anybody takes messages.
    fn take(&mut self, entry: Entry, queue: &mpsc::Sender<Result<Entry>>) -> bool {
        if self.messages > 0 && entry.sequence <= self.last {
            self.messages -= 1;
        }
        self.waiting.insert(entry.sequence, entry);
        self.give(queue)
    }

    /// Gives what waits, if there is nothing more to wait for.
    fn give(&mut self, queue: &mpsc::Sender<Result<Entry>>) -> bool {
        if self.messages > 0 {
            return !queue.is_closed();
        }
        // Each has a place, and the queue one for each.
        std::mem::take(&mut self.waiting).into_values().all(|entry| queue.try_send(Ok(entry)).is_ok())
    }
}

impl Entry {
    /// Errors: `Closed`, where the server did not confirm it; it may give the message again.
    pub(crate) async fn acknowledge(self) -> Result<()> {
        let Some(reply) = self.reader.open().get(&self.sequence).cloned() else { return Ok(()) };
        let answered = self.reader.answer(reply, AckKind::Ack).await;
        self.reader.open().remove(&self.sequence);
        answered.map_err(|why| self.reader.doing(why))
    }

    /// The server gives it again after `wait`. Errors: `Closed`; then it does so when it has waited for us.
    pub(crate) async fn refuse(self, wait: Duration) -> Result<()> {
        let Some(reply) = self.reader.open().remove(&self.sequence) else { return Ok(()) };
        let answered = self.reader.answer(reply, AckKind::Nak(Some(wait))).await;
        answered.map_err(|why| self.reader.doing(why))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Some(reply) = self.reader.open().remove(&self.sequence) else { return };
        let reader = self.reader.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Where it fails, the server gives it again when it has waited for us.
            runtime.spawn(async move { reader.answer(reply, AckKind::Nak(None)).await });
        }
    }
}
