//! What goes into one request, and what its answer says of each packet.

use std::io::Write;
use std::time::SystemTime;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use haul_core::{Body, Error, ErrorKind, Level, Packet, Receipt, Result, Sent};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::encode;
use crate::config::{BatchAs, HttpConfig, MetadataAs};
use crate::parse;

/// Makes requests of packets.
pub(super) struct Plan {
    config: HttpConfig,
    metadata: MetadataAs,
    /// Of each request.
    fixed: HeaderMap,
    reference: HeaderName,
    idempotency: Option<HeaderName>,
}

/// One request.
pub(super) struct Letter {
    /// How many of the packets are in it.
    pub(super) packets: usize,
    pub(super) body: Body,
    pub(super) headers: HeaderMap,
}

impl Plan {
    pub(super) fn new(config: HttpConfig) -> Result<Self> {
        let name = |what: &str, name: &str| {
            HeaderName::try_from(name).map_err(|_| {
                Error::new(ErrorKind::Config, format!("{what}={name}: it is no name of a header"))
            })
        };
        let mut fixed = HeaderMap::new();
        if let Some(own) = &config.content_type {
            let given = [("content-type".to_owned(), own.clone())];
            fixed = parse::header_map(given.iter().map(|(name, value)| (name, value)))?;
        }
        if config.gzip {
            fixed.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let key = (!config.idempotency.is_empty()).then(|| name("idempotency", &config.idempotency));
        Ok(Self {
            metadata: config.metadata(),
            fixed,
            reference: name("reference", &config.reference)?,
            idempotency: key.transpose()?,
            config,
        })
    }

    pub(super) fn method(&self) -> http::Method {
        self.config.method.into()
    }

    /// The next request, of at least the first of `packets`, which is not empty. Errors: why the first cannot be sent.
    pub(super) fn next(&self, packets: &[Packet], now: SystemTime) -> Result<Letter> {
        let (first, rest) = packets.split_first().expect("there is a packet");
        self.fits(first)?;
        let mut headers = self.fixed.clone();
        if self.metadata == MetadataAs::Headers {
            encode::headers(first, &self.config.header_prefix, &mut headers)?;
        }
        if self.config.batch == BatchAs::None && self.metadata != MetadataAs::Envelope {
            if self.metadata == MetadataAs::None {
                encode::no_metadata(first)?;
            }
            headers.entry(CONTENT_TYPE).or_insert_with(|| encode::content_type(first));
            return self.letter(&packets[..1], headers, first.payload().clone());
        }
        let (open, between, close, media) = match self.config.batch {
            BatchAs::None => (&b""[..], &b""[..], &b""[..], "application/json"),
            BatchAs::Json => (&b"["[..], &b","[..], &b"]"[..], "application/json"),
            BatchAs::Ndjson => (&b""[..], &b""[..], &b""[..], "application/x-ndjson"),
        };
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(media));
        let timestamp = rfc3339(now);
        let mut body = open.to_vec();
        self.encode(first, &timestamp, &mut body)?;
        let most = if self.config.batch == BatchAs::None { 0 } else { self.config.max_batch - 1 };
        let mut many = 1;
        for packet in rest.iter().take(most) {
            let end = body.len();
            body.extend_from_slice(between);
            // What cannot be sent, or not in this request, is for the next to tell.
            let encoded = self.fits(packet).and_then(|()| self.encode(packet, &timestamp, &mut body));
            if encoded.is_err() || body.len() > self.config.max_batch_bytes {
                body.truncate(end);
                break;
            }
            many += 1;
        }
        body.extend_from_slice(close);
        self.letter(&packets[..many], headers, body.into())
    }

    fn fits(&self, packet: &Packet) -> Result<()> {
        let max = self.config.max_packet;
        if packet.len() <= max {
            return Ok(());
        }
        let message = format!("a payload of {} bytes, and max_packet={max}", packet.len());
        Err(Error::new(ErrorKind::TooLarge, message).with_sent(Sent::No))
    }

    fn encode(&self, packet: &Packet, timestamp: &str, body: &mut Vec<u8>) -> Result<()> {
        match self.metadata {
            MetadataAs::Envelope => encode::envelope(packet, timestamp, body)?,
            MetadataAs::Headers | MetadataAs::None => encode::bare(packet, body)?,
        }
        if self.config.batch == BatchAs::Ndjson {
            body.push(b'\n');
        }
        Ok(())
    }

    fn letter(&self, packets: &[Packet], mut headers: HeaderMap, mut body: Bytes) -> Result<Letter> {
        if let Some(name) = &self.idempotency
            && let Some(key) = key(packets)
        {
            headers.insert(name, key);
        }
        if self.config.gzip {
            let mut gzip = GzEncoder::new(Vec::with_capacity(body.len() / 4 + 64), Compression::fast());
            gzip.write_all(&body)?;
            body = gzip.finish()?.into();
        }
        Ok(Letter { packets: packets.len(), body: Body::from(body), headers })
    }

    /// The receipt of a packet that went in a request with this answer.
    pub(super) fn receipt(&self, packet: &Packet, answer: &HeaderMap) -> Receipt {
        let receipt = Receipt::new(Level::Acknowledged, packet.id());
        match answer.get(&self.reference).and_then(|name| name.to_str().ok()) {
            Some(name) => receipt.with_reference(name.to_owned()),
            None => receipt,
        }
    }
}

/// A single packet's id; of several a digest of their ids, if all have one: the same packets have the same key.
fn key(packets: &[Packet]) -> Option<HeaderValue> {
    let text = match packets {
        [only] => only.id()?.to_string(),
        many => {
            let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
            for packet in many {
                digest.update(packet.id()?.as_bytes());
            }
            digest.finish().as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
        }
    };
    HeaderValue::try_from(text).ok()
}

fn rfc3339(time: SystemTime) -> String {
    // A clock far outside of any calendar has no such form.
    jiff::Timestamp::try_from(time).map(|time| format!("{time:.6}")).unwrap_or_default()
}
