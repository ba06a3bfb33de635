//! The configuration of sink and source.

use std::path::PathBuf;
use std::time::Duration;

use haul_core::{Endpoint, Error, ErrorKind, Place, Result, duration_text, plain_value};
use serde::Deserialize;

use crate::parse;

/// How packets stand in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object per line: everything of the packet.
    #[default]
    Jsonl,
    /// The payload and a line feed: no metadata, no id, no kind, no line feed in the payload.
    Raw,
    /// The payload's length in bytes, `u32` big-endian, and the payload: no metadata, no id, no kind.
    Length,
}

/// When what was written is forced to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// Before each answer, once for all that wait: receipts are `Stored`.
    #[default]
    Always,
    /// At the latest this long after a write: receipts are `Sent`.
    Every(Duration),
    /// When the operating system likes: receipts are `Sent`.
    Never,
}

/// The configuration of a [`FileSink`](crate::FileSink).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The file.
    pub path: PathBuf,
    /// How packets stand in it.
    #[serde(default)]
    pub format: Format,
    /// Bytes after which it is rotated; never, if not given. A single larger packet still fits.
    #[serde(default, deserialize_with = "parse::bytes")]
    pub max_size: Option<u64>,
    /// Rotated at the first write after each multiple of this since midnight UTC of 1 January 1970, so that `1h` means
    /// each full hour and `daily` each midnight.
    #[serde(default, deserialize_with = "parse::period")]
    pub rotate: Option<Duration>,
    /// How many rotated files are kept; all, if not given.
    #[serde(default)]
    pub keep: Option<usize>,
    /// When it is forced to the disk.
    #[serde(default, deserialize_with = "parse::fsync")]
    pub fsync: Fsync,
    /// Whether missing parent directories are made.
    #[serde(default)]
    pub create_dirs: bool,
}

impl FileConfig {
    /// JSON lines to `path`, synced before each answer, never rotated.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: Format::default(),
            max_size: None,
            rotate: None,
            keep: None,
            fsync: Fsync::default(),
            create_dirs: false,
        }
    }

    /// Reads `file:///path?format=jsonl&max_size=64MiB&rotate=daily&keep=10&fsync=always&create_dirs=true`.
    /// Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let known = ["format", "max_size", "rotate", "keep", "fsync", "create_dirs"];
        let options = endpoint.options(Place::Query, &known)?;
        Ok(Self {
            path: path(endpoint)?,
            format: options.get("format")?.unwrap_or_default(),
            max_size: options.bytes("max_size")?.map(|bytes| bytes as u64),
            rotate: options.get::<parse::Period>("rotate")?.map(|period| period.0),
            keep: options.get("keep")?,
            fsync: options.get("fsync")?.unwrap_or_default(),
            create_dirs: options.flag("create_dirs")?,
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong =
            |why: &str| Err(Error::new(ErrorKind::Config, format!("file {}: {why}", self.path.display())));
        match self {
            Self { path, .. } if path.file_name().is_none() => wrong("the path names no file"),
            Self { max_size: Some(0), .. } => wrong("max_size must be more than 0"),
            Self { rotate: Some(period), .. } if period.as_secs() == 0 => wrong("rotate must be at least 1s"),
            Self { fsync: Fsync::Every(Duration::ZERO), .. } => {
                wrong("an fsync interval must be more than 0")
            }
            Self { keep: Some(_), max_size: None, rotate: None, .. } => {
                wrong("keep counts rotated files, but neither max_size nor rotate is given")
            }
            _ => Ok(()),
        }
    }
}

/// Where a source begins that has no checkpoint yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// At the beginning of the file.
    #[default]
    Active,
    /// At the beginning of its oldest rotated sibling.
    Oldest,
    /// At the end of the file: only what comes from now on.
    End,
}

/// Where a source remembers how far its packets were acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CheckpointAt {
    /// Beside the file, named `<file>.checkpoint`, if it follows; nowhere if it reads to the end.
    #[default]
    Default,
    /// Nowhere: it begins anew each time.
    Nowhere,
    /// In this file.
    Path(PathBuf),
}

