//! How the log is kept, from code or from the environment.

use std::path::PathBuf;
use std::time::Duration;

use haul_core::{Error, ErrorKind, Result, parse_bytes, parse_duration, plain_value};
use haul_journal::{Keep, Retention};
use serde::Deserialize;

use crate::record::OVERHEAD;

/// How the log is kept. In configuration sizes are texts such as `64MiB` and times such as `7d`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Options {
    /// Size in bytes at which a file of the log is full and the next one begins. Default 64 MiB.
    #[serde(deserialize_with = "size")]
    pub segment: u64,
    /// The oldest files are removed while the log is larger than this many bytes. Default: never.
    #[serde(deserialize_with = "some_size")]
    pub retain: Option<u64>,
    /// Files whose newest event is older than this are removed. Default: never.
    #[serde(with = "haul_core::duration_text::option")]
    pub retain_age: Option<Duration>,
    /// Whether retention also removes what a sink has not got yet; the sink then misses it and its status counts it.
    /// Default: no, a sink that is behind holds its events.
    pub retain_unsent: bool,
    /// Largest payload of an event in bytes; a larger one is refused. Default 16 MiB.
    #[serde(deserialize_with = "size")]
    pub max_packet: u64,
    /// Bytes that may wait for the disk; then appending waits. Default 48 MiB, at least three events of `max_packet`.
    #[serde(deserialize_with = "size")]
    pub queue: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment: 64 << 20,
            retain: None,
            retain_age: None,
            retain_unsent: false,
            max_packet: 16 << 20,
            queue: 48 << 20,
        }
    }
}

fn size<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<u64, D::Error> {
    plain_value::size(from).map(|bytes| bytes as u64)
}

fn some_size<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Option<u64>, D::Error> {
    size(from).map(Some)
}

/// The variables that [`Options::from_env`] reads beside [`DIR`].
const KNOWN: [&str; 7] = [
    DIR,
    "HAUL_EVENTS_SEGMENT",
    "HAUL_EVENTS_RETAIN",
    "HAUL_EVENTS_RETAIN_AGE",
    "HAUL_EVENTS_RETAIN_UNSENT",
    "HAUL_EVENTS_MAX_PACKET",
    "HAUL_EVENTS_QUEUE",
];

/// The variable that names the directory.
const DIR: &str = "HAUL_EVENTS_DIR";

