//! Text with places for what a packet has: names of topics, keys and fields.

use std::borrow::Cow;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::{Error, ErrorKind, Field, Packet, Result, Sent};

/// Text with places that each packet fills: `events-{session_id}`.
///
/// | place | what stands there |
/// |---|---|
/// | `{name}`, `{/user/id}`, `{@id}` | a [`Field`] of the packet |
/// | `{name\|other}` | `other` where there is none |
/// | `{{` and `}}` | a brace |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place { field: Field, otherwise: Option<String> },
}

impl Template {
    /// Errors: `Config`, with the place that is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: String| Error::new(ErrorKind::Config, format!("template {text:?}: {why}"));
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let inside = (brace == "{").then(|| rest.split_once('}')).flatten();
            let (inside, after) =
                inside.ok_or_else(|| wrong(format!("a single {brace}; two stand for one")))?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(place(inside).map_err(wrong)?);
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text for `packet`. Errors: `Rejected` for a packet that lacks what is asked for, `Codec` for a pointer into what
    /// is no JSON; permanent, and nothing was sent.
    pub fn render(&self, packet: &Packet) -> Result<Cow<'_, str>> {
        if let [Part::Text(text)] = &self.parts[..] {
            return Ok(Cow::Borrowed(text));
        }
        let mut rendered = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => rendered.push_str(text),
                Part::Place { field, otherwise } => match (field.of(packet), otherwise) {
                    (Ok(Some(found)), _) => rendered.push_str(&found),
                    (_, Some(otherwise)) => rendered.push_str(otherwise),
                    (Ok(None), None) => {
                        let why = format!(
                            "the packet has no {field} for {:?}; {{name|other}} gives another",
                            self.text
                        );
                        return Err(Error::new(ErrorKind::Rejected, why).with_sent(Sent::No));
                    }
                    (Err(why), None) => return Err(why.while_doing(format!("fill {:?}", self.text))),
                },
            }
        }
        Ok(Cow::Owned(rendered))
    }
}

fn place(inside: &str) -> Result<Part, String> {
    let (name, otherwise) = match inside.split_once('|') {
        Some((name, otherwise)) => (name, Some(otherwise.to_owned())),
        None => (inside, None),
    };
    let field = Field::parse(name).map_err(|why| format!("{{{inside}}}: {}", why.message()))?;
    Ok(Part::Place { field, otherwise })
}

impl FromStr for Template {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str, packet: &Packet) -> Result<String> {
        Template::parse(text)?.render(packet).map(Cow::into_owned)
    }

    #[test]
    fn places_are_filled_with_what_the_packet_has() {
        let packet = Packet::text(r#"{"user":{"id":7},"a/b":"x","deep":[true]}"#).with("session_id", "s1");
        for (text, filled) in [
            ("plain", "plain"),
            ("", ""),
            ("events-{session_id}", "events-s1"),
            ("{session_id}{session_id}", "s1s1"),
            ("{missing|none}.{session_id|other}", "none.s1"),
            ("{missing|}", ""),
            ("{{{session_id}}}", "{s1}"),
            ("{/user/id}-{/a~1b}-{/deep/0}", "7-x-true"),
            ("{/user|object}", "object"),
        ] {
            assert_eq!(render(text, &packet).unwrap(), filled, "{text}");
        }
        let tagged = Packet::text("p").with("a", "1");
        assert_eq!(render("{@kind} {@payload} {@metadata}", &tagged).unwrap(), r#"text p {"a":"1"}"#);
        let id = packet.clone().identified();
        assert_eq!(render("{@id}", &id).unwrap(), id.id().unwrap().to_string());
    }

    #[test]
    fn what_a_packet_lacks_is_refused_and_names_the_place() {
        let packet = Packet::text("no json");
        for (text, kind) in
            [("a-{user}", ErrorKind::Rejected), ("{@id}", ErrorKind::Rejected), ("{/user}", ErrorKind::Codec)]
        {
            let why = render(text, &packet).unwrap_err();
            assert_eq!((why.kind(), why.sent()), (kind, Sent::No), "{why}");
            assert!(why.to_string().contains(text), "{why}");
        }
        assert_eq!(render("{/user|x}", &packet).unwrap(), "x");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["{", "}", "a{b", "{}", "{@time}", "}{", "{|x}"] {
            assert_eq!(Template::parse(text).unwrap_err().kind(), ErrorKind::Config, "{text}");
        }
    }
}