/// The configuration of a [`FileSource`](crate::FileSource).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowConfig {
    /// The file.
    pub path: PathBuf,
    /// How packets stand in it.
    #[serde(default)]
    pub format: Format,
    /// Whether it waits for more at the end of the file, and for the file itself; else it ends there.
    #[serde(default = "yes")]
    pub follow: bool,
    /// How often it looks for more.
    #[serde(default = "poll", deserialize_with = "duration_text::deserialize")]
    pub poll: Duration,
    /// Where it begins without a checkpoint.
    #[serde(default)]
    pub start: Start,
    /// Where it remembers how far it came.
    #[serde(default, deserialize_with = "parse::checkpoint")]
    pub checkpoint: CheckpointAt,
    /// Packets given from the first that is not acknowledged on; `next` waits at this many.
    #[serde(default = "max_unacked")]
    pub max_unacked: usize,
    /// Bytes of the longest record; a longer one is a `TooLarge` error, and skipped.
    #[serde(default = "max_packet", deserialize_with = "plain_value::size")]
    pub max_packet: usize,
}

fn yes() -> bool {
    true
}

fn poll() -> Duration {
    Duration::from_millis(250)
}

fn max_unacked() -> usize {
    1_024
}

fn max_packet() -> usize {
    16 << 20
}

impl FollowConfig {
    /// Follows the JSON lines of `path`, from its checkpoint or else its beginning.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: Format::default(),
            follow: true,
            poll: poll(),
            start: Start::default(),
            checkpoint: CheckpointAt::default(),
            max_unacked: max_unacked(),
            max_packet: max_packet(),
        }
    }

    /// Reads `file:///path?format=raw&follow=false&poll=250ms&start=oldest&checkpoint=none&max_unacked=1024&max_packet=16MiB`.
    /// Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let known = ["format", "follow", "poll", "start", "checkpoint", "max_unacked", "max_packet"];
        let options = endpoint.options(Place::Query, &known)?;
        Ok(Self {
            path: path(endpoint)?,
            format: options.get("format")?.unwrap_or_default(),
            follow: options.text("follow").is_none() || options.flag("follow")?,
            poll: options.duration("poll")?.unwrap_or_else(poll),
            start: options.get("start")?.unwrap_or_default(),
            checkpoint: options.get("checkpoint")?.unwrap_or_default(),
            max_unacked: options.get("max_unacked")?.unwrap_or_else(max_unacked),
            max_packet: options.bytes("max_packet")?.unwrap_or_else(max_packet),
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong =
            |why: &str| Err(Error::new(ErrorKind::Config, format!("file {}: {why}", self.path.display())));
        match self {
            Self { path, .. } if path.file_name().is_none() => wrong("the path names no file"),
            Self { poll: Duration::ZERO, .. } => wrong("poll must be more than 0"),
            Self { max_unacked: 0, .. } => wrong("max_unacked must be more than 0"),
            _ => Ok(()),
        }
    }

    pub(crate) fn checkpoint_path(&self) -> Option<PathBuf> {
        match &self.checkpoint {
            CheckpointAt::Path(path) => Some(path.clone()),
            CheckpointAt::Default if self.follow => {
                let mut name = self.path.clone().into_os_string();
                name.push(".checkpoint");
                Some(name.into())
            }
            CheckpointAt::Default | CheckpointAt::Nowhere => None,
        }
    }
}

/// The path of a file URL (RFC 8089): no host, or `localhost`.
fn path(endpoint: &Endpoint) -> Result<PathBuf> {
    let wrong = |why: &str| Error::new(ErrorKind::Config, format!("endpoint {endpoint}: {why}"));
    match endpoint.host() {
        None | Some("localhost") => {}
        Some(host) => {
            return Err(wrong(&format!("{host} is taken for a host; a file is file:///path, three slashes")));
        }
    }
    match endpoint.path() {
        "" | "/" => Err(wrong("it needs a path, as in file:///var/log/events.jsonl")),
        path => Ok(PathBuf::from(path)),
    }
}
