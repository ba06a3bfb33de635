//! The bars: what is measured, against whom, and what must be reached.

#[cfg(feature = "connectors")]
mod amqp;
mod bars;
mod journal;
#[cfg(feature = "connectors")]
mod kafka;
pub(crate) mod load;
#[cfg(feature = "connectors")]
mod mongodb;
#[cfg(feature = "connectors")]
mod mqtt;
#[cfg(feature = "connectors")]
mod nats;
mod network;
pub(crate) mod outbox;
#[cfg(feature = "connectors")]
mod postgres;
mod quic;
#[cfg(feature = "connectors")]
mod redis;
#[cfg(feature = "connectors")]
mod servers;
pub(crate) mod sse;
pub(crate) mod stack;
#[cfg(feature = "connectors")]
mod stored;

use std::path::Path;

use crate::measure::{Ratio, Run};

/// One bar and what was measured.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) bar: Bar,
    pub(crate) result: Outcome,
    /// What else was counted.
    pub(crate) note: String,
}

/// What must be reached.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    /// The ratio must reach this.
    AtLeast(f64),
    /// The ratio must not pass this.
    AtMost(f64),
    /// Nothing: it is reported.
    Reported,
}

/// What was measured.
pub(crate) enum Outcome {
    /// Haul against a peer.
    Against(Ratio),
    /// A figure of haul alone.
    Alone(f64),
}

impl Row {
    /// Whether the bar is met: the interval reaches it.
    pub(crate) fn met(&self) -> bool {
        let (low, high) = match &self.result {
            Outcome::Against(ratio) => (ratio.low, ratio.high),
            Outcome::Alone(figure) => (*figure, *figure),
        };
        match self.bar {
            Bar::AtLeast(bar) => high >= bar,
            Bar::AtMost(bar) => low <= bar,
            Bar::Reported => true,
        }
    }
}

/// Measures every bar whose name contains `filter`.
pub(crate) fn all(run: &Run, filter: &str, folder: &Path) -> Vec<Row> {
    let mut bars = bars::Bars::new(run, filter);
    bars.ws();
    bars.tcp();
    bars.quic();
    bars.wt();
    bars.sse();
    bars.session();
    bars.network();
    bars.journal(folder);
    bars.outbox(folder);
    #[cfg(feature = "connectors")]
    bars.servers();
    bars.alone();
    bars.into_rows()
}
