//! Sinks, sources, and what is in a table.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use haul_core::{Endpoint, Error, ErrorKind, Sent, Status};
use haul_postgres::{PostgresConfig, PostgresSink, PostgresSource, QueueConfig};

use crate::server::Postgres;

pub(crate) fn sink(url: &str) -> PostgresSink {
    PostgresSink::new(PostgresConfig::from_endpoint(&Endpoint::parse(url).unwrap()).unwrap()).unwrap()
}

pub(crate) fn queue(url: &str) -> PostgresSource {
    PostgresSource::new(QueueConfig::from_endpoint(&Endpoint::parse(url).unwrap()).unwrap()).unwrap()
}

/// A table that nobody used.
pub(crate) fn fresh(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{name}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What psql finds in a table, in order; nothing where there is none.
pub(crate) async fn payloads(postgres: &Arc<Postgres>, table: &str) -> Vec<Bytes> {
    let (postgres, table) = (postgres.clone(), table.to_owned());
    let read = tokio::task::spawn_blocking(move || {
        if postgres.psql(&format!("select to_regclass('{table}') is null")) == "t" {
            return String::new();
        }
        // A line each, also of what is empty.
        postgres.psql(&format!("select 'x' || encode(payload, 'hex') from {table} order by seq"))
    });
    let text = read.await.unwrap();
    text.lines().map(|line| Bytes::from(unhex(&line[1..]))).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// Kind, status, and whether it was sent.
pub(crate) fn facts(why: &Error) -> (ErrorKind, Status, Sent) {
    (why.kind(), why.status(), why.sent())
}

pub(crate) async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .unwrap_or_else(|_| panic!("waited 60 s for {what}"))
}
