//! Who is woken when the link beneath is ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// The wakers of both halves as they were last polled, and of the task that writes what the session itself says.
#[derive(Default)]
pub(crate) struct Wakers {
    pub(crate) read: AtomicWaker,
    pub(crate) write: AtomicWaker,
    pub(crate) own: AtomicWaker,
    /// The writer waits for acknowledgements, and reads itself where nobody else does.
    pub(crate) writer_reads: AtomicBool,
}

impl Wakers {
    pub(crate) fn wake_all(&self) {
        self.read.wake();
        self.write.wake();
        self.own.wake();
    }

    /// What the link's reading half is polled with.
    pub(crate) fn reading(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::new(Reading(self.clone())))
    }

    /// What the link's writing half is polled with.
    pub(crate) fn writing(self: &Arc<Self>) -> Waker {
        Waker::from(Arc::new(Writing(self.clone())))
    }
}

struct Reading(Arc<Wakers>);

impl Wake for Reading {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.read.wake();
        if self.0.writer_reads.load(Ordering::Acquire) {
            self.0.write.wake();
        }
    }
}

struct Writing(Arc<Wakers>);

impl Wake for Writing {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.write.wake();
        self.0.own.wake();
    }
}
