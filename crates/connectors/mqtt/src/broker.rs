//! A broker: where it is, and how we come in.

use std::fmt::Display;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use haul_core::{Endpoint, Error, ErrorKind, Result, Sent};
use haul_tls::ClientTls;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Connect, ConnectProperties, Login, Publish};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use crate::config::{Qos, Server};
use crate::driver::{Driver, Inlet, Parts};
use crate::link::{Limits, Link};
use crate::wire;

/// Requests that wait for the driver of a connection.
const REQUESTS: usize = 256;

/// Bytes of the answer to a CONNECT.
const CONNACK: usize = 256 * 1024;

/// The largest packet of MQTT (section 2.1.4), with its header.
const LARGEST: usize = 268_435_455 + 5;

/// Connects where the configuration says.
pub(crate) struct Broker {
    host: String,
    port: u16,
    login: Option<Login>,
    tls: Option<ClientTls>,
    pub(crate) config: Server,
}

/// What a connection is for.
pub(crate) enum Purpose {
    /// To publish, with at most so many packets on their way.
    Publish { pipeline: u16, qos: Qos },
    /// To read a session that is kept so many seconds, and to have at most so many packets that are not acknowledged, each with
    /// at most so many bytes.
    Read { session: u32, receive_max: u16, max_packet: usize, to: mpsc::Sender<Publish> },
}

trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

impl Broker {
    /// Errors: `Config`, also for certificates that cannot be read.
    pub(crate) fn new(config: Server) -> Result<Self> {
        let endpoint = Endpoint::parse(&config.url)?;
        let wrong = |why: &dyn Display| Error::new(ErrorKind::Config, format!("mqtt {endpoint}: {why}"));
        let (tls, port) = match endpoint.scheme() {
            "mqtts" => (Some(config.tls.build()?), 8883),
            "mqtt" if config.tls == Default::default() => (None, 1883),
            "mqtt" => return Err(wrong(&"the options of TLS need mqtts://")),
            _ => return Err(wrong(&"it must begin with mqtt:// or mqtts://")),
        };
        let of_user = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let (user, password) = (of_user(endpoint.user()), of_user(endpoint.password()));
        if user.len().max(password.len()) > 65_535 {
            return Err(wrong(&"user and password have at most 65535 bytes each"));
        }
        let login = (!user.is_empty() || !password.is_empty()).then(|| Login::new(user, password));
        let host = endpoint.require_host()?.to_owned();
        Ok(Self { host, port: endpoint.port().unwrap_or(port), login, tls, config })
    }

    /// A connection, and whether the broker had kept our session. Errors: `Connect`, `Tls`, `Timeout`, `Unauthorized`, and
    /// what else a broker refuses for; nothing was sent.
    pub(crate) async fn connect(&self, purpose: Purpose) -> Result<(Link, bool)> {
        let patience = self.config.connect_timeout;
        let late = |_| Error::new(ErrorKind::Timeout, format!("not connected within {patience:?}"));
        let connected = tokio::time::timeout(patience, self.open(purpose)).await;
        connected.map_err(late).flatten().map_err(|why| why.with_sent(Sent::No))
    }

    async fn open(&self, purpose: Purpose) -> Result<(Link, bool)> {
        let failed = |why: std::io::Error| Error::new(ErrorKind::Connect, why.to_string());
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let mut socket: Box<dyn Socket> = match &self.tls {
            Some(tls) => Box::new(tls.connect(stream, &self.host).await?),
            None => Box::new(stream),
        };
        let mut hello = BytesMut::new();
        let written = self.hello(&purpose).write(&None, &self.login, &mut hello);
        written.map_err(|why| Error::new(ErrorKind::Internal, why.to_string()))?;
        socket.write_all(&hello).await.map_err(failed)?;
        socket.flush().await.map_err(failed)?;
        let mut inbox = BytesMut::new();
        let answer = loop {
            if let Some(answer) = wire::connack(&mut inbox, CONNACK)? {
                break answer;
            }
            if socket.read_buf(&mut inbox).await.map_err(failed)? == 0 {
                let why =
                    "the broker ended the connection and said nothing: does it speak MQTT 5, and TLS or not?";
                return Err(Error::new(ErrorKind::Connect, why));
            }
        };
        Ok(self.drive(socket, inbox, purpose, answer))
    }

    fn hello(&self, purpose: &Purpose) -> Connect {
        let properties = match purpose {
            Purpose::Publish { .. } => None,
            Purpose::Read { session, receive_max, .. } => Some(ConnectProperties {
                session_expiry_interval: Some(*session),
                receive_maximum: Some(*receive_max),
                ..ConnectProperties::new()
            }),
        };
        Connect {
            keep_alive: u16::try_from(self.config.keep_alive.as_secs()).unwrap_or(u16::MAX),
            client_id: self.config.client_id.clone().unwrap_or_default(),
            clean_start: properties.is_none(),
            properties,
        }
    }

    fn drive(
        &self,
        socket: Box<dyn Socket>,
        inbox: BytesMut,
        purpose: Purpose,
        answer: ConnAck,
    ) -> (Link, bool) {
        let kept = answer.session_present;
        let said = answer.properties;
        let said = said.as_ref();
        let limits = Limits {
            max_packet: said.and_then(|it| it.max_packet_size).map_or(LARGEST, |it| LARGEST.min(it as usize)),
            qos: said.and_then(|it| it.max_qos).unwrap_or(2),
            retain: said.and_then(|it| it.retain_available) != Some(0),
        };
        let keep_alive = said.and_then(|it| it.server_keep_alive).filter(|seconds| *seconds > 0);
        let keep_alive = keep_alive.map_or(self.config.keep_alive, |it| Duration::from_secs(it.into()));
        let receive_max = said.and_then(|it| it.receive_max).filter(|most| *most > 0).unwrap_or(u16::MAX);
        let (places, max_packet, inlet) = match purpose {
            // It receives those of QoS 0 without a number.
            Purpose::Publish { pipeline, qos: Qos::AtMostOnce } => (pipeline, CONNACK, None),
            Purpose::Publish { pipeline, .. } => (receive_max.min(pipeline), CONNACK, None),
            Purpose::Read { receive_max, max_packet, to, .. } => {
                (0, max_packet, Some(Inlet { to: Some(to), receive_max, lost: 0 }))
            }
        };
        let ended = Arc::new(OnceLock::new());
        let (requests, asked) = mpsc::channel(REQUESTS);
        let parts =
            Parts { socket, inbox, max_packet, keep_alive, requests: asked, inlet, ended: ended.clone() };
        let driver = tokio::spawn(Driver::new(parts).run());
        let places = Arc::new(Semaphore::new(places.into()));
        (Link { limits, requests, places, ended, driver }, kept)
    }
}
