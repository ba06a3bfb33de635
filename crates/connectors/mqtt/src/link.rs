//! A connection, for as long as it lasts: what can be asked of it.

use std::sync::{Arc, OnceLock};

use haul_core::{Error, ErrorKind, Result, Sent};
use rumqttc::v5::mqttbytes::v5::{Filter, Publish};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Duration, timeout};

use crate::config::Qos;

/// How long a broker may take to end a connection that we said goodbye on.
pub(crate) const GOODBYE: Duration = Duration::from_secs(5);

/// What the driver does next, and who hears the reason code of its answer.
pub(crate) struct Request {
    pub(crate) what: What,
    pub(crate) answer: Answer,
}

pub(crate) enum What {
    /// Its number is the driver's to give.
    Publish(Publish),
    Subscribe(Filter),
    /// We have the packet of this number: answered when the broker has read that.
    Settle(u16, Qos),
    /// Answered when the broker has read all that went before.
    Ping,
}

/// Who waits for an answer, and the place that is kept for it: also for one who waits no more.
pub(crate) struct Answer {
    pub(crate) to: oneshot::Sender<Result<u8>>,
    pub(crate) place: Option<Place>,
}

/// A place among the publishings that are not answered, and where a failure that may pass is noted before it is free again.
pub(crate) struct Place {
    pub(crate) _place: OwnedSemaphorePermit,
    pub(crate) failure: Arc<OnceLock<Error>>,
}

/// An answer to come.
pub(crate) type Answered = oneshot::Receiver<Result<u8>>;

/// What the broker allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_packet: usize,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
}

/// A connection. Dropping it says goodbye behind all that was asked.
pub(crate) struct Link {
    pub(crate) limits: Limits,
    pub(crate) requests: mpsc::Sender<Request>,
    /// Of publishings that are not answered.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) ended: Arc<OnceLock<Error>>,
    pub(crate) driver: JoinHandle<()>,
}

impl Link {
    pub(crate) fn stands(&self) -> bool {
        !self.requests.is_closed()
    }

    /// Ends it at once: what was not written then, never will be. All that wait hear `why`.
    pub(crate) fn cut(&self, why: Error) {
        // It may have ended otherwise.
        let _ = self.ended.set(why);
        self.driver.abort();
    }

    /// Why it ended.
    pub(crate) fn why(&self) -> Error {
        self.ended.get().cloned().unwrap_or_else(over)
    }

    /// Says goodbye, and waits until the broker has heard it.
    pub(crate) async fn close(self) {
        drop(self.requests);
        // Whether the broker answers or not, the connection is over.
        let _ = timeout(GOODBYE, self.driver).await;
    }

    /// Publishes as soon as there is a place, unless `failure` is known by then. Errors: nothing was sent.
    pub(crate) async fn publish(&self, publish: Publish, failure: &Arc<OnceLock<Error>>) -> Result<Answered> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| over())?;
        if let Some(why) = failure.get() {
            return Err(why.not_tried());
        }
        let place = Place { _place: place, failure: failure.clone() };
        self.request(What::Publish(publish), Some(place)).await
    }

    pub(crate) async fn subscribe(&self, filter: Filter) -> Result<u8> {
        answered(self.request(What::Subscribe(filter), None).await?).await
    }

    /// Waits until the broker has read all that was asked before.
    pub(crate) async fn ping(&self) -> Result<()> {
        answered(self.request(What::Ping, None).await?).await.map(drop)
    }

    async fn request(&self, what: What, place: Option<Place>) -> Result<Answered> {
        request(&self.requests, what, place).await.map_err(|_| self.why().with_sent(Sent::No))
    }

    /// What acknowledges the packets that came on it, and does not hold it.
    pub(crate) fn settler(&self) -> Settler {
        Settler(self.requests.downgrade())
    }
}

/// Acknowledges packets on the connection on which they came.
#[derive(Clone)]
pub(crate) struct Settler(mpsc::WeakSender<Request>);

impl Settler {
    /// Nothing can be acknowledged any more.
    pub(crate) fn is_over(&self) -> bool {
        self.0.upgrade().is_none_or(|requests| requests.is_closed())
    }

    /// We have the packet of this number. Resolves when the broker has read it. Errors: `Closed`.
    pub(crate) async fn settle(&self, number: u16, qos: Qos) -> Result<()> {
        let asked = match self.0.upgrade() {
            Some(requests) => request(&requests, What::Settle(number, qos), None).await,
            None => Err(over()),
        };
        answered(asked?).await.map(drop)
    }
}

async fn request(requests: &mpsc::Sender<Request>, what: What, place: Option<Place>) -> Result<Answered> {
    let (to, answered) = oneshot::channel();
    let request = Request { what, answer: Answer { to, place } };
    requests.send(request).await.map_err(|_| over())?;
    Ok(answered)
}

/// Waits for an answer.
pub(crate) async fn answered(answer: Answered) -> Result<u8> {
    answer.await.unwrap_or_else(|_| Err(over().with_sent(Sent::Maybe)))
}

pub(crate) fn over() -> Error {
    Error::new(ErrorKind::Closed, "the connection is over").with_sent(Sent::No)
}
