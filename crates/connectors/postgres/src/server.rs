//! The connection: made on first use, and again after it was lost.

use std::sync::Arc;
use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Result, Sent};
use haul_tls::{ClientOptions, ClientTls};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time;
use tokio_postgres::config::Host;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Connection, NoTls, Row, Statement, config};

use crate::config::{Payload, Server, SslMode};
use crate::failure::{failed, is_of_a_packet, unconnected};
use crate::table::Table;
use crate::tls::Tls;

/// How much longer than the server itself we wait for it to give a statement up.
const GRACE: Duration = Duration::from_secs(1);

/// A silent peer is asked after so long, on both ends: one that is gone must not keep a table to itself.
const SILENCE: Duration = Duration::from_secs(30);

/// What is done on each new connection.
pub(crate) struct Setup {
    pub(crate) table: Table,
    /// The table is made where there is none, with such payloads.
    pub(crate) create: Option<Payload>,
    /// The statements that will be asked, by their number.
    pub(crate) statements: Vec<String>,
    /// It is the only one to read the table.
    pub(crate) alone: bool,
}

/// Connects where the configuration says.
pub(crate) struct Connector {
    /// As it is told in errors.
    address: String,
    config: Config,
    tls: Option<Tls>,
    connect_timeout: Duration,
    timeout: Duration,
    setup: Setup,
    current: Mutex<Option<Arc<Session>>>,
}

