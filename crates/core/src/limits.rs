//! The bounds of one connection.

use std::time::Duration;

use crate::{Options, Result};

/// The bounds of one connection. Everything has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest payload sent or received, in bytes; larger is `TooLarge`. Default 16 MiB.
    pub max_packet: usize,
    /// The send buffer takes packets while it holds fewer bytes than this; then `send` waits. Default 128 KiB.
    pub send_buffer: usize,
    /// The send buffer takes packets while it holds fewer than this; then `send` waits. Default 4096.
    pub send_packets: usize,
    /// With no `recv` pending, this many bytes are read ahead; then reading stops. Default 64 KiB.
    pub read_ahead: usize,
    /// How long `close`, or dropping the connection, drains. Default 5 s.
    pub close_deadline: Duration,
    /// How many deliveries may wait for their receipts; one more is `Overloaded`. Default 65,536.
    pub max_unanswered: usize,
    /// A peer that sends nothing, not even pings, for this long is cut with `Timeout`. Default never.
    pub idle_deadline: Option<Duration>,
    /// A ping is sent after this long without anything received. Default never.
    pub ping_interval: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_packet: 16 << 20,
            send_buffer: 128 << 10,
            send_packets: 4096,
            read_ahead: 64 << 10,
            close_deadline: Duration::from_secs(5),
            max_unanswered: 65_536,
            idle_deadline: None,
            ping_interval: None,
        }
    }
}

impl Limits {
    /// The options that every protocol reads from its endpoint: sizes as `64KiB`, times as `10s`.
    pub const OPTIONS: &[&'static str] =
        &["max_packet", "send_buffer", "send_packets", "read_ahead", "close_deadline", "idle", "ping"];

    /// The bounds that `options` set, the others as by default. Errors: `Config`.
    pub fn from_options(options: &Options<'_>) -> Result<Self> {
        let default = Self::default();
        Ok(Self {
            max_packet: options.bytes("max_packet")?.unwrap_or(default.max_packet),
            send_buffer: options.bytes("send_buffer")?.unwrap_or(default.send_buffer),
            send_packets: options.get("send_packets")?.unwrap_or(default.send_packets),
            read_ahead: options.bytes("read_ahead")?.unwrap_or(default.read_ahead),
            close_deadline: options.duration("close_deadline")?.unwrap_or(default.close_deadline),
            idle_deadline: options.duration("idle")?,
            ping_interval: options.duration("ping")?,
            max_unanswered: default.max_unanswered,
        })
    }
}
