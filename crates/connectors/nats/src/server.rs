//! The server: connected on first use, and again after the connection was lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::connection::State;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{Context, stream};
use async_nats::{Auth, AuthError, Client, ConnectOptions, Event, ServerAddr, ServerError};
use bytes::Bytes;
use haul_core::{Endpoint, Error, ErrorKind, Result, Sent};
use haul_tls::ClientTls;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};

use crate::config::Server;
use crate::failure::{refused, unanswered, unconnected};

/// The port of a server that names none.
const PORT: u16 = 4222;

/// A silent server is asked this often whether it is there; after three of them the connection is given up.
const PING: Duration = Duration::from_secs(10);

/// What the server said of permissions is remembered this often per connection.
const DENIALS: usize = 64;

/// Connects where the configuration says.
pub(crate) struct Connector {
    addresses: Vec<ServerAddr>,
    auth: Auth,
    tls: ClientTls,
    config: Server,
    /// Acknowledgements that may be awaited at once.
    acks: usize,
    /// What is made on each connection, where it is not there.
    stream: Option<stream::Config>,
    current: Mutex<Option<Link>>,
}

/// A connection, for as long as it lasts.
///
/// The client would connect again by itself. It then drops what it had not written yet and sends what was queued behind
/// it, so that a packet may overtake others that are lost; and it would deliver long after its caller was told that it
/// failed. It is let in only once, and its end is the end of all that waits on it.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) jetstream: Context,
    denials: watch::Receiver<VecDeque<String>>,
}

impl Connector {
    /// Errors: `Config`, also for certificates that cannot be read.
    pub(crate) fn new(config: Server, acks: usize, stream: Option<stream::Config>) -> Result<Self> {
        let endpoint = Endpoint::parse(&config.url)?;
        let failed = |why: Error| why.while_doing(format!("nats {endpoint}"));
        if config.tls.sni.is_some() || config.tls.alpn.is_some() {
            return Err(failed(Error::new(ErrorKind::Config, "sni and alpn are not for NATS")));
        }
        let tls = config.tls.build().map_err(failed)?;
        let addresses = addresses(&endpoint, &config).map_err(failed)?;
        let user = endpoint.user().filter(|user| !user.is_empty()).map(str::to_owned);
        let mut auth = Auth::new();
        match endpoint.password() {
            Some(password) => (auth.username, auth.password) = (user, Some(password.to_owned())),
            None => auth.token = user,
        }
        Ok(Self { addresses, auth, tls, config, acks, stream, current: Mutex::default() })
    }

    /// The connection that stands, or else a new one.
    ///
    /// Errors: `Connect`, `Timeout`, `Tls`, `Unauthorized`, and those of making the stream; no packet was sent.
    pub(crate) async fn link(&self) -> Result<Link> {
        let servers = u32::try_from(self.addresses.len()).unwrap_or(u32::MAX);
        let patience = self.config.connect_timeout.saturating_mul(servers);
        let connect = async {
            let mut current = self.current.lock().await;
            if let Some(link) = current.as_ref().filter(|link| link.stands()) {
                return Ok(link.clone());
            }
            let link = self.connect().await?;
            if let Some(stream) = &self.stream {
                link.make_stream(stream).await?;
            }
            Ok(current.insert(link).clone())
        };
        let late = |_| Error::new(ErrorKind::Timeout, format!("not connected within {patience:?}"));
        let connected = tokio::time::timeout(patience, connect).await.map_err(late).flatten();
        connected.map_err(|why| why.with_sent(Sent::No))
    }

    async fn connect(&self) -> Result<Link> {
        let let_in = Arc::new(AtomicBool::new(false));
        let (denied, denials) = watch::channel(VecDeque::new());
        let (auth, was_let_in) = (self.auth.clone(), let_in.clone());
        let options = ConnectOptions::with_auth_callback(move |_| {
            std::future::ready(match was_let_in.load(Ordering::Acquire) {
                false => Ok(auth.clone()),
                true => Err(AuthError::new("a connection that was lost is not made again by the client")),
            })
        });
        let options = options
            .name("haul")
            .max_reconnects(self.addresses.len())
            .ignore_discovered_servers()
            .retain_servers_order()
            .connection_timeout(self.config.connect_timeout)
            .request_timeout(Some(self.config.timeout))
            .ping_interval(PING)
            .tls_client_config((*self.tls.raw()).clone())
            .event_callback(move |event| {
                if let Event::ServerError(ServerError::Other(said)) = event
                    && said.contains("Permissions Violation")
                {
                    denied.send_modify(|denials| {
                        denials.truncate(DENIALS - 1);
                        denials.push_front(said);
                    });
                }
                std::future::ready(())
            });
        let client = options.connect(self.addresses.as_slice()).await.map_err(|why| unconnected(&why))?;
        let_in.store(true, Ordering::Release);
        let jetstream = ContextBuilder::new().timeout(self.config.timeout).max_ack_inflight(self.acks);
        Ok(Link { jetstream: jetstream.build(client.clone()), client, denials })
    }

