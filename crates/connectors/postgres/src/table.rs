//! The table: its name, its columns, and what is asked of it.

use haul_core::{Error, ErrorKind, Kind, Result};

use crate::config::Payload;

/// Bytes of a name; the server would cut what is longer.
const LONGEST: usize = 63;

/// The class of the advisory locks by which readers exclude one another: "haul".
const READERS: u32 = 0x6861_756c;

/// A table, named so that it can stand in a statement.
#[derive(Clone, Debug)]
pub(crate) struct Table(String);

impl Table {
    /// Reads `name` or `schema.name`. Errors: `Config`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('.').collect();
        let sound = |part: &&str| (1..=LONGEST).contains(&part.len()) && !part.contains('\0');
        if parts.len() > 2 || !parts.iter().all(sound) {
            let why = format!("table {text:?}: it is name or schema.name, each of 1 to {LONGEST} bytes");
            return Err(Error::new(ErrorKind::Config, why));
        }
        let quoted = parts.iter().map(|part| format!("\"{}\"", part.replace('"', "\"\"")));
        Ok(Self(quoted.collect::<Vec<_>>().join(".")))
    }

    /// As it stands in statements.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    pub(crate) fn create(&self, payload: Payload) -> String {
        let (table, payload) = (&self.0, sql_type(payload));
        format!(
            "create table if not exists {table} (
                seq bigint generated always as identity primary key,
                id uuid unique,
                kind text not null default 'text',
                payload {payload} not null,
                metadata jsonb not null default '{{}}',
                stored_at timestamptz not null default now()
            )"
        )
    }

    /// Stores rows, but those whose id is there, and answers `seq` and `id` of what was stored.
    pub(crate) fn insert(&self, payload: Payload) -> String {
        let (table, payload) = (&self.0, sql_type(payload));
        format!(
            "insert into {table} (id, kind, payload, metadata)
            select id, kind, payload, metadata
            from unnest($1::uuid[], $2::text[], $3::{payload}[], $4::jsonb[]) with ordinality
                as new (id, kind, payload, metadata, place)
            order by place
            on conflict (id) do nothing
            returning seq::bigint as seq, id"
        )
    }

    /// Stores rows of text with nothing beside their payloads, as [`insert`](Self::insert) does: without ids the server need
    /// not look for those that are there.
    pub(crate) fn insert_plain(&self, payload: Payload) -> String {
        let (table, payload) = (&self.0, sql_type(payload));
        format!(
            "insert into {table} (id, kind, payload, metadata)
            select null, '{}', unnest($1::{payload}[]), '{{}}'
            returning seq::bigint as seq, id",
            Kind::Text.as_str()
        )
    }

    /// Where those with these ids are.
    pub(crate) fn find(&self) -> String {
        format!("select seq::bigint as seq, id from {} where id = any($1::uuid[])", self.0)
    }

    /// The first rows but these.
    pub(crate) fn read(&self) -> String {
        format!(
            "select seq::bigint as seq, id, kind, payload, metadata from {}
            where seq <> all($1::bigint[]) order by seq limit $2::bigint",
            self.0
        )
    }

    pub(crate) fn delete(&self) -> String {
        format!("delete from {} where seq = any($1::bigint[])", self.0)
    }

    /// Whether this session is the one that reads the table, from now on until it ends.
    pub(crate) fn lock() -> String {
        format!("select pg_try_advisory_lock({READERS}, to_regclass($1)::oid::int4)")
    }
}

fn sql_type(payload: Payload) -> &'static str {
    match payload {
        Payload::Bytea => "bytea",
        Payload::Text => "text",
        Payload::Jsonb => "jsonb",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_what_the_server_would_cut_is_refused() {
        let name = |text: &str| Table::parse(text).map(|table| table.0);
        assert_eq!(name("events").unwrap(), r#""events""#);
        assert_eq!(name(r#"a"b.Events"#).unwrap(), r#""a""b"."Events""#);
        assert_eq!(name(&"x".repeat(63)).unwrap().len(), 65);
        for wrong in ["", "a.b.c", ".a", "a.", "a\0", &"x".repeat(64)] {
            assert_eq!(name(wrong).unwrap_err().kind(), ErrorKind::Config, "{wrong:?}");
        }
    }
}
