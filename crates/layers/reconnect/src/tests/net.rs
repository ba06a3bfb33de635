//! A network of pipes that the tests cut.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use haul_core::wire::Framing;
use haul_core::{Connection, Endpoint, Error, ErrorKind, Info, Limits, Link, Result, Service, service_fn};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex, split};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::{Reconnect, ReconnectLayer, ReconnectOptions, spawn};

/// Cuts a pipe after so many bytes, both directions together. What is in the pipe then is lost.
#[derive(Clone)]
pub(super) struct Fuse(Arc<Mutex<(usize, Vec<Waker>)>>);

impl Fuse {
    fn new(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new((bytes, Vec::new()))))
    }

    pub(super) fn blow(&self) {
        let mut inner = self.0.lock().unwrap();
        inner.0 = 0;
        inner.1.drain(..).for_each(Waker::wake);
    }

    /// How many bytes may pass; none once it is blown.
    fn left(&self, cx: &Context<'_>) -> io::Result<usize> {
        let mut inner = self.0.lock().unwrap();
        if inner.0 == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if !inner.1.iter().any(|waker| waker.will_wake(cx.waker())) {
            inner.1.push(cx.waker().clone());
        }
        Ok(inner.0)
    }

    fn pass(&self, bytes: usize) {
        let mut inner = self.0.lock().unwrap();
        if inner.0 != usize::MAX {
            // Both ends may have asked before either wrote.
            inner.0 = inner.0.saturating_sub(bytes);
        }
        let blown = inner.0 == 0;
        drop(inner);
        if blown {
            self.blow();
        }
    }
}

struct Wire {
    io: DuplexStream,
    fuse: Fuse,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.fuse.left(cx)?;
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let left = self.fuse.left(cx)?;
        let some = &bytes[..bytes.len().min(left)];
        let written = Pin::new(&mut self.io).poll_write(cx, some);
        if let Poll::Ready(Ok(written)) = written {
            self.fuse.pass(written);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fuse.left(cx)?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// What comes of a dial.
pub(super) enum Plan {
    Connect,
    /// Connects, and cuts after so many bytes.
    CutAfter(usize),
    Refuse(Error),
}

/// The server's end of a connection.
pub(super) struct Accepted {
    pub(super) connection: Connection,
    pub(super) fuse: Fuse,
}

pub(super) struct Net {
    plans: Arc<Mutex<VecDeque<Plan>>>,
    pub(super) dials: Arc<Mutex<Vec<Duration>>>,
    pub(super) limits: Limits,
    pub(super) framing: Framing,
    accepted: mpsc::Sender<Accepted>,
    listener: mpsc::Receiver<Accepted>,
}

impl Net {
    /// A network whose dials go as planned, and connect when there is no plan.
    pub(super) fn new(plans: impl IntoIterator<Item = Plan>) -> Self {
        let (accepted, listener) = mpsc::channel(1000);
        Self {
            plans: Arc::new(Mutex::new(plans.into_iter().collect())),
            dials: Arc::default(),
            limits: Limits::default(),
            framing: Framing::Haul,
            accepted,
            listener,
        }
    }

    /// What is planned still.
    pub(super) fn plans(&self) -> Arc<Mutex<VecDeque<Plan>>> {
        self.plans.clone()
    }

    pub(super) fn plan(&self, plan: Plan) {
        self.plans.lock().unwrap().push_back(plan);
    }

    pub(super) fn dialer(&self) -> impl Service<Endpoint> + use<> {
        let (plans, dials, accepted) = (self.plans.clone(), self.dials.clone(), self.accepted.clone());
        let (limits, framing, start) = (self.limits.clone(), self.framing, Instant::now());
        service_fn(move |_: Endpoint| {
            dials.lock().unwrap().push(start.elapsed());
            let plan = plans.lock().unwrap().pop_front().unwrap_or(Plan::Connect);
            let (accepted, limits) = (accepted.clone(), limits.clone());
            async move {
                let fuse = match plan {
                    Plan::Refuse(why) => return Err(why),
                    Plan::Connect => Fuse::new(usize::MAX),
                    Plan::CutAfter(bytes) => Fuse::new(bytes),
                };
                let (ours, theirs) = duplex(512);
                let over = |io, limits| {
                    let (read, write) = split(Wire { io, fuse: fuse.clone() });
                    let link = Link::over_stream(Info::new("pipe", ""), limits, framing, read, write);
                    Connection::new(link, spawn)
                };
                let connection = over(theirs, Limits::default());
                let server = Accepted { connection, fuse: fuse.clone() };
                assert!(accepted.try_send(server).is_ok(), "nobody accepts");
                Ok(over(ours, limits))
            }
        })
    }

    pub(super) async fn accept(&mut self) -> Accepted {
        soon("a connection", self.listener.recv()).await.unwrap()
    }

    pub(super) fn reconnect(&self, layer: ReconnectLayer) -> Reconnect {
        tower_layer::Layer::layer(&layer, self.dialer())
    }
}

/// A layer that always draws the longest wait.
pub(super) fn layer(options: ReconnectOptions) -> ReconnectLayer {
    let mut layer = ReconnectLayer::new(options).unwrap();
    layer.random = || u64::MAX;
    layer
}

pub(super) fn endpoint() -> Endpoint {
    Endpoint::parse("pipe://peer").unwrap()
}

pub(super) fn refused() -> Plan {
    Plan::Refuse(Error::new(ErrorKind::Connect, "connection refused"))
}

pub(super) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(3600), work).await.unwrap_or_else(|_| panic!("waited an hour for {what}"))
}

/// Receives the one gap that is to come next, and answers how many packets it counts.
pub(super) async fn gap(connection: &mut Connection) -> u64 {
    let why = soon("a gap", connection.recv()).await.expect_err("a gap");
    assert_eq!(why.kind(), ErrorKind::Gap, "{why}");
    counted(&why)
}

pub(super) fn counted(gap: &Error) -> u64 {
    let mut facts = gap.context();
    let lost = facts.find(|(name, _)| *name == "ours_maybe_lost");
    lost.expect("a gap says what may be lost").1.parse().unwrap()
}

pub(super) async fn text(connection: &mut Connection) -> Result<Option<String>> {
    let packet = soon("a packet", connection.recv()).await?;
    Ok(packet.map(|packet| packet.as_text().unwrap().to_owned()))
}
