//! Documents of one collection: stored by unordered inserts, with an outcome each.

use std::collections::HashSet;

use haul_core::{Error, Level, Packet, Receipt, Result, Sent, Status};
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::error::{ErrorKind as Mongo, IndexedWriteError, InsertManyError};
use mongodb::{Client, Collection};

use crate::document::Entry;
use crate::failure::{failed, is_duplicate, is_of_a_packet, not_safe, not_taken};
use crate::server::Connector;

/// Packets of one collection.
pub(crate) struct Group<'a> {
    pub(crate) database: String,
    pub(crate) collection: String,
    pub(crate) members: Vec<Member<'a>>,
}

/// A packet: where it stands in its call, and its document.
pub(crate) struct Member<'a> {
    pub(crate) place: usize,
    pub(crate) packet: &'a Packet,
    pub(crate) entry: Entry,
}

impl Member<'_> {
    fn receipt(&self, level: Level) -> Receipt {
        Receipt::new(level, self.packet.id()).with_reference(self.entry.reference(self.packet))
    }
}

impl Group<'_> {
    /// Stores all but what the server refuses for good; behind a failure that may pass nothing is tried. One outcome each.
    pub(crate) async fn store(&self, connector: &Connector) -> Vec<Result<Receipt>> {
        let client = match connector.client().await {
            Ok(client) => client,
            Err(why) => return self.members.iter().map(|_| Err(why.clone())).collect(),
        };
        let mut outcomes: Vec<Result<Receipt>> = Vec::with_capacity(self.members.len());
        // What is undone, the first of it on top.
        let mut undone = vec![&self.members[..]];
        while let Some(some) = undone.pop() {
            let told = match self.insert(connector, &client, some).await {
                Ok(told) => told,
                // It looked at none of them, as it did not like one.
                Err(why) if is_of_a_packet(&why) && some.len() > 1 => {
                    let (first, rest) = some.split_at(some.len() / 2);
                    undone.extend([rest, first]);
                    continue;
                }
                Err(why) => some.iter().map(|_| Err(why.clone())).collect(),
            };
            let mut failures = told.iter().filter_map(|outcome| outcome.as_ref().err());
            let passing = failures.find(|why| why.status() == Status::Transient).map(Error::not_tried);
            outcomes.extend(told);
            if let Some(behind) = passing {
                outcomes.resize_with(self.members.len(), || Err(behind.clone()));
                break;
            }
        }
        outcomes
    }

    /// One insert. Errors: of all its documents.
    async fn insert(
        &self,
        connector: &Connector,
        client: &Client,
        some: &[Member<'_>],
    ) -> Result<Vec<Result<Receipt>>> {
        let collection = client.database(&self.database).collection(&self.collection);
        let insert = collection.insert_many(some.iter().map(|member| &member.entry.document));
        match connector.answer(insert.ordered(false)).await? {
            Ok(_) => Ok(some.iter().map(|member| Ok(member.receipt(connector.level()))).collect()),
            Err(why) => match &*why.kind {
                Mongo::InsertMany(told) => Ok(partly(connector, &collection, some, told).await),
                _ => Err(failed(&why)),
            },
        }
    }
}

/// The outcomes of an insert of which the server did not do all.
async fn partly(
    connector: &Connector,
    collection: &Collection<RawDocumentBuf>,
    some: &[Member<'_>],
    told: &InsertManyError,
) -> Vec<Result<Receipt>> {
    let unsafely = told.write_concern_error.as_ref().map(not_safe);
    let outcome = |member: &Member<'_>| match &unsafely {
        Some(why) => Err(why.clone()),
        None => Ok(member.receipt(connector.level())),
    };
    let mut outcomes: Vec<_> = some.iter().map(outcome).collect();
    let mut unclear: Vec<&IndexedWriteError> = Vec::new();
    for why in told.write_errors.iter().flatten().filter(|why| why.index < some.len()) {
        match () {
            () if is_duplicate(why) && names_id(&why.message, collection) => {}
            () if is_duplicate(why) => unclear.push(why),
            () => outcomes[why.index] = Err(not_taken(why)),
        }
    }
    if !unclear.is_empty() {
        let asked = unclear.iter().map(|why| some[why.index].entry.id.clone()).collect();
        let there = there(connector, collection, asked).await;
        for why in unclear {
            match &there {
                Ok(there) if there.contains(&some[why.index].entry.id.to_string()) => {}
                Ok(_) => outcomes[why.index] = Err(not_taken(why)),
                Err(unknown) => outcomes[why.index] = Err(unknown.clone()),
            }
        }
    }
    outcomes
}

/// Which of these are there: a duplicate may be one of another unique index, and not every server says of which.
async fn there(
    connector: &Connector,
    collection: &Collection<RawDocumentBuf>,
    ids: Vec<Bson>,
) -> Result<HashSet<String>> {
    let collection = collection.clone_with_type::<Document>();
    let asked = async {
        let find = collection.find(doc! { "_id": { "$in": ids } });
        let (mut found, mut there) = (find.projection(doc! { "_id": 1 }).await?, HashSet::new());
        while found.advance().await? {
            there.extend(found.deserialize_current()?.remove("_id").map(|id| id.to_string()));
        }
        Ok(there)
    };
    connector.answer(asked).await?.map_err(|why| failed(&why).with_sent(Sent::Maybe))
}

/// Whether MongoDB says that it is the `_id` that is there already: it names the index behind the collection.
fn names_id(message: &str, collection: &Collection<RawDocumentBuf>) -> bool {
    let said = message.strip_prefix("E11000 duplicate key error collection: ");
    let said = said.and_then(|said| said.strip_prefix(&collection.namespace().to_string()));
    said.is_some_and(|said| said.starts_with(" index: _id_ "))
}
