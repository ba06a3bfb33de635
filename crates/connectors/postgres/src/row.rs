//! A packet as a row, and back.

use std::error::Error as StdError;

use bytes::{BufMut, Bytes, BytesMut};
use haul_core::{Error, ErrorKind, Kind, Packet, PacketId, Result, Sent};
use serde_json::{Map, Value};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, Json, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use crate::config::Payload;

/// The version that stands before JSON on the wire.
const JSONB: u8 = 1;

/// A payload, in a column of any of the types of [`Payload`].
#[derive(Debug)]
pub(crate) struct Raw<'a>(&'a [u8]);

impl ToSql for Raw<'_> {
    fn to_sql(&self, column: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        if *column == Type::JSONB {
            out.put_u8(JSONB);
        }
        out.put_slice(self.0);
        Ok(IsNull::No)
    }

    fn accepts(column: &Type) -> bool {
        [Type::BYTEA, Type::TEXT, Type::JSONB].contains(column)
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(column: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        match (column == &Type::JSONB, raw) {
            (false, raw) | (true, [JSONB, raw @ ..]) => Ok(Self(raw)),
            (true, _) => Err("jsonb of an unknown version".into()),
        }
    }

    fn accepts(column: &Type) -> bool {
        [Type::BYTEA, Type::TEXT, Type::VARCHAR, Type::JSON, Type::JSONB].contains(column)
    }
}

/// The columns of some packets, as parameters of the statement that stores them.
pub(crate) struct Columns<'a> {
    ids: Vec<Option<Uuid>>,
    kinds: Vec<&'static str>,
    payloads: Vec<Raw<'a>>,
    metadata: Vec<Json<&'a haul_core::Metadata>>,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(packets: &[&'a Packet]) -> Self {
        Self {
            ids: packets.iter().map(|packet| packet.id().map(uuid)).collect(),
            kinds: packets.iter().map(|packet| packet.kind().as_str()).collect(),
            payloads: packets.iter().map(|packet| Raw(packet.payload())).collect(),
            metadata: packets.iter().map(|packet| Json(packet.metadata())).collect(),
        }
    }

    pub(crate) fn parameters(&self) -> [&(dyn ToSql + Sync); 4] {
        [&self.ids, &self.kinds, &self.payloads, &self.metadata]
    }
}

/// The payloads of `packets`, if none of them is anything but text.
pub(crate) fn plain<'a>(packets: &[&'a Packet]) -> Option<Vec<Raw<'a>>> {
    let payload = |packet: &&'a Packet| {
        let plain = packet.kind() == Kind::Text && packet.id().is_none() && packet.metadata().is_empty();
        plain.then(|| Raw(packet.payload()))
    };
    packets.iter().map(payload).collect()
}

/// Whether a column of this type can hold the packet.
pub(crate) fn fits(packet: &Packet, column: Payload) -> Result<()> {
    match (packet.kind(), column) {
        (Kind::Text, _) | (Kind::Binary, Payload::Bytea) => Ok(()),
        (Kind::Binary, _) => {
            let why = "a column of text or jsonb holds no binary packet; payload=bytea does";
            Err(Error::new(ErrorKind::Unsupported, why).with_sent(Sent::No))
        }
    }
}

pub(crate) fn uuid(id: PacketId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

/// The packet of a row of `seq, id, kind, payload, metadata`.
pub(crate) fn packet(row: &Row) -> Result<Packet> {
    let failed = |why: tokio_postgres::Error| {
        let cause = why.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Error::new(ErrorKind::Codec, format!("read a row: {why}{cause}"))
    };
    let Raw(payload) = row.try_get("payload").map_err(failed)?;
    let payload = Bytes::copy_from_slice(payload);
    let packet = match row.try_get::<_, Option<&str>>("kind").map_err(failed)? {
        Some("binary") => Packet::binary(payload),
        _ => Packet::text_from_utf8(payload)?,
    };
    let metadata: Option<Json<Map<String, Value>>> = row.try_get("metadata").map_err(failed)?;
    let metadata = metadata.map(|Json(object)| object).unwrap_or_default().into_iter();
    let packet = packet.with_metadata(metadata.map(|(name, value)| (name, text(value))).collect());
    match row.try_get::<_, Option<Uuid>>("id").map_err(failed)? {
        Some(id) => Ok(packet.with_id(PacketId::from_bytes(id.into_bytes()))),
        None => Ok(packet),
    }
}

/// Others than haul may write numbers and more.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
