//! The sink: calls queue their records, one task writes all that is there.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use haul_core::{Batch, Error, ErrorKind, Level, Packet, Receipt, Result, Sent, Service, Sink};
use tokio::sync::{mpsc, oneshot};

use crate::FileConfig;
use crate::record::encode;
use crate::writer::{Records, Wrap, Writer};

/// Calls that wait in the queue; further ones wait before it.
const QUEUE: usize = 256;

/// Bytes after which a group takes no further call.
const GROUP: usize = 4 << 20;

/// Appends packets to a file. Receipts are [`Level::Stored`] with [`Fsync::Always`](crate::Fsync::Always), else
/// [`Level::Sent`]. Nothing makes it idempotent: a packet delivered twice stands there twice, with the same id.
///
/// It opens the file on first use or on `ready`, in the tokio runtime of that call, which must live as long as the
/// sink is used. Dropping a call's future leaves out what was not queued yet; what was, is written.
pub struct FileSink {
    config: Arc<FileConfig>,
    wrap: Wrap,
    state: Mutex<State>,
}

enum State {
    Idle,
    Running(mpsc::Sender<Command>),
    Closed,
}

enum Command {
    Append(Job),
    Ready(oneshot::Sender<Result<()>>),
    Close(oneshot::Sender<Result<()>>),
}

struct Job {
    records: Records,
    answer: oneshot::Sender<Vec<Result<Level>>>,
}

impl FileSink {
    /// A sink with this configuration; nothing is opened yet. Errors: `Config`.
    pub fn new(config: FileConfig) -> Result<Self> {
        Self::with_outputs(config, Arc::new(|file| Box::new(file)))
    }

