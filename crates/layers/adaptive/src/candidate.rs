use std::fmt;
use std::sync::Arc;

use haul_core::{Endpoint, Result, Service, Shared};

type Place = Arc<dyn Fn(&Endpoint) -> Result<Endpoint> + Send + Sync>;

/// A transport that takes part in the race: its name, what dials it, and where.
#[derive(Clone)]
pub struct Candidate {
    name: &'static str,
    dialer: Shared<Endpoint>,
    place: Place,
}

impl Candidate {
    /// A transport that `dialer` connects to the very endpoint that is dialed.
    pub fn new(name: &'static str, dialer: impl Service<Endpoint>) -> Self {
        Self { name, dialer: Shared::new(dialer), place: Arc::new(|endpoint| Ok(endpoint.clone())) }
    }

    /// The same at the endpoint that `place` makes of the one that is dialed: another scheme, port or path. An error of
    /// `place` is that of the attempt.
    #[must_use]
    pub fn at(mut self, place: impl Fn(&Endpoint) -> Result<Endpoint> + Send + Sync + 'static) -> Self {
        self.place = Arc::new(place);
        self
    }

    /// The same always at `endpoint`, whatever is dialed.
    #[must_use]
    pub fn always_at(self, endpoint: Endpoint) -> Self {
        self.at(move |_| Ok(endpoint.clone()))
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn place(&self, dialed: &Endpoint) -> Result<Endpoint> {
        (self.place)(dialed)
    }

    pub(crate) fn dialer(&self) -> &Shared<Endpoint> {
        &self.dialer
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Candidate").field(&self.name).finish()
    }
}
