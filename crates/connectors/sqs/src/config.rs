//! The configuration of sink and source.

use std::str::FromStr;
use std::time::Duration;

use haul_aws::Account;
use haul_core::{Endpoint, Error, ErrorKind, Place, Result, Template, duration_text, plain_value};
use serde::Deserialize;

/// Bytes of a request, and so of a message: the server's own limit ("Amazon SQS batch actions", developer guide, 2025).
const LIMIT: usize = 1 << 20;

/// Messages that the server counts as given and not deleted: 120,000 of a standard queue, 20,000 of a FIFO queue.
const MAX_UNACKED: usize = 20_000;

/// Where metadata goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetadataAs {
    /// Each name is a message attribute, of which the server takes ten: those of haul count too.
    #[default]
    Attributes,
    /// All of it is one attribute, `haul.metadata`, with a JSON object.
    Json,
}

impl FromStr for MetadataAs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "attributes" => Ok(Self::Attributes),
            "json" => Ok(Self::Json),
            _ => Err("it is attributes or json".to_owned()),
        }
    }
}

/// The configuration of an [`SqsSink`](crate::SqsSink).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqsConfig {
    /// Who, and where.
    #[serde(default)]
    pub account: Account,
    /// The name of the queue; one that ends with `.fifo` is a FIFO queue.
    pub queue: String,
    /// The number of the account that the queue belongs to; ours, if not given.
    #[serde(default)]
    pub owner: Option<String>,
    /// The group of a packet: what must stay in order in a FIFO queue, and what is served fairly in a standard one.
    #[serde(default)]
    pub group: Option<Template>,
    /// Where metadata goes.
    #[serde(default)]
    pub metadata: MetadataAs,
    /// Bytes of a payload.
    #[serde(default = "limit", deserialize_with = "plain_value::size")]
    pub max_packet: usize,
    /// Bytes of a request, of at most ten messages, attributes included; no message is larger.
    #[serde(default = "limit", deserialize_with = "plain_value::size")]
    pub max_request: usize,
}

fn limit() -> usize {
    LIMIT
}

impl SqsConfig {
    /// The queue of this name.
    pub fn new(account: Account, queue: impl Into<String>) -> Self {
        Self {
            account,
            queue: queue.into(),
            owner: None,
            group: None,
            metadata: MetadataAs::default(),
            max_packet: LIMIT,
            max_request: LIMIT,
        }
    }

    /// Reads `sqs://eu-west-1/orders.fifo?group={customer}`. Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let known =
            [&Account::OPTIONS[..], &["owner", "group", "metadata", "max_packet", "max_request"]].concat();
        let options = endpoint.options(Place::Query, &known)?;
        Ok(Self {
            owner: options.text("owner").map(str::to_owned),
            group: options.get("group")?,
            metadata: options.get("metadata")?.unwrap_or_default(),
            max_packet: options.bytes("max_packet")?.unwrap_or(LIMIT),
            max_request: options.bytes("max_request")?.unwrap_or(LIMIT),
            ..Self::new(Account::from_options(endpoint, &options)?, queue(endpoint)?)
        })
    }

    /// Whether the queue keeps order, and takes no duplicates.
    pub(crate) fn fifo(&self) -> bool {
        self.queue.ends_with(".fifo")
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |why: &str| Err(Error::new(ErrorKind::Config, format!("sqs {}: {why}", self.queue)));
        self.account.check()?;
        match self {
            Self { max_request: 0, .. } => wrong("max_request must be more than 0"),
            Self { group: None, .. } if self.fifo() => wrong(
                "a FIFO queue keeps order in groups: group={session_id}, or group=all for one order of all",
            ),
            _ => Ok(()),
        }
    }
}

/// The configuration of an [`SqsSource`](crate::SqsSource).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// Who, and where.
    #[serde(default)]
    pub account: Account,
    /// The name of the queue.
    pub queue: String,
    /// The number of the account that the queue belongs to; ours, if not given.
    #[serde(default)]
    pub owner: Option<String>,
    /// For how long the server gives a message to nobody else; it is made longer while a packet is not acknowledged.
    #[serde(default = "visibility", deserialize_with = "duration_text::deserialize")]
    pub visibility: Duration,
    /// How long the server may hold a question for messages.
    #[serde(default = "wait", deserialize_with = "duration_text::deserialize")]
    pub wait: Duration,
    /// Packets given and not acknowledged; `next` waits at this many.
    #[serde(default = "max_unacked")]
    pub max_unacked: usize,
}

fn visibility() -> Duration {
    Duration::from_secs(30)
}

fn wait() -> Duration {
    Duration::from_secs(20)
}

fn max_unacked() -> usize {
    100
}

impl QueueConfig {
    /// The queue of this name.
    pub fn new(account: Account, queue: impl Into<String>) -> Self {
        Self {
            account,
            queue: queue.into(),
            owner: None,
            visibility: visibility(),
            wait: wait(),
            max_unacked: max_unacked(),
        }
    }

    /// Reads `sqs://eu-west-1/orders?visibility=60s&max_unacked=100`. Errors: `Config`.
    pub fn from_endpoint(endpoint: &Endpoint) -> Result<Self> {
        let known = [&Account::OPTIONS[..], &["owner", "visibility", "wait", "max_unacked"]].concat();
        let options = endpoint.options(Place::Query, &known)?;
        Ok(Self {
            owner: options.text("owner").map(str::to_owned),
            visibility: options.duration("visibility")?.unwrap_or_else(visibility),
            wait: options.duration("wait")?.unwrap_or_else(wait),
            max_unacked: options.get("max_unacked")?.unwrap_or_else(max_unacked),
            ..Self::new(Account::from_options(endpoint, &options)?, queue(endpoint)?)
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |why: &str| Err(Error::new(ErrorKind::Config, format!("sqs {}: {why}", self.queue)));
        let seconds = |time: Duration, most| time.subsec_nanos() == 0 && (1..=most).contains(&time.as_secs());
        self.account.check()?;
        match self {
            Self { visibility, .. } if !seconds(*visibility, 12 * 3600) => {
                wrong("visibility is whole seconds, from 1s to 12h")
            }
            Self { wait, .. } if !seconds(*wait, 20) => wrong("wait is whole seconds, from 1s to 20s"),
            Self { max_unacked, .. } if !(1..=MAX_UNACKED).contains(max_unacked) => {
                wrong("max_unacked is from 1 to 20000, which is what the server lets be")
            }
            _ => Ok(()),
        }
    }
}

fn queue(endpoint: &Endpoint) -> Result<&str> {
    match endpoint.path().trim_start_matches('/') {
        "" => Err(Error::new(
            ErrorKind::Config,
            format!("endpoint {endpoint}: its path is the queue's name, as in sqs://eu-west-1/events"),
        )),
        name if name.contains('/') => Err(Error::new(
            ErrorKind::Config,
            format!("endpoint {endpoint}: a queue's name has no slash; owner=123456789012 is its account"),
        )),
        name => Ok(name),
    }
}
