//! The source: messages are read by a task of its own, so that a `next` that is given up loses nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::Message;
use haul_core::{Backoff, Delivery, Result, Source, Status};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;

use crate::config::QueueConfig;
use crate::keep::{Kept, Lease, keep};
use crate::message;
use crate::queue::Queue;
use crate::settle::{Answer, Word, settle};

/// Between tries while the server is away.
const AWAY: Backoff = Backoff { base: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(5) };

/// Reads a queue: at least once, and in order where it is a FIFO queue.
///
/// An acknowledgement deletes the message. What is refused or dropped is shown to readers again at once, so that it counts
/// for the queue's redrive policy. What is neither is kept from other readers as long as the source lives, up to the server's
/// 12 hours; then it is given again [`visibility`](QueueConfig::visibility) later. A message that cannot be read is an error
/// of `next`, and stays in the queue. While the server is away it is tried again for ever.
pub struct SqsSource {
    config: QueueConfig,
    queue: Arc<Queue>,
    reading: Option<Reading>,
}

struct Reading {
    messages: mpsc::Receiver<Result<Held>>,
    words: mpsc::Sender<Word>,
    tasks: [AbortHandle; 2],
}

/// A message that was received and not answered, and its place among those.
pub(crate) struct Held {
    message: Message,
    lease: Option<Lease>,
    _place: OwnedSemaphorePermit,
}

impl Held {
    pub(crate) fn handle(&self) -> &str {
        self.message.receipt_handle().unwrap_or_default()
    }

    /// Keeps it from other readers no longer.
    pub(crate) fn let_go(&mut self) {
        self.lease = None;
    }
}

impl SqsSource {
    /// A source with this configuration; nothing is connected until the first `next`. Errors: `Config`.
    pub fn new(config: QueueConfig) -> Result<Self> {
        config.check()?;
        let queue = Queue::new(config.account.clone(), &config.queue, config.owner.clone(), "read");
        Ok(Self { config, queue: Arc::new(queue), reading: None })
    }

    fn start(&self) -> Reading {
        let (queue, config) = (self.queue.clone(), self.config.clone());
        // What is held has one place in each, so that both always have room.
        let (found, messages) = mpsc::channel(config.max_unacked + 1);
        let (words, said) = mpsc::channel(config.max_unacked);
        let kept = Arc::new(Kept::default());
        let keeping = tokio::spawn(keep(queue.clone(), kept.clone(), config.visibility));
        // Answers may come after the source is gone: this one ends behind the last.
        tokio::spawn(settle(queue.clone(), said));
        let reading = tokio::spawn(read(queue, config, kept, found));
        Reading { messages, words, tasks: [keeping.abort_handle(), reading.abort_handle()] }
    }
}

impl Source for SqsSource {
    async fn next(&mut self) -> Result<Option<Delivery>> {
        if self.reading.is_none() {
            self.reading = Some(self.start());
        }
        let Some(reading) = &mut self.reading else { return Ok(None) };
        let Some(held) = reading.messages.recv().await else { return Ok(None) };
        let held = held?;
        match message::packet(&held.message) {
            Ok(packet) => Ok(Some(Delivery::new(packet, Answer { held, words: reading.words.clone() }))),
            Err(why) => {
                let id = held.message.message_id().unwrap_or_default();
                Err(self.queue.doing(why.with("message", id)))
            }
        }
    }
}

impl Drop for SqsSource {
    fn drop(&mut self) {
        for task in self.reading.iter().flat_map(|reading| &reading.tasks) {
            task.abort();
        }
    }
}

/// Receives messages as places are free.
async fn read(queue: Arc<Queue>, config: QueueConfig, kept: Arc<Kept>, found: mpsc::Sender<Result<Held>>) {
    let room = Arc::new(Semaphore::new(config.max_unacked));
    let mut tries = 0;
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let most = Queue::AT_ONCE.min(1 + room.available_permits());
        let messages = match queue.receive(most, config.visibility, config.wait).await {
            Ok(messages) => messages,
            Err(why) if why.status() == Status::Permanent => {
                // Whoever drops the source has no use for it.
                let _ = found.send(Err(why)).await;
                return;
            }
            Err(why) => {
                tracing::warn!(queue = queue.name(), "{why}; trying again");
                tokio::time::sleep(AWAY.wait(tries, Backoff::random())).await;
                tries += 1;
                continue;
            }
        };
        tries = 0;
        let mut place = Some(place);
        for message in messages {
            // No more come than were asked for, and only here places are taken.
            let Some(place) = place.take().or_else(|| room.clone().try_acquire_owned().ok()) else { break };
            let lease = Some(kept.keep(message.receipt_handle().unwrap_or_default()));
            if found.send(Ok(Held { message, lease, _place: place })).await.is_err() {
                return;
            }
        }
    }
}

impl fmt::Debug for SqsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsSource").field("queue", &self.config.queue).finish_non_exhaustive()
    }
}
