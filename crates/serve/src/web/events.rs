//! `POST /events`: one packet, or a line each, answered when all are on disk.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use haul_core::{Error, ErrorKind, Info, Metadata, Packet, PacketId, Request, Response, Result};
use haul_event_log::Stored;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::Body as _;
use tokio::time::timeout;

use super::door::info;
use super::{text, with_status};
use crate::gateway::Shared;
use crate::listen::{ListenUrl, Terms};
use crate::receipt;

/// Lines of one request.
const MAX_LINES: usize = 10_000;

/// How long a request may wait until there is room for its body.
const PATIENCE: Duration = Duration::from_secs(5);

/// Headers with this before their name are metadata.
const META: &str = "x-haul-meta-";

/// The packet's id.
const ID: &str = "idempotency-key";

/// Stores what `request` has and answers its receipts: 200 if all is stored, else the status of the first refusal.
pub(super) async fn take(
    request: Request,
    url: &ListenUrl,
    max_packet: usize,
    shared: Arc<Shared>,
) -> Result<Response> {
    let counted = shared.live.request();
    let mut info = info(&request, "http", "body");
    info.facts.set("path", request.uri().path().to_owned());
    if let Some(query) = request.uri().query() {
        info.facts.set("query", query.to_owned());
    }
    let terms = url.terms(&info).map_err(|why| why.with("status", 400))?;
    let (parts, body) = request.into_parts();
    let kind = kind(&parts.headers)?;
    let metadata = metadata(&parts.headers)?;
    let id = id(&parts.headers)?;
    let most = if kind == Kind::Lines { usize::MAX } else { max_packet };
    // What will be held in memory; without a length, the most that one packet may have.
    let expected = body.size_hint().exact().unwrap_or(max_packet as u64);
    let room = timeout(PATIENCE, shared.upload(expected)).await;
    let room = room.map_err(|_| Error::new(ErrorKind::Overloaded, "too many bodies are being read"))?;
    let bytes = body.bytes(most).await?;
    let packets = match kind {
        Kind::Lines if id.is_some() => return Err(bad(format!("{ID} is one packet's, and these are many"))),
        Kind::Lines => lines(bytes, max_packet)?,
        Kind::Text => vec![Packet::text_from_utf8(bytes)?],
        Kind::Binary => vec![Packet::binary(bytes)],
    };
    let packets = packets.into_iter().map(|packet| packet.with_metadata(metadata.clone()));
    let packets = packets.map(|packet| match id {
        Some(id) => packet.with_id(id),
        None => packet,
    });
    let packets: Vec<_> = packets.collect();
    counted.brought(packets.len(), packets.iter().map(Packet::len).sum());
    // A client that goes away meanwhile has its events stored, counted and shown all the same.
    let stored = tokio::spawn(store(packets, terms, info, shared));
    let outcomes = stored.await.map_err(|why| Error::new(ErrorKind::Internal, format!("store: {why}")))?;
    drop(room);
    answer(kind, &outcomes)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Binary,
    Lines,
}

/// What a body is by its content type: without one, and from a form as plain clients say, text.
fn kind(headers: &HeaderMap) -> Result<Kind> {
    let named = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str).transpose();
    let named = named.map_err(|_| bad("Content-Type is no text"))?.unwrap_or("text/plain");
    let named = named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Ok(match named.as_str() {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Kind::Lines,
        "application/json" | "application/x-www-form-urlencoded" => Kind::Text,
        other if other.starts_with("text/") || other.ends_with("+json") => Kind::Text,
        _ => Kind::Binary,
    })
}

fn metadata(headers: &HeaderMap) -> Result<Metadata> {
    let mut metadata = Metadata::default();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix(META).filter(|name| !name.is_empty()) else { continue };
        let value =
            std::str::from_utf8(value.as_bytes()).map_err(|_| bad(format!("{META}{name} is not UTF-8")))?;
        if metadata.set(name.to_owned(), value.to_owned()).is_some() {
            return Err(bad(format!("{META}{name} is there twice")));
        }
    }
    Ok(metadata)
}

fn id(headers: &HeaderMap) -> Result<Option<PacketId>> {
    let Some(id) = headers.get(ID) else { return Ok(None) };
    let id = id.to_str().ok().and_then(|id| id.parse().ok());
    id.map(Some).ok_or_else(|| bad(format!("{ID} becomes the packet's id: it must be a UUID")))
}

/// A packet for each line that is not empty.
fn lines(bytes: Bytes, max_packet: usize) -> Result<Vec<Packet>> {
    let mut packets = Vec::new();
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let too_large = |why: String| Error::new(ErrorKind::TooLarge, why);
        if line.len() > max_packet {
            return Err(too_large(format!("line {}: {} bytes; at most {max_packet}", at + 1, line.len())));
        }
        if packets.len() == MAX_LINES {
            return Err(too_large(format!("more than {MAX_LINES} lines; send them in several requests")));
        }
        let packet = Packet::text_from_utf8(bytes.slice_ref(line));
        packets.push(packet.map_err(|why| why.while_doing(format!("line {}", at + 1)))?);
    }
    if packets.is_empty() {
        return Err(bad("there are no lines"));
    }
    Ok(packets)
}

/// Stores `packets` in their order. Answers the outcome and the session of each.
async fn store(
    packets: Vec<Packet>,
    terms: Terms,
    info: Info,
    shared: Arc<Shared>,
) -> Vec<(Result<Stored>, String)> {
    let bytes = packets.iter().map(Packet::weight).sum();
    let _bytes = shared.admit(bytes).await;
    let mut submitted = Vec::with_capacity(packets.len());
    for packet in packets {
        let (copy, event) = shared.event(packet, &terms, &info);
        let session = event.session.clone();
        submitted.push((shared.log.submit(event).await, session, copy));
    }
    let mut outcomes = Vec::with_capacity(submitted.len());
    for (appending, session, copy) in submitted {
        let outcome = match appending {
            Ok(appending) => appending.await,
            Err(why) => Err(why),
        };
        if let (Ok(stored), Some(packet)) = (&outcome, &copy) {
            shared.taps.publish(packet, &session, stored, &info);
        }
        shared.count(&outcome);
        outcomes.push((outcome, session));
    }
    outcomes
}

fn answer(kind: Kind, outcomes: &[(Result<Stored>, String)]) -> Result<Response> {
    let mut said = String::new();
    let mut status = StatusCode::OK;
    for (outcome, session) in outcomes {
        let line = match outcome {
            Ok(stored) => receipt::stored(stored, session)?,
            Err(why) => {
                if status == StatusCode::OK {
                    status = match why.kind() {
                        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                        ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
                        _ => StatusCode::SERVICE_UNAVAILABLE,
                    };
                }
                receipt::refused(why)?
            }
        };
        said.push_str(line.as_text().unwrap_or_default());
        said.push('\n');
    }
    let kind = if kind == Kind::Lines { "application/x-ndjson" } else { "application/json" };
    Ok(with_status(status, text(kind, said)))
}

fn bad(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Codec, why.into())
}
