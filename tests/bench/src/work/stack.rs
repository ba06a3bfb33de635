//! What a stack of layers costs around a sink that is always ready, with a subscriber as the program installs it and a
//! recorder of atomic counters.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use haul_breaker::{BreakerLayer, BreakerOptions};
use haul_core::{Deliver, Level, Packet, Receipt, Result, service_fn};
use haul_limit::{LimitLayer, LimitOptions};
use haul_retry::{RetryLayer, RetryOptions};
use haul_timeout::{TimeoutLayer, TimeoutOptions};
use haul_trace::TraceLayer;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_util::registry::{AtomicStorage, Registry};
use stats_alloc::Region;
use tower::ServiceBuilder;
use tracing_subscriber::EnvFilter;

use crate::allocations::ALLOCATOR;
use crate::measure::median;

const ROUNDS: usize = 15;
const CALLS: usize = 100_000;

/// The registry that the Prometheus exporter stands on: counters are atomics, histograms are buckets of samples.
struct Atomic(Registry<Key, AtomicStorage>);

impl Recorder for Atomic {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.0.get_or_create_counter(key, |counter| counter.clone().into())
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.0.get_or_create_gauge(key, |gauge| gauge.clone().into())
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.0.get_or_create_histogram(key, |histogram| histogram.clone().into())
    }
}

/// Median nanoseconds and mean allocations per packet, of three layers or of five. Sets the subscriber and the recorder of
/// the process.
pub(crate) fn cost(layers: usize, filter: &str) -> [f64; 2] {
    let recorder = Arc::new(Atomic(Registry::atomic()));
    metrics::set_global_recorder(recorder.clone()).expect("no recorder is set before");
    tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_writer(std::io::sink).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads");
    runtime.block_on(measure(layers, &recorder)).expect("the sink is always ready")
}

async fn measure(layers: usize, recorder: &Atomic) -> Result<[f64; 2]> {
    let sink = service_fn(|packet: Packet| async move { Ok(Receipt::new(Level::Sent, packet.id())) });
    let outer = ServiceBuilder::new()
        .layer(TraceLayer::new("sink"))
        .layer(TimeoutLayer::new(TimeoutOptions::default())?)
        .layer(RetryLayer::new(RetryOptions::default())?);
    // A rate and a concurrency that are never reached, as a healthy sink has them.
    let limit = LimitOptions { rate: Some(100_000_000), concurrency: Some(1024), ..LimitOptions::default() };
    match layers {
        3 => calls(outer.service(sink), recorder).await,
        _ => {
            let inner =
                outer.layer(BreakerLayer::new(BreakerOptions::default())?).layer(LimitLayer::new(limit)?);
            calls(inner.service(sink), recorder).await
        }
    }
}

async fn calls(stack: impl Deliver, recorder: &Atomic) -> Result<[f64; 2]> {
    let packet = Packet::text_static("sixty-four bytes of payload, more or less, as events often are..");
    let (mut times, mut allocations) = (Vec::new(), 0);
    for round in 0..=ROUNDS {
        let (region, start) = (Region::new(ALLOCATOR), Instant::now());
        for _ in 0..CALLS {
            black_box(stack.deliver(packet.clone()).await?);
        }
        if round > 0 {
            times.push(start.elapsed().as_nanos() as f64 / CALLS as f64);
            let change = region.change();
            allocations += change.allocations + change.reallocations;
        }
        // An exporter empties the histograms whenever it is asked.
        for histogram in recorder.0.get_histogram_handles().values() {
            histogram.clear_with(|_| ());
        }
    }
    Ok([median(&times), allocations as f64 / (ROUNDS * CALLS) as f64])
}
