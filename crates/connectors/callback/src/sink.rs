//! The sink that calls a closure.

use std::any::Any;
use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use haul_core::{
    Batch, BoxFuture, Error, ErrorKind, Level, Packet, PacketId, Receipt, Result, Sent, Service, Sink, Status,
};

/// Hands each packet to a closure. `Ok(())` of the closure is a receipt of [`Level::Acknowledged`]; it is idempotent
/// if the closure is.
pub struct Callback {
    closure: Closure,
    closed: AtomicBool,
}

enum Closure {
    Sync(Box<dyn Fn(Packet) -> Result<Receipt> + Send + Sync>),
    Async(Box<dyn Fn(Packet) -> BoxFuture<'static, Result<Receipt>> + Send + Sync>),
}

/// What a closure may answer when it took a packet: `()` or a [`Receipt`].
pub trait Answer: Send + 'static {
    /// The receipt for the packet with `id`.
    fn receipt(self, id: Option<PacketId>) -> Receipt;
}

impl Answer for () {
    fn receipt(self, id: Option<PacketId>) -> Receipt {
        Receipt::new(Level::Acknowledged, id)
    }
}

impl Answer for Receipt {
    fn receipt(self, _id: Option<PacketId>) -> Receipt {
        self
    }
}

impl Callback {
    /// A sink that awaits `closure` for each packet.
    pub fn new<F, Fut, A, E>(closure: F) -> Self
    where
        F: Fn(Packet) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<A, E>> + Send + 'static,
        A: Answer,
        E: Display + 'static,
    {
        Self::of(Closure::Async(Box::new(move |packet| {
            let id = packet.id();
            let answer = closure(packet);
            Box::pin(async move { outcome(answer.await, id) })
        })))
    }

    /// A sink that calls `closure` for each packet, on the thread that polls the call.
    pub fn sync<F, A, E>(closure: F) -> Self
    where
        F: Fn(Packet) -> Result<A, E> + Send + Sync + 'static,
        A: Answer,
        E: Display + 'static,
    {
        Self::of(Closure::Sync(Box::new(move |packet| {
            let id = packet.id();
            outcome(closure(packet), id)
        })))
    }

    fn of(closure: Closure) -> Self {
        Self { closure, closed: AtomicBool::new(false) }
    }

    fn open(&self) -> Result<()> {
        match self.closed.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(Error::new(ErrorKind::Closed, "deliver to the callback: the sink is closed")
                .with_sent(Sent::No)),
        }
    }

    async fn hand_over(&self, packet: Packet) -> Result<Receipt> {
        let mut answer = match &self.closure {
            Closure::Sync(closure) => return caught(|| closure(packet)).and_then(|answer| answer),
            Closure::Async(closure) => caught(|| closure(packet))?,
        };
        std::future::poll_fn(|cx| match caught(|| answer.as_mut().poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(answer)) => Poll::Ready(answer),
            Err(panic) => Poll::Ready(Err(panic)),
        })
        .await
    }
}

/// Runs `f`; a panic becomes an error. What `f` was using is not used again after one, or is the user's own.
fn caught<T>(f: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|panic| {
        let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => text,
            (_, Some(text)) => text.as_str(),
            _ => "no message",
        };
        Error::new(ErrorKind::Internal, format!("deliver to the callback: it panicked: {text}"))
    })
}

fn outcome<A: Answer, E: Display + 'static>(answer: Result<A, E>, id: Option<PacketId>) -> Result<Receipt> {
    answer.map(|answer| answer.receipt(id)).map_err(|why| match (&why as &dyn Any).downcast_ref::<Error>() {
        Some(own) => own.clone(),
        None => Error::new(ErrorKind::Rejected, format!("deliver to the callback: {why}"))
            .with_status(Status::Transient)
            .with_sent(Sent::No),
    })
}

impl Service<Batch> for Callback {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.open()?;
        let mut outcomes = Vec::with_capacity(batch.len());
        for packet in batch.into_packets() {
            outcomes.push(self.hand_over(packet).await);
        }
        Ok(outcomes)
    }
}

impl Service<Packet> for Callback {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        self.open()?;
        self.hand_over(packet).await
    }
}

impl Sink for Callback {
    async fn ready(&self) -> Result<()> {
        self.open()
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").field("closed", &self.closed).finish_non_exhaustive()
    }
}
