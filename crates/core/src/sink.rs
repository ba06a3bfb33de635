//! Where packets are delivered to.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::{Batch, BoxFuture, Error, ErrorKind, Packet, Receipt, Result, Service};

/// A service that delivers many packets, and can be asked whether it is ready and told to drain.
///
/// A sink says in its docs which level its receipts have and what makes it idempotent. It opens on first use.
pub trait Sink: Service<Batch> {
    /// Opens what it needs and asks the server whether it would take packets: the health check.
    fn ready(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Delivers what was accepted, then lets go of connections and files. Later calls answer `Closed`.
    fn close(&self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

/// A clonable sink of any type; it delivers single packets too.
#[derive(Clone)]
pub struct AnySink(Arc<dyn Erased>);

trait Erased: Send + Sync {
    fn deliver_boxed(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<Result<Receipt>>>>;
    fn ready_boxed(&self) -> BoxFuture<'_, Result<()>>;
    fn close_boxed(&self) -> BoxFuture<'_, Result<()>>;
}

impl<S: Sink> Erased for S {
    fn deliver_boxed(&self, batch: Batch) -> BoxFuture<'_, Result<Vec<Result<Receipt>>>> {
        Box::pin(self.call(batch))
    }

    fn ready_boxed(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.ready())
    }

    fn close_boxed(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.close())
    }
}

impl AnySink {
    /// Erases the type of `sink`.
    pub fn new(sink: impl Sink) -> Self {
        Self(Arc::new(sink))
    }

    /// A layered service in front of `sink`: deliveries go through `service`, health check and close to the sink.
    pub fn layered(service: impl Service<Batch>, sink: AnySink) -> Self {
        Self::new(Layered { service, sink })
    }
}

struct Layered<S> {
    service: S,
    sink: AnySink,
}

impl<S: Service<Batch>> Service<Batch> for Layered<S> {
    fn call(&self, batch: Batch) -> impl Future<Output = Result<Vec<Result<Receipt>>>> + Send {
        self.service.call(batch)
    }
}

impl<S: Service<Batch>> Sink for Layered<S> {
    fn ready(&self) -> impl Future<Output = Result<()>> + Send {
        self.sink.ready()
    }

    fn close(&self) -> impl Future<Output = Result<()>> + Send {
        self.sink.close()
    }
}

impl Service<Batch> for AnySink {
    fn call(&self, batch: Batch) -> impl Future<Output = Result<Vec<Result<Receipt>>>> + Send {
        self.0.deliver_boxed(batch)
    }
}

impl Service<Packet> for AnySink {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let outcomes = self.0.deliver_boxed(Batch::new(vec![packet])).await?;
        let missing = || Err(Error::new(ErrorKind::Internal, "the sink answered no outcome for the packet"));
        outcomes.into_iter().next().unwrap_or_else(missing)
    }
}

impl Sink for AnySink {
    fn ready(&self) -> impl Future<Output = Result<()>> + Send {
        self.0.ready_boxed()
    }

    fn close(&self) -> impl Future<Output = Result<()>> + Send {
        self.0.close_boxed()
    }
}

impl fmt::Debug for AnySink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnySink")
    }
}
