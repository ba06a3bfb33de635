//! The file as a tree in which every value knows its place, so that errors can name the line.

use haul_core::Result;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::explain::{Source, Unknown};
use super::{Config, Environment, Profile};

/// A parsed file, its profiles apart.
pub(super) struct File<'a> {
    source: Source<'a>,
    base: DeTable<'a>,
    profiles: DeTable<'a>,
}

impl<'a> File<'a> {
    pub(super) fn parse(source: Source<'a>) -> Result<Self> {
        let parsed = DeTable::parse(source.text).map_err(|why| source.explain(&why, None))?;
        let mut base = parsed.into_inner();
        let profiles = match base.remove("profile") {
            None => DeTable::new(),
            Some(value) => match (value.span(), value.into_inner()) {
                (_, DeValue::Table(table)) => table,
                (span, _) => return Err(source.wrong(span, "profile is a table: [profile.production]")),
            },
        };
        for key in profiles.keys() {
            let known = Profile::ALL.map(Profile::as_str);
            if !known.contains(&key.get_ref().as_ref()) {
                let unknown = Unknown::key(key.get_ref(), known.to_vec());
                return Err(source.wrong(key.span(), &unknown.explain()));
            }
        }
        Ok(Self { source, base, profiles })
    }

    /// Checks keys and values as they would be with `profile`, without looking up variables.
    pub(super) fn check(&self, profile: Profile) -> Result<()> {
        let tree = self.merged(profile)?;
        match deserialize(&tree) {
            // What a variable would fill in cannot be checked.
            Err(why) if Unknown::of(why.message()).is_some() => Err(self.source.explain(&why, Some(&tree))),
            _ => Ok(()),
        }
    }

    /// The tree as it is with `profile`, variables looked up.
    pub(super) fn with_profile(&self, profile: Profile, environment: &Environment) -> Result<DeTable<'a>> {
        let mut tree = self.merged(profile)?;
        for value in values_mut(&mut tree) {
            self.fill_in(value, environment)?;
        }
        deserialize(&tree).map_err(|why| self.source.explain(&why, Some(&tree)))?;
        Ok(tree)
    }

    fn merged(&self, profile: Profile) -> Result<DeTable<'a>> {
        let mut tree = self.base.clone();
        let found = self.profiles.iter().find(|(key, _)| key.get_ref() == profile.as_str());
        if let Some((key, over)) = found {
            match over.get_ref() {
                DeValue::Table(over) => lay_over(&mut tree, over),
                _ => {
                    return Err(self.source.wrong(key.span(), "a profile is a table: [profile.production]"));
                }
            }
        }
        Ok(tree)
    }

    fn fill_in(&self, value: &mut Spanned<DeValue<'_>>, environment: &Environment) -> Result<()> {
        let span = value.span();
        match value.get_mut() {
            DeValue::String(text) => {
                let filled = interpolate(text, environment).map_err(|why| self.source.wrong(span, &why))?;
                *text = filled.into();
            }
            DeValue::Array(items) => {
                for item in items.iter_mut() {
                    self.fill_in(item, environment)?;
                }
            }
            DeValue::Table(table) => {
                for value in values_mut(table) {
                    self.fill_in(value, environment)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The configuration that a tree says.
pub(super) fn deserialize(tree: &DeTable<'_>) -> Result<Config, toml::de::Error> {
    let root = Spanned::new(0..0, DeValue::Table(tree.clone()));
    Config::deserialize(ValueDeserializer::from(root))
}

fn lay_over<'a>(under: &mut DeTable<'a>, over: &DeTable<'a>) {
    for (key, value) in over {
        match (under.get_mut(key).map(Spanned::get_mut), value.get_ref()) {
            (Some(DeValue::Table(under)), DeValue::Table(over)) => lay_over(under, over),
            (Some(_), _) => {
                // The key is taken with its value: its place is the override's.
                under.remove(key);
                under.insert(key.clone(), value.clone());
            }
            (None, _) => {
                under.insert(key.clone(), value.clone());
            }
        }
    }
}

fn values_mut<'t, 'a>(table: &'t mut DeTable<'a>) -> impl Iterator<Item = &'t mut Spanned<DeValue<'a>>> {
    table.iter_mut().map(|(_, value)| value)
}

/// `text` with each `${VAR}` replaced by the variable, and `$${` by `${`.
fn interpolate(text: &str, environment: &Environment) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            filled.push_str(before);
            filled.push_str("${");
            rest = after;
            continue;
        }
        filled.push_str(before);
        let end = after.find('}').ok_or("${ is not closed by }; write $${ for a plain ${")?;
        let name = &after[..end];
        let value = environment.get(name).ok_or_else(|| {
            format!(
                "the environment variable {name} is not set; export {name}=... or write $${{ for a plain ${{"
            )
        })?;
        filled.push_str(value);
        rest = &after[end + 1..];
    }
    filled.push_str(rest);
    Ok(filled)
}
