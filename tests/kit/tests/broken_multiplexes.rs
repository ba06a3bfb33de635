//! Sessions of many streams.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use haul_core::wire::Frame;
use haul_core::{BoxFuture, Connection, Error, ErrorKind, Link, Multiplex, ReadHalf, Result, StreamOptions};
use haul_kit::{Pairs, multiplex};

use crate::faulty::{Common, Fault, breaks, connect};
use crate::proof::{ALL_TIME, PATIENCE, caught, each_is_caught, names, proves};

#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Sound,
    /// Its streams have this fault.
    Streams(Fault),
    AnnouncesWithTheFirstPacket,
    GivesAllOneNumber,
    OpensFiftyAtMost,
    IgnoresOptions,
    LosesTheOversizeError,
    LosesWhatACancelledAcceptHad,
    NeverEnds,
    OpensWhatIsOver,
}

struct Broken {
    inner: Arc<dyn Multiplex>,
    how: How,
    common: Common,
    opened: AtomicUsize,
}

impl Broken {
    async fn stream(&self, stream: Connection) -> Result<Connection> {
        let mut link = stream.into_link().await?;
        let fault = match self.how {
            How::Streams(fault) => fault,
            How::LosesTheOversizeError => {
                link.info.max_datagram = link.info.max_datagram.map(|max| max + 1000);
                Fault::LosesLargeUnreliable
            }
            _ => Fault::Sound,
        };
        if self.how == How::GivesAllOneNumber {
            link.info.stream_id = Some(7);
        }
        Ok(connect(breaks(link, fault, &self.common)))
    }

    async fn open_one(&self, options: StreamOptions) -> Result<Connection> {
        if self.how == How::OpensFiftyAtMost && self.opened.fetch_add(1, Ordering::Relaxed) >= 50 {
            return Err(Error::new(ErrorKind::Overloaded, "fifty streams were opened"));
        }
        let options = if self.how == How::IgnoresOptions { StreamOptions::default() } else { options };
        match self.inner.open(options).await {
            Ok(stream) => self.stream(stream).await,
            Err(_) if self.how == How::OpensWhatIsOver => Ok(haul_mem::pair().0),
            Err(why) => Err(why),
        }
    }

    async fn accept_one(&self) -> Result<Option<Connection>> {
        let Some(mut stream) = self.inner.accept().await? else {
            return if self.how == How::NeverEnds { pending().await } else { Ok(None) };
        };
        match self.how {
            How::LosesWhatACancelledAcceptHad => tokio::task::yield_now().await,
            How::AnnouncesWithTheFirstPacket => {
                let first = stream.recv().await?.map(Frame::packet);
                let mut link = stream.into_link().await?;
                link.read = Box::new(After { first, rest: link.read });
                return Ok(Some(connect(link)));
            }
            _ => {}
        }
        self.stream(stream).await.map(Some)
    }
}

impl Multiplex for Broken {
    fn open(&self, options: StreamOptions) -> BoxFuture<'_, Result<Connection>> {
        Box::pin(self.open_one(options))
    }

    fn accept(&self) -> BoxFuture<'_, Result<Option<Connection>>> {
        Box::pin(self.accept_one())
    }
}

struct After {
    first: Option<Frame>,
    rest: Box<dyn ReadHalf>,
}

impl ReadHalf for After {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Ok(Some(first))),
            None => self.rest.poll_read(cx),
        }
    }
}

async fn failed(how: How, checks: Vec<&'static str>, patience: Duration) -> Vec<&'static str> {
    let pairs = Pairs::new(move |limits| async move {
        let (a, b) = haul_mem::pair_with(limits);
        let common = Common::default();
        let broken = async |end: Connection| {
            let mut link: Link = end.into_link().await.expect("a link");
            let inner = link.multiplex.take().expect("it has streams");
            let opened = AtomicUsize::new(0);
            connect(link.with_multiplex(Arc::new(Broken { inner, how, common: common.clone(), opened })))
        };
        (broken(a).await, broken(b).await)
    });
    let suite = multiplex::Suite::new("haul-mem", pairs).only(&checks);
    names(&suite.patience(patience).failures().await)
}

const CAUGHT: &[(How, &str)] = &[
    (How::AnnouncesWithTheFirstPacket, "announced"),
    (How::GivesAllOneNumber, "both_open"),
    (How::Streams(Fault::Reorders), "ordered"),
    (How::Streams(Fault::Drops), "ordered"),
    (How::Streams(Fault::LosesTheLast), "ordered"),
    (How::Streams(Fault::MixesConnections), "many"),
    (How::OpensFiftyAtMost, "many"),
    (How::Streams(Fault::StallsTogether), "independent"),
    (How::Streams(Fault::EndsTogether), "close_one"),
    (How::Streams(Fault::EndsCleanlyOnAbort), "close_one"),
    (How::Streams(Fault::Drops), "unordered"),
    (How::Streams(Fault::Duplicates), "unordered"),
    (How::IgnoresOptions, "datagrams"),
    (How::LosesTheOversizeError, "datagrams"),
    (How::Streams(Fault::WaitsWithDatagrams), "datagrams"),
    (How::Streams(Fault::KeepsDatagrams), "datagrams"),
    (How::IgnoresOptions, "unknown_congestion"),
    (How::LosesWhatACancelledAcceptHad, "cancelled"),
    (How::NeverEnds, "over"),
    (How::OpensWhatIsOver, "over"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_broken_multiplex_is_caught_by_its_check() {
    each_is_caught(CAUGHT, |how, check| failed(how, vec![check], PATIENCE)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_session_is_not_caught() {
    let checks: Vec<_> = multiplex::Suite::promises().into_iter().map(|(check, _)| check).collect();
    assert_eq!(failed(How::Sound, checks, ALL_TIME).await, [""; 0]);
}

#[test]
fn every_promise_of_sessions_is_broken_by_something() {
    proves("multiplex", &multiplex::Suite::promises(), &caught(CAUGHT));
}
