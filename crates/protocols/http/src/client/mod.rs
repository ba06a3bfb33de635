//! The client.

mod config;
mod connect;
mod decode;
mod dns;
mod gate;
mod outgoing;
mod own;
mod prepare;
mod proxy;
mod received;
mod redirect;
mod stream;

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use haul_core::{Body, BoxFuture, Error, ErrorKind, Input, Request, Response, Result, Sent, Service};
use http_body::Body as _;
use hyper::rt::Executor;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, sleep_until, timeout_at};

pub use config::{ClientConfig, Version};

use crate::failure;
use connect::Connector;
use gate::Gate;
use outgoing::{Outgoing, Progress};
use own::Own;
use prepare::Defaults;
use proxy::Proxies;
use received::Received;
use redirect::Hop;

/// A client of HTTP/1.1 and HTTP/2 with a pool of connections. Cloning is cheap, and clones share the pool.
///
/// [`Call::request`](haul_core::Call::request) answers every response, whatever its status;
/// [`Input::failure`] of its request type says what the status means. Bodies are streams both ways.
///
/// Errors: `Config` for a URI that names no host; `Connect`, `Tls`, `Timeout` and `Unauthorized` (by a proxy) while
/// connecting, with nothing sent; `Closed`, `Timeout`, `Protocol` and `TooLarge` afterwards, when the peer may have
/// acted. What an idle connection lost before the request was written is sent again over another; a connection that
/// ends after that is told, never hidden. Cancelled, the exchange is cut: over HTTP/1.1 with its connection.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    config: ClientConfig,
    defaults: Defaults,
    proxies: Arc<Proxies>,
    gate: Gate,
    hyper: legacy::Client<Connector, Outgoing>,
    connector: Connector,
}

impl Client {
    /// A client; nothing is connected yet. Errors: `Config`, and those of reading certificates that are named.
    pub fn new(config: ClientConfig) -> Result<Self> {
        config.check()?;
        let proxies = Arc::new(Proxies::new(config.proxy.as_deref())?);
        let connector = Connector::new(&config, proxies.clone())?;
        let hyper = builder(&config, TokioExecutor::new()).build(connector.clone());
        Ok(Self(Arc::new(Shared {
            defaults: Defaults::new(&config)?,
            proxies,
            gate: Gate::new(config.max_requests, config.max_requests_per_host),
            hyper,
            connector,
            config,
        })))
    }

    /// As a call, over a connection that this request has for itself. Whoever reads the body of the response keeps it
    /// going, and it ends with the body: for responses that go on, such as event streams, whose pieces then take no way
    /// through another task. Of a client that may speak HTTP/2, whose connections have to answer while nobody reads, it
    /// is a call.
    ///
    /// Errors and cancellation: those of a call.
    pub async fn exclusive(&self, request: Request) -> Result<Response> {
        let own = self.0.config.version == Version::Http1;
        self.exchange(request, own).await
    }

    async fn exchange(&self, request: Request, own: bool) -> Result<Response> {
        let subject = request.subject();
        let answered = self.0.follow(request, own).await;
        answered.map_err(|why| why.while_doing(subject))
    }

    /// Sends `request` and collects its response. Errors: those of the request, and `TooLarge` for a body of more than
    /// [`ClientConfig::max_body`] bytes.
    pub async fn fetch(&self, request: Request) -> Result<http::Response<Bytes>> {
        let subject = request.subject();
        let (head, body) = self.call(request).await?.into_parts();
        let bytes = body.bytes(self.0.config.max_body).await;
        let bytes = bytes.map_err(|why| match why.kind() {
            ErrorKind::TooLarge => why.while_doing(format!("read the response to {subject}")),
            _ => why,
        });
        Ok(http::Response::from_parts(head, bytes?))
    }
}

impl Service<Request> for Client {
    async fn call(&self, request: Request) -> Result<Response> {
        self.exchange(request, false).await
    }
}

impl Shared {
    async fn follow(&self, request: Request, own: bool) -> Result<Response> {
        let deadline = self.config.timeout.map(|timeout| Instant::now() + timeout);
        let mut request = self.defaults.complete(request)?;
        if self.config.length_only {
            request = measured(request, self.config.max_body).await?;
        }
        if self.config.redirects == 0 {
            return self.exchange(request, own, deadline).await;
        }
        for _ in 0..=self.config.redirects {
            let hop = Hop::of(&request);
            let response = self.exchange(request, own, deadline).await?;
            match hop.next(&response, self.defaults.names())? {
                Some(next) => request = next,
                None => return Ok(response),
            }
        }
        let message = format!("the peer redirects more than {} times", self.config.redirects);
        Err(Error::new(ErrorKind::Rejected, message).with_sent(Sent::Maybe))
    }

