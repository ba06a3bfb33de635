//! The layers that the commands which connect can put around what they dial.

use std::time::Duration;

use clap::Args;
use haul::adaptive::AdaptiveOptions;
use haul::heartbeat::HeartbeatOptions;
use haul::reconnect::ReconnectOptions;
use haul::session::SessionOptions;
use haul::{Connect, Stack, parse_duration};

use crate::exit::Failure;

/// Layers around connections.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "Layers of connections")]
pub(crate) struct Layers {
    /// Survive cuts without losing or repeating a packet; the server must speak sessions, as haul listen --session does
    #[arg(long, conflicts_with = "reconnect")]
    session: bool,
    /// Connect again whenever the connection ends, and say what may be missing
    #[arg(long)]
    reconnect: bool,
    /// Race WebTransport, WebSocket and SSE at the URL, which is wss:// or ws://
    #[arg(long, conflicts_with = "or")]
    adaptive: bool,
    /// Another URL of the same server, begun when those before it fail or take long; may be given again
    #[arg(long, value_name = "URL")]
    or: Vec<String>,
    /// Ask a peer that is silent for this long, and give it up when it does not answer three times
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    heartbeat: Option<Duration>,
}

impl Layers {
    /// What connects to `url` through them.
    pub(crate) fn connect(&self, url: &str) -> Connect {
        haul::connect(url).through(self.stack())
    }

    /// Refuses them where nothing is connected to that they could go around.
    pub(crate) fn refuse_unless(&self, connects: bool, command: &str) -> Result<(), Failure> {
        if connects || *self == Self::default() {
            return Ok(());
        }
        let message = format!("{command}: there is no connection for --session and the like to go around");
        Err(Failure::usage(message).with_hint("leave them out; they are for URLs such as wss://host/path"))
    }

    /// Refuses further URLs where it is not clear of which end they are.
    pub(crate) fn refuse_other_urls(&self, command: &str) -> Result<(), Failure> {
        match self.or.is_empty() {
            true => Ok(()),
            false => Err(Failure::usage(format!("{command}: both ends are connections: whose URL is --or?"))
                .with_hint("leave it out, or use two pipes")),
        }
    }

    fn stack(&self) -> Stack {
        let mut stack = Stack::default();
        stack.or.clone_from(&self.or);
        stack.adaptive = self.adaptive.then(AdaptiveOptions::default);
        stack.heartbeat = self.heartbeat.map(|interval| {
            let default = HeartbeatOptions::default();
            HeartbeatOptions { interval, timeout: default.timeout.min(interval), ..default }
        });
        // A server that restarts says goodbye first: that is no reason to stop here.
        let again = || ReconnectOptions { after_clean_close: true, ..ReconnectOptions::default() };
        stack.reconnect = self.reconnect.then(again);
        stack.session = self.session.then(SessionOptions::default);
        stack
    }
}
