//! The producer, and what it tells: whether the cluster answers, and what became of each record.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use haul_core::{Error, ErrorKind, Result, Sent, Status};
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext, ThreadedProducer};
use tokio::sync::Notify;

use crate::failure::{failed, is_refusal};
use crate::reports::Ticket;

pub(crate) type Producer = ThreadedProducer<Events>;

/// What the client tells.
pub(crate) struct Events {
    cluster: Cluster,
    /// A record is done with: there may be room for another.
    pub(crate) room: Notify,
    spent: AtomicBool,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { cluster: Cluster::new(), room: Notify::new(), spent: AtomicBool::new(false) }
    }

    /// It cannot go on, and another producer is to take its place.
    pub(crate) fn spend(&self) {
        self.spent.store(true, Ordering::Release);
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Acquire)
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

/// Whether the cluster answers.
pub(crate) struct Cluster {
    away: AtomicBool,
    refused: Mutex<Option<Error>>,
    /// What was said last of a connection that failed.
    said: Mutex<Option<String>>,
}

/// How long one question may take before it is asked again, and refusals are looked for.
const QUESTION: Duration = Duration::from_secs(1);

impl Cluster {
    pub(crate) fn new() -> Self {
        Self { away: AtomicBool::new(true), refused: Mutex::default(), said: Mutex::default() }
    }

    /// No broker could be reached since it last answered.
    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    /// Why it refuses us, since it last answered.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks until it answers, and blocks meanwhile. With a topic, it must know it. Errors: `Connect`, `Unauthorized`,
    /// `NotFound`; nothing was sent.
    pub(crate) fn reach<C: ClientContext>(
        &self,
        client: &Client<C>,
        topic: Option<&str>,
        deadline: Instant,
    ) -> Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let why = match client.fetch_metadata(topic, left.min(QUESTION)) {
                Ok(found) => {
                    self.away.store(false, Ordering::Release);
                    *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    match found.topics().iter().find_map(|topic| topic.error()) {
                        Some(code) if topic.is_some() => failed(&KafkaError::MetadataFetch(code.into())),
                        _ => return Ok(()),
                    }
                }
                Err(why) => match self.refusal() {
                    Some(refusal) => return Err(refusal),
                    None => self.unreached(&why),
                },
            };
            if left <= QUESTION {
                return Err(why.with_sent(Sent::No));
            }
            if why.kind() != ErrorKind::Connect {
                // It answered at once; what it does not know yet it may know soon.
                std::thread::sleep(QUESTION / 10);
            }
        }
    }

    /// Nobody answers, and what was said of that last.
    fn unreached(&self, why: &KafkaError) -> Error {
        let error = Error::new(ErrorKind::Connect, format!("no broker answers: {why}"));
        match &*self.said.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(said) => error.with("broker", said),
            None => error,
        }
    }

    pub(crate) fn heard(&self, error: &KafkaError, reason: &str) {
        let refuses = |refusal: Error| {
            let refusal = refusal.with("broker", reason);
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
        };
        match error.rdkafka_error_code() {
            Some(code) if is_refusal(code) => refuses(failed(error)),
            Some(RDKafkaErrorCode::SSL | RDKafkaErrorCode::BrokerTransportFailure) if distrusts(reason) => {
                let refusal = Error::new(ErrorKind::Tls, "a certificate is not trusted");
                refuses(refusal.with_status(Status::Permanent).with_sent(Sent::No));
            }
            Some(RDKafkaErrorCode::AllBrokersDown) => self.away.store(true, Ordering::Release),
            Some(_) => *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned()),
            None => {}
        }
        tracing::debug!("{error}: {reason}");
    }
}

/// Whether one of the two does not trust the other's certificate. A handshake that is only cut may work the next time.
fn distrusts(reason: &str) -> bool {
    // The broker's name comes first, and may be any.
    reason.split_once(": ").is_some_and(|(_, said)| said.contains("certificate"))
}

/// Passes on what the client logs.
pub(crate) fn log(level: Level, facility: &str, message: &str) {
    match level {
        Level::Emerg | Level::Alert | Level::Critical | Level::Error | Level::Warning => {
            tracing::warn!("librdkafka {facility}: {message}");
        }
        _ => tracing::debug!("librdkafka {facility}: {message}"),
    }
}

impl ClientContext for Events {
    fn log(&self, level: Level, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.cluster.heard(&error, reason);
    }
}

impl ProducerContext for Events {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        ticket.tell(match result {
            Ok(record) => Ok((record.partition(), record.offset())),
            Err((why, _)) => Err(failed(why)),
        });
        self.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_of_a_certificate_is_distrust() {
        let verify = "ssl://h:1/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed";
        let alert = "ssl://h:1/1: Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate";
        assert!(distrusts(verify) && distrusts(alert));
        for other in [
            "ssl://certificates.example:1/1: Connect to ipv4#10.0.0.1:1 failed: Connection refused",
            "ssl://h:1/1: SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
        ] {
            assert!(!distrusts(other), "{other}");
        }
    }
}
