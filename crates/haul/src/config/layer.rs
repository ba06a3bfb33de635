//! The layers that a route may put around its sink.

use haul_core::{AnySink, Batch, Result, Service};
#[allow(unused_imports, reason = "there may be no layer")]
use haul_event_log::{LayerStatus, Panel};
use serde::Deserialize;
#[allow(unused_imports, reason = "there may be no layer")]
use tower_layer::Layer as _;

#[allow(unused_imports, reason = "there may be no layer")]
use super::parts::{self, Members};

/// A table of a route's `layers`: `type` says which, the other keys are its options.
///
/// Only the layers that are compiled in are there.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Layer {
    /// Delivers each batch to the sink or to one of `sinks`.
    #[cfg(feature = "balance")]
    Balance(parts::Balance),
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
    Queue(parts::Queue),
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

impl Layer {
    /// The URLs of the sinks that it delivers to beside the one it is around.
    pub(super) fn sinks(&self) -> &[String] {
        match self {
            #[cfg(feature = "balance")]
            Self::Balance(balance) => &balance.sinks,
            #[cfg(feature = "fallback")]
            Self::Fallback(members) => &members.sinks,
            #[cfg(feature = "fanout")]
            Self::Fanout(members) => &members.sinks,
            #[allow(unreachable_patterns, reason = "there may be no other layer")]
            _ => &[],
        }
    }

    /// This layer around `inner`, with what stands at its [`sinks`](Self::sinks); `names` are those of all, `inner` the
    /// first. What it knows is shown on `panel`. Errors: `Config` for an option out of its range.
    #[allow(unused_variables, reason = "there may be no layer")]
    pub(super) fn around(
        &self,
        inner: AnySink,
        others: Vec<AnySink>,
        names: Vec<String>,
        panel: &Panel,
    ) -> Result<AnySink> {
        Ok(match self {
            #[cfg(feature = "balance")]
            Self::Balance(parts::Balance { options, weights, .. }) => {
                let sinks = std::iter::once(inner).chain(others).zip(weights);
                let members: Vec<_> =
                    sinks.map(|(sink, weight)| haul_balance::Member::new(sink).weight(*weight)).collect();
                let balance = haul_balance::Balance::new(*options, members)?;
                let seen = balance.clone();
                panel.layer(move || {
                    let admitted = seen.admitted();
                    let passed = names.iter().zip(&admitted).filter(|(_, admitted)| !**admitted);
                    let passed_over = passed.map(|(name, _)| name.clone()).collect();
                    Some(LayerStatus::Balance { members: admitted.len(), passed_over })
                });
                AnySink::new(balance)
            }
            #[cfg(feature = "batch")]
            Self::Batch(options) => AnySink::new(haul_batch::BatchLayer::new(*options)?.layer(inner)),
            #[cfg(feature = "breaker")]
            Self::Breaker(options) => {
                let breaker = haul_breaker::BreakerLayer::new(options.clone())?.layer(inner.clone());
                let states = breaker.watch();
                panel.layer(move || Some(LayerStatus::Breaker { state: states.get().as_str() }));
                AnySink::layered(breaker, inner)
            }
            #[cfg(feature = "dedupe")]
            Self::Dedupe(options) => around(haul_dedupe::DedupeLayer::new(*options)?, inner),
            #[cfg(feature = "fallback")]
            Self::Fallback(Members { options, .. }) => {
                let fallback = haul_fallback::FallbackLayer::new(options.clone(), others)?.layer(inner);
                let seen = fallback.clone();
                panel.layer(move || {
                    let active = seen.active();
                    Some(LayerStatus::Fallback { active, url: names.get(active)?.clone() })
                });
                AnySink::new(fallback)
            }
            #[cfg(feature = "fanout")]
            Self::Fanout(Members { options, .. }) => {
                AnySink::new(haul_fanout::FanoutLayer::new(*options, others)?.layer(inner))
            }
            #[cfg(feature = "limit")]
            Self::Limit(options) => {
                let limit = haul_limit::LimitLayer::new(options.clone())?.layer(inner.clone());
                let seen = limit.clone();
                panel.layer(move || Some(LayerStatus::Limit { allowed: seen.allowed()? }));
                AnySink::layered(limit, inner)
            }
            #[cfg(feature = "outbox")]
            Self::Outbox(options) => {
                shown_outbox(haul_outbox::OutboxLayer::new(options.clone())?.layer(inner), panel)
            }
            #[cfg(feature = "queue")]
            Self::Queue(table) => {
                let chosen = table.clone();
                let layer = haul_queue::QueueLayer::<Batch>::new(table.options)?;
                let queue = layer.policy(move |batch| chosen.policy(batch)).layer(inner.clone());
                let seen = queue.clone();
                panel.layer(move || Some(LayerStatus::Queue { waiting: seen.waiting() }));
                AnySink::layered(queue, inner)
            }
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

/// The outbox, which shows itself as soon as it is open: a second after the start at the latest, whether packets come or not.
#[cfg(feature = "outbox")]
fn shown_outbox(outbox: haul_outbox::LazyOutbox, panel: &Panel) -> AnySink {
    let seen = outbox.clone();
    panel.layer(move || {
        let status = seen.get()?.status();
        let stuck = status.sink.stuck.map(|stuck| stuck.message);
        Some(LayerStatus::Outbox {
            pending: status.pending,
            bytes: status.bytes,
            delivered: status.sink.delivered,
            retries: status.sink.retries,
            dead: status.sink.dead,
            lost: status.sink.lost,
            dropped: status.dropped,
            failure: status.failure.or(stuck),
        })
    });
    AnySink::new(outbox)
}

#[cfg(all(test, feature = "layers", feature = "file", feature = "tcp"))]
#[path = "layer_tests.rs"]
mod tests;
