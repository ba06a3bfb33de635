//! One connection: TLS, then requests until it ends.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use haul_core::{Body, BoxFuture, Error, ErrorKind, Request, Result, Service};
use http::Version;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::accept::Shared;
use super::activity::{Activity, Watched};
use super::bodies::{Download, Upload, too_large};
use super::config::Limits;
use super::{Peer, Phase, answer, until};

/// After so long without a word, the operating system asks whether the peer is there (RFC 9293 section 3.8.4).
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A connection that was just accepted.
pub(super) struct Raw {
    pub(super) tcp: TcpStream,
    pub(super) address: SocketAddr,
    pub(super) permit: OwnedSemaphorePermit,
}

/// Serves a connection until it ends or is cut.
pub(super) async fn run<S: Service<Request>>(
    raw: Raw,
    shared: Arc<Shared>,
    service: Arc<S>,
    mut told: watch::Receiver<Phase>,
) {
    let address = raw.address;
    let mut cut = told.clone();
    let served = tokio::select! {
        biased;
        () = until(&mut cut, |phase| *phase == Phase::Cut) => return,
        served = serve(raw, &shared, service, &mut told) => served,
    };
    if let Err(why) = served {
        shared.count_failure(why.while_doing(format!("serve {address}")));
    }
}

async fn serve<S: Service<Request>>(
    raw: Raw,
    shared: &Shared,
    service: Arc<S>,
    told: &mut watch::Receiver<Phase>,
) -> Result<()> {
    let Raw { tcp, address, permit } = raw;
    tcp.set_nodelay(true)?;
    // A peer that is gone without a word, while its answer is made.
    let alive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 6);
    SockRef::from(&tcp).set_tcp_keepalive(&alive)?;
    let mut peer = Peer { address, local: tcp.local_addr()?, tls: None };
    let activity = Arc::new(Activity::default());
    let mut io = Watched::new(tcp, activity.clone(), shared.limits.clone(), permit);
    // A peer that has not begun to ask, or not finished its handshake, has asked nothing.
    let asked_nothing = until(told, |phase| *phase != Phase::Serve);
    let Some(tls) = &shared.tls else {
        let http1 = tokio::select! {
            biased;
            http1 = io.begins_as_http1() => http1.map_err(|why| Error::new(ErrorKind::Closed, why.to_string()))?,
            () = asked_nothing => return Ok(()),
        };
        let handler = Handler { service, peer, activity, limits: shared.limits.clone() };
        return speak(io, http1, handler, told).await;
    };
    let stream = tokio::select! {
        biased;
        stream = Box::pin(tls.accept(io)) => stream?,
        () = asked_nothing => return Ok(()),
    };
    let info = stream.info();
    if info.alpn.as_deref() == Some("h2") {
        activity.multiplexed();
    }
    let http1 = info.alpn.as_deref() == Some("http/1.1");
    peer.tls = Some(Arc::new(info));
    let handler = Handler { service, peer, activity, limits: shared.limits.clone() };
    speak(stream, http1, handler, told).await
}

/// Speaks HTTP/1.1, or what the peer's first bytes are: those hyper-util reads apart, and hyper's buffer becomes twice as
/// large.
///
/// What a connection does not need while it is idle is in boxes: its task is as large as all that it may ever hold.
fn speak<'a, S: Service<Request>>(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http1: bool,
    handler: Handler<S>,
    told: &'a mut watch::Receiver<Phase>,
) -> BoxFuture<'a, Result<()>> {
    let limits = handler.limits.clone();
    let handler = Arc::new(handler);
    let service = service_fn(move |request| {
        let handler = handler.clone();
        Box::pin(async move { Ok::<_, Infallible>(handler.answer(request).await) })
    });
    let io = TokioIo::new(io);
    // The stream beneath sees to the time that a head may take.
    if http1 {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(None);
        builder.max_headers(limits.max_headers).max_buf_size(limits.max_head);
        let connection = Box::pin(builder.serve_connection(io, service).with_upgrades());
        return Box::pin(until_ended(connection, |connection| connection.graceful_shutdown(), told));
    }
    Box::pin(async move {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        let http1 = &mut builder.http1();
        http1.timer(TokioTimer::new()).header_read_timeout(None);
        http1.max_headers(limits.max_headers).max_buf_size(limits.max_head);
        let http2 = &mut builder.http2();
        http2.timer(TokioTimer::new()).max_concurrent_streams(limits.max_streams);
        http2.max_header_list_size(u32::try_from(limits.max_head).unwrap_or(u32::MAX));
        let connection = Box::pin(builder.serve_connection_with_upgrades(io, service));
        until_ended(connection, |connection| connection.graceful_shutdown(), told).await
    })
}

/// Drives a connection to its end; told to finish, it answers what was asked, and ends.
async fn until_ended<C, E>(
    mut connection: Pin<Box<C>>,
    finish: fn(Pin<&mut C>),
    told: &mut watch::Receiver<Phase>,
) -> Result<()>
where
    C: Future<Output = Result<(), E>>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = until(told, |phase| *phase != Phase::Serve) => {
            finish(connection.as_mut());
            connection.await
        }
    };
    ended.map_err(|why| {
        let why = why.into();
        let kind = match why.downcast_ref::<hyper::Error>() {
            Some(hyper) if hyper.is_parse() || hyper.is_parse_too_large() => ErrorKind::Protocol,
            _ => ErrorKind::Closed,
        };
        let cause = why.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Error::new(kind, format!("{why}{cause}"))
    })
}

struct Handler<S> {
    service: Arc<S>,
    peer: Peer,
    activity: Arc<Activity>,
    limits: Arc<Limits>,
}

impl<S: Service<Request>> Handler<S> {
    async fn answer(&self, request: http::Request<Incoming>) -> http::Response<Download> {
        let busy = self.activity.begin();
        if request.version() == Version::HTTP_2 {
            self.activity.multiplexed();
        }
        let answered = match self.received(request) {
            Ok(request) => self.service.call(request).await,
            Err(why) => Err(why),
        };
        let response = answered.unwrap_or_else(|why| answer(&why));
        response.map(|body| Download::new(body, busy))
    }

    fn received(&self, request: http::Request<Incoming>) -> Result<Request> {
        let Limits { max_body, stall, .. } = *self.limits;
        let (mut head, body) = request.into_parts();
        if body.size_hint().lower() > max_body as u64 {
            return Err(too_large(max_body));
        }
        head.extensions.insert(self.peer.clone());
        if head.extensions.get::<hyper::upgrade::OnUpgrade>().is_some() {
            head.extensions.insert(self.activity.clone());
        }
        let body =
            if body.is_end_stream() { Body::empty() } else { Body::once(Upload::new(body, max_body, stall)) };
        Ok(Request::from_parts(head, body))
    }
}
