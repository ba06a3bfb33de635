//! What a person, or a program, sees of a conversation.

use std::time::Duration;

use haul::{CloseReason, Info, Packet, State};
use serde_json::json;

use crate::args::Binary;
use crate::exit::Failure;
use crate::output::{Output, Paint, packet_json, shown, time};

pub(super) struct Screen {
    out: Output,
    binary: Option<Binary>,
    /// A person types.
    pub(super) interactive: bool,
}

impl Screen {
    pub(super) fn new(out: Output, binary: Option<Binary>, interactive: bool) -> Self {
        Self { out, binary, interactive }
    }

    /// A person types here and reads here: lines begin with markers.
    fn marked(&self) -> bool {
        self.interactive && self.out.terminal && !self.out.json
    }

    pub(super) fn connected(&self, info: &Info) -> Result<(), Failure> {
        if self.out.json {
            return self.out.object(&json!({
                "event": "state", "state": "connected",
                "protocol": info.protocol, "framing": info.framing, "peer": info.peer,
            }));
        }
        let framing = match info.framing {
            "" => String::new(),
            framing => format!(", {framing}"),
        };
        self.out.remark(&format!("connected to {} ({}{framing})", info.peer, info.protocol));
        if self.marked() {
            self.out.remark("lines you type are sent; end with ctrl-d");
        }
        self.prompt()
    }

    pub(super) fn prompt(&self) -> Result<(), Failure> {
        match self.marked() {
            true => self.out.bytes(format!("{} ", self.out.paint(Paint::Name, ">")).as_bytes()),
            false => Ok(()),
        }
    }

    /// Leaves the line of the prompt, and says how the conversation ended. Why it failed is said by
    /// the error that the program ends with.
    pub(super) fn done(&self, state: &State) -> Result<(), Failure> {
        self.clear_prompt()?;
        match state {
            State::Disconnected { .. } => self.tell(state),
            _ => Ok(()),
        }
    }

    fn clear_prompt(&self) -> Result<(), Failure> {
        match self.marked() {
            true => self.out.bytes(b"\r\x1b[K"),
            false => Ok(()),
        }
    }

    pub(super) fn received(&self, packet: &Packet) -> Result<(), Failure> {
        if self.out.json {
            return self.out.object(&packet_json("received", packet));
        }
        let mut line = Vec::new();
        if self.marked() {
            line.extend(format!("\r\x1b[K{} ", self.out.paint(Paint::Good, "<")).into_bytes());
        }
        line.extend(shown(packet, self.binary, self.out.terminal));
        line.push(b'\n');
        self.out.bytes(&line)?;
        self.prompt()
    }

    pub(super) fn state(&self, state: &State) -> Result<(), Failure> {
        self.clear_prompt()?;
        self.tell(state)?;
        self.prompt()
    }

    fn tell(&self, state: &State) -> Result<(), Failure> {
        let (attempt, why) = match state {
            State::Reconnecting { attempt } => (Some(*attempt), None),
            State::Disconnected { reason: Some(reason) } => (None, Some(reason.to_string())),
            _ => (None, None),
        };
        if self.out.json {
            let state = json!({ "event": "state", "state": state.name(), "attempt": attempt, "why": why });
            return self.out.object(&state);
        }
        // Who ends well gives no reason.
        let clean =
            matches!(state, State::Disconnected { reason: Some(reason) } if *reason == CloseReason::NORMAL);
        self.out.remark(&match (attempt, why) {
            (Some(attempt), _) => format!("{}, attempt {attempt}", state.name()),
            (_, Some(why)) if !clean => format!("{}: {why}", state.name()),
            _ => state.name().to_owned(),
        });
        Ok(())
    }

    pub(super) fn rtt(&self, rtt: Duration) -> Result<(), Failure> {
        if self.out.json {
            let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
            return self.out.object(&json!({ "event": "rtt", "micros": micros }));
        }
        self.clear_prompt()?;
        self.out.remark(&format!("round trip {}", time(rtt)));
        self.prompt()
    }

    pub(super) fn warn(&self, warning: &str) -> Result<(), Failure> {
        self.clear_prompt()?;
        self.out.warn(warning);
        self.prompt()
    }
}
