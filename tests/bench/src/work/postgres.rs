//! Rows of a table of PostgreSQL, against the client used by hand.

use std::time::{Duration, Instant};

use haul_postgres::{PostgresConfig, PostgresSink};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use super::load::runtime;
use super::stored::{PAYLOAD, Program, WINDOW, again, batches, free_port};
use crate::measure::Sample;

/// A server of our own, on disk.
pub(crate) struct Postgres {
    port: u16,
    _program: Program,
    _folder: TempDir,
}

impl Postgres {
    /// `None` after saying what did not run.
    pub(crate) fn start() -> Option<Self> {
        let (folder, port) = (TempDir::new().expect("a folder of our own"), free_port());
        let mut initdb = haul_services::postgres("initdb", folder.path())?;
        initdb.args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "-D", "data"]);
        assert!(initdb.output().is_ok_and(|made| made.status.success()), "{initdb:?}");
        let mut server = haul_services::postgres("postgres", folder.path())?;
        server.args(["-D", "data", "-c", "listen_addresses=127.0.0.1", "-p", &port.to_string(), "-k", "."]);
        let started = Self { port, _program: Program::start(server, port), _folder: folder };
        runtime().block_on(started.client());
        Some(started)
    }

    /// Batches of haul's sink.
    pub(crate) fn haul(&self, length: Duration) -> Sample {
        runtime().block_on(async {
            self.empty().await;
            let options = format!("sslmode=disable&table=events&rows={WINDOW}");
            let url = format!("postgres://postgres@127.0.0.1:{}/postgres?{options}", self.port);
            let config =
                PostgresConfig::from_endpoint(&url.parse().expect("a URL")).expect("a configuration");
            batches(PostgresSink::new(config).expect("a sink"), 1, 4 * WINDOW, length).await
        })
    }

    /// As many rows in one statement, which answers their numbers.
    pub(crate) fn by_insert(&self, length: Duration) -> Sample {
        runtime().block_on(async {
            let client = self.empty().await;
            let text = "insert into events (payload) select unnest($1::bytea[]) returning seq";
            let statement = client.prepare(text).await.expect("a statement");
            let payloads = vec![&PAYLOAD[..]; WINDOW];
            again(length, async || {
                let rows = client.query(&statement, &[&payloads]).await.expect("they are stored");
                rows.len() as u64
            })
            .await
        })
    }

    /// As many rows in one COPY, of which nothing is answered but their number.
    pub(crate) fn by_copy(&self, length: Duration) -> Sample {
        runtime().block_on(async {
            let client = self.empty().await;
            let text = "copy events (payload) from stdin binary";
            let statement = client.prepare(text).await.expect("a statement");
            again(length, async || {
                let sink = client.copy_in(&statement).await.expect("it begins");
                let types = [tokio_postgres::types::Type::BYTEA];
                let writer = tokio_postgres::binary_copy::BinaryCopyInWriter::new(sink, &types);
                let mut writer = std::pin::pin!(writer);
                for _ in 0..WINDOW {
                    writer.as_mut().write(&[&&PAYLOAD[..]]).await.expect("a row");
                }
                writer.finish().await.expect("they are stored")
            })
            .await
        })
    }

    /// The client, and the table of haul without rows.
    async fn empty(&self) -> Client {
        let client = self.client().await;
        let table = "drop table if exists events; create table events (
            seq bigint generated always as identity primary key, id uuid unique, kind text not null default 'text',
            payload bytea not null, metadata jsonb not null default '{}', stored_at timestamptz not null default now())";
        client.batch_execute(table).await.expect("a table");
        client
    }

    async fn client(&self) -> Client {
        let (url, begun) = (format!("postgres://postgres@127.0.0.1:{}/postgres", self.port), Instant::now());
        loop {
            match tokio_postgres::connect(&url, NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    return client;
                }
                Err(why) => {
                    assert!(begun.elapsed() < Duration::from_secs(60), "postgres after 60 s: {why}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}