/// A connection, ready to be asked.
struct Session {
    client: Client,
    statements: Vec<Statement>,
    driver: AbortHandle,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connector {
    /// Errors: `Config`, also for certificates that cannot be read.
    pub(crate) fn new(server: &Server, setup: Setup) -> Result<Self> {
        let endpoint = Endpoint::parse(&server.url)?;
        let wrong = |why: Error| why.while_doing(format!("postgres {endpoint}"));
        let config = client(&endpoint, server)?;
        Ok(Self {
            address: address(&config),
            tls: tls(server).map_err(wrong)?,
            config,
            connect_timeout: server.connect_timeout,
            timeout: server.timeout,
            setup,
            current: Mutex::default(),
        })
    }

    /// Asks a statement by its number. After a failure that is not of a packet, the next one asks on a new connection.
    pub(crate) async fn ask(&self, statement: usize, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>> {
        let session = self.session().await?;
        let asked = session.client.query(&session.statements[statement], parameters);
        let late = |_| {
            let why = format!("no answer within {:?}", self.timeout + GRACE);
            Error::new(ErrorKind::Timeout, why)
        };
        let answer = time::timeout(self.timeout + GRACE, asked).await.map_err(late);
        let answer = answer.and_then(|answer| answer.map_err(|why| failed(&why)));
        if answer.as_ref().is_err_and(|why| !is_of_a_packet(why)) {
            let mut current = self.current.lock().await;
            current.take_if(|current| Arc::ptr_eq(current, &session));
        }
        answer
    }

    /// The session that stands, or else a new one. Errors: nothing was sent.
    async fn session(&self) -> Result<Arc<Session>> {
        // Also for who waits until another has connected.
        let session = time::timeout(self.connect_timeout, self.current_or_new()).await.map_err(|_| {
            let why = format!("not connected within {:?}", self.connect_timeout);
            Error::new(ErrorKind::Timeout, why).with_sent(Sent::No)
        });
        session.flatten().map_err(|why| why.with("server", &self.address))
    }

    async fn current_or_new(&self) -> Result<Arc<Session>> {
        let mut current = self.current.lock().await;
        match current.as_ref().filter(|session| !session.client.is_closed()) {
            Some(session) => Ok(session.clone()),
            None => Ok(current.insert(Arc::new(self.connect().await?)).clone()),
        }
    }

    async fn connect(&self) -> Result<Session> {
        let connected = match &self.tls {
            None => self.config.connect(NoTls).await.map(|(client, connection)| (client, drive(connection))),
            Some(tls) => {
                let connected = self.config.connect(tls.clone()).await;
                connected.map(|(client, connection)| (client, drive(connection)))
            }
        };
        let (client, driver) = connected.map_err(|why| unconnected(&why))?;
        let mut session = Session { client, statements: Vec::new(), driver };
        self.make_ready(&mut session).await.map_err(|why| match why.kind() {
            ErrorKind::Closed => Error::new(ErrorKind::Connect, "lost again at once").with_source(why),
            _ => why.with_sent(Sent::No),
        })?;
        Ok(session)
    }

    async fn make_ready(&self, Session { client, statements, .. }: &mut Session) -> Result<()> {
        let Setup { table, create, statements: texts, alone } = &self.setup;
        // 0 would be for ever, and more is not taken.
        let timeout = self.timeout.as_millis().clamp(1, i32::MAX as u128);
        let silence = SILENCE.as_secs();
        let settings = format!(
            "set statement_timeout = {timeout}; set tcp_keepalives_idle = {silence};
            set tcp_keepalives_interval = 10; set tcp_keepalives_count = 3"
        );
        let failed = |why: tokio_postgres::Error| failed(&why);
        client.batch_execute(&settings).await.map_err(failed)?;
        if let Some(payload) = create {
            make(client, table, *payload).await.map_err(failed)?;
        }
        for text in texts {
            statements.push(client.prepare(text).await.map_err(failed)?);
        }
        if *alone {
            let locked = client.query_one(&Table::lock(), &[&table.name()]).await.map_err(failed)?;
            if !locked.try_get::<_, bool>(0).map_err(failed)? {
                return Err(Error::new(ErrorKind::Overloaded, "another reader has the table"));
            }
        }
        Ok(())
    }

    /// Lets go of the connection.
    pub(crate) async fn forget(&self) {
        self.current.lock().await.take();
    }
}

/// Makes the table if there is none; also without the right to, if there is one.
async fn make(client: &Client, table: &Table, payload: Payload) -> Result<(), tokio_postgres::Error> {
    let there = "select to_regclass($1) is not null";
    if client.query_one(there, &[&table.name()]).await?.try_get(0)? {
        return Ok(());
    }
    match client.batch_execute(&table.create(payload)).await {
        // Who makes it at the same moment may win within the server's own catalogues.
        Err(_) if client.query_one(there, &[&table.name()]).await?.try_get(0)? => Ok(()),
        made => made,
    }
}

/// Runs a connection until it ends.
fn drive<S, T>(connection: Connection<S, T>) -> AbortHandle
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let run = async move {
        if let Err(why) = connection.await {
            tracing::debug!("the connection to postgres ended: {why}");
        }
    };
    tokio::spawn(run).abort_handle()
}

fn client(endpoint: &Endpoint, server: &Server) -> Result<Config> {
    let mut config = Config::new();
    match &server.host {
        Some(folder) => config.host_path(folder),
        None => config.host(endpoint.require_host()?),
    };
    config.port(endpoint.port().unwrap_or(5432)).application_name(&server.application_name);
    config.keepalives_idle(SILENCE).ssl_mode(match mode(server) {
        SslMode::Disable => config::SslMode::Disable,
        SslMode::Prefer => config::SslMode::Prefer,
        SslMode::Require => config::SslMode::Require,
    });
    if let Some(user) = endpoint.user().filter(|user| !user.is_empty()) {
        config.user(user);
    }
    if let Some(password) = endpoint.password() {
        config.password(password);
    }
    match endpoint.path().trim_start_matches('/') {
        "" => {}
        database => drop(config.dbname(database)),
    }
    if let Some(options) = &server.options {
        config.options(options);
    }
    Ok(config)
}

fn address(config: &Config) -> String {
    let host = match config.get_hosts() {
        [Host::Tcp(host)] => host.clone(),
        [Host::Unix(folder)] => folder.display().to_string(),
        _ => String::new(),
    };
    format!("{host}:{}", config.get_ports().first().copied().unwrap_or_default())
}

fn mode(server: &Server) -> SslMode {
    let usual = if server.tls == ClientOptions::default() { SslMode::Prefer } else { SslMode::Require };
    server.sslmode.unwrap_or(usual)
}

fn tls(server: &Server) -> Result<Option<Tls>> {
    let wrong = |why: &'static str| Err(Error::new(ErrorKind::Config, why));
    match mode(server) {
        SslMode::Require => Ok(Some(Tls(server.tls.build()?))),
        _ if server.tls != ClientOptions::default() => {
            wrong("what TLS is to trust or show needs sslmode=require")
        }
        SslMode::Prefer => {
            let anyone = ClientTls::builder().dangerously_accept_any_certificate().build()?;
            Ok(Some(Tls(anyone)))
        }
        SslMode::Disable => Ok(None),
    }
}
