//! What is known about a delivered packet.

use std::borrow::Cow;
use std::time::SystemTime;

use crate::PacketId;

/// How far a packet is known to have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// It was thrown away, as the sink is there to do.
    Discarded,
    /// The operating system has it.
    Sent,
    /// The receiver said that it has it.
    Acknowledged,
    /// It is on disk, or committed by a broker.
    Stored,
}

impl Level {
    /// The level as one lower-case word, as it stands in logs, JSON and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Discarded => "discarded",
            Self::Sent => "sent",
            Self::Acknowledged => "acknowledged",
            Self::Stored => "stored",
        }
    }
}

/// The answer to a delivery: what is known, no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// How far the packet is known to have come.
    pub level: Level,
    /// The packet's id, if it has one.
    pub id: Option<PacketId>,
    /// The receiver's own name for it: a Redis entry id, a Kafka offset, a position in a log.
    pub reference: Option<Cow<'static, str>>,
    /// When this became known, by the clock of who says so.
    pub at: SystemTime,
}

impl Receipt {
    /// A receipt of now.
    pub fn new(level: Level, id: Option<PacketId>) -> Self {
        Self { level, id, reference: None, at: SystemTime::now() }
    }

    /// The receipt with the receiver's own name for the packet.
    #[must_use]
    pub fn with_reference(mut self, reference: impl Into<Cow<'static, str>>) -> Self {
        self.reference = Some(reference.into());
        self
    }
}
