//! What became of the records of a call: gathered without waking anyone, and told once nothing more will come.

use std::sync::{Arc, OnceLock};

use haul_core::Result;
use tokio::sync::oneshot;

/// Where a record is: partition and offset.
pub(crate) type Stored = (i32, i64);

/// What was said of each record, by its place in the call.
pub(crate) type Outcomes = Vec<OnceLock<Result<Stored>>>;

/// The reports of a call; with the last ticket they are told.
pub(crate) struct Reports {
    outcomes: Outcomes,
    told: Option<oneshot::Sender<Outcomes>>,
}

impl Reports {
    /// Those of so many records, and where they will be told.
    pub(crate) fn of(records: usize) -> (Arc<Self>, oneshot::Receiver<Outcomes>) {
        let (told, outcomes) = oneshot::channel();
        let open = (0..records).map(|_| OnceLock::new()).collect();
        (Arc::new(Self { outcomes: open, told: Some(told) }), outcomes)
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        if let Some(told) = self.told.take() {
            // Nobody waits any more for the records of a call that was given up.
            let _ = told.send(std::mem::take(&mut self.outcomes));
        }
    }
}

/// Says what became of one record. Dropped without a word, nothing is known of it.
pub(crate) struct Ticket {
    pub(crate) at: usize,
    pub(crate) reports: Arc<Reports>,
}

impl Ticket {
    pub(crate) fn tell(self, outcome: Result<Stored>) {
        // There is one ticket for a place.
        let _ = self.reports.outcomes[self.at].set(outcome);
    }
}

#[cfg(test)]
mod tests {
    use haul_core::{Error, ErrorKind};

    use super::*;

    #[test]
    fn reports_are_told_once_with_the_last_ticket_and_lack_those_that_said_nothing() {
        let (reports, mut told) = Reports::of(3);
        let [first, silent, last] = [0, 1, 2].map(|at| Ticket { at, reports: reports.clone() });
        drop(reports);
        last.tell(Err(Error::new(ErrorKind::Closed, "gone")));
        drop(silent);
        assert!(told.try_recv().is_err(), "one is still under way");
        first.tell(Ok((0, 7)));
        let outcomes = told.try_recv().expect("all tickets are gone");
        let said: Vec<_> = outcomes.iter().map(|outcome| outcome.get().map(Result::is_ok)).collect();
        assert_eq!(said, [Some(true), None, Some(false)]);
    }
}
