//! The sink: rows, many in a statement.

use std::collections::HashMap;
use std::fmt;

use haul_core::{Batch, Calls, Error, ErrorKind, Level, Packet, Receipt, Result, Service, Sink, Status};
use tokio_postgres::Row;
use uuid::Uuid;

use crate::config::PostgresConfig;
use crate::failure::{failed, is_of_a_packet};
use crate::row::{self, Columns};
use crate::server::{Connector, Setup};
use crate::table::Table;

/// Calls at once; further ones wait. The server does one statement after the other, and each has a copy of its packets.
const CALLS: u32 = 64;

/// Bytes of packets after which a statement takes no further one.
const STATEMENT: usize = 4 << 20;

/// What is asked, by its number in the setup.
const INSERT: usize = 0;
const INSERT_PLAIN: usize = 1;
const FIND: usize = 2;

/// Delivers packets into a table of PostgreSQL. Receipts are [`Level::Stored`], with the row's `seq` as reference: the
/// transaction is committed, as safely as the server's `synchronous_commit` says. One whose row is not found, as a trigger
/// left it out or another deleted it at once, is [`Level::Acknowledged`].
///
/// What makes it idempotent: a packet's id, which is unique in the table. One that is there already is not stored again,
/// and its receipt has the `seq` of the row that is there.
///
/// A call's packets go in as one statement, which is one transaction, or several if they are more than
/// [`rows`](PostgresConfig::rows) or 4 MiB. If the server refuses one of them for good, the others go in without it, in
/// transactions of halves. They keep their order; behind a failure that may pass, nothing is tried.
///
/// Dropping a call's future leaves out what was not sent yet; a statement under way is done whole or not at all.
pub struct PostgresSink {
    config: PostgresConfig,
    connector: Connector,
    calls: Calls,
}

impl PostgresSink {
    /// A sink with this configuration; nothing is connected yet. Errors: `Config`.
    pub fn new(config: PostgresConfig) -> Result<Self> {
        config.check()?;
        let table = Table::parse(&config.table)?;
        let statements = vec![table.insert(config.payload), table.insert_plain(config.payload), table.find()];
        let create = config.create.then_some(config.payload);
        let connector = Connector::new(&config.server, Setup { table, create, statements, alone: false })?;
        Ok(Self { config, connector, calls: Calls::new(CALLS) })
    }

    fn doing(&self, why: Error) -> Error {
        why.while_doing(format!("deliver to postgres {}", self.config.table))
    }

    fn check(&self, packet: &Packet) -> Result<()> {
        if packet.len() > self.config.max_packet {
            let error = Error::new(ErrorKind::TooLarge, format!("a packet of {} bytes", packet.len()));
            return Err(error.with("max_packet", self.config.max_packet));
        }
        row::fits(packet, self.config.payload)
    }

    /// How many of the first of `packets` go in one statement.
    fn many(&self, packets: &[Packet]) -> usize {
        let mut bytes = 0;
        let fits = packets.iter().take(self.config.rows).take_while(|packet| {
            let fits = bytes < STATEMENT;
            bytes += packet.weight();
            fits
        });
        fits.count()
    }

    /// Stores all of `packets` or none, in one transaction.
    async fn insert(&self, packets: &[&Packet]) -> Result<Vec<Receipt>> {
        let stored = match row::plain(packets) {
            Some(payloads) => self.connector.ask(INSERT_PLAIN, &[&payloads]).await?,
            None => self.connector.ask(INSERT, &Columns::of(packets).parameters()).await?,
        };
        let (mut by_id, mut others) = (HashMap::new(), Vec::new());
        for row in &stored {
            match place(row)? {
                (seq, Some(id)) => drop(by_id.insert(id, seq)),
                (seq, None) => others.push(seq),
            }
        }
        let ids = packets.iter().filter_map(|packet| packet.id().map(row::uuid));
        let there: Vec<Uuid> = ids.filter(|id| !by_id.contains_key(id)).collect();
        if !there.is_empty() {
            // The transaction is committed; not to know where these are is no failure.
            for row in self.connector.ask(FIND, &[&there]).await.unwrap_or_default() {
                if let (seq, Some(id)) = place(&row)? {
                    by_id.insert(id, seq);
                }
            }
        }
        // Numbers are given in the order of the packets. Where a trigger left some out, nobody knows which.
        others.sort_unstable();
        if others.len() != packets.iter().filter(|packet| packet.id().is_none()).count() {
            others.clear();
        }
        let mut others = others.into_iter();
        let receipts = packets.iter().map(|packet| {
            let seq = match packet.id() {
                Some(id) => by_id.get(&row::uuid(id)).copied(),
                None => others.next(),
            };
            match seq {
                Some(seq) => Receipt::new(Level::Stored, packet.id()).with_reference(seq.to_string()),
                None => Receipt::new(Level::Acknowledged, packet.id()),
            }
        });
        Ok(receipts.collect())
    }

