//! What `haul.toml` may say: plain data, checked by serde.

use std::path::PathBuf;
use std::time::Duration;

use haul_event_log::{Filter, Order, SinkOptions};
use serde::Deserialize;

use super::{Layer, value};
use crate::Stack;

/// Everything `haul.toml` says, with defaults for what it does not.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[serve]`: the gateway.
    pub serve: Serve,
    /// `[[route]]`: where packets go on to. A packet goes to every route whose filter it matches.
    #[serde(rename = "route")]
    pub routes: Vec<Route>,
    /// `[events]`: how the gateway keeps its event log.
    pub events: haul_event_log::Options,
    /// `[log]`: what the program says about itself.
    pub log: Log,
}

/// `[serve]`: what the gateway listens on and where it keeps what it took.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Serve {
    /// URLs to listen on. Default `http://127.0.0.1:7700`, which is for WebSockets too, and
    /// `tcp://127.0.0.1:7701?framing=lines`.
    pub listen: Vec<String>,
    /// Folder of the event log. Default `haul-data`.
    pub data: PathBuf,
    /// Connections at once on each listener, at least 1; one more is refused. Default: the listener's own.
    #[serde(deserialize_with = "value::some_count::<_, MANY>")]
    pub max_connections: Option<usize>,
    /// Largest payload taken in, in bytes: `65536` or `"64KiB"`. Default: the listener's own.
    #[serde(deserialize_with = "value::some_bytes::<_, { u32::MAX as usize }>")]
    pub max_packet: Option<usize>,
    /// Packets of one connection that may wait for the disk or for their receipts, 1 to 65536; then reading it waits.
    /// Default 1024.
    #[serde(deserialize_with = "value::count::<_, 65_536>")]
    pub window: usize,
    /// Bytes of all connections that may wait for the disk: `"64MiB"`, which is the default; then reading waits.
    #[serde(deserialize_with = "value::bytes::<_, { u32::MAX as usize }>")]
    pub in_flight: usize,
    /// Origins of pages that may connect over `http://` and `https://`, beside those of the gateway's own host:
    /// `https://app.example`; `*` is all of them. Default none.
    pub origins: Vec<String>,
    /// Tokens, one of which clients have to show there; `NAME:TOKEN` says whose it is. Default: none is asked for.
    pub tokens: Vec<String>,
    /// `[serve.session]`: how sessions are kept there.
    pub session: Session,
    /// How long a shutdown lets connections and routes finish. Default 10 s.
    #[serde(deserialize_with = "value::duration")]
    pub drain: Duration,
}

impl Default for Serve {
    fn default() -> Self {
        Self {
            listen: vec!["http://127.0.0.1:7700".into(), "tcp://127.0.0.1:7701?framing=lines".into()],
            data: "haul-data".into(),
            max_connections: None,
            max_packet: None,
            window: 1024,
            in_flight: 64 << 20,
            origins: Vec::new(),
            tokens: Vec::new(),
            session: Session::default(),
            drain: Duration::from_secs(10),
        }
    }
}

/// `[serve.session]`: how the gateway keeps the sessions of clients that may come back.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Session {
    /// How long a session is kept whose client is away. Default 2 min.
    #[serde(deserialize_with = "value::some_time")]
    pub retention: Duration,
    /// Bytes of one session that may be on their way to the client and not settled there: `"1MiB"`, which is the default;
    /// then sending waits.
    #[serde(deserialize_with = "value::bytes::<_, { u32::MAX as usize }>")]
    pub replay_bytes: usize,
    /// Packets of one session that may be so, 1 to 1000000. Default 16384.
    #[serde(deserialize_with = "value::count::<_, MANY>")]
    pub replay_packets: usize,
    /// Sessions kept whose clients are away, 1 to 1000000; with one more, the oldest of them ends. Default 16384.
    #[serde(deserialize_with = "value::count::<_, MANY>")]
    pub max_detached: usize,
    /// Bytes kept for all sessions together: `"256MiB"`, which is the default; beyond it, sessions whose clients are away
    /// end, the oldest first.
    #[serde(deserialize_with = "value::bytes::<_, { u32::MAX as usize }>")]
    pub max_memory: usize,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(120),
            replay_bytes: 1 << 20,
            replay_packets: 16_384,
            max_detached: 16_384,
            max_memory: 256 << 20,
        }
    }
}

