//! Durations and sizes, as options of URLs have them.

use std::fmt;
use std::time::Duration;

use haul_core::{parse_bytes, parse_duration};
use serde::de::{Deserializer, Error, Visitor};

/// Text or a whole number, parsed by the function.
struct Parsed<T>(fn(&str) -> Result<T, String>, &'static str);

impl<T> Visitor<'_> for Parsed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(|why| E::custom(format!("{text:?} does not fit: {why}")))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    from.deserialize_any(Parsed(parse_duration, "a duration such as \"10s\""))
}

pub(super) fn some_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    let parsed = Parsed(parse_bytes, "a size such as 65536 or \"64KiB\"");
    from.deserialize_any(parsed).map(Some)
}