    /// Stores `packets`, without those that the server refuses for good.
    async fn store(&self, packets: &[&Packet]) -> Vec<Result<Receipt>> {
        let mut outcomes = Vec::with_capacity(packets.len());
        // What is undone, the first of it on top.
        let mut undone = vec![packets];
        while let Some(some) = undone.pop().filter(|some| !some.is_empty()) {
            match self.insert(some).await {
                Ok(receipts) => outcomes.extend(receipts.into_iter().map(Ok)),
                Err(why) if is_of_a_packet(&why) && some.len() > 1 => {
                    let (first, rest) = some.split_at(some.len() / 2);
                    undone.extend([rest, first]);
                }
                Err(why) => {
                    outcomes.extend(some.iter().map(|_| Err(why.clone())));
                    if why.status() == Status::Transient {
                        let behind = why.not_tried();
                        outcomes.resize_with(packets.len(), || Err(behind.clone()));
                        break;
                    }
                }
            }
        }
        outcomes
    }

    async fn deliver_in_order(&self, packets: &[Packet]) -> Result<Vec<Result<Receipt>>> {
        let _call = self.calls.begin().await.map_err(|why| self.doing(why))?;
        let mut outcomes: Vec<Result<Receipt>> = Vec::with_capacity(packets.len());
        while outcomes.len() < packets.len() {
            let rest = &packets[outcomes.len()..];
            let some = &rest[..self.many(rest)];
            let checked: Vec<Result<()>> = some.iter().map(|packet| self.check(packet)).collect();
            let sound = some.iter().zip(&checked).filter(|(_, checked)| checked.is_ok());
            let sound: Vec<&Packet> = sound.map(|(packet, _)| packet).collect();
            let mut stored = self.store(&sound).await.into_iter();
            let some = checked.into_iter().map(|checked| {
                let outcome = checked.and_then(|()| stored.next().expect("one outcome per sound packet"));
                outcome.map_err(|why| self.doing(why))
            });
            let begin = outcomes.len();
            outcomes.extend(some);
            let mut failures = outcomes[begin..].iter().filter_map(|outcome| outcome.as_ref().err());
            let passing = failures.find(|why| why.status() == Status::Transient).map(Error::not_tried);
            if let Some(behind) = passing {
                outcomes.resize_with(packets.len(), || Err(behind.clone()));
            }
        }
        Ok(outcomes)
    }
}

/// The `seq` and `id` of a row.
fn place(row: &Row) -> Result<(i64, Option<Uuid>)> {
    let read = || Ok((row.try_get("seq")?, row.try_get("id")?));
    read().map_err(|why| failed(&why))
}

impl Service<Batch> for PostgresSink {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.deliver_in_order(batch.packets()).await
    }
}

impl Service<Packet> for PostgresSink {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let mut outcomes = self.deliver_in_order(std::slice::from_ref(&packet)).await?;
        outcomes.pop().expect("one outcome per packet")
    }
}

impl Sink for PostgresSink {
    /// Connects, and stores no packet: the table is there, and may be written.
    async fn ready(&self) -> Result<()> {
        let _call = self.calls.begin().await.map_err(|why| self.doing(why))?;
        self.insert(&[]).await.map(drop).map_err(|why| self.doing(why))
    }

    async fn close(&self) -> Result<()> {
        self.calls.close().await;
        self.connector.forget().await;
        Ok(())
    }
}

impl fmt::Debug for PostgresSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSink").field("table", &self.config.table).finish_non_exhaustive()
    }
}
