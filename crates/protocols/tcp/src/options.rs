//! What an endpoint says about a TCP or Unix socket connection.

use std::time::Duration;

use haul_core::wire::Framing;
use haul_core::{Endpoint, Limits, ListenerLimits, Options, Place, Result};

const OWN: &[&str] = &["framing", "nodelay", "timeout"];

/// The options of a connection.
#[derive(Clone, Debug)]
pub(crate) struct StreamConfig {
    pub(crate) framing: Framing,
    pub(crate) nodelay: bool,
    pub(crate) limits: Limits,
}

impl StreamConfig {
    fn from_options(options: &Options<'_>) -> Result<Self> {
        Ok(Self {
            framing: options.get("framing")?.unwrap_or_default(),
            nodelay: options.get("nodelay")?.unwrap_or(true),
            limits: Limits::from_options(options)?,
        })
    }

    /// Options and deadline of a dial.
    pub(crate) fn dial(endpoint: &Endpoint) -> Result<(Self, Duration)> {
        let options = endpoint.options(Place::Query, &[OWN, Limits::OPTIONS].concat())?;
        let deadline = options.duration("timeout")?.unwrap_or(Duration::from_secs(10));
        Ok((Self::from_options(&options)?, deadline))
    }

    /// Options and bounds of a listener.
    pub(crate) fn listen(endpoint: &Endpoint) -> Result<(Self, ListenerLimits)> {
        let own: &[&str] = &["framing", "nodelay"];
        let options =
            endpoint.options(Place::Query, &[own, Limits::OPTIONS, ListenerLimits::OPTIONS].concat())?;
        Ok((Self::from_options(&options)?, ListenerLimits::from_options(&options)?))
    }
}
