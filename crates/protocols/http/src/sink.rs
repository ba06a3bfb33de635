//! The sink: packets to a web server.

mod encode;
mod plan;

use std::fmt;
use std::time::{Duration, SystemTime};

use haul_core::{
    Batch, Body, Calls, Error, ErrorKind, Input, Packet, Receipt, Request, Response, Result, Sent, Service,
    Shared, Sink, Status,
};
use http::{HeaderMap, Method, Uri};
use tokio::time::timeout;

use crate::client::{Client, ClientConfig};
use crate::config::HttpConfig;
use plan::{Letter, Plan};

/// Calls at once; further ones wait.
const CALLS: u32 = 4096;

/// Bytes of an answer that are read, so that its connection can be used again.
const MAX_ANSWER: usize = 64 << 10;

/// How long reading it may take: what it says is known by its head.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

/// Delivers packets to a web server. Receipts are [`Acknowledged`](haul_core::Level::Acknowledged): the server answered 2xx; their reference is
/// what the header [`reference`](HttpConfig::reference) of the answer says.
///
/// The packets of a batch are sent in order, one request after the other. A request succeeds or fails whole: each
/// packet in it has the answer as its outcome. After a failure that may pass, the packets behind it are not tried, and
/// answered with the same kind and `Sent::No`, so that trying again keeps the order; a refusal for good stops nobody.
///
/// What makes it idempotent: a packet's id, in the header [`idempotency`](HttpConfig::idempotency) and in the
/// envelope. For several packets in one request the header has a digest of their ids, if all have one.
///
/// Dropping a call's future cuts the request under way, which may have arrived; later ones are not sent.
pub struct HttpSink {
    client: Shared<Request>,
    plan: Plan,
    uri: Uri,
    health: Option<Uri>,
    shown: String,
    calls: Calls,
}

impl HttpSink {
    /// A sink with this configuration; nothing is connected yet. Errors: `Config`.
    pub fn new(config: HttpConfig) -> Result<Self> {
        Self::with(config, |client| Ok(Shared::new(Client::new(client)?)))
    }

    /// A sink whose requests go through `client`, such as a [`Client`] with a layer around it: what `config.client` says is
    /// left to it. Errors: `Config`.
    pub fn through(config: HttpConfig, client: impl Service<Request>) -> Result<Self> {
        Self::with(config, |_| Ok(Shared::new(client)))
    }

    fn with(
        config: HttpConfig,
        client: impl FnOnce(ClientConfig) -> Result<Shared<Request>>,
    ) -> Result<Self> {
        let endpoint = haul_core::Endpoint::parse(&config.url)?;
        let shown = endpoint.to_string();
        let failed = |why: Error| why.while_doing(format!("deliver to {shown}"));
        config.check().map_err(failed)?;
        endpoint.require_host()?;
        let wrong = |why: &str| failed(Error::new(ErrorKind::Config, why.to_owned()));
        if endpoint.user().is_some() && config.client.bearer.is_some() {
            return Err(wrong("bearer and the user of the URL exclude one another: keep one"));
        }
        let uri: Uri = config.url.parse().map_err(|_| wrong("it is no URI"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("it must begin with http:// or https://"));
        }
        let health = config.health.as_deref().map(|path| {
            let mut parts = uri.clone().into_parts();
            parts.path_and_query = Some(path.parse().map_err(|_| wrong("health must be a path: /health"))?);
            Uri::from_parts(parts).map_err(|_| wrong("health must be a path: /health"))
        });
        Ok(Self {
            client: client(config.client.clone()).map_err(failed)?,
            health: health.transpose()?,
            plan: Plan::new(config).map_err(failed)?,
            uri,
            shown,
            calls: Calls::new(CALLS),
        })
    }

