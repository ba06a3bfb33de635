//! The sink: documents, many in an insert.

use std::fmt;

use haul_core::{Batch, Calls, Error, ErrorKind, Packet, Receipt, Result, Sent, Service, Sink, Status};

use crate::config::MongoConfig;
use crate::document::{Entry, Numbers};
use crate::insert::{Group, Member};
use crate::server::Connector;

/// Calls at once; further ones wait. Each has a copy of its packets.
const CALLS: u32 = 64;

/// Bytes of documents after which an insert takes no further one. With one more of the largest, a message stays below the
/// 48 MB that a server takes.
const INSERT: usize = 4 << 20;

/// The order of all documents of this program.
static NUMBERS: Numbers = Numbers::new();

/// Delivers packets into collections of MongoDB. With `journal=true`, as usual, receipts are [`Level::Stored`]: as many
/// servers as `w` says have it in their journals. Otherwise they are [`Level::Acknowledged`]: those servers have it in memory.
/// The reference is the `_id`.
///
/// What makes it idempotent: a packet's id, which is the `_id`. One that is there already is not stored again, and its
/// receipt is that of the first.
///
/// A call's packets go in as one unordered insert, or several if they are more than
/// [`documents`](MongoConfig::documents), 4 MiB, or of several collections. Their order is that of the field `seq`. What the
/// server refuses for good fails alone; behind an insert with a failure that may pass nothing is tried.
///
/// Dropping a call's future leaves out what was not sent yet; of an insert under way, the server may take any part.
///
/// [`Level::Stored`]: haul_core::Level::Stored
/// [`Level::Acknowledged`]: haul_core::Level::Acknowledged
pub struct MongoSink {
    config: MongoConfig,
    connector: Connector,
    calls: Calls,
}

impl MongoSink {
    /// A sink with this configuration; nothing is connected yet. Errors: `Config`.
    pub fn new(config: MongoConfig) -> Result<Self> {
        config.check()?;
        let connector = Connector::new(&config.server)?;
        Ok(Self { config, connector, calls: Calls::new(CALLS) })
    }

    fn doing(&self, why: Error) -> Error {
        why.while_doing(format!("deliver to mongodb {}", self.config.place()))
    }

    fn entry(&self, packet: &Packet) -> Result<(String, String, Entry)> {
        if packet.len() > self.config.max_packet {
            let error = Error::new(ErrorKind::TooLarge, format!("a packet of {} bytes", packet.len()));
            return Err(error.with("max_packet", self.config.max_packet).with_sent(Sent::No));
        }
        let database = self.config.database.render(packet)?.into_owned();
        let collection = self.config.collection.render(packet)?.into_owned();
        Ok((database, collection, Entry::new(packet, self.config.payload, NUMBERS.next())?))
    }

    /// Delivers the first of `packets`, as many as go in one insert if they are of one collection; answers their outcomes.
    async fn deliver_some(&self, packets: &[Packet]) -> Vec<Result<Receipt>> {
        let (mut outcomes, mut groups, mut bytes) = (Vec::new(), Vec::<Group<'_>>::new(), 0);
        for (place, packet) in packets.iter().take(self.config.documents).enumerate() {
            if bytes >= INSERT {
                break;
            }
            match self.entry(packet) {
                Ok((database, collection, entry)) => {
                    bytes += entry.document.as_bytes().len();
                    outcomes.push(None);
                    let same =
                        |group: &Group<'_>| (&group.database, &group.collection) == (&database, &collection);
                    let at = groups.iter().position(same).unwrap_or_else(|| {
                        groups.push(Group { database, collection, members: Vec::new() });
                        groups.len() - 1
                    });
                    groups[at].members.push(Member { place, packet, entry });
                }
                Err(why) => outcomes.push(Some(Err(why))),
            }
        }
        let mut passing: Option<Error> = None;
        for group in &groups {
            let told = match &passing {
                Some(why) => group.members.iter().map(|_| Err(why.clone())).collect(),
                None => group.store(&self.connector).await,
            };
            for (member, outcome) in group.members.iter().zip(told) {
                if let (None, Err(why)) = (&passing, &outcome)
                    && why.status() == Status::Transient
                {
                    passing = Some(why.not_tried());
                }
                outcomes[member.place] = Some(outcome);
            }
        }
        outcomes.into_iter().map(|outcome| outcome.expect("each is of a group, or has its error")).collect()
    }

    async fn deliver_in_order(&self, packets: &[Packet]) -> Result<Vec<Result<Receipt>>> {
        let _call = self.calls.begin().await.map_err(|why| self.doing(why))?;
        let mut outcomes: Vec<Result<Receipt>> = Vec::with_capacity(packets.len());
        while outcomes.len() < packets.len() {
            let some = self.deliver_some(&packets[outcomes.len()..]).await;
            let mut failures = some.iter().filter_map(|outcome| outcome.as_ref().err());
            let passing = failures.find(|why| why.status() == Status::Transient).map(Error::not_tried);
            outcomes.extend(some.into_iter().map(|outcome| outcome.map_err(|why| self.doing(why))));
            if let Some(behind) = passing {
                let behind = self.doing(behind);
                outcomes.resize_with(packets.len(), || Err(behind.clone()));
            }
        }
        Ok(outcomes)
    }
}

impl Service<Batch> for MongoSink {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.deliver_in_order(batch.packets()).await
    }
}

impl Service<Packet> for MongoSink {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let mut outcomes = self.deliver_in_order(std::slice::from_ref(&packet)).await?;
        outcomes.pop().expect("one outcome per packet")
    }
}

impl Sink for MongoSink {
    /// Finds a server that takes writes, logs in, and asks it with `ping`.
    async fn ready(&self) -> Result<()> {
        let _call = self.calls.begin().await.map_err(|why| self.doing(why))?;
        self.connector.ping().await.map_err(|why| self.doing(why))
    }

    async fn close(&self) -> Result<()> {
        self.calls.close().await;
        self.connector.forget().await;
        Ok(())
    }
}

impl fmt::Debug for MongoSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoSink").field("to", &self.config.place()).finish_non_exhaustive()
    }
}
