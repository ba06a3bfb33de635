//! One connection: packets in, each into the log, each answered when it is on disk.

use std::sync::Arc;

use haul_core::{
    Ack, CloseReason, Connection, Error, ErrorKind, Info, Packet, Receiver, Result, Sender, Source,
};
use haul_event_log::{Appending, Stored};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::accept::told;
use crate::feed;
use crate::gateway::Shared;
use crate::listen::{ListenUrl, Terms};
use crate::receipt;

/// A packet that waits for the disk.
struct InFlight {
    appending: Result<Appending>,
    session: String,
    ack: Ack,
    /// Somebody waits for `ack`.
    awaited: bool,
    /// For those who watch.
    packet: Option<Packet>,
    /// Its bytes among those of all connections that wait for the disk.
    bytes: OwnedSemaphorePermit,
    /// Its place in the connection's window.
    slot: OwnedSemaphorePermit,
}

/// A packet that waits to be answered.
struct Settled {
    outcome: Result<Stored>,
    session: String,
    ack: Ack,
    awaited: bool,
    _slot: OwnedSemaphorePermit,
}

/// Serves `connection` until its peer ends, it fails, or `stop` says so; what was read by then is stored and answered
/// first.
pub(crate) async fn serve(
    connection: Connection,
    url: Arc<ListenUrl>,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) {
    let terms = match url.terms(connection.info()) {
        Ok(terms) => terms,
        Err(why) => {
            let reason = CloseReason::new(CloseReason::POLICY.code, why.to_string());
            // It was told; that it did not wait to hear it is its own affair.
            let _ = connection.close(reason).await;
            return;
        }
    };
    let info = connection.info().clone();
    if url.web.is_some() && info.facts.get("path") == Some(feed::PATH) {
        return feed::serve(connection, shared, stop).await;
    }
    let (sender, receiver) = connection.split();
    let open = shared.live.enter(&sender);
    // Both queues hold a whole window, so that nobody waits to put into them: one who reads no receipts fills the
    // window, and holds nothing that others wait for.
    let (submitted, submissions) = mpsc::channel(shared.window);
    let (settled, outcomes) = mpsc::channel(shared.window);
    let (halt, halted) = watch::channel(None);
    let serving = Serving { window: Arc::new(Semaphore::new(shared.window)), shared, terms, info };
    let served = async {
        tokio::join!(
            serving.read(receiver, submitted, stop, halted),
            serving.settle(submissions, settled),
            serving.answer(&sender, outcomes, halt),
        )
    };
    let ((receiver, reason), (), ()) = tokio::select! {
        served = served => served,
        never = open.watch(&sender) => match never {},
    };
    if let Err(why) = sender.close(reason).await {
        tracing::debug!(peer = serving.info.peer, "close: {why}");
    }
    drop(receiver);
}

struct Serving {
    shared: Arc<Shared>,
    terms: Terms,
    info: Info,
    window: Arc<Semaphore>,
}

impl Serving {
    /// Reads until there is a reason to close.
    async fn read(
        &self,
        mut receiver: Receiver,
        queue: mpsc::Sender<InFlight>,
        mut stop: watch::Receiver<bool>,
        mut halted: watch::Receiver<Option<CloseReason>>,
    ) -> (Receiver, CloseReason) {
        loop {
            // Before it reads: what was read is stored.
            let slot = tokio::select! {
                biased;
                () = told(&mut stop) => return (receiver, CloseReason::GOING_AWAY),
                reason = halt_reason(&mut halted) => return (receiver, reason),
                slot = self.window.clone().acquire_owned() => slot,
            };
            let delivery = tokio::select! {
                biased;
                () = told(&mut stop) => return (receiver, CloseReason::GOING_AWAY),
                reason = halt_reason(&mut halted) => return (receiver, reason),
                delivery = receiver.next() => delivery,
            };
            let (packet, ack, awaited) = match delivery {
                Ok(Some(delivery)) => {
                    let awaited = delivery.is_awaited();
                    let (packet, ack) = delivery.split();
                    (packet, ack, awaited)
                }
                Ok(None) => return (receiver, CloseReason::NORMAL),
                Err(why) if why.kind() == ErrorKind::Gap => {
                    tracing::warn!(peer = self.info.peer, "packets are missing: {why}");
                    continue;
                }
                Err(why) => {
                    tracing::info!(peer = self.info.peer, "connection lost: {why}");
                    return (receiver, CloseReason::INTERNAL);
                }
            };
            // This room opens as the disk goes on, and keeps from stopping no longer than that.
            let (Ok(slot), Some(bytes)) = (slot, self.shared.admit(packet.weight()).await) else {
                return (receiver, CloseReason::INTERNAL);
            };
            let (packet, event) = self.shared.event(packet, &self.terms, &self.info);
            let flight = InFlight {
                session: event.session.clone(),
                appending: self.shared.log.submit(event).await,
                ack,
                awaited,
                packet,
                bytes,
                slot,
            };
            if queue.send(flight).await.is_err() {
                return (receiver, CloseReason::INTERNAL);
            }
        }
    }

