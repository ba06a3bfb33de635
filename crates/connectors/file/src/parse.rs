//! The values of options, as text in a URL and as text or number in a table.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use haul_core::{parse_bytes, parse_duration};
use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::config::{CheckpointAt, Format, Fsync, Start};

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3_600);

impl FromStr for Format {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "jsonl" => Ok(Self::Jsonl),
            "raw" => Ok(Self::Raw),
            "length" => Ok(Self::Length),
            _ => Err("it must be jsonl, raw or length"),
        }
    }
}

impl FromStr for Fsync {
    type Err = &'static str;

    /// `always`, `never`, or an interval such as `1s`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "always" => Ok(Self::Always),
            "never" => Ok(Self::Never),
            _ => parse_duration(text)
                .map(Self::Every)
                .map_err(|_| "it must be always, never or an interval such as 1s"),
        }
    }
}

impl FromStr for Start {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "active" => Ok(Self::Active),
            "oldest" => Ok(Self::Oldest),
            "end" => Ok(Self::End),
            _ => Err("it must be active, oldest or end"),
        }
    }
}

impl FromStr for CheckpointAt {
    type Err = &'static str;

    /// A path, or `none`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::Nowhere),
            "" => Err("it must be a path or none"),
            path => Ok(Self::Path(path.into())),
        }
    }
}

/// A period of rotation: a duration, `hourly` or `daily`.
pub(crate) struct Period(pub(crate) Duration);

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "hourly" => Ok(Self(HOUR)),
            "daily" => Ok(Self(DAY)),
            _ => parse_duration(text).map(Self).map_err(|why| format!("{why}, or is hourly or daily")),
        }
    }
}

/// A value that a table may give as text or as a plain number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Plain {
    Number(u64),
    Text(String),
}

fn from_plain<'de, D: Deserializer<'de>, T, E: Display>(
    from: D,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    let text = match Plain::deserialize(from)? {
        Plain::Number(number) => number.to_string(),
        Plain::Text(text) => text,
    };
    parse(&text).map_err(|why| D::Error::custom(format!("{text:?}: {why}")))
}

pub(crate) fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    size(from).map(|bytes| Some(bytes as u64))
}

pub(crate) fn size<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    from_plain(from, parse_bytes)
}

pub(crate) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    from_plain(from, parse_duration)
}

pub(crate) fn period<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    from_plain(from, Period::from_str).map(|period| Some(period.0))
}

pub(crate) fn fsync<'de, D: Deserializer<'de>>(from: D) -> Result<Fsync, D::Error> {
    from_plain(from, Fsync::from_str)
}

pub(crate) fn checkpoint<'de, D: Deserializer<'de>>(from: D) -> Result<CheckpointAt, D::Error> {
    from_plain(from, CheckpointAt::from_str)
}
