use std::fmt;
use std::sync::Arc;

use haul_core::{Ack, BoxFuture, Delivery, Receipt, Result, Settle, Source};

use crate::window::{Claim, Ticket, Window};

/// Gives the packets of a source that were not acknowledged before; the others it acknowledges itself, with the receipt
/// of then.
///
/// A packet that comes again while the first is not settled yet is not given: it is answered as the first is.
pub struct DedupeSource<S> {
    inner: S,
    window: Arc<Window>,
}

impl<S> DedupeSource<S> {
    pub(crate) fn new(inner: S, window: Arc<Window>) -> Self {
        Self { inner, window }
    }
}

impl<S: Source> Source for DedupeSource<S> {
    async fn next(&mut self) -> Result<Option<Delivery>> {
        loop {
            let Some(delivery) = self.inner.next().await? else { return Ok(None) };
            let Some(id) = delivery.packet().id() else { return Ok(Some(delivery)) };
            match self.window.claim(id) {
                Claim::Mine(ticket) => {
                    let (packet, ack) = delivery.split();
                    return Ok(Some(Delivery::new(packet, First { ticket, ack })));
                }
                // What cannot be acknowledged any more comes again, and is known then, too.
                Claim::Done(receipt) => drop(delivery.ack(receipt).await),
                // It may be settled just now: then it is dropped, which refuses it, and comes again.
                Claim::Open(_) => drop(self.window.park(id, delivery.split().1)),
            }
        }
    }
}

/// How the first packet of an id is answered, and with it those that came while it was under way.
struct First {
    ticket: Ticket,
    ack: Ack,
}

impl Settle for First {
    fn settle(self: Box<Self>, outcome: Result<Receipt>) -> BoxFuture<'static, Result<()>> {
        // Known from here on, even if the answer does not reach the source.
        let parked = self.ticket.settle(&outcome);
        let first = self.ack;
        Box::pin(async move {
            let answered = answer(first, outcome.clone()).await;
            for ack in parked {
                // One that cannot be answered comes again, as above.
                drop(answer(ack, outcome.clone()).await);
            }
            answered
        })
    }

    fn dropped(self: Box<Self>) {}
}

async fn answer(ack: Ack, outcome: Result<Receipt>) -> Result<()> {
    match outcome {
        Ok(receipt) => ack.ack(receipt).await,
        Err(why) => ack.nack(why).await,
    }
}

impl<S: fmt::Debug> fmt::Debug for DedupeSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DedupeSource").field("inner", &self.inner).field("window", &self.window).finish()
    }
}
