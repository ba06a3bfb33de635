//! Packets of one call that are on their way to a stream, the first of them first.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::publish::PublishAck;
use haul_core::{Error, ErrorKind, Level, Packet, Receipt, Result, Sent, Status};

use crate::failure::unacknowledged;
use crate::server::Link;

pub(crate) struct Window<'a> {
    link: &'a Link,
    timeout: Duration,
    out: VecDeque<Out<'a>>,
    bytes: usize,
    failure: Option<Error>,
    /// One was not answered in time.
    late: bool,
}

struct Out<'a> {
    at: usize,
    packet: &'a Packet,
    subject: Subject,
    ack: PublishAckFuture,
}

impl<'a> Window<'a> {
    pub(crate) fn new(link: &'a Link, timeout: Duration) -> Self {
        Self { link, timeout, out: VecDeque::new(), bytes: 0, failure: None, late: false }
    }

    pub(crate) fn push(&mut self, at: usize, packet: &'a Packet, subject: Subject, ack: PublishAckFuture) {
        self.bytes += packet.len();
        self.out.push_back(Out { at, packet, subject, ack });
    }

    /// Whether `packet` waits until others are answered.
    pub(crate) fn is_full(&self, packet: &Packet, packets: usize, bytes: usize) -> bool {
        self.out.len() >= packets || (!self.out.is_empty() && self.bytes + packet.len() > bytes)
    }

    /// The first failure that may pass.
    pub(crate) fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    pub(crate) fn fail(&mut self, why: &Error) {
        if why.status() == Status::Transient {
            self.failure.get_or_insert_with(|| why.clone());
        }
    }

    /// What became of the first packet, and where it stood.
    pub(crate) async fn next(&mut self) -> Option<(usize, Result<Receipt>)> {
        let Out { at, packet, subject, ack } = self.out.pop_front()?;
        self.bytes -= packet.len();
        // Those behind one that was not answered in time had as long.
        let patience = if self.late { Duration::ZERO } else { self.timeout };
        let ack = tokio::time::timeout(patience, ack.into_future());
        let outcome = tokio::select! {
            biased;
            answer = ack => match answer.unwrap_or(Err(PublishErrorKind::TimedOut.into())) {
                Ok(ack) => Ok(receipt(packet, &ack)),
                Err(why) => Err(self.unacknowledged(&subject, &why).await),
            },
            why = self.link.denied(&subject) => Err(why),
        };
        if let Err(why) = &outcome {
            self.late |= why.kind() == ErrorKind::Timeout;
            self.fail(why);
        }
        Some((at, outcome))
    }

    async fn unacknowledged(&self, subject: &str, why: &PublishError) -> Error {
        match why.kind() {
            PublishErrorKind::StreamNotFound => match self.link.stream_of(subject).await {
                Ok(stream) => Error::new(ErrorKind::Overloaded, format!("stream {stream} has no leader yet"))
                    .with_sent(Sent::No),
                Err(why) => why,
            },
            _ => unacknowledged(why),
        }
    }
}

fn receipt(packet: &Packet, ack: &PublishAck) -> Receipt {
    Receipt::new(Level::Stored, packet.id()).with_reference(format!("{}:{}", ack.stream, ack.sequence))
}
