//! From a route to the sink and layers that it names.

use haul_core::{AnySink, Endpoint, Error, Registry, Result};
use haul_event_log::{Order, SinkOptions};
use haul_serve::Panel;

use super::{Backoff, Route};
use crate::Stack;

impl Route {
    /// Opens the route's sink with its layers around it, the first outermost, and hangs what they know on `panel`.
    ///
    /// Errors: `Config` and `Unsupported` for what is wrong with URL or layers, and the sink's own.
    pub async fn open(&self, registry: &Registry, panel: &Panel) -> Result<AnySink> {
        let failed = |why: Error| why.while_doing(format!("open route {}", self.name));
        let receiver = async |url: &str, connect: &Stack| {
            let endpoint = Endpoint::parse(url)?;
            let shown = endpoint.to_string();
            let sink = crate::open::sink(registry, endpoint, connect).await?;
            Ok((panel.receiver(shown.as_str(), sink), shown))
        };
        let (mut sink, shown) = receiver(&self.sink, &self.connect).await.map_err(failed)?;
        for layer in self.layers.iter().rev() {
            let (mut others, mut names) = (Vec::new(), vec![shown.clone()]);
            for url in layer.sinks() {
                let (other, shown) = receiver(url, &Stack::default()).await.map_err(failed)?;
                others.push(other);
                names.push(shown);
            }
            sink = layer.around(sink, others, names, panel).map_err(failed)?;
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
