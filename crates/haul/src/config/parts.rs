//! What a table of `layers` says beside the layer's own options: keys that only a configuration has.

#[cfg(feature = "balance")]
use haul_balance::BalanceOptions;
#[cfg(feature = "queue")]
use haul_core::Batch;
#[cfg(feature = "queue")]
use haul_event_log::Filter;
#[cfg(feature = "queue")]
use haul_queue::{Policy, QueueOptions};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use toml::Table;

/// A layer over several sinks: the route's own, and those at the URLs in `sinks`. The other keys are the layer's options.
#[derive(Clone, Debug, PartialEq)]
pub struct Members<O> {
    /// The URLs of the other sinks, in order.
    pub sinks: Vec<String>,
    /// The layer's options.
    pub options: O,
}

const SINKS: &str = "sinks";

impl<'de, O: DeserializeOwned> Deserialize<'de> for Members<O> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (mut own, options) = split(from, &[SINKS])?;
        Ok(Self { sinks: needed(&mut own, SINKS)?, options })
    }
}

/// A balance: `weights = [3, 1]` says how much each sink takes, the route's own first; all take alike if it is not given.
#[cfg(feature = "balance")]
#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    /// The URLs of the other sinks, in order.
    pub sinks: Vec<String>,
    /// The weight of each, that of the route's own sink first; 1 to 1000.
    pub weights: Vec<u32>,
    /// The layer's options.
    pub options: BalanceOptions,
}

#[cfg(feature = "balance")]
impl<'de> Deserialize<'de> for Balance {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const WEIGHTS: &str = "weights";
        let (mut own, options) = split(from, &[SINKS, WEIGHTS])?;
        let sinks: Vec<String> = needed(&mut own, SINKS)?;
        let all = sinks.len() + 1;
        let weights = taken(&mut own, WEIGHTS)?.unwrap_or_else(|| vec![1; all]);
        if weights.len() != all {
            return Err(D::Error::custom(format_args!(
                "{WEIGHTS}: {} for {all} sinks; give one for the route's own sink, then one for each of {SINKS}",
                weights.len()
            )));
        }
        match weights.iter().find(|weight| !(1..=1000).contains(*weight)) {
            Some(weight) => {
                Err(D::Error::custom(format_args!("{WEIGHTS}: {weight} must be between 1 and 1000")))
            }
            None => Ok(Self { sinks, weights, options }),
        }
    }
}

#[cfg(feature = "balance")]
impl Balance {
    /// Some sink takes more than another.
    pub(super) fn is_weighted(&self) -> bool {
        self.weights.iter().any(|weight| *weight != self.weights[0])
    }

    /// The weights, as `3:1`.
    pub(super) fn shown_weights(&self) -> String {
        self.weights.iter().map(ToString::to_string).collect::<Vec<_>>().join(":")
    }
}

/// A queue: `rules` say which packets are more urgent than others, and how often they are tried.
#[cfg(feature = "queue")]
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// Which packets are treated in a way of their own; the first that fits a packet holds.
    pub rules: Vec<Rule>,
    /// The layer's options, which hold for the rest.
    pub options: QueueOptions,
}

/// How a queue treats packets of one kind: `{ filter = { level = "error" }, priority = 9, attempts = 5 }`.
#[cfg(feature = "queue")]
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What a packet must have, as in a route's filter.
    pub filter: Filter,
    /// How urgent it is: higher goes first. Default the queue's.
    #[serde(default)]
    pub priority: Option<u8>,
    /// Tries in all, the first included. Default the queue's.
    #[serde(default)]
    pub attempts: Option<u32>,
}

#[cfg(feature = "queue")]
impl<'de> Deserialize<'de> for Queue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        const RULES: &str = "rules";
        let (mut own, options) = split(from, &[RULES])?;
        let rules: Vec<Rule> = taken(&mut own, RULES)?.unwrap_or_default();
        let wrong = |why: &str| Err(D::Error::custom(format_args!("{RULES}: {why}")));
        for Rule { priority, attempts, .. } in &rules {
            match (priority, attempts) {
                (_, Some(0)) => return wrong("attempts counts the first try, so it is at least 1"),
                (None, None) => {
                    return wrong("one without priority and attempts changes nothing: give it one");
                }
                _ => {}
            }
        }
        Ok(Self { rules, options })
    }
}

#[cfg(feature = "queue")]
impl Queue {
    /// The policy of a delivery: as urgent as the most urgent of its packets, and tried as often as one of them may be.
    pub(super) fn policy(&self, batch: &Batch) -> Policy {
        let usual = Policy { priority: self.options.priority, attempts: self.options.attempts };
        let each = batch.packets().iter().map(|packet| {
            let rule = self.rules.iter().find(|rule| rule.filter.passes(packet));
            rule.map_or(usual, |rule| Policy {
                priority: rule.priority.unwrap_or(usual.priority),
                attempts: rule.attempts.unwrap_or(usual.attempts),
            })
        });
        let most = each.reduce(|a, b| Policy {
            priority: a.priority.max(b.priority),
            attempts: a.attempts.max(b.attempts),
        });
        most.unwrap_or(usual)
    }
}

/// The keys of `own` that the table has, and the options that the others are.
fn split<'de, D: Deserializer<'de>, O: DeserializeOwned>(
    from: D,
    own: &[&str],
) -> Result<(Table, O), D::Error> {
    let mut rest = Table::deserialize(from)?;
    let taken = own.iter().filter_map(|key| rest.remove_entry(*key)).collect();
    let options = O::deserialize(rest).map_err(|why| match why.message() {
        // Here are more keys than the options know.
        unknown if unknown.starts_with("unknown field") => {
            D::Error::custom(format_args!("{unknown}, `{}`", own.join("`, `")))
        }
        other => D::Error::custom(other),
    })?;
    Ok((taken, options))
}

fn taken<T: DeserializeOwned, E: Error>(own: &mut Table, key: &str) -> Result<Option<T>, E> {
    let found = own.remove(key).map(T::deserialize).transpose();
    found.map_err(|why| match why.message() {
        // Words that are looked up as they are.
        unknown if unknown.starts_with("unknown ") => E::custom(unknown),
        other => E::custom(format_args!("{key}: {other}")),
    })
}

fn needed<T: DeserializeOwned, E: Error>(own: &mut Table, key: &'static str) -> Result<T, E> {
    taken(own, key)?.ok_or_else(|| E::missing_field(key))
}
