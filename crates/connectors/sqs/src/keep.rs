//! Messages that are held: the server gives them to nobody else as long as they are kept here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::queue::{Change, Queue};

/// The handles of messages that are held, by a number of ours.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Open>);

#[derive(Default)]
struct Open {
    handles: BTreeMap<u64, String>,
    next: u64,
}

/// A message is kept until this is dropped.
pub(crate) struct Lease {
    kept: Arc<Kept>,
    number: u64,
}

impl Kept {
    pub(crate) fn keep(self: &Arc<Self>, handle: &str) -> Lease {
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        open.handles.insert(number, handle.to_owned());
        Lease { kept: self.clone(), number }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those behind `last`, at most so many.
    fn some(&self, last: Option<u64>, most: usize) -> Vec<(u64, String)> {
        let from = last.map_or(0, |last| last + 1);
        self.open()
            .handles
            .range(from..)
            .take(most)
            .map(|(number, handle)| (*number, handle.clone()))
            .collect()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.kept.open().handles.remove(&self.number);
    }
}

/// Makes the time longer for which the server gives what is kept to nobody else, well before it ends.
pub(crate) async fn keep(queue: Arc<Queue>, kept: Arc<Kept>, visibility: Duration) {
    loop {
        tokio::time::sleep(visibility / 3).await;
        let mut last = None;
        loop {
            let some = kept.some(last, Queue::AT_ONCE);
            let Some((number, _)) = some.last() else { break };
            last = Some(*number);
            let handles: Vec<_> = some.iter().map(|(_, handle)| handle.clone()).collect();
            let asked = queue.change(Change::Hide(visibility), &handles);
            match tokio::time::timeout(visibility / 3, asked).await {
                Ok(answers) => {
                    for ((number, _), answer) in some.iter().zip(answers) {
                        let Err(why) = answer else { continue };
                        tracing::warn!(queue = queue.name(), "a message may be given again: {why}");
                        if why.status() == haul_core::Status::Permanent {
                            kept.open().handles.remove(number);
                        }
                    }
                }
                Err(_) => tracing::warn!(queue = queue.name(), "no answer: held messages may be given again"),
            }
        }
    }
}
