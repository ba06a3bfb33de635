//! Event streams on an HTTP server that the caller has.

use std::fmt;
use std::sync::Arc;

use haul_core::{Endpoint, Listener, Metadata, Request, Response, Result};
use http::request::Parts;
use tokio::sync::mpsc;

use crate::listener::SseIncoming;
use crate::options::ListenConfig;
use crate::server::{Door, Table};
use crate::spawn;

/// Requests that wait to be looked at.
const ASKED: usize = 64;

/// Event streams beside other routes of an HTTP server that the caller has. Clones are the same mount.
///
/// The server gives it the requests that it [`wants`](Self::wants), and adds to its answers what browsers want to know
/// (`Access-Control-Allow-Origin`; a page that speaks `haul.v1` also reads the header `haul-protocol`).
///
/// ```
/// use haul_core::{Body, Metadata, Request, service_fn};
///
/// # #[tokio::main]
/// # async fn main() -> haul_core::Result<()> {
/// let (mount, listener) = haul_sse::Mount::new(&"sse://127.0.0.1/live".parse()?)?;
/// let service = service_fn(move |request: Request| {
///     let mount = mount.clone();
///     async move {
///         let (head, body) = request.into_parts();
///         if mount.wants(&head) {
///             return mount.answer(Request::from_parts(head, body), Metadata::new()).await;
///         }
///         Ok(http::Response::new(Body::from("another route")))
///     }
/// });
/// let server = haul_http::serve("http://127.0.0.1:0".parse()?, service).await?;
/// # drop((listener, server));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Mount(Arc<Door>);

impl Mount {
    /// A mount, and the listener that its clients come out of.
    ///
    /// `endpoint` is `sse://host/path?options`: its path is the only one served, none or `/` serves any. The options are
    /// those of [`listen`](crate::listen), without those of the server (`stall` and TLS). The endpoint is also what
    /// the listener says of itself. Once the listener is dropped or shut down, new clients are answered 503, and its
    /// connections go on.
    ///
    /// Errors: `Config`.
    pub fn new(endpoint: &Endpoint) -> Result<(Self, Listener)> {
        let (config, limits) = ListenConfig::mounted(endpoint)?;
        let (mount, incoming) = Self::with(config);
        Ok((mount, Listener::new(endpoint.clone(), incoming, limits, spawn)))
    }

    pub(crate) fn with(config: ListenConfig) -> (Self, SseIncoming) {
        let (asked, receiver) = mpsc::channel(ASKED);
        let table = Arc::new(Table::default());
        let incoming = SseIncoming::new(receiver, table.clone(), config.clone());
        (Self(Arc::new(Door { config, table, asked })), incoming)
    }

    /// Whether a request with this head is for event streams: a GET of the path that names `text/event-stream` in
    /// `Accept`, or a GET, POST or DELETE with a session's token (`haul-session`, a header or in the query).
    pub fn wants(&self, head: &Parts) -> bool {
        self.0.wants(head)
    }

    /// Answers a request; one that is not wanted is told what it should have been.
    ///
    /// `facts` join those of the connection's [`Info`](haul_core::Info), and win. The fact `identity` says who the client
    /// is: whoever comes back to a session or POSTs must be the same, beside showing its token. Bodies are read up to
    /// `max_post` bytes, if the server gives as many.
    ///
    /// Errors are the answer, as `haul-http` makes one of them: with the status of their kind, or of the fact `status`.
    /// A GET that ends so counts as failed in the listener's stats. Cancelled, the client is as good as gone.
    pub async fn answer(&self, request: Request, facts: Metadata) -> Result<Response> {
        // A server may keep room for the largest of its answers as long as the connection lives.
        Box::pin(self.0.answer(request, facts)).await
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("path", &self.0.config.path).finish_non_exhaustive()
    }
}
