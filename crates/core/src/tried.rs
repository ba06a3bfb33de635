//! What several tries of one call come to.

use std::fmt;

use crate::{Error, Input, Result, Sent};

/// What the tries of a call have come to so far. Layers that try again, or elsewhere, keep it.
pub struct Tried<In: Input> {
    so_far: Option<In::Out>,
    /// One of them may have been heard.
    heard: bool,
    /// One that failed as a whole may have been heard, of everything that was still to do.
    whole: bool,
}

impl<In: Input> Tried<In> {
    /// Before the first.
    pub fn new() -> Self {
        Self { so_far: None, heard: false, whole: false }
    }

    /// The answer of all tries together, of which `answer` is the last. What one of them may have done stays so, whatever
    /// the last one says.
    pub fn join(&mut self, answer: Result<In::Out>) -> Result<In::Out> {
        let mut joined = match self.so_far.take() {
            Some(first) => In::join(first, answer),
            None => answer,
        };
        match &mut joined {
            Err(why) if self.heard => *why = why.clone().with_sent(Sent::Maybe),
            Ok(out) if self.whole => In::heard(out),
            _ => {}
        }
        joined
    }

    /// There will be another try, after these came to `joined`, for what the last one left undone and why.
    pub fn again(&mut self, joined: Result<In::Out>, why: &Error) {
        let heard = why.sent() == Sent::Maybe;
        self.heard |= heard;
        self.whole |= heard && joined.is_err();
        self.so_far = joined.ok();
    }
}

impl<In: Input> Default for Tried<In> {
    fn default() -> Self {
        Self::new()
    }
}

impl<In: Input> fmt::Debug for Tried<In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tried")
            .field("heard", &self.heard)
            .field("whole", &self.whole)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, ErrorKind, Level, Receipt};

    fn unsent() -> Result<Receipt> {
        Err(Error::new(ErrorKind::Connect, "refused"))
    }

    fn maybe() -> Error {
        Error::new(ErrorKind::Timeout, "no answer")
    }

    fn stored() -> Result<Receipt> {
        Ok(Receipt::new(Level::Stored, None))
    }

    fn sent(answer: &Result<Vec<Result<Receipt>>>) -> Vec<Option<Sent>> {
        let outcomes = answer.as_ref().unwrap();
        outcomes.iter().map(|outcome| outcome.as_ref().err().map(Error::sent)).collect()
    }

    #[test]
    fn a_batch_that_may_have_been_heard_as_a_whole_may_have_been_in_each_of_its_packets() {
        let mut tried = Tried::<Batch>::new();
        let first = tried.join(Err(maybe()));
        tried.again(first, &maybe());
        let second = tried.join(Ok(vec![stored(), unsent(), unsent()]));
        assert_eq!(sent(&second), [None, Some(Sent::Maybe), Some(Sent::Maybe)]);
        tried.again(second, &unsent().unwrap_err());
        let third = tried.join(Ok(vec![stored(), unsent()]));
        assert_eq!(sent(&third), [None, None, Some(Sent::Maybe)]);
    }

    #[test]
    fn of_a_batch_whose_packets_failed_one_by_one_each_stays_what_it_was() {
        let mut tried = Tried::<Batch>::new();
        let first = tried.join(Ok(vec![Err(maybe()), unsent()]));
        tried.again(first, &maybe());
        assert_eq!(sent(&tried.join(Ok(vec![unsent(), unsent()]))), [Some(Sent::Maybe), Some(Sent::No)]);
    }

    #[test]
    fn what_was_never_heard_stays_so() {
        let why = unsent().unwrap_err();
        let mut tried = Tried::<Batch>::new();
        let first = tried.join(Err(why.clone()));
        tried.again(first, &why);
        assert_eq!(sent(&tried.join(Ok(vec![unsent()]))), [Some(Sent::No)]);
        tried.again(Err(why.clone()), &why);
        assert_eq!(tried.join(Err(why)).unwrap_err().sent(), Sent::No);
    }
}
