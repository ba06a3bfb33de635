use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use haul_core::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::LimitOptions;
use crate::line::Line;

/// tokio's clock, which tests can move.
#[derive(Clone, Debug)]
struct Since(Instant);

impl Clock for Since {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A token bucket, and those who wait for its tokens in a row.
#[derive(Debug)]
pub(crate) struct Rate {
    bucket: RateLimiter<NotKeyed, InMemoryState, Since, NoOpMiddleware<Duration>>,
    clock: Since,
    burst: NonZeroU32,
    turn: Semaphore,
}

impl Rate {
    pub(crate) fn new(options: &LimitOptions) -> Option<Self> {
        let rate = NonZeroU32::new(options.rate?)?;
        let burst = options.burst.and_then(NonZeroU32::new).unwrap_or(rate);
        let quota = Quota::with_period(options.per / rate.get())?.allow_burst(burst);
        let clock = Since(Instant::now());
        let bucket = RateLimiter::direct_with_clock(quota, clock.clone());
        Some(Self { bucket, clock, burst, turn: Semaphore::new(1) })
    }

    /// Takes `cost` tokens, waiting for them in `line`. Errors: `TooLarge` if there are never so many at once and
    /// nobody may wait, and the line's.
    pub(crate) async fn take(&self, cost: usize, line: &mut Line<'_>) -> Result<()> {
        // Who may not wait does not stand in a row.
        let _turn = match (line.may_wait(), self.turn.try_acquire()) {
            (true, Err(_)) => {
                line.join()?;
                Some(self.turn.acquire().await.expect("it is never closed"))
            }
            (_, turn) => turn.ok(),
        };
        let mut left = u32::try_from(cost).unwrap_or(u32::MAX);
        if !line.may_wait() && left > self.burst.get() {
            let message =
                format!("{left} at once are more than the burst of {}, which is never more", self.burst);
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        while let Some(part) = NonZeroU32::new(left.min(self.burst.get())) {
            match self.bucket.check_n(part).expect("no part is larger than the burst") {
                Ok(()) => left -= part.get(),
                Err(not_until) => {
                    let wait = not_until.wait_time_from(self.clock.now());
                    line.join().map_err(|why| why.with_retry_after(wait))?;
                    sleep(wait).await;
                }
            }
        }
        Ok(())
    }
}
