//! Connections, listeners, sinks and sources by URL.

use std::sync::LazyLock;

use haul_core::{
    AnySink, AnySource, Batch, CloseReason, Connection, DeliverAll, Dial, Endpoint, Error, ErrorKind,
    Listener, Receipt, Registry, Result, Schemes, Sender, Sent, Service, Shared, Sink, State,
};
use tokio::sync::Mutex;

use crate::Stack;

pub(crate) static ALL: LazyLock<Registry> = LazyLock::new(crate::registry);

/// A connection to `url` that is `Disconnected` and begins to dial at once by itself, and again after each cut, so that
/// all its states can be watched. What is sent before it stands waits in its send buffer.
///
/// Errors: `Config` and `Unsupported` as [`connect`](crate::connect); that nobody answers is told by the connection's
/// state. Must be called within a tokio runtime.
#[cfg(feature = "reconnect")]
pub fn connect_lazy(url: &str) -> Result<Connection> {
    use tower_layer::Layer;

    let endpoint = Endpoint::parse(url)?;
    let dialer = ALL.dialer_of(&endpoint)?;
    let layer = haul_reconnect::ReconnectLayer::new(haul_reconnect::ReconnectOptions::default())?;
    Ok(layer.layer(dialer).connect_lazy(endpoint))
}

/// Listens on `url`; port 0 takes a free one, which [`Listener::local_endpoint`] names.
///
/// Errors: as [`connect`](crate::connect).
pub async fn listen(url: &str) -> Result<Listener> {
    ALL.listen(Endpoint::parse(url)?).await
}

/// Opens the sink at `url`: a connector's (`file:`, `null:`), or a connection that packets are delivered to.
///
/// A connection is dialed at the first delivery or [`ready`](Sink::ready), and dialed again at the next delivery after
/// it ended; what it receives is discarded. Its receipts are `Sent` where the peer is not haul, and the peer's own
/// where it is. Layers such as `retry` make it try again; [`Connect::sink`](crate::Connect::sink) is the same with layers
/// around the connection.
///
/// Errors: as [`connect`](crate::connect), and the sink's own.
pub async fn deliver(url: &str) -> Result<AnySink> {
    sink(&ALL, Endpoint::parse(url)?, &Stack::default()).await
}

/// Opens the source at `url`: a connector's (`file:`), or a connection whose packets are read.
///
/// Errors: as [`connect`](crate::connect), and the source's own.
pub async fn source(url: &str) -> Result<AnySource> {
    let endpoint = Endpoint::parse(url)?;
    let schemes = ALL.schemes();
    match Place::of(&endpoint, &schemes.read, &schemes.dial) {
        Place::Dialed => Ok(AnySource::new(Reading(ALL.connect(endpoint).await?))),
        Place::Own => ALL.open_source(endpoint).await,
        Place::Nowhere => Err(nowhere(ALL.open_source(endpoint).await, &schemes)),
    }
}

/// The sink at `endpoint`, a connection's through `stack` where nothing else delivers there.
pub(crate) async fn sink(registry: &Registry, endpoint: Endpoint, stack: &Stack) -> Result<AnySink> {
    let schemes = registry.schemes();
    match Place::of(&endpoint, &schemes.deliver, &schemes.dial) {
        Place::Dialed => {
            let dialer = stack.dialer(registry, &endpoint)?;
            Ok(AnySink::new(Dialed { dialer, endpoint, sender: Mutex::new(Slot::Idle) }))
        }
        Place::Own if *stack == Stack::default() => registry.open_sink(endpoint).await,
        Place::Own => {
            let message = format!("deliver to {endpoint}: it is no connection that layers could go around");
            Err(Error::new(ErrorKind::Config, message))
        }
        Place::Nowhere => Err(nowhere(registry.open_sink(endpoint).await, &schemes)),
    }
}

/// What an endpoint is served by.
enum Place {
    /// A sink or source of its own.
    Own,
    /// A connection.
    Dialed,
    Nowhere,
}

impl Place {
    fn of(endpoint: &Endpoint, own: &[&str], dial: &[&str]) -> Self {
        let scheme = endpoint.scheme();
        match (own.contains(&scheme), dial.contains(&scheme)) {
            (true, _) => Self::Own,
            (false, true) => Self::Dialed,
            (false, false) => Self::Nowhere,
        }
    }
}

/// The registry's error for an unknown scheme, with what can be connected to beside it.
fn nowhere<T>(refused: Result<T>, schemes: &Schemes) -> Error {
    match refused {
        Err(why) => why.with("connections", schemes.dial.join(" ")),
        Ok(_) => Error::new(ErrorKind::Internal, "the registry opened a scheme that it does not list"),
    }
}

/// A connection that is only read; its sending end stays, so that it is not half-closed.
struct Reading(Connection);

impl haul_core::Source for Reading {
    fn next(&mut self) -> impl Future<Output = Result<Option<haul_core::Delivery>>> + Send {
        self.0.next()
    }
}

/// A connection that is only delivered to, dialed when it is needed.
struct Dialed {
    dialer: Shared<Endpoint>,
    endpoint: Endpoint,
    sender: Mutex<Slot>,
}

enum Slot {
    Idle,
    Open(Sender),
    Closed,
}

impl Dialed {
    /// The sender of a connection that stands. Who comes while it is dialed waits for the one dial.
    async fn sender(&self) -> Result<Sender> {
        let mut slot = self.sender.lock().await;
        match &*slot {
            Slot::Closed => {
                let message = format!("deliver to {}: the sink was closed", self.endpoint);
                return Err(Error::new(ErrorKind::Closed, message).with_sent(Sent::No));
            }
            Slot::Open(sender) if !sender.state().is_over() => return Ok(sender.clone()),
            Slot::Open(_) | Slot::Idle => {}
        }
        let (sender, receiver) = self.dialer.dial(self.endpoint.clone()).await?.split();
        // Nobody reads what the peer sends: core discards and counts it.
        drop(receiver);
        *slot = Slot::Open(sender.clone());
        Ok(sender)
    }
}

impl Service<Batch> for Dialed {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.sender().await?.deliver_all(batch).await
    }
}

impl Sink for Dialed {
    async fn ready(&self) -> Result<()> {
        match self.sender().await?.state() {
            State::Reconnecting { attempt } => {
                let message =
                    format!("deliver to {}: it was cut, dial {attempt} is under way", self.endpoint);
                Err(Error::new(ErrorKind::Connect, message).with_sent(Sent::No))
            }
            _ => Ok(()),
        }
    }

    async fn close(&self) -> Result<()> {
        let before = std::mem::replace(&mut *self.sender.lock().await, Slot::Closed);
        match before {
            Slot::Open(sender) => sender.close(CloseReason::NORMAL).await,
            Slot::Idle | Slot::Closed => Ok(()),
        }
    }
}
