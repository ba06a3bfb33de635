//! From a route to the sink and layers that it names.

use haul_core::{AnySink, Endpoint, Error, Registry, Result};
use haul_event_log::{Order, SinkOptions};

use super::{Backoff, Route};
use crate::Stack;

impl Route {
    /// Opens the route's sink with its layers around it, the first outermost.
    ///
    /// Errors: `Config` and `Unsupported` for what is wrong with URL or layers, and the sink's own.
    pub async fn open(&self, registry: &Registry) -> Result<AnySink> {
        let failed = |why: Error| why.while_doing(format!("open route {}", self.name));
        let endpoint = Endpoint::parse(&self.sink).map_err(failed)?;
        let mut sink = crate::open::sink(registry, endpoint, &self.connect).await.map_err(failed)?;
        for layer in self.layers.iter().rev() {
            let mut others = Vec::new();
            for url in layer.sinks() {
                let endpoint = Endpoint::parse(url).map_err(failed)?;
                others.push(crate::open::sink(registry, endpoint, &Stack::default()).await.map_err(failed)?);
            }
            sink = layer.around(sink, others).map_err(failed)?;
        }
        Ok(sink)
    }

    /// How the event log is to deliver to it.
    pub fn sink_options(&self) -> SinkOptions {
        let Backoff { base, factor, cap } = self.backoff;
        let mut options = SinkOptions::default()
            .filter(self.filter.clone())
            .backoff(haul_core::Backoff { base, factor, cap })
            .order(self.order.unwrap_or_else(|| self.usual_order()));
        if let Some(batch) = self.batch {
            options = options.batch(batch);
        }
        if let Some(bytes) = self.batch_bytes {
            options = options.batch_bytes(bytes);
        }
        if let Some(ahead) = self.ahead {
            options = options.ahead(ahead);
        }
        match self.metadata {
            true => options,
            false => options.bare(),
        }
    }

    /// As many events of a session as there are, where the sink accepts nothing behind what it failed: it writes one
    /// file or stream, in order, up to the first failure. Another, and a haul peer, answers for each by itself.
    fn usual_order(&self) -> Order {
        if self.layers.iter().any(|layer| !layer.sinks().is_empty()) {
            return Order::Strict;
        }
        let Ok(endpoint) = Endpoint::parse(&self.sink) else {
            return Order::Strict;
        };
        let foreign =
            || endpoint.query().any(|(name, value)| name == "framing" && !value.starts_with("haul"));
        match endpoint.scheme() {
            "file" | "log" | "null" => Order::Batch,
            "tcp" | "unix" if foreign() => Order::Batch,
            _ => Order::Strict,
        }
    }
}
