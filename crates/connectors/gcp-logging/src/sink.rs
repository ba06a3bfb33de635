//! The sink: entries, many in a request.

use std::fmt;

use bytes::Bytes;
use haul_core::{Batch, Calls, Error, ErrorKind, Level, Packet, Receipt, Result, Service, Sink, Status};
use http::{Method, Request, StatusCode, header};
use serde_json::json;

use crate::client::Client;
use crate::config::GcpLoggingConfig;
use crate::entry::entry;
use crate::failure::Refusal;
use crate::token::Tokens;

/// Calls at once; further ones wait.
const CALLS: u32 = 1024;

/// Entries and bytes of a request, which may have 10 MB ("Cloud Logging quotas and limits").
const ENTRIES: usize = 1000;
const REQUEST: usize = 8 << 20;

/// Delivers packets to a log. Receipts are [`Level::Stored`]; the server names nothing that could be their reference.
///
/// What makes it idempotent: a packet's id, as `insertId`, together with the time that a version 7 id has; of entries that
/// have both in common a query shows one.
///
/// The packets of a call are sent in order, one request after the other; after a failure that may pass, nothing behind its
/// request is tried. Dropping a call's future cuts the request under way, which may have arrived.
pub struct GcpLoggingSink {
    config: GcpLoggingConfig,
    client: Client,
    tokens: Tokens,
    uri: String,
    calls: Calls,
}

impl GcpLoggingSink {
    /// A sink with this configuration; nothing is connected yet. Errors: `Config`.
    pub fn new(config: GcpLoggingConfig) -> Result<Self> {
        config.check()?;
        Ok(Self {
            client: Client::new(&config)?,
            tokens: Tokens::new(&config)?,
            uri: format!("{}/v2/entries:write", config.endpoint.trim_end_matches('/')),
            calls: Calls::new(CALLS),
            config,
        })
    }

    fn doing(&self, why: Error) -> Error {
        why.while_doing(format!("deliver to gcp-logging {}/{}", self.config.project, self.config.log))
    }

    /// Sends the first of `packets`, as many as one request takes; answers their outcomes.
    async fn request(&self, packets: &[Packet]) -> Vec<Result<Receipt>> {
        let (mut entries, mut bytes, mut parts): (Vec<String>, _, _) = (Vec::new(), 0, Vec::new());
        for packet in packets {
            let entry = entry(packet, &self.config);
            if let Ok(entry) = &entry {
                bytes += entry.len() + 1;
                if entries.len() == ENTRIES || bytes > REQUEST {
                    break;
                }
            }
            parts.push(entry.map(|entry| entries.push(entry)));
        }
        let mut answers = self.write(&entries).await.into_iter();
        let outcomes = packets.iter().zip(parts).map(|(packet, part)| {
            part.and_then(|()| answers.next().expect("one answer per entry"))
                .map(|()| Receipt::new(Level::Stored, packet.id()))
                .map_err(|why| self.doing(why))
        });
        outcomes.collect()
    }

    /// Writes entries in one request; answers what became of each.
    async fn write(&self, entries: &[String]) -> Vec<Result<()>> {
        if entries.is_empty() {
            return Vec::new();
        }
        let all = |outcome: Result<()>| vec![outcome; entries.len()];
        match self.post(entries, false).await {
            Err(why) => all(Err(why)),
            Ok((status, _)) if status.is_success() => all(Ok(())),
            Ok((status, body)) => {
                let refusal = Refusal::read(&body);
                match refusal.entries() {
                    None => all(Err(refusal.whole(status))),
                    Some(mut bad) => {
                        (0..entries.len()).map(|place| bad.remove(&place).map_or(Ok(()), Err)).collect()
                    }
                }
            }
        }
    }

    /// Posts entries; a token that is refused is replaced once.
    async fn post(&self, entries: &[String], dry: bool) -> Result<(StatusCode, Bytes)> {
        let log: String = self.config.log.bytes().map(escaped).collect();
        let head = json!({
            "logName": format!("projects/{}/logs/{log}", self.config.project),
            "resource": {
                "type": self.config.resource,
                "labels": self.config.resource_labels.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
            },
            "partialSuccess": true,
            "dryRun": dry,
        });
        let head = head.to_string();
        let body = format!("{},\"entries\":[{}]}}", &head[..head.len() - 1], entries.join(","));
        let mut again = true;
        loop {
            let token = self.tokens.token(&self.client).await?;
            let request = Request::builder()
                .method(Method::POST)
                .uri(&self.uri)
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::AUTHORIZATION, format!("Bearer {token}"))
                .body(body.clone());
            let wrong = |why: http::Error| Error::new(ErrorKind::Config, format!("a request: {why}"));
            let answer = self.client.send(request.map_err(wrong)?).await?;
            if answer.0 != StatusCode::UNAUTHORIZED || !self.tokens.forget(&token).await || !again {
                return Ok(answer);
            }
            again = false;
        }
    }

    async fn deliver_in_order(&self, packets: &[Packet]) -> Result<Vec<Result<Receipt>>> {
        let _call = self.calls.begin().await.map_err(|why| self.doing(why))?;
        let mut outcomes: Vec<Result<Receipt>> = Vec::with_capacity(packets.len());
        while outcomes.len() < packets.len() {
            let some = self.request(&packets[outcomes.len()..]).await;
            let mut failures = some.iter().filter_map(|outcome| outcome.as_ref().err());
            let passing = failures.find(|why| why.status() == Status::Transient).map(Error::not_tried);
            outcomes.extend(some);
            if let Some(behind) = passing {
                outcomes.resize_with(packets.len(), || Err(behind.clone()));
            }
        }
        Ok(outcomes)
    }
}

/// A byte of a log's name as it stands in a URL ("LogEntry.logName": a slash is `%2F`).
fn escaped(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    }
}

impl Service<Batch> for GcpLoggingSink {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.deliver_in_order(batch.packets()).await
    }
}

impl Service<Packet> for GcpLoggingSink {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        let mut outcomes = self.deliver_in_order(std::slice::from_ref(&packet)).await?;
        outcomes.pop().expect("one outcome per packet")
    }
}

impl Sink for GcpLoggingSink {
    /// Asks whether an entry would be written, without writing it.
    async fn ready(&self) -> Result<()> {
        let _call = self.calls.begin().await.map_err(|why| self.doing(why))?;
        let probe = r#"{"severity":"DEFAULT","textPayload":"ready"}"#.to_owned();
        let (status, body) = self.post(&[probe], true).await.map_err(|why| self.doing(why))?;
        match status.is_success() {
            true => Ok(()),
            false => Err(self.doing(Refusal::read(&body).whole(status))),
        }
    }

    async fn close(&self) -> Result<()> {
        self.calls.close().await;
        Ok(())
    }
}

impl fmt::Debug for GcpLoggingSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcpLoggingSink").field("config", &self.config).finish_non_exhaustive()
    }
}
