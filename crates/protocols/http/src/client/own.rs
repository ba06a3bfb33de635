//! A connection that one exchange has for itself, and that whoever waits for the response keeps going.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use haul_core::BoxFuture;
use hyper::rt::Executor;

type Task = BoxFuture<'static, ()>;

/// The tasks of the connection; dropped, it is cut.
#[derive(Clone, Default)]
pub(super) struct Own(Arc<Mutex<Vec<Task>>>);

impl Own {
    fn tasks(&self) -> MutexGuard<'_, Vec<Task>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with the connection, as far as that is possible now.
    pub(super) fn poll(&self, cx: &mut Context<'_>) {
        let mut running = Vec::new();
        loop {
            let mut begun = std::mem::take(&mut *self.tasks());
            if begun.is_empty() {
                break;
            }
            // Polled outside of the lock: they may begin others.
            begun.retain_mut(|task| task.as_mut().poll(cx).is_pending());
            running.append(&mut begun);
        }
        *self.tasks() = running;
    }

    /// Goes on with the connection until `work` is done.
    pub(super) async fn drive<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            self.poll(cx);
            work.as_mut().poll(cx)
        })
        .await
    }
}

impl Executor<Task> for Own {
    fn execute(&self, task: Task) {
        self.tasks().push(task);
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Own")
    }
}
