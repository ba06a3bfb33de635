//! A double of Google's servers: it takes entries and gives tokens as the API reference says, and answers as a test says.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use haul_tls::ServerTls;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// What was asked: the path, its bearer or metadata flavor, and the body.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) shown: String,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn entries(&self) -> Vec<Value> {
        self.json()["entries"].as_array().unwrap().clone()
    }
}

pub(crate) struct Double {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Asked>>>,
    task: AbortHandle,
}

type Answer = dyn Fn(&Asked) -> (u16, Value) + Send + Sync;

impl Double {
    /// A server that takes all entries.
    pub(crate) async fn taking_all() -> Self {
        Self::start(|_| (200, json!({}))).await
    }

    /// The same, behind TLS.
    pub(crate) async fn behind(tls: ServerTls) -> Self {
        Self::serving(|_| (200, json!({})), Some(tls)).await
    }

    pub(crate) async fn start(answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static) -> Self {
        Self::serving(answer, None).await
    }

    async fn serving(
        answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static,
        tls: Option<ServerTls>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, answer) = (Arc::new(Mutex::default()), Arc::new(answer) as Arc<Answer>);
        let task = tokio::spawn({
            let seen = seen.clone();
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (seen, answer, tls) = (seen.clone(), answer.clone(), tls.clone());
                    tokio::spawn(async move {
                        match tls {
                            Some(tls) => serve(tls.accept(stream).await.ok()?, &seen, &*answer).await,
                            None => serve(stream, &seen, &*answer).await,
                        }
                    });
                }
            }
        });
        Self { port, seen, task: task.abort_handle() }
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.seen.lock().unwrap().clone()
    }

    /// The payloads of all entries that were written, by what the README says of them.
    pub(crate) fn payloads(&self) -> Vec<Bytes> {
        let writes = self.asked().into_iter().filter(|asked| asked.json()["dryRun"] == false);
        let payload = |entry: Value| {
            let text = entry["textPayload"].as_str().unwrap();
            match entry["labels"]["haul.kind"].as_str() {
                Some(_) => Bytes::from(BASE64.decode(text).unwrap()),
                None => Bytes::from(text.to_owned()),
            }
        };
        writes.flat_map(|asked| asked.entries()).map(payload).collect()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `None` at the end of the connection.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    seen: &Mutex<Vec<Asked>>,
    answer: &Answer,
) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut path, mut shown, mut length) = (String::new(), String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                _ if path.is_empty() => path = line.split(' ').nth(1)?.to_owned(),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse().ok()?;
                }
                Some(("authorization" | "metadata-flavor", value)) => shown = value.to_owned(),
                None if line.trim_end().is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let asked = Asked { path, shown, body: String::from_utf8(body).ok()? };
        let (status, said) = answer(&asked);
        seen.lock().unwrap().push(asked);
        let said = said.to_string();
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", said.len());
        stream.write_all((head + &said).as_bytes()).await.ok()?;
    }
}
