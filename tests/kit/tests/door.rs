//! A protocol inside this process with a handshake, listened on in a broken way.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use haul_core::{
    Connection, Endpoint, Error, ErrorKind, Incoming, Limits, Link, Listener, ListenerLimits, Place, Result,
    Sent, Service, Status,
};
use haul_kit::{Over, Raw, spawn};
use tokio::sync::{mpsc, oneshot};

use crate::faulty::{Common, Fault, breaks, connect};

/// What is wrong with a listener.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum How {
    Sound,
    ForgetsItsPort,
    IgnoresWhatItDoesNotKnow,
    GuessesValues,
    AcceptsBeyondTheLimit,
    NeverRefuses,
    ForgetsTheDeadline,
    ShakesOneHandAtATime,
    CutsOnShutdown,
    HangsOnClose,
    StaysOpen,
    LosesConnections,
    NeverSeesTheEnd,
}

/// A dial before its handshake. A dialer that says nothing more sends no limits.
pub(crate) struct Hello {
    limits: Option<Limits>,
    answer: oneshot::Sender<Result<Link>>,
}

type Names = Mutex<HashMap<String, mpsc::Sender<Hello>>>;

static NAMES: LazyLock<Names> = LazyLock::new(Names::default);

fn name(endpoint: &Endpoint) -> Result<String> {
    endpoint.require_host().map(str::to_owned)
}

fn door(endpoint: &Endpoint) -> Result<mpsc::Sender<Hello>> {
    let names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let door = names.get(&name(endpoint)?).filter(|door| !door.is_closed());
    door.cloned().ok_or_else(nobody)
}

fn nobody() -> Error {
    let error = Error::new(ErrorKind::Connect, "nobody is behind the door");
    error.with_status(Status::Transient).with_sent(Sent::No)
}

pub(crate) struct Dialer;

impl Service<Endpoint> for Dialer {
    async fn call(&self, endpoint: Endpoint) -> Result<Connection> {
        let limits = Limits::from_options(&endpoint.options(Place::Query, Limits::OPTIONS)?)?;
        let door = door(&endpoint)?;
        let (answer, answered) = oneshot::channel();
        door.send(Hello { limits: Some(limits), answer }).await.map_err(|_| nobody())?;
        Ok(connect(answered.await.map_err(|_| nobody())??))
    }
}

/// Knocks, and says nothing more as long as what it answers is held.
pub(crate) async fn half_open(endpoint: Endpoint) -> Raw {
    let (answer, answered) = oneshot::channel();
    let knocked = door(&endpoint).expect("somebody listens").send(Hello { limits: None, answer }).await;
    assert!(knocked.is_ok(), "nobody is behind the door");
    Box::new(answered)
}

pub(crate) fn over(how: How) -> Over {
    Over::new("door://kit-{n}:0", Dialer, move |endpoint| async move { listen(how, &endpoint) })
}

fn listen(how: How, endpoint: &Endpoint) -> Result<Listener> {
    let known = [Limits::OPTIONS, ListenerLimits::OPTIONS].concat();
    let options = match how {
        How::IgnoresWhatItDoesNotKnow => {
            let all: Vec<&'static str> = known.iter().copied().chain(["max_connection", "backlog"]).collect();
            endpoint.options(Place::Query, &all)?
        }
        _ => endpoint.options(Place::Query, &known)?,
    };
    let usual = ListenerLimits::default();
    let limits = match (how, ListenerLimits::from_options(&options)) {
        (How::GuessesValues, Err(_)) => usual,
        (How::AcceptsBeyondTheLimit, limits) => {
            ListenerLimits { max_connections: usual.max_connections, ..limits? }
        }
        (How::ForgetsTheDeadline, limits) => {
            ListenerLimits { handshake_deadline: Duration::from_secs(3600), ..limits? }
        }
        (_, limits) => limits?,
    };
    let (ours, waiting) = mpsc::channel(128);
    let name = name(endpoint)?;
    NAMES.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), ours);
    let local = if how == How::ForgetsItsPort { endpoint.clone() } else { endpoint.with_port(7)? };
    let door = Door { how, name, waiting: Some(waiting.into()), links: Common::default(), count: 0.into() };
    Ok(Listener::new(local, door, limits, spawn))
}

struct Door {
    how: How,
    name: String,
    waiting: Option<tokio::sync::Mutex<mpsc::Receiver<Hello>>>,
    links: Common,
    count: std::sync::atomic::AtomicUsize,
}

/// Both ends of a new link; the second is the listener's.
async fn ends(limits: Limits) -> Result<(Link, Link)> {
    let (theirs, ours) = haul_mem::pair_with(limits);
    Ok((theirs.into_link().await?, ours.into_link().await?))
}

impl Incoming for Door {
    type Raw = Hello;

    async fn accept(&self) -> Result<Hello> {
        let waiting = self.waiting.as_ref().expect("it is taken on drop only");
        let hello = waiting.lock().await.recv().await.ok_or_else(nobody)?;
        if self.how == How::ShakesOneHandAtATime && hello.limits.is_none() {
            std::future::pending::<()>().await;
        }
        Ok(hello)
    }

    async fn handshake(&self, hello: Hello) -> Result<Link> {
        let Some(limits) = hello.limits else { std::future::pending().await };
        let (theirs, ours) = ends(limits).await?;
        let gone = || Error::new(ErrorKind::Closed, "the dialer gave up");
        hello.answer.send(Ok(theirs)).map_err(|_| gone())?;
        let number = self.count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let fault = match self.how {
            How::LosesConnections if number % 3 == 2 => return Err(gone()),
            How::HangsOnClose => Fault::HangsOnClose,
            How::NeverSeesTheEnd => Fault::SwallowsFailures,
            _ => Fault::Sound,
        };
        Ok(breaks(ours, fault, &self.links))
    }

    async fn refuse(&self, hello: Hello) {
        if self.how == How::NeverRefuses {
            std::future::pending::<()>().await;
        }
        let _ = hello.answer.send(Err(Error::new(ErrorKind::Overloaded, "no more fit through the door")));
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if self.how == How::CutsOnShutdown {
            self.links.cut();
        }
        if self.how == How::StaysOpen {
            let waiting = self.waiting.take().expect("it is taken here only");
            drop(tokio::spawn(async move {
                let mut kept = Vec::new();
                while let Some(Hello { limits, answer }) = waiting.lock().await.recv().await {
                    let (theirs, ours) = ends(limits.unwrap_or_default()).await?;
                    kept.push(ours);
                    let _ = answer.send(Ok(theirs));
                }
                Ok::<(), Error>(())
            }));
        } else {
            NAMES.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
        }
    }
}
