use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use haul_core::{Error, ErrorKind, Result};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::gradient::Gradient;
use crate::line::Line;

/// Places for calls under way, whose number may follow the latency.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Semaphore,
    count: Mutex<Count>,
}

#[derive(Debug)]
struct Count {
    /// Permits there are, free or taken.
    issued: usize,
    gradient: Option<Gradient>,
}

impl Slots {
    pub(crate) fn new(most: usize, adaptive: bool) -> Self {
        let gradient = adaptive.then(|| Gradient::new(most));
        let issued = gradient.as_ref().map_or(most, Gradient::limit);
        Self { free: Semaphore::new(issued), count: Mutex::new(Count { issued, gradient }) }
    }

    pub(crate) fn allowed(&self) -> usize {
        let count = self.count();
        count.gradient.as_ref().map_or(count.issued, Gradient::limit)
    }

    /// A place, waited for in `line`. Errors: `Overloaded` if nobody may wait, and the line's.
    pub(crate) async fn enter(&self, line: &mut Line<'_>) -> Result<Slot<'_>> {
        let permit = match self.free.try_acquire() {
            Ok(permit) => permit,
            Err(_) if line.may_wait() => {
                line.join()?;
                self.free.acquire().await.expect("it is never closed")
            }
            Err(_) => {
                let message = format!("{} calls are under way, as many as may be", self.allowed());
                return Err(Error::new(ErrorKind::Overloaded, message));
            }
        };
        Ok(Slot { slots: self, permit: Some(permit) })
    }

    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.free.available_permits()
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is taken.
pub(crate) struct Slot<'a> {
    slots: &'a Slots,
    permit: Option<SemaphorePermit<'a>>,
}

impl Slot<'_> {
    /// Learns from a call that was answered.
    pub(crate) fn learn(&self, took: Duration, failure: Option<&Error>) {
        let mut count = self.slots.count();
        let under_way = count.issued.saturating_sub(self.slots.free.available_permits());
        if let Some(gradient) = &mut count.gradient {
            match failure {
                None => gradient.answered(took, under_way),
                Some(why) if overloads(why) => gradient.overloaded(),
                Some(_) => {}
            }
        }
    }
}

fn overloads(why: &Error) -> bool {
    matches!(why.kind(), ErrorKind::Timeout | ErrorKind::Overloaded | ErrorKind::RateLimited)
}

impl Drop for Slot<'_> {
    /// Gives the place back, or takes it away where there are more than allowed.
    fn drop(&mut self) {
        let mut count = self.slots.count();
        let Some(limit) = count.gradient.as_ref().map(Gradient::limit) else { return };
        if count.issued > limit {
            if let Some(permit) = self.permit.take() {
                permit.forget();
                count.issued -= 1;
            }
            count.issued -= self.slots.free.forget_permits(count.issued - limit);
        }
        if count.issued < limit {
            self.slots.free.add_permits(limit - count.issued);
            count.issued = limit;
        }
    }
}
