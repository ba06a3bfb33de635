//! Connections to `/status`: the status as a JSON text, at once and then each second.

use std::sync::Arc;
use std::time::Duration;

use haul_core::{CloseReason, Connection, Error, ErrorKind, Packet, Receiver, Result, Sender};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::accept::told;
use crate::gateway::Shared;

/// The path of these connections.
pub(crate) const PATH: &str = "/status";

/// From one status to the next, without the time that the peer takes.
const EVERY: Duration = Duration::from_secs(1);

/// Tells `connection` the status until its peer ends, it fails, or `stop` says so.
pub(crate) async fn serve(connection: Connection, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let (sender, mut receiver) = connection.split();
    let open = shared.live.enter(&sender);
    let reason = tokio::select! {
        biased;
        () = told(&mut stop) => CloseReason::GOING_AWAY,
        reason = hear(&mut receiver) => reason,
        Err(why) = tell(&sender, &shared) => {
            tracing::debug!(peer = sender.info().peer, "status: {why}");
            CloseReason::INTERNAL
        }
        never = open.watch(&sender) => match never {},
    };
    if let Err(why) = sender.close(reason).await {
        tracing::debug!(peer = sender.info().peer, "close: {why}");
    }
}

/// Nothing is queued: who is slow gets fewer.
async fn tell(sender: &Sender, shared: &Shared) -> Result<std::convert::Infallible> {
    loop {
        sender.send(Packet::json(&shared.status())?).await?;
        sender.flush().await?;
        sleep(EVERY).await;
    }
}

/// Refuses what comes.
async fn hear(receiver: &mut Receiver) -> CloseReason {
    loop {
        match receiver.next_delivery().await {
            Ok(Some(delivery)) => {
                let why = Error::new(ErrorKind::Rejected, "nothing is taken in at /status: use another path");
                // The close says the same to who hears of no receipts.
                let _ = delivery.nack(why).await;
                return CloseReason::new(CloseReason::POLICY.code, "nothing is taken in at /status");
            }
            Ok(None) => return CloseReason::NORMAL,
            Err(why) if why.kind() == ErrorKind::Gap => {}
            Err(_) => return CloseReason::INTERNAL,
        }
    }
}
