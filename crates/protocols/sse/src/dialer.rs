//! Dialing.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use haul_core::wire::PROTOCOL;
use haul_core::{Connection, Endpoint, Error, ErrorKind, Info, Link, Result, Sent, Service};
use haul_http::{Client, ClientConfig, Peer};
use http::HeaderValue;
use tokio::time::timeout;

use crate::client::{Events, Request, open};
use crate::event::{Item, check};
use crate::options::DialConfig;
use crate::{link, spawn, words};

/// How long a haul peer is come back to, unless the endpoint says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// Dials `sse://` and `sses://`: event streams of any server, and both ways with a haul peer.
///
/// Errors: `Config`; `Connect`; `Tls`; `NotFound` for 204, and what another status says, with the beginning of the body;
/// `Protocol` for what is no event stream; `Timeout` (option `timeout`, 10 s by default, for everything together).
/// Cancelled, the request is cut.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    clients: Clients,
}

impl Dialer {
    async fn link(&self, config: DialConfig) -> Result<Link> {
        let deadline = config.timeout;
        let late = || Error::new(ErrorKind::Timeout, format!("not connected within {deadline:?}"));
        timeout(deadline, self.connect(config)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn connect(&self, config: DialConfig) -> Result<Link> {
        let request = Request {
            client: self.clients.get(&config.client)?,
            target: config.target.clone(),
            haul: config.haul,
            token: None,
            timeout: config.timeout,
        };
        let opened =
            open(request.clone(), config.last_event_id.clone()).await.map_err(|why| match why.kind() {
                // Nobody answered: the socket was taken by who no longer listens.
                ErrorKind::Closed => Error::new(ErrorKind::Connect, why.message().to_owned()),
                _ => why,
            });
        let (head, body) = opened?.into_parts();
        let haul = head.headers.get(words::PROTOCOL).is_some_and(|protocol| protocol == PROTOCOL);
        let info = info(&config, head.extensions.get::<Peer>());
        let patience = config.reconnect.unwrap_or_default();
        let mut events = Events::new(request, config.bounds, config.last_event_id.clone(), body, patience);
        if !haul {
            return Ok(link::receiving(info, config, events));
        }
        let token = announced(&mut events).await?;
        let patience = config.reconnect.unwrap_or(PATIENCE);
        events.belongs_to(token, patience);
        Ok(link::dialed(info, config, events, patience))
    }

    /// As a dial, for events of these names.
    pub(crate) async fn dial(
        &self,
        endpoint: &Endpoint,
        change: impl FnOnce(&mut DialConfig),
    ) -> Result<Connection> {
        let dialed = async {
            let mut config = DialConfig::new(endpoint)?;
            change(&mut config);
            check("last_event_id", &config.last_event_id)?;
            self.link(config).await
        };
        // Nothing of the application's was sent yet.
        let link =
            dialed.await.map_err(|why| why.with_sent(Sent::No).while_doing(format!("dial {endpoint}")))?;
        Ok(Connection::new(link, spawn))
    }
}

impl Service<Endpoint> for Dialer {
    async fn call(&self, endpoint: Endpoint) -> Result<Connection> {
        self.dial(&endpoint, |_| {}).await
    }
}

/// The token that the first event says.
async fn announced(events: &mut Events) -> Result<HeaderValue> {
    loop {
        let wrong = || Error::new(ErrorKind::Protocol, "a haul peer whose first event is no session");
        match poll_fn(|cx| events.poll_next(cx)).await? {
            Some(Item::Event(event)) if event.name.as_deref() == Some(words::ANNOUNCE) => {
                let mut token = HeaderValue::from_maybe_shared(event.data).map_err(|_| wrong())?;
                token.set_sensitive(true);
                return Ok(token);
            }
            Some(Item::Event(_)) | None => return Err(wrong()),
            Some(_) => {}
        }
    }
}

fn info(config: &DialConfig, peer: Option<&Peer>) -> Info {
    let mut info = Info::new("sse", "");
    if let Some(peer) = peer {
        link::describe(&mut info, peer);
    }
    let (path, query) = config.target.split_once('?').unwrap_or((&config.target, ""));
    info.facts.set("path", path.to_owned());
    if !query.is_empty() {
        info.facts.set("query", query.to_owned());
    }
    info
}

/// The last client that was made without files, with its pool: files may change between two dials.
#[derive(Clone, Debug, Default)]
struct Clients(Arc<Mutex<Option<(ClientConfig, Client)>>>);

impl Clients {
    fn get(&self, config: &ClientConfig) -> Result<Client> {
        let tls = &config.tls;
        if tls.ca.is_some() || tls.cert.is_some() || tls.key.is_some() {
            return Client::new(config.clone());
        }
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, client)) = &*last
            && known == config
        {
            return Ok(client.clone());
        }
        let client = Client::new(config.clone())?;
        *last = Some((config.clone(), client.clone()));
        Ok(client)
    }
}
