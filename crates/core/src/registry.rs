//! Which scheme is served by what.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::{
    AnySink, AnySource, BoxFuture, Connection, Dial, Endpoint, Error, ErrorKind, Listener, Result, Service,
    Shared,
};

type Opener<T> = Arc<dyn Fn(Endpoint) -> BoxFuture<'static, Result<T>> + Send + Sync>;

/// Scheme -> what dials, listens, delivers and reads. Each crate registers itself; nothing is registered by magic.
#[derive(Clone, Default)]
pub struct Registry {
    dialers: BTreeMap<&'static str, Shared<Endpoint>>,
    listeners: BTreeMap<&'static str, Opener<Listener>>,
    sinks: BTreeMap<&'static str, Opener<AnySink>>,
    sources: BTreeMap<&'static str, Opener<AnySource>>,
    /// Scheme -> the feature that would add it.
    features: BTreeMap<&'static str, &'static str>,
}

impl Registry {
    /// A registry of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Connections to `schemes` are made by `dialer`.
    pub fn dialer(&mut self, schemes: &[&'static str], dialer: impl Service<Endpoint>) -> &mut Self {
        let dialer = Shared::new(dialer);
        self.dialers.extend(schemes.iter().map(|scheme| (*scheme, dialer.clone())));
        self
    }

    /// Listening on `schemes` is done by `listen`.
    pub fn listener<F, Fut>(&mut self, schemes: &[&'static str], listen: F) -> &mut Self
    where
        F: Fn(Endpoint) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Listener>> + Send + 'static,
    {
        add(&mut self.listeners, schemes, listen);
        self
    }

    /// Delivering to `schemes` is done by the sink that `open` makes.
    pub fn sink<F, Fut>(&mut self, schemes: &[&'static str], open: F) -> &mut Self
    where
        F: Fn(Endpoint) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<AnySink>> + Send + 'static,
    {
        add(&mut self.sinks, schemes, open);
        self
    }

    /// Reading from `schemes` is done by the source that `open` makes.
    pub fn source<F, Fut>(&mut self, schemes: &[&'static str], open: F) -> &mut Self
    where
        F: Fn(Endpoint) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<AnySource>> + Send + 'static,
    {
        add(&mut self.sources, schemes, open);
        self
    }

    /// Notes that `schemes` would be there with `feature`, so that the error for them can say so.
    pub fn missing(&mut self, schemes: &[&'static str], feature: &'static str) -> &mut Self {
        self.features.extend(schemes.iter().map(|scheme| (*scheme, feature)));
        self
    }

    /// Connects. Errors: `Unsupported` for a scheme that nothing here dials, and the dialer's own.
    pub async fn connect(&self, endpoint: Endpoint) -> Result<Connection> {
        self.dialer_of(&endpoint)?.dial(endpoint).await
    }

    /// What dials `endpoint`, to put layers around it. Errors: `Unsupported` for a scheme that nothing here dials.
    pub fn dialer_of(&self, endpoint: &Endpoint) -> Result<Shared<Endpoint>> {
        self.find("dial", &self.dialers, endpoint)
    }

    /// Listens. Errors: `Unsupported` for a scheme that nothing here listens on, and the listener's own.
    pub async fn listen(&self, endpoint: Endpoint) -> Result<Listener> {
        self.find("listen on", &self.listeners, &endpoint)?(endpoint).await
    }

    /// Opens a sink. Errors: `Unsupported` for a scheme that nothing here delivers to, and the sink's own.
    pub async fn open_sink(&self, endpoint: Endpoint) -> Result<AnySink> {
        self.find("deliver to", &self.sinks, &endpoint)?(endpoint).await
    }

    /// Opens a source. Errors: `Unsupported` for a scheme that nothing here reads from, and the source's own.
    pub async fn open_source(&self, endpoint: Endpoint) -> Result<AnySource> {
        self.find("read from", &self.sources, &endpoint)?(endpoint).await
    }

    /// The schemes that can be dialed, listened on, delivered to and read from.
    pub fn schemes(&self) -> Schemes {
        Schemes {
            dial: self.dialers.keys().copied().collect(),
            listen: self.listeners.keys().copied().collect(),
            deliver: self.sinks.keys().copied().collect(),
            read: self.sources.keys().copied().collect(),
        }
    }

    fn find<T: Clone>(&self, verb: &str, map: &BTreeMap<&'static str, T>, endpoint: &Endpoint) -> Result<T> {
        let scheme = endpoint.scheme();
        if let Some(found) = map.get(scheme) {
            return Ok(found.clone());
        }
        let known: Vec<_> = map.keys().copied().collect();
        let hint = match self.features.get(scheme) {
            Some(feature) => format!("; feature {feature} adds {scheme}"),
            None => String::new(),
        };
        Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "{verb} {endpoint}: scheme {scheme} is not among those compiled in ({}){hint}",
                known.join(", ")
            ),
        ))
    }
}

fn add<T, F, Fut>(map: &mut BTreeMap<&'static str, Opener<T>>, schemes: &[&'static str], open: F)
where
    F: Fn(Endpoint) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T>> + Send + 'static,
{
    let open: Opener<T> = Arc::new(move |endpoint| Box::pin(open(endpoint)));
    map.extend(schemes.iter().map(|scheme| (*scheme, open.clone())));
}

/// What a registry can do, by scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schemes {
    /// Schemes that can be dialed.
    pub dial: Vec<&'static str>,
    /// Schemes that can be listened on.
    pub listen: Vec<&'static str>,
    /// Schemes that can be delivered to.
    pub deliver: Vec<&'static str>,
    /// Schemes that can be read from.
    pub read: Vec<&'static str>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.schemes().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unknown_scheme_names_what_is_there_and_the_feature_that_would_add_it() {
        let mut registry = Registry::new();
        registry.dialer(
            &["tcp"],
            crate::service_fn(|_: Endpoint| async { Err(Error::new(ErrorKind::Connect, "")) }),
        );
        registry.missing(&["kafka"], "kafka");
        let error = registry.connect(Endpoint::parse("kafka://host").unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let text = error.to_string();
        assert!(text.contains("(tcp)") && text.contains("feature kafka"), "{text}");
    }
}
