//! Which events a sink gets.

use std::collections::BTreeMap;

use haul_core::Packet;
use serde::Deserialize;

/// Metadata that a packet must have: every name with its value. The empty filter lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Filter(BTreeMap<String, String>);

impl Filter {
    /// A filter that lets everything pass.
    pub fn new() -> Self {
        Self::default()
    }

    /// The filter that also asks for `name` to be `value`.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// Whether `packet` passes.
    pub fn passes(&self, packet: &Packet) -> bool {
        let metadata = packet.metadata();
        self.0.iter().all(|(name, value)| metadata.get(name) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_must_have_its_value() {
        let filter = Filter::new().with("type", "order").with("land", "ch");
        let packet = Packet::text("").with("type", "order");
        assert!(Filter::new().passes(&packet));
        assert!(!filter.passes(&packet));
        assert!(filter.passes(&packet.with("land", "ch")));
    }
}
