//! Deliveries: packets whose sender waits for a receipt, and receivers that give it.

use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use super::hub::{Hub, lock};
use super::inbox::Arrived;
use super::sender::Sender;
use super::settling::Settling;
use crate::source::{Settle, dropped};
use crate::wire::Frame;
use crate::{
    Batch, BoxFuture, CloseReason, Delivery, Error, ErrorKind, Level, Packet, PacketId, Receipt, Result, Sent,
};

/// A receipt on its way. Dropped, nobody waits for it any more.
struct Promised<'a> {
    hub: &'a Hub,
    id: PacketId,
    answer: oneshot::Receiver<Result<Receipt>>,
}

impl Drop for Promised<'_> {
    fn drop(&mut self) {
        lock(&self.hub.outbox).receipts.remove(&self.id);
    }
}

impl Promised<'_> {
    async fn answer(mut self) -> Result<Receipt> {
        let lost = || Err(Error::new(ErrorKind::Closed, "the connection ended before the receipt"));
        self.hub.read_now();
        let answer = (&mut self.answer).await.unwrap_or_else(|_| lost());
        answer.map_err(|why| why.while_doing(self.hub.doing("deliver to")))
    }
}

/// Accepts `packet` and answers the promise of its receipt.
async fn promise(sender: &Sender, packet: Packet) -> Result<Promised<'_>> {
    let hub = sender.hub();
    hub.check(&packet)?;
    let packet = packet.identified();
    let id = packet.id().expect("it was just identified");
    let (promise, answer) = oneshot::channel();
    {
        let mut outbox = lock(&hub.outbox);
        if outbox.receipts.len() >= hub.limits.max_unanswered {
            let error = Error::new(ErrorKind::Overloaded, "too many deliveries wait for their receipts");
            return Err(error
                .with("max_unanswered", hub.limits.max_unanswered)
                .while_doing(hub.doing("deliver to")));
        }
        if outbox.receipts.contains_key(&id) {
            let error = Error::new(ErrorKind::Rejected, format!("packet {id} is being delivered already"));
            return Err(error.with_sent(Sent::No).while_doing(hub.doing("deliver to")));
        }
        let number = outbox.queued + 1;
        outbox.receipts.insert(id, (number, promise));
    }
    let promised = Promised { hub, id, answer };
    let (number, much) = hub.push(Frame::Packet { packet, receipt: true }).await?;
    if let Some((known, _)) = lock(&hub.outbox).receipts.get_mut(&id) {
        *known = number;
    }
    hub.sent_one(much);
    Ok(promised)
}

pub(super) async fn deliver(sender: &Sender, packet: Packet) -> Result<Receipt> {
    if sender.info().receipts {
        return promise(sender, packet).await?.answer().await;
    }
    let id = packet.id();
    let hub = sender.hub();
    hub.check(&packet)?;
    let (number, _) = hub.push(Frame::packet(packet)).await?;
    sender.handed_over(number, number).await?;
    Ok(Receipt::new(Level::Sent, id))
}

/// One write for all that fit, then the outcomes in order.
pub(super) async fn deliver_all(sender: &Sender, batch: Batch) -> Result<Vec<Result<Receipt>>> {
    let mut outcomes = Vec::with_capacity(batch.len());
    if sender.info().receipts {
        let mut promises = Vec::with_capacity(batch.len());
        for packet in batch.into_packets() {
            promises.push(promise(sender, packet).await);
        }
        for promised in promises {
            outcomes.push(match promised {
                Ok(promised) => promised.answer().await,
                Err(why) => Err(why),
            });
        }
        return Ok(outcomes);
    }
    let hub = sender.hub();
    let (mut first, mut last) = (u64::MAX, 0);
    for packet in batch.into_packets() {
        let id = packet.id();
        let pushed = match hub.check(&packet) {
            Ok(()) => hub.push(Frame::packet(packet)).await,
            Err(why) => Err(why),
        };
        outcomes.push(pushed.map(|(number, much)| {
            (first, last) = (first.min(number), number);
            if much {
                hub.write_inline();
            }
            Receipt::new(Level::Sent, id)
        }));
    }
    if let Err(why) = sender.handed_over(first, last).await {
        outcomes.iter_mut().filter(|outcome| outcome.is_ok()).for_each(|outcome| *outcome = Err(why.clone()));
    }
    Ok(outcomes)
}

/// A packet of this connection whose answer is left to the application.
pub(super) fn delivery(hub: &Arc<Hub>, arrived: Arrived) -> Delivery {
    let awaited = arrived.packet.id().filter(|_| arrived.receipt);
    let number = hub.settling.as_ref().map(Settling::open);
    let answer = Answer { hub: Arc::downgrade(hub), awaited, number };
    match (awaited, number) {
        (Some(_), _) => Delivery::new(arrived.packet, answer),
        (None, Some(_)) => Delivery::new(arrived.packet, answer).unawaited(),
        (None, None) => Delivery::unanswered(arrived.packet),
    }
}

struct Answer {
    hub: Weak<Hub>,
    /// The id by which the packet's sender waits for the answer.
    awaited: Option<PacketId>,
    /// The number by which the link is told that the packet is settled.
    number: Option<u64>,
}

impl Answer {
    /// A sender that waits is told; one that does not is told of a refusal by the close, and the packet is not settled.
    fn give(&self, outcome: Result<Receipt>) -> Result<()> {
        let gone = || Error::new(ErrorKind::Closed, "answer a packet: its connection is gone");
        let hub = self.hub.upgrade().ok_or_else(gone)?;
        match (self.awaited, outcome) {
            (Some(id), outcome) => hub.answer(Frame::Receipt { id, outcome })?,
            (None, Ok(_)) => {}
            (None, Err(why)) => {
                let code = match why.kind() {
                    ErrorKind::TooLarge => CloseReason::TOO_LARGE.code,
                    _ => CloseReason::POLICY.code,
                };
                hub.begin_close(CloseReason::new(code, format!("a packet was refused: {}", why.message())));
                return Ok(());
            }
        }
        if let (Some(settling), Some(number)) = (&hub.settling, self.number) {
            settling.settle(number);
        }
        Ok(())
    }
}

impl Settle for Answer {
    fn settle(self: Box<Self>, outcome: Result<Receipt>) -> BoxFuture<'static, Result<()>> {
        Box::pin(async move { self.give(outcome) })
    }

    fn dropped(self: Box<Self>) {
        // If the connection is gone, its end is the answer.
        let _ = self.give(Err(dropped()));
    }
}
