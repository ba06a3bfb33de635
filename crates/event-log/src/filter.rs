//! Which events a sink gets.

use std::collections::BTreeMap;

use haul_core::{Field, Packet, Result};
use serde::Deserialize;

/// What a packet must have: every field with its value, or with one of its values. The empty filter lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Filter(BTreeMap<Field, Values>);

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    OneOf(Vec<String>),
}

impl Filter {
    /// A filter that lets everything pass.
    pub fn new() -> Self {
        Self::default()
    }

    /// The filter that also asks for the field `name` to be `value`: metadata, or `/user/id` in a JSON payload. Errors:
    /// [`Field::parse`]'s.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Result<Self> {
        self.0.insert(Field::parse(name)?, Values::One(value.into()));
        Ok(self)
    }

    /// Whether `packet` passes. One that cannot have the field, as its payload is no JSON, does not.
    pub fn passes(&self, packet: &Packet) -> bool {
        self.0.iter().all(|(field, values)| {
            let Ok(Some(found)) = field.of(packet) else { return false };
            match values {
                Values::One(value) => *value == found,
                Values::OneOf(values) => values.iter().any(|value| *value == found),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_must_have_its_value() {
        let filter = Filter::new().with("type", "order").unwrap().with("land", "ch").unwrap();
        let packet = Packet::text("").with("type", "order");
        assert!(Filter::new().passes(&packet));
        assert!(!filter.passes(&packet));
        assert!(filter.passes(&packet.with("land", "ch")));
    }

    #[test]
    fn a_field_of_the_payload_may_have_one_of_many_values() {
        let read = |json| serde_json::from_str::<Filter>(json);
        let filter = read(r#"{"/user/plan":["pro","team"],"/paid":"true"}"#).unwrap();
        for (text, passes) in [
            (r#"{"user":{"plan":"team"},"paid":true}"#, true),
            (r#"{"user":{"plan":"free"},"paid":true}"#, false),
            (r#"{"user":{"plan":"pro"}}"#, false),
            ("no json", false),
        ] {
            assert_eq!(filter.passes(&Packet::text(text)), passes, "{text}");
        }
        assert!(read(r#"{"@time":"1"}"#).unwrap_err().to_string().contains("@id"));
    }
}
