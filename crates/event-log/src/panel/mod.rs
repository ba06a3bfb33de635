//! What a route shows of itself: how each of its receivers does, and what its layers know.

mod status;

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use haul_core::{AnySink, Batch, Receipt, Result, Service, Sink};
use tokio::time::Instant;

use status::DELIVERY_BOUNDS_US;
pub use status::{DeliveryTimes, LayerStatus, ReceiverStatus, RouteStatus};

/// Who opens a route hangs here what the route is made of; a gateway's status, metrics, taps and dashboard show it. Clones
/// are the same panel.
#[derive(Clone, Default)]
pub struct Panel(Arc<Inner>);

#[derive(Default)]
struct Inner {
    route: String,
    watch: Option<Arc<dyn Watch>>,
    parts: Mutex<Parts>,
}

/// Who looks on at what routes deliver. It must not wait.
pub trait Watch: Send + Sync + 'static {
    /// Whether anybody looks on at `route` now; else nothing is copied.
    fn watches(&self, route: &str) -> bool;

    /// What was given to `receiver` of `route`, and its answer; none if nobody waited for that.
    fn delivered(
        &self,
        route: &str,
        receiver: &str,
        batch: &Batch,
        answer: Option<&Result<Vec<Result<Receipt>>>>,
    );
}

#[derive(Default)]
struct Parts {
    receivers: Vec<Arc<Meter>>,
    layers: Vec<Layer>,
}

type Layer = Arc<dyn Fn() -> Option<LayerStatus> + Send + Sync>;

impl Panel {
    /// The panel of `route`, whose deliveries are shown to `watch`. One by `default()` has no name and shows them to nobody.
    pub fn new(route: impl Into<String>, watch: Arc<dyn Watch>) -> Self {
        Self(Arc::new(Inner { route: route.into(), watch: Some(watch), parts: Mutex::default() }))
    }

    /// `sink`, which counts from here on what it is given and how it answers, and shows it to who watches the route. `url`
    /// is how it is called, without a password.
    pub fn receiver(&self, url: impl Into<String>, sink: AnySink) -> AnySink {
        let mut parts = self.parts();
        let url = url.into();
        let alike = parts.receivers.iter().filter(|meter| meter.url == url).count();
        let name = if alike == 0 { url.clone() } else { format!("{url} ({})", alike + 1) };
        let meter = Arc::new(Meter { url, name, ..Meter::default() });
        parts.receivers.push(meter.clone());
        let Inner { route, watch, .. } = &*self.0;
        AnySink::new(Measured { sink, meter, route: route.clone(), watch: watch.clone() })
    }

    /// Shows what `read` answers as the state of a layer, inner layers first; nothing while it answers nothing. It must not
    /// wait. It goes with the panel.
    pub fn layer(&self, read: impl Fn() -> Option<LayerStatus> + Send + Sync + 'static) {
        self.parts().layers.push(Arc::new(read));
    }

    /// What hangs here, and how it does.
    pub fn status(&self) -> RouteStatus {
        let layers = self.parts().layers.clone();
        RouteStatus {
            name: self.0.route.clone(),
            receivers: self.parts().receivers.iter().map(|meter| meter.status()).collect(),
            layers: layers.iter().rev().filter_map(|read| read()).collect(),
        }
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        self.0.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Panel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panel").field(&self.status()).finish()
    }
}

/// The numbers of one receiver.
#[derive(Default)]
struct Meter {
    url: String,
    /// The URL, with a number where two have the same.
    name: String,
    deliveries: AtomicU64,
    under_way: AtomicUsize,
    accepted: AtomicU64,
    failed: AtomicU64,
    abandoned: AtomicU64,
    times: [AtomicU64; DELIVERY_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
    last_failure: Mutex<Option<String>>,
}

impl Meter {
    fn answered(&self, took: Duration, outcomes: &[Result<Receipt>]) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.times[DELIVERY_BOUNDS_US.partition_point(|bound| *bound < took)].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(took, Relaxed);
        for outcome in outcomes {
            match outcome {
                Ok(_) => drop(self.accepted.fetch_add(1, Relaxed)),
                Err(why) => self.fails(1, why),
            }
        }
    }

    fn fails(&self, packets: usize, why: &haul_core::Error) {
        self.failed.fetch_add(packets as u64, Relaxed);
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_string());
    }

    fn status(&self) -> ReceiverStatus {
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        ReceiverStatus {
            url: self.name.clone(),
            deliveries: load(&self.deliveries),
            under_way: self.under_way.load(Relaxed),
            accepted: load(&self.accepted),
            failed: load(&self.failed),
            abandoned: load(&self.abandoned),
            times: DeliveryTimes {
                bounds_us: DELIVERY_BOUNDS_US,
                counts: self.times.each_ref().map(load),
                sum_us: load(&self.sum_us),
            },
            last_failure: self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// A sink that is measured.
struct Measured {
    sink: AnySink,
    meter: Arc<Meter>,
    route: String,
    watch: Option<Arc<dyn Watch>>,
}

impl Service<Batch> for Measured {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let under_way = self.begin(&batch);
        let answer = self.sink.call(batch).await;
        under_way.end(&answer);
        answer
    }
}

impl Measured {
    fn begin(&self, batch: &Batch) -> UnderWay<'_> {
        self.meter.deliveries.fetch_add(1, Relaxed);
        self.meter.under_way.fetch_add(1, Relaxed);
        let watched = self.watch.as_ref().is_some_and(|watch| watch.watches(&self.route));
        let copy = watched.then(|| batch.clone());
        UnderWay { of: self, packets: batch.len(), copy, since: Instant::now(), answered: false }
    }
}

/// A delivery under way; dropped without an answer, it was abandoned.
struct UnderWay<'a> {
    of: &'a Measured,
    packets: usize,
    /// For those who watch.
    copy: Option<Batch>,
    since: Instant,
    answered: bool,
}

impl UnderWay<'_> {
    fn end(mut self, answer: &Result<Vec<Result<Receipt>>>) {
        self.answered = true;
        match answer {
            Ok(outcomes) => self.of.meter.answered(self.since.elapsed(), outcomes),
            Err(why) => self.of.meter.fails(self.packets, why),
        }
        self.tell(Some(answer));
    }

    fn tell(&self, answer: Option<&Result<Vec<Result<Receipt>>>>) {
        if let (Some(watch), Some(batch)) = (&self.of.watch, &self.copy) {
            watch.delivered(&self.of.route, &self.of.meter.name, batch, answer);
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.of.meter.under_way.fetch_sub(1, Relaxed);
        if !self.answered {
            self.of.meter.abandoned.fetch_add(1, Relaxed);
            self.tell(None);
        }
    }
}

impl Sink for Measured {
    fn ready(&self) -> impl Future<Output = Result<()>> + Send {
        self.sink.ready()
    }

    fn close(&self) -> impl Future<Output = Result<()>> + Send {
        self.sink.close()
    }
}
