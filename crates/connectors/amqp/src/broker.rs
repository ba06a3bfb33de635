//! A server: connected on first use, and again after the connection was lost.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Result, Sent};
use haul_tls::ClientTls;
use lapin::options::ConfirmSelectOptions;
use lapin::tcp::AsyncTcpStream;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use lapin::{Channel, Connection, ConnectionProperties};

use crate::config::Server;
use crate::failure::{failed, unconnected};
use crate::socket::{self, Cut};

/// Exchanges that are remembered as being there.
const EXCHANGES: usize = 1024;

/// How long a server may take to answer a goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Connects where the configuration says.
pub(crate) struct Broker {
    uri: AMQPUri,
    tls: Option<ClientTls>,
    pub(crate) config: Server,
    current: tokio::sync::Mutex<Option<Arc<Link>>>,
}

/// A connection, with channels that nobody uses at the moment.
pub(crate) struct Link {
    connection: Connection,
    cut: Cut,
    is_cut: AtomicBool,
    idle: Mutex<Vec<Channel>>,
    exchanges: Mutex<HashSet<String>>,
}

impl Broker {
    /// Errors: `Config`, also for certificates that cannot be read.
    pub(crate) fn new(config: Server) -> Result<Self> {
        let endpoint = Endpoint::parse(&config.url)?;
        let wrong = |why: &dyn Display| Error::new(ErrorKind::Config, format!("amqp {endpoint}: {why}"));
        let (tls, port) = match endpoint.scheme() {
            "amqps" => (Some(config.tls.build()?), 5671),
            "amqp" if config.tls == Default::default() => (None, 5672),
            "amqp" => return Err(wrong(&"the options of TLS need amqps://")),
            _ => return Err(wrong(&"it must begin with amqp:// or amqps://")),
        };
        let vhost = endpoint.path().strip_prefix('/').filter(|vhost| !vhost.is_empty()).unwrap_or("/");
        if vhost.len() > 255 {
            return Err(wrong(&"the name of a virtual host has at most 255 bytes"));
        }
        let uri = AMQPUri {
            // TLS is ours.
            scheme: AMQPScheme::AMQP,
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: endpoint.user().unwrap_or("guest").to_owned(),
                    password: endpoint.password().unwrap_or("guest").to_owned(),
                },
                host: endpoint.require_host()?.to_owned(),
                port: endpoint.port().unwrap_or(port),
            },
            vhost: vhost.to_owned(),
            query: AMQPQueryString {
                frame_max: u32::try_from(config.frame_max).ok(),
                heartbeat: u16::try_from(config.heartbeat.as_secs()).ok(),
                ..Default::default()
            },
        };
        Ok(Self { uri, tls, config, current: tokio::sync::Mutex::default() })
    }

    /// The connection that stands, or else a new one. Errors: `Connect`, `Tls`, `Timeout`, `Unauthorized`, `NotFound` for the
    /// virtual host; nothing was sent.
    pub(crate) async fn link(&self) -> Result<Arc<Link>> {
        // Also for who waits until another has connected.
        self.in_time(async {
            let mut current = self.current.lock().await;
            if let Some(link) = current.as_ref().filter(|link| link.stands()) {
                return Ok(link.clone());
            }
            let link = self.open().await?;
            Ok(current.insert(Arc::new(link)).clone())
        })
        .await
    }

    /// A connection of one's own. Errors: as [`link`](Self::link).
    pub(crate) async fn connect(&self) -> Result<Link> {
        self.in_time(self.open()).await
    }

    async fn in_time<T>(&self, connect: impl Future<Output = Result<T>>) -> Result<T> {
        let late = |_| {
            let why = format!("not connected within {:?}", self.config.connect_timeout);
            Error::new(ErrorKind::Timeout, why).with_sent(Sent::No)
        };
        tokio::time::timeout(self.config.connect_timeout, connect).await.map_err(late)?
    }

    async fn open(&self) -> Result<Link> {
        let AMQPAuthority { host, port, .. } = &self.uri.authority;
        let (wire, cut) = socket::open(host, *port, self.tls.as_ref()).await?;
        // Given up on, the client would wait on in a thread of its own.
        let cut = CutOnDrop(Some(cut));
        let wire = Mutex::new(Some(wire));
        let take = async move |_, _| {
            let wire = wire.lock().unwrap_or_else(PoisonError::into_inner).take();
            // We connect again ourselves.
            let wire = wire.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotConnected))?;
            Ok(AsyncTcpStream::Plain(wire))
        };
        let properties = ConnectionProperties::default().with_connection_name("haul".into());
        let connected = Connection::connector(self.uri.clone(), socket::runtime(), take, properties);
        let connection = connected.await.map_err(|why| unconnected(&why))?;
        let (cut, is_cut) = (cut.keep(), AtomicBool::new(false));
        Ok(Link { connection, cut, is_cut, idle: Mutex::default(), exchanges: Mutex::default() })
    }

    /// Lets go of this connection at once.
    pub(crate) async fn forget(&self, link: &Arc<Link>) {
        link.cut();
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            current.take();
        }
    }

    /// Says goodbye and lets go.
    pub(crate) async fn close(&self) {
        if let Some(link) = self.current.lock().await.take() {
            let goodbye = link.connection.close(200, "OK".into());
            // Whether it answers or not, the connection is over.
            let _ = tokio::time::timeout(GOODBYE, goodbye).await;
            link.cut();
        }
    }

    /// An answer within the deadline.
    pub(crate) async fn ask<T>(&self, what: impl Future<Output = lapin::Result<T>>) -> Result<T> {
        match tokio::time::timeout(self.config.timeout, what).await {
            Ok(answer) => answer.map_err(|why| failed(&why)),
            Err(_) => {
                let why = format!("no answer within {:?}", self.config.timeout);
                Err(Error::new(ErrorKind::Timeout, why))
            }
        }
    }
}

