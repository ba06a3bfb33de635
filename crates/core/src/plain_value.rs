//! Values of configuration files that read as options in URLs do: as text, or as a plain number.

use std::fmt::Display;

use serde::{Deserialize, Deserializer, de};

use crate::parse_bytes;

#[derive(Deserialize)]
#[serde(untagged)]
enum Plain {
    Number(u64),
    Text(String),
}

/// What `parse` makes of the text or number; its error shows the value.
pub fn parse<'de, D: Deserializer<'de>, T, E: Display>(
    from: D,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    let text = match Plain::deserialize(from)? {
        Plain::Number(number) => number.to_string(),
        Plain::Text(text) => text,
    };
    parse(&text).map_err(|why| de::Error::custom(format!("{text:?}: {why}")))
}

/// Reads `4096`, `64KiB`; see [`parse_bytes`]: `#[serde(deserialize_with = "haul_core::plain_value::size")]`.
pub fn size<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    parse(from, parse_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Options {
        #[serde(deserialize_with = "size")]
        most: usize,
    }

    #[test]
    fn sizes_are_read_as_text_and_as_numbers() {
        let most = |json: &str| serde_json::from_str(json).map(|Options { most }| most);
        assert_eq!(most(r#"{"most":"64KiB"}"#).unwrap(), 65_536);
        assert_eq!(most(r#"{"most":4096}"#).unwrap(), 4096);
        let error = most(r#"{"most":"4 bits"}"#).unwrap_err().to_string();
        assert!(error.contains("4 bits") && error.contains("looks like"), "{error}");
    }
}
