//! What a gateway is to do.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use haul_core::{AnySink, BoxFuture, Endpoint, Registry, Result};
use haul_event_log::{Options, Panel, SinkOptions};
use haul_session::AcceptorOptions;

use crate::guard::Guard;

/// What a gateway is to do.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServeOptions {
    /// URLs to listen on. Beside the listener's own options the gateway reads `receipts=json` (each packet is answered
    /// with a JSON text) and `session=NAME` (the session of packets that name none); a WebSocket client may set both
    /// in the query of its own URL.
    pub listen: Vec<String>,
    /// The folder of the event log and of the socket for taps.
    pub data: PathBuf,
    /// Where events go on to.
    pub routes: Vec<Route>,
    /// How the event log is kept.
    pub log: Options,
    /// Connections at once on each listener whose URL does not say; one more is refused. Default: the listener's own.
    pub max_connections: Option<usize>,
    /// Largest payload in bytes on each listener whose URL does not say. Default: the listener's own.
    pub max_packet: Option<usize>,
    /// Packets of one connection that may wait for the disk or for their receipts; then reading it waits. Default
    /// 1024.
    pub window: usize,
    /// Bytes of all connections that may wait for the disk; then reading waits. Default 64 MiB.
    pub in_flight: usize,
    /// Who may come in over `http://` and `https://`. Default: whoever has no page of a foreign origin.
    pub guard: Guard,
    /// How sessions are kept, those of all listeners together; clients without sessions are taken in beside them
    /// (`admit_plain`), and `limits` bound each listener as its URL says.
    pub session: AcceptorOptions,
}

impl ServeOptions {
    /// Options that listen nowhere yet and keep their log in `data`.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            listen: Vec::new(),
            data: data.into(),
            routes: Vec::new(),
            log: Options::default(),
            max_connections: None,
            max_packet: None,
            window: 1024,
            in_flight: 64 << 20,
            guard: Guard::default(),
            session: AcceptorOptions::default(),
        }
    }

    /// The options that also listen on `url`.
    #[must_use]
    pub fn listen(mut self, url: impl Into<String>) -> Self {
        self.listen.push(url.into());
        self
    }

    /// The options with a further route.
    #[must_use]
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// How the event log is opened: it takes what the listeners take. Tools that open it need the same.
    pub fn log_options(&self) -> Options {
        let mut options = self.log.clone();
        options.max_packet = options.max_packet.max(self.max_packet.unwrap_or(0) as u64);
        options
    }

    /// How sessions are accepted.
    pub(crate) fn acceptor_options(&self) -> AcceptorOptions {
        let mut options = self.session.clone();
        options.admit_plain = true;
        // Those of each listener hold: a connection too many is closed.
        options.limits.max_connections = u32::MAX as usize;
        options
    }

    /// The options of listeners that hold where their URL says nothing.
    pub(crate) fn listener_defaults(&self) -> Vec<(&'static str, String)> {
        let connections = self.max_connections.map(|most| ("max_connections", most.to_string()));
        let packet = self.max_packet.map(|most| ("max_packet", most.to_string()));
        connections.into_iter().chain(packet).collect()
    }
}

type Open = Arc<dyn Fn(Panel) -> BoxFuture<'static, Result<AnySink>> + Send + Sync>;

/// A sink, and which events go to it.
#[derive(Clone)]
pub struct Route {
    pub(crate) name: String,
    /// Text that changes when the sink does.
    pub(crate) made_of: String,
    pub(crate) options: SinkOptions,
    pub(crate) open: Open,
}

impl Route {
    /// A route whose sink `open` makes, which hangs its receivers and layers on the panel; the gateway shows what is there.
    /// `made_of` is any text that says what the sink is made of: when it is another at a reload, the sink is replaced.
    ///
    /// The name is that of the route's position in the event log: under another name it begins afresh.
    pub fn new<F, Fut>(name: impl Into<String>, made_of: impl Into<String>, open: F) -> Self
    where
        F: Fn(Panel) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<AnySink>> + Send + 'static,
    {
        Self {
            name: name.into(),
            made_of: made_of.into(),
            options: SinkOptions::default(),
            open: Arc::new(move |panel| Box::pin(open(panel))),
        }
    }

    /// A route to the sink that `registry` opens for `endpoint`.
    pub fn url(name: impl Into<String>, endpoint: Endpoint, registry: Registry) -> Self {
        Self::new(name, endpoint.as_str().to_owned(), move |panel| {
            let (endpoint, registry) = (endpoint.clone(), registry.clone());
            async move { Ok(panel.receiver(endpoint.to_string(), registry.open_sink(endpoint).await?)) }
        })
    }

    /// The route with these options: filter, size of a delivery, waits between tries.
    #[must_use]
    pub fn options(mut self, options: SinkOptions) -> Self {
        self.options = options;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.made_of == other.made_of && self.options == other.options
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What it is made of may have a password in it.
        f.debug_struct("Route")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
