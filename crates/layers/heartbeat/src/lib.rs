#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! Pings are not packets: nothing is sent again. Order: inside reconnect and session, which act on its `Timeout`; around
//! or inside adaptive. Cancel: a dial that is dropped leaves nothing.

mod beat;
mod monitor;
mod options;
mod reading;
mod writing;

use std::fmt;
use std::sync::Arc;

use haul_core::wire::{Frame, WriteBuf};
use haul_core::{Backoff, Connection, Encoder, Endpoint, Link, Packet, Result, Service, Task};
use tower_layer::Layer;

use beat::Beat;
pub use monitor::{HeartbeatStats, Monitor, SAMPLES};
pub use options::HeartbeatOptions;
use reading::Reader;
use writing::{SharedEncoder, Writer, Writing};

type Hook = Arc<dyn Fn(&Endpoint, &Monitor) + Send + Sync>;

/// Puts [`Heartbeat`] around dialers, and the heartbeat itself around links.
#[derive(Clone)]
pub struct HeartbeatLayer {
    options: HeartbeatOptions,
    probe: Option<Packet>,
    hook: Option<Hook>,
    random: fn() -> u64,
}

impl HeartbeatLayer {
    /// A layer with these options. Errors: `Config` for a value out of its range.
    pub fn new(options: HeartbeatOptions) -> Result<Self> {
        options.check()?;
        Ok(Self { options, probe: None, hook: None, random: Backoff::random })
    }

    /// Asks with `probe` where the protocol has no pings: a packet that the peer's application answers with anything.
    ///
    /// What it answers goes to the application here; the probe is not among the connection's packets sent.
    #[must_use]
    pub fn with_probe(mut self, probe: Packet) -> Self {
        self.probe = Some(probe);
        self
    }

    /// Calls `watch` with the monitor of each link that is dialed.
    #[must_use]
    pub fn on_link(mut self, watch: impl Fn(&Endpoint, &Monitor) + Send + Sync + 'static) -> Self {
        self.hook = Some(Arc::new(watch));
        self
    }

    /// `link` with a heartbeat, and what watches it: for connections that were accepted. Must be called within a tokio
    /// runtime.
    ///
    /// Where the link has no pings and the layer no probe, it stays as it is. Errors: what the link's encoder says of the
    /// probe (`Unsupported`, `Codec`).
    pub fn watch(&self, mut link: Link) -> Result<(Link, Monitor)> {
        let monitor = Monitor::default();
        let probe = self.probe.clone().filter(|_| !link.info.pings);
        if !link.info.pings && probe.is_none() {
            return Ok((link, monitor));
        }
        let mut options = self.options.clone();
        // Asking twice over would be core's own ping beside ours.
        options.interval = link.limits.ping_interval.take().unwrap_or(options.interval);
        options.prove = options.prove.filter(|_| link.info.pings);
        options.check()?;
        if let (Some(encoder), Some(probe)) = (&mut link.encoder, &probe) {
            encoder.encode(&Frame::packet(probe.clone()), &mut WriteBuf::default())?;
        }
        let encoder = link.encoder.take().map(SharedEncoder::new);
        link.encoder = encoder.clone().map(|encoder| Box::new(encoder) as Box<dyn Encoder>);
        let writing = Arc::new(Writing::new(link.write, encoder));
        let beat = Beat::new(options, self.random);
        let first = (self.random)();
        let reader = Reader::new(link.read, writing.clone(), monitor.clone(), beat, probe, first);
        link.read = Box::new(reader);
        link.write = Box::new(Writer(writing));
        Ok((link, monitor))
    }
}

impl<S: Service<Endpoint>> Layer<S> for HeartbeatLayer {
    type Service = Heartbeat<S>;

    fn layer(&self, inner: S) -> Heartbeat<S> {
        Heartbeat { inner, layer: self.clone() }
    }
}

/// A dialer whose connections fail when their peer is dead. See the crate's documentation.
#[derive(Clone)]
pub struct Heartbeat<S> {
    inner: S,
    layer: HeartbeatLayer,
}

impl<S: Service<Endpoint>> Service<Endpoint> for Heartbeat<S> {
    async fn call(&self, endpoint: Endpoint) -> Result<Connection> {
        let link = self.inner.call(endpoint.clone()).await?.into_link().await?;
        let watched = self.layer.watch(link);
        let (link, monitor) = watched.map_err(|why| why.while_doing(format_args!("watch {endpoint}")))?;
        if let Some(hook) = &self.layer.hook {
            hook(&endpoint, &monitor);
        }
        Ok(Connection::new(link, spawn))
    }
}

fn spawn(task: Task) {
    tokio::spawn(task);
}

impl fmt::Debug for HeartbeatLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeartbeatLayer")
            .field("options", &self.options)
            .field("probe", &self.probe.is_some())
            .finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for Heartbeat<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Heartbeat").field(&self.layer.options).finish()
    }
}

#[cfg(test)]
mod tests;
