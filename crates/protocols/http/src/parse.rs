//! The values of options, as text in a URL and as text or number in a table.

use std::str::FromStr;

use haul_core::{Endpoint, Error, ErrorKind, Result};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::{BatchAs, MetadataAs, Method};

/// A URL without its password.
pub(crate) fn shown(url: &str) -> String {
    Endpoint::parse(url).map_or_else(|_| "no URL".to_owned(), |endpoint| endpoint.to_string())
}

/// `Name:value;Name:value`, as headers stand in a URL.
pub(crate) fn headers(text: &str) -> Result<Vec<(String, String)>> {
    let wrong =
        |pair: &str| Error::new(ErrorKind::Config, format!("header {pair:?}: it looks like Name:value"));
    let pairs = text.split(';').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once(':').ok_or_else(|| wrong(pair))?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// Headers as they go out. Errors: `Config` for what cannot stand in a head (RFC 9110 sections 5.1 and 5.5).
pub(crate) fn header_map<'a>(pairs: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        let wrong = || Error::new(ErrorKind::Config, format!("header {name:?} cannot stand in an HTTP head"));
        let known = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        map.insert(known, HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?);
    }
    Ok(map)
}

impl FromStr for Method {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "POST" => Ok(Self::Post),
            "PUT" => Ok(Self::Put),
            "PATCH" => Ok(Self::Patch),
            _ => Err("it must be POST, PUT or PATCH"),
        }
    }
}

impl FromStr for BatchAs {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Self::None),
            "json" => Ok(Self::Json),
            "ndjson" => Ok(Self::Ndjson),
            _ => Err("it must be none, json or ndjson"),
        }
    }
}

impl FromStr for MetadataAs {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "headers" => Ok(Self::Headers),
            "envelope" => Ok(Self::Envelope),
            "none" => Ok(Self::None),
            _ => Err("it must be headers, envelope or none"),
        }
    }
}
