//! The sink that logs.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use haul_core::{Batch, Error, ErrorKind, Kind, Level, Packet, Receipt, Result, Sent, Service, Sink};
use tracing::field::{Value, debug, display};
use tracing::{Event, Metadata, dispatcher};

use crate::callsite::metadata;
use crate::{BinaryAs, LogConfig};

/// Writes packets to `tracing`. The receipt is [`Level::Sent`] if the subscriber took the event and
/// [`Level::Discarded`] if it was not interested; a packet delivered twice is logged twice.
pub struct Log {
    config: LogConfig,
    metadata: &'static Metadata<'static>,
    closed: AtomicBool,
}

impl Log {
    /// A sink with this configuration. Errors: `Config` for an empty target, or if the program has used too many.
    pub fn new(config: LogConfig) -> Result<Self> {
        if config.target.is_empty() {
            return Err(Error::new(ErrorKind::Config, "log: the target is empty; leave it out for haul"));
        }
        let metadata = metadata(&config.target, config.level)?;
        Ok(Self { config, metadata, closed: AtomicBool::new(false) })
    }

    fn open(&self) -> Result<()> {
        match self.closed.load(Ordering::Acquire) {
            false => Ok(()),
            true => {
                let text = format!("log to target {}: the sink is closed", self.config.target);
                Err(Error::new(ErrorKind::Closed, text).with_sent(Sent::No))
            }
        }
    }

    fn log(&self, packet: &Packet) -> Receipt {
        let level = dispatcher::get_default(|subscriber| {
            if !subscriber.enabled(self.metadata) {
                return Level::Discarded;
            }
            self.event(packet, |event| subscriber.event(event));
            Level::Sent
        });
        Receipt::new(level, packet.id())
    }

    fn event(&self, packet: &Packet, then: impl FnOnce(&Event<'_>)) {
        let text = self.shown(packet);
        let message = format_args!("{text}");
        let bytes = packet.len() as u64;
        let id = packet.id().map(display);
        let shown = self.config.metadata && !packet.metadata().is_empty();
        let beside = shown.then(|| debug(packet.metadata()));
        let values: [Option<&dyn Value>; 4] = [
            Some(&message),
            Some(&bytes),
            id.as_ref().map(|id| id as &dyn Value),
            beside.as_ref().map(|beside| beside as &dyn Value),
        ];
        let fields = self.metadata.fields();
        let values = fields.value_set_all(&values);
        then(&Event::new(self.metadata, &values));
    }

    fn shown<'a>(&self, packet: &'a Packet) -> Cow<'a, str> {
        if packet.kind() == Kind::Text {
            return String::from_utf8_lossy(packet.payload());
        }
        match self.config.binary {
            BinaryAs::Base64 => STANDARD.encode(packet.payload()).into(),
            BinaryAs::Hex => hex(packet.payload()).into(),
            BinaryAs::Length => format!("{} bytes", packet.len()).into(),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

impl Service<Batch> for Log {
    async fn call(&self, batch: Batch) -> Result<Vec<Result<Receipt>>> {
        self.open()?;
        Ok(batch.packets().iter().map(|packet| Ok(self.log(packet))).collect())
    }
}

impl Service<Packet> for Log {
    async fn call(&self, packet: Packet) -> Result<Receipt> {
        self.open()?;
        Ok(self.log(&packet))
    }
}

impl Sink for Log {
    async fn ready(&self) -> Result<()> {
        self.open()
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("config", &self.config)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
