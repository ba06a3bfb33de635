//! How long to wait before trying again.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// Waits that grow from `base` by `factor` up to `cap`, each drawn evenly from zero to that ("full jitter", AWS
/// Architecture Blog, "Exponential Backoff And Jitter"): clients that failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The longest first wait.
    pub base: Duration,
    /// What the longest wait is multiplied with each time; at least 1.
    pub factor: f64,
    /// The longest wait of all.
    pub cap: Duration,
}

impl Backoff {
    /// The longest wait before try `retry`, from 0.
    pub fn longest(&self, retry: u32) -> Duration {
        let power = i32::try_from(retry).unwrap_or(i32::MAX);
        let seconds = self.base.as_secs_f64() * self.factor.powi(power);
        Duration::try_from_secs_f64(seconds).map_or(self.cap, |wait| wait.min(self.cap))
    }

    /// The wait before try `retry`, from 0, for `random` drawn evenly from all 64-bit numbers.
    pub fn wait(&self, retry: u32, random: u64) -> Duration {
        let longest = u64::try_from(self.longest(retry).as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(((u128::from(longest) * u128::from(random)) >> 64) as u64)
    }

    /// A number for [`wait`](Self::wait) from the randomness that the standard library seeds its maps with.
    pub fn random() -> u64 {
        RandomState::new().hash_one(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff =
        Backoff { base: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(1) };

    #[test]
    fn the_longest_wait_doubles_up_to_the_cap() {
        let longest: Vec<_> = [0, 1, 3, 4, u32::MAX].map(|retry| BACKOFF.longest(retry).as_millis()).into();
        assert_eq!(longest, [100, 200, 800, 1000, 1000]);
    }

    #[test]
    fn the_jitter_reaches_from_zero_to_the_longest_wait() {
        assert_eq!(BACKOFF.wait(0, 0), Duration::ZERO);
        assert_eq!(BACKOFF.wait(0, u64::MAX / 2).as_millis(), 49);
        assert_eq!(BACKOFF.wait(0, u64::MAX).as_micros(), 99_999);
    }

    #[test]
    fn two_draws_differ() {
        assert_ne!(Backoff::random(), Backoff::random());
    }
}
