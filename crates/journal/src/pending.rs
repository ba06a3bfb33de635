use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use haul_core::Result;
use tokio::sync::oneshot;

use crate::seq::Seq;
use crate::shared::Shared;

/// Records that are queued: resolves with their numbers when they are on disk, or with why they may not be.
///
/// Dropping it changes nothing: they are written all the same.
#[must_use = "the records are not on disk before it resolves"]
pub struct Pending {
    pub(crate) answer: oneshot::Receiver<Result<Range<Seq>>>,
    pub(crate) shared: Arc<Shared>,
}

impl Future for Pending {
    type Output = Result<Range<Seq>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        Poll::Ready(answer.unwrap_or_else(|_| Err(self.shared.queue.closed())))
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").finish_non_exhaustive()
    }
}
