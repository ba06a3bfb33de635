//! Calls under way: how a sink lets them end before it closes.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{Error, ErrorKind, Result, Sent};

/// Counts the calls of a sink, and lets those that began end before it closes.
#[derive(Debug)]
pub struct Calls {
    places: Semaphore,
    most: u32,
}

/// A call under way, until it is dropped.
#[derive(Debug)]
pub struct UnderWay<'a>(#[expect(dead_code, reason = "held")] SemaphorePermit<'a>);

impl Calls {
    /// At most so many calls at once; further ones wait.
    pub fn new(most: u32) -> Self {
        Self { places: Semaphore::new(most as usize), most }
    }

    /// Begins a call. Errors: `Closed`, after [`close`](Self::close). Cancel-safe.
    pub async fn begin(&self) -> Result<UnderWay<'_>> {
        let closed = |_| Error::new(ErrorKind::Closed, "the sink is closed").with_sent(Sent::No);
        self.places.acquire().await.map(UnderWay).map_err(closed)
    }

    /// Waits for those that began, and lets none begin any more. Again, it answers at once. Cancel-safe.
    pub async fn close(&self) {
        if let Ok(all) = self.places.acquire_many(self.most).await {
            self.places.close();
            drop(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_close_waits_for_calls_under_way_and_lets_none_begin_behind_it() {
        let calls = Calls::new(2);
        let first = calls.begin().await.unwrap();
        let mut closing = Box::pin(calls.close());
        assert!(futures_poll(&mut closing).await.is_none());
        drop(first);
        closing.await;
        let why = calls.begin().await.unwrap_err();
        assert_eq!((why.kind(), why.sent()), (ErrorKind::Closed, Sent::No));
        calls.close().await;
    }

    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
                std::task::Poll::Ready(done) => Some(done),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