    /// One request over one connection, of its `own` or of the pool.
    async fn exchange(&self, mut request: Request, own: bool, deadline: Option<Instant>) -> Result<Response> {
        let subject = request.subject();
        let late = |sent| {
            let timeout = self.config.timeout.unwrap_or_default();
            Error::new(ErrorKind::Timeout, format!("no response within {timeout:?}")).with_sent(sent)
        };
        let entered = self.gate.enter(request.uri());
        let permit = match deadline {
            Some(deadline) => timeout_at(deadline, entered).await.map_err(|_| late(Sent::No))??,
            None => entered.await?,
        };
        prepare::authorize(&mut request, &self.proxies)?;
        let decompress = self.config.decompress && prepare::ask_compressed(&mut request);
        let progress = Arc::new(Progress::new());
        let request = request.map(|body| Outgoing::new(body, progress.clone()));
        let own = own.then(Own::default);
        let exchanged = match &own {
            None => self.wait(self.hyper.request(request), deadline, &progress).await,
            Some(own) => {
                let mut hyper = builder(&self.config, own.clone());
                let hyper = hyper.pool_max_idle_per_host(0).build(self.connector.clone());
                self.wait(own.drive(hyper.request(request)), deadline, &progress).await
            }
        };
        let response = exchanged.unwrap_or_else(|| Err(late_or_idle(&progress, deadline, late, self)))?;
        let (mut head, incoming) = response.into_parts();
        if incoming.is_end_stream() {
            return Ok(Response::from_parts(head, Body::empty()));
        }
        let received = Received::new(incoming, own, subject, (self.config.idle_timeout, deadline), permit);
        let body = if decompress {
            decode::body(&mut head.headers, received, self.config.max_decompressed)
        } else {
            Body::once(received)
        };
        Ok(Response::from_parts(head, body))
    }

    /// Waits for the head of the response; `None` when nothing moved for too long, or the deadline has passed.
    async fn wait(
        &self,
        response: impl Future<Output = Result<http::Response<hyper::body::Incoming>, legacy::Error>>,
        deadline: Option<Instant>,
        progress: &Progress,
    ) -> Option<Result<http::Response<hyper::body::Incoming>>> {
        let idle = self.config.idle_timeout;
        // Connecting has a deadline of its own.
        let connected = Instant::now() + self.config.connect_timeout;
        let next = || {
            let until = progress.last().unwrap_or(connected) + idle;
            deadline.map_or(until, |deadline| deadline.min(until))
        };
        let soonest = Instant::now() + idle;
        let mut timer = pin!(sleep_until(deadline.map_or(soonest, |deadline| deadline.min(soonest))));
        let mut response = pin!(response);
        loop {
            tokio::select! {
                biased;
                answered = &mut response => {
                    return Some(answered.map_err(|why| failure::exchange(&why, progress.begun())));
                }
                () = &mut timer => {
                    let next = next();
                    if next <= Instant::now() {
                        return None;
                    }
                    timer.as_mut().reset(next);
                }
            }
        }
    }
}

/// How connections are made that `executor` runs.
fn builder(
    config: &ClientConfig,
    executor: impl Executor<BoxFuture<'static, ()>> + Send + Sync + Clone + 'static,
) -> legacy::Builder {
    let mut hyper = legacy::Client::builder(executor);
    hyper
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        // A connection that is dead while requests wait on it must not get further ones.
        .http2_keep_alive_interval(config.idle_timeout / 2)
        .http2_keep_alive_timeout(config.idle_timeout / 2)
        .pool_idle_timeout(config.keep_idle)
        .pool_max_idle_per_host(config.max_idle_per_host)
        .http1_title_case_headers(config.title_case)
        .http1_max_buf_size(config.max_head)
        .http2_max_header_list_size(u32::try_from(config.max_head).unwrap_or(u32::MAX))
        .http2_only(config.version == Version::Http2);
    hyper
}

fn late_or_idle(
    progress: &Progress,
    deadline: Option<Instant>,
    late: impl Fn(Sent) -> Error,
    shared: &Shared,
) -> Error {
    let sent = if progress.begun() { Sent::Maybe } else { Sent::No };
    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        return late(sent);
    }
    let idle = shared.config.idle_timeout;
    Error::new(ErrorKind::Timeout, format!("nothing moved for {idle:?}")).with_sent(sent)
}

/// The request with a body whose size is known.
async fn measured(request: Request, max: usize) -> Result<Request> {
    if request.body().size_hint().exact().is_some() {
        return Ok(request);
    }
    let (head, body) = request.into_parts();
    let bytes = body.bytes(max).await.map_err(|why| why.with_sent(Sent::No))?;
    Ok(Request::from_parts(head, Body::from(bytes)))
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base_url", &self.0.config.base_url).finish_non_exhaustive()
    }
}
