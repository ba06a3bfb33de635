//! The distribution of a time that was measured many times.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::output::time;

/// Times in microseconds, to three digits, up to a minute.
#[derive(Debug)]
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are valid"))
    }

    /// Counts a time; above a minute it counts as a minute.
    pub(crate) fn record(&mut self, of: Duration) {
        let micros = u64::try_from(of.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.max(1));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn at(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(quantile))
    }

    pub(crate) fn text(&self) -> String {
        let (p50, p90, p99) = (time(self.at(0.5)), time(self.at(0.9)), time(self.at(0.99)));
        let max = time(Duration::from_micros(self.0.max()));
        format!("p50 {p50}, p90 {p90}, p99 {p99}, max {max} ({} measured)", self.0.len())
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "count": self.0.len(),
            "min_us": self.0.min(),
            "mean_us": self.0.mean(),
            "p50_us": self.0.value_at_quantile(0.5),
            "p90_us": self.0.value_at_quantile(0.9),
            "p99_us": self.0.value_at_quantile(0.99),
            "max_us": self.0.max(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let (mut all, mut half) = (Latency::new(), Latency::new());
        (1..=50).for_each(|ms| all.record(Duration::from_millis(ms)));
        (51..=100).for_each(|ms| half.record(Duration::from_millis(ms)));
        all.add(&half);
        let json = all.json();
        assert_eq!(json["count"], 100);
        assert!((50_000..50_100).contains(&json["p50_us"].as_u64().unwrap()), "{json}");
        assert!((99_000..99_200).contains(&json["p99_us"].as_u64().unwrap()), "{json}");
    }
}
