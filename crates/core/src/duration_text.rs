//! Durations in configuration files, as text (a plain number is seconds): `#[serde(with = "haul_core::duration_text")]`.

use std::time::Duration;

use serde::{Deserializer, Serializer};

use crate::{parse_duration, plain_value};

/// Reads `250ms`, `10s`, `5m`; see [`parse_duration`].
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    plain_value::parse(from, parse_duration)
}

/// Writes whole milliseconds as `250ms`, anything finer as `250us`.
pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    let micros = duration.as_micros();
    match micros % 1000 {
        0 => to.collect_str(&format_args!("{}ms", micros / 1000)),
        _ => to.collect_str(&format_args!("{micros}us")),
    }
}

/// The same for `Option<Duration>`; add `default`, so that it may be left out.
pub mod option {
    use super::{Deserializer, Duration, Serializer};

    /// Reads a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        super::deserialize(from).map(Some)
    }

    /// Writes a duration, if there is one.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, to),
            None => to.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Options {
        #[serde(with = "super")]
        wait: Duration,
        #[serde(with = "super::option", default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Duration>,
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        let options: Options = serde_json::from_str(r#"{"wait":"0.25s","deadline":"1500us"}"#).unwrap();
        assert_eq!(options.wait, Duration::from_millis(250));
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(text, r#"{"wait":"250ms","deadline":"1500us"}"#);
        assert_eq!(serde_json::from_str::<Options>(&text).unwrap(), options);
        let error = serde_json::from_str::<Options>(r#"{"wait":"soon"}"#).unwrap_err();
        assert!(error.to_string().contains("soon"), "{error}");
    }
}
