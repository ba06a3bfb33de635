//! Documents of a collection, against the driver used by hand. The server is FerretDB, which speaks as MongoDB does.

use std::time::Duration;

use haul_mongodb::{MongoConfig, MongoSink};
use mongodb::Client;
use mongodb::bson::{DateTime, Document, doc};
use tempfile::TempDir;

use super::load::runtime;
use super::stored::{PAYLOAD, Program, WINDOW, again, batches, free_port};
use crate::measure::Sample;

/// A server of our own, on disk.
pub(crate) struct Ferret {
    port: u16,
    _program: Program,
    _folder: TempDir,
}

impl Ferret {
    /// `None` after saying what did not run.
    pub(crate) fn start() -> Option<Self> {
        let (mut command, port) = (haul_services::ferretdb()?, free_port());
        let folder = TempDir::new().expect("a folder of our own");
        let here = folder.path().display();
        command
            .args(["--handler=sqlite", "--debug-addr=-", "--telemetry=disable", "--log-level=error"])
            .arg(format!("--sqlite-url=file:{here}/?_pragma=synchronous(off)"))
            .arg(format!("--state-dir={here}"))
            .arg(format!("--listen-addr=127.0.0.1:{port}"));
        Some(Self { port, _program: Program::start(command, port), _folder: folder })
    }

    /// Batches of haul's sink.
    pub(crate) fn haul(&self, length: Duration) -> Sample {
        runtime().block_on(async {
            self.empty().await;
            let url = format!("{}?collection=bench&documents={WINDOW}", self.url());
            let config = MongoConfig::from_endpoint(&url.parse().expect("a URL")).expect("a configuration");
            batches(MongoSink::new(config).expect("a sink"), 1, 4 * WINDOW, length).await
        })
    }

    /// As many of the same documents in one insert.
    pub(crate) fn by_hand(&self, length: Duration) -> Sample {
        runtime().block_on(async {
            let collection = self.empty().await.database("db").collection::<Document>("bench");
            let payload = std::str::from_utf8(&PAYLOAD).expect("digits");
            let mut seq = 0_i64;
            again(length, async || {
                let documents = (0..WINDOW).map(|_| {
                    seq += 1;
                    let (metadata, sent_at) = (Document::new(), DateTime::now());
                    doc! { "seq": seq, "kind": "text", "payload": payload, "metadata": metadata, "sent_at": sent_at }
                });
                let inserted = collection.insert_many(documents).ordered(false).await;
                inserted.expect("they are stored").inserted_ids.len() as u64
            })
            .await
        })
    }

    /// The driver, and no collection.
    async fn empty(&self) -> Client {
        let client = Client::with_uri_str(self.url()).await.expect("a URL");
        client.database("db").drop().await.expect("the server is there");
        client
    }

    fn url(&self) -> String {
        format!("mongodb://127.0.0.1:{}/db", self.port)
    }
}
