use std::sync::atomic::{AtomicU64, Ordering};

/// One retry, in the unit of the bucket.
const RETRY: u64 = 1_000_000;

/// Calls whose earnings are saved up at most.
const SAVED_CALLS: u64 = 1_000;

/// A token bucket: each call earns a part of a retry, each retry spends one.
#[derive(Debug)]
pub(crate) struct Budget {
    saved: AtomicU64,
    per_call: u64,
    most: u64,
}

impl Budget {
    pub(crate) fn new(per_call: f64, reserve: u32) -> Self {
        let per_call = (per_call * RETRY as f64) as u64;
        let reserve = u64::from(reserve) * RETRY;
        Self { saved: AtomicU64::new(reserve), per_call, most: reserve + per_call * SAVED_CALLS }
    }

    pub(crate) fn earn(&self) {
        if self.saved.load(Ordering::Relaxed) < self.most {
            self.saved.fetch_add(self.per_call, Ordering::Relaxed);
        }
    }

    /// Takes one retry, if one is there.
    pub(crate) fn spend(&self) -> bool {
        let spend = |saved: u64| saved.checked_sub(RETRY);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &Budget) -> usize {
        (0..).take_while(|_| budget.spend()).count()
    }

    #[test]
    fn ten_calls_earn_one_retry_and_savings_have_a_bound() {
        let budget = Budget::new(0.1, 2);
        assert_eq!(spent(&budget), 2);
        (0..9).for_each(|_| budget.earn());
        assert!(!budget.spend());
        budget.earn();
        assert_eq!(spent(&budget), 1);
        (0..100_000).for_each(|_| budget.earn());
        assert_eq!(spent(&budget), 102);
    }
}