    /// Looks at why something failed on `link`: a connection that is lost, does not answer, or on which something is not
    /// allowed, is of no more use, and the next call makes another, unless one is there already.
    pub(crate) async fn judge(&self, link: &Link, mut failures: impl Iterator<Item = &Error>) {
        let of_link = [ErrorKind::Closed, ErrorKind::Timeout, ErrorKind::Unauthorized];
        if failures.any(|why| of_link.contains(&why.kind())) {
            self.current.lock().await.take_if(|current| current.denials.same_channel(&link.denials));
        }
    }

    /// Lets go of the connection; what waits on it goes on waiting.
    pub(crate) async fn forget(&self) {
        self.current.lock().await.take();
    }
}

impl Link {
    fn stands(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Asks JetStream. Errors: as it answered; nothing was stored.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, what: String, with: &impl Serialize) -> Result<T> {
        match self.jetstream.request(what, with).await {
            Ok(Response::Ok(answer)) => Ok(answer),
            Ok(Response::Err { error }) => Err(refused(&error)),
            Err(why) => Err(unanswered(&why)),
        }
    }

    /// The stream that takes `subject`. Errors: `NotFound`.
    pub(crate) async fn stream_of(&self, subject: &str) -> Result<String> {
        #[derive(serde::Deserialize)]
        struct Names {
            streams: Option<Vec<String>>,
        }
        let names: Names = self.ask("STREAM.NAMES".to_owned(), &json!({ "subject": subject })).await?;
        names.streams.and_then(|names| names.into_iter().next()).ok_or_else(|| {
            let why = format!("no stream takes {subject}: make one, or let stream= and create= do it");
            Error::new(ErrorKind::NotFound, why)
        })
    }

    /// Errors: `NotFound`, with what to do.
    pub(crate) async fn has_stream(&self, name: &str) -> Result<()> {
        let asked = self.ask::<Value>(format!("STREAM.INFO.{name}"), &json!({})).await;
        asked.map(drop).map_err(|why| why.with("stream", name))
    }

    pub(crate) async fn has_jetstream(&self) -> Result<()> {
        self.ask::<Value>("INFO".to_owned(), &json!({})).await.map(drop)
    }

    /// Makes a stream where there is none of this name.
    pub(crate) async fn make_stream(&self, config: &stream::Config) -> Result<()> {
        match self.has_stream(&config.name).await {
            Err(why) if why.kind() == ErrorKind::NotFound => {
                self.ask::<Value>(format!("STREAM.CREATE.{}", config.name), config).await.map(drop)
            }
            there => there,
        }
    }

    /// Waits until the server has read all that was written before: it says at once that nobody listens to a subject that
    /// nobody knows.
    pub(crate) async fn asked_back(&self) -> Result<()> {
        let nobody = self.client.new_inbox();
        let asked = tokio::select! {
            asked = self.client.request(nobody.clone(), Bytes::new()) => asked,
            why = self.denied(&nobody) => return Err(why.with_sent(Sent::Maybe)),
        };
        match asked.map_err(|why| why.kind()) {
            Ok(_) | Err(RequestErrorKind::NoResponders) => Ok(()),
            Err(RequestErrorKind::TimedOut) => Err(Error::new(ErrorKind::Timeout, "no answer in time")),
            Err(_) => Err(Error::new(ErrorKind::Closed, "the connection was lost")),
        }
    }

    /// What the server said if something to do with `subject` is not allowed here.
    pub(crate) fn denial(&self, subject: &str) -> Option<Error> {
        denial(&self.denials.borrow(), subject)
    }

    /// Resolves when it says so.
    pub(crate) async fn denied(&self, subject: &str) -> Error {
        let mut denials = self.denials.clone();
        loop {
            if let Some(why) = denial(&denials.borrow_and_update(), subject) {
                return why;
            }
            if denials.changed().await.is_err() {
                // The connection is over: who waits for something on it learns that there.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Of those said, the one that concerns `subject`: it itself, or the answers that any would have.
fn denial(denials: &VecDeque<String>, subject: &str) -> Option<Error> {
    let quoted = format!("{subject:?}");
    let said = denials.iter().find(|said| said.contains(&quoted) || !said.contains("for Publish to"))?;
    Some(Error::new(ErrorKind::Unauthorized, format!("the server answered: {said}")).with_sent(Sent::No))
}

fn addresses(endpoint: &Endpoint, config: &Server) -> Result<Vec<ServerAddr>> {
    let scheme = if endpoint.scheme() == "nats+tls" { "tls" } else { "nats" };
    let mut hosts = vec![(endpoint.require_host()?.to_owned(), endpoint.port())];
    for server in &config.servers {
        let server = Endpoint::parse(&format!("nats://{server}"))?;
        hosts.push((server.require_host()?.to_owned(), server.port()));
    }
    let address = |(host, port): (String, Option<u16>)| {
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let address = format!("{scheme}://{host}:{}", port.unwrap_or(PORT));
        address.parse().map_err(|why| Error::new(ErrorKind::Config, format!("{address}: {why}")))
    };
    hosts.into_iter().map(address).collect()
}
