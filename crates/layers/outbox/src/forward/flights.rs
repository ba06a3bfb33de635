//! The deliveries that are under way.

use std::collections::HashMap;
use std::time::SystemTime;

use haul_core::{AnySink, Batch, Error, ErrorKind, Receipt, Result, Service};
use tokio::task::{Id, JoinSet};

use super::window::Taken;
use crate::record::micros;

/// What a delivery came to; `None` if it was told to end before the sink answered.
pub(super) type Answer = Option<Result<Vec<Result<Receipt>>>>;

/// A delivery.
pub(super) struct Flight {
    pub(super) taken: Taken,
    /// How often the sink had failed as a whole when it began.
    pub(super) attempt: u32,
    begun: u64,
}

/// Each is a task of its own, so that a panic of the sink is an error; dropping them ends them all.
#[derive(Default)]
pub(super) struct Flights {
    tasks: JoinSet<Answer>,
    open: HashMap<Id, Flight>,
}

impl Flights {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// When the oldest began, in microseconds since 1970.
    pub(super) fn since(&self) -> Option<u64> {
        self.open.values().map(|flight| flight.begun).min()
    }

    /// Calls the sink; ends without an answer when `told` does.
    pub(super) fn begin(
        &mut self,
        taken: Taken,
        attempt: u32,
        sink: AnySink,
        packets: Batch,
        told: Option<impl Future<Output = ()> + Send + 'static>,
    ) {
        let task = self.tasks.spawn(async move {
            let calling = sink.call(packets);
            let Some(told) = told else {
                return Some(calling.await);
            };
            tokio::select! {
                answer = calling => Some(answer),
                () = told => None,
            }
        });
        self.open.insert(task.id(), Flight { taken, attempt, begun: micros(SystemTime::now()) });
    }

    /// The next that is over; it never resolves while there is none. Cancel safe.
    pub(super) async fn land(&mut self) -> (Flight, Answer) {
        let (id, answer) = match self.tasks.join_next_with_id().await {
            Some(Ok(landed)) => landed,
            Some(Err(why)) => {
                let panicked = Error::new(ErrorKind::Internal, format!("the sink panicked: {why}"));
                (why.id(), Some(Err(panicked)))
            }
            None => return std::future::pending().await,
        };
        (self.open.remove(&id).expect("each task is of a flight"), answer)
    }
}
