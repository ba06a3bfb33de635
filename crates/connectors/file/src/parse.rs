//! The values of options, as text in a URL and as text or number in a table.

use std::str::FromStr;
use std::time::Duration;

use haul_core::{parse_duration, plain_value};
use serde::Deserializer;

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

pub(crate) fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    plain_value::size(from).map(|bytes| Some(bytes as u64))
}

pub(crate) fn period<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    plain_value::parse(from, Period::from_str).map(|period| Some(period.0))
}

pub(crate) fn fsync<'de, D: Deserializer<'de>>(from: D) -> Result<Fsync, D::Error> {
    plain_value::parse(from, Fsync::from_str)
}

pub(crate) fn checkpoint<'de, D: Deserializer<'de>>(from: D) -> Result<CheckpointAt, D::Error> {
    plain_value::parse(from, CheckpointAt::from_str)
}
