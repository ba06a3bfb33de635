//! What travels beside a payload: names and values.

use std::borrow::Cow;
use std::fmt;

type Text = Cow<'static, str>;

/// A small map from names to values, both text, in the order in which they were first set. Empty it costs a pointer.
#[derive(Clone, Default, PartialEq, Eq)]
#[expect(clippy::box_collection, reason = "a vector is three pointers, and most packets have no metadata")]
pub struct Metadata(Option<Box<Vec<(Text, Text)>>>);

impl Metadata {
    /// An empty map.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Sets `name` to `value` and answers what it was before.
    pub fn set(&mut self, name: impl Into<Text>, value: impl Into<Text>) -> Option<Text> {
        let (name, value) = (name.into(), value.into());
        let entries = self.0.get_or_insert_default();
        match entries.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => Some(std::mem::replace(old, value)),
            None => {
                entries.push((name, value));
                None
            }
        }
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Takes `name` out and answers its value.
    pub fn remove(&mut self, name: &str) -> Option<Text> {
        let entries = self.0.as_mut()?;
        let at = entries.iter().position(|(known, _)| known == name)?;
        let (_, value) = entries.remove(at);
        if entries.is_empty() {
            self.0 = None;
        }
        Some(value)
    }

    /// How many names are set.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |entries| entries.len())
    }

    /// Whether no name is set.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names and values, in the order in which they were first set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|entries| entries.iter()).map(|(name, value)| (&**name, &**value))
    }

    /// Bytes of all names and values.
    #[inline]
    pub fn size(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<N: Into<Text>, V: Into<Text>> FromIterator<(N, V)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        let mut metadata = Self::new();
        for (name, value) in entries {
            metadata.set(name, value);
        }
        metadata
    }
}

impl serde::Serialize for Metadata {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> serde::Deserialize<'de> for Metadata {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> serde::de::Visitor<'de> for Entries {
            type Value = Metadata;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from text to text")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
                let mut metadata = Metadata::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    metadata.set(name, value);
                }
                Ok(metadata)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_a_name_twice_keeps_its_place_and_the_last_value() {
        let mut metadata: Metadata = [("a", "1"), ("b", "2")].into_iter().collect();
        assert_eq!(metadata.set("a", "3").as_deref(), Some("1"));
        assert_eq!(metadata.iter().collect::<Vec<_>>(), [("a", "3"), ("b", "2")]);
    }

    #[test]
    fn an_empty_map_costs_one_pointer() {
        assert_eq!(size_of::<Metadata>(), size_of::<usize>());
        let mut metadata: Metadata = [("a", "1")].into_iter().collect();
        metadata.remove("a");
        assert_eq!(metadata, Metadata::new());
    }
}
