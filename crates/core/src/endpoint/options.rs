//! The options of an endpoint: found by name, parsed, and refused when nobody reads them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::Endpoint;
use crate::{Error, ErrorKind, Result};

/// Where an endpoint's options stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In query and fragment: the query is not the server's.
    Query,
    /// In the fragment alone: the query goes to the server.
    Fragment,
}

/// Options by name, checked against what is known.
#[derive(Debug)]
pub struct Options<'a> {
    endpoint: &'a Endpoint,
    values: Vec<(&'a str, &'a str)>,
}

impl<'a> Options<'a> {
    pub(super) fn new(
        endpoint: &'a Endpoint,
        given: impl Iterator<Item = &'a (String, String)>,
        known: &[&'static str],
    ) -> Result<Self> {
        let mut values: Vec<(&str, &str)> = Vec::new();
        for (name, value) in given {
            if !known.contains(&name.as_str()) {
                return Err(unknown(endpoint, name, known));
            }
            if values.iter().any(|(other, _)| other == name) {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!("endpoint {endpoint}: option {name} is given twice"),
                ));
            }
            values.push((name, value));
        }
        Ok(Self { endpoint, values })
    }

    /// The text of `name`.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// The value of `name`, parsed.
    pub fn get<T: FromStr>(&self, name: &str) -> Result<Option<T>>
    where
        T::Err: fmt::Display,
    {
        self.parse(name, |text| text.parse().map_err(|why: T::Err| why.to_string()))
    }

    /// The value of `name`: `10s`, `250ms`, `5m`, `1h`.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>> {
        self.parse(name, parse_duration)
    }

    /// The value of `name` in bytes: `4096`, `64KiB`, `16MiB`, `1GiB`.
    pub fn bytes(&self, name: &str) -> Result<Option<usize>> {
        self.parse(name, parse_bytes)
    }

    /// Whether `name` is on: `true`, `1` or no value; off: `false`, `0`, absent.
    pub fn flag(&self, name: &str) -> Result<bool> {
        let flag = self.parse(name, |text| match text {
            "" | "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("it must be true or false".to_owned()),
        });
        Ok(flag?.unwrap_or(false))
    }

    fn parse<T>(&self, name: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        parse(text).map(Some).map_err(|why| {
            Error::new(ErrorKind::Config, format!("endpoint {}: option {name}={text}: {why}", self.endpoint))
        })
    }
}

fn unknown(endpoint: &Endpoint, name: &str, known: &[&str]) -> Error {
    let nearest = known.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
    let hint = match nearest {
        Some(near) if strsim::jaro(near, name) > 0.7 => format!("did you mean {near}?"),
        Some(_) => format!("known are {}", known.join(", ")),
        None => "it takes none".to_owned(),
    };
    Error::new(ErrorKind::Config, format!("endpoint {endpoint}: unknown option {name}; {hint}"))
}

/// Parses a duration: a number and `us`, `ms`, `s`, `m`, `h` or `d`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err("a duration looks like 250ms, 10s, 5m, 1h or 7d".to_owned()),
    };
    let number: f64 =
        number.parse().map_err(|_| "a duration looks like 250ms, 10s, 5m, 1h or 7d".to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| "it is out of range".to_owned())
}

/// Parses an amount of bytes: a number and `B`, `KiB`, `MiB`, `GiB`, `kB`, `MB` or `GB`; a bare number is bytes.
pub fn parse_bytes(text: &str) -> Result<usize, String> {
    let (number, unit) = split_unit(text);
    let factor: usize = match unit {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return Err("a size looks like 4096, 64KiB or 16MiB".to_owned()),
    };
    let number: usize = number.parse().map_err(|_| "a size looks like 4096, 64KiB or 16MiB".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "it is out of range".to_owned())
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}
