//! Environment variables: looked up for `${VAR}`, and laid over the file's keys.

use std::collections::BTreeMap;

use haul_core::{Error, ErrorKind, Result};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::Config;
use super::explain::{Source, Unknown};
use super::tree::deserialize;

/// The sections whose keys variables override.
pub(super) const SECTIONS: &[&str] = &["serve", "events", "log"];

/// The event log's own word for its folder, which is `data` in `[serve]` here; its crate reads it.
const FOLDER: &str = "HAUL_EVENTS_DIR";

/// Environment variables, those of the process or any others.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The variables of this process; those that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Lays each `HAUL_<SECTION>_<KEY>` over `tree` and reads it.
    pub(super) fn override_keys<'a>(&'a self, source: Source<'_>, mut tree: DeTable<'a>) -> Result<Config> {
        let mut config = deserialize(&tree).map_err(|why| source.explain(&why, Some(&tree)))?;
        for (name, value) in &self.0 {
            let Some((section, key)) = place(name)? else {
                continue;
            };
            (tree, config) = overridden(tree, section, &key, value)
                .map_err(|why| Error::new(ErrorKind::Config, format!("{name}={value}: {why}")))?;
        }
        Ok(config)
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        let variables = variables.into_iter();
        Self(variables.map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// Section and key that the variable `name` overrides; `None` if it is not ours.
fn place(name: &str) -> Result<Option<(&'static str, String)>> {
    let Some(rest) = name.strip_prefix("HAUL_").filter(|_| name != FOLDER) else {
        return Ok(None);
    };
    let rest = rest.to_ascii_lowercase();
    for section in SECTIONS.iter().copied() {
        if let Some(key) = rest.strip_prefix(section).and_then(|key| key.strip_prefix('_')) {
            return Ok(Some((section, key.to_owned())));
        }
    }
    // HAUL_SERVICE_HOST, HAUL_PORT_8080_TCP: Kubernetes sets them for a service of that name.
    let Some((section, key)) = rest.split_once('_').filter(|(section, _)| *section != "service") else {
        return Ok(None);
    };
    let near = SECTIONS.iter().copied().find(|known| strsim::jaro(known, section) > 0.85);
    match near {
        None => Ok(None),
        Some(near) => {
            let meant = format!("HAUL_{near}_{key}").to_ascii_uppercase();
            let message =
                format!("environment variable {name}: there is no section {section}; did you mean {meant}?");
            Err(Error::new(ErrorKind::Config, message))
        }
    }
}

/// The tree with `value` at its place, in the first reading that fits: text, TOML, a list with commas.
fn overridden<'a>(
    tree: DeTable<'a>,
    section: &'static str,
    key: &str,
    value: &'a str,
) -> Result<(DeTable<'a>, Config), String> {
    let text = || Spanned::new(0..0, DeValue::String(value.into()));
    let list = value.split(',').map(|item| Spanned::new(0..0, DeValue::String(item.trim().into())));
    let readings = [
        DeValue::parse(value).ok(),
        Some(text()),
        Some(Spanned::new(0..0, DeValue::Array(list.collect::<DeArray<'_>>()))),
    ];
    let mut first = None;
    for reading in readings.into_iter().flatten() {
        let mut tree = tree.clone();
        let place = tree
            .entry(Spanned::new(0..0, section.into()))
            .or_insert_with(|| Spanned::new(0..0, DeValue::Table(DeTable::new())));
        let DeValue::Table(table) = place.get_mut() else {
            return Err(format!("{section} is not a table"));
        };
        table.remove(key);
        table.insert(Spanned::new(0..0, key.to_owned().into()), reading);
        match deserialize(&tree) {
            Ok(config) => return Ok((tree, config)),
            Err(why) => {
                first.get_or_insert(why);
            }
        }
    }
    let why = first.expect("there are at least two readings");
    Err(match Unknown::of(why.message()) {
        Some(unknown) => unknown.explain(),
        None => why.message().trim_end().to_owned(),
    })
}
