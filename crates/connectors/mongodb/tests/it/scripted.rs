//! A server that speaks MongoDB's wire protocol, and answers inserts as it is told to: a double, for what FerretDB never says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use mongodb::bson::{Document, doc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// The one kind of message that there is: OP_MSG.
const MESSAGE: i32 = 2013;

/// What is answered to an insert.
pub(crate) enum Says {
    This(Document),
    /// The connection ends.
    Nothing,
}

pub(crate) struct Scripted {
    pub(crate) port: u16,
    script: Arc<Mutex<VecDeque<Says>>>,
    inserts: Arc<Mutex<Vec<(Document, usize)>>>,
    accepting: AbortHandle,
}

impl Scripted {
    /// Answers inserts with these, one after the other, and then with success.
    pub(crate) async fn start(script: impl IntoIterator<Item = Says>) -> Self {
        Self::taking(16 << 20, script).await
    }

    /// The same, with documents of so many bytes at most.
    pub(crate) async fn taking(largest: i32, script: impl IntoIterator<Item = Says>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Arc::new(Mutex::new(script.into_iter().collect()));
        let inserts = Arc::<Mutex<Vec<_>>>::default();
        let (script_too, inserts_too) = (script.clone(), inserts.clone());
        let accepting = tokio::spawn(async move {
            loop {
                let stream = listener.accept().await.unwrap().0;
                tokio::spawn(serve(stream, largest, script_too.clone(), inserts_too.clone()));
            }
        });
        Self { port, script, inserts, accepting: accepting.abort_handle() }
    }

    pub(crate) fn then(&self, says: Says) {
        self.script.lock().unwrap().push_back(says);
    }

    /// The inserts that came: the command, and the number of its documents.
    pub(crate) fn inserts(&self) -> Vec<(Document, usize)> {
        self.inserts.lock().unwrap().clone()
    }

    pub(crate) fn url(&self, options: &str) -> String {
        format!("mongodb://127.0.0.1:{}/db?collection=c&{options}", self.port)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    largest: i32,
    script: Arc<Mutex<VecDeque<Says>>>,
    inserts: Arc<Mutex<Vec<(Document, usize)>>>,
) -> std::io::Result<()> {
    loop {
        let length = stream.read_i32_le().await?;
        let id = stream.read_i32_le().await?;
        let mut rest = vec![0; length as usize - 8];
        stream.read_exact(&mut rest).await?;
        // Behind an answer's id, a code and flags, there is a section with the command, and one with documents.
        let (command, documents) = sections(&rest[12..]);
        let answer = match command.keys().next().map(String::as_str) {
            Some("insert") => {
                inserts.lock().unwrap().push((command, documents));
                let says = script.lock().unwrap().pop_front();
                match says {
                    Some(Says::This(answer)) => answer,
                    Some(Says::Nothing) => return Ok(()),
                    None => doc! { "ok": 1, "n": documents as i32 },
                }
            }
            Some("hello" | "isMaster" | "ismaster") => doc! {
                "ok": 1, "isWritablePrimary": true, "ismaster": true, "helloOk": true,
                "maxBsonObjectSize": largest, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
                "minWireVersion": 0, "maxWireVersion": 21,
            },
            Some("find") => doc! { "ok": 1, "cursor": { "id": 0_i64, "ns": "db.c", "firstBatch": [] } },
            _ => doc! { "ok": 1 },
        };
        let mut body = Vec::new();
        answer.to_writer(&mut body).unwrap();
        stream.write_i32_le(16 + 4 + 1 + body.len() as i32).await?;
        for number in [0, id, MESSAGE, 0] {
            stream.write_i32_le(number).await?;
        }
        stream.write_u8(0).await?;
        stream.write_all(&body).await?;
    }
}

/// The command of a message, and how many documents stand in its sequences.
fn sections(mut bytes: &[u8]) -> (Document, usize) {
    let (mut command, mut documents) = (None, 0);
    while let [kind, rest @ ..] = bytes {
        let size = i32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        let (section, behind) = rest.split_at(size);
        if *kind == 0 {
            command = Some(Document::from_reader(section).unwrap());
        } else {
            let name = section[4..].iter().position(|byte| *byte == 0).unwrap();
            let mut inside = &section[4 + name + 1..];
            while !inside.is_empty() {
                let size = i32::from_le_bytes(inside[..4].try_into().unwrap()) as usize;
                inside = &inside[size..];
                documents += 1;
            }
        }
        bytes = behind;
    }
    (command.expect("a command"), documents)
}
