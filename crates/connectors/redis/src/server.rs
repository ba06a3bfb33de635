//! One server, a cluster, or the master that sentinels name: connected on first use, and again after it was lost.

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, RedisFuture, TlsCertificates, TlsMode, Value,
};
use tokio::sync::Mutex;

use haul_core::{Endpoint, Error, ErrorKind, Result};

use crate::config::Server;
use crate::failure::unconnected;

/// The port of a server that names none; that of sentinels is 26379.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26_379;

/// Connects where the configuration says.
pub(crate) struct Connector {
    way: Way,
    config: Server,
    current: Mutex<Option<Connection>>,
}

enum Way {
    One(Box<Client>),
    Cluster(Box<redis::cluster::ClusterClient>),
    Sentinel(Box<Mutex<SentinelClient>>),
}

#[derive(Clone)]
pub(crate) enum Connection {
    One(ConnectionManager),
    Cluster(ClusterConnection),
    /// Of a master that may change.
    Master(MultiplexedConnection),
}

impl Connector {
    /// Errors: `Config`, also for certificates that cannot be read.
    pub(crate) fn new(config: Server) -> Result<Self> {
        let endpoint = Endpoint::parse(&config.url)?;
        let wrong =
            |why: &dyn std::fmt::Display| Error::new(ErrorKind::Config, format!("redis {endpoint}: {why}"));
        let way = way(&endpoint, &config).map_err(|why| wrong(&why))?;
        Ok(Self { way, config, current: Mutex::default() })
    }

    /// The connection that stands, or else a new one. Errors: `Connect`, `Tls`, `Timeout`, `Unauthorized`.
    pub(crate) async fn connection(&self) -> Result<Connection> {
        // Also for who waits until another has connected.
        let connection = tokio::time::timeout(self.config.connect_timeout, async {
            let mut current = self.current.lock().await;
            if let Some(connection) = &*current {
                return Ok(connection.clone());
            }
            let connection = self.connect().await.map_err(|why| unconnected(&why))?;
            Ok(current.insert(connection).clone())
        });
        connection.await.unwrap_or_else(|_| {
            let why = format!("not connected within {:?}", self.config.connect_timeout);
            Err(Error::new(ErrorKind::Timeout, why).with_sent(haul_core::Sent::No))
        })
    }

    async fn connect(&self) -> Result<Connection, RedisError> {
        let Server { connect_timeout, timeout, .. } = self.config;
        Ok(match &self.way {
            Way::One(client) => {
                let config = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(connect_timeout))
                    .set_response_timeout(Some(timeout))
                    // Whoever calls tries again, or tells its own caller.
                    .set_number_of_retries(0);
                let manager = ConnectionManager::new_with_config((**client).clone(), config);
                Connection::One(manager.await?)
            }
            Way::Cluster(client) => Connection::Cluster(client.get_async_connection().await?),
            Way::Sentinel(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(connect_timeout))
                    .set_response_timeout(Some(timeout));
                let mut client = client.lock().await;
                Connection::Master(client.get_async_connection_with_config(&config).await?)
            }
        })
    }

    /// Looks at why a command failed: where the connection is of no more use, the next call makes another.
    pub(crate) async fn judge(&self, why: &RedisError) {
        let readonly = why.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::ReadOnly);
        let managed = matches!(self.way, Way::One(_) | Way::Cluster(_));
        // A master that became a replica is one no more; the managers find back by themselves.
        if (readonly || why.is_unrecoverable_error()) && !managed {
            self.forget().await;
        }
    }

    /// Lets go of the connection.
    pub(crate) async fn forget(&self) {
        self.current.lock().await.take();
    }
}

fn way(endpoint: &Endpoint, config: &Server) -> Result<Way> {
    let tls = endpoint.scheme() == "rediss";
    let usual = if config.sentinel.is_some() { SENTINEL_PORT } else { PORT };
    let mut hosts = vec![(endpoint.require_host()?.to_owned(), endpoint.port().unwrap_or(usual))];
    for node in &config.nodes {
        let node = Endpoint::parse(&format!("{}://{node}", endpoint.scheme()))?;
        hosts.push((node.require_host()?.to_owned(), node.port().unwrap_or(usual)));
    }
    let address = |(host, port): &(String, u16)| match tls {
        true => ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host.clone(), *port),
    };
    let certificates = certificates(config)?;
    let wrong = |why: RedisError| Error::new(ErrorKind::Config, why.to_string());
    if let (Some(_), true) = (&config.sentinel, config.cluster) {
        return Err(Error::new(ErrorKind::Config, "cluster and sentinel exclude one another: keep one"));
    }
    if let Some(master) = &config.sentinel {
        let sentinels = hosts.iter().map(address);
        let builder =
            SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master).map_err(wrong)?;
        let mut builder = builder.set_client_to_redis_db(config.db.into());
        if tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates);
        }
        if let Some(user) = endpoint.user().filter(|user| !user.is_empty()) {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = endpoint.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        return Ok(Way::Sentinel(Box::new(Mutex::new(builder.build().map_err(wrong)?))));
    }
    let mut redis = RedisConnectionInfo::default().set_db(config.db.into());
    if let Some(user) = endpoint.user().filter(|user| !user.is_empty()) {
        redis = redis.set_username(user);
    }
    if let Some(password) = endpoint.password() {
        redis = redis.set_password(password);
    }
    let info = |host| {
        let info = address(host).into_connection_info().map_err(wrong)?;
        Ok::<_, Error>(info.set_redis_settings(redis.clone()))
    };
    if config.cluster {
        if config.db != 0 {
            return Err(Error::new(ErrorKind::Config, "a cluster has database 0 alone"));
        }
        let nodes = hosts.iter().map(info).collect::<Result<Vec<_>>>()?;
        let mut builder = ClusterClientBuilder::new(nodes)
            .connection_timeout(config.connect_timeout)
            .response_timeout(config.timeout);
        if tls {
            builder = builder.tls(TlsMode::Secure).certs(certificates);
        }
        return Ok(Way::Cluster(Box::new(builder.build().map_err(wrong)?)));
    }
    if hosts.len() > 1 {
        return Err(Error::new(
            ErrorKind::Config,
            "nodes are of a cluster or sentinels: cluster=true, or sentinel=NAME",
        ));
    }
    let info = info(&hosts[0])?;
    let client = if tls { Client::build_with_tls(info, certificates) } else { Client::open(info) };
    Ok(Way::One(Box::new(client.map_err(wrong)?)))
}

fn certificates(config: &Server) -> Result<TlsCertificates> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|why| Error::new(ErrorKind::Config, format!("{}: {why}", path.display())))
    };
    let client_tls = match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
        (None, None) => None,
        _ => return Err(Error::new(ErrorKind::Config, "cert and key need one another")),
    };
    Ok(TlsCertificates { client_tls, root_cert: config.ca.as_ref().map(read).transpose()? })
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(manager) => manager.req_packed_command(command),
            Self::Cluster(cluster) => cluster.req_packed_command(command),
            Self::Master(master) => master.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(manager) => manager.req_packed_commands(pipeline, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(pipeline, offset, count),
            Self::Master(master) => master.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(manager) => manager.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
            Self::Master(master) => master.get_db(),
        }
    }
}
