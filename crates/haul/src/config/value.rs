//! Durations and sizes, as options of URLs have them.

use std::fmt;
use std::time::Duration;

use haul_core::{parse_bytes, parse_duration};
use serde::Deserialize;
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

/// A duration that is longer than nothing.
pub(super) fn some_time<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let parse = |text: &str| match parse_duration(text)? {
        Duration::ZERO => Err("it must be longer than nothing".to_owned()),
        longer => Ok(longer),
    };
    from.deserialize_any(Parsed(parse, "a duration such as \"10s\""))
}

/// A size in bytes from 1 to `MOST`.
pub(super) fn bytes<'de, D: Deserializer<'de>, const MOST: usize>(from: D) -> Result<usize, D::Error> {
    let parse = |text: &str| between::<MOST>(parse_bytes(text)?);
    from.deserialize_any(Parsed(parse, "a size such as 65536 or \"64KiB\""))
}

pub(super) fn some_bytes<'de, D: Deserializer<'de>, const MOST: usize>(
    from: D,
) -> Result<Option<usize>, D::Error> {
    bytes::<D, MOST>(from).map(Some)
}

/// A number from 1 to `MOST`.
pub(super) fn count<'de, D: Deserializer<'de>, const MOST: usize>(from: D) -> Result<usize, D::Error> {
    let parse =
        |text: &str| between::<MOST>(text.parse().map_err(|_| "it must be a whole number".to_owned())?);
    from.deserialize_any(Parsed(parse, "a whole number"))
}

pub(super) fn some_count<'de, D: Deserializer<'de>, const MOST: usize>(
    from: D,
) -> Result<Option<usize>, D::Error> {
    count::<D, MOST>(from).map(Some)
}

fn between<const MOST: usize>(number: usize) -> Result<usize, String> {
    match (1..=MOST).contains(&number) {
        true => Ok(number),
        false => Err(format!("it must be between 1 and {MOST}")),
    }
}

/// A number of at least 1.
pub(super) fn factor<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let factor = f64::deserialize(from)?;
    match factor >= 1.0 && factor.is_finite() {
        true => Ok(factor),
        false => Err(D::Error::custom(format!("{factor} does not fit: it must be at least 1"))),
    }
}
