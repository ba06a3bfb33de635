use std::path::PathBuf;
use std::time::Duration;

use haul_core::{Error, ErrorKind, Result, Template, duration_text, plain_value};
use haul_journal::Retention;
use serde::{Deserialize, Serialize};

use crate::forward::DeliveryOptions;
use crate::record;
use crate::secret::SecretKey;

/// What becomes of a packet for which there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// It is refused with `Overloaded`; nothing was stored.
    #[default]
    Reject,
    /// Its call waits for room.
    Wait,
    /// The oldest packets are removed, a file of them at once. They are counted and logged.
    DropOldest,
}

/// Where an outbox is, what it holds, and how it delivers.
///
/// In TOML: `dir = "outbox"`, `key = "{session_id|}"`, `max_packet = "8MiB"`, `max_bytes = "4GiB"`,
/// `when_full = "reject"`, `max_age = "7d"`, `max_dead_bytes = "1GiB"`, `encryption = { key = "..." }`,
/// `drain = "10s"`, `delivery = { parallel = 4 }`; all but `dir` may be left out.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboxOptions {
    /// The folder; it is made if it is not there. One process at a time can have it open.
    pub dir: PathBuf,
    /// The name in logs and metrics. Default: that of the folder.
    pub name: Option<String>,
    /// Packets for which this gives the same text are delivered in order; others in parallel. Default
    /// `{session_id|}`: order within a session, and among packets without one.
    pub key: Template,
    /// Largest payload in bytes; a larger one is refused. Default 8 MiB.
    #[serde(deserialize_with = "plain_value::size")]
    pub max_packet: usize,
    /// Bytes on disk of what is not delivered, at least four packets of `max_packet`. What was delivered leaves room by
    /// whole files of an eighth of this, 64 MiB at most. Default 4 GiB.
    #[serde(deserialize_with = "plain_value::size")]
    pub max_bytes: usize,
    /// What becomes of a packet above that. Default: it is refused.
    pub when_full: WhenFull,
    /// A packet that was not delivered for so long becomes a dead letter. Default: never.
    #[serde(with = "duration_text::option")]
    pub max_age: Option<Duration>,
    /// Bytes on disk of dead letters. When they are full, what is refused for good waits, and those of its key behind
    /// it. Default 1 GiB.
    #[serde(deserialize_with = "plain_value::size")]
    pub max_dead_bytes: usize,
    /// Key, metadata and payload are sealed on disk with this key. Default: they are not.
    pub encryption: Option<SecretKey>,
    /// How long [`close`](haul_core::Sink::close) lets the sink take what is there. Default 10 s.
    #[serde(with = "duration_text")]
    pub drain: Duration,
    /// How packets go to the sink.
    pub delivery: DeliveryOptions,
}

impl Default for OutboxOptions {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            name: None,
            key: Template::parse("{session_id|}").expect("it is a template"),
            max_packet: 8 << 20,
            max_bytes: 4 << 30,
            when_full: WhenFull::Reject,
            max_age: None,
            max_dead_bytes: 1 << 30,
            encryption: None,
            drain: Duration::from_secs(10),
            delivery: DeliveryOptions::default(),
        }
    }
}

impl OutboxOptions {
    /// The options of an outbox in the folder `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), ..Self::default() }
    }

    pub(crate) fn name(&self) -> String {
        let of_dir = || self.dir.file_name().map(|name| name.to_string_lossy().into_owned());
        self.name.clone().or_else(of_dir).unwrap_or_else(|| "outbox".into())
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::new(ErrorKind::Config, format!("outbox: {what}")));
        if self.dir.as_os_str().is_empty() {
            return wrong("it needs a dir".into());
        }
        let least = self.record().saturating_mul(4);
        if self.max_packet == 0 || self.max_bytes < least {
            let (max_bytes, max_packet) = (self.max_bytes, self.max_packet);
            return wrong(format!(
                "max_bytes = {max_bytes} must be at least {least}, which are four packets of max_packet = {max_packet} \
                 with their heads"
            ));
        }
        self.delivery.check().map_err(|why| why.while_doing("outbox: delivery"))
    }

    /// Most bytes of a record.
    fn record(&self) -> usize {
        self.max_packet.saturating_add(record::OVERHEAD)
    }

    /// Of the packets: what every cursor has passed goes with the next file.
    pub(crate) fn journal(&self) -> haul_journal::Options {
        let segment = (self.max_bytes as u64 / 8).min(64 << 20);
        of(self.record()).segment_bytes(segment).retention(done())
    }

    /// Of the dead letters, which stay until somebody settles them.
    pub(crate) fn dead_journal(&self) -> haul_journal::Options {
        let segment = (self.max_dead_bytes as u64 / 8).clamp(1 << 16, 64 << 20);
        of(self.record().saturating_add(crate::letter::OVERHEAD)).segment_bytes(segment)
    }
}

/// A journal of records of at most `record` bytes.
fn of(record: usize) -> haul_journal::Options {
    let queue = record.saturating_mul(2).max(16 << 20);
    haul_journal::Options::default().max_record(record).queue_bytes(queue)
}

/// All files go that nobody needs any more.
pub(crate) fn done() -> Retention {
    Retention::default().max_bytes(0)
}
