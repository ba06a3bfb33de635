use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use haul_core::{AnySink, Batch, Error, ErrorKind, Packet, Receipt, Result, Sent, Service, Sink};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio::time::sleep;
use tower_layer::Layer;

use crate::options::OutboxOptions;
use crate::outbox::Outbox;

/// How long one that nobody uses stays unopened.
const UNUSED: Duration = Duration::from_secs(1);

/// Puts an [`Outbox`] in front of sinks.
#[derive(Clone, Debug)]
pub struct OutboxLayer {
    options: OutboxOptions,
}

impl OutboxLayer {
    /// A layer with these options. Errors: `Config` for a value out of its range.
    pub fn new(options: OutboxOptions) -> Result<Self> {
        options.check()?;
        Ok(Self { options })
    }
}

impl<S: Sink> Layer<S> for OutboxLayer {
    type Service = LazyOutbox;

    fn layer(&self, inner: S) -> LazyOutbox {
        let outbox = LazyOutbox(Arc::new(Lazy {
            options: self.options.clone(),
            sink: AnySink::new(inner),
            outbox: OnceCell::new(),
            closed: AtomicBool::new(false),
        }));
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(open_unused(Arc::downgrade(&outbox.0)));
        }
        outbox
    }
}

/// Opens it if nobody else does, so that what is left of before goes on though nothing new comes.
async fn open_unused(outbox: Weak<Lazy>) {
    let mut said = false;
    loop {
        sleep(UNUSED).await;
        let Some(outbox) = outbox.upgrade().map(LazyOutbox) else { return };
        match outbox.open().await {
            Err(why) if why.kind() != ErrorKind::Closed => {
                if !said {
                    let outbox = outbox.0.options.name();
                    tracing::warn!(outbox, "it cannot be opened, which is tried again: {why}");
                }
                said = true;
            }
            _ => return,
        }
    }
}

/// An outbox that is opened by the first packet or health check, which is also when what is left of before goes on; made in
/// a runtime, also by itself after a second.
///
/// An opening that failed is tried again by the next. Clones are the same outbox.
#[derive(Clone, Debug)]
pub struct LazyOutbox(Arc<Lazy>);

#[derive(Debug)]
struct Lazy {
    options: OutboxOptions,
    sink: AnySink,
    outbox: OnceCell<Outbox>,
    closed: AtomicBool,
}

impl LazyOutbox {
    /// The outbox, opened if it is not yet. Errors: as [`Outbox::open`]; `Closed`.
    pub async fn open(&self) -> Result<&Outbox> {
        let Lazy { options, sink, outbox, .. } = &*self.0;
        self.check()?;
        let open = || Outbox::open(sink.clone(), options.clone());
        let outbox = outbox.get_or_try_init(open).await.map_err(|why| why.with_sent(Sent::No))?;
        // It may have been closed meanwhile.
        self.check().map(|()| outbox)
    }

    /// The outbox, if it is open.
    pub fn get(&self) -> Option<&Outbox> {
        self.0.outbox.get()
    }

    fn check(&self) -> Result<()> {
        if !self.0.closed.load(Relaxed) {
            return Ok(());
        }
        let message = format!("outbox {} is closed", self.0.options.dir.display());
        Err(Error::new(ErrorKind::Closed, message).with_sent(Sent::No))
    }
}

impl Service<Packet> for LazyOutbox {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        self.open().await?.call(packet).await
    }
}

impl Service<Batch> for LazyOutbox {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.open().await?.call(batch).await
    }
}

impl Sink for LazyOutbox {
    async fn ready(&self) -> Result<()> {
        self.open().await?.ready().await
    }

    /// As [`Outbox`]'s; one that was never opened stays so, and its sink is closed.
    async fn close(&self) -> Result<()> {
        self.0.closed.store(true, Relaxed);
        match self.0.outbox.get() {
            Some(outbox) => Sink::close(outbox).await,
            None => self.0.sink.close().await,
        }
    }
}