/// `[[route]]`: a sink, what goes to it, and the layers around it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name: the route's position in the event log is kept under it, so that renaming it starts it afresh.
    pub name: String,
    /// What a packet must have to go this way: name = value, or one of several; the name is one of metadata, or a JSON
    /// pointer into the payload. Default: every packet goes.
    #[serde(default)]
    pub filter: Filter,
    /// Where to: the URL of a sink, or of something to connect to.
    pub sink: String,
    /// Whether packets keep their metadata, session and all. Receivers that can carry none, such as lines, need it off.
    /// Default yes.
    #[serde(default = "yes")]
    pub metadata: bool,
    /// Most events in one delivery, 1 to 65536. Default 256.
    #[serde(default, deserialize_with = "value::some_count::<_, 65_536>")]
    pub batch: Option<usize>,
    /// A delivery is full when its payloads have this many bytes. Default `"1MiB"`.
    #[serde(default, deserialize_with = "value::some_bytes::<_, { u32::MAX as usize }>")]
    pub batch_bytes: Option<usize>,
    /// How many events of a session one delivery may hold. `strict`: one, so that order holds whatever the receiver
    /// does. `batch`: as many as there are, which is faster where most events are of one session; order holds if the
    /// receiver takes nothing behind what it failed, as another gateway. Default `batch` for receivers that are known
    /// to be so (`file:`, `log:`, `null:`, and `tcp://` and `unix://` with another framing than haul's) and no layer
    /// that delivers to other sinks, else `strict`.
    #[serde(default)]
    pub order: Option<Order>,
    /// How far behind an event that the receiver fails those of other sessions go on, in events, 1 to 1000000; after a
    /// crash so many are delivered again at most. Default 4096.
    #[serde(default, deserialize_with = "value::some_count::<_, MANY>")]
    pub ahead: Option<usize>,
    /// Waits between tries of what the receiver failed. There is no last try.
    #[serde(default)]
    pub backoff: Backoff,
    /// What stands around the sink, outermost first.
    #[serde(default)]
    pub layers: Vec<Layer>,
    /// What is shown to the sink with each request, where it is `http://` or `https://`: `{ type = "bearer", token = "..." }`.
    /// The sinks that layers name do not get it. Default nothing.
    #[cfg(all(feature = "auth", feature = "http"))]
    #[serde(default)]
    pub auth: Option<haul_auth::AuthOptions>,
    /// What stands around the connection, where the sink is one: `{ session = {}, adaptive = {} }`. Default nothing.
    #[serde(default)]
    pub connect: Stack,
}

impl Route {
    /// A route to the sink at `sink`, as it is where the file says no more.
    pub fn new(name: impl Into<String>, sink: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            filter: Filter::new(),
            sink: sink.into(),
            metadata: true,
            batch: None,
            batch_bytes: None,
            order: None,
            ahead: None,
            backoff: Backoff::default(),
            layers: Vec::new(),
            #[cfg(all(feature = "auth", feature = "http"))]
            auth: None,
            connect: Stack::default(),
        }
    }
}

fn yes() -> bool {
    true
}

/// The bound of what needs none but against mistakes.
const MANY: usize = 1_000_000;

/// A route's `backoff`: each wait is drawn between nothing and the longest.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// The longest wait before the second try. Default `"100ms"`.
    #[serde(deserialize_with = "value::some_time")]
    pub base: Duration,
    /// What the longest wait is multiplied with each time; at least 1. Default 2.
    #[serde(deserialize_with = "value::factor")]
    pub factor: f64,
    /// The longest wait of all; a receiver may ask for a longer one. Default `"30s"`.
    #[serde(deserialize_with = "value::some_time")]
    pub cap: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        let haul_core::Backoff { base, factor, cap } = SinkOptions::default().delivery.backoff;
        Self { base, factor, cap }
    }
}

/// `[log]`: what the program says about itself, on stderr.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A filter as `tracing` has it: `info`, `haul_ws=debug,warn`. Default `info`.
    pub filter: String,
    /// How lines look. Default `text`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text }
    }
}

/// How the program's own log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}
