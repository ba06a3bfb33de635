use std::time::Duration;

/// Answers that take up to this much longer than the quickest do not queue.
const TOLERANCE: f64 = 1.5;

/// Of so many rounds the quickest answer is known; a round is as many answers as the limit. Then the limit is halved once,
/// so that queues empty and the quickest is found anew.
const WINDOW: f64 = 50.0;

/// What a failure for overload leaves of the limit.
const BACK_OFF: f64 = 0.9;

/// The limit before anything is known, if it may be so high.
const FIRST: f64 = 20.0;

/// A limit that shrinks as answers take longer than the quickest of late, and else grows by its square root in each round
/// (as the "Gradient" of Netflix's concurrency-limits; halved now and then as BBR drains, for a latency that is measured
/// under load alone creeps up).
#[derive(Debug)]
pub(crate) struct Gradient {
    limit: f64,
    most: f64,
    /// Seconds that the quickest answer took, in the window before this one and in this one.
    quickest: [f64; 2],
    /// Of this window.
    rounds: f64,
}

impl Gradient {
    pub(crate) fn new(most: usize) -> Self {
        let most = most as f64;
        Self { limit: FIRST.min(most), most, quickest: [f64::INFINITY; 2], rounds: 0.0 }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit as usize
    }

    pub(crate) fn answered(&mut self, took: Duration, under_way: usize) {
        let took = took.as_secs_f64().max(1e-9);
        self.quickest[1] = self.quickest[1].min(took);
        // A limit that is not reached says nothing.
        if (under_way as f64) < self.limit / 2.0 {
            return;
        }
        let quickest = self.quickest[0].min(self.quickest[1]);
        let gradient = (TOLERANCE * quickest / took).clamp(0.5, 1.0);
        let wanted = self.limit * gradient + self.limit.sqrt();
        let round = 1.0 / self.limit;
        self.set(self.limit + round * (wanted - self.limit));
        self.rounds += round;
        if self.rounds >= WINDOW {
            self.rounds = 0.0;
            self.quickest = [self.quickest[1], f64::INFINITY];
            self.set(self.limit / 2.0);
        }
    }

    pub(crate) fn overloaded(&mut self) {
        self.set(self.limit * BACK_OFF);
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(1.0, self.most);
    }
}
