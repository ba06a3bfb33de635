//! What the writer owes those who wait.

use std::ops::Range;

use haul_core::{Error, Result};
use tokio::sync::oneshot;

use crate::retention::Removed;
use crate::seq::Seq;

/// An answer that waits for the sync.
pub(crate) enum Answer {
    Append(oneshot::Sender<Result<Range<Seq>>>, Range<Seq>),
    Cursor(oneshot::Sender<Result<Seq>>, Seq),
    Retain(oneshot::Sender<Result<Removed>>, Result<Removed>),
}

impl Answer {
    pub(crate) fn give(self) {
        match self {
            Self::Append(done, range) => drop(done.send(Ok(range))),
            Self::Cursor(done, position) => drop(done.send(Ok(position))),
            Self::Retain(done, removed) => drop(done.send(removed)),
        }
    }

    pub(crate) fn fail(self, error: Error) {
        match self {
            Self::Append(done, _) => drop(done.send(Err(error))),
            Self::Cursor(done, _) => drop(done.send(Err(error))),
            Self::Retain(done, _) => drop(done.send(Err(error))),
        }
    }
}
