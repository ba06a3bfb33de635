//! Sinks, and what is in a collection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use haul_core::{Endpoint, Error, ErrorKind, PacketId, Sent, Status};
use haul_mongodb::{MongoConfig, MongoSink};
use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};

pub(crate) fn sink(url: &str) -> MongoSink {
    MongoSink::new(MongoConfig::from_endpoint(&Endpoint::parse(url).unwrap()).unwrap()).unwrap()
}

/// A collection that nobody used.
pub(crate) fn fresh(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{name}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn id(number: u8) -> PacketId {
    PacketId::from_bytes([number; 16])
}

/// The documents of a collection in the order of `seq`, asked by the client library itself.
pub(crate) async fn documents(port: u16, database: &str, collection: &str) -> Vec<Document> {
    let client = Client::with_uri_str(format!("mongodb://127.0.0.1:{port}")).await.unwrap();
    let collection = client.database(database).collection::<Document>(collection);
    let mut found = collection.find(doc! {}).sort(doc! { "seq": 1 }).await.unwrap();
    let mut all = Vec::new();
    while found.advance().await.unwrap() {
        all.push(found.deserialize_current().unwrap());
    }
    let seq = |document: &Document| document.get_i64("seq").unwrap();
    assert!(all.is_sorted_by(|a, b| seq(a) < seq(b)), "the order is not told by seq");
    all
}

/// Their payloads.
pub(crate) async fn payloads(port: u16, collection: &str) -> Vec<Bytes> {
    let payload = |mut document: Document| match document.remove("payload") {
        Some(Bson::String(text)) => Bytes::from(text),
        Some(Bson::Binary(binary)) => Bytes::from(binary.bytes),
        other => panic!("the payload is {other:?}"),
    };
    documents(port, "db", collection).await.into_iter().map(payload).collect()
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
