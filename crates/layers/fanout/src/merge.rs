//! From the outcomes of a packet at each member to its one outcome.

use std::cmp::Reverse;

use haul_core::{Batch, Error, ErrorKind, Input, Receipt, Result, Sent, Status};

/// The outcome of a packet that `need` members must accept.
///
/// If they do, the receipt has the level that so many of them reached. If not, the error is the one that decides whether
/// trying again can help: it can while those that did not refuse it for good are enough.
pub(crate) fn merge(need: usize, outcomes: impl IntoIterator<Item = Result<Receipt>>) -> Result<Receipt> {
    let (mut receipts, mut failures) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(receipt) => receipts.push(receipt),
            Err(why) => failures.push(why),
        }
    }
    let accepted = receipts.len();
    if accepted >= need {
        receipts.sort_by_key(|receipt| Reverse(receipt.level));
        return Ok(receipts.swap_remove(need - 1));
    }
    let with = |status: Status| failures.iter().filter(|why| why.status() == status).count();
    let open = accepted + with(Status::Transient);
    let status = match open + with(Status::Exhausted) {
        _ if open >= need => Status::Transient,
        tried if tried >= need => Status::Exhausted,
        _ => Status::Permanent,
    };
    let seen = accepted > 0 || failures.iter().any(|why| why.sent() == Sent::Maybe);
    let members = accepted + failures.len();
    let why =
        failures.into_iter().find(|why| why.status() == status).expect("too few accepted it: one did not");
    let why = why.with("accepted", format_args!("{accepted} of {members}")).with("needed", need);
    Err(if seen { why.with_sent(Sent::Maybe) } else { why })
}

/// The outcomes of a batch at one member.
pub(crate) enum Column {
    Each(std::vec::IntoIter<Result<Receipt>>),
    All(Error),
}

impl Column {
    pub(crate) fn new(answer: Result<Vec<Result<Receipt>>>, packets: usize) -> Self {
        match answer {
            Ok(outcomes) if outcomes.len() == packets => Self::Each(outcomes.into_iter()),
            Ok(outcomes) => Self::All(miscounted(packets, outcomes.len())),
            Err(why) => Self::All(why),
        }
    }

    pub(crate) fn next(&mut self) -> Result<Receipt> {
        match self {
            Self::Each(outcomes) => outcomes.next().expect("there is one for each packet"),
            Self::All(why) => Err(why.clone()),
        }
    }
}

fn miscounted(packets: usize, outcomes: usize) -> Error {
    let message = format!("{} {packets} packets: a member answered {outcomes} outcomes", Batch::ROLE);
    Error::new(ErrorKind::Internal, message)
}
