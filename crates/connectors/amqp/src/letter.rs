//! A packet as a message of AMQP, and back.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use haul_core::{Error, ErrorKind, Kind, Metadata, Packet, Result, Sent};
use lapin::BasicProperties;
use lapin::message::{BasicReturnMessage, Delivery};
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::config::{AmqpConfig, DeliveryMode, ExchangeType};

const TEXT: &str = "text/plain; charset=utf-8";
const BINARY: &str = "application/octet-stream";

/// Bytes of a content header beside metadata: the properties of fixed size, and the longest short texts among them.
const HEADER: usize = 512;

/// A message and where it goes.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    pub(crate) properties: BasicProperties,
    pub(crate) payload: Bytes,
    /// Bytes of its header, about; it must fit into one frame.
    pub(crate) header: usize,
    /// A confirm says that it is on disk.
    pub(crate) stored: bool,
}

impl Letter {
    /// Errors: what cannot be carried, `Unsupported` or `TooLarge`; what the packet lacks, `Rejected`.
    pub(crate) fn new(packet: &Packet, config: &AmqpConfig, now: SystemTime) -> Result<Self> {
        if packet.len() > config.max_packet {
            let error = Error::new(ErrorKind::TooLarge, format!("a packet of {} bytes", packet.len()));
            return Err(error.with("max_packet", config.max_packet).with_sent(Sent::No));
        }
        let exchange = config.exchange.render(packet)?;
        let key = match (&config.routing_key, &config.queue) {
            (Some(key), _) => key.render(packet)?,
            (None, Some(queue)) if exchange.is_empty() => queue.as_str().into(),
            (None, _) => "".into(),
        };
        let stored = stores(config, &exchange, &key);
        Ok(Self {
            exchange: short(&exchange, "exchange")?,
            routing_key: short(&key, "routing key")?,
            properties: properties(packet, config, now)?,
            payload: packet.payload().clone(),
            header: HEADER + packet.metadata().size() + 6 * packet.metadata().len(),
            stored,
        })
    }

    /// Whether `returned` is this message: two that are the same in all are one as good as the other.
    pub(crate) fn is(&self, returned: &BasicReturnMessage) -> bool {
        self.looks_like(returned) && self.properties == returned.properties
    }

    /// The same, if a plugin of the server has changed its properties.
    pub(crate) fn looks_like(&self, returned: &BasicReturnMessage) -> bool {
        self.exchange == returned.exchange
            && self.routing_key == returned.routing_key
            && self.properties.message_id() == returned.properties.message_id()
            && self.payload == returned.data
    }
}

/// Whether the durable queue that was declared takes it, and writes it to disk before the confirm.
fn stores(config: &AmqpConfig, exchange: &str, key: &str) -> bool {
    let Some(queue) = &config.queue else { return false };
    let reaches = match config.exchange_type {
        _ if exchange.is_empty() => key == queue,
        Some(ExchangeType::Fanout) => true,
        Some(ExchangeType::Direct | ExchangeType::Topic) => key == config.binding,
        Some(ExchangeType::Headers) | None => false,
    };
    // Without `mandatory` a confirm is also given for what no queue took, if the queue is gone since.
    reaches && config.declare && config.mandatory && config.delivery_mode == DeliveryMode::Persistent
}

fn properties(packet: &Packet, config: &AmqpConfig, now: SystemTime) -> Result<BasicProperties> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut properties = BasicProperties::default()
        .with_content_type(if packet.kind() == Kind::Text { TEXT.into() } else { BINARY.into() })
        .with_delivery_mode(if config.delivery_mode == DeliveryMode::Persistent { 2 } else { 1 })
        .with_timestamp(since.as_secs());
    if let Some(id) = packet.id() {
        properties = properties.with_message_id(id.to_string().into());
    }
    if let Some(priority) = config.priority {
        properties = properties.with_priority(priority);
    }
    if let Some(after) = config.expiration {
        properties = properties.with_expiration(Duration::as_millis(&after).to_string().into());
    }
    if packet.metadata().is_empty() {
        return Ok(properties);
    }
    let mut headers = FieldTable::default();
    for (name, value) in packet.metadata().iter() {
        if matches!(name, "CC" | "BCC") {
            let why = format!("metadata {name} would send the packet to further queues: name it otherwise");
            return Err(Error::new(ErrorKind::Unsupported, why).with_sent(Sent::No));
        }
        headers.insert(short(name, "metadata name")?, AMQPValue::LongString(value.into()));
    }
    Ok(properties.with_headers(headers))
}

/// A short text of AMQP: 255 bytes.
pub(crate) fn short(text: &str, what: &str) -> Result<ShortString> {
    ShortString::try_new(text).map_err(|_| {
        let why = format!("{what} of {} bytes; AMQP carries 255", text.len());
        Error::new(ErrorKind::Unsupported, why).with_sent(Sent::No)
    })
}

/// The packet of a message. What is text by its content type or by its bytes becomes text; properties that packets do not have
/// become metadata of their names, and so do headers.
pub(crate) fn packet(message: &mut Delivery) -> Packet {
    let payload = Bytes::from(std::mem::take(&mut message.data));
    let (properties, mut metadata) = (&message.properties, Metadata::new());
    for (name, value) in properties.headers().iter().flat_map(FieldTable::inner) {
        metadata.set(name.to_string(), text_of(value));
    }
    let id = properties.message_id().as_ref().map(|id| (id, id.as_str().parse()));
    let kind = properties.content_type().as_ref().map(ShortString::as_str);
    let others = [
        (
            "content_type",
            properties.content_type().as_ref().filter(|kind| ![TEXT, BINARY].contains(&kind.as_str())),
        ),
        ("content_encoding", properties.content_encoding().as_ref()),
        ("correlation_id", properties.correlation_id().as_ref()),
        ("reply_to", properties.reply_to().as_ref()),
        ("message_id", id.as_ref().filter(|(_, id)| id.is_err()).map(|(id, _)| *id)),
        ("type", properties.kind().as_ref()),
        ("user_id", properties.user_id().as_ref()),
        ("app_id", properties.app_id().as_ref()),
    ];
    for (name, value) in others {
        if let Some(value) = value
            && metadata.get(name).is_none()
        {
            metadata.set(name, value.to_string());
        }
    }
    let packet = match kind {
        Some(BINARY) => Packet::binary(payload),
        _ => Packet::text_from_utf8(payload.clone()).unwrap_or_else(|_| Packet::binary(payload)),
    };
    let packet = packet.with_metadata(metadata);
    match id {
        Some((_, Ok(id))) => packet.with_id(id),
        _ => packet,
    }
}

/// Text as it is, anything else as JSON.
fn text_of(value: &AMQPValue) -> String {
    match json(value) {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

fn json(value: &AMQPValue) -> serde_json::Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Float(value) => (*value).into(),
        AMQPValue::Double(value) => (*value).into(),
        AMQPValue::DecimalValue(value) => format!("{}e-{}", value.value, value.scale).into(),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => text.to_string().into(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(json).collect(),
        AMQPValue::Timestamp(seconds) => (*seconds).into(),
        AMQPValue::FieldTable(table) => {
            table.inner().iter().map(|(name, value)| (name.to_string(), json(value))).collect()
        }
        AMQPValue::ByteArray(bytes) => String::from_utf8_lossy(bytes.as_slice()).into(),
        AMQPValue::Void => serde_json::Value::Null,
    }
}
