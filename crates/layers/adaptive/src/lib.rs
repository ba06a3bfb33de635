#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! It dials and sends nothing: who answers an attempt that lost sees a connection that ends before its first packet.
//! Order: reconnect, session and retry go around it, so that each dial of theirs is a race; heartbeat goes inside, around
//! each candidate, or around it, where it tells a stall sooner. Cancel: a dial that is dropped drops all attempts.

mod candidate;
mod memory;
mod observed;
mod options;
mod race;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use haul_core::{Connection, Endpoint, Error, ErrorKind, Result, Service, Task};
use tokio::time::Instant;

pub use candidate::Candidate;
use memory::{Memory, key};
pub use options::AdaptiveOptions;

/// Candidates at most.
pub const MAX_CANDIDATES: usize = 16;

/// The fact in a connection's `Info` that names the candidate which made it.
pub const FACT: &str = "transport";

/// A dialer over several transports. See the crate's documentation. Clones share what is remembered.
#[derive(Clone)]
pub struct Adaptive {
    candidates: Arc<[Candidate]>,
    notes: Arc<Notes>,
}

/// What connections and dials note down together.
struct Notes {
    names: Vec<&'static str>,
    options: AdaptiveOptions,
    memory: Mutex<Memory>,
}

impl Adaptive {
    /// Races `candidates`, the preferred one first.
    ///
    /// Errors: `Config` for an option out of its range, no candidates, more than [`MAX_CANDIDATES`], or a name that is
    /// there twice.
    pub fn new(options: AdaptiveOptions, candidates: impl Into<Vec<Candidate>>) -> Result<Self> {
        let candidates: Vec<_> = candidates.into();
        options.check()?;
        let names: Vec<_> = candidates.iter().map(Candidate::name).collect();
        let twice = (1..names.len()).find(|&at| names[..at].contains(&names[at]));
        let wrong = match (names.len(), twice) {
            (0, _) => Some("it needs at least one candidate".to_owned()),
            (count, _) if count > MAX_CANDIDATES => {
                Some(format!("{count} candidates are more than {MAX_CANDIDATES}"))
            }
            (_, Some(at)) => Some(format!("two candidates are named {}", names[at])),
            (_, None) => None,
        };
        if let Some(what) = wrong {
            return Err(Error::new(ErrorKind::Config, format!("adaptive: {what}")));
        }
        let memory = Mutex::new(Memory::new(candidates.len(), options.clone()));
        let notes = Arc::new(Notes { names, options, memory });
        Ok(Self { candidates: candidates.into(), notes })
    }

    /// How the host of `endpoint` would be dialed now.
    pub fn info(&self, endpoint: &Endpoint) -> AdaptiveInfo {
        let name = |candidate: usize| self.notes.names[candidate];
        let known = self.notes.memory().look(&key(endpoint), Instant::now());
        let demoted = known.demoted.into_iter();
        AdaptiveInfo {
            order: known.order.into_iter().map(name).collect(),
            winner: known.winner.map(name),
            probe_in: known.probe_in,
            demoted: demoted
                .map(|(candidate, stalls, left)| Demoted { name: name(candidate), stalls, left })
                .collect(),
        }
    }

    /// How many hosts are remembered.
    pub fn hosts(&self) -> usize {
        self.notes.memory().len()
    }

    /// The application saw the connection to `endpoint` over the candidate `name` (the fact [`FACT`] of its `Info`)
    /// stand and deliver nothing: it starts last there for a while.
    ///
    /// Errors: `NotFound` for a name that no candidate has.
    pub fn report_stall(&self, endpoint: &Endpoint, name: &str) -> Result<()> {
        let found = self.notes.names.iter().position(|known| *known == name);
        let candidate = found.ok_or_else(|| {
            let known = self.notes.names.join(", ");
            Error::new(
                ErrorKind::NotFound,
                format!("adaptive: no candidate is named {name}; there are {known}"),
            )
        })?;
        self.notes.stalled(&key(endpoint), candidate);
        Ok(())
    }
}

impl Service<Endpoint> for Adaptive {
    /// Dials all candidates with their head starts, and answers the first connection; the fact [`FACT`] in its `Info`
    /// names the candidate.
    ///
    /// Errors: one that names every candidate with its reason; `Transient` if any is, and `Sent::Maybe` if any is.
    /// Cancelled, no attempt goes on.
    async fn call(&self, endpoint: Endpoint) -> Result<Connection> {
        let host = key(&endpoint);
        let plan = self.notes.memory().plan(&host, Instant::now());
        let names: Vec<_> = plan.order.iter().map(|&candidate| self.notes.names[candidate]).collect();
        tracing::debug!(%endpoint, order = ?names, probing = plan.probes, "adaptive: dialing");
        let raced = race::race(&self.candidates, &plan.order, &endpoint, &self.notes.options).await;
        let (winner, mut link) =
            raced.map_err(|failed| race::none_connected(&self.candidates, &endpoint, &failed))?;
        let name = self.notes.names[winner];
        let changed = plan.winner.is_some_and(|before| before != winner);
        tracing::debug!(%endpoint, transport = name, changed, "adaptive: connected");
        self.notes.memory().won(&host, winner, Instant::now());
        link.info.facts.set(FACT, name);
        Ok(Connection::new(observed::observed(link, self.notes.clone(), host, winner), spawn))
    }
}

impl Notes {
    /// Held for a look or a note, never while waiting.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stalled(&self, host: &str, candidate: usize) {
        let last_for = self.memory().stalled(host, candidate, Instant::now());
        tracing::warn!(host, transport = self.names[candidate], ?last_for, "adaptive: connected and stalled");
    }

    fn delivered(&self, host: &str, candidate: usize) {
        self.memory().delivered(host, candidate);
    }
}

/// How a host would be dialed now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdaptiveInfo {
    /// The candidates in the order in which they would start.
    pub order: Vec<&'static str>,
    /// Who won last, while it is remembered and has not stalled since.
    pub winner: Option<&'static str>,
    /// When those preferred to the winner get their head start again; `None` if there are none.
    pub probe_in: Option<Duration>,
    /// Who starts last because it stalled.
    pub demoted: Vec<Demoted>,
}

/// A candidate that connected and stalled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Demoted {
    /// Its name.
    pub name: &'static str,
    /// How many times in a row.
    pub stalls: u32,
    /// How long it still starts last.
    pub left: Duration,
}

fn spawn(task: Task) {
    tokio::spawn(task);
}

impl fmt::Debug for Adaptive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adaptive")
            .field("candidates", &self.notes.names)
            .field("options", &self.notes.options)
            .field("hosts", &self.hosts())
            .finish()
    }
}

#[cfg(test)]
mod tests;
