//! Errors that name the file, the line, and the nearest key that exists.

use std::ops::Range;

use haul_core::{Error, ErrorKind};
use toml::de::{DeTable, DeValue};

/// A file's text and what to call it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// Something wrong at `span`.
    pub(super) fn wrong(self, span: Range<usize>, why: &str) -> Error {
        let message = format!("{}, line {}: {why}", self.name, self.line(span.start));
        Error::new(ErrorKind::Config, message)
    }

    /// What the parser or serde says, in our words; `tree` is what serde read.
    pub(super) fn explain(self, why: &toml::de::Error, tree: Option<&DeTable<'_>>) -> Error {
        let span = why.span().unwrap_or(0..0);
        let Some(wrong) = Unknown::of(why.message()) else {
            return self.wrong(span, why.message().trim_end());
        };
        // Inside a table that serde had to read ahead, only the table's place is known: look the key up.
        let place = tree.and_then(|tree| find(tree, wrong.found, &span)).unwrap_or(span);
        self.wrong(place, &wrong.explain())
    }

    fn line(self, at: usize) -> usize {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// A word that is not among those that serde expected.
pub(super) struct Unknown<'a> {
    what: &'static str,
    pub(super) found: &'a str,
    known: Vec<&'a str>,
}

impl<'a> Unknown<'a> {
    /// An unknown key.
    pub(super) fn key(found: &'a str, known: Vec<&'a str>) -> Self {
        Self { what: "key", found, known }
    }

    /// Takes serde's message apart: ``unknown field `a`, expected one of `b`, `c` ``.
    pub(super) fn of(message: &'a str) -> Option<Self> {
        let (what, rest) = match message.strip_prefix("unknown field `") {
            Some(rest) => ("key", rest),
            None => ("value", message.strip_prefix("unknown variant `")?),
        };
        let (found, expected) = rest.split_once('`')?;
        let known = expected.split('`').skip(1).step_by(2).collect();
        Some(Self { what, found, known })
    }

    /// What is unknown and what may have been meant.
    pub(super) fn explain(&self) -> String {
        let Self { what, found, known } = self;
        let known = known.iter().filter(|known| **known != *found);
        let nearest = known.clone().max_by(|a, b| strsim::jaro(a, found).total_cmp(&strsim::jaro(b, found)));
        let all = known.copied().collect::<Vec<_>>().join(", ");
        match nearest {
            Some(near) if strsim::jaro(near, found) > 0.7 => {
                format!("unknown {what} {found:?}; did you mean {near}? Known are {all}")
            }
            Some(_) => format!("unknown {what} {found:?}; known are {all}"),
            None => format!("unknown {what} {found:?}; there are none here"),
        }
    }
}

/// Where the key or text `word` stands: inside `near` if there, else the first after its start.
fn find(tree: &DeTable<'_>, word: &str, near: &Range<usize>) -> Option<Range<usize>> {
    let mut places = Vec::new();
    collect(tree, word, &mut places);
    places.sort_by_key(|place| place.start);
    let mut after = places.into_iter().filter(|place| place.start >= near.start);
    after.next()
}

fn collect(table: &DeTable<'_>, word: &str, places: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        if key.get_ref() == word {
            places.push(key.span());
        }
        collect_value(value, word, places);
    }
}

fn collect_value(value: &toml::Spanned<DeValue<'_>>, word: &str, places: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::String(text) if text == word => places.push(value.span()),
        DeValue::Table(table) => collect(table, word, places),
        DeValue::Array(items) => items.iter().for_each(|item| collect_value(item, word, places)),
        _ => {}
    }
}
