//! The client: made on first use. Its connections find back by themselves.

use std::time::Duration;

use haul_core::{Error, ErrorKind, Level, Result};
use mongodb::Client;
use mongodb::bson::doc;
use mongodb::options::{Acknowledgment, ClientOptions, ConnectionString, WriteConcern};
use tokio::sync::Mutex;
use tokio::time;

use crate::config::Server;
use crate::failure::failed;

/// How the client is told to the server, where the connection string does not say.
const NAME: &str = "haul";

/// Connects where the configuration says.
pub(crate) struct Connector {
    connection: ConnectionString,
    connect_timeout: Duration,
    timeout: Duration,
    current: Mutex<Option<Client>>,
}

impl Connector {
    /// Errors: `Config`.
    pub(crate) fn new(server: &Server) -> Result<Self> {
        let wrong = |why: &dyn std::fmt::Display| Error::new(ErrorKind::Config, format!("mongodb: {why}"));
        let mut connection = ConnectionString::parse(&server.url).map_err(|why| wrong(&why.kind))?;
        let concern = connection.write_concern.get_or_insert_default();
        if concern.w.is_none() && concern.journal.is_none() {
            (concern.w, concern.journal) = (Some(Acknowledgment::Majority), Some(true));
        }
        if concern.w == Some(Acknowledgment::Nodes(0)) {
            return Err(wrong(&"with w=0 the server says nothing, and nobody would know; w=1 is the least"));
        }
        // The server answers before we give up.
        concern.w_timeout.get_or_insert(server.timeout);
        connection.app_name.get_or_insert_with(|| NAME.to_owned());
        connection.connect_timeout = Some(server.connect_timeout);
        connection.server_selection_timeout = Some(server.connect_timeout);
        let Server { connect_timeout, timeout, .. } = *server;
        Ok(Self { connection, connect_timeout, timeout, current: Mutex::default() })
    }

    /// What an acknowledgement with this write concern says.
    pub(crate) fn level(&self) -> Level {
        let concern = self.connection.write_concern.as_ref();
        match concern.and_then(|concern: &WriteConcern| concern.journal) {
            Some(true) => Level::Stored,
            _ => Level::Acknowledged,
        }
    }

    /// The client, made if there is none. Errors: `Config`, such as files for TLS that cannot be read.
    pub(crate) async fn client(&self) -> Result<Client> {
        let mut current = self.current.lock().await;
        if let Some(client) = &*current {
            return Ok(client.clone());
        }
        let wrong = |why: mongodb::error::Error| Error::new(ErrorKind::Config, why.kind.to_string());
        let options = ClientOptions::parse(self.connection.clone()).await.map_err(wrong)?;
        let client = Client::with_options(options).map_err(wrong)?;
        Ok(current.insert(client).clone())
    }

    /// Waits for an answer no longer than the configuration says.
    pub(crate) async fn answer<T>(
        &self,
        work: impl IntoFuture<Output = mongodb::error::Result<T>>,
    ) -> Result<mongodb::error::Result<T>> {
        let most = self.connect_timeout + self.timeout;
        let late = |_| Error::new(ErrorKind::Timeout, format!("no answer within {most:?}"));
        time::timeout(most, work.into_future()).await.map_err(late)
    }

    /// Finds a server that takes writes, and asks it with `ping`.
    pub(crate) async fn ping(&self) -> Result<()> {
        let database = self.client().await?.database("admin");
        let answered = self.answer(database.run_command(doc! { "ping": 1 })).await?;
        answered.map(drop).map_err(|why| failed(&why))
    }

    /// Lets go of the connections.
    pub(crate) async fn forget(&self) {
        self.current.lock().await.take();
    }
}
