//! The layers that a route may put around its sink.

use haul_core::{AnySink, Batch, Result, Service};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
#[allow(unused_imports, reason = "there may be no layer")]
use tower_layer::Layer as _;

/// A table of a route's `layers`: `type` says which, the other keys are its options.
///
/// Only the layers that are compiled in are there.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Layer {
    /// Delivers each batch to the sink or to one of `sinks`.
    #[cfg(feature = "balance")]
    Balance(Members<haul_balance::BalanceOptions>),
    /// Gathers what is delivered at once into one delivery.
    #[cfg(feature = "batch")]
    Batch(haul_batch::BatchOptions),
    /// Delivers nothing for a time when too much fails.
    #[cfg(feature = "breaker")]
    Breaker(haul_breaker::BreakerOptions),
    /// Delivers each id once.
    #[cfg(feature = "dedupe")]
    Dedupe(haul_dedupe::DedupeOptions),
    /// Delivers to the first of `sinks` that works, while the sink does not.
    #[cfg(feature = "fallback")]
    Fallback(Members<haul_fallback::FallbackOptions>),
    /// Delivers each packet to the sink and to all of `sinks`.
    #[cfg(feature = "fanout")]
    Fanout(Members<haul_fanout::FanoutOptions>),
    /// Bounds the packets in a time, and the deliveries at once.
    #[cfg(feature = "limit")]
    Limit(haul_limit::LimitOptions),
    /// Has packets on disk before they are answered, and delivers them from there.
    #[cfg(feature = "outbox")]
    Outbox(haul_outbox::OutboxOptions),
    /// Lets deliveries wait in a bounded queue.
    #[cfg(feature = "queue")]
    Queue(haul_queue::QueueOptions),
    /// Delivers again what failed and may be sent again.
    #[cfg(feature = "retry")]
    Retry(haul_retry::RetryOptions),
    /// Bounds each delivery that passes through it.
    #[cfg(feature = "timeout")]
    Timeout(haul_timeout::TimeoutOptions),
    /// Spans and metrics.
    #[cfg(feature = "trace")]
    Trace(haul_trace::TraceOptions),
}

/// A layer over several sinks: the route's own, and those at the URLs in `sinks`. The other keys are the layer's options.
#[derive(Clone, Debug, PartialEq)]
pub struct Members<O> {
    /// The URLs of the other sinks, in order.
    pub sinks: Vec<String>,
    /// The layer's options.
    pub options: O,
}

impl<'de, O: DeserializeOwned> Deserialize<'de> for Members<O> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        const SINKS: &str = "sinks";
        let mut table = toml::Table::deserialize(from)?;
        let sinks = table.remove(SINKS);
        let options = O::deserialize(table).map_err(|why| match why.message() {
            // Here is one key more than the options know.
            unknown if unknown.starts_with("unknown field") => {
                D::Error::custom(format_args!("{unknown}, `{SINKS}`"))
            }
            other => D::Error::custom(other),
        })?;
        let sinks = sinks.ok_or_else(|| D::Error::missing_field(SINKS))?;
        let sinks =
            sinks.try_into().map_err(|why| D::Error::custom(format_args!("{SINKS}: {}", why.message())))?;
        Ok(Self { sinks, options })
    }
}

impl Layer {
    /// The URLs of the sinks that it delivers to beside the one it is around.
    pub(super) fn sinks(&self) -> &[String] {
        match self {
            #[cfg(feature = "balance")]
            Self::Balance(members) => &members.sinks,
            #[cfg(feature = "fallback")]
            Self::Fallback(members) => &members.sinks,
            #[cfg(feature = "fanout")]
            Self::Fanout(members) => &members.sinks,
            #[allow(unreachable_patterns, reason = "there may be no other layer")]
            _ => &[],
        }
    }

    /// This layer around `inner`, with what stands at its [`sinks`](Self::sinks). Errors: `Config` for an option out of
    /// its range.
    #[allow(unused_variables, reason = "there may be no layer")]
    pub(super) fn around(&self, inner: AnySink, others: Vec<AnySink>) -> Result<AnySink> {
        Ok(match self {
            #[cfg(feature = "balance")]
            Self::Balance(Members { options, .. }) => {
                let others: Vec<_> = others.into_iter().map(haul_balance::Member::new).collect();
                AnySink::new(haul_balance::BalanceLayer::new(*options, others)?.layer(inner))
            }
            #[cfg(feature = "batch")]
            Self::Batch(options) => AnySink::new(haul_batch::BatchLayer::new(*options)?.layer(inner)),
            #[cfg(feature = "breaker")]
            Self::Breaker(options) => around(haul_breaker::BreakerLayer::new(options.clone())?, inner),
            #[cfg(feature = "dedupe")]
            Self::Dedupe(options) => around(haul_dedupe::DedupeLayer::new(*options)?, inner),
            #[cfg(feature = "fallback")]
            Self::Fallback(Members { options, .. }) => {
                AnySink::new(haul_fallback::FallbackLayer::new(options.clone(), others)?.layer(inner))
            }
            #[cfg(feature = "fanout")]
            Self::Fanout(Members { options, .. }) => {
                AnySink::new(haul_fanout::FanoutLayer::new(*options, others)?.layer(inner))
            }
            #[cfg(feature = "limit")]
            Self::Limit(options) => around(haul_limit::LimitLayer::new(options.clone())?, inner),
            #[cfg(feature = "outbox")]
            Self::Outbox(options) => {
                AnySink::new(haul_outbox::OutboxLayer::new(options.clone())?.layer(inner))
            }
            #[cfg(feature = "queue")]
            Self::Queue(options) => around(haul_queue::QueueLayer::<Batch>::new(*options)?, inner),
            #[cfg(feature = "retry")]
            Self::Retry(options) => around(haul_retry::RetryLayer::new(options.clone())?, inner),
            #[cfg(feature = "timeout")]
            Self::Timeout(options) => around(haul_timeout::TimeoutLayer::new(*options)?, inner),
            #[cfg(feature = "trace")]
            Self::Trace(options) => around(haul_trace::TraceLayer::with_options(options.clone()), inner),
            #[allow(unreachable_patterns, reason = "without a layer compiled in there is nothing to match")]
            _ => inner,
        })
    }
}

/// A layer that is only of deliveries: health check and close go to the sink.
#[allow(dead_code, reason = "there may be no layer")]
fn around<L>(layer: L, inner: AnySink) -> AnySink
where
    L: tower_layer::Layer<AnySink>,
    L::Service: Service<Batch>,
{
    AnySink::layered(layer.layer(inner.clone()), inner)
}

#[cfg(all(test, feature = "layers", feature = "file", feature = "tcp"))]
#[path = "layer_tests.rs"]
mod tests;
