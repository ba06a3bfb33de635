//! From a route to the sink and layers that it names.

use haul_core::{AnySink, Batch, Endpoint, Error, Registry, Result, Shared};
use haul_event_log::{Filter, Order, SinkOptions};
#[cfg(any(feature = "retry", feature = "timeout", feature = "trace"))]
use tower_layer::Layer as _;

use super::{Backoff, Layer, Route};

impl Route {
    /// Opens the route's sink with its layers around it, the first outermost.
    ///
    /// Errors: `Config` and `Unsupported` for what is wrong with URL or layers, and the sink's own.
    pub async fn open(&self, registry: &Registry) -> Result<AnySink> {
        let failed = |why: Error| why.while_doing(format!("open route {}", self.name));
        let endpoint = Endpoint::parse(&self.sink).map_err(failed)?;
        let sink = crate::open::sink(registry, endpoint, &self.connect).await.map_err(failed)?;
        let mut service = Shared::new(sink.clone());
        for layer in self.layers.iter().rev() {
            service = layer.around(service).map_err(failed)?;
        }
        Ok(AnySink::layered(service, sink))
    }

    /// How the event log is to deliver to it.
    pub fn sink_options(&self) -> SinkOptions {
        let wants = |filter: Filter, (name, value): (&String, &String)| filter.with(name, value);
        let Backoff { base, factor, cap } = self.backoff;
        let mut options = SinkOptions::default()
            .filter(self.filter.iter().fold(Filter::new(), wants))
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

impl Layer {
    /// This layer around `inner`. Errors: `Config` for an option out of its range.
    fn around(&self, inner: Shared<Batch>) -> Result<Shared<Batch>> {
        match self {
            #[cfg(feature = "retry")]
            Self::Retry(options) => {
                let layer = haul_retry::RetryLayer::new(options.clone())?;
                Ok(Shared::new(layer.layer(inner)))
            }
            #[cfg(feature = "timeout")]
            Self::Timeout(options) => {
                let layer = haul_timeout::TimeoutLayer::new(*options)?;
                Ok(Shared::new(layer.layer(inner)))
            }
            #[cfg(feature = "trace")]
            Self::Trace(options) => {
                let layer = haul_trace::TraceLayer::with_options(options.clone());
                Ok(Shared::new(layer.layer(inner)))
            }
            #[allow(unreachable_patterns, reason = "without a layer compiled in there is nothing to match")]
            _ => Ok(inner),
        }
    }
}
