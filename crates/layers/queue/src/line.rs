//! Who goes next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use haul_core::{Error, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use crate::options::{Overflow, QueueOptions};

/// The calls of one queue.
#[derive(Debug)]
pub(crate) struct Line {
    options: QueueOptions,
    start: Instant,
    /// A place for each call in the queue.
    room: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Turns that nobody has; none while somebody waits.
    free: usize,
    /// The most urgent first.
    waiting: BTreeMap<Rank, Waiter>,
    came: u64,
}

/// When a call came, in nanoseconds, less what its priority is worth in ageing; and a number to tell two apart. So ranks
/// stay as they are while calls wait: a lower priority that came early goes before a higher one that came late.
type Rank = (i128, u64);

#[derive(Debug)]
struct Waiter {
    turn: oneshot::Sender<Result<Turn>>,
    place: Place,
}

/// A place in the queue.
pub(crate) type Place = OwnedSemaphorePermit;

impl Line {
    pub(crate) fn new(options: QueueOptions) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            room: Arc::new(Semaphore::new(options.capacity)),
            state: Mutex::new(State { free: options.concurrency, waiting: BTreeMap::new(), came: 0 }),
            options,
        })
    }

    /// Calls that wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    #[cfg(test)]
    pub(crate) fn free_turns(&self) -> usize {
        self.state().free
    }

    #[cfg(test)]
    pub(crate) fn free_places(&self) -> usize {
        self.room.available_permits()
    }

    /// A place in the queue. Errors: `Overloaded` if it is full and that is what becomes of such calls.
    pub(crate) async fn place(&self, priority: u8) -> Result<Place> {
        match (self.room.clone().try_acquire_owned(), self.options.overflow) {
            (Ok(place), _) => Ok(place),
            (Err(_), Overflow::Refuse) => Err(self.full()),
            (Err(_), Overflow::Evict) => self.evict(priority).ok_or_else(|| self.full()),
            (Err(_), Overflow::Wait) => {
                Ok(self.room.clone().acquire_owned().await.expect("it is never closed"))
            }
        }
    }

    /// Waits for a turn. Errors: `Overloaded` if a more urgent call took the place.
    pub(crate) async fn turn(self: &Arc<Self>, place: Place, priority: u8) -> Result<Turn> {
        let (waiter, granted) = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Turn { line: self.clone(), place: Some(place) });
            }
            let (turn, granted) = oneshot::channel();
            state.came += 1;
            let rank = (self.rank(priority), state.came);
            state.waiting.insert(rank, Waiter { turn, place });
            (Leaving { line: self, rank }, granted)
        };
        let turn = granted.await.expect("who is taken out of the line is told");
        drop(waiter);
        turn
    }

    /// The place of the least urgent that waits, if it is less urgent.
    fn evict(&self, priority: u8) -> Option<Place> {
        let rank = self.rank(priority);
        let mut state = self.state();
        let last = state.waiting.last_entry().filter(|last| last.key().0 > rank)?;
        let Waiter { turn, place } = last.remove();
        drop(state);
        let why = "a more urgent call took its place in the queue";
        drop(turn.send(Err(Error::new(ErrorKind::Overloaded, why))));
        Some(place)
    }

    /// Passes a turn on.
    fn pass_on(self: &Arc<Self>) {
        let next = {
            let mut state = self.state();
            let next = state.waiting.pop_first();
            state.free += usize::from(next.is_none());
            next
        };
        if let Some((_, Waiter { turn, place })) = next {
            // Who is gone drops it, which passes it on.
            drop(turn.send(Ok(Turn { line: self.clone(), place: Some(place) })));
        }
    }

    fn rank(&self, priority: u8) -> i128 {
        let nanos =
            |duration: std::time::Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX / 256);
        nanos(self.start.elapsed()) - i128::from(priority) * nanos(self.options.ageing)
    }

    fn full(&self) -> Error {
        let message = format!("the queue is full: {} calls are in it", self.options.capacity);
        Error::new(ErrorKind::Overloaded, message)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that waits; dropped, it is out of the line.
struct Leaving<'a> {
    line: &'a Line,
    rank: Rank,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let gone = self.line.state().waiting.remove(&self.rank);
        drop(gone);
    }
}

/// The right to call; dropped, the next has it.
#[derive(Debug)]
pub(crate) struct Turn {
    line: Arc<Line>,
    place: Option<Place>,
}

impl Turn {
    /// Gives the turn to the next, and keeps the place in the queue.
    pub(crate) fn pause(mut self) -> Place {
        self.place.take().expect("it is there until the turn is over")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.line.pass_on();
    }
}
