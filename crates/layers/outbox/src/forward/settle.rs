//! What becomes of packets when the sink has answered.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use haul_core::{Backoff, Error, ErrorKind, Receipt, Result, Status};
use haul_journal::Seq;
use tokio::time::Instant;

use super::flights::{Answer, Flight};
use super::status::Counters;
use super::window::Taken;
use super::{Forwarder, Refused, Trouble};

impl Forwarder {
    /// A delivery is over.
    pub(super) async fn land(&mut self, flight: Flight, answer: Answer) {
        self.counters.delivering(self.flights.since());
        let given = flight.taken.seqs.len();
        match answer {
            None => self.gave_up = true,
            Some(Ok(outcomes)) if outcomes.len() == given => self.settle(&flight, outcomes).await,
            Some(Ok(outcomes)) => {
                let answered = outcomes.len();
                let message = format!("sink {} answered {answered} outcomes for {given} packets", self.name);
                self.all_failed(&flight, &Error::new(ErrorKind::Internal, message));
            }
            Some(Err(why)) if is_of_the_sink(&why) => self.all_failed(&flight, &why),
            Some(Err(why)) if given == 1 => self.settle(&flight, vec![Err(why)]).await,
            // Which packet it is about comes out one by one.
            Some(Err(_)) => self.window.part(&flight.taken),
        }
        self.window.release(&flight.taken);
    }

    async fn settle(&mut self, flight: &Flight, outcomes: Vec<Result<Receipt>>) {
        let mut failed: Vec<(Seq, Error)> = Vec::new();
        let mut held: HashSet<Arc<str>> = HashSet::new();
        let mut settled = 0;
        for (seq, outcome) in flight.taken.seqs.iter().copied().zip(outcomes) {
            let key = self.window.entry(seq).key.clone();
            // Behind a packet that is to come again, those of its key come again too, in order.
            if held.contains(&key) {
                continue;
            }
            let done = match outcome {
                Ok(_) => {
                    Counters::add(&self.counters.delivered, 1);
                    Ok(())
                }
                Err(why) if is_of_the_sink(&why) => Err(why),
                Err(why) => self.bury(seq, why).await,
            };
            match done {
                Ok(()) => {
                    self.window.settle(seq);
                    settled += 1;
                }
                Err(why) => {
                    held.insert(key);
                    failed.push((seq, why));
                }
            }
        }
        match failed.as_slice() {
            [] => self.goes_on(),
            // Nobody got through: it is not about single keys.
            [(_, why), _, ..] if settled == 0 => self.all_failed(flight, why),
            some => {
                self.trouble = Trouble::default();
                for (seq, why) in some {
                    let wait = self.failed(why, self.window.attempt(*seq));
                    self.window.wait(*seq, Instant::now() + wait);
                }
            }
        }
    }

    /// Refuses what has expired of what was taken; the answer says whether something had. Then the rest is taken anew.
    pub(super) async fn expire(&mut self, taken: &Taken) -> bool {
        let mut expired = false;
        for seq in taken.seqs.iter().copied() {
            let entry = self.window.entry(seq);
            let Some(why) = self.records.expired(entry.stored) else {
                continue;
            };
            expired = true;
            match self.bury(seq, why).await {
                Ok(()) => self.window.settle(seq),
                Err(why) => {
                    let wait = self.failed(&why, self.trouble.attempt);
                    self.trouble.attempt = self.trouble.attempt.saturating_add(1);
                    self.trouble.until = Some(Instant::now() + wait);
                    return true;
                }
            }
        }
        expired
    }

    /// The delivery failed as a whole: everything waits.
    fn all_failed(&mut self, flight: &Flight, why: &Error) {
        let wait = self.failed(why, self.trouble.attempt);
        if flight.attempt == self.trouble.attempt {
            self.trouble.attempt = self.trouble.attempt.saturating_add(1);
        }
        let until = Instant::now() + wait;
        self.trouble.until = Some(self.trouble.until.map_or(until, |other| other.max(until)));
    }

    /// Takes down a failure after `attempt` others; answers how long to wait.
    fn failed(&self, why: &Error, attempt: u32) -> Duration {
        if !self.counters.is_stuck() {
            tracing::warn!(
                sink = self.name,
                "the sink takes no packets; they are kept and tried again: {why}"
            );
        }
        self.counters.failed(why);
        Counters::add(&self.counters.retries, 1);
        let wait = self.options.backoff.wait(attempt, Backoff::random());
        why.retry_after().map_or(wait, |asked| asked.max(wait))
    }

    /// A delivery went through.
    fn goes_on(&mut self) {
        self.trouble = Trouble::default();
        if self.counters.is_stuck() && !self.window.is_stuck() {
            tracing::info!(sink = self.name, "the sink takes packets again");
            self.counters.goes_on();
        }
    }

    /// Makes a dead letter of what was refused for good. Errors: it could not be written.
    async fn bury(&self, seq: Seq, why: Error) -> Result<()> {
        let entry = self.window.entry(seq);
        let refused = Refused {
            sink: &self.name,
            seq,
            stored_micros: entry.stored,
            why: &why,
            tries: entry.tries,
            record: &entry.record,
        };
        let written = match self.records.bury(refused) {
            Ok(letter) => self.dead.write(letter).await,
            Err(why) => Err(why),
        };
        written.map_err(|error| {
            error.while_doing(format!("write the dead letter of packet {seq} for sink {}", self.name))
        })?;
        tracing::warn!(sink = self.name, seq = seq.0, "a packet is refused for good: {why}");
        Counters::add(&self.counters.dead, 1);
        self.counters.happened(&why);
        Ok(())
    }
}

/// Whether the failure is the sink's, so that the packet is to come again, and not the packet's own.
fn is_of_the_sink(why: &Error) -> bool {
    let setup = matches!(why.kind(), ErrorKind::Config | ErrorKind::Unauthorized | ErrorKind::Tls);
    why.status() != Status::Permanent || setup
}
