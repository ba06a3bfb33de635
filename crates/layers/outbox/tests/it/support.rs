//! A sink that does as it is told, and a wait that ends.

use std::collections::VecDeque;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use haul_core::{
    AnySink, Backoff, Batch, Deliver, Error, ErrorKind, Level, Packet, Receipt, Result, Service, Sink,
};
use haul_outbox::forward::DeliveryOptions;
use haul_outbox::{Outbox, OutboxOptions, OutboxStatus, OutboxView};
use tokio::sync::watch;

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// What a told sink does with the next call.
pub(crate) enum Next {
    /// Fails the whole call.
    Fail(Error),
    /// Accepts all but the packets with this text.
    Refuse(&'static str, Error),
}

#[derive(Clone)]
pub(crate) struct Told {
    got: watch::Sender<Vec<Packet>>,
    script: Arc<Mutex<VecDeque<Next>>>,
    /// Calls that have a packet with such a text wait until it is no more.
    held: watch::Sender<Option<&'static str>>,
}

impl Told {
    pub(crate) fn new() -> Self {
        Self { got: watch::Sender::new(Vec::new()), script: Arc::default(), held: watch::Sender::new(None) }
    }

    pub(crate) fn then(self, next: Next) -> Self {
        self.script.lock().unwrap().push_back(next);
        self
    }

    /// Calls with a packet whose text begins so wait.
    pub(crate) fn hold(self, text: &'static str) -> Self {
        self.held.send_replace(Some(text));
        self
    }

    pub(crate) fn let_go(&self) {
        self.held.send_replace(None);
    }

    pub(crate) fn sink(&self) -> AnySink {
        AnySink::new(self.clone())
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.got.borrow().iter().map(text).collect()
    }

    pub(crate) fn packets(&self) -> Vec<Packet> {
        self.got.borrow().clone()
    }

    pub(crate) async fn has(&self, what: &str, enough: impl Fn(&[Packet]) -> bool) {
        let mut got = self.got.subscribe();
        within(what, got.wait_for(|packets| enough(packets))).await.unwrap();
    }
}

impl Service<Batch> for Told {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        let concerns = |held: &'static str| {
            batch.packets().iter().any(|packet| packet.payload().starts_with(held.as_bytes()))
        };
        self.held.subscribe().wait_for(|held| held.is_none_or(|held| !concerns(held))).await.unwrap();
        let next = self.script.lock().unwrap().pop_front();
        let refused = match next {
            Some(Next::Fail(why)) => return Err(why),
            Some(Next::Refuse(text, why)) => Some((text, why)),
            None => None,
        };
        let mut outcomes = Vec::new();
        for packet in batch.into_packets() {
            match &refused {
                Some((text, why)) if packet.as_text() == Some(text) => outcomes.push(Err(why.clone())),
                _ => {
                    outcomes.push(Ok(Receipt::new(Level::Stored, packet.id())));
                    self.got.send_modify(|got| got.push(packet));
                }
            }
        }
        Ok(outcomes)
    }
}

impl Sink for Told {}

/// A sink that is away.
pub(crate) fn away() -> AnySink {
    struct Away;
    impl Service<Batch> for Away {
        async fn call(&self, _: Batch) -> Result<Vec<Result<Receipt>>> {
            Err(transient())
        }
    }
    impl Sink for Away {}
    AnySink::new(Away)
}

/// Quick tries; small packets.
pub(crate) fn quick(dir: impl AsRef<Path>) -> OutboxOptions {
    let wait = Duration::from_millis(1);
    let backoff = Backoff { base: wait, factor: 1.0, cap: wait };
    let delivery = DeliveryOptions { backoff, ..DeliveryOptions::default() };
    OutboxOptions { max_packet: 1000, delivery, ..OutboxOptions::new(dir.as_ref()) }
}

/// What waits a long time after a failure.
pub(crate) fn patient(dir: impl AsRef<Path>) -> OutboxOptions {
    let options = quick(dir);
    let backoff = Backoff { base: LONG * 60, factor: 1.0, cap: LONG * 60 };
    OutboxOptions { delivery: DeliveryOptions { backoff, ..options.delivery }, ..options }
}

pub(crate) async fn open(dir: &tempfile::TempDir, sink: &Told) -> Outbox {
    Outbox::open(sink.sink(), quick(dir)).await.unwrap()
}

pub(crate) async fn store(outbox: &Outbox, session: &'static str, texts: &[&str]) {
    for text in texts {
        outbox.deliver(Packet::text(*text).with("session_id", session)).await.unwrap();
    }
}

pub(crate) fn transient() -> Error {
    Error::new(ErrorKind::Connect, "told to fail")
}

pub(crate) fn refusal() -> Error {
    Error::new(ErrorKind::Rejected, "told to refuse")
}

pub(crate) fn text(packet: &Packet) -> String {
    packet.as_text().unwrap().to_owned()
}

/// The texts that wait in an outbox.
pub(crate) fn pending(dir: impl AsRef<Path>) -> Vec<String> {
    let mut pending = OutboxView::open(dir, None).unwrap().pending().unwrap();
    let mut texts = Vec::new();
    while let Some(one) = pending.read().unwrap() {
        texts.push(text(&one.packet));
    }
    texts
}

/// `future`, or a panic that says what was waited for.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(done) = tokio::time::timeout(LONG, future).await else {
        panic!("waited {} s for {what}", LONG.as_secs());
    };
    done
}

/// The status, when it is as asked.
pub(crate) async fn status(
    outbox: &Outbox,
    what: &str,
    enough: impl Fn(&OutboxStatus) -> bool,
) -> OutboxStatus {
    let poll = async {
        loop {
            let status = outbox.status();
            if enough(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(what, poll).await
}
