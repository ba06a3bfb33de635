//! The source: a durable consumer, read by a task of its own, so that a `next` that is given up loses nothing.

use std::fmt;
use std::sync::Arc;

use haul_core::{BoxFuture, Delivery, Receipt, Result, Settle, Source};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::config::ConsumerConfig;
use crate::message;
use crate::reader::{Entry, Reader};

/// Reads a stream as a durable consumer: at least once, and in order but for what is refused. An acknowledgement
/// resolves when the server confirmed it. What is refused comes again after a while, what is dropped at once, and what is
/// neither when the server has waited [`ack_wait`](ConsumerConfig::ack_wait) for a reader that is gone; as long as this one is
/// there it keeps what it holds. While the server is away it is tried again for ever.
pub struct NatsSource {
    reader: Arc<Reader>,
    entries: mpsc::Receiver<Result<Entry>>,
    reading: Option<AbortHandle>,
    first: Option<mpsc::Sender<Result<Entry>>>,
}

impl NatsSource {
    /// A source with this configuration; nothing is connected until the first `next`. Errors: `Config`.
    pub fn new(config: ConsumerConfig) -> Result<Self> {
        let reader = Arc::new(Reader::new(config)?);
        let (first, entries) = mpsc::channel(reader.config.max_unacked + 1);
        Ok(Self { reader, entries, reading: None, first: Some(first) })
    }
}

impl Source for NatsSource {
    async fn next(&mut self) -> Result<Option<Delivery>> {
        if let Some(queue) = self.first.take() {
            self.reading = Some(tokio::spawn(self.reader.clone().read(queue)).abort_handle());
        }
        let Some(entry) = self.entries.recv().await else { return Ok(None) };
        let entry = entry?;
        Ok(Some(Delivery::new(message::packet(&entry.message), Answer(entry, self.reader.clone()))))
    }
}

impl Drop for NatsSource {
    fn drop(&mut self) {
        if let Some(reading) = &self.reading {
            reading.abort();
        }
    }
}

struct Answer(Entry, Arc<Reader>);

impl Settle for Answer {
    fn settle(self: Box<Self>, outcome: Result<Receipt>) -> BoxFuture<'static, Result<()>> {
        let Self(entry, reader) = *self;
        Box::pin(async move {
            match outcome {
                Ok(_) => entry.acknowledge().await,
                Err(why) => entry.refuse(why.retry_after().unwrap_or(reader.config.again)).await,
            }
        })
    }

    fn dropped(self: Box<Self>) {}
}

impl fmt::Debug for NatsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsSource").field("subject", &self.reader.config.subject).finish_non_exhaustive()
    }
}