struct CutOnDrop(Option<Cut>);

impl CutOnDrop {
    fn keep(mut self) -> Cut {
        self.0.take().expect("it is taken once")
    }
}

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        if let Some(cut) = &self.0 {
            cut.now();
        }
    }
}

impl Link {
    pub(crate) fn stands(&self) -> bool {
        !self.is_cut.load(Ordering::Relaxed) && self.connection.status().connected()
    }

    /// The server takes nothing at the moment: it is short of memory or disk.
    pub(crate) fn blocked(&self) -> bool {
        self.connection.status().blocked()
    }

    /// Ends it at once.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
        self.cut.now();
    }

    /// Bytes of a frame, as was agreed.
    pub(crate) fn frame_max(&self) -> usize {
        self.connection.configuration().frame_max() as usize
    }

    /// A channel that nobody else uses.
    pub(crate) async fn channel(&self) -> lapin::Result<Channel> {
        self.connection.create_channel().await
    }

    /// A channel that confirms, and that nobody else uses.
    pub(crate) async fn publisher(&self) -> lapin::Result<Channel> {
        let idle = locked(&self.idle).pop();
        if let Some(channel) = idle.filter(|channel| channel.status().connected()) {
            return Ok(channel);
        }
        let channel = self.channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    /// Takes a channel back all of whose publishings are answered.
    pub(crate) fn put_back(&self, channel: Channel) {
        locked(&self.idle).push(channel);
    }

    /// Whether this exchange was there.
    pub(crate) fn knows(&self, exchange: &str) -> bool {
        locked(&self.exchanges).contains(exchange)
    }

    /// This exchange is there.
    pub(crate) fn learn(&self, exchange: &str) {
        let mut exchanges = locked(&self.exchanges);
        if exchanges.len() == EXCHANGES {
            exchanges.clear();
        }
        exchanges.insert(exchange.to_owned());
    }

    /// Exchanges may be gone.
    pub(crate) fn unlearn(&self) {
        locked(&self.exchanges).clear();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The client says goodbye by itself, but writes nothing while it is blocked.
        if self.blocked() {
            self.cut();
        }
    }
}

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
