#![doc = include_str!("../README.md")]
//!
//! # Replay safety, order, cancellation
//!
//! What a member failed goes to another one if that is safe: if it cannot have been seen (`Sent::No`), or is idempotent;
//! of a batch, only the part that is undone. Each member is tried once in a call. Order: calls that follow one another
//! may go to different members, so that nothing orders them at the receivers; a retry outside begins anew. Cancel:
//! dropping the future drops the call under way, which may have happened.

mod choice;
mod member;
mod options;

use std::fmt;
use std::sync::Arc;

use haul_core::{Error, ErrorKind, Input, Result, Service, Sink, Status, Tried};
use tokio::time::Instant;
use tower_layer::Layer;

use choice::Choice;
pub use member::Member;
use member::Seat;
pub use options::{BalanceOptions, By};

/// Members at most.
pub const MAX_MEMBERS: usize = 64;

/// Puts [`Balance`] around services: the one it is put around is a member of weight 1 beside the others.
#[derive(Clone, Debug)]
pub struct BalanceLayer<S> {
    options: BalanceOptions,
    others: Vec<Member<S>>,
}

impl<S> BalanceLayer<S> {
    /// A layer that balances over the service it is put around and `others`. Errors: as [`Balance::new`].
    pub fn new(options: BalanceOptions, others: impl Into<Vec<Member<S>>>) -> Result<Self> {
        let others = others.into();
        check(1 + others.len(), &others)?;
        Ok(Self { options: options.check()?, others })
    }
}

impl<S: Clone> Layer<S> for BalanceLayer<S> {
    type Service = Balance<S>;

    fn layer(&self, inner: S) -> Balance<S> {
        let members = std::iter::once(Member::new(inner)).chain(self.others.iter().cloned());
        Balance::of(self.options, members)
    }
}

/// Calls one of its members. Clones share what they know of them.
pub struct Balance<S> {
    seats: Arc<[Seat<S>]>,
    choice: Arc<Choice>,
    options: BalanceOptions,
}

impl<S> Balance<S> {
    /// Balances over `members`.
    ///
    /// Errors: `Config` for an option or weight out of its range, no members, or more than [`MAX_MEMBERS`].
    pub fn new(options: BalanceOptions, members: impl Into<Vec<Member<S>>>) -> Result<Self> {
        let members = members.into();
        check(members.len(), &members)?;
        Ok(Self::of(options.check()?, members))
    }

    fn of(options: BalanceOptions, members: impl IntoIterator<Item = Member<S>>) -> Self {
        let seats: Arc<[_]> = members.into_iter().map(Seat::new).collect();
        let choice = Arc::new(Choice::new(options.by, seats.len()));
        Self { seats, choice, options }
    }

    /// Whether calls go to each member now, in their order: those that fail are passed over for a time.
    pub fn admitted(&self) -> Vec<bool> {
        self.seats.iter().map(|seat| !seat.is_ejected()).collect()
    }

    /// The member to try next: one whose turn it is to be tried again, one that works, or any that was not tried.
    fn next(&self, tried: u64) -> Option<usize> {
        let untried = |at: usize| tried & (1 << at) == 0;
        let due =
            || (0..self.seats.len()).find(|&at| untried(at) && self.seats[at].is_due(self.options.readmit));
        let working = || self.choice.of(&self.seats, |at| untried(at) && !self.seats[at].is_ejected());
        due().or_else(working).or_else(|| self.choice.of(&self.seats, untried))
    }

    fn note<In: Input>(&self, seat: &Seat<S>, answer: &Result<In::Out>, took: std::time::Duration) {
        let failure = match answer {
            Ok(out) => In::failure(out),
            Err(why) => Some(why.clone()),
        };
        match failure.filter(|why| why.status() != Status::Permanent) {
            Some(why) => {
                seat.failed(
                    self.options.eject,
                    self.options.readmit.max(why.retry_after().unwrap_or_default()),
                );
            }
            None => seat.works(took),
        }
    }
}

impl<In: Input, S: Service<In>> Service<In> for Balance<S> {
    async fn call(&self, mut todo: In) -> Result<In::Out> {
        let (mut asked, mut tried) = (0_u64, Tried::<In>::new());
        let mut next = self.next(asked);
        loop {
            let at = next.expect("a member goes on only to one that was not tried");
            let seat = &self.seats[at];
            asked |= 1 << at;
            let last = asked.count_ones() as usize == self.seats.len();
            let spare = if last { None } else { todo.replay() };
            let (start, under_way) = (Instant::now(), seat.enter());
            let mut answer = seat.service.call(todo).await;
            drop(under_way);
            self.note::<In>(seat, &answer, start.elapsed());
            let undone = spare.and_then(|input| input.elsewhere(&mut answer));
            let answer = tried.join(answer);
            let Some((rest, why)) = undone else { return answer };
            tried.again(answer, &why);
            (todo, next) = (rest, self.next(asked));
        }
    }
}

impl<S: Sink> Sink for Balance<S> {
    /// Ready when one of the members is. Errors: that of the first if none is.
    async fn ready(&self) -> Result<()> {
        let mut first = None;
        for seat in self.seats.iter() {
            match seat.service.ready().await {
                Ok(()) => return Ok(()),
                Err(why) => drop(first.get_or_insert(why)),
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Closes all. Errors: the first.
    async fn close(&self) -> Result<()> {
        let mut all = Ok(());
        for seat in self.seats.iter() {
            all = all.and(seat.service.close().await);
        }
        all
    }
}

fn check<S>(count: usize, members: &[Member<S>]) -> Result<()> {
    let wrong = |what: String| Err(Error::new(ErrorKind::Config, format!("balance: {what}")));
    if !(1..=MAX_MEMBERS).contains(&count) {
        return wrong(format!("{count} members must be between 1 and {MAX_MEMBERS}"));
    }
    match members.iter().find(|member| !(1..=1000).contains(&member.weight)) {
        Some(member) => wrong(format!("weight {} must be between 1 and 1000", member.weight)),
        None => Ok(()),
    }
}

impl<S> Clone for Balance<S> {
    fn clone(&self) -> Self {
        Self { seats: self.seats.clone(), choice: self.choice.clone(), options: self.options }
    }
}

impl<S> fmt::Debug for Balance<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let admitted = self.admitted();
        f.debug_struct("Balance")
            .field("options", &self.options)
            .field("admitted", &admitted)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
