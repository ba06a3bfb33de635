//! What `capabilities.toml` expects of each crate.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use haul_core::Level;
use serde::Deserialize;

static SECTIONS: LazyLock<BTreeMap<String, Section>> = LazyLock::new(|| {
    toml::from_str(include_str!("../capabilities.toml")).expect("capabilities.toml is well-formed")
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    connection: Option<Connection>,
    listener: Option<Listener>,
    dialer: Option<Dialer>,
    multiplex: Option<Multiplex>,
    sink: Option<Sink>,
    source: Option<Source>,
    layer: Option<Layer>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Connection {
    pub(crate) protocol: String,
    pub(crate) framing: String,
    #[serde(default)]
    pub(crate) receipts: bool,
    #[serde(default)]
    pub(crate) metadata: bool,
    #[serde(default)]
    pub(crate) kinds: bool,
    #[serde(default)]
    pub(crate) half_close: bool,
    #[serde(default)]
    pub(crate) pings: bool,
    #[serde(default)]
    pub(crate) resumes: bool,
    #[serde(default)]
    pub(crate) keeps_alive: bool,
    #[serde(default)]
    pub(crate) multiplex: bool,
    pub(crate) max_datagram: Option<usize>,
    #[serde(default = "yes")]
    pub(crate) close_frames: bool,
    #[serde(default = "yes")]
    pub(crate) boundaries: bool,
    #[serde(default)]
    pub(crate) payload: Alphabet,
}

/// What a payload may be made of.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Alphabet {
    #[default]
    Any,
    Lines,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    pub(crate) handshake: bool,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dialer {
    pub(crate) unknown: String,
    pub(crate) silent: Option<Silent>,
}

/// The socket over which a peer can be there and say nothing.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Silent {
    Tcp,
    Udp,
    Unix,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Multiplex {
    pub(crate) unordered: bool,
    pub(crate) datagrams: bool,
    #[serde(default = "yes")]
    pub(crate) announced: bool,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sink {
    level: String,
    #[serde(default = "yes")]
    pub(crate) reads_back: bool,
    pub(crate) max_packet: Option<usize>,
}

impl Sink {
    pub(crate) fn level(&self) -> Level {
        let all = [Level::Discarded, Level::Sent, Level::Acknowledged, Level::Stored];
        let known = all.into_iter().find(|level| level.as_str() == self.level);
        known.unwrap_or_else(|| panic!("capabilities.toml: there is no level {}", self.level))
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    pub(crate) max_unacked: usize,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    #[serde(default)]
    pub(crate) exhausts: bool,
}

fn yes() -> bool {
    true
}

impl Section {
    pub(crate) fn connection(name: &str) -> Connection {
        part(name, "connection", |section| section.connection.clone())
    }

    pub(crate) fn listener(name: &str) -> Listener {
        part(name, "listener", |section| section.listener.clone())
    }

    pub(crate) fn dialer(name: &str) -> Dialer {
        part(name, "dialer", |section| section.dialer.clone())
    }

    /// Whether a peer can connect to the listener of this section and not finish the handshake.
    pub(crate) fn handshakes(name: &str) -> bool {
        let listener = SECTIONS.get(name).and_then(|section| section.listener.as_ref());
        listener.is_some_and(|listener| listener.handshake)
    }

    pub(crate) fn multiplex(name: &str) -> Multiplex {
        part(name, "multiplex", |section| section.multiplex.clone())
    }

    pub(crate) fn sink(name: &str) -> Sink {
        part(name, "sink", |section| section.sink.clone())
    }

    pub(crate) fn source(name: &str) -> Source {
        part(name, "source", |section| section.source.clone())
    }

    pub(crate) fn layer(name: &str) -> Layer {
        part(name, "layer", |section| section.layer.clone())
    }
}

fn part<T>(name: &str, role: &str, of: impl FnOnce(&Section) -> Option<T>) -> T {
    SECTIONS.get(name).and_then(of).unwrap_or_else(|| {
        panic!("capabilities.toml has no section [{name:?}.{role}]: say what is expected of it")
    })
}
