//! How much may be tried again.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a call puts in, in thousandths of a retry: one retry for ten calls in the long run.
const EARNED_BY_CALL: u64 = 100;

/// What a retry takes out.
const COST_OF_RETRY: u64 = 1_000;

/// Most that is saved up: so many retries at once after quiet times.
const SAVED_MAX: u64 = 100 * COST_OF_RETRY;

/// Bounds retries to a share of the calls, so that a node which is slow is not asked twice as much for it.
///
/// The idea is that of Finagle's and linkerd's retry budgets: a bucket that calls fill and retries empty.
#[derive(Debug)]
pub struct RetryBudget(AtomicU64);

impl Default for RetryBudget {
    /// A budget with ten retries to begin with.
    fn default() -> Self {
        Self(AtomicU64::new(10 * COST_OF_RETRY))
    }
}

impl RetryBudget {
    /// A call was made.
    pub fn earn(&self) {
        // Counts of other threads may be lost: it is a budget, not an account.
        let saved = self.0.load(Ordering::Relaxed);
        if saved < SAVED_MAX {
            self.0.fetch_add(EARNED_BY_CALL, Ordering::Relaxed);
        }
    }

    /// Takes a retry out, if there is one left.
    #[must_use]
    pub fn take(&self) -> bool {
        let order = Ordering::Relaxed;
        self.0.fetch_update(order, order, |saved| saved.checked_sub(COST_OF_RETRY)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_calls_may_be_made_again() {
        let budget = RetryBudget::default();
        while budget.take() {}
        (0..1_000).for_each(|_| budget.earn());
        assert_eq!(std::iter::repeat_with(|| budget.take()).take_while(|took| *took).count(), 100);
    }

    #[test]
    fn savings_have_a_bound() {
        let budget = RetryBudget::default();
        (0..1_000_000).for_each(|_| budget.earn());
        assert_eq!(std::iter::repeat_with(|| budget.take()).take_while(|took| *took).count(), 100);
    }
}