    /// Waits for the disk, packet by packet.
    async fn settle(&self, mut submissions: mpsc::Receiver<InFlight>, settled: mpsc::Sender<Settled>) {
        while let Some(flight) = submissions.recv().await {
            let outcome = match flight.appending {
                Ok(appending) => appending.await,
                Err(why) => Err(why),
            };
            drop(flight.bytes);
            if let (Ok(stored), Some(packet)) = (&outcome, &flight.packet) {
                self.shared.taps.publish(packet, &flight.session, stored, &self.info);
            }
            self.shared.count(&outcome);
            let done = Settled {
                outcome,
                session: flight.session,
                ack: flight.ack,
                awaited: flight.awaited,
                _slot: flight.slot,
            };
            if settled.send(done).await.is_err() {
                return;
            }
        }
    }

    /// Answers in the order in which packets came, until there are no more.
    async fn answer(
        &self,
        sender: &Sender,
        mut outcomes: mpsc::Receiver<Settled>,
        halt: watch::Sender<Option<CloseReason>>,
    ) {
        while let Some(done) = outcomes.recv().await {
            let told = done.awaited || self.terms.json_receipts;
            let refused = done.outcome.as_ref().err().cloned();
            let answered = self.give(sender, done.outcome, done.ack, &done.session).await;
            match answered {
                Ok(()) => {}
                // No later one fits either, and it would wait for them.
                Err(why) if why.kind() == ErrorKind::TooLarge => {
                    tracing::warn!(peer = self.info.peer, "max_packet leaves no room for receipts: {why}");
                    let text = format!("no receipt can be given: {}", why.message());
                    halt.send_replace(Some(CloseReason::new(CloseReason::INTERNAL.code, text)));
                }
                Err(why) => tracing::debug!(peer = self.info.peer, "a receipt could not be given: {why}"),
            }
            if let Some(why) = refused.filter(|_| !told) {
                // It may hear of no receipts: the close is its answer.
                halt.send_replace(Some(reason(&why)));
            }
        }
    }

    async fn give(&self, sender: &Sender, outcome: Result<Stored>, ack: Ack, session: &str) -> Result<()> {
        let json = match (&outcome, self.terms.json_receipts) {
            (_, false) => None,
            (Ok(stored), true) => Some(receipt::stored(stored, session)?),
            (Err(why), true) => Some(receipt::refused(why)?),
        };
        let acked = match outcome {
            Ok(stored) => ack.ack(stored.receipt()).await,
            Err(why) => ack.nack(why).await,
        };
        match json {
            Some(json) => sender.send(json).await.and(acked),
            None => acked,
        }
    }
}

async fn halt_reason(halted: &mut watch::Receiver<Option<CloseReason>>) -> CloseReason {
    let halted = halted.wait_for(Option::is_some).await;
    let reason = halted.ok().and_then(|reason| reason.clone());
    reason.unwrap_or(CloseReason::INTERNAL)
}

fn reason(why: &Error) -> CloseReason {
    let code = match why.kind() {
        ErrorKind::TooLarge => CloseReason::TOO_LARGE.code,
        _ => CloseReason::INTERNAL.code,
    };
    CloseReason::new(code, format!("not stored: {}", why.message()))
}
