//! The umbrella has a feature for every crate, its groups hold all of their role, and `full` is all there is.

use std::collections::BTreeSet;

use super::policy::UMBRELLA_EXTRAS;
use super::{Context, none_of};
use crate::process::Result;
use crate::workspace::{Package, Workspace};

pub(super) fn check(context: &Context) -> Result {
    none_of(wrong(&context.workspace, UMBRELLA_EXTRAS))
}

/// The roles that are groups of features.
const GROUPS: [&str; 3] = ["protocols", "layers", "connectors"];

fn wrong(workspace: &Workspace, extras: &[&str]) -> Vec<String> {
    let Some(umbrella) = workspace.package("haul") else { return vec!["there is no crate haul".into()] };
    let mut wrong = Vec::new();
    let mut known: BTreeSet<&str> =
        GROUPS.into_iter().chain(["default", "full"]).chain(extras.iter().copied()).collect();
    for package in workspace.packages.iter().filter(|package| package.published && offered(package)) {
        let feature = package.place().1;
        known.insert(feature);
        match umbrella.features.get(feature) {
            Some(parts) if parts.contains(&format!("dep:{}", package.name)) => {}
            Some(_) => wrong.push(format!("haul: feature {feature} does not bring {}", package.name)),
            None => wrong.push(format!("haul: no feature {feature} for {}", package.name)),
        }
    }
    for group in GROUPS {
        let all = workspace.packages.iter().filter(|package| package.published && package.is_a(group));
        wrong.extend(differs(umbrella, group, all.map(|package| package.place().1).collect()));
    }
    let all =
        umbrella.features.keys().map(String::as_str).filter(|name| !matches!(*name, "default" | "full"));
    wrong.extend(differs(umbrella, "full", all.collect()));
    let unknown = umbrella.features.keys().filter(|name| !known.contains(name.as_str()));
    wrong.extend(
        unknown.map(|name| format!("haul: feature {name} is no crate, no group, and not in policy.rs")),
    );
    wrong
}

/// The crates that the umbrella brings by a feature: all below it but the core.
fn offered(package: &Package) -> bool {
    package.folder.starts_with("crates/") && !matches!(package.place().0, "core" | "haul" | "cli")
}

/// What `group` brings is not `all`.
fn differs(umbrella: &Package, group: &str, all: BTreeSet<&str>) -> Option<String> {
    let mut brought = expanded(umbrella, group);
    // A group that a larger one lists is reached through it; of a role, only the crates count.
    if group != "full" {
        brought.retain(|name| all.contains(name) || !GROUPS.contains(name));
    }
    let (more, less): (Vec<&&str>, Vec<&&str>) =
        (brought.difference(&all).collect(), all.difference(&brought).collect());
    let lacks = (!less.is_empty()).then(|| format!("lacks {less:?}"));
    let brings = (!more.is_empty()).then(|| format!("brings {more:?}, which is no part of it"));
    let said: Vec<String> = lacks.into_iter().chain(brings).collect();
    (!said.is_empty()).then(|| format!("haul: feature {group} {}", said.join(" and ")))
}

/// The features that `name` brings, over all steps, without itself.
fn expanded<'a>(umbrella: &'a Package, name: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut todo = vec![name];
    while let Some(name) = todo.pop() {
        for part in umbrella.features.get(name).into_iter().flatten() {
            if umbrella.features.contains_key(part) && found.insert(part.as_str()) {
                todo.push(part);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::made_up::{package, workspace};

    fn found(change: impl FnOnce(&mut Package)) -> Vec<String> {
        let mut umbrella = package("haul", "crates/haul", &[]);
        for (name, parts) in [
            ("default", &["tcp"][..]),
            ("full", &["protocols", "layers", "connectors", "serve", "config"]),
            ("protocols", &["tcp"]),
            ("layers", &["retry"]),
            ("connectors", &["null"]),
            ("tcp", &["dep:haul-tcp"]),
            ("retry", &["dep:haul-retry"]),
            ("null", &["dep:haul-null"]),
            ("serve", &["dep:haul-serve"]),
            ("config", &[]),
        ] {
            umbrella.features.insert(name.into(), parts.iter().map(|part| part.to_string()).collect());
        }
        change(&mut umbrella);
        let crates = vec![
            umbrella,
            package("haul-core", "crates/core", &[]),
            package("haul-tcp", "crates/protocols/tcp", &[]),
            package("haul-retry", "crates/layers/retry", &[]),
            package("haul-null", "crates/connectors/null", &[]),
            package("haul-serve", "crates/serve", &[]),
            package("haul-cli", "crates/cli", &[]),
        ];
        wrong(&workspace("/nowhere".as_ref(), crates), &["config"])
    }

    #[test]
    fn groups_that_hold_all_are_fine() {
        assert_eq!(found(|_| ()), Vec::<String>::new());
    }

    #[test]
    fn what_full_or_a_group_lacks_is_found() {
        let without_config = found(|haul| drop(haul.features.get_mut("full").map(|parts| parts.pop())));
        assert_eq!(without_config, ["haul: feature full lacks [\"config\"]"]);
        let without_tcp = found(|haul| drop(haul.features.insert("protocols".into(), vec![])));
        assert_eq!(without_tcp[0], "haul: feature protocols lacks [\"tcp\"]");
    }

    #[test]
    fn a_group_that_brings_another_role_is_found() {
        let said = found(|haul| haul.features.get_mut("layers").expect("it is there").push("null".into()));
        assert_eq!(said, ["haul: feature layers brings [\"null\"], which is no part of it"]);
    }

    #[test]
    fn a_crate_without_its_feature_and_a_feature_without_a_crate_are_found() {
        let said = found(|haul| drop(haul.features.remove("tcp")));
        assert_eq!(said[0], "haul: no feature tcp for haul-tcp");
        let said = found(|haul| drop(haul.features.insert("odd".into(), vec![])));
        assert!(said.contains(&"haul: feature odd is no crate, no group, and not in policy.rs".to_owned()));
        let said = found(|haul| drop(haul.features.insert("tcp".into(), vec![])));
        assert_eq!(said, ["haul: feature tcp does not bring haul-tcp"]);
    }
}
