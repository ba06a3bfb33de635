//! A sink that does as it is told, and a wait that ends.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use haul_core::{AnySink, Backoff, Batch, Error, ErrorKind, Level, Packet, Receipt, Result, Service, Sink};
use haul_event_log::{EventLog, SinkOptions, SinkStatus};
use tokio::sync::watch;

/// What a told sink does with the next call.
pub(crate) enum Next {
    /// Fails the whole call.
    Fail(Error),
    /// Accepts all but the packets with this text.
    Refuse(&'static str, Error),
    /// Never answers.
    Hang,
    Panic,
}

#[derive(Clone)]
pub(crate) struct Told {
    got: watch::Sender<Vec<Packet>>,
    script: Arc<Mutex<VecDeque<Next>>>,
    calls: Arc<Mutex<Vec<usize>>>,
    /// While it is false, calls wait.
    open: watch::Sender<bool>,
}

impl Told {
    pub(crate) fn new() -> Self {
        Self {
            got: watch::Sender::new(Vec::new()),
            script: Arc::default(),
            calls: Arc::default(),
            open: watch::Sender::new(true),
        }
    }

    pub(crate) fn then(self, next: Next) -> Self {
        self.script.lock().unwrap().push_back(next);
        self
    }

    pub(crate) fn hold(self) -> Self {
        self.open.send_replace(false);
        self
    }

    pub(crate) fn let_go(&self) {
        self.open.send_replace(true);
    }

    pub(crate) fn sink(&self) -> AnySink {
        AnySink::new(self.clone())
    }

    /// How many packets each call had.
    pub(crate) fn calls(&self) -> Vec<usize> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.got.borrow().iter().map(|packet| packet.as_text().unwrap().to_owned()).collect()
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
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        self.calls.lock().unwrap().push(batch.len());
        let next = self.script.lock().unwrap().pop_front();
        let refused = match next {
            Some(Next::Fail(why)) => return Err(why),
            Some(Next::Hang) => return std::future::pending().await,
            Some(Next::Panic) => panic!("told to"),
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

pub(crate) fn quick() -> SinkOptions {
    SinkOptions::default().backoff(Backoff {
        base: Duration::from_millis(1),
        factor: 1.0,
        cap: Duration::from_millis(1),
    })
}

pub(crate) fn transient() -> Error {
    Error::new(ErrorKind::Connect, "told to fail")
}

pub(crate) fn refusal() -> Error {
    Error::new(ErrorKind::Rejected, "told to refuse")
}

/// `future`, or a panic that says what was waited for.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(done) = tokio::time::timeout(Duration::from_secs(30), future).await else {
        panic!("waited 30 s for {what}");
    };
    done
}

/// The status of the only sink, when it is as asked.
pub(crate) async fn status(log: &EventLog, what: &str, enough: impl Fn(&SinkStatus) -> bool) -> SinkStatus {
    let poll = async {
        loop {
            let status = log.status().sinks.pop().unwrap();
            if enough(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(what, poll).await
}
