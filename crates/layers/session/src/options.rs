use std::time::Duration;

use haul_core::{Backoff, Error, ErrorKind, ListenerLimits, Result, duration_text};
use serde::{Deserialize, Serialize};

use crate::outgoing::Window;

/// A client's side of sessions: how much is kept to be sent again, and when and how often to dial.
///
/// In TOML: `replay_bytes = 1048576`, `replay_packets = 16384`, `attempts = 10`, `base = "200ms"`, `factor = 2.0`,
/// `cap = "30s"`, `deadline = "10m"`, `connect_timeout = "10s"`, `stable_after = "10s"`; all may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionOptions {
    /// Bytes that may be on their way and not settled by the peer; then `send` waits. The peer's own bound counts where
    /// it is smaller. Default 1 MiB.
    pub replay_bytes: usize,
    /// Packets that may be on their way and not settled; then `send` waits. Default 16,384.
    pub replay_packets: usize,
    /// Dials in a row, without a stable link in between, after which the connection fails; at least 1. Default without
    /// end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The longest wait before the second dial after a cut; the first is at once. Default 200 ms.
    #[serde(with = "duration_text")]
    pub base: Duration,
    /// What the longest wait is multiplied with each time; at least 1. Default 2.
    pub factor: f64,
    /// The longest wait that is drawn; a peer may ask for a longer one. Default 30 s.
    #[serde(with = "duration_text")]
    pub cap: Duration,
    /// The connection fails when no dial can begin within this time after the cut. Default never.
    #[serde(with = "duration_text::option", skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Duration>,
    /// How long one dial may take, the greeting included. Default 10 s.
    #[serde(with = "duration_text")]
    pub connect_timeout: Duration,
    /// A link that stood this long is stable: the next cut is followed by a dial at once. Default 10 s.
    #[serde(with = "duration_text")]
    pub stable_after: Duration,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            replay_bytes: 1 << 20,
            replay_packets: 16_384,
            attempts: None,
            base: Duration::from_millis(200),
            factor: 2.0,
            cap: Duration::from_secs(30),
            deadline: None,
            connect_timeout: Duration::from_secs(10),
            stable_after: Duration::from_secs(10),
        }
    }
}

impl SessionOptions {
    pub(crate) fn check(&self) -> Result<Backoff> {
        check_replay(self.replay_bytes, self.replay_packets)?;
        if self.attempts == Some(0) {
            return wrong("attempts must be at least 1; leave it out to go on without end");
        }
        if !(self.factor >= 1.0 && self.factor.is_finite()) {
            return wrong("factor must be a number of at least 1");
        }
        if self.connect_timeout.is_zero() {
            return wrong("connect_timeout must be more than zero");
        }
        Ok(Backoff { base: self.base, factor: self.factor, cap: self.cap })
    }

    pub(crate) fn window(&self) -> Window {
        Window { bytes: self.replay_bytes as u64, packets: self.replay_packets }
    }
}

/// A server's side of sessions: how much is kept, for how long, for how many.
///
/// In TOML: `replay_bytes = 1048576`, `replay_packets = 16384`, `retention = "2m"`, `max_detached = 16384`,
/// `max_memory = 268435456`, `admit_plain = false`, `greeting = "2s"`; all may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AcceptorOptions {
    /// Bytes that may be on their way and not settled by the peer; then `send` waits. The peer's own bound counts where
    /// it is smaller. Default 1 MiB.
    pub replay_bytes: usize,
    /// Packets that may be on their way and not settled; then `send` waits. Default 16,384.
    pub replay_packets: usize,
    /// How long a session without a link is kept; then its connection fails. One whose client never said that it heard of
    /// it (its dial was cancelled, mostly) is kept for no longer than a handshake may take. Default 2 min.
    #[serde(with = "duration_text")]
    pub retention: Duration,
    /// Sessions without a link that are kept; with one more, the oldest of them ends. Default 16,384.
    pub max_detached: usize,
    /// Bytes kept for all sessions together. Beyond it, sessions without a link end, the oldest first, and `send` waits
    /// on the others until their peers settle. Default 256 MiB.
    pub max_memory: usize,
    /// Peers without sessions come in, too, each as a plain connection with the info of its link, and nothing that they
    /// said is lost; otherwise they are turned away. Default false.
    pub admit_plain: bool,
    /// A peer that could speak sessions and says nothing for so long is admitted as plain; at most half of the time for a
    /// greeting in `limits`. Default 2 s.
    #[serde(with = "duration_text")]
    pub greeting: Duration,
    /// Connections at once, the time for a greeting, and how many wait to be accepted, as of any listener.
    #[serde(skip)]
    pub limits: ListenerLimits,
}

impl Default for AcceptorOptions {
    fn default() -> Self {
        Self {
            replay_bytes: 1 << 20,
            replay_packets: 16_384,
            retention: Duration::from_secs(120),
            max_detached: 16_384,
            max_memory: 256 << 20,
            admit_plain: false,
            greeting: Duration::from_secs(2),
            limits: ListenerLimits::default(),
        }
    }
}

impl AcceptorOptions {
    pub(crate) fn check(&self) -> Result<()> {
        check_replay(self.replay_bytes, self.replay_packets)
    }

    pub(crate) fn window(&self) -> Window {
        Window { bytes: self.replay_bytes as u64, packets: self.replay_packets }
    }

    /// How long a silent peer is waited for, if it is admitted then.
    pub(crate) fn patience(&self) -> Duration {
        self.greeting.min(self.limits.handshake_deadline / 2)
    }
}

fn check_replay(bytes: usize, packets: usize) -> Result<()> {
    match (bytes, packets) {
        (0, _) => wrong("replay_bytes must be at least 1"),
        (_, 0) => wrong("replay_packets must be at least 1"),
        _ => Ok(()),
    }
}

fn wrong<T>(what: &str) -> Result<T> {
    Err(Error::new(ErrorKind::Config, format!("session: {what}")))
}
