//! A forwarder that runs.

use std::sync::Arc;
use std::time::Duration;

use haul_core::{AnySink, Error, ErrorKind, Result, Sink};
use haul_journal::{Cursor, Journal, Seq};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::flights::Flights;
use super::status::Counters;
use super::window::Window;
use super::{DeadLetters, DeliveryOptions, Forwarder, NEVER, Records, SinkStatus, Trouble};

/// Where a forwarder takes packets, and how.
#[derive(Clone)]
#[allow(missing_debug_implementations, reason = "records need not have it")]
pub struct Route {
    /// What to call the sink in status and messages.
    pub name: String,
    /// The sink.
    pub sink: AnySink,
    /// What the journal's records are.
    pub records: Arc<dyn Records>,
    /// Where to keep what is refused for good.
    pub dead: Arc<DeadLetters>,
    /// How packets go.
    pub options: DeliveryOptions,
}

/// Forwards from a journal to a sink until it is ended. Dropping it stops it at once; what the sink has not got is
/// delivered when another goes on from the same cursor.
///
/// A failure that may pass, and one that is the sink's own (`Config`, `Unauthorized`, `Tls`), is tried again for ever;
/// any other permanent one makes the packet a dead letter. Behind a packet that failed those of its key wait; other keys
/// go on, as far as [`DeliveryOptions::ahead`] says. The cursor is committed behind what the sink has answered for.
pub struct Forwarding {
    name: String,
    sink: AnySink,
    counters: Arc<Counters>,
    journal: Journal,
    cursor: Cursor,
    until: watch::Sender<Seq>,
    committed: watch::Receiver<Seq>,
    task: JoinHandle<Result<()>>,
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Forwarding {
    /// Starts at the cursor's position, in the current runtime.
    ///
    /// Errors: `Config` for options without sense; `Io` if the journal's reading thread cannot be started.
    pub fn start(journal: &Journal, cursor: Cursor, route: Route) -> Result<Self> {
        let Route { name, sink, records, dead, options } = route;
        options.check()?;
        let position = cursor.position().unwrap_or_else(|| journal.first());
        let counters = Arc::new(Counters::from(position));
        let (until, told) = watch::channel(NEVER);
        let (committed, comes) = watch::channel(position);
        let forwarder = Forwarder {
            name: name.clone(),
            sink: sink.clone(),
            records,
            options,
            reader: journal.reader(position)?,
            window: Window::new(&options, position),
            flights: Flights::default(),
            cursor: cursor.clone(),
            committed,
            commit_at: Instant::now(),
            counters: counters.clone(),
            dead,
            until: told,
            trouble: Trouble::default(),
            read_at: None,
            gave_up: false,
        };
        let task = tokio::spawn(forwarder.run());
        Ok(Self { name, sink, counters, journal: journal.clone(), cursor, until, committed: comes, task })
    }

    /// Where it stands.
    pub fn status(&self) -> SinkStatus {
        self.counters.status(&self.name, self.journal.next().0)
    }

    /// How far it comes.
    pub fn progress(&self) -> Progress {
        Progress(self.committed.clone())
    }

    /// Tells it to end when the sink has all there is now, or when it can only wait for what the sink failed.
    pub fn finish(&self) {
        self.until.send_replace(self.journal.next());
    }

    /// [`finish`](Self::finish), waits for that within `deadline`, and closes the sink. The answer says where it stands,
    /// and how closing the sink went. Cancelled, it has ended.
    pub async fn end(mut self, deadline: Duration) -> (SinkStatus, Result<()>) {
        self.finish();
        let deadline = Instant::now() + deadline;
        if timeout_at(deadline, &mut self.task).await.is_err() {
            self.task.abort();
            if let Err(why) = self.cursor.commit(self.counters.done()).await {
                // It is given again what it already has: at least once.
                tracing::warn!(sink = self.name, "its position was not written: {why}");
            }
        }
        // A sink that is stuck gets a little time to let go of what it holds.
        let deadline = deadline.max(Instant::now() + Duration::from_millis(500));
        let closed = match timeout_at(deadline, self.sink.close()).await {
            Ok(closed) => closed.map_err(|why| why.while_doing(format!("close sink {}", self.name))),
            Err(_) => {
                Err(Error::new(ErrorKind::Timeout, format!("close sink {}: it takes too long", self.name)))
            }
        };
        (self.status(), closed)
    }
}

/// How far a forwarder has come, durably.
#[derive(Clone, Debug)]
pub struct Progress(watch::Receiver<Seq>);

impl Progress {
    /// The first packet that is not done.
    pub fn position(&self) -> Seq {
        *self.0.borrow()
    }

    /// Waits until it is further than `position`. `false` if the forwarder has ended before. Cancel safe.
    pub async fn beyond(&mut self, position: Seq) -> bool {
        self.0.wait_for(|at| *at > position).await.is_ok()
    }
}

impl std::fmt::Debug for Forwarding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwarding").field("status", &self.status()).finish()
    }
}