    pub(crate) fn with_outputs(config: FileConfig, wrap: Wrap) -> Result<Self> {
        config.check()?;
        Ok(Self { config: Arc::new(config), wrap, state: Mutex::new(State::Idle) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, kind: ErrorKind, why: &str) -> Error {
        Error::new(kind, format!("deliver to file {}: {why}", self.config.path.display()))
    }

    fn queue(&self) -> Result<mpsc::Sender<Command>> {
        let mut state = self.lock();
        match &*state {
            State::Closed => Err(self.error(ErrorKind::Closed, "the sink is closed").with_sent(Sent::No)),
            // Closed means that its runtime is gone: another begins.
            State::Running(queue) if !queue.is_closed() => Ok(queue.clone()),
            State::Running(_) | State::Idle => {
                let (queue, commands) = mpsc::channel(QUEUE);
                let writer = Writer::new(self.config.clone(), self.wrap.clone());
                tokio::spawn(work(writer, commands));
                *state = State::Running(queue.clone());
                Ok(queue)
            }
        }
    }

    async fn ask<T>(
        &self,
        queue: mpsc::Sender<Command>,
        command: Command,
        answer: oneshot::Receiver<T>,
    ) -> Result<T> {
        let gone = "its writer ended; was the runtime shut down?";
        if queue.send(command).await.is_err() {
            return Err(self.error(ErrorKind::Closed, gone).with_sent(Sent::No));
        }
        answer.await.map_err(|_| self.error(ErrorKind::Closed, gone))
    }

    async fn deliver_to_file(&self, packets: &[Packet]) -> Result<Vec<Result<Receipt>>> {
        let queue = self.queue()?;
        let mut records = Records::default();
        let mut refused = Vec::with_capacity(packets.len());
        for packet in packets {
            match encode(self.config.format, packet, SystemTime::now(), &mut records.bytes) {
                Ok(()) => {
                    records.ends.push(records.bytes.len());
                    refused.push(None);
                }
                Err(why) => {
                    refused.push(Some(
                        why.while_doing(format!("deliver to file {}", self.config.path.display())),
                    ));
                }
            }
        }
        let written = if records.ends.is_empty() {
            Vec::new()
        } else {
            let (answer, answered) = oneshot::channel();
            self.ask(queue, Command::Append(Job { records, answer }), answered).await?
        };
        let mut written = written.into_iter();
        let outcomes = packets.iter().zip(refused).map(|(packet, refused)| match refused {
            Some(why) => Err(why),
            None => {
                let level = written.next().expect("one outcome per record")?;
                Ok(Receipt::new(level, packet.id()))
            }
        });
        Ok(outcomes.collect())
    }
}

/// Writes what is queued until the sink is closed or dropped.
async fn work(mut writer: Writer, mut commands: mpsc::Receiver<Command>) {
    let mut next = None;
    loop {
        let command = match (next.take(), writer.due()) {
            (Some(command), _) => Some(command),
            (None, None) => commands.recv().await,
            (None, Some(due)) => match tokio::time::timeout_at(due.into(), commands.recv()).await {
                Ok(command) => command,
                Err(_) => {
                    let Some(((), back)) = blocking(writer, Writer::sync_later).await else { return };
                    writer = back;
                    continue;
                }
            },
        };
        match command {
            Some(Command::Append(job)) => {
                let mut jobs = vec![job];
                next = gather(&mut commands, &mut jobs);
                let Some(((), back)) = blocking(writer, move |writer| append(writer, jobs)).await else {
                    return;
                };
                writer = back;
            }
            Some(Command::Ready(answer)) => {
                let Some((ready, back)) = blocking(writer, Writer::ready).await else { return };
                writer = back;
                // Nobody may wait any more.
                let _ = answer.send(ready);
            }
            Some(Command::Close(answer)) => {
                if let Some((finished, writer)) = blocking(writer, Writer::finish).await {
                    // The file is closed and unlocked before the answer says so.
                    drop(writer);
                    let _ = answer.send(finished);
                }
                return;
            }
            None => {
                // Dropped without close: nobody is there to be told.
                let _ = blocking(writer, Writer::finish).await;
                return;
            }
        }
    }
}

/// Takes further jobs that wait already; the first other command stops it.
fn gather(commands: &mut mpsc::Receiver<Command>, jobs: &mut Vec<Job>) -> Option<Command> {
    let mut bytes: usize = jobs.iter().map(|job| job.records.bytes.len()).sum();
    while bytes < GROUP {
        match commands.try_recv() {
            Ok(Command::Append(job)) => {
                bytes += job.records.bytes.len();
                jobs.push(job);
            }
            Ok(other) => return Some(other),
            Err(_) => return None,
        }
    }
    None
}

fn append(writer: &mut Writer, jobs: Vec<Job>) {
    let mut all = Records::default();
    jobs.iter().for_each(|job| all.extend(&job.records));
    let mut outcomes = writer.append(&all).into_iter();
    for job in jobs {
        let own = outcomes.by_ref().take(job.records.ends.len()).collect();
        // Whoever asked may be gone; the records are written all the same.
        let _ = job.answer.send(own);
    }
}

/// Runs `f` where blocking is allowed. `None` if the runtime ends, or `f` panicked.
async fn blocking<T: Send + 'static>(
    mut writer: Writer,
    f: impl FnOnce(&mut Writer) -> T + Send + 'static,
) -> Option<(T, Writer)> {
    let done = tokio::task::spawn_blocking(move || (f(&mut writer), writer)).await;
    done.ok()
}

impl Service<Batch> for FileSink {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.deliver_to_file(batch.packets()).await
    }
}

impl Service<Packet> for FileSink {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let mut outcomes = self.deliver_to_file(std::slice::from_ref(&packet)).await?;
        outcomes.pop().expect("one outcome per packet")
    }
}

impl Sink for FileSink {
    /// Opens and locks the file. Errors: those of opening it, and a failed background sync or removal of an old file
    /// that was not told yet.
    async fn ready(&self) -> Result<()> {
        let queue = self.queue()?;
        let (answer, answered) = oneshot::channel();
        self.ask(queue, Command::Ready(answer), answered).await?
    }

    async fn close(&self) -> Result<()> {
        let before = std::mem::replace(&mut *self.lock(), State::Closed);
        let State::Running(queue) = before else { return Ok(()) };
        let (answer, answered) = oneshot::channel();
        self.ask(queue, Command::Close(answer), answered).await?
    }
}

impl fmt::Debug for FileSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSink").field("config", &self.config).finish_non_exhaustive()
    }
}