impl Options {
    /// The options with what the environment sets: `HAUL_EVENTS_SEGMENT`, `HAUL_EVENTS_RETAIN`, `HAUL_EVENTS_RETAIN_AGE`,
    /// `HAUL_EVENTS_RETAIN_UNSENT`, `HAUL_EVENTS_MAX_PACKET`, `HAUL_EVENTS_QUEUE`. Beside them the directory that
    /// `HAUL_EVENTS_DIR` names.
    ///
    /// Errors: `Config` for a value that cannot be read and for a `HAUL_EVENTS_` variable that nobody reads.
    pub fn from_env(self) -> Result<(Self, Option<PathBuf>)> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            let name = name.into_string().ok()?;
            Some((name, value.to_string_lossy().into_owned()))
        };
        self.from_vars(std::env::vars_os().filter_map(text))
    }

    /// As [`from_env`](Self::from_env), with these variables; others than `HAUL_EVENTS_` are passed over.
    pub fn from_vars(
        mut self,
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Option<PathBuf>)> {
        let mut dir = None;
        for (name, value) in vars {
            if !name.starts_with("HAUL_EVENTS_") {
                continue;
            }
            let wrong =
                |why: String| Error::new(ErrorKind::Config, format!("environment {name}={value}: {why}"));
            let bytes = || parse_bytes(&value).map(|bytes| bytes as u64).map_err(wrong);
            match name.as_str() {
                DIR => dir = Some(PathBuf::from(&value)),
                "HAUL_EVENTS_SEGMENT" => self.segment = bytes()?,
                "HAUL_EVENTS_RETAIN" => self.retain = Some(bytes()?),
                "HAUL_EVENTS_RETAIN_AGE" => self.retain_age = Some(parse_duration(&value).map_err(wrong)?),
                "HAUL_EVENTS_RETAIN_UNSENT" => {
                    self.retain_unsent = match value.as_str() {
                        "true" | "1" => true,
                        "false" | "0" => false,
                        _ => return Err(wrong("it must be true or false".into())),
                    }
                }
                "HAUL_EVENTS_MAX_PACKET" => self.max_packet = bytes()?,
                "HAUL_EVENTS_QUEUE" => self.queue = bytes()?,
                _ => return Err(wrong(format!("nobody reads it; known are {}", KNOWN.join(", ")))),
            }
        }
        Ok((self, dir))
    }

    /// Dead letters are a little larger than events, and are kept until somebody removes them.
    pub(crate) fn dead_journal(&self) -> Result<haul_journal::Options> {
        let kept = Self {
            max_packet: self.max_packet.saturating_add(crate::dead::OVERHEAD as u64),
            retain: None,
            retain_age: None,
            ..self.clone()
        };
        kept.journal()
    }

    pub(crate) fn journal(&self) -> Result<haul_journal::Options> {
        let too_large = |what: &str| {
            let message = format!("open event log: {what} is too large for this machine");
            Error::new(ErrorKind::Config, message)
        };
        let max_packet = usize::try_from(self.max_packet).map_err(|_| too_large("max_packet"))?;
        let max_record = max_packet.saturating_add(OVERHEAD);
        let queue = usize::try_from(self.queue).map_err(|_| too_large("queue"))?;
        let mut retention = Retention::default().keep(match self.retain_unsent {
            true => Keep::Nothing,
            false => Keep::Unread,
        });
        if let Some(bytes) = self.retain {
            retention = retention.max_bytes(bytes);
        }
        if let Some(age) = self.retain_age {
            retention = retention.max_age(age);
        }
        Ok(haul_journal::Options::default()
            .segment_bytes(self.segment)
            .max_record(max_record)
            .queue_bytes(queue.max(max_record.saturating_mul(3)))
            .retention(retention))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Result<(Options, Option<PathBuf>)> {
        let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Options::default().from_vars(owned)
    }

    #[test]
    fn the_environment_sets_every_option() {
        let (options, dir) = vars(&[
            ("HAUL_EVENTS_DIR", "/data"),
            ("HAUL_EVENTS_SEGMENT", "1MiB"),
            ("HAUL_EVENTS_RETAIN", "1GiB"),
            ("HAUL_EVENTS_RETAIN_AGE", "7d"),
            ("HAUL_EVENTS_RETAIN_UNSENT", "true"),
            ("HAUL_EVENTS_MAX_PACKET", "64KiB"),
            ("HAUL_EVENTS_QUEUE", "8MiB"),
            ("HAUL_LOG", "info"),
            ("HAUL_LOG_FILTER", "info"),
        ])
        .unwrap();
        assert_eq!(dir, Some(PathBuf::from("/data")));
        let expected = Options {
            segment: 1 << 20,
            retain: Some(1 << 30),
            retain_age: Some(Duration::from_secs(7 * 86_400)),
            retain_unsent: true,
            max_packet: 64 << 10,
            queue: 8 << 20,
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn every_option_reaches_the_journal() {
        let journal = |options: Options| format!("{:?}", options.journal().unwrap());
        let start = Options { max_packet: 1000, ..Options::default() };
        let changes: [fn(&mut Options); 6] = [
            |options| options.segment = 4096,
            |options| options.retain = Some(1),
            |options| options.retain_age = Some(Duration::from_secs(1)),
            |options| options.retain_unsent = true,
            |options| options.max_packet = 2000,
            |options| options.queue = 64 << 20,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut options = start.clone();
            change(&mut options);
            assert_ne!(journal(options), journal(start.clone()), "option {number} changes nothing");
        }
    }

    #[test]
    fn a_variable_that_nobody_reads_or_can_read_is_an_error() {
        for pair in [
            ("HAUL_EVENTS_SEGMNT", "1"),
            ("HAUL_EVENTS_SEGMENT", "much"),
            ("HAUL_EVENTS_RETAIN_UNSENT", "yes"),
        ] {
            let error = vars(&[pair]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(pair.0), "{error}");
        }
    }
}