    async fn deliver_in_order(&self, packets: &[Packet]) -> Result<Vec<Result<Receipt>>> {
        let _call = self.calls.begin().await.map_err(|why| self.failed(why))?;
        let mut outcomes: Vec<Result<Receipt>> = Vec::with_capacity(packets.len());
        while outcomes.len() < packets.len() {
            let letter = self.plan.next(&packets[outcomes.len()..], SystemTime::now());
            let Letter { packets: many, body, headers } = match letter {
                Ok(letter) => letter,
                Err(why) => {
                    outcomes.push(Err(self.failed(why)));
                    continue;
                }
            };
            let answered = self.send(self.plan.method(), &self.uri, headers, body).await;
            let now = &packets[outcomes.len()..][..many];
            match answered {
                Ok(answer) => {
                    outcomes.extend(now.iter().map(|packet| Ok(self.plan.receipt(packet, &answer))))
                }
                Err(why) => {
                    outcomes.extend(now.iter().map(|_| Err(why.clone())));
                    if why.status() == Status::Transient {
                        let untried = why.not_tried();
                        outcomes.resize_with(packets.len(), || Err(untried.clone()));
                    }
                }
            }
        }
        Ok(outcomes)
    }

    /// The head of an answer of 2xx; other answers are errors.
    async fn send(&self, method: Method, uri: &Uri, headers: HeaderMap, body: Body) -> Result<HeaderMap> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        let response = self.client.call(request).await?;
        let failure = failure(&response);
        let (head, body) = response.into_parts();
        let answer = timeout(ANSWER_PATIENCE, body.bytes(MAX_ANSWER)).await;
        match failure {
            None => Ok(head.headers),
            Some(mut why) => {
                if let Ok(Ok(answer)) = answer
                    && !answer.is_empty()
                {
                    let text: String = String::from_utf8_lossy(&answer).chars().take(200).collect();
                    why = why.with("answer", text.trim());
                }
                Err(self.failed(why))
            }
        }
    }

    fn failed(&self, why: Error) -> Error {
        why.while_doing(format!("deliver to {}", self.shown))
    }
}

/// What an answer says, if it is not 2xx.
fn failure(response: &Response) -> Option<Error> {
    let status = response.status();
    if status.is_success() {
        return None;
    }
    Some(Request::failure(response).unwrap_or_else(|| {
        let place = response.headers().get(http::header::LOCATION).and_then(|place| place.to_str().ok());
        let hint =
            place.map(|place| format!(" to {place}: give that URL, or redirects=1")).unwrap_or_default();
        Error::new(ErrorKind::Rejected, format!("the peer answered {status}{hint}")).with_sent(Sent::Maybe)
    }))
}

impl Service<Batch> for HttpSink {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.deliver_in_order(batch.packets()).await
    }
}

impl Service<Packet> for HttpSink {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let mut outcomes = self.deliver_in_order(std::slice::from_ref(&packet)).await?;
        outcomes.pop().expect("one outcome per packet")
    }
}

impl Sink for HttpSink {
    /// Connects, and asks [`health`](HttpConfig::health), or else for the OPTIONS of the URL: a server that refuses that
    /// method is there, one that answers 401, 403, 407, 429 or 5xx (but 501) is not ready.
    async fn ready(&self) -> Result<()> {
        let _call = self.calls.begin().await.map_err(|why| self.failed(why))?;
        if let Some(health) = &self.health {
            return self.send(Method::GET, health, HeaderMap::new(), Body::empty()).await.map(drop);
        }
        match self.send(Method::OPTIONS, &self.uri, HeaderMap::new(), Body::empty()).await {
            Err(why) if answered_at_all(&why) => Ok(()),
            asked => asked.map(drop),
        }
    }

    async fn close(&self) -> Result<()> {
        self.calls.close().await;
        Ok(())
    }
}

/// A server that does not know OPTIONS, or not this path without a packet.
fn answered_at_all(why: &Error) -> bool {
    let refusal = matches!(why.kind(), ErrorKind::Rejected | ErrorKind::NotFound | ErrorKind::Unsupported);
    refusal && why.status() == Status::Permanent
}

impl fmt::Debug for HttpSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSink").field("url", &self.shown).finish_non_exhaustive()
    }
}
