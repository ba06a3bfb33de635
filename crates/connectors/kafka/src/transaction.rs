//! Transactions: all packets of a call, or none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use haul_core::{Error, ErrorKind, Result, Sent, Status};
use rdkafka::error::KafkaError;
use rdkafka::producer::Producer as _;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::timeout;

use crate::client::Producer;
use crate::failure::failed;
use crate::reports::Stored;
use crate::sink::blocking;

/// Runs one transaction at a time.
pub(crate) struct Transactions {
    state: Arc<Mutex<State>>,
    within: Duration,
}

/// Where the producer stands.
#[derive(Default)]
struct State {
    /// The producer that has its number from the cluster.
    known: Option<Arc<Producer>>,
    /// A transaction began, and nobody ended it.
    open: bool,
}

impl Transactions {
    /// Each step of a transaction takes so long at most, and so does waiting for others.
    pub(crate) fn new(within: Duration) -> Self {
        Self { state: Arc::default(), within }
    }

    /// Begins, sends, and commits; or aborts, if a record failed or had no room. A packet that was refused before it was a
    /// record fails alone. Errors: what kept the transaction from beginning; nothing was sent.
    pub(crate) async fn run(
        &self,
        producer: &Arc<Producer>,
        send: impl Future<Output = (Vec<Result<Stored>>, Vec<usize>)>,
    ) -> Result<Vec<Result<Stored>>> {
        let within = self.within;
        let state = timeout(within, self.state.clone().lock_owned()).await.map_err(|_| {
            let why = format!("other transactions of this sink took more than {within:?}");
            Error::new(ErrorKind::Overloaded, why).with_sent(Sent::No)
        })?;
        let state = {
            let producer = producer.clone();
            blocking(move || begin(&producer, state, within).map_err(|why| why.with_sent(Sent::No))).await?
        };
        let (outcomes, failed) = send.await;
        let mut failures =
            outcomes.iter().enumerate().filter_map(|(at, outcome)| Some((at, outcome.as_ref().err()?)));
        // Said outright: the client may not have understood yet that its transaction failed.
        let fails = failures.find(|(at, why)| why.status() == Status::Transient || failed.contains(at));
        let fails = fails.map(|(_, why)| why.clone());
        let ended = {
            let producer = producer.clone();
            let abort = fails.is_some();
            blocking(move || Ok(end(&producer, state, abort, within))).await?
        };
        let why = match (fails, ended) {
            (None, Ok(())) => return Ok(outcomes),
            (_, Err(why)) => why,
            (Some(why), Ok(())) => why.not_tried().while_doing("the transaction was aborted"),
        };
        let none = outcomes.into_iter().map(|outcome| match outcome {
            Err(own) if own.status() == Status::Permanent => Err(own),
            _ => Err(why.clone()),
        });
        Ok(none.collect())
    }
}

type Held = OwnedMutexGuard<State>;

/// The producer gets its number, which ends what an earlier one of the same name left open, or ends it itself.
fn begin(producer: &Arc<Producer>, mut state: Held, within: Duration) -> Result<Held> {
    let known = state.known.as_ref().is_some_and(|known| Arc::ptr_eq(known, producer));
    if !known {
        producer.init_transactions(within).map_err(|why| failed(&why).while_doing("begin a transaction"))?;
        *state = State { known: Some(producer.clone()), open: false };
    }
    if state.open {
        abort(producer, within)?;
        state.open = false;
    }
    producer.begin_transaction().map_err(|why| failed(&why).while_doing("begin a transaction"))?;
    state.open = true;
    Ok(state)
}

/// Errors: what kept it open. It was not committed, and never will be.
fn abort(producer: &Producer, within: Duration) -> Result<()> {
    let aborted = producer.abort_transaction(within);
    aborted.map_err(|why| failed(&why).while_doing("abort a transaction").with_sent(Sent::No))
}

fn end(producer: &Producer, mut state: Held, give_up: bool, within: Duration) -> Result<()> {
    if give_up {
        abort(producer, within)?;
        state.open = false;
        return Ok(());
    }
    let deadline = Instant::now() + within;
    loop {
        match producer.commit_transaction(within) {
            Ok(()) => {
                state.open = false;
                return Ok(());
            }
            Err(KafkaError::Transaction(why)) if why.is_retriable() && Instant::now() < deadline => {}
            Err(KafkaError::Transaction(why)) if why.txn_requires_abort() => {
                abort(producer, within)?;
                state.open = false;
                let aborted = Error::new(ErrorKind::Closed, format!("the transaction was aborted: {why}"));
                return Err(aborted.with_sent(Sent::No));
            }
            Err(why) => {
                // A commit cannot be left for something else: the next producer of this name ends it, either way.
                producer.context().spend();
                return Err(failed(&why).while_doing("commit a transaction").with_sent(Sent::Maybe));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;

    use super::*;
    use crate::client::Events;

    #[tokio::test]
    async fn who_waits_too_long_for_other_transactions_is_told_that_nothing_was_sent() {
        let producer = Arc::new(ClientConfig::new().create_with_context(Events::new()).unwrap());
        let transactions = Transactions::new(Duration::from_millis(10));
        let _other = transactions.state.clone().lock_owned().await;
        let run = transactions.run(&producer, std::future::pending());
        let answer = timeout(Duration::from_secs(60), run).await.expect("it waited 60 s for the others");
        let why = answer.unwrap_err();
        let facts = (why.kind(), why.status(), why.sent());
        assert_eq!(facts, (ErrorKind::Overloaded, Status::Transient, Sent::No), "{why}");
    }
}
