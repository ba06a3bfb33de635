//! The role *subscribe*.

use haul_core::{Endpoint, Error, ErrorKind, Receiver, Result, Service, Subscription};

use crate::Dialer;
use crate::options::names;

/// Subscribes to the events of one endpoint: `Subscription::new("price,trade")` receives those of these names, an empty
/// name all. Parameters are the id of the last event that was seen, as text.
///
/// Each subscription is a connection of its own; dropping the receiver ends it. Errors: as [`Dialer`]'s, and `Config` for
/// parameters that are no text.
#[derive(Clone, Debug)]
pub struct Subscriber {
    dialer: Dialer,
    endpoint: Endpoint,
}

impl Subscriber {
    /// For the events of `endpoint`, whose options are those of a dial.
    pub fn new(dialer: Dialer, endpoint: Endpoint) -> Self {
        Self { dialer, endpoint }
    }
}

impl Service<Subscription> for Subscriber {
    async fn call(&self, wanted: Subscription) -> Result<Receiver> {
        let last_id = wanted.params().map(|params| {
            params.as_text().map(str::to_owned).ok_or_else(|| {
                Error::new(
                    ErrorKind::Config,
                    "the parameters of a subscription are the last event id, as text",
                )
            })
        });
        let last_id = last_id.transpose()?;
        let connection = self.dialer.dial(&self.endpoint, |config| {
            if !wanted.name().is_empty() {
                config.events = names(wanted.name());
            }
            if let Some(last_id) = last_id {
                config.last_event_id = last_id;
            }
        });
        Ok(connection.await?.split().1)
    }
}
