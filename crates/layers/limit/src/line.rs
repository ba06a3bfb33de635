use haul_core::{Error, ErrorKind, Result};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::WhenFull;

/// A call on its way in: it takes one of the places to wait when it first must.
pub(crate) struct Line<'a> {
    places: &'a Semaphore,
    when_full: WhenFull,
    most: usize,
    place: Option<SemaphorePermit<'a>>,
}

impl<'a> Line<'a> {
    pub(crate) fn new(places: &'a Semaphore, most: usize, when_full: WhenFull) -> Self {
        Self { places, when_full, most, place: None }
    }

    pub(crate) fn may_wait(&self) -> bool {
        self.when_full == WhenFull::Wait
    }

    /// Waits from now on. Errors: `RateLimited` if nobody may, `Overloaded` if as many as may do.
    pub(crate) fn join(&mut self) -> Result<()> {
        if !self.may_wait() {
            return Err(Error::new(ErrorKind::RateLimited, "the rate is reached"));
        }
        if self.place.is_none() {
            let full = |_| {
                let message = format!("{} calls wait already, as many as may", self.most);
                Error::new(ErrorKind::Overloaded, message)
            };
            self.place = Some(self.places.try_acquire().map_err(full)?);
        }
        Ok(())
    }
}
