//! From a route to the sink and layers that it names.

use haul_core::{AnySink, Endpoint, Error, Registry, Result};
use haul_event_log::{Order, Panel, SinkOptions};

use super::{Backoff, Route};
use crate::Stack;

impl Route {
    /// Opens the route's sink with its layers around it, the first outermost, and hangs what they know on `panel`.
    ///
    /// Errors: `Config` and `Unsupported` for what is wrong with URL or layers, and the sink's own.
    pub async fn open(&self, registry: &Registry, panel: &Panel) -> Result<AnySink> {
        let failed = |why: Error| why.while_doing(format!("open route {}", self.name));
        let receiver = |shown: &str, sink: AnySink| (panel.receiver(shown, sink), shown.to_owned());
        let own = async {
            let endpoint = Endpoint::parse(&self.sink)?;
            let shown = endpoint.to_string();
            Ok(receiver(&shown, self.own_sink(registry, endpoint).await?))
        };
        let other = async |url: &str| {
            let endpoint = Endpoint::parse(url)?;
            let shown = endpoint.to_string();
            Ok(receiver(&shown, crate::open::sink(registry, endpoint, &Stack::default()).await?))
        };
        let (mut sink, shown) = own.await.map_err(failed)?;
        for layer in self.layers.iter().rev() {
            let (mut others, mut names) = (Vec::new(), vec![shown.clone()]);
            for url in layer.sinks() {
                let (sink, shown) = other(url).await.map_err(failed)?;
                others.push(sink);
                names.push(shown);
            }
            sink = layer.around(sink, others, names, panel).map_err(failed)?;
        }
        Ok(sink)
    }

    /// The sink without its layers.
    async fn own_sink(&self, registry: &Registry, endpoint: Endpoint) -> Result<AnySink> {
        #[cfg(all(feature = "auth", feature = "http"))]
        if let Some(auth) = &self.auth {
            return super::auth::sink(&endpoint, auth, &self.connect);
        }
        crate::open::sink(registry, endpoint, &self.connect).await
    }

    /// Text that is another when the route is made of something else: whoever keeps routes open opens it anew then. It has
    /// the secrets of the URL.
    pub fn made_of(&self) -> String {
        let made_of = format!("{} {:?} {:?}", self.sink, self.layers, self.connect);
        #[cfg(all(feature = "auth", feature = "http"))]
        let made_of = format!("{made_of} {:x}", super::auth::digest(self.auth.as_ref()));
        made_of
    }

    /// What stands around the sink, outermost first: `queue`, `balance 3:1`, and `auth oauth2` as the last.
    pub fn around(&self) -> Vec<String> {
        #[allow(unused_mut, reason = "without auth nothing is added")]
        let mut around: Vec<_> = self.layers.iter().map(ToString::to_string).collect();
        #[cfg(all(feature = "auth", feature = "http"))]
        around.extend(self.auth.as_ref().map(|auth| format!("auth {}", auth.as_str())));
        around
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
